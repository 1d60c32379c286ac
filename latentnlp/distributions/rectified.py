r"""Stretched and rectified distributions: continuous on (0, 1), with an atom at 0 and one at 1.

    s ~ base on (0, 1),  t = l + (r − l) s,  z = min(1, max(0, t)),   l < 0 < 1 < r
    P(z = 0) = F(−l / (r − l)),   P(z = 1) = 1 − F((1 − l) / (r − l))

F is the base's cumulative distribution. Louizos, Welling and Kingma (2018), section 2.2; Bastings,
Aziz and Titov (2019), section 3.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from latentnlp.distributions._noise import uniform
from latentnlp.distributions.bernoulli import independent_changes
from latentnlp.distributions.discrete import masked


class Rectified(ABC):
    """z [S, *B, N], 0 at padding and no gradient there; a subclass gives F and its inverse."""

    def __init__(self, shape: torch.Size, mask: Tensor | None, lower: float, upper: float) -> None:
        """Raises ValueError where shapes differ, and unless lower < 0 and upper > 1."""
        if len(shape) < 1:
            raise ValueError("parameters () are not [*B, N]")
        if not (lower < 0 and upper > 1):
            raise ValueError(f"stretch to lower < 0 and upper > 1, not ({lower}, {upper})")
        if mask is not None and mask.shape != shape:
            raise ValueError(f"mask {tuple(mask.shape)} and parameters {tuple(shape)} differ")
        self.shape, self.mask, self.lower, self.upper = shape, mask, lower, upper

    @property
    def batch_shape(self) -> torch.Size:
        return self.shape[:-1]

    @abstractmethod
    def base_log_cdf(self, s: Tensor) -> Tensor:
        """log F(s) for s in (0, 1)."""

    @abstractmethod
    def base_log_survival(self, s: Tensor) -> Tensor:
        """log (1 − F(s))."""

    @abstractmethod
    def base_icdf(self, u: Tensor) -> Tensor:
        """F⁻¹(u), differentiable in the parameters."""

    @abstractmethod
    def base_log_density(self, s: Tensor) -> Tensor:
        """log F'(s)."""

    @abstractmethod
    def _like(self) -> Tensor:
        """A tensor of the parameters' device and type."""

    def rsample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z, [S, *B, N], differentiable where it is neither 0 nor 1."""
        u = uniform((samples, *self.shape), self._like(), generator)
        t = self.lower + (self.upper - self.lower) * self.base_icdf(u)
        return masked(t.clamp(0, 1), self.mask)

    def log_probability_of_zero(self) -> Tensor:
        """log P(z = 0), [*B, N]; 0 (certain) at padding."""
        return masked(self.base_log_cdf(self._stretched(0.0)), self.mask)

    def log_probability_of_one(self) -> Tensor:
        """log P(z = 1), [*B, N]; -inf at padding."""
        log_p = self.base_log_survival(self._stretched(1.0))
        if self.mask is None:
            return log_p
        return torch.where(self.mask, log_p, torch.full_like(log_p, float("-inf")))

    def probability_of_not_zero(self) -> Tensor:
        """P(z ≠ 0), [*B, N]: the expected L0 norm, exactly; 0 at padding."""
        return -self.log_probability_of_zero().expm1()

    def marginals(self) -> Tensor:
        """P(z_n ≠ 0), [*B, N], as the discrete families call it."""
        return self.probability_of_not_zero()

    def expected_changes(self) -> Tensor:
        """E Σ_t 1[exactly one of z_t, z_{t−1} is 0], [*B]: the fused lasso, exactly."""
        return independent_changes(self.marginals(), self.mask)

    def log_prob(self, z: Tensor) -> Tensor:
        """Probability of an atom, density in between, [S, *B]."""
        inside = (z > 0) & (z < 1)
        span = self.upper - self.lower
        s = (torch.where(inside, z, torch.full_like(z, 0.5)) - self.lower) / span
        density = self.base_log_density(s) - math.log(span)
        atoms = torch.where(z <= 0, self.log_probability_of_zero(), self.log_probability_of_one())
        return masked(torch.where(inside, density, atoms), self.mask).sum(-1)

    def median(self) -> Tensor:
        """The value half of the draws lie below, [*B, N]."""
        half = torch.full(self.shape, 0.5, device=self._like().device, dtype=self._like().dtype)
        t = self.lower + (self.upper - self.lower) * self.base_icdf(half)
        return masked(t.clamp(0, 1), self.mask)

    def mode(self) -> Tensor:
        """0 or 1 where that atom is likelier than all values in between, else the median's value.

        Bastings et al. (2019), section 4 (there with the mean in between).
        """
        zero, one = self.log_probability_of_zero().exp(), self.log_probability_of_one().exp()
        between = 1 - zero - one
        atom = (one > zero).to(zero.dtype)
        z = torch.where(between >= torch.maximum(zero, one), self.median(), atom)
        return masked(z, self.mask)

    def _without_padding(self, parameter: Tensor, value: float) -> Tensor:
        """``value`` at padding: whatever stands there, NaN too, must not meet the gradient."""
        if self.mask is None:
            return parameter
        return torch.where(self.mask, parameter, parameter.new_full((), value))

    def _stretched(self, z: float) -> Tensor:
        """The s whose stretched value is z."""
        like = self._like()
        return torch.full_like(like, (z - self.lower) / (self.upper - self.lower))
