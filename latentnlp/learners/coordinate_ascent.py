r"""Coordinate ascent for latent Dirichlet allocation, over the corpus or over mini-batches.

    E-step   q(θ_d) of each document under q(β): the model's own ``expect``
    batch    λ ← η + Σ_d n_d          at the end of the epoch (Blei, Ng and Jordan 2003)
    online   λ ← (1 − ρ_t) λ + ρ_t (η + N/n Σ_d n_d),   ρ_t = (τ + t)^−κ,   t = 1, 2, …

n_d [K, V] are the tokens of document d that each topic is expected to have. The second is a natural
gradient's step (Hoffman, Blei and Bach 2010). They scale a batch by D/B documents; here it is
scaled by the corpus' tokens over its own, N/n: the same where documents are of one length, and the
mass of λ is right from the first batch on, whatever the lengths.

The bound of a corpus is the sum of what ``step`` returns less ``topic_divergence``. In batch mode
it never falls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch
from latentnlp.distributions.dirichlet import Dirichlet, most_likely
from latentnlp.document_models.lda import LatentDirichletAllocation


@dataclass(frozen=True)
class Config:
    online: bool = True
    tau: float = 10.0  # τ: how much the first batches are held back
    kappa: float = 0.7  # κ: how fast a batch's weight falls, in (0.5, 1] to converge
    learn_prior: bool = False  # fit α, one number a topic, to the documents

    def __post_init__(self) -> None:
        at_least(self, tau=0, kappa=0)


class CoordinateAscent:
    """In batch mode λ changes at the end of an epoch, and a checkpoint inside one would lose the
    other processes' counts: there is none."""

    unit = "word"

    def __init__(
        self,
        config: Config,
        model: LatentDirichletAllocation,
        steps: int,
        device: torch.device,
    ) -> None:
        """steps: not used, for this learner's schedule has no end."""
        if not isinstance(model, LatentDirichletAllocation):
            raise TypeError("coordinate ascent learns latent Dirichlet allocation only")
        self.config, self.device, self.model = config, device, model.to(device)
        self.mid_epoch_checkpoints = config.online
        self.batches_seen = 0
        self.mean_log = Dirichlet(
            self.model.prior_topic
        ).mean_log()  # of log θ over documents, [K]; online: running
        self._clear()

    @torch.no_grad()
    def step(self, batch: BagBatch) -> dict[str, Tensor]:
        """Sums over the batch, under λ before it changes.

        "log_likelihood": E_q [log p(x, θ | β) − log q(θ)] of each document, θ ~ q(θ | x), β ~ q(β),
        the topics of the single words summed out; without the topics' own divergence.
        """
        batch = batch.to(self.device)
        found = self.model.expect(batch)
        tokens = batch.lengths.sum()
        self.counts += found.counts
        self.sums += found.q.mean_log().sum(0)
        self.totals += torch.stack([tokens, torch.full_like(tokens, len(batch))])
        if self.config.online:
            self.batches_seen += 1
            self._move((self.config.tau + self.batches_seen) ** -self.config.kappa)
        return {"log_likelihood": found.bound.sum(), "weight": tokens}

    @torch.no_grad()
    def end_epoch(self) -> dict[str, Tensor]:
        """ "topic_divergence": KL(q(β) ‖ p(β)), in batch mode of the q(β) that the epoch had."""
        divergence = self.model.topic_divergence()
        if not self.config.online:
            self._move(1.0)
        return {"topic_divergence": divergence}

    @property
    def averaged(self) -> LatentDirichletAllocation:
        """The model: there is nothing to average."""
        return self.model

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "learner": self}

    def state_dict(self) -> dict[str, Any]:
        return {"batches_seen": self.batches_seen, "mean_log": self.mean_log}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches_seen = state["batches_seen"]
        self.mean_log.copy_(state["mean_log"])
        self._clear()

    def _move(self, rate: float) -> None:
        """λ, and α, this far towards what the documents seen since the last move ask for."""
        for value in (self.counts, self.sums, self.totals):
            distributed.sum_over_processes(value)
        seen = self.totals[0] > 0  # documents without a word ask for nothing
        tokens, documents = self.totals.clamp_min(1)
        scale = self.model.tokens / tokens if self.config.online else 1.0
        self.model.concentration.lerp_(self.model.prior_word + scale * self.counts, rate * seen)
        self.mean_log.lerp_(self.sums / documents, rate * seen)
        if self.config.learn_prior:
            prior = self.model.prior_topic
            prior.copy_(most_likely(self.mean_log, prior))
        self._clear()

    def _clear(self) -> None:
        self.counts = torch.zeros_like(self.model.concentration)
        self.sums = torch.zeros_like(self.model.prior_topic)
        self.totals = self.sums.new_zeros(2)  # tokens, documents


def build(
    config: Config, model: LatentDirichletAllocation, steps: int, device: torch.device
) -> CoordinateAscent:
    return CoordinateAscent(config, model, steps, device)
