r"""A recurrent convolution over bigrams that need not be neighbours, in each direction.

    λ_t  = σ(W_λ x_t + U h_{t-1} + b_λ)
    c¹_t = λ_t ⊙ c¹_{t-1} + (1 - λ_t) ⊙ W_1 x_t
    c²_t = λ_t ⊙ c²_{t-1} + (1 - λ_t) ⊙ (c¹_{t-1} + W_2 x_t)
    h_t  = tanh(c²_t + b)

c² is a running mean over all pairs of words, one after the other; λ, the decay, adapts to the text.

    Lei et al. (2016), "Rationalizing neural predictions", section 4; the operator is of Lei,
    Barzilay and Jaakkola (2015), its adaptive decay of Lei, Joshi et al. (2016), "Semi-supervised
    question retrieval with gated convolutions".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.encoders._recurrent import Recurrent


@dataclass(frozen=True)
class Config:
    states: int = 100  # in each direction

    def __post_init__(self) -> None:
        at_least(self, states=1)


class Rcnn(Recurrent):
    """The two directions share each step of the loop: their weights are [2, ·, ·]."""

    def __init__(self, config: Config, embedding_size: int) -> None:
        super().__init__()
        self.size = 2 * config.states
        spread = config.states**-0.5  # as torch's own recurrent networks start

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-spread, spread))

        self.inputs = weight(2, embedding_size, 3 * config.states)  # W_λ, W_1, W_2
        self.recurrent = weight(2, config.states, config.states)  # U
        self.decay_bias = weight(2, 1, config.states)
        self.bias = weight(2, 1, config.states)

    def read(self, rightward: Tensor, leftward: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.stack([rightward, leftward]).transpose(1, 2)  # [2, N, R, D]
        _, steps, rows, _ = x.shape
        inputs = torch.bmm(x.flatten(1, 2), self.inputs).unflatten(1, (steps, rows))
        # (Under autocast the products are rounded; what is summed up over the text is not.)
        decay, first, second = inputs.type_as(self.bias).chunk(3, -1)  # [2, N, R, H]
        decay = decay + self.decay_bias.unsqueeze(1)
        c1 = c2 = h = torch.zeros_like(decay[:, 0])  # [2, R, H]
        states = []
        # (Not decay[:, t]: the gradient of each such view would be as large as the whole.)
        for a, w1, w2 in zip(decay.unbind(1), first.unbind(1), second.unbind(1), strict=True):
            keep = torch.baddbmm(a, h, self.recurrent).type_as(h).sigmoid()  # λ_t
            c2 = torch.lerp(c1 + w2, c2, keep)
            c1 = torch.lerp(w1, c1, keep)
            h = (c2 + self.bias).tanh()
            states.append(h)
        right, left = torch.stack(states, 2)  # [R, N, H]
        return right, left


def build(config: Config, embedding_size: int) -> Rcnn:
    return Rcnn(config, embedding_size)
