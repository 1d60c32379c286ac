r"""b = c, a trainable number:  loss = (signal − c)²."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentnlp.estimators.baselines._contract import Baseline, Draw
from latentnlp.estimators.baselines.neural import squared_error


class Constant(Baseline):
    """One trainable number for all items and latents."""

    def __init__(self) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.zeros(()))

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        error = signal - self.constant
        return error.detach(), squared_error(error, draw)


build = Constant
