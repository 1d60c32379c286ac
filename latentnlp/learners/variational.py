r"""Variational learning: one bound, climbed in θ and λ together.

    climb  E_{q(z|x)}[log p(x, z) − log q(z | x)]                      the ELBO
    or     E_{z_1 … z_K ~ q}[log 1/K Σ_k p(x, z_k) / q(z_k | x)]       with the estimator "vimco"

by any estimator of `estimators/`: Mnih and Gregor (2014) with "nvil", Mnih and Rezende (2016) with
"vimco", Kingma and Welling (2014) with "reparameterised" where z is continuous.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from latentnlp import estimators
from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch, batch_of_draws
from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.distributions.gaussian import Gaussian
from latentnlp.document_models._contract import DocumentModel
from latentnlp.errors import UserError
from latentnlp.estimators import Estimator
from latentnlp.learners._ascent import Ascent, AscentConfig, Climb, Objective


@dataclass(frozen=True)
class Config:
    """``estimator`` and ``baselines`` are file names in estimators/ and estimators/baselines/."""

    estimator: str = "nvil"
    samples: int = 5
    baselines: tuple[str, ...] = ()
    ascent: AscentConfig = field(default_factory=AscentConfig)

    def __post_init__(self) -> None:
        at_least(self, samples=1)


class Variational(Objective[DocumentModel]):
    """The reward is counted from what a unigram model gives the document, and per word: one that
    grew with the length of a document would drown the others, and no baseline could follow it."""

    log_unigram: Tensor

    def __init__(self, config: Config, model: DocumentModel, log_unigram: Tensor) -> None:
        """log_unigram: [V]. Raises UserError for an estimator or a baseline that there is not."""
        super().__init__(model)
        self.register_buffer("log_unigram", log_unigram[:, None])
        self.estimator = _estimator(config, len(log_unigram))
        self.reads = "nvil" in config.estimator or "neural" in config.baselines
        # The bound of several samples is no mean over them: it cannot be had from f / N.
        self.per_word = config.estimator != "vimco"

    def forward(self, batch: BagBatch) -> Climb:
        q = self.model.posterior(batch)
        floor = batch.weighted_sum(self.log_unigram).squeeze(-1)  # [B]
        length = batch.lengths.clamp(min=1)
        scale = length if self.per_word else torch.ones_like(length)

        # Of draws that carry a gradient: E ∇_λ log q(z | x) = 0 is left out (Roeder et al. 2017).
        fixed = q.detached() if isinstance(q, Gaussian) else q

        def f(z: Latent) -> Tensor:
            return (self.model.log_joint(batch, z) - fixed.log_prob(z) - floor) / scale

        context = batch.dense().log1p() if self.reads else None  # [B, V]
        estimate = self.estimator(cast(Discrete, q), f, context=context)
        value = estimate.value * scale + floor
        return Climb(estimate.surrogate * scale, value, estimate.baseline_loss)


def _estimator(config: Config, context_size: int) -> Estimator:
    reads = {"context_size": context_size}
    baselines = [
        estimators.make_baseline(name, **(reads if name == "neural" else {}))
        for name in config.baselines
    ]
    settings: dict[str, Any] = {"samples": config.samples, "baselines": baselines, **reads}
    taken = {k: v for k, v in settings.items() if estimators.takes(config.estimator, k)}
    return estimators.make(config.estimator, **taken)


def build(
    config: Config, model: DocumentModel, log_unigram: Tensor, steps: int, device: torch.device
) -> Ascent:
    """Raises UserError where the estimator cannot take what the model draws."""
    objective = Variational(config, model, log_unigram).to(device)
    none = torch.zeros(0, dtype=torch.int64)
    nothing = batch_of_draws(none, none, torch.zeros(1), len(log_unigram))
    try:
        with torch.random.fork_rng():
            objective(nothing.to(device))
    except (TypeError, ValueError) as error:
        raise UserError(f"learning.variational: {error}") from None
    return Ascent(config.ascent, objective, steps, device)
