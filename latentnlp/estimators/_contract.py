r"""What every estimator of ∇ E_q[f(z)] takes and gives.

    estimator(q, f, context=None, generator=None) -> Estimate

f maps z [S, *B, …] to one number a sample and item, [S, *B], to be made large or small as the
caller likes: the estimate is of the gradient of E_q[f(z)], whatever its sign. f may have parameters
of its own and may depend on those of q; gradients reach them through ``surrogate`` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from latentnlp.distributions.discrete import Discrete, Factored, Latent

Objective = Callable[[Latent], Tensor]
"""f: z [S, *B, …] → [S, *B] (an estimator with local signals wants [S, *B, M], see there)."""


@dataclass(frozen=True)
class Estimate:
    """One estimate an item of the batch: sum or average it over the batch as the loss asks."""

    surrogate: Tensor
    """[*B]. Its value is an estimate of E_q[f(z)], its gradient one of ∇ E_q[f(z)]."""

    value: Tensor
    """[*B], the same value without a graph."""

    baseline_loss: Tensor
    """[*B], to be made small: it trains baselines and control variates, and nothing else."""


class Estimator(nn.Module):
    """One way to estimate ∇ E_q[f(z)]. Its state (baselines, control variates) is a module's.

    In training mode a call updates the state, after it has been used; `eval()` freezes it.
    """

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        """q: the distribution; f: see above; context: what a neural baseline reads, [*B, D]."""
        raise NotImplementedError


def with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """Something with the value of ``value`` and the gradients of both."""
    return value + (surrogate - surrogate.detach())


def with_slope(logits: Tensor, gradient: Tensor) -> Tensor:
    """A function of the logits with this gradient; a certain latent (±inf) has none."""
    return gradient.detach() * torch.where(logits.isinf(), torch.zeros_like(logits), logits)


def factored(q: Discrete, estimator: str) -> Factored:
    """q, if it is a product of independent factors. Raises TypeError if not."""
    if not hasattr(q, "factors"):  # isinstance of a protocol costs 80 µs in Python 3.11
        raise TypeError(
            f"{estimator} needs a product of independent latents (Bernoulli, Categorical, Product),"
            f" not {type(q).__name__}: use an estimator that only samples, as score_function"
        )
    return cast(Factored, q)


def check_samples(samples: int, least: int, estimator: str) -> int:
    """The number of samples. Raises ValueError where there are too few."""
    if samples < least:
        raise ValueError(f"{estimator} needs at least {least} samples, not {samples}")
    return samples
