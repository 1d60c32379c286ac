r"""The clipped surrogate of PPO: several steps on the same samples.

    r(z) = q(z) / q_old(z),  A = f(z) − b
    surrogate = min(r A, clip(r, 1 − ε, 1 + ε) A)        (to be made large)

Schulman, Wolski, Dhariwal, Radford and Klimov (2017), equation 7. The first step on fresh samples
(r = 1) is the score function; later ones are biased towards small steps, on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    with_gradient,
)
from latentnlp.estimators.baselines import Baseline, Draw
from latentnlp.estimators.score_function import composed, subtract


@dataclass(frozen=True)
class Rollout:
    """Samples kept for several steps, without a graph."""

    z: Latent
    log_q: Tensor  # [S, *B], of the q that drew them
    advantage: Tensor  # [S, *B]
    value: Tensor  # [*B]
    baseline_loss: Tensor  # [*B]; with a graph to the baselines


class PPO(Estimator):
    """f is to be made LARGE (clipping needs to know). Unbiased on fresh samples only.

    ``estimator(q, f)`` draws and steps once. For more steps on the same samples::

        rollout = ppo.draw(q, f, context)
        for _ in range(epochs):
            loss = -ppo.surrogate(q_of_the_new_parameters, rollout).surrogate.mean()

    and once ``rollout.baseline_loss``, for the baselines.
    """

    def __init__(
        self, samples: int = 1, baselines: Sequence[Baseline] = (), clip: float = 0.2
    ) -> None:
        super().__init__()
        if not clip > 0:
            raise ValueError(f"clip must be above 0, not {clip}")
        self.samples = check_samples(samples, 1, "ppo")
        self.baselines, self.clip = composed(baselines), clip

    def draw(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Rollout:
        z = q.sample(self.samples, generator)
        with torch.no_grad():
            f_z, log_q = f(z), q.log_prob(z)
        return self._rollout(q, f, z, f_z, log_q, context)

    def surrogate(self, q: Discrete, rollout: Rollout) -> Estimate:
        """The clipped surrogate of ``q`` on kept samples; f's own parameters get no gradient.

        ``baseline_loss`` is 0: the rollout's has one graph, good for one step.
        """
        ratio = (q.log_prob(rollout.z) - rollout.log_q).exp()  # [S, *B]
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        least = torch.minimum(ratio * rollout.advantage, clipped * rollout.advantage)
        surrogate = with_gradient(rollout.value, least.mean(0))
        return Estimate(surrogate, rollout.value, torch.zeros_like(rollout.value))

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z = q.sample(self.samples, generator)
        f_z = f(z)
        rollout = self._rollout(q, f, z, f_z.detach(), q.log_prob(z).detach(), context)
        estimate = self.surrogate(q, rollout)
        surrogate = with_gradient(estimate.surrogate, f_z.mean(0))
        return Estimate(surrogate, estimate.value, rollout.baseline_loss)

    def _rollout(
        self,
        q: Discrete,
        f: Objective,
        z: Latent,
        f_z: Tensor,
        log_q: Tensor,
        context: Tensor | None,
    ) -> Rollout:
        left, loss = subtract(self.baselines, f_z, Draw(q, f, z, context))
        if left.dim() > f_z.dim():
            raise ValueError("ppo has one advantage a sample: no baseline with one b a latent")
        return Rollout(z, log_q, left, f_z.mean(0), loss)


build = PPO
