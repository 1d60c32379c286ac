r"""VIMCO, for multi-sample bounds.

    L_K = E[log 1/K Σ_k exp f(z_k)],   f(z) = log p(x, z) − log q(z | x)
    ∇ L_K = E[Σ_k (L̂ − L̂_−k) ∇ log q(z_k) + Σ_k w̃_k ∇ f(z_k)],   w̃ = softmax_k f(z_k)

L̂_−k has the geometric mean of the other weights in place of the k-th. Mnih and Rezende (2016),
equation 10.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    with_gradient,
)


class VIMCO(Estimator):
    """Unbiased, of the *bound* L_K and not of E_q f. K = ``samples`` ≥ 2 evaluations of f."""

    def __init__(self, samples: int = 5) -> None:
        super().__init__()
        self.samples = check_samples(samples, 2, "vimco")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z = q.sample(self.samples, generator)
        log_w = f(z)  # [K, *B]
        bound = log_mean_exp(log_w)
        signal = bound.detach() - without_each(log_w.detach())  # [K, *B]
        surrogate = with_gradient(bound, (signal * q.log_prob(z)).sum(0))
        return Estimate(surrogate, bound.detach(), torch.zeros_like(bound.detach()))


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log 1/K Σ_k w_k."""
    return log_w.logsumexp(0) - math.log(log_w.shape[0])


def without_each(log_w: Tensor) -> Tensor:
    """L̂_−k for every k: log-mean-exp with log w_k replaced by the mean of the others, [K, *B]."""
    count = log_w.shape[0]
    stand_in = (log_w.sum(0) - log_w) / (count - 1)  # [K, *B]
    here = torch.eye(count, dtype=torch.bool, device=log_w.device)
    here = here.reshape(count, count, *[1] * (log_w.dim() - 1))
    # Row k of [K, K, *B]: all weights, the k-th replaced.
    return log_mean_exp(torch.where(here, stand_in[:, None], log_w[None]).transpose(0, 1))


build = VIMCO
