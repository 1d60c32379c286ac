r"""IBM 2 on the diagonal (Dyer, Chahuneau and Smith 2013, section 2: fast_align's model).

    p(a_j = i) = (1 - p₀) exp(-λ |i/I - j/J|) / Z_λ(j, I, J),    p(a_j = NULL) = p₀

with i = 1 … I and j = 1 … J. λ is the tension of the diagonal; λ = 0 is IBM 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from latentnlp.config import at_least, between
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.alignment import LOG_ZERO, AlignmentDistribution, Posteriors
from latentnlp.distributions.independent_positions import IndependentPositions
from latentnlp.models._positions import PositionModel, Totals, add


@dataclass(frozen=True)
class Config:
    null_probability: float = 0.1  # p₀ at the start
    tension: float = 4.0  # λ at the start

    def __post_init__(self) -> None:
        between(self, 0, 1, "null_probability")
        at_least(self, tension=0)


class DiagonalPositions(PositionModel):
    def __init__(self, config: Config) -> None:
        super().__init__(config.null_probability)
        self.tension = nn.Parameter(torch.tensor(config.tension))

    def forward(self, batch: Batch, log_emission: Tensor, log_null: Tensor) -> IndependentPositions:
        log_prior = -self.tension * self.distance(batch)
        log_prior = log_prior.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
        log_prior = log_prior.log_softmax(-1) + logsigmoid(-self.null_logit)
        log_prior = log_prior.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
        return IndependentPositions(
            log_prior + log_emission, log_null + logsigmoid(self.null_logit), batch.target_mask
        )

    def distance(self, batch: Batch) -> Tensor:
        """|i/I - j/J|, [B, J, I]."""
        return (
            _places(batch.source_mask)[:, None, :] - _places(batch.target_mask)[:, :, None]
        ).abs()

    def collect(
        self, totals: Totals, batch: Batch, found: AlignmentDistribution, posteriors: Posteriors
    ) -> None:
        super().collect(totals, batch, found, posteriors)
        distance = self.distance(batch)
        prior = (-self.tension * distance).masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
        linked = batch.target_mask.float() - posteriors.null
        add(totals, "observed", (posteriors.emission * distance).sum())
        add(totals, "expected", (linked * (prior.softmax(-1) * distance).sum(-1)).sum())

    def maximise(self, totals: Totals) -> None:
        r"""∂Q/∂λ = E_prior[h] - E_posterior[h], and ∂²Q/∂λ² = -Var[h] ≥ -n/4 for h ∈ [0, 1]: a
        step of gradient / (n/4) climbs a parabola below Q, so Q never falls (Böhning 1992)."""
        super().maximise(totals)
        linked = (totals["words"] - totals["null"]).clamp_min(1.0)
        step = (totals["expected"] - totals["observed"]) / (linked / 4)
        self.tension.add_(step.to(self.tension.dtype)).clamp_min_(0.0)


def _places(mask: Tensor) -> Tensor:
    """k / K for the k-th of K words, [B, K]; padding has places too, which nothing reads."""
    rank = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=torch.float32)
    return rank / mask.sum(1, keepdim=True).clamp_min(1)


def build(config: Config, source: Vocabulary) -> DiagonalPositions:
    return DiagonalPositions(config)
