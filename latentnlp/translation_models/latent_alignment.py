r"""Latent alignment with independent positions: the zero-order neural HMM, a neural IBM 2.

    p(y | x) = Π_j Σ_i p(a_j = i | y_<j, x) p(y_j | x_i, y_<j)
    p(a_j = i | y_<j, x) = softmax over i of score_ji

Attention mixes source states and then says a word; this says a word from each and mixes what they
say (Wu, Shapiro and Cotterell 2018, "Hard non-monotonic attention", section 3; "latent alignment"
of Deng et al. 2018, by exact enumeration).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.independent_positions import IndependentPositions
from latentnlp.translation_models import _lexicon, _network
from latentnlp.translation_models._latent import LatentTranslation
from latentnlp.translation_models._network import Network


@dataclass(frozen=True)
class Config:
    lexicon: _lexicon.Config = field(default_factory=_lexicon.Config)


class LatentAlignment(LatentTranslation):
    def positions(
        self, batch: Batch, states: Tensor, scores: Tensor, log_emission: Tensor
    ) -> IndependentPositions:
        null = torch.full_like(log_emission[..., 0], -torch.inf)
        log_joint = torch.log_softmax(scores, -1) + log_emission
        return IndependentPositions(log_joint, null, batch.target_mask)

    def log_next(self, filtered: Tensor, states: Tensor, scores: Tensor) -> Tensor:
        return torch.log_softmax(scores, -1)


def build(
    config: Config, network: _network.Config, source: Vocabulary, target: Vocabulary
) -> LatentAlignment:
    return LatentAlignment(Network(network, len(source), len(target)), config.lexicon)
