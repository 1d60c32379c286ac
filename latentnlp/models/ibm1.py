r"""IBM 1: every source position is equally likely (Brown et al. 1993, section 4.1).

p(a_j = i) = (1 - p₀) / I,    p(a_j = NULL) = p₀
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from latentnlp.config import between
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.alignment import LOG_ZERO
from latentnlp.distributions.independent_positions import IndependentPositions
from latentnlp.models._positions import PositionModel


@dataclass(frozen=True)
class Config:
    null_probability: float = 0.1  # p₀ at the start

    def __post_init__(self) -> None:
        between(self, 0, 1, "null_probability")


class UniformPositions(PositionModel):
    def forward(self, batch: Batch, log_emission: Tensor, log_null: Tensor) -> IndependentPositions:
        log_length = batch.source_lengths.to(log_emission.dtype).log()[:, None, None]
        log_joint = log_emission + logsigmoid(-self.null_logit) - log_length
        log_joint = log_joint.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
        return IndependentPositions(
            log_joint, log_null + logsigmoid(self.null_logit), batch.target_mask
        )


def build(config: Config, source: Vocabulary) -> UniformPositions:
    return UniformPositions(config.null_probability)
