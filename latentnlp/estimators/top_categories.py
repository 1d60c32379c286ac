r"""Rao-Blackwellised over the k most probable categories: they are summed out, the rest sampled.

    ∇_n E_q[f] = E[Σ_{v ∈ C_k} ∇q(v) f(v) + (1 − q(C_k)) f(v') ∇ log q(v')]
    v' ~ q(· | not in C_k)

Liu, Regier, Tripuraneni, Jordan and McAuliffe (2019), section 3. With several latents, one at a
time with the others as sampled. N·(k + 1) evaluations of f a sample, all in one call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions._noise import gumbel
from latentnlp.distributions.discrete import Discrete, Factor, Factored
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
    with_gradient,
)


class TopCategories(Estimator):
    """Unbiased. q is a product of independent latents; k is cut to V − 1 (which is exact)."""

    def __init__(self, categories: int = 1, samples: int = 1) -> None:
        super().__init__()
        if categories < 1:
            raise ValueError(f"top_categories sums over at least 1 category, not {categories}")
        self.categories = categories
        self.samples = check_samples(samples, 1, "top_categories")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "top_categories")
        z = q.split(q.sample(self.samples, generator))
        values, gradients = [], []
        for index, factor in enumerate(q.factors):
            value, gradient = self._factor(q, f, z, index, factor, generator)
            values.append(value)
            gradients.append(gradient)
        f_z = torch.stack(values).mean(0)
        surrogate = with_gradient(f_z, torch.stack(gradients).sum(0))
        return Estimate(surrogate, f_z.detach(), torch.zeros_like(f_z.detach()))

    def _factor(
        self,
        q: Factored,
        f: Objective,
        z: tuple[Tensor, ...],
        index: int,
        factor: Factor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """An estimate of E f and a surrogate of ∇ E f with respect to one factor, both [*B]."""
        table = factor.table()  # [*B, N, V]
        chosen, rest = self._choose(table.detach(), generator)  # [S, *B, N, k + 1], [*B, N]
        f_v = values_of(q, f, z, index, chosen)  # [S, *B, N, k + 1]
        log_q = table.expand(*chosen.shape[:-1], -1).gather(-1, chosen)
        # The last of the chosen stands for all the rest.
        log_last = torch.where(rest > 0, log_q[..., -1], torch.zeros_like(log_q[..., -1]))
        top = log_q[..., :-1].exp()
        weight = torch.cat([top.detach(), rest.expand(top.shape[:-1])[..., None]], -1)
        value = (weight * f_v).sum(-1).mean(-1).mean(0)
        signal = f_v.detach()
        gradient = (top * signal[..., :-1]).sum(-1) + rest * signal[..., -1] * log_last
        return value, gradient.sum(-1).mean(0)

    def _choose(self, table: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The k greatest categories and one drawn from the others; the others' probability."""
        k = min(self.categories, table.shape[-1] - 1)
        top = table.topk(k, -1).indices  # [*B, N, k]
        others = table.scatter(-1, top, float("-inf"))
        noise = gumbel((self.samples, *table.shape), table, generator)
        # Not −inf: where the rest has no mass at all, any of it may be drawn (it weighs nothing).
        drawn = (others.clamp(min=-1e30) + noise).scatter(
            -1, top.expand(self.samples, *top.shape), float("-inf")
        )
        drawn = drawn.argmax(-1, keepdim=True)
        chosen = torch.cat([top.expand(self.samples, *top.shape), drawn], -1)
        return chosen, others.exp().sum(-1)


def values_of(
    q: Factored, f: Objective, z: tuple[Tensor, ...], index: int, chosen: Tensor
) -> Tensor:
    """f with latent n of one factor set to its chosen values, [S, *B, N, k + 1]."""
    changed = q.factors[index].one_changed(z[index])  # [N, V, S, *B, …]
    trailing = changed.dim() - chosen.dim() - 1 + 1  # axes of an item's z: N, or N and V
    take = chosen.movedim((-2, -1), (0, 1))  # [N, k + 1, S, *B]
    take = take.reshape(*take.shape, *[1] * trailing)
    changed = changed.gather(1, take.expand(*take.shape[:2], *changed.shape[2:]))
    n, k = changed.shape[:2]
    parts = [
        changed.flatten(0, 2) if i == index else part.repeat(n * k, *[1] * (part.dim() - 1))
        for i, part in enumerate(z)
    ]
    f_v = f(q.join(parts)).reshape(n, k, *chosen.shape[:-2])
    return f_v.movedim((0, 1), (-2, -1))


build = TopCategories
