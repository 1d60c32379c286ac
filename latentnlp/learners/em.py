r"""Expectation-maximisation in both directions at once, for aligners whose emissions are counts.

    E-step   q(a) = p(a | x, y)          exact, by the position model's own dynamic program
    M-step   n(x, y) = Σ q(a_j = i) over all cells with x_i = x and y_j = y
             jumps, tension, p₀          the position model's own maximum

Two departures, each an option, keep rare words from collecting whatever stands beside them:

* ``leave_one_out``: a cell's own posterior of the last pass is taken out of the counts that it is
  judged by, so no link votes for itself. This is CVB0 (Asuncion et al. 2009, section 2.4), the
  deterministic cousin of collapsed Gibbs sampling.

      p₋(y_j | x_i) = (n(x_i, y_j) - q_ij + κ m(y_j | x_i)) / (n(x_i) - q_ij + κ)

* ``agreement_from``: the two directions give a link (p q)^¾, of their posteriors p and q, and NULL
  what is left (after Liang, Taskar and Klein 2006, section 3.2, whose product takes more from words
  with several links; the geometric mean, ½, gives more to chance).

Without them, and with κ → 0, this is Baum-Welch and the likelihood never falls (but for the HMM's
overrelaxed steps, see `models.hmm`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.data.batches import Batch
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.distributions.alignment import AlignmentDistribution, Posteriors
from latentnlp.emissions.counts import CountEmission
from latentnlp.models._positions import Totals
from latentnlp.models.aligner import BidirectionalAligner, WordAligner


@dataclass(frozen=True)
class Config:
    leave_one_out: bool = True
    agreement_from: int = 3  # the epoch, from 1, at which the directions begin to agree; 0: never


class ExpectationMaximisation:
    """Learns a bidirectional aligner on the word pairs of ``table``.

    ``after`` is the learner of an earlier stage on the same emissions, which ends with it: its
    posteriors are the last pass of this one, and so is what the prior says, if it is the
    ``same_prior``. With ``leave_one_out`` there are 4 bytes a cell, on the CPU mapped from files
    beside the table's. The parameters change at the end of an epoch, so a checkpoint inside an
    epoch would not be one.
    """

    mid_epoch_checkpoints = False

    def __init__(
        self,
        config: Config,
        aligner: BidirectionalAligner,
        table: Cooccurrences,
        after: ExpectationMaximisation | None = None,
        same_prior: bool = False,
    ) -> None:
        self.config, self.table = config, table
        self.there, self.back = (
            _Direction(direction, table, config, before, same_prior)
            for direction, before in zip(
                aligner.directions(), after.directions() if after else (None, None), strict=True
            )
        )
        self.epoch = 1

    @torch.no_grad()
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Adds the batch's expected counts."""
        batch = batch.to(self.there.counts.device)
        reverse = batch.reversed()
        cells = self.table.cells(batch).to(batch.source.device)  # [B, I, J]
        there_own, back_own = self._own(self.there, batch), self._own(self.back, batch)
        there = self.there.expect(batch, cells.mT, there_own.mT)
        back = self.back.expect(reverse, cells, back_own)
        links, back_links = there.emission, back.emission.mT  # [B, J, I]
        if self._agree():
            root = (links * back_links).sqrt_()
            links = back_links = root * root.sqrt()  # (p q)^¾: pow takes longer
        links = self.there.keep(batch, there_own.mT, links).mT  # [B, I, J]
        back_links = self.back.keep(reverse, back_own, back_links.mT)
        self.back.count(cells, back_links)
        if not self._agree():  # else the counts are the same: see end_epoch
            self.there.count(cells, links)
        words = batch.source_mask.sum() + batch.target_mask.sum()
        likelihood = there.log_partition.sum() + back.log_partition.sum()
        return {"log_likelihood": likelihood, "weight": words}

    @torch.no_grad()
    def end_epoch(self) -> dict[str, float]:
        if self._agree():
            self.there.counts.copy_(self.back.counts)
        self.there.maximise()
        self.back.maximise()
        self.epoch += 1
        return {}

    def directions(self) -> tuple[_Direction, _Direction]:
        return self.there, self.back

    def parts(self) -> dict[str, Any]:
        return {"source_to_target": self.there, "target_to_source": self.back, "epoch": self}

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epoch = state["epoch"]

    def _agree(self) -> bool:
        return 0 < self.config.agreement_from <= self.epoch

    def _own(self, direction: _Direction, batch: Batch) -> Tensor:
        """The posteriors that this batch's cells had in the last pass, [B, I, J], in place."""
        return self.table.block(direction.own, batch)


class _Direction:
    """One direction while it is trained: the aligner and the expected counts of this epoch."""

    def __init__(
        self,
        aligner: WordAligner,
        table: Cooccurrences,
        config: Config,
        after: _Direction | None = None,
        same_prior: bool = False,
    ) -> None:
        emission = aligner.emission
        if not isinstance(emission, CountEmission):
            raise TypeError("EM has a closed M-step for count emissions only")
        self.aligner, self.emission, self.positions = aligner, emission, aligner.positions
        if len(emission.pairs) != len(table):
            emission.start(table)
        self.leave_one_out = config.leave_one_out
        if after is None:
            # float16: what is counted is the rounded posterior, so it can be left out exactly.
            # Without leave-one-out nothing is left out: one zero stands for all cells.
            zero = emission.counts.new_zeros(1, dtype=torch.half)
            self.own = table.zeros(zero) if self.leave_one_out else zero.expand(table.size)
            self.refresh()
            return
        self.own, mean = after.own, after.mean
        del after.mean, after.counts  # before there are new ones: they are as large as the table
        if same_prior:
            self.mean = mean
            self._clear()
        else:
            del mean
            self.refresh()

    def refresh(self) -> None:
        """Ask the prior for its mean again, after its parameters were changed."""
        self.mean = self.emission.pair_mean()  # [P], or None where it does not depend on x
        self._clear()

    def distribution(self, batch: Batch, cells: Tensor, own: Tensor) -> AlignmentDistribution:
        """p(a, y | x), each cell's own vote left out. ``cells`` and ``own`` [B, J, I]."""
        emission = self.emission
        count, total = _look_up(emission.counts, cells), emission.totals[batch.source].unsqueeze(1)
        if self.leave_one_out:
            own = own.to(count)
            count.sub_(own).clamp_min_(0.0)
            total = (total - own).clamp_min_(0.0)
        if self.mean is None:
            mean = emission.fixed_mean[batch.target].unsqueeze(2)
        else:
            mean = _look_up(self.mean, cells)
        log_emission = emission.smooth(count, total, mean)
        return self.positions(batch, log_emission, emission.log_null()[batch.target])

    def expect(self, batch: Batch, cells: Tensor, own: Tensor) -> Posteriors:
        """The posteriors of one batch; the position model adds up what it needs of them."""
        found = self.distribution(batch, cells, own)
        posteriors = found.posteriors()
        self.positions.collect(self.totals, batch, found, posteriors)
        return posteriors

    def keep(self, batch: Batch, own: Tensor, links: Tensor) -> Tensor:
        """Count NULL, and keep as the batch's ``own`` what its links count, [B, J, I]; as it is
        kept, it is returned."""
        if self.leave_one_out:
            own.copy_(links)
            links = own.to(links.dtype)
        left = (1.0 - links.sum(2)).clamp_min(0.0)  # links that agree may sum to more than 1
        null = torch.where(batch.target_mask, left, 0.0)
        self.null_counts.index_add_(0, batch.target.flatten(), null.flatten())
        return links

    def count(self, cells: Tensor, links: Tensor) -> None:
        """Add the links of the cells [B, I, J] to the expected counts of their word pairs."""
        self.counts.index_add_(0, cells.flatten(), links.flatten())

    def maximise(self) -> None:
        """The M-step of both halves of the aligner."""
        for value in (self.counts, self.null_counts, *self.totals.values()):
            distributed.sum_over_processes(value)
        self.emission.maximise(self.counts, self.null_counts)
        self.positions.maximise(self.totals)
        self._clear()

    def state_dict(self) -> dict[str, Any]:
        # As bits, which are not searched for a NaN: there are many.
        own = self.own.view(torch.int16) if self.leave_one_out else None
        return {"aligner": self.aligner.state_dict(), "own": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.aligner.load_state_dict(state["aligner"])
        if self.leave_one_out:
            self.own.copy_(state["own"].view(torch.half))
        self.refresh()

    def _clear(self) -> None:
        self.counts = torch.zeros_like(self.emission.counts)
        self.null_counts = torch.zeros_like(self.emission.null_counts)
        self.totals: Totals = {}


def _look_up(table: Tensor, cells: Tensor) -> Tensor:
    """table[cells], in a fifth of the time."""
    return table.index_select(0, cells.flatten()).view(cells.shape)
