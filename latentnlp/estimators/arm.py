r"""ARM: augment, reinforce, merge.

    ∇_n = (f(z) − f(z̃)) (u_n − ½),   z = 1[u > σ(−l)], z̃ = 1[u < σ(l)]

Yin and Zhou (2019), theorem 1. DisARM is never worse; ARM stands here to be compared with. 2S
evaluations of f.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete, masked
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
    with_slope,
)
from latentnlp.estimators.disarm import Antithetic


class ARM(Estimator):
    """Unbiased. ``samples`` counts pairs. q is a product of Bernoullis: TypeError otherwise."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "arm")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        pairs = Antithetic.draw(factored(q, "arm"), f, self.samples, generator)
        surrogate = torch.zeros_like(pairs.value)
        for b, _, _, u in pairs.parts:
            gradient = pairs.difference[..., None] * (u - 0.5)  # [S, *B, N]
            surrogate = surrogate + masked(with_slope(b.logits, gradient), b.mask).sum(-1).mean(0)
        return pairs.estimate(surrogate)


build = ARM
