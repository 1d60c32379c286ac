r"""Convolutions of several widths side by side.

    h_t = [ReLU(Σ_{k=-w/2..w/2} W_k^(w) x_{t+k} + b^(w))  for each width w]

x is 0 outside the text and where a word is masked out: a gap is seen, but not what is in it.

    Kim (2014), "Convolutional neural networks for sentence classification", without the pooling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.encoders._contract import Encoder, masked


@dataclass(frozen=True)
class Config:
    widths: tuple[int, ...] = (3, 5)  # in words, odd
    filters: int = 100  # of each width

    def __post_init__(self) -> None:
        at_least(self, filters=1)
        if not self.widths or any(width < 1 or width % 2 == 0 for width in self.widths):
            raise ValueError(f"widths = {list(self.widths)}: name one or more odd numbers")


class Cnn(Encoder):
    def __init__(self, config: Config, embedding_size: int) -> None:
        super().__init__()
        self.size = len(config.widths) * config.filters
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding_size, config.filters, width, padding=width // 2)
            for width in config.widths
        )

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        x = masked(embedded, mask).mT  # [R, D, T]
        h = torch.cat([convolution(x) for convolution in self.convolutions], 1).mT  # [R, T, H]
        return masked(h.relu(), mask)


def build(config: Config, embedding_size: int) -> Cnn:
    return Cnn(config, embedding_size)
