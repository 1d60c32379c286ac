r"""Which words meet in which sentence pairs: the sparse support of a lexicon p(y | x).

A pair (x, y) that never stands in one sentence pair never gets an expected count, so a count table
needs one row for each pair that does, not |X| × |Y|. `Cooccurrences` numbers these pairs and keeps,
for each cell (i, j) of each sentence pair, the number of its word pair. The cells are mapped from a
file: memory holds only the pairs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.batches import Batch, Batches
from latentnlp.data.corpora import EncodedCorpus
from latentnlp.errors import UserError

OUTSIDE = 0  # the number that stands for padding, or for a pair that was never seen
_CELLS_AT_ONCE = 1 << 22  # that are numbered anew


class Cooccurrences:
    """The word pairs of a corpus and the cells of its batches.

    ``source_words`` and ``target_words``, int32 [P]: the ids of pair p, sorted by (x, y).
    Pair 0 is OUTSIDE. ``size`` is the number of cells, padding included.

    All processes number the same pairs; each reads its own rows of a batch (see `Batches`).
    """

    def __init__(
        self,
        source_words: Tensor,
        target_words: Tensor,
        cells: np.ndarray,
        starts: np.ndarray,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source_words, self.target_words = source_words, target_words
        self.size = int(starts[-1])
        self._cells, self._starts = torch.from_numpy(cells), starts
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return len(self.source_words)

    def include(self, source: Tensor, target: Tensor) -> None:
        """Number the pairs (source, target) [K] too, though they may stand in no sentence pair."""
        size = 1 + int(torch.cat([self.target_words, target]).max())
        known = self.source_words.long() * size + self.target_words
        keys = torch.cat([known, source * size + target]).unique()
        self.source_words, self.target_words = (keys // size).int(), (keys % size).int()
        number = torch.searchsorted(keys, known).int()
        for start in range(0, self.size, _CELLS_AT_ONCE):
            cells = self._cells[start : start + _CELLS_AT_ONCE]
            cells.copy_(number[cells])

    def cells(self, batch: Batch) -> Tensor:
        """The number of the word pair of each cell, int32 [B, I, J]; OUTSIDE at padding."""
        return self.block(self._cells, batch)

    def block(self, values: Tensor, batch: Batch) -> Tensor:
        """The view [B, I, J] on the cells of ``batch`` among the values [size] of all cells."""
        start, end = self._starts[batch.number], self._starts[batch.number + 1]
        shape = (-1, batch.source.shape[1], batch.target.shape[1])
        return values[start:end].view(shape)[self._rank :: self._world]

    @classmethod
    def build(
        cls,
        corpus: EncodedCorpus,
        batches: Batches,
        file: Path,
        rank: int = 0,
        world: int = 1,
    ) -> Cooccurrences:
        """Number the pairs and write the cells to ``file``. ``batches`` are those of one process.

        Word by word of the source vocabulary: all target words that x ever meets are marked in one
        table of |Y| numbers, so no cell is ever sorted or searched for. Raises UserError: no room.
        """
        words, destinations, lines, starts = _occurrences(batches)
        cells = np.lib.format.open_memmap(file, mode="w+", dtype=np.int32, shape=(int(starts[-1]),))
        _reserve(file)
        target_ids = corpus.target_ids
        target_starts, target_lengths = corpus.target_offsets[:-1], corpus.target_lengths
        number = np.zeros(int(target_ids.max(initial=0)) + 1, dtype=np.int32)
        source_words, target_words = [np.zeros(1, np.int32)], [np.zeros(1, np.int32)]
        n_pairs = 1
        for occurrences in _by_word(words):
            line = lines[occurrences]
            lengths = target_lengths[line]
            met = target_ids[_ranges(target_starts[line], lengths)]
            distinct = np.unique(met)
            number[distinct] = np.arange(n_pairs, n_pairs + len(distinct), dtype=np.int32)
            cells[_ranges(destinations[occurrences], lengths)] = number[met]
            source_words.append(np.full(len(distinct), words[occurrences[0]], np.int32))
            target_words.append(distinct)
            n_pairs += len(distinct)
        return cls(
            torch.from_numpy(np.concatenate(source_words)),
            torch.from_numpy(np.concatenate(target_words)),
            cells,
            starts,
            rank,
            world,
        )


def _occurrences(batches: Batches) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every source token: its word, where its row of cells begins, its line; and where each
    batch's cells begin."""
    starts = np.zeros(len(batches) + 1, dtype=np.int64)
    words, destinations, lines = [], [], []
    for batch in batches:
        width = batch.target.shape[1]
        tokens = batch.source_mask.numpy()
        begin = starts[batch.number]
        rows = begin + np.flatnonzero(tokens) * width
        words.append(batch.source.numpy()[tokens].astype(np.int32))
        destinations.append(rows)
        lines.append(np.repeat(batch.index.numpy(), tokens.sum(1)))
        starts[batch.number + 1] = begin + batch.source.numel() * width
    if not words:
        words, destinations, lines = ([np.zeros(0, np.int64)] for _ in range(3))
    return np.concatenate(words), np.concatenate(destinations), np.concatenate(lines), starts


def _reserve(file: Path) -> None:
    """Take all the room of a sparse file at once: a disk that fills under a map kills us (SIGBUS).

    Raises UserError if there is not so much room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    size = file.stat().st_size
    try:
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written: {error.strerror}; it needs {size / 2**20:.0f} MB: set "
            "TMPDIR to a folder with more room"
        ) from error


def _by_word(words: np.ndarray) -> Iterator[np.ndarray]:
    """The places of each word, word by word."""
    order = np.argsort(words, kind="stable")
    cuts = np.flatnonzero(np.diff(words[order])) + 1
    return iter(np.split(order, cuts)) if len(order) else iter(())


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … start + length - 1 of each range, one after the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
        starts - (ends - lengths), lengths
    )
