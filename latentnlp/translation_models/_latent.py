r"""What the models with a latent alignment a have in common.

    p(y, a | x) = Π_j p(a_j | a_{j-1}, y_<j, x) p(y_j | x_{a_j}, y_<j)

A search needs only the filter π_j(i) = p(a_j = i | y_≤j, x), the sum over all alignments of what
has been said so far:

    p(a_j = i | y_<j, x) = Σ_m π_{j-1}(m) p(a_j = i | a_{j-1} = m, y_<j, x)
    p(y_j | y_<j, x)     = Σ_i p(a_j = i | y_<j, x) p(y_j | x_i, y_<j)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch, Side
from latentnlp.data.vocabulary import PAD
from latentnlp.distributions.alignment import AlignmentDistribution
from latentnlp.translation_models import _lexicon
from latentnlp.translation_models._contract import State, TranslationModel, pick
from latentnlp.translation_models._network import Network


class LatentTranslation(TranslationModel):
    def __init__(self, network: Network, lexicon: _lexicon.Config) -> None:
        super().__init__()
        self.network = network
        self.lexicon = _lexicon.build(
            lexicon, network.source_size, network.target_size, network.embedding_size
        )

    def positions(
        self, batch: Batch, states: Tensor, scores: Tensor, log_emission: Tensor
    ) -> AlignmentDistribution:
        """p(a, y | x) of a batch, from s [B, J, H], scores and log p(y_j | x_i) [B, J, I]."""
        raise NotImplementedError

    def log_next(self, filtered: Tensor, states: Tensor, scores: Tensor) -> Tensor:
        """log p(a_j = i | y_<j, x) [B, K, I] from the filter [B, K, I + 1] (its place 0 is the
        start of the sentence), s_j [B, K, H] and the scores [B, K, I]."""
        raise NotImplementedError

    def distribution(self, batch: Batch) -> AlignmentDistribution:
        """p(a, y | x) over all alignments a [B, J] of the batch."""
        network = self.network
        source_states, first = network.read(batch.source_side)
        states = network.follow(batch.target, first)
        scores = network.scores(states, source_states, batch.source_mask)
        log_emission = self.lexicon(source_states, states, batch.target, network.output())
        log_emission = log_emission.masked_fill(~batch.source_mask.unsqueeze(1), -torch.inf)
        return self.positions(batch, states, scores, log_emission)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.distribution(batch).log_partition(), batch.target_mask.sum()

    def networks(self) -> list[nn.Module]:
        return [self.lexicon]

    @torch.no_grad()
    def links(self, batch: Batch) -> Tensor:
        posterior = self.distribution(batch).posteriors().emission
        return posterior.masked_fill(~batch.target_mask.unsqueeze(2), 0.0)

    def encode(self, source: Side) -> State:
        states, first = self.network.read(source)
        words = self.lexicon.remember(states, self.network.output())
        return {"states": states, "mask": source.mask, "first": first, **words}

    def start(self, memory: State) -> State:
        sentences, width = memory["mask"].shape
        filtered = memory["states"].new_zeros(sentences, 1, width + 1)
        filtered[..., 0] = 1.0
        words = torch.full((sentences, 1), PAD, device=filtered.device)
        state = self.network.step(words, memory["first"].unsqueeze(1))
        return {"state": state, "filter": filtered}

    def predict(self, memory: State, state: State) -> tuple[Tensor, State]:
        states = state["state"]
        scores = self.network.scores(states, memory["states"], memory["mask"])
        log_next = self.log_next(state["filter"], states, scores)
        output = self.network.output()
        log_p, log_z = self.lexicon.log_mixture(memory, states, log_next, output)
        return log_p, {"state": states, "log_next": log_next, "log_z": log_z}

    def extend(self, memory: State, step: State, parents: Tensor, words: Tensor) -> State:
        states, log_next, log_z = (
            pick(step[name], parents) for name in ("state", "log_next", "log_z")
        )
        output = self.network.output()
        log_p = self.lexicon.log_prob(memory, states, words, log_z, output)
        filtered = torch.softmax(log_next + log_p, -1)
        start = torch.zeros_like(filtered[..., :1])
        filtered = torch.cat([start, filtered], -1)
        return {"state": self.network.step(words, states), "filter": filtered}
