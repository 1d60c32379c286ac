"""Independent families side by side: q(z) = Π_k q_k(z_k), z = (z_1, …, z_K)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Factor, Latent, check_states


class Product:
    """z is a tuple with one tensor a factor. All factors have one batch shape."""

    def __init__(self, factors: Sequence[Factor]) -> None:
        """Raises ValueError where the batch shapes differ, or there is no factor."""
        if len({factor.batch_shape for factor in factors}) != 1:
            shapes = [tuple(factor.batch_shape) for factor in factors]
            raise ValueError(f"a product needs factors of one batch shape, not {shapes}")
        self._factors = tuple(factors)

    @property
    def factors(self) -> tuple[Factor, ...]:
        return self._factors

    @property
    def batch_shape(self) -> torch.Size:
        return self._factors[0].batch_shape

    def join(self, parts: Sequence[Tensor]) -> Latent:
        return tuple(parts)

    def split(self, z: Latent) -> tuple[Tensor, ...]:
        if not isinstance(z, tuple) or len(z) != len(self._factors):
            raise TypeError(f"z of this product is a tuple of {len(self._factors)} tensors")
        return z

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Latent:
        draws = [factor.sample(samples, generator) for factor in self._factors]
        return tuple(z for z in draws if isinstance(z, Tensor))

    def log_prob_terms(self, z: Latent) -> Tensor:
        return torch.cat([f.log_prob_terms(part) for f, part in self._pairs(z)], -1)

    def log_prob(self, z: Latent) -> Tensor:
        return self.log_prob_terms(z).sum(-1)

    def squared_score(self, z: Latent) -> Tensor:
        return torch.cat([f.squared_score(part) for f, part in self._pairs(z)], -1)

    def mode(self) -> Latent:
        modes = [factor.mode() for factor in self._factors]
        return tuple(z for z in modes if isinstance(z, Tensor))

    def entropy(self) -> Tensor:
        return torch.stack([factor.entropy() for factor in self._factors]).sum(0)

    def enumerate_support(self) -> tuple[Latent, Tensor]:
        supports = [factor.enumerate_support() for factor in self._factors]
        sizes = [log_q.shape[0] for _, log_q in supports]
        check_states(torch.Size(sizes).numel())
        device = supports[0][1].device
        grid = torch.cartesian_prod(*[torch.arange(size, device=device) for size in sizes])
        columns = grid.reshape(-1, len(sizes)).unbind(-1)  # [M] of every factor
        states = [
            z[c] for (z, _), c in zip(supports, columns, strict=True) if isinstance(z, Tensor)
        ]
        log_q = [log_q[c] for (_, log_q), c in zip(supports, columns, strict=True)]
        return tuple(states), torch.stack(log_q).sum(0)

    def _pairs(self, z: Latent) -> list[tuple[Factor, Tensor]]:
        return list(zip(self._factors, self.split(z), strict=True))
