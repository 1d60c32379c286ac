r"""The score function with local signals: latent n answers only for the costs it can cause.

    f(z) = Σ_m f_m(z)
    ∇ E_q[f] = E_q[Σ_n (Σ_{m ∈ D(n)} f_m(z) − b_n) ∇ log q(z_n | z_<n) + ∇f(z)]

D(n) holds the terms that depend on z_n, or on a latent drawn after it that depends on z_n: the
others have expectation 0 against ∇ log q(z_n | z_<n). Rao-Blackwellisation of Ranganath, Gerrish
and Blei (2014, section 3.1); the rule of stochastic computation graphs (Schulman et al. 2015,
theorem 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
from latentnlp.estimators.baselines import Baseline, Draw
from latentnlp.estimators.score_function import composed, subtract, weighted_log_prob

Depends = Callable[[int, int, torch.device], Tensor]
"""(N latents, M terms, device) → Boolean [N, M]: does term m depend on latent n?"""


class LocalSignals(Estimator):
    """Unbiased if ``depends`` is true. f gives its terms apart: [S, *B, M]. S evaluations."""

    def __init__(
        self,
        samples: int = 1,
        baselines: Sequence[Baseline] = (),
        depends: Tensor | Depends | None = None,
    ) -> None:
        """depends: Boolean [N, M] or a function that makes one; None is `causal`."""
        super().__init__()
        self.samples = check_samples(samples, 1, "local_signals")
        self.baselines = composed(baselines)
        self.depends = causal if depends is None else depends

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z = q.sample(self.samples, generator)
        terms = f(z)  # [S, *B, M]
        if terms.dim() != len(q.batch_shape) + 2:
            raise ValueError(f"local_signals needs f's terms apart, [S, *B, M], not {terms.shape}")
        f_z, log_q = terms.sum(-1), q.log_prob_terms(z)
        depends = self.depends
        if not isinstance(depends, Tensor):
            depends = depends(log_q.shape[-1], terms.shape[-1], terms.device)
        signal = terms.detach() @ depends.to(terms).T  # [S, *B, N]

        def summed(z: object) -> Tensor:
            return f(z).sum(-1, keepdim=True)  # type: ignore[arg-type]

        left, baseline_loss = subtract(self.baselines, signal, Draw(q, summed, z, context))
        surrogate = with_gradient(f_z.mean(0), weighted_log_prob(left, q, z).mean(0))
        return Estimate(surrogate, f_z.detach().mean(0), baseline_loss)


def causal(latents: int, terms: int, device: torch.device) -> Tensor:
    """Term m depends on the latents up to m: latent n answers for the terms from n on."""
    n = torch.arange(latents, device=device)[:, None]
    return torch.arange(terms, device=device)[None] >= n


build = LocalSignals
