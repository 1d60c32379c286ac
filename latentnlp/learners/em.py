r"""Expectation-maximisation in both directions at once, for aligners whose emissions are counts.

    E-step   q(a) = p(a | x, y)          exact, by the position model's own dynamic program
    M-step   n(x, y) = Σ q(a_j = i) over all cells with x_i = x and y_j = y
             jumps, tension, p₀          the position model's closed form

Two departures, each an option, keep rare words from collecting whatever stands beside them:

* ``leave_one_out``: a cell's own posterior of the last pass is taken out of the counts that it is
  judged by, so no link votes for itself. This is CVB0 (Asuncion et al. 2009, section 2.4), the
  deterministic cousin of collapsed Gibbs sampling.

      p₋(y | x) = (n(x, y) - q_ij + κ m(y | x)) / (n(x) - Σ_j' q_ij' + κ)

* ``agreement``: the two directions give a link the product of their posteriors, and NULL what is
  left (after Liang, Taskar and Klein 2006, section 3.2).

Without them, and with κ → 0, this is Baum-Welch and the likelihood never falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.data.batches import Batch
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.distributions.alignment import AlignmentDistribution, Posteriors
from latentnlp.emissions.counts import CountEmission
from latentnlp.models.aligner import WordAligner


@dataclass(frozen=True)
class Config:
    leave_one_out: bool = True
    agreement_from: int = 3  # the epoch, from 1, at which the directions begin to agree; 0 = never


class ExpectationMaximisation:
    """Learns a pair of aligners (source → target, target → source) from one cooccurrence table.

    The counts of both directions and, with ``leave_one_out``, every cell's posterior are kept, so
    memory grows by 4 bytes a cell; they change at the end of an epoch only, which is why a
    checkpoint inside an epoch would not be one.
    """

    mid_epoch_checkpoints = False

    def __init__(
        self, config: Config, forward: WordAligner, reverse: WordAligner, table: Cooccurrences,
        after: ExpectationMaximisation | None = None,
    ) -> None:
        self.config, self.table = config, table
        self.directions = [_Direction(forward, table, config), _Direction(reverse, table, config)]
        self.epoch = 1
        if after is not None:  # an earlier stage's posteriors are this one's last pass
            for direction, earlier in zip(self.directions, after.directions, strict=True):
                direction.own = earlier.own

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Adds the batch's expected counts; the parameters change in `end_epoch`."""
        cells = self.table.cells(batch).to(batch.source.device)  # [B, I, J]
        span = self.table.span(batch)
        forward, reverse = self.directions
        found = forward.distribution(batch, cells.mT, span).posteriors()
        back = reverse.distribution(batch.reversed(), cells, span).posteriors()
        links, back_links = found.emission, back.emission  # [B, J, I] and [B, I, J]
        if self._agreeing():
            links = links * back_links.mT
            back_links = links.mT
        forward.collect(batch, cells.mT, span, found, links)
        reverse.collect(batch.reversed(), cells, span, back, back_links)
        words = batch.source_mask.sum() + batch.target_mask.sum()
        likelihood = found.log_partition.sum() + back.log_partition.sum()
        return {"log_likelihood": likelihood, "weight": words}

    @torch.no_grad()
    def end_epoch(self) -> dict[str, float]:
        for direction in self.directions:
            direction.maximise()
        self.epoch += 1
        return {}

    def parts(self) -> dict[str, _Direction]:
        forward, reverse = self.directions
        return {"forward": forward, "reverse": reverse, "clock": self}  # type: ignore[dict-item]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch = state["epoch"]

    def _agreeing(self) -> bool:
        return 0 < self.config.agreement_from <= self.epoch


class _Direction:
    """One direction while it is trained: the aligner and the expected counts of this epoch."""

    def __init__(self, aligner: WordAligner, table: Cooccurrences, config: Config) -> None:
        emission = aligner.emission
        assert isinstance(emission, CountEmission)
        self.aligner, self.emission, self.positions = aligner, emission, aligner.positions
        if len(emission.pairs) != len(table):
            emission.start(table)
        self.mean = emission.pair_mean()  # [P], or None where it does not depend on x
        self.own = torch.zeros(table.size, dtype=torch.half) if config.leave_one_out else None
        self._clear()

    def distribution(self, batch: Batch, cells: Tensor, span: slice) -> AlignmentDistribution:
        """p(a, y | x) with each cell's own vote left out. ``cells`` [B, J, I]."""
        emission = self.emission
        count, total = emission.counts[cells], emission.totals[batch.source]
        if self.own is not None:
            own = self.own[span].view(cells.shape).to(count)
            count = (count - own).clamp_min_(0.0)
            total = (total - own.sum(1)).clamp_min_(0.0)
        mean = emission.fixed_mean[batch.target].unsqueeze(2)
        if self.mean is not None:
            mean = self.mean[cells]
        log_emission = emission.smooth(count, total.unsqueeze(1), mean)
        log_null = emission.log_null()[batch.target]
        return self.positions(batch, log_emission, log_null)

    def collect(
        self, batch: Batch, cells: Tensor, span: slice, found: Posteriors, links: Tensor
    ) -> None:
        """Add the expected counts of one batch; ``links`` [B, J, I] is what a link counts."""
        if self.own is not None:
            rounded = links.half()
            self.own[span].view(cells.shape).copy_(rounded)
            links = rounded.float()  # what is counted is exactly what will be left out
        self.counts.index_add_(0, cells.flatten(), links.flatten())
        null = torch.where(batch.target_mask, 1.0 - links.sum(2), 0.0)
        self.null_counts.index_add_(0, batch.target.flatten(), null.flatten())
        for name, value in self.positions.statistics(batch, found).items():
            self.statistics[name] = _add(self.statistics.get(name), value)

    def maximise(self) -> None:
        """The M-step of both halves of the aligner."""
        for value in (self.counts, self.null_counts, *self.statistics.values()):
            distributed.sum_over_processes(value)
        self.emission.maximise(self.counts, self.null_counts)
        self.positions.maximise(self.statistics)
        self._clear()

    def state_dict(self) -> dict[str, object]:
        return {"aligner": self.aligner.state_dict(), "own": self.own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.aligner.load_state_dict(state["aligner"])
        self.own = state["own"]
        self._clear()

    def _clear(self) -> None:
        self.counts = torch.zeros_like(self.emission.counts)
        self.null_counts = torch.zeros_like(self.emission.null_counts)
        self.statistics: dict[str, Tensor] = {}


def _add(total: Tensor | None, value: Tensor) -> Tensor:
    """Sum of tables whose sizes follow the longest sentence seen so far."""
    if total is None:
        return value.clone()
    if total.shape != value.shape:
        shape = [max(sizes) for sizes in zip(total.shape, value.shape, strict=True)]
        total, value = _grow(total, shape), _grow(value, shape)
    return total.add_(value)


def _grow(table: Tensor, shape: list[int]) -> Tensor:
    grown = table.new_zeros(shape)
    grown[tuple(slice(size) for size in table.shape)] = table
    return grown
