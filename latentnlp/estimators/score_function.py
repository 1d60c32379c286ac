r"""The score function estimator, with any baselines.

    ∇ E_q[f(z)] = E_q[∇f(z) + (f(z) − b) ∇ log q(z)]

Williams (1992), "REINFORCE"; f is a black box, S samples. b is whatever the baselines take away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    with_gradient,
)
from latentnlp.estimators.baselines import Baseline, Draw, LeaveOneOut


class ScoreFunction(Estimator):
    """Unbiased. S evaluations of f (and one more with the self-critical baseline)."""

    def __init__(self, samples: int = 1, baselines: Sequence[Baseline] = ()) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "score_function")
        self.baselines = composed(baselines)

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z = q.sample(self.samples, generator)
        f_z = f(z)  # [S, *B]
        left, baseline_loss = subtract(self.baselines, f_z.detach(), Draw(q, f, z, context))
        surrogate = f_z.mean(0)
        surrogate = with_gradient(surrogate, weighted_log_prob(left, q, z).mean(0))
        return Estimate(surrogate, f_z.detach().mean(0), baseline_loss)


def composed(baselines: Sequence[Baseline]) -> nn.ModuleList:
    """Raises ValueError for a second leave-one-out: what the first leaves of the other samples
    depends on this one."""
    if sum(isinstance(baseline, LeaveOneOut) for baseline in baselines) > 1:
        raise ValueError("take leave_one_out once: a second one would make the gradient biased")
    return nn.ModuleList(baselines)


def subtract(baselines: nn.ModuleList, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """(f(z) − b) and the baselines' loss [*B]; ``signal`` has no graph."""
    loss = signal.new_zeros(draw.q.batch_shape)
    for baseline in baselines:
        signal, own = baseline(signal, draw)
        loss = loss if own is None else loss + own
    return signal, loss


def weighted_log_prob(signal: Tensor, q: Discrete, z: Latent) -> Tensor:
    """signal · log q(z), [S, *B]; Σ_n signal_n log q(z_n | z_<n) where every latent has its own."""
    if signal.dim() == len(q.batch_shape) + 1:
        return signal * q.log_prob(z)
    return (signal * q.log_prob_terms(z)).sum(-1)


build = ScoreFunction
