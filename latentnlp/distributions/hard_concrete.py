r"""Hard Concrete: the stretched and rectified binary concrete.

    F(s) = σ(λ logit(s) − l),   F⁻¹(u) = σ((logit(u) + l) / λ)

Louizos, Welling and Kingma (2018), section 2.2; λ is the temperature, l the logit.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from latentnlp.distributions.rectified import Rectified


class HardConcrete(Rectified):
    """logits l [*B, N]."""

    def __init__(
        self,
        logits: Tensor,
        mask: Tensor | None = None,
        temperature: float = 2 / 3,
        lower: float = -0.1,
        upper: float = 1.1,
    ) -> None:
        """Raises ValueError as `Rectified`, and unless temperature > 0."""
        super().__init__(logits.shape, mask, lower, upper)
        if not temperature > 0:
            raise ValueError(f"the temperature must be above 0, not {temperature}")
        self.logits, self.temperature = self._without_padding(logits, 0.0), temperature

    def base_log_cdf(self, s: Tensor) -> Tensor:
        return logsigmoid(self.temperature * s.logit() - self.logits)

    def base_log_survival(self, s: Tensor) -> Tensor:
        return logsigmoid(self.logits - self.temperature * s.logit())

    def base_icdf(self, u: Tensor) -> Tensor:
        return ((u.logit() + self.logits) / self.temperature).sigmoid()

    def base_log_density(self, s: Tensor) -> Tensor:
        x = self.temperature * s.logit() - self.logits
        return math.log(self.temperature) - s.log() - (-s).log1p() + logsigmoid(x) + logsigmoid(-x)

    def _like(self) -> Tensor:
        return self.logits
