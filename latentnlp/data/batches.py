"""Padded batches of sentence pairs of like lengths; their order is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.corpora import EncodedCorpus


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a batch: B sentences padded at the end with 0 to T words."""

    words: Tensor  # [B, T] int64
    mask: Tensor  # [B, T] bool, True at words

    @property
    def types(self) -> Tensor:
        """The distinct words of the batch, [U] int64, rising (0 among them where padded)."""
        return self._distinct[0]

    @property
    def places(self) -> Tensor:
        """[B, T] int64, words == types[places]."""
        return self._distinct[1]

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1)  # [B]

    def to(self, device: torch.device | str) -> Side:
        if self.words.device == torch.device(device):
            return self
        moved = Side(*(one.to(device, non_blocking=True) for one in (self.words, self.mask)))
        # Found before they go: on a GPU `unique` would make every step wait for the device.
        distinct = tuple(one.to(device, non_blocking=True) for one in self._distinct)
        vars(moved)["_distinct"] = distinct
        return moved

    @cached_property
    def _distinct(self) -> tuple[Tensor, Tensor]:
        """Found when they are asked for: EM on the CPU does without."""
        types, places = np.unique(self.words.numpy(), return_inverse=True)
        return torch.from_numpy(types), torch.from_numpy(places.reshape(self.words.shape))


@dataclass(frozen=True, eq=False)
class Batch:
    """B sentence pairs, padded to I source and J target words.

    On a rank that has no row of a batch B is 0; the other shapes stay.
    """

    number: int  # which batch of the corpus this is: the same in every epoch
    index: Tensor  # [B] int64, line numbers from 0; stays on the CPU
    source_side: Side
    target_side: Side

    def __len__(self) -> int:
        return len(self.index)

    @property
    def source(self) -> Tensor:
        return self.source_side.words  # [B, I]

    @property
    def target(self) -> Tensor:
        return self.target_side.words  # [B, J]

    @property
    def source_mask(self) -> Tensor:
        return self.source_side.mask  # [B, I]

    @property
    def target_mask(self) -> Tensor:
        return self.target_side.mask  # [B, J]

    @property
    def source_lengths(self) -> Tensor:
        return self.source_side.lengths  # [B]

    @property
    def target_lengths(self) -> Tensor:
        return self.target_side.lengths  # [B]

    def reversed(self) -> Batch:
        """The same pairs in the other direction: source becomes target."""
        return Batch(self.number, self.index, self.target_side, self.source_side)

    def to(self, device: torch.device | str) -> Batch:
        sides = self.source_side.to(device), self.target_side.to(device)
        return Batch(self.number, self.index, *sides)


class Batches:
    """A corpus cut into batches of fixed composition.

    Pairs are sorted by (I, J, line) and cut greedily so that B · max I · max J <= `cells`,
    B · max(I, J)² <= 4 `cells` (an HMM has a matrix of jumps a sentence) and B <= `max_sentences`;
    a single pair over the budget is a batch of its own. Skipped pairs (length 0) are in no batch.
    Only the order of the batches changes from epoch to epoch.

    Rank r of `world` gets the rows r, r + world, ... of every batch, padded to the I and J of the
    whole batch: all ranks take equally many steps, together over the batches that one process sees.

    Memory: one int64 a pair, and one a batch. The words stay in the mapped corpus.
    """

    def __init__(
        self,
        corpus: EncodedCorpus,
        cells: int,
        max_sentences: int,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if cells < 1 or max_sentences < 1 or not 0 <= rank < world:
            raise ValueError(f"{cells=}, {max_sentences=} must be >= 1; 0 <= {rank=} < {world=}")
        self._corpus, self._seed, self._shuffle = corpus, seed, shuffle
        self._rank, self._world = rank, world
        source, target = corpus.source_lengths, corpus.target_lengths
        used = np.flatnonzero((source > 0) & (target > 0))
        self._order = used[np.lexsort((target[used], source[used]))]  # stable: ties by line
        self._starts = _cut(source[self._order], target[self._order], cells, max_sentences)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Batch]:
        """All batches in the order of their numbers."""
        return map(self._batch, range(len(self)))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from its `start`-th on, in an order fixed by (seed, epoch)."""
        order = np.arange(len(self))
        if self._shuffle:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
        return map(self._batch, order[start:].tolist())

    def _batch(self, number: int) -> Batch:
        corpus = self._corpus
        rows = self._order[self._starts[number] : self._starts[number + 1]]
        source_width = int(corpus.source_lengths[rows].max())  # of all ranks' rows
        target_width = int(corpus.target_lengths[rows].max())
        rows = rows[self._rank :: self._world]
        return Batch(
            number=number,
            index=torch.from_numpy(rows.copy()),
            source_side=_pad(corpus.source_ids, corpus.source_offsets, rows, source_width),
            target_side=_pad(corpus.target_ids, corpus.target_offsets, rows, target_width),
        )


def _cut(source: np.ndarray, target: np.ndarray, cells: int, max_sentences: int) -> np.ndarray:
    """Where each batch of the sorted pairs starts and the last one ends: int64 [batches + 1].

    For b = 1, 2, ... pairs from a start on, neither I_b, as the pairs are sorted, nor
    max(J_1 .. J_b) ever falls, nor does what they cost: the largest b within the budget is a binary
    search.
    """
    starts = [0]
    while starts[-1] < len(source):
        window = slice(starts[-1], starts[-1] + max_sentences)
        i = source[window].astype(np.int64)
        j = np.maximum.accumulate(target[window].astype(np.int64))
        cost = np.arange(1, len(i) + 1) * np.maximum(i * j, np.maximum(i, j) ** 2 // 4)
        starts.append(starts[-1] + max(1, int(np.searchsorted(cost, cells, side="right"))))
    return np.array(starts, dtype=np.int64)


def _pad(ids: np.ndarray, offsets: np.ndarray, rows: np.ndarray, width: int) -> Side:
    """The sentences `rows` [B] of the flat `ids`, padded to `width`."""
    starts, ends = offsets[rows], offsets[rows + 1]
    position = starts[:, None] + np.arange(width)  # [B, width]
    mask = position < ends[:, None]
    position[~mask] = 0  # anywhere inside the array
    return side(np.where(mask, ids[position], 0).astype(np.int64), mask)


def side(words: np.ndarray, mask: np.ndarray) -> Side:
    """A side from padded words [B, T]."""
    return Side(torch.from_numpy(words), torch.from_numpy(mask))
