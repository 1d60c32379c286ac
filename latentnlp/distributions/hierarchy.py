"""Layers of latents, each given those before it: q(z) = q(z_1) Π_l q(z_l | z_1, …, z_{l−1})."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from latentnlp.distributions.discrete import Discrete, Latent, check_states, tensor_of

Conditional = Callable[..., Discrete]
"""(z_1 [S, *B, …], …, z_{l−1}) → q(z_l | z_1 … z_{l−1}), of batch shape [S, *B]."""


class Hierarchy:
    """z is a tuple with one tensor a layer. `mode` is ancestral: each layer's own, in order."""

    def __init__(self, first: Discrete, conditionals: Sequence[Conditional]) -> None:
        self.first, self.conditionals = first, tuple(conditionals)

    @property
    def batch_shape(self) -> torch.Size:
        return self.first.batch_shape

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Latent:
        layers = [tensor_of(self.first.sample(samples, generator))]
        for conditional in self.conditionals:
            layers.append(tensor_of(conditional(*layers).sample(1, generator)).squeeze(0))
        return tuple(layers)

    def log_prob_terms(self, z: Latent) -> Tensor:
        """[S, *B, N_1 + … + N_L]: the layers one after the other."""
        return torch.cat([q.log_prob_terms(part) for q, part in self._layers(z)], -1)

    def log_prob(self, z: Latent) -> Tensor:
        return self.log_prob_terms(z).sum(-1)

    def squared_score(self, z: Latent) -> Tensor:
        return torch.cat([q.squared_score(part) for q, part in self._layers(z)], -1)

    def mode(self) -> Latent:
        layers = [tensor_of(self.first.mode())[None]]
        for conditional in self.conditionals:
            layers.append(tensor_of(conditional(*layers).mode()))
        return tuple(layer.squeeze(0) for layer in layers)

    def entropy(self) -> Tensor:
        """By enumeration: raises ValueError where the support is too large."""
        _, log_q = self.enumerate_support()
        finite = torch.where(log_q.isinf(), torch.zeros_like(log_q), log_q)
        return -(log_q.exp() * finite).sum(0)

    def enumerate_support(self) -> tuple[Latent, Tensor]:
        z, log_q = self.first.enumerate_support()
        layers = [tensor_of(z)]  # [M, *B, …]
        for conditional in self.conditionals:
            _, one = conditional(*(layer[:1] for layer in layers)).enumerate_support()
            check_states(one.shape[0] * log_q.shape[0])  # before they are made
            z, given = conditional(*layers).enumerate_support()  # [m, M, *B, …], [m, M, *B]
            layers = [layer.expand(given.shape[0], *layer.shape).flatten(0, 1) for layer in layers]
            layers.append(tensor_of(z).flatten(0, 1))
            log_q = (log_q + given).flatten(0, 1)
        return tuple(layers), log_q

    def _layers(self, z: Latent) -> list[tuple[Discrete, Tensor]]:
        if not isinstance(z, tuple) or len(z) != 1 + len(self.conditionals):
            raise TypeError(f"z of this hierarchy is a tuple of {1 + len(self.conditionals)}")
        # A conditional's parameters already have the samples' axis: its z has one batch more.
        given = [conditional(*z[: n + 1]) for n, conditional in enumerate(self.conditionals)]
        return list(zip([self.first, *given], z, strict=True))
