r"""Local expectation gradients: sum out one latent at a time, with the others as sampled.

    ∇_n E_q[f] = E_{z_−n}[Σ_v ∇q(z_n = v) f(v, z_−n)]

Titsias and Lázaro-Gredilla (2015). N·V evaluations of f a sample, all in one call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete, Factored
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
    with_gradient,
)


class LocalExpectation(Estimator):
    """Unbiased, of very low variance. q is a product of independent latents."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "local_expectation")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "local_expectation")
        z = q.split(q.sample(self.samples, generator))
        values, gradients = [], []
        for index, factor in enumerate(q.factors):
            f_v = changed_values(q, f, z, index)  # [N, V, S, *B]
            prob = factor.table().exp()  # [*B, N, V]
            prob = prob.movedim((-2, -1), (0, 1))[:, :, None]  # [N, V, 1, *B]
            # Each latent gives an estimate of E f of its own; f's parameters get their average.
            values.append((prob.detach() * f_v).sum(1).mean(0))  # [S, *B]
            gradients.append((prob * f_v.detach()).sum((0, 1)).mean(0))  # [*B]
        f_z = torch.stack(values).mean(0).mean(0)  # [*B]
        surrogate = with_gradient(f_z, torch.stack(gradients).sum(0))
        return Estimate(surrogate, f_z.detach(), torch.zeros_like(f_z.detach()))


def changed_values(q: Factored, f: Objective, z: tuple[Tensor, ...], index: int) -> Tensor:
    """f with each latent of one factor set to each of its values, [N, V, S, *B]."""
    changed = q.factors[index].one_changed(z[index])  # [N, V, S, *B, …]
    n, v, samples = changed.shape[:3]
    parts = [
        changed.flatten(0, 2) if i == index else part.repeat(n * v, *[1] * (part.dim() - 1))
        for i, part in enumerate(z)
    ]
    return f(q.join(parts)).reshape(n, v, samples, *q.batch_shape)


build = LocalExpectation
