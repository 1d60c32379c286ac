r"""MuProp: the control variate is f's first-order Taylor expansion at the mean.

    h(z) = f(z̄) + f'(z̄)ᵀ (z − z̄),  z̄ = E_q z
    ∇ E_q[f] = E_q[(f(z) − h(z) − b) ∇ log q(z)] + f'(z̄)ᵀ ∇z̄

Gu, Levine, Sutskever and Mnih (2016), equation 4. f must be differentiable at relaxed z: S + 1
evaluations and one gradient of it.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from latentnlp.estimators.baselines import Baseline, Draw, VarianceNormalisation
from latentnlp.estimators.score_function import composed, subtract, weighted_log_prob


class MuProp(Estimator):
    """Unbiased. Baselines work on what the expansion leaves of f."""

    def __init__(self, samples: int = 1, baselines: Sequence[Baseline] = ()) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "muprop")
        if any(isinstance(baseline, VarianceNormalisation) for baseline in baselines):
            raise ValueError(
                "muprop cannot take variance_normalisation: it would shorten one of the two terms"
                " of the gradient and turn its direction"
            )
        self.baselines = composed(baselines)

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "muprop")
        z = q.sample(self.samples, generator)
        f_z = f(z)  # [S, *B]
        means = [factor.mean() for factor in q.factors]
        at = [mean.detach()[None].requires_grad_() for mean in means]  # S = 1
        f_mean = f(q.join(at))
        slopes = torch.autograd.grad(f_mean.sum(), at)  # f'(z̄), [1, *B, …]
        signal = f_z.detach() - f_mean.detach()
        surrogate = torch.zeros_like(f_mean[0])
        for mean, slope, part in zip(means, slopes, q.split(z), strict=True):
            axes = tuple(range(len(q.batch_shape) + 1, part.dim()))
            signal = signal - (slope * (part - mean.detach())).sum(axes)
            surrogate = surrogate + (slope * mean).sum(axes)[0]
        left, baseline_loss = subtract(self.baselines, signal, Draw(q, f, z, context))
        surrogate = surrogate + weighted_log_prob(left, q, z).mean(0)
        surrogate = with_gradient(f_z.mean(0), surrogate)
        return Estimate(surrogate, f_z.detach().mean(0), baseline_loss)


build = MuProp
