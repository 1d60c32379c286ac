r"""Gradient ascent on the exact log-marginal: EM whose E-step is never written.

    log p(y | x) = log Σ_a p(a | x) p(y | a, x)
    ∇ log p(y | x) = E_{p(a | x, y)} ∇ log p(a, y | x)

The right-hand side is the gradient of EM's Q at the current parameters (Fisher's identity;
Salakhutdinov, Roweis and Ghahramani 2003, section 2), so ascending the left-hand side by autograd
is EM with a gradient M-step. Both directions are learnt in the same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.batches import Batch
from latentnlp.models.aligner import BidirectionalAligner


@dataclass(frozen=True)
class Config:
    learning_rate: float = 3e-3
    max_gradient_norm: float = 5.0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the neural part; sums stay float32
    compile: bool = False  # torch.compile the emissions

    def __post_init__(self) -> None:
        at_least(self, learning_rate=0)


class Marginal:
    """Adam on log p(y | x) + log p(x | y), per word."""

    def __init__(self, config: Config, aligner: BidirectionalAligner, device: torch.device) -> None:
        self.config, self.device = config, device
        self.aligner = aligner.to(device)
        self.optimizer = torch.optim.Adam(aligner.parameters(), lr=config.learning_rate)
        if config.compile:
            for direction in aligner.directions():
                direction.emission.compile(dynamic=True)
        self.module = distributed.wrap(aligner, device)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        log_likelihood, words = self.objective(batch)
        all_words = distributed.sum_over_processes(words.clone())
        # DDP averages the processes' gradients; we want their sum, per word of the whole batch.
        loss = -log_likelihood * distributed.world_size() / all_words
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.aligner.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        return {"log_likelihood": log_likelihood.detach(), "weight": words}

    def objective(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Σ log p(y | x) + log p(x | y) over the batch, and the number of words it speaks of."""
        mixed = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            there, back = self.module(batch)
        return there.sum() + back.sum(), batch.source_mask.sum() + batch.target_mask.sum()

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {"aligner": self.aligner, "optimizer": self.optimizer}
