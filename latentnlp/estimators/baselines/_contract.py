"""What every baseline does: it takes from the learning signal what the sample did not cause.

Baselines compose: each sees what those before it have left of the signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnlp import distributed
from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.estimators._contract import Objective


@dataclass(frozen=True)
class Draw:
    """What a baseline may look at."""

    q: Discrete
    f: Objective
    z: Latent
    context: Tensor | None  # [*B, D], without gradient


class Baseline(nn.Module):
    """signal ↦ signal − b. b must not depend on the sample whose signal it is taken from."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        """What is left of ``signal`` [S, *B] (or [S, *B, N], one a latent), and the loss [*B].

        The first has no gradient to the baseline; the second, None where nothing is to be trained,
        has none to anything else. State is updated in training mode only, and after its use: a
        mean that holds the current signal would shrink the gradient.
        """
        raise NotImplementedError


class RunningMean(nn.Module):
    """Exponentially weighted means of past values, unbiased from the first on (as Adam's).

    Under torchrun every process holds the mean over all of them.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, decay: float, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, not {decay}")
        self.decay = decay
        self.register_buffer("total", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))

    def get(self, like: Tensor, default: float = 0.0) -> Tensor:
        """The mean so far; ``default`` before the first update."""
        mean = self.total / self.weight.clamp(min=1e-300)
        return torch.where(self.weight > 0, mean, torch.full_like(mean, default)).to(like.dtype)

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """values: [count, *shape]; an empty one (a process without a row) counts as nothing."""
        sums = values.double().sum(0)
        count = torch.full((1,), float(values.shape[0]), dtype=torch.float64, device=values.device)
        both = distributed.sum_over_processes(torch.cat([sums.flatten(), count]))
        seen = (both[-1] > 0).to(both.dtype)
        mean = both[:-1].reshape(self.total.shape) / both[-1].clamp(min=1)
        decay = 1 - seen * (1 - self.decay)
        self.total.mul_(decay).add_((1 - decay) * mean)
        self.weight.mul_(decay).add_(1 - decay)


def flat(values: Tensor, trailing: int = 0) -> Tensor:
    """[S, *B, …trailing] → [S·B, …trailing]."""
    return values.reshape(-1, *values.shape[values.dim() - trailing :])
