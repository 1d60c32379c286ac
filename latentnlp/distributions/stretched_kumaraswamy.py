r"""HardKuma: the stretched and rectified Kumaraswamy.

    F(s; a, b) = 1 − (1 − s^a)^b,   F⁻¹(u) = (1 − (1 − u)^{1/b})^{1/a}

Bastings, Aziz and Titov (2019), section 3.1. Computed so that both tails stay accurate, as

    log F(s) = ψ(φ(a log s) + log b),   log F⁻¹(u) = ψ(φ(log u) − log b) / a
    φ(x) = log(−log(1 − e^x)),   ψ(w) = log(1 − exp(−e^w)),   each the other's inverse
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
        """Raises ValueError where shapes differ, and unless lower < 0 and upper > 1."""
        if a.shape != b.shape:
            raise ValueError(f"a {tuple(a.shape)} and b {tuple(b.shape)} differ")
        super().__init__(a.shape, mask, lower, upper)
        self.a, self.b = (self._without_padding(x, 1.0) for x in (a, b))

    def base_log_survival(self, s: Tensor) -> Tensor:
        return self.b * _log1mexp(self.a * s.log())

    def base_log_cdf(self, s: Tensor) -> Tensor:
        return _psi(_phi(self.a * s.log()) + self.b.log())

    def base_icdf(self, u: Tensor) -> Tensor:
        return (_psi(_phi(u.log()) - self.b.log()) / self.a).exp()

    def base_log_density(self, s: Tensor) -> Tensor:
        log_s = s.log()
        rest = (self.b - 1) * _log1mexp(self.a * log_s)
        return self.a.log() + self.b.log() + (self.a - 1) * log_s + rest

    def _like(self) -> Tensor:
        return self.a


def _log1mexp(x: Tensor) -> Tensor:
    """log (1 − e^x) for x < 0, accurate at both ends (Mächler 2012)."""
    near = x > -0.6931471805599453
    # Each branch gets arguments of its own range: NaN gradients do not leak through `where`.
    a = torch.where(near, x, torch.full_like(x, -0.5))
    b = torch.where(near, torch.full_like(x, -1.0), x)
    return torch.where(near, (-a.expm1()).log(), (-b.exp()).log1p())


def _phi(x: Tensor) -> Tensor:
    """log(−log(1 − e^x)) for x < 0, which is x where e^x is negligible."""
    return torch.where(x < -50, x, (-_log1mexp(x.clamp(min=-50))).log())


def _psi(w: Tensor) -> Tensor:
    """log(1 − exp(−e^w)), which is w where e^w is negligible, and 0 above 80."""
    return torch.where(w < -50, w, _log1mexp(-w.clamp(-50, 80).exp()))
