r"""Neural variational inference and learning: REINFORCE centred, with b(x; ω), and normalised.

    (f(z) − c − b(x; ω)) / max(1, σ) · ∇ log q(z)

Mnih and Gregor (2014), section 2.3: c is a running mean of f, b is trained by L2 on what c leaves,
σ is the running deviation of what both leave.
"""

from __future__ import annotations

from torch import nn

from latentnlp.estimators.baselines import MovingAverage, Neural, VarianceNormalisation
from latentnlp.estimators.score_function import ScoreFunction


class NVIL(ScoreFunction):
    """Unbiased but for the factor 1 / max(1, σ) on q's gradient (f's own is untouched)."""

    def __init__(
        self,
        samples: int = 1,
        context_size: int | None = None,
        hidden: int = 64,
        decay: float = 0.9,
        net: nn.Module | None = None,
    ) -> None:
        """context_size: D of the context that b(x; ω) reads, or your own ``net``."""
        neural = Neural(context_size, hidden, net)
        super().__init__(samples, [MovingAverage(decay), neural, VarianceNormalisation(decay)])


build = NVIL
