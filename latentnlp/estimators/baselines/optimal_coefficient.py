r"""b* = Cov(f ∇log q, ∇log q) / Var(∇log q) = E[f |∇log q|²] / E[|∇log q|²], estimated online.

Greensmith, Bartlett and Baxter (2004), theorem 8; Ranganath, Gerrish and Blei (2014), section 3.2.
E ∇log q = 0 makes the two forms equal. ∇ is taken with respect to the logits, and there is one b* a
*block* of them: a latent's, or all of them. The moments are those of PAST samples: from the
same sample the estimate would be biased.
"""

from __future__ import annotations

from torch import Tensor

from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.estimators.baselines._contract import Baseline, Draw, RunningMean, flat


class OptimalCoefficient(Baseline):
    """``latents``: N for a coefficient of each of a fixed number of latents; None for one for all.

    Where it stands after other baselines it is the best coefficient for what they have left.
    """

    def __init__(self, latents: int | None = None, decay: float = 0.99) -> None:
        super().__init__()
        shape = () if latents is None else (latents,)
        self.product, self.square = RunningMean(decay, shape), RunningMean(decay, shape)

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        square = self.square.get(signal, default=1.0).clamp(min=1e-12)
        b = self.product.get(signal) / square  # [] or [N]
        per_latent = b.dim() > 0
        if per_latent and signal.dim() == len(draw.q.batch_shape) + 1:
            left = signal[..., None] - b  # [S, *B, N]
        else:
            left = signal - b
        if self.training:
            self._update(signal, draw.q, draw.z, per_latent)
        return left, None

    def _update(self, signal: Tensor, q: Discrete, z: Latent, per_latent: bool) -> None:
        square = q.squared_score(z)  # [S, *B, N]
        if signal.dim() < square.dim():
            signal = signal[..., None]
        product = signal * square
        if per_latent:
            self.product.update(flat(product, 1))
            self.square.update(flat(square, 1))
        else:
            self.product.update(flat(product.sum(-1)))
            self.square.update(flat(square.sum(-1)))


build = OptimalCoefficient
