r"""A gated recurrent unit in each direction.

r = σ(W_r x_t + U_r h + b_r),  z = σ(W_z x_t + U_z h + b_z),
h_t = (1 - z) ⊙ tanh(W x_t + b + r ⊙ (U h + c)) + z ⊙ h,    h the state before

Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder".
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.encoders._recurrent import Recurrent, recur


@dataclass(frozen=True)
class Config:
    states: int = 100  # in each direction

    def __post_init__(self) -> None:
        at_least(self, states=1)


class Gru(Recurrent):
    def __init__(self, config: Config, embedding_size: int) -> None:
        super().__init__()
        self.size = 2 * config.states
        self.rightward = nn.GRU(embedding_size, config.states, batch_first=True)
        self.leftward = nn.GRU(embedding_size, config.states, batch_first=True)

    def read(self, rightward: Tensor, leftward: Tensor) -> tuple[Tensor, Tensor]:
        return recur(self.rightward, rightward), recur(self.leftward, leftward)


def build(config: Config, embedding_size: int) -> Gru:
    return Gru(config, embedding_size)
