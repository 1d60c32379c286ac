r"""Soft attention: the control, which differs from the neural HMM in one thing only.

    c_j = Σ_i α_ji h_i,    α_j = softmax(score_j)
    p(y_j | y_<j, x) = softmax over v of  E_v · tanh(C [c_j ; s_j]) + b_v

It mixes the source states before it says a word; the neural HMM says a word from each of them and
mixes the probabilities. The network and the number of parameters are the same, but for the jumps.

    Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
    translation", section 3.1 (global, with a dot product; without input feeding)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch, Side
from latentnlp.data.vocabulary import PAD, Vocabulary
from latentnlp.translation_models import _network
from latentnlp.translation_models._contract import State, TranslationModel, pick
from latentnlp.translation_models._network import Network


@dataclass(frozen=True)
class Config:
    pass


class Attention(TranslationModel):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        width = network.source_size + network.target_size
        self.combine = nn.Linear(width, network.embedding_size)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        source_states, states, weights = self._look(batch)
        logits = self._logits(source_states, states, weights)  # [B, J, V]
        chosen = logits.gather(2, batch.target.unsqueeze(2)).squeeze(2)
        log_p = (chosen - logits.logsumexp(2)).masked_fill(~batch.target_mask, 0.0)
        return log_p.sum(1), batch.target_mask.sum()

    def networks(self) -> list[nn.Module]:
        return [self.combine]

    @torch.no_grad()
    def links(self, batch: Batch) -> Tensor:
        weights = self._look(batch)[2]
        return weights.masked_fill(~batch.target_mask.unsqueeze(2), 0.0)

    def encode(self, source: Side) -> State:
        states, first = self.network.read(source)
        return {"states": states, "mask": source.mask, "first": first}

    def start(self, memory: State) -> State:
        first = memory["first"].unsqueeze(1)
        words = torch.full(first.shape[:2], PAD, device=first.device)
        return {"state": self.network.step(words, first)}

    def predict(self, memory: State, state: State) -> tuple[Tensor, State]:
        scores = self.network.scores(state["state"], memory["states"], memory["mask"])
        logits = self._logits(memory["states"], state["state"], scores.softmax(-1))
        return logits.log_softmax(-1), state

    def extend(self, memory: State, step: State, parents: Tensor, words: Tensor) -> State:
        return {"state": self.network.step(words, pick(step["state"], parents))}

    def _look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """h [B, I, 2H], s [B, J, H] and α [B, J, I]."""
        source_states, first = self.network.read(batch.source_side)
        states = self.network.follow(batch.target, first)
        scores = self.network.scores(states, source_states, batch.source_mask)
        return source_states, states, scores.softmax(-1)

    def _logits(self, source_states: Tensor, states: Tensor, weights: Tensor) -> Tensor:
        """[B, J, V], from h [B, I, 2H], s [B, J, H] and α [B, J, I]."""
        seen = torch.cat([weights @ source_states, states], -1)
        return self.network.output().logits(self.network.dropout(torch.tanh(self.combine(seen))))


def build(
    config: Config, network: _network.Config, source: Vocabulary, target: Vocabulary
) -> Attention:
    return Attention(Network(network, len(source), len(target)))
