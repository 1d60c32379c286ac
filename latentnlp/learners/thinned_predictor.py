r"""A predictor that learns to read thinned texts, before there is a selector.

    climb  E_r E_{z ~ Bernoulli(r)} log p(y | x ⊙ z)

A predictor that has only seen whole texts cannot judge what a selector proposes; one that grows up
with a poor selector learns that selector's habits. So a random share r of the units is kept, and in
some of the texts everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.config import at_least, between
from latentnlp.data.texts import TextBatch
from latentnlp.learners._average import Average
from latentnlp.models.rationale import RationaleNetwork

_SHORT = 8  # units: shorter texts are read whole


@dataclass(frozen=True)
class Config:
    learning_rate: float = 4e-3
    least_kept: float = 0.1  # r ~ Uniform(least_kept, 1)
    whole: float = 0.3  # of the texts are read whole
    averaging: float = 0.995  # of the weights, over steps
    max_gradient_norm: float = 5.0

    def __post_init__(self) -> None:
        at_least(self, learning_rate=0, least_kept=0, whole=0)
        between(self, 0, 1, "averaging")


class ThinnedPredictor:
    """Adam with a linearly falling rate on the predictor; the network then holds the average."""

    unit = "document"

    def __init__(
        self, config: Config, network: RationaleNetwork, steps: int, device: torch.device
    ) -> None:
        """steps: of the whole stage, over which the learning rate falls to a twentieth."""
        self.config, self.device = config, device
        self.network = network.to(device)
        self.optimizer = torch.optim.Adam(
            network.predictor.parameters(), lr=config.learning_rate, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.05, max(steps, 1))
        self.module = distributed.wrap(network, device, unused=True)
        self.average = Average(network, config.averaging)

    def step(self, batch: TextBatch) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        log_likelihood, _ = self.module(batch, self.thinned(batch))
        total, weight = log_likelihood.sum(), count(batch)
        everyone = distributed.sum_over_processes(weight.clone())
        loss = -total * distributed.world_size() / everyone
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = self.network.predictor.parameters()
        torch.nn.utils.clip_grad_norm_(parameters, self.config.max_gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        self.average.update(self.network)
        return {"log_likelihood": total.detach(), "weight": weight}

    def thinned(self, batch: TextBatch) -> Tensor:
        """z [1, B, U]: each text keeps a share of its own; some, and the short ones, everything."""
        mask, device = batch.unit_mask, self.device
        share = torch.rand(len(batch), 1, device=device)
        share = self.config.least_kept + (1 - self.config.least_kept) * share
        whole = torch.rand(len(batch), 1, device=device) < self.config.whole
        whole = whole | (mask.sum(-1, keepdim=True) <= _SHORT)
        keep = (torch.rand(mask.shape, device=device) < share) | whole
        return (keep & mask)[None].float()

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def count(batch: TextBatch) -> Tensor:
    """The number of documents, on the batch's device."""
    return torch.full((), float(len(batch)), device=batch.types.device)
