r"""REBAR: the concrete relaxation as a control variate, coupled with the hard draw.

    ∇ E_q[f] = E[(f(z) − η f(ζ̃)) ∇ log q(z) + η ∇f(ζ) − η ∇f(ζ̃)]

ζ is the relaxed sample at temperature λ whose hardening is z, and ζ̃ ~ p(ζ | z) is drawn anew.
Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein (2017), equation 5; η and λ are trained to make
the variance small. f must be differentiable at relaxed z; 3S evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentnlp.distributions.discrete import Discrete, Factor, Factored
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
    with_gradient,
    with_slope,
)


class REBAR(Estimator):
    """Unbiased at every η and λ. ``baseline_loss`` is the squared gradient of the logits."""

    def __init__(self, samples: int = 1, temperature: float = 0.5, scale: float = 1.0) -> None:
        """temperature: λ at the start; scale: η at the start."""
        super().__init__()
        self.samples = check_samples(samples, 1, "rebar")
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def control(self, f: Objective, q: Factored, zeta: Sequence[Tensor]) -> Tensor:
        """c(ζ), [S, *B]."""
        return self.scale * f(q.join(zeta))

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "rebar")
        # The control variate works on copies of the logits: what it learns must not reach q.
        logits = [factor.logits.detach().requires_grad_() for factor in q.factors]
        copy = [g.with_logits(own) for g, own in zip(q.factors, logits, strict=True)]
        draws = [
            factor.coupled_relaxation(self.samples, self.log_temperature.exp(), generator)
            for factor in copy
        ]
        z = [draw[0] for draw in draws]
        f_z = f(q.join(z))  # [S, *B]

        def control(which: int) -> Tensor:
            return self.control(f, q, [draw[which] for draw in draws])

        gradients = relaxed_gradient(copy, logits, z, f_z.detach(), control(1), control(2))
        return Estimate(
            with_gradient(f_z.mean(0), linear(q, gradients)),
            f_z.detach().mean(0),
            self._variance_loss(q, gradients),
        )

    def _variance_loss(self, q: Factored, gradients: Sequence[Tensor]) -> Tensor:
        """Σ (gradient)², [*B], whose own gradient reaches the control variate alone.

        The mean gradient is fixed, so the second moment's slope is the variance's.
        """
        loss = torch.stack([item_sum(g.square(), q) for g in gradients]).sum(0)
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not (self.training and parameters and loss.requires_grad):
            return loss.detach()
        # f's parameters are in the same graph: differentiate here, pass on a linear function.
        slopes = torch.autograd.grad(loss.sum(), parameters, allow_unused=True, retain_graph=True)
        pairs = zip(parameters, slopes, strict=True)
        slope = sum(((p - p.detach()) * s).sum() for p, s in pairs if s is not None)
        return loss.detach() + slope / max(loss.numel(), 1)


def relaxed_gradient(
    q: Sequence[Factor],
    logits: Sequence[Tensor],
    z: Sequence[Tensor],
    f_z: Tensor,
    c_free: Tensor,
    c_given: Tensor,
) -> list[Tensor]:
    """(f(z) − c(ζ̃)) ∇ log q(z) + ∇c(ζ) − ∇c(ζ̃), averaged over samples: [*B, …] of every factor."""
    paths = torch.autograd.grad(
        (c_free - c_given).sum(), logits, create_graph=True, materialize_grads=True
    )
    left = f_z - c_given  # [S, *B]
    gradients = []
    for factor, part, path in zip(q, z, paths, strict=True):
        score = factor.score(part).detach()
        weight = left.reshape(*left.shape, *[1] * (score.dim() - left.dim()))
        gradients.append((weight * score).mean(0) + path / left.shape[0])
    return gradients


def linear(q: Factored, gradients: Sequence[Tensor]) -> Tensor:
    """A function of q's logits, [*B], with these gradients."""
    terms = [
        item_sum(with_slope(factor.logits, g), q)
        for factor, g in zip(q.factors, gradients, strict=True)
    ]
    return torch.stack(terms).sum(0)


def item_sum(values: Tensor, q: Factored) -> Tensor:
    """[*B, …] → [*B]."""
    return values.flatten(len(q.batch_shape)).sum(-1)


build = REBAR
