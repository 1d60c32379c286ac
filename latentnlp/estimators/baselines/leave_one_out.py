r"""b_s = the mean signal of the other samples of the same item.

    signal_s − 1/(S−1) Σ_{s' ≠ s} signal_{s'} = S/(S−1) (signal_s − mean)

Kool, van Hoof and Welling (2019), "Buy 4 REINFORCE samples, get a baseline for free". A mean that
holds the sample itself would shrink the gradient by (S−1)/S.
"""

from __future__ import annotations

from torch import Tensor

from latentnlp.estimators._contract import check_samples
from latentnlp.estimators.baselines._contract import Baseline, Draw


class LeaveOneOut(Baseline):
    """Needs S ≥ 2 samples: ValueError otherwise. Once: a second one would make a bias."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        samples = check_samples(signal.shape[0], 2, "the leave-one-out baseline")
        return (signal - signal.mean(0)) * (samples / (samples - 1)), None


build = LeaveOneOut
