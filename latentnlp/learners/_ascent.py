"""Climbing a sum over documents by gradient: what the learners of document models share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch
from latentnlp.document_models._contract import DocumentModel
from latentnlp.learners._average import Average


@dataclass(frozen=True)
class AscentConfig:
    """AdamW, with a learning rate that rises for a moment and then falls to 0 as a cosine."""

    learning_rate: float = 8e-3
    warm_up: float = 0.02  # share of the steps
    weight_decay: float = 0.05  # of matrices, a step: times the learning rate
    averaging: float = 0.02  # of the weights, over this share of the steps; 0: none
    length_weight: float = 0.5  # α: a document counts N^−α; 0: by its words, 1: as any other

    def __post_init__(self) -> None:
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"learning_rate = {self.learning_rate} is not a number to step by")
        at_least(self, learning_rate=0, warm_up=0, weight_decay=0, averaging=0, length_weight=0)
        if self.averaging >= 1 or self.warm_up >= 1:
            raise ValueError(f"averaging = {self.averaging}, warm_up = {self.warm_up}: below 1")


@dataclass(frozen=True)
class Climb:
    """What an objective gives for each document of a batch."""

    objective: Tensor  # [B], to be climbed by its gradient
    log_likelihood: Tensor  # [B], the bound on log p(x) that is reported
    loss: Tensor | float = 0.0  # [B] of baselines, to be made small


Model = TypeVar("Model", bound=DocumentModel)


class Objective(nn.Module, Generic[Model]):
    """The equation of one learning rule over the parameters of a model: what DDP wraps."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: BagBatch) -> Climb:
        raise NotImplementedError


class Ascent:
    """∇ Σ_d N_d^−α objective(d) / Σ_d N_d^−α, followed by AdamW; and the average of its weights.

    log p(d) grows with the words of a document: for α = 0 a few long ones are what is learnt. With
    α = 1 the perplexity per document is climbed.
    """

    unit = "word"

    def __init__(
        self, config: AscentConfig, objective: Objective[Any], steps: int, device: torch.device
    ) -> None:
        """steps: of the whole stage, over which the learning rate falls."""
        self.config, self.device = config, device
        self.objective = objective.to(device)
        parameters = list(objective.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1]},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        rising = max(1, round(config.warm_up * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: _rate(step, rising, max(steps, 1))
        )
        self.module = distributed.wrap(self.objective, device, unused=True)
        decay = 1 - 1 / max(1.0, config.averaging * steps)
        self.average = Average(objective.model, decay)

    @property
    def averaged(self) -> DocumentModel:
        """The model with the averaged weights."""
        return self.average.model

    def step(self, batch: BagBatch) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        climb: Climb = self.module(batch)
        weights = batch.lengths.clamp(min=1) ** -self.config.length_weight  # [B]
        weights = weights * (batch.lengths > 0)  # an empty document says nothing
        everyone = distributed.sum_over_processes(weights.sum()).clamp(min=1e-9)
        # DDP averages the processes' gradients; we want their sum.
        loss = (weights * (climb.loss - climb.objective)).sum()
        loss = loss / everyone * distributed.world_size()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.objective.model)
        return {
            "log_likelihood": climb.log_likelihood.detach().sum(),
            "weight": batch.lengths.sum(),
        }

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def _rate(step: int, rising: int, steps: int) -> float:
    """The factor of the learning rate at a step."""
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))
