r"""Gradient ascent on the exact log-marginal: EM whose E-step is never written.

    log p(y | x) = log Σ_a p(a | x) p(y | a, x)
    ∇ log p(y | x) = E_{p(a | x, y)} ∇ log p(a, y | x)

The right-hand side is the gradient of EM's Q at the current parameters (Fisher's identity;
Salakhutdinov, Roweis and Ghahramani 2003, section 2), so ascending the left-hand side by autograd
is EM with a gradient M-step. An aligner learns both directions in the same step; a model of
translation learns one. Without an a it is maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.batches import Batch


@dataclass(frozen=True)
class Config:
    learning_rate: float = 3e-3
    warmup: int = 0  # steps over which the learning rate rises to its height
    schedule: Literal["constant", "linear"] = "constant"  # linear: then it falls, to 0 at the end
    max_gradient_norm: float = 5.0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the neural part; sums stay float32
    compile: bool = False  # torch.compile the networks

    def __post_init__(self) -> None:
        at_least(self, learning_rate=0, warmup=0)


class MarginalModel(Protocol):
    """A module whose call gives log p(y | x) [B], summed over a (an aligner: of both directions
    together), and the number of words [] that it speaks of."""

    def __call__(self, batch: Batch, /) -> tuple[Tensor, Tensor]: ...

    def networks(self) -> list[nn.Module]:
        """What `torch.compile` is for: all but the sums over a."""
        ...


class Marginal:
    """Adam on log p(y | x) per word. ``steps``: of the whole training, for the schedule."""

    def __init__(self, config: Config, model: Any, device: torch.device, steps: int = 1) -> None:
        self.config, self.device = config, device
        self.model = model.to(device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        self.rate = LambdaLR(self.optimizer, lambda step: _rate(config, step, steps))
        if config.compile:
            for network in model.networks():
                network.compile(dynamic=True)
        self.module = distributed.wrap(model, device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        log_likelihood, words = self.objective(batch)
        all_words = distributed.sum_over_processes(words.clone())
        # DDP averages the processes' gradients; we want their sum, per word of the whole batch.
        loss = -log_likelihood * distributed.world_size() / all_words
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        self.rate.step()
        return {"log_likelihood": log_likelihood.detach(), "weight": words}

    def objective(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Σ log p(y | x) over the batch, and the number of words it speaks of."""
        mixed = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            log_likelihood, words = self.module(batch)
        return log_likelihood.sum(), words

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "rate": self.rate}


def _rate(config: Config, step: int, steps: int) -> float:
    """The share of the learning rate that a step has."""
    linear = config.schedule == "linear"
    warmup = min(config.warmup, steps // 4) if linear else config.warmup  # of a short training
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup)) if linear else 1.0
