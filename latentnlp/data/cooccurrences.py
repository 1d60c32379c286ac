r"""Which words meet in which sentence pairs: the sparse support of a lexicon p(y | x).

A pair (x, y) that never stands in one sentence pair never gets an expected count, so a count table
needs one row for each pair that does, not |X| × |Y|. `Cooccurrences` numbers these pairs and keeps,
for each cell (i, j) of each sentence pair, the number of its word pair. Cells and pairs are mapped
from files, and so is what `zeros` keeps for each cell: memory holds no more than
a few numbers a sentence pair.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.batches import Batch, Batches
from latentnlp.data.corpora import EncodedCorpus
from latentnlp.errors import UserError

OUTSIDE = 0  # the number that stands for padding, or for a pair that was never seen
_AT_ONCE = 1 << 22  # tokens, cells or pairs that are held


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
        self._keys: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.source_words)

    def include(self, source: Tensor, target: Tensor) -> None:
        """Number the pairs (source, target) [K] too, though they may stand in no sentence pair."""
        size = 1 + int(torch.cat([self.target_words, target]).max())
        known = self.source_words.long() * size + self.target_words
        keys = torch.cat([known, source * size + target]).unique()
        self.source_words, self.target_words = (keys // size).int(), (keys % size).int()
        self._keys = None
        number = torch.searchsorted(keys, known).int()
        for start in range(0, self.size, _AT_ONCE):
            cells = self._cells[start : start + _AT_ONCE]
            cells.copy_(number[cells])

    def keys(self, second_size: int) -> Tensor:
        """x · second_size + y of each pair (x, y), int64 [P], rising: one tensor for all who ask
        with the same size."""
        if self._keys is None or self._keys[0] != second_size:
            keys = _mapped_zeros(len(self), torch.int64)
            for start in range(0, len(self), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                torch.mul(self.source_words[part].long(), second_size, out=keys[part])
                keys[part] += self.target_words[part]
            self._keys = second_size, keys
        return self._keys[1]

    def cells(self, batch: Batch) -> Tensor:
        """The number of the word pair of each cell, int32 [B, I, J]; OUTSIDE at padding."""
        return self.block(self._cells, batch)

    def block(self, values: Tensor, batch: Batch) -> Tensor:
        """The view [B, I, J] on the cells of ``batch`` among the values [size] of all cells."""
        start, end = self._starts[batch.number], self._starts[batch.number + 1]
        shape = (-1, batch.source.shape[1], batch.target.shape[1])
        return values[start:end].view(shape)[self._rank :: self._world]

    def zeros(self, like: Tensor) -> Tensor:
        """A zero for each cell, [size], of the kind of ``like``. On the CPU they are mapped from a
        file. Raises UserError: no room."""
        if like.device.type != "cpu":
            return like.new_zeros(self.size)
        return _mapped_zeros(self.size, like.dtype)

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
        starts, rows, widths = _places(batches, len(corpus))
        cells = np.lib.format.open_memmap(file, mode="w+", dtype=np.int32, shape=(int(starts[-1]),))
        with file.open("r+b") as stream:
            _reserve(stream.fileno(), file)
        target_ids, target_starts = corpus.target_ids, corpus.target_offsets[:-1]
        number = np.zeros(int(target_ids.max(initial=0)) + 1, dtype=np.int32)
        with ExitStack() as files:
            pairs = [files.enter_context(_temporary_file()) for _ in range(2)]
            n_pairs = _write(pairs, np.zeros(1, np.int32), np.zeros(1, np.int32))
            for word, tokens in _by_word(corpus.source_ids):
                line = np.searchsorted(corpus.source_offsets, tokens, side="right") - 1
                row = rows[line] + (tokens - corpus.source_offsets[line]) * widths[line]
                length = corpus.target_lengths[line]
                met = _Met(target_ids, target_starts[line], length)
                distinct = met.distinct()
                number[distinct] = np.arange(n_pairs, n_pairs + len(distinct), dtype=np.int32)
                for part, ids in met:
                    cells[_ranges(row[part], length[part])] = number[ids]
                n_pairs += _write(pairs, np.full(len(distinct), word, np.int32), distinct)
            source_words, target_words = (torch.from_numpy(_map(file, np.int32)) for file in pairs)
        return cls(source_words, target_words, cells, starts, rank, world)


def _places(batches: Batches, lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each batch's cells begin, and the end; where each line's do, and how many there are to
    a source word."""
    starts = np.zeros(len(batches) + 1, dtype=np.int64)
    rows, widths = np.zeros(lines, dtype=np.int64), np.zeros(lines, dtype=np.int32)
    for batch in batches:
        begin, index, (_, n_source) = starts[batch.number], batch.index.numpy(), batch.source.shape
        widths[index] = n_target = batch.target.shape[1]
        rows[index] = begin + np.arange(len(batch)) * (n_source * n_target)
        starts[batch.number + 1] = begin + len(batch) * n_source * n_target
    return starts, rows, widths


def _by_word(ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each word that there is, rising, and where it stands, [n]. Passes over the text as often as
    it takes to hold few places at a time."""
    counts = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.int64)
    blocks = [slice(start, start + _AT_ONCE) for start in range(0, max(1, len(ids)), _AT_ONCE)]
    for block in blocks:
        counts += np.bincount(ids[block], minlength=len(counts))
    known = np.flatnonzero(counts)
    held = counts[known].cumsum() // _AT_ONCE
    for first, end in pairwise(np.flatnonzero(np.diff(held, prepend=-1, append=-1))):
        words = known[first:end]
        found = [
            block.start + np.flatnonzero((ids[block] >= words[0]) & (ids[block] <= words[-1]))
            for block in blocks
        ]
        place = np.concatenate(found)
        place = place[np.argsort(ids[place], kind="stable")]
        cuts = counts[words].cumsum()[:-1]
        yield from zip(words.tolist(), np.split(place, cuts), strict=True)


class _Met:
    """The target words of the lines that a word stands in: (which lines, their words) in parts."""

    def __init__(self, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        self._ids, self._starts, self._lengths = ids, starts, lengths
        cuts = np.flatnonzero(np.diff(lengths.cumsum(dtype=np.int64) // _AT_ONCE)) + 1
        self._parts = [slice(*ends) for ends in pairwise([0, *cuts.tolist(), len(lengths)])]
        if len(self._parts) == 1:
            self._parts, self._whole = [], self._words(slice(None))

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        if not self._parts:
            yield slice(None), self._whole
        for part in self._parts:
            yield part, self._words(part)

    def distinct(self) -> np.ndarray:
        """Rising."""
        found = [np.unique(words) for _, words in self]
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _words(self, part: slice) -> np.ndarray:
        return self._ids[_ranges(self._starts[part], self._lengths[part])]


def _write(files: list[BinaryIO], *columns: np.ndarray) -> int:
    """Append each column to its file; how many rows they have."""
    with _room(tempfile.gettempdir()):
        for file, column in zip(files, columns, strict=True):
            file.write(column.tobytes())
    return len(columns[0])


def _temporary_file() -> BinaryIO:
    """It has no name, and goes when nobody has it open or mapped."""
    with _room(tempfile.gettempdir()):
        return tempfile.TemporaryFile(prefix="latentnlp-")  # type: ignore[return-value]


def _map(file: BinaryIO, kind: type[np.generic]) -> np.ndarray:
    """All of a file that is not empty. (numpy's memmap class slows every index down.)"""
    with _room(tempfile.gettempdir()):
        file.flush()
    return np.asarray(np.memmap(file, kind, "r+"))


def _mapped_zeros(size: int, dtype: torch.dtype) -> Tensor:
    with _temporary_file() as file:
        file.truncate(max(1, size) * dtype.itemsize)  # nothing cannot be mapped
        _reserve(file.fileno(), tempfile.gettempdir())
        return torch.from_numpy(_map(file, np.uint8)).view(dtype)[:size]


@contextmanager
def _room(where: Path | str, megabytes: float | None = None) -> Iterator[None]:
    needs = "" if megabytes is None else f"; it needs {megabytes:.0f} MB"
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{where}: cannot be written: {error.strerror}{needs}: set TMPDIR to a folder with "
            "more room"
        ) from error


def _reserve(file: int, name: Path | str) -> None:
    """Take all the room of a sparse file at once: a disk that fills under a map kills us (SIGBUS).

    Raises UserError if there is not so much room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    size = os.fstat(file).st_size
    with _room(name, size / 2**20):
        os.posix_fallocate(file, 0, size)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … start + length - 1 of each range, one after the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(
        starts - (ends - lengths), lengths
    )
