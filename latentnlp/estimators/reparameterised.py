r"""The pathwise estimator, for distributions that are a differentiable map of noise.

    ∇ E_q[f(z)] = E_ε[∇ f(g(ε))]

Kingma and Welling (2014). For `Gaussian`, and for the stretched and rectified distributions
(HardKuma, Hard Concrete), whose draws are exactly 0 or 1 with a probability of their own. f must be
differentiable. S evaluations.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete
from latentnlp.estimators._contract import Estimate, Estimator, Objective, check_samples


class Pathwise(Protocol):
    """q(z) whose draws are a differentiable map of noise."""

    def rsample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ q, [S, *B, N], differentiable."""
        ...


class Reparameterised(Estimator):
    """Unbiased for its own q, which is not discrete: one that has `rsample`."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "reparameterised")

    def forward(
        self,
        q: Discrete | Pathwise,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        if not hasattr(q, "rsample"):
            raise TypeError(
                f"a {type(q).__name__} is no differentiable map of noise: use score_function"
            )
        f_z = f(cast(Pathwise, q).rsample(self.samples, generator)).mean(0)
        return Estimate(f_z, f_z.detach(), torch.zeros_like(f_z.detach()))


build = Reparameterised
