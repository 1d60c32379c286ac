r"""DisARM: antithetic pairs for Bernoulli latents.

    ∇_n = ½ (f(z) − f(z̃)) (−1)^{z̃_n} 1[z_n ≠ z̃_n] σ(|l_n|),   z = 1[u > σ(−l)], z̃ = 1[u < σ(l)]

Dong, Mnih and Tucker (2020), equation 7; Yin, Ho, Zhou and Qiao (2020, "U2G") found the same. It is
ARM with its uniform noise integrated out. 2S evaluations of f.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions._noise import precise, uniform
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.discrete import Discrete, Factored, masked
from latentnlp.estimators._contract import (
    Estimate,
    Estimator,
    Objective,
    check_samples,
    factored,
    with_gradient,
    with_slope,
)


class DisARM(Estimator):
    """Unbiased. ``samples`` counts pairs. q is a product of Bernoullis: TypeError otherwise."""

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self.samples = check_samples(samples, 1, "disarm")

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        q = factored(q, "disarm")
        pairs = Antithetic.draw(q, f, self.samples, generator)
        surrogate = torch.zeros_like(pairs.value)
        for b, z, z_, _ in pairs.parts:
            weight = (1 - 2 * z_) * (z != z_) * b.logits.detach().abs().sigmoid()  # [S, *B, N]
            gradient = 0.5 * pairs.difference[..., None] * weight
            surrogate = surrogate + masked(with_slope(b.logits, gradient), b.mask).sum(-1).mean(0)
        return pairs.estimate(surrogate)


class Antithetic:
    """f at pairs (z, z̃) made from u and 1 − u: each is a draw from q."""

    def __init__(
        self,
        parts: list[tuple[Bernoulli, Tensor, Tensor, Tensor]],
        value: Tensor,
        difference: Tensor,
    ) -> None:
        self.parts, self.value, self.difference = parts, value, difference

    @classmethod
    def draw(
        cls, q: Factored, f: Objective, samples: int, generator: torch.Generator | None
    ) -> Antithetic:
        parts = []
        for b in q.factors:
            if not isinstance(b, Bernoulli):
                raise TypeError(
                    f"antithetic pairs are for Bernoulli latents, not {type(b).__name__}"
                )
            logits = precise(b.logits.detach())
            u = uniform((samples, *logits.shape), logits, generator)
            z = masked((u > (-logits).sigmoid()).to(b.logits.dtype), b.mask)
            z_ = masked((u < logits.sigmoid()).to(b.logits.dtype), b.mask)
            parts.append((b, z, z_, u))
        both = q.join([torch.cat([z, z_]) for _, z, z_, _ in parts])
        f_z, f_z_ = f(both).chunk(2)  # [S, *B] each
        return cls(parts, 0.5 * (f_z + f_z_).mean(0), (f_z - f_z_).detach())

    def estimate(self, surrogate: Tensor) -> Estimate:
        value = self.value.detach()
        return Estimate(with_gradient(self.value, surrogate), value, torch.zeros_like(value))


build = DisARM
