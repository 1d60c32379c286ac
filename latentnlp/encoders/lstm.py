r"""A long short-term memory in each direction.

i, f, o = σ(W_· x_t + U_· h + b_·),  g = tanh(W_g x_t + U_g h + b_g),
c_t = f ⊙ c + i ⊙ g,    h_t = o ⊙ tanh(c_t),    h and c those before

Hochreiter and Schmidhuber (1997); the forget gate is that of Gers et al. (2000).
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


class Lstm(Recurrent):
    def __init__(self, config: Config, embedding_size: int) -> None:
        super().__init__()
        self.size = 2 * config.states
        self.rightward = nn.LSTM(embedding_size, config.states, batch_first=True)
        self.leftward = nn.LSTM(embedding_size, config.states, batch_first=True)

    def read(self, rightward: Tensor, leftward: Tensor) -> tuple[Tensor, Tensor]:
        return recur(self.rightward, rightward), recur(self.leftward, leftward)


def build(config: Config, embedding_size: int) -> Lstm:
    return Lstm(config, embedding_size)
