r"""Neural emissions that look at the whole source sentence.

    p(y | x, i) = softmax_v( h_i · w(v) + b(v) )(y),    h_i = h(x_i) + U [→g_i ; ←g_i]

where h and w are [h, r] and [w, r] of `type_based` and →g, ←g are the states of two small GRUs that
read the source words from left and right, so that a frequent word can mean one thing here and
another there. U starts at zero: before training, context says nothing. There is one normaliser per
source token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from latentnlp.config import at_least
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions import type_based
from latentnlp.emissions._base import Emission, log_normaliser


@dataclass(frozen=True)
class Config:
    types: type_based.Config = field(default_factory=type_based.Config)
    states: int = 64  # of the GRU, in each direction

    def __post_init__(self) -> None:
        at_least(self, states=1)


class ContextualEmission(Emission):
    def __init__(self, config: Config, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.types = type_based.build(config.types, source, target)
        self.rightward = nn.GRU(self.types.width, config.states, batch_first=True)
        self.leftward = nn.GRU(self.types.width, config.states, batch_first=True)
        self.project = nn.Linear(2 * config.states, self.types.width, bias=False)
        nn.init.zeros_(self.project.weight)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        side = batch.source_side
        by_type = self.types.represent(side.types)[side.places]  # [B, I, width]
        states = torch.cat([self.rightward(by_type)[0], self._leftward(by_type, side.lengths)], -1)
        hidden = (by_type + self.project(states)).flatten(0, 1)  # [B·I, width]
        weight = self.types.targets()  # [V, width]
        log_z = log_normaliser(hidden, weight, self.types.target_bias)
        shape = side.words.shape
        target = embedding(batch.target, weight)  # [B, J, width]
        scores = target @ hidden.view(*shape, weight.shape[1]).mT + self.types.target_bias[
            batch.target
        ].unsqueeze(-1)
        log_emission = scores.to(log_z.dtype) - log_z.view(shape).unsqueeze(1)
        return log_emission, self.types.null_logits.log_softmax(-1)[batch.target]

    def _leftward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Each sentence read from its own last word on, [B, I, s]: padding is never read before
        words (and nothing waits for the lengths, as packing would)."""
        place = torch.arange(inputs.shape[1], device=inputs.device)
        mirror = (lengths.unsqueeze(1) - 1 - place).clamp_min(0).unsqueeze(-1)  # [B, I, 1]
        read = inputs.gather(1, mirror.expand_as(inputs))
        states, _ = self.leftward(read)
        return states.gather(1, mirror.expand_as(states))


def build(config: Config, source: Vocabulary, target: Vocabulary) -> ContextualEmission:
    return ContextualEmission(config, source, target)
