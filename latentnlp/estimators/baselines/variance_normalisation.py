r"""signal / max(1, σ), σ the standard deviation of past signals.

Mnih and Gregor (2014), section 2.3, "variance normalization". It makes no signal greater, and the
gradient of q is the unbiased one *times 1 / max(1, σ)*: a step length, not a bias of direction.
"""

from __future__ import annotations

from torch import Tensor

from latentnlp.estimators.baselines._contract import Baseline, Draw, RunningMean, flat


class VarianceNormalisation(Baseline):
    """Comes last. The moments are running means over all items, samples and latents."""

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.mean, self.square = RunningMean(decay), RunningMean(decay)

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        left = signal / self.scale(signal)
        if self.training:
            self.mean.update(flat(signal))
            self.square.update(flat(signal).square())
        return left, None

    def scale(self, like: Tensor) -> Tensor:
        """max(1, σ)."""
        variance = self.square.get(like) - self.mean.get(like).square()
        return variance.clamp(min=1.0).sqrt()


build = VarianceNormalisation
