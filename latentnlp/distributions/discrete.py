"""What the distributions q(z) over discrete latents answer; the estimators need nothing else.

Letters: S samples, *B any leading batch shape, N latents an item, V values a latent. Samples come
first. A mask [*B, N] marks padding with False: a padded latent is 0 in every sample, adds 0 to
every log-probability, and no gradient reaches its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Latent = Tensor | tuple[Tensor, ...]
"""One family's draws are a tensor [S, *B, N] or [S, *B, N, V]; a product's are a tuple of such."""

MAX_STATES = 2**20  # more would not fit; enumeration is for small problems and for tests


class Discrete(Protocol):
    """q(z): draws, log-probabilities, the mode, the support."""

    @property
    def batch_shape(self) -> torch.Size: ...

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Latent:
        """z ~ q, [S, *B, …], without gradient."""
        ...

    def log_prob_terms(self, z: Latent) -> Tensor:
        """log q(z_n | z_<n) of every latent, [S, *B, N]; 0 at padding."""
        ...

    def log_prob(self, z: Latent) -> Tensor:
        """log q(z), [S, *B]."""
        ...

    def squared_score(self, z: Latent) -> Tensor:
        """|∂ log q(z_n | z_<n) / ∂ logits_n|² of every latent, [S, *B, N], without gradient."""
        ...

    def mode(self) -> Latent:
        """argmax_z q(z), [*B, …] (where this is intractable, the docstring says what it is)."""
        ...

    def entropy(self) -> Tensor:
        """−E_q log q(z), [*B], differentiable."""
        ...

    def enumerate_support(self) -> tuple[Latent, Tensor]:
        """Every state z, [M, *B, …], and log q(z), [M, *B], differentiable.

        An item with padding meets a state more than once; the repetitions have log q = −inf.
        Raises ValueError where there are more than `MAX_STATES`.
        """
        ...


@runtime_checkable
class Factor(Discrete, Protocol):
    """N independent latents of one family, whose parameters are one tensor of ``logits``."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def mask(self) -> Tensor | None: ...

    def with_logits(self, logits: Tensor) -> Factor: ...

    def mean(self) -> Tensor:
        """E_q z, [*B, …], differentiable."""
        ...

    def score(self, z: Tensor) -> Tensor:
        """∂ log q(z) / ∂ logits, [S, *B, …], as a function of the logits; 0 at padding."""
        ...

    def table(self) -> Tensor:
        """log q(z_n = v) of every latent and value, [*B, N, V]; padding is surely the first."""
        ...

    def one_changed(self, z: Tensor) -> Tensor:
        """z with latent n set to v, for every n and v, [N, V, S, *B, …]."""
        ...

    def relaxed(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """A draw z and its concrete relaxation, both [S, *B, …]; the second is differentiable."""
        ...

    def coupled_relaxation(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """z, the relaxed z whose hardening z is, and a relaxed z̃ ~ q(· | z), drawn anew."""
        ...


@runtime_checkable
class Factored(Discrete, Protocol):
    """A product of independent factors: one factor alone is a product too."""

    @property
    def factors(self) -> tuple[Factor, ...]: ...

    def join(self, parts: Sequence[Tensor]) -> Latent:
        """The factors' draws as one z."""
        ...

    def split(self, z: Latent) -> tuple[Tensor, ...]:
        """z as the factors' draws."""
        ...


def tensor_of(z: Latent) -> Tensor:
    """z of a single family."""
    if isinstance(z, tuple):
        raise TypeError("a single family's z is one tensor, not a tuple")
    return z


def masked(terms: Tensor, mask: Tensor | None) -> Tensor:
    """0 at padding, and no gradient through it."""
    return terms if mask is None else torch.where(mask, terms, terms.new_zeros(()))


def finite(noisy: Tensor) -> Tensor:
    """±inf as great numbers: inf times a gradient of 0, as a temperature meets it, is NaN."""
    return noisy.clamp(-1e30, 1e30)


def masked_table(table: Tensor, mask: Tensor | None) -> Tensor:
    """[*B, N, V] with log 1 for the first value and log 0 for the others at padding."""
    if mask is None:
        return table
    first = torch.zeros_like(table[..., :1])
    certain = torch.cat([first, torch.full_like(table[..., 1:], float("-inf"))], -1)
    return torch.where(mask[..., None], table, certain)


def check_states(states: int) -> None:
    if states > MAX_STATES:
        raise ValueError(
            f"the support has {states} states, more than the {MAX_STATES} that can be enumerated: "
            "use a sampling estimator"
        )
