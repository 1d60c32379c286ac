r"""The Dirichlet, over log θ: for a small concentration θ itself underflows.

    log p(θ) = log Γ(Σ_k a_k) − Σ_k log Γ(a_k) + Σ_k (a_k − 1) log θ_k,   Σ_k θ_k = 1

The density is that of θ (with respect to dθ_1 … dθ_{K−1}), a draw is written down as log θ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions._noise import precise, uniform
from latentnlp.distributions.discrete import Latent, tensor_of


def log_gamma(a: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """log g, g ~ Gamma(a, 1), of the shape of ``a``.

    log g = log g' + (log u) / a with g' ~ Gamma(a + 1), u ~ Uniform(0, 1) (Marsaglia and Tsang
    2000, section 6): finite where g underflows.
    """
    more = torch._standard_gamma(a + 1, generator)  # pyright: ignore[reportPrivateImportUsage]
    return more.log() + uniform(a.shape, a, generator).log() / a


class Dirichlet:
    """Concentration a > 0, [*B, K]."""

    def __init__(self, concentration: Tensor) -> None:
        """Raises ValueError where a concentration has no last dimension."""
        if concentration.dim() < 1:
            raise ValueError("concentration () is not [*B, K]")
        self.concentration = precise(concentration)

    @property
    def batch_shape(self) -> torch.Size:
        return self.concentration.shape[:-1]

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z = log θ, [S, *B, K], without gradient."""
        a = self.concentration.detach().expand(samples, *self.concentration.shape)
        return log_gamma(a, generator).log_softmax(-1)

    def log_prob(self, z: Latent) -> Tensor:
        """log p(θ), [S, *B], of z = log θ."""
        a = self.concentration
        return ((a - 1) * tensor_of(z)).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def mean(self) -> Tensor:
        """E θ, [*B, K]."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    def mean_log(self) -> Tensor:
        """E log θ, [*B, K]."""
        return self.concentration.digamma() - self.concentration.sum(-1, keepdim=True).digamma()

    def divergence(self, prior: Dirichlet) -> Tensor:
        """KL(self ‖ prior), [*B], in float64: its terms are large and nearly cancel."""
        a, b = self.concentration.double(), prior.concentration.double()
        expected = ((a - b) * Dirichlet(a).mean_log()).sum(-1)
        norm_a = a.sum(-1).lgamma() - a.lgamma().sum(-1)
        norm_b = b.sum(-1).lgamma() - b.lgamma().sum(-1)
        return norm_a - norm_b + expected


def most_likely(mean_log: Tensor, start: Tensor, iterations: int = 20) -> Tensor:
    """The concentration [K] whose E log θ is ``mean_log`` [K]: the maximum of the likelihood.

    Newton's steps with the Hessian's inverse in closed form (Minka 2000, section 1; Blei, Ng and
    Jordan 2003, appendix A.2), on log a so that a stays positive.
    """
    wanted, log_a = mean_log.double(), start.double().log()
    for _ in range(iterations):
        a = log_a.exp()
        total = a.sum()
        gradient = a * (total.digamma() - a.digamma() + wanted)
        # The Hessian in log a, without the gradient's own term, is diag(−q) + c a aᵀ: negative
        # definite everywhere, so that a step climbs from far away too.
        q, c = a.square() * torch.polygamma(1, a), torch.polygamma(1, total)
        shared = c * (a * gradient / q).sum() / (1 - c * (a.square() / q).sum())
        log_a = log_a + ((gradient + shared * a) / q).clamp(-1, 1)
    return log_a.exp().to(start.dtype)
