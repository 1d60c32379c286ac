r"""The pathwise estimator, for distributions that are a differentiable map of noise.

    ∇ E_q[f(z)] = E_ε[∇ f(g(ε))]

Kingma and Welling (2014). Here for the stretched and rectified distributions (HardKuma, Hard
Concrete), whose draws are exactly 0 or 1 with a probability of their own. f must be differentiable.
S evaluations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete
from latentnlp.distributions.rectified import Rectified
from latentnlp.estimators._contract import Estimate, Estimator, Objective, check_samples


class Reparameterised(Estimator):
    """Unbiased for its own q, which is not discrete: `StretchedKumaraswamy` or `HardConcrete`."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "reparameterised")

    def forward(
        self,
        q: Discrete | Rectified,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        if not isinstance(q, Rectified):
            raise TypeError(
                f"a {type(q).__name__} is no differentiable map of noise: use score_function"
            )
        f_z = f(q.rsample(self.samples, generator)).mean(0)
        return Estimate(f_z, f_z.detach(), torch.zeros_like(f_z.detach()))


build = Reparameterised
