r"""HardKuma: the stretched and rectified Kumaraswamy.

    F(s; a, b) = 1 − (1 − s^a)^b,   F⁻¹(u) = (1 − (1 − u)^{1/b})^{1/a}

Bastings, Aziz and Titov (2019), section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.rectified import Rectified


class StretchedKumaraswamy(Rectified):
    """a, b > 0, [*B, N]."""

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        mask: Tensor | None = None,
        lower: float = -0.1,
        upper: float = 1.1,
    ) -> None:
        super().__init__(a.shape, mask, lower, upper)
        self.a, self.b = a, b

    def base_log_survival(self, s: Tensor) -> Tensor:
        return self.b * _log1mexp(self.a * s.log())

    def base_log_cdf(self, s: Tensor) -> Tensor:
        return _log1mexp(self.base_log_survival(s))

    def base_icdf(self, u: Tensor) -> Tensor:
        log_survival = (-u).log1p() / self.b  # log (1 − s^a)
        return (_log1mexp(log_survival) / self.a).exp()

    def base_log_density(self, s: Tensor) -> Tensor:
        log_s = s.log()
        rest = (self.b - 1) * _log1mexp(self.a * log_s)
        return self.a.log() + self.b.log() + (self.a - 1) * log_s + rest

    def _like(self) -> Tensor:
        return self.a


def _log1mexp(x: Tensor) -> Tensor:
    """log (1 − e^x) for x < 0, accurate at both ends (Mächler 2012)."""
    x = x.clamp(max=-1e-7 if x.dtype == torch.float32 else -1e-15)
    near = x > -0.6931471805599453
    # Each branch gets arguments of its own range: NaN gradients do not leak through `where`.
    a = torch.where(near, x, torch.full_like(x, -0.5))
    b = torch.where(near, torch.full_like(x, -1.0), x)
    return torch.where(near, (-a.expm1()).log(), (-b.exp()).log1p())
