r"""A word aligner: an emission model and a position model, and the distribution they make.

    p(y, a | x) = p(a | x, J) Π_j p(y_j | x, a_j)

Two of them, one in each direction, are trained side by side.
"""

from __future__ import annotations

from torch import Tensor, nn

from latentnlp.data.batches import Batch
from latentnlp.distributions.alignment import AlignmentDistribution
from latentnlp.emissions._base import Emission
from latentnlp.models._positions import PositionModel


class WordAligner(nn.Module):
    """One direction: source words generate target words."""

    def __init__(self, emission: Emission, positions: PositionModel) -> None:
        super().__init__()
        self.emission, self.positions = emission, positions

    def forward(self, batch: Batch, sharpness: float = 1.0) -> AlignmentDistribution:
        """p(a | x) p(y | x, a)^λ over all alignments a of the batch, λ the ``sharpness``."""
        log_emission, log_null = self.emission(batch)
        if sharpness != 1.0:
            log_emission, log_null = sharpness * log_emission, sharpness * log_null
        return self.positions(batch, log_emission, log_null)


class BidirectionalAligner(nn.Module):
    """Source → target and target → source."""

    def __init__(self, source_to_target: WordAligner, target_to_source: WordAligner) -> None:
        super().__init__()
        self.source_to_target, self.target_to_source = source_to_target, target_to_source

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p(y | x) + log p(x | y) [B], exact sums over all alignments, and the number of words
        [] that they speak of."""
        there, back = self.distributions(batch)
        words = batch.source_mask.sum() + batch.target_mask.sum()
        return there.log_partition() + back.log_partition(), words

    def distributions(
        self, batch: Batch, sharpness: float = 1.0
    ) -> tuple[AlignmentDistribution, AlignmentDistribution]:
        """p(a, y | x) with a [B, J], and p(a, x | y) with a [B, I]."""
        there, back = self.directions()
        return there(batch, sharpness), back(batch.reversed(), sharpness)

    def networks(self) -> list[nn.Module]:
        return [direction.emission for direction in self.directions()]

    def directions(self) -> tuple[WordAligner, WordAligner]:
        return self.source_to_target, self.target_to_source
