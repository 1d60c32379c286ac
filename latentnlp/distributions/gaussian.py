r"""Independent normal variables.

    q(z) = Π_n N(z_n; μ_n, σ_n²),   z = μ + σ ε,  ε ~ N(0, I)
    KL(q ‖ N(0, I)) = ½ Σ_n (μ_n² + σ_n² − 1 − log σ_n²)

Kingma and Welling (2014), appendix B.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Latent, tensor_of

_LOG_2_PI = math.log(2 * math.pi)


class Gaussian:
    """z [S, *B, N], of means μ and log σ, both [*B, N]."""

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        """Raises ValueError where the shapes differ or are not [*B, N]."""
        if location.shape != log_scale.shape or location.dim() < 1:
            shapes = f"location {tuple(location.shape)}, log_scale {tuple(log_scale.shape)}"
            raise ValueError(f"{shapes}: both must be the same [*B, N]")
        self.location, self.log_scale = location, log_scale

    @property
    def batch_shape(self) -> torch.Size:
        return self.location.shape[:-1]

    def mean(self) -> Tensor:
        """μ, [*B, N]."""
        return self.location

    def rsample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ q, [S, *B, N], differentiable in μ and log σ."""
        shape, device = (samples, *self.location.shape), self.location.device
        # Always float32: float64 parameters make the same draws (as `_noise.uniform`).
        noise = torch.randn(shape, device=device, dtype=torch.float32, generator=generator)
        return self.location + self.log_scale.exp() * noise.to(self.location.dtype)

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ q, [S, *B, N], without gradient."""
        return self.rsample(samples, generator).detach()

    def detached(self) -> Gaussian:
        """The same distribution, its parameters without gradient.

        log q of it and of z ~ q.rsample(): in ∇ E_q log q(z) the parameters' own term has a mean of
        0, and is noise that a bound learns better without (Roeder, Wu and Duvenaud 2017).
        """
        return Gaussian(self.location.detach(), self.log_scale.detach())

    def log_prob(self, z: Latent) -> Tensor:
        """log q(z), [S, *B]."""
        noise = (tensor_of(z) - self.location) * (-self.log_scale).exp()
        return (-0.5 * (noise.square() + _LOG_2_PI) - self.log_scale).sum(-1)

    def entropy(self) -> Tensor:
        """−E_q log q(z), [*B], differentiable."""
        return (self.log_scale + 0.5 * (1 + _LOG_2_PI)).sum(-1)

    def divergence_from_standard(self) -> Tensor:
        """KL(q ‖ N(0, I)), [*B], differentiable."""
        variance = (2 * self.log_scale).exp()
        return (0.5 * (self.location.square() + variance - 1) - self.log_scale).sum(-1)


def standard_log_prob(z: Latent) -> Tensor:
    """log N(z; 0, I), [S, *B, N] → [S, *B]."""
    return (-0.5 * (tensor_of(z).square() + _LOG_2_PI)).sum(-1)
