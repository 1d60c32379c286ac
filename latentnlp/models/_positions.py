"""What every position model answers: the half of an aligner that does not look at target words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch
from latentnlp.distributions.alignment import AlignmentDistribution, Posteriors

Totals = dict[str, Tensor]  # sums of expected counts, by name


def add(totals: Totals, name: str, value: Tensor) -> None:
    totals[name] = totals[name] + value if name in totals else value


class PositionModel(nn.Module):
    """p(a | x, J), with the probability of NULL as its one common parameter."""

    by_word: tuple[str, ...] = ()  # parameters with a row for each source word

    def __init__(self, null_probability: float) -> None:
        super().__init__()
        self.null_logit = nn.Parameter(torch.logit(torch.tensor(null_probability)))

    def forward(
        self, batch: Batch, log_emission: Tensor, log_null: Tensor
    ) -> AlignmentDistribution:
        """p(a, y | x) over all a, from log p(y_j | x_i) [B, J, I] and log p(y_j | NULL) [B, J]."""
        raise NotImplementedError

    def collect(
        self, totals: Totals, batch: Batch, found: AlignmentDistribution, posteriors: Posteriors
    ) -> None:
        """Add the expected counts that `maximise` needs, in shapes that do not depend on the batch.

        ``found`` is what `forward` gave, ``posteriors`` are its own."""
        add(totals, "null", posteriors.null.sum())
        add(totals, "words", batch.target_mask.sum().to(posteriors.null.dtype))

    def maximise(self, totals: Totals) -> None:
        """The M-step: set the parameters from summed expected counts. Never lowers E[log p], but
        where the model says so."""
        share = totals["null"] / totals["words"].clamp_min(1.0)
        self.null_logit.copy_(torch.logit(share.float(), eps=1e-4))
