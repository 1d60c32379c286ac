r"""The concrete / Gumbel-softmax relaxation, reparameterised. BIASED: it is another objective.

    E_{p(ζ)}[f(ζ)],   ζ = softmax((l + g) / λ),  g ~ Gumbel      (Bernoulli: σ((l + logistic) / λ))

Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017). f must be differentiable at relaxed z. S
evaluations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
)


class GumbelSoftmax(Estimator):
    """Biased for discrete z, the more the higher the temperature λ."""

    def __init__(self, samples: int = 1, temperature: float = 0.5) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the temperature must be above 0, not {temperature}")
        self.samples = check_samples(samples, 1, "a Gumbel estimator")
        self.temperature = temperature

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "a Gumbel estimator")
        draws = [g.relaxed(self.samples, self.temperature, generator) for g in q.factors]
        f_z = f(q.join([self.value(z, zeta) for z, zeta in draws])).mean(0)
        return Estimate(f_z, f_z.detach(), torch.zeros_like(f_z.detach()))

    def value(self, z: Tensor, zeta: Tensor) -> Tensor:
        """What f sees of a draw z and its relaxation ζ."""
        return zeta


build = GumbelSoftmax
