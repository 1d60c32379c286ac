r"""A bag of words: every word on its own.

    h_t = ReLU(W x_t + b),    or x_t itself where `hidden` is "none"

No position is mixed with another, nor with its place.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.encoders._contract import Encoder, masked


@dataclass(frozen=True)
class Config:
    hidden: int | None = 100  # H; "none": the embeddings as they are

    def __post_init__(self) -> None:
        at_least(self, hidden=1)


class Bag(Encoder):
    def __init__(self, config: Config, embedding_size: int) -> None:
        super().__init__()
        self.size = config.hidden or embedding_size
        self.layer = (
            nn.Sequential(nn.Linear(embedding_size, config.hidden), nn.ReLU())
            if config.hidden
            else nn.Identity()
        )

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        return masked(self.layer(masked(embedded, mask)), mask)


def build(config: Config, embedding_size: int) -> Bag:
    return Bag(config, embedding_size)
