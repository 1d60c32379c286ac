r"""Straight-through: the hard draw forward, the mean's gradient backward. BIASED.

    f(z + z̄ − sg(z̄)),   z ~ q,  z̄ = E_q z

Bengio, Léonard and Courville (2013), section 4. f must be differentiable at relaxed z. S
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
    with_gradient,
)


class StraightThrough(Estimator):
    """Biased, of low variance; exact only where f is linear in each latent."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "straight_through")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "straight_through")
        z = q.split(q.sample(self.samples, generator))
        hard = [with_gradient(p, g.mean()) for p, g in zip(z, q.factors, strict=True)]
        f_z = f(q.join(hard)).mean(0)
        return Estimate(f_z, f_z.detach(), torch.zeros_like(f_z.detach()))


build = StraightThrough
