r"""b = the exponentially weighted mean of past signals, of every item and sample.

Williams (1992), section 4 ("reinforcement baseline"); the present signal is not in it.
"""

from __future__ import annotations

from torch import Tensor

from latentnlp.estimators.baselines._contract import Baseline, Draw, RunningMean, flat


class MovingAverage(Baseline):
    """One number for all items and latents."""

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.mean = RunningMean(decay)

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        left = signal - self.mean.get(signal)
        if self.training:
            self.mean.update(flat(signal))
        return left, None


build = MovingAverage
