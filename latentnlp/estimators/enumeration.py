r"""No estimate: the sum over every state.   E_q[f(z)] = Σ_z q(z) f(z)"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete
from latentnlp.estimators._contract import Estimate, Estimator, Objective


class Enumeration(Estimator):
    """Exact. As many evaluations of f as q has states: ValueError above 2^20."""

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z, log_q = q.enumerate_support()  # [M, *B, …], [M, *B]
        surrogate = (log_q.exp() * f(z)).sum(0)
        return Estimate(surrogate, surrogate.detach(), torch.zeros_like(surrogate.detach()))


build = Enumeration
