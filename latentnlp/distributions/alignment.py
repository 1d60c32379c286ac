"""What every distribution over alignments p(a | x, y) answers.

An alignment a = a_1 … a_J gives each target position j a source position (0-based) or NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NULL = -1  # the value of a_j that stands for "aligned to nothing"
LOG_ZERO = float("-inf")


@dataclass(frozen=True)
class Posteriors:
    """Marginals of p(a | x, y); 0 at padding."""

    emission: Tensor  # [B, J, I]  p(a_j = i)
    null: Tensor  # [B, J]  p(a_j = NULL)
    log_partition: Tensor  # [B]  log Σ_a p(a, y | x)


class AlignmentDistribution(Protocol):
    """p(a | x, y) of a batch, up to its normaliser log Σ_a p(a, y | x)."""

    def log_partition(self) -> Tensor:
        """log Σ_a p(a, y | x), [B], differentiable."""
        ...

    def posteriors(self) -> Posteriors:
        """Marginals, without autograd."""
        ...

    def mode(self) -> Tensor:
        """argmax_a p(a | x, y), [B, J]; NULL at padding."""
        ...

    def log_potential(self, alignment: Tensor) -> Tensor:
        """log p(a, y | x), [..., B], of alignments [..., B, J]."""
        ...

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws a ~ p(a | x, y), [S, B, J]."""
        ...
