r"""Selector and predictor together, at a selection rate that the user asks for.

    climb   E_{q(z|x)}[log p(y | x ⊙ z)] − λ (E_q[rate] − target) − γ E_q[changes] / U

The first term by any estimator of `estimators/` (Lei, Barzilay and Jaakkola 2016, section 4), or
pathwise for HardKuma (Bastings, Aziz and Titov 2019). The penalties never go through the estimator:
their expectations have a closed form. λ is a Lagrange multiplier, moved by how far a running mean
of the rate over whole batches is from the target (proportional and integral, both bounded): a
penalty on each text's own rate would make every text select the same share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from latentnlp import distributed, estimators
from latentnlp.config import at_least, between
from latentnlp.data.texts import TextBatch
from latentnlp.distributions.discrete import Latent
from latentnlp.estimators import Estimator
from latentnlp.estimators._contract import with_gradient
from latentnlp.learners._average import Average
from latentnlp.learners.thinned_predictor import count
from latentnlp.models.rationale import RationaleNetwork


@dataclass(frozen=True)
class EstimatorConfig:
    """``name`` and ``baselines`` are file names in estimators/ and estimators/baselines/."""

    name: str = "score_function"
    samples: int = 4
    baselines: tuple[str, ...] = ("leave_one_out",)

    def __post_init__(self) -> None:
        at_least(self, samples=1)


@dataclass(frozen=True)
class Config:
    rate: float = 0.2  # the share of the words that is to be selected
    contiguity: float = 0.0  # γ
    learning_rate: float = 3e-3  # of the selector and the baselines
    predictor_learning_rate: float = 0.0  # 0: it stays what the warm start has made of it
    penalty: float | None = None  # a fixed λ instead of a target rate
    integral: float = 0.02  # how λ follows the rate: step of its slow part
    proportional: float = 5.0  # … and weight of its quick part
    greatest: float = 20.0  # |λ|
    averaging: float = 0.995  # of the weights, over steps
    max_gradient_norm: float = 5.0
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)

    def __post_init__(self) -> None:
        between(self, 0, 1, "rate", "averaging")

        at_least(self, learning_rate=0, predictor_learning_rate=0, contiguity=0, integral=0)
        at_least(self, proportional=0, greatest=0)


class RateController(nn.Module):
    """λ: positive where too much is selected, negative where too little."""

    mean: Tensor
    integral: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.rate))
        self.register_buffer("integral", torch.tensor(1.0))

    def multiplier(self) -> Tensor:
        """λ, for the coming step."""
        if self.config.penalty is not None:
            return torch.full_like(self.integral, self.config.penalty)
        fast = self.config.proportional * self._error()
        return (self.integral + fast).clamp(-self.config.greatest, self.config.greatest)

    @torch.no_grad()
    def update(self, rate: Tensor) -> None:
        """rate: of the batch just seen, over all processes."""
        self.mean.lerp_(rate, 0.1)
        self.integral.add_(self.config.integral * self._error())
        self.integral.clamp_(-self.config.greatest, self.config.greatest)

    def _error(self) -> Tensor:
        return (self.mean - self.config.rate) / self.config.rate


class Objective(nn.Module):
    """Everything of the equation above that has a gradient: what DDP wraps."""

    def __init__(self, config: Config, network: RationaleNetwork) -> None:
        super().__init__()
        self.config, self.network = config, network
        self.estimator = build_estimator(config.estimator, network)

    def forward(self, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Sums over the batch: surrogate, its value, baseline loss, E[selected words], penalty."""
        q = self.network.selector(batch)

        def reward(z: Latent) -> Tensor:
            """Its value rewards the selector, its gradient trains the predictor."""
            proper, balanced = self.network(batch, z)
            return with_gradient(balanced.detach(), proper)

        estimate = self.estimator(
            q,
            reward,
            context=self.network.selector.context(batch),
        )
        selected = (q.marginals() * batch.unit_sizes).sum()
        changes = q.expected_changes() / batch.unit_mask.sum(-1).clamp(min=1)
        sums = (estimate.surrogate, estimate.value, estimate.baseline_loss)
        surrogate, value, loss = (one.sum() for one in sums)
        return surrogate, value, loss, selected, changes.sum()


class Rationale:
    """Adam on selector, predictor and baselines."""

    unit = "document"

    def __init__(
        self, config: Config, network: RationaleNetwork, steps: int, device: torch.device
    ) -> None:
        """steps: of the whole stage, over which the learning rate falls to a tenth."""
        self.config, self.device = config, device
        self.objective = Objective(config, network).to(device)
        self.controller = RateController(config).to(device)
        slow = list(network.predictor.parameters())
        known = {id(p) for p in slow}
        fast = [p for p in self.objective.parameters() if id(p) not in known]
        groups = [
            {"params": fast, "lr": config.learning_rate},
            {"params": slow, "lr": config.predictor_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(groups, fused=True)
        self.schedule = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.1, max(steps, 1))
        self.module = distributed.wrap(self.objective, device, unused=True)
        self.average = Average(network, config.averaging)

    def step(self, batch: TextBatch) -> dict[str, Tensor]:
        batch = batch.to(self.device)
        surrogate, value, baseline_loss, selected, changes = self.module(batch)
        words = batch.unit_sizes.sum()
        weight = count(batch)
        counts = torch.stack([weight, words, selected.detach()])
        documents, all_words, all_selected = distributed.sum_over_processes(counts)
        multiplier = self.controller.multiplier()
        objective = (surrogate - self.config.contiguity * changes) / documents
        objective = objective - multiplier * selected / all_words
        # DDP averages the processes' gradients; we want their sum.
        loss = (baseline_loss / documents - objective) * distributed.world_size()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = self.objective.parameters()
        torch.nn.utils.clip_grad_norm_(parameters, self.config.max_gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        self.controller.update(all_selected / all_words)
        self.average.update(self.objective.network)
        return {
            "log_likelihood": value.detach(),
            "weight": weight,
            "selected": selected.detach() / words.clamp(min=1) * weight,
            "multiplier": multiplier * weight,
        }

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {
            "objective": self.objective,
            "average": self.average,
            "controller": self.controller,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def build_estimator(config: EstimatorConfig, network: RationaleNetwork) -> Estimator:
    """Raises UserError where estimator, baselines and selector do not go together."""
    size = network.selector.embedding.size
    baselines = [
        estimators.make_baseline(name, **({"context_size": size} if name == "neural" else {}))
        for name in config.baselines
    ]
    settings: dict[str, Any] = {}
    if estimators.takes(config.name, "samples"):
        settings["samples"] = config.samples
    if estimators.takes(config.name, "baselines"):
        settings["baselines"] = baselines
    if estimators.takes(config.name, "context_size"):
        settings["context_size"] = size
    return estimators.make(config.name, **settings)
