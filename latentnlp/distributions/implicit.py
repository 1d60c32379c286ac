r"""The implicit likelihood of a deterministic map of noise.

    x = g(ε), ε ~ p(ε):      p(x) = Σ_ε p(ε) 1[g(ε) = x] = E_ε 1[g(ε) = x]

Diggle and Gratton (1984); Mohamed and Lakshminarayanan (2016). Exactly by enumeration where the
noise is discrete and small, else by Monte Carlo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete, Latent


@dataclass(frozen=True)
class ImplicitLikelihood:
    """log p(x) and, of a Monte Carlo estimate, the standard error of p(x); both [*B]."""

    log_prob: Tensor  # -inf where no noise gives x
    standard_error: Tensor  # of p(x), not of its logarithm; 0 if exact


def by_enumeration(x: Tensor, g: Callable[[Latent], Tensor], noise: Discrete) -> ImplicitLikelihood:
    """x: [*B, …]; g: ε [M, *B, …] → [M, *B, …]. ValueError for more than 2^20 states."""
    epsilon, log_p = noise.enumerate_support()
    hit = _equal(g(epsilon), x, log_p.dim())
    log_p = torch.where(hit, log_p, torch.full_like(log_p, float("-inf")))
    # A logsumexp over nothing but -inf has a NaN gradient.
    any_hit = (log_p > float("-inf")).any(0)
    safe = torch.where(any_hit, log_p, torch.zeros_like(log_p)).logsumexp(0)
    log_prob = torch.where(any_hit, safe, torch.full_like(safe, float("-inf")))
    return ImplicitLikelihood(log_prob, torch.zeros_like(log_prob))


def by_monte_carlo(
    x: Tensor,
    g: Callable[[Any], Tensor],
    noise: Callable[[int, torch.Generator | None], Any],
    samples: int,
    batch_dimensions: int = 1,
    generator: torch.Generator | None = None,
    chunk: int = 1024,
) -> ImplicitLikelihood:
    """noise(S, generator) gives S draws of ε, for instance a distribution's `sample`.

    x is [*B, …] with ``batch_dimensions`` axes of items. The draws are made ``chunk`` at a time.
    ValueError for fewer than 2 samples.
    """
    if samples < 2:
        raise ValueError(f"a Monte Carlo estimate needs at least 2 samples, not {samples}")
    hits = torch.zeros(x.shape[:batch_dimensions], device=x.device, dtype=torch.float64)
    for start in range(0, samples, chunk):
        out = g(noise(min(chunk, samples - start), generator))
        hits = hits + _equal(out, x, batch_dimensions + 1).sum(0)
    p = hits / samples
    return ImplicitLikelihood(p.log(), (p * (1 - p) / (samples - 1)).sqrt())


def _equal(out: Tensor, x: Tensor, axes: int) -> Tensor:
    """Is each of the outputs [M, *B, …] the item's x?"""
    same = out == x[None]
    return same.flatten(axes).all(-1) if same.dim() > axes else same
