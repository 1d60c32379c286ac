r"""The neural hidden Markov model: translation by an alignment that is summed over, exactly.

    p(y | x) = Σ_a Π_j p(a_j | a_{j-1}, y_<j, x) p(y_j | x_{a_j}, y_<j)

    p(a_j = i | a_{j-1} = m, y_<j, x) = softmax over i of  score_ji + jump_j(i - m)

with a score of every source word, as attention has, and one of the width of the jump, both given
what has been said; wider jumps than ``widest`` share a score. a_0 = 0 stands before the first word.

    Wang, Zhu, Alkhouli, Gan and Ney 2018, "Neural hidden Markov model for machine translation".
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.hidden_markov import HiddenMarkov
from latentnlp.translation_models import _lexicon, _network
from latentnlp.translation_models._latent import LatentTranslation
from latentnlp.translation_models._network import Network


@dataclass(frozen=True)
class Config:
    widest: int = 10
    lexicon: _lexicon.Config = field(default_factory=_lexicon.Config)

    def __post_init__(self) -> None:
        at_least(self, widest=1)


class NeuralHMM(LatentTranslation):
    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(network, config.lexicon)
        self.widest = config.widest
        self.jump = nn.Linear(network.target_size, 2 * config.widest + 1)

    def positions(
        self, batch: Batch, states: Tensor, scores: Tensor, log_emission: Tensor
    ) -> HiddenMarkov:
        return HiddenMarkov(log_emission, self.log_jump(states, scores), batch.target_mask)

    def log_next(self, filtered: Tensor, states: Tensor, scores: Tensor) -> Tensor:
        jump = self.log_jump(states, scores).exp()  # [B, K, I + 1, I]
        return (filtered.unsqueeze(2) @ jump).squeeze(2).log()

    def log_jump(self, states: Tensor, scores: Tensor) -> Tensor:
        """log p(a_j = i | a_{j-1} = m, y_<j, x) [B, J, I + 1, I]; row 0 is the start."""
        width = scores.shape[-1]
        # The jumps from the last memory to the first word, …, from the start to the last word.
        jumps = torch.arange(1 - width, width + 1, device=scores.device)
        place = jumps.clamp(-self.widest, self.widest) + self.widest
        of_jump = self.jump(states).index_select(2, place)  # [B, J, 2I]
        # Row m + 1 of the matrix is a window of I jumps that begins with -m.
        of_pair = of_jump.unfold(2, width, 1).flip(2)  # [B, J, I + 1, I]
        return torch.log_softmax(of_pair + scores.unsqueeze(2), -1)


def build(
    config: Config, network: _network.Config, source: Vocabulary, target: Vocabulary
) -> NeuralHMM:
    return NeuralHMM(config, Network(network, len(source), len(target)))
