r"""A word aligner: an emission model and a position model, and the distribution they make.

    p(y, a | x) = p(a | x, J) Π_j p(y_j | x, a_j)
"""

from __future__ import annotations

from torch import nn

from latentnlp.data.batches import Batch
from latentnlp.distributions.alignment import AlignmentDistribution
from latentnlp.emissions._base import Emission
from latentnlp.models._positions import PositionModel


class WordAligner(nn.Module):
    """One direction: source words generate target words."""

    def __init__(self, emission: Emission, positions: PositionModel) -> None:
        super().__init__()
        self.emission, self.positions = emission, positions

    def forward(self, batch: Batch) -> AlignmentDistribution:
        """p(a, y | x) over all alignments a of the batch."""
        log_emission, log_null = self.emission(batch)
        return self.positions(batch, log_emission, log_null)
