"""Documents as bags of words: how often which word occurs, and nothing of their order.

A corpus is three arrays (a sparse matrix by rows), which may be memory-mapped: it is never held as
a dense [documents, V] matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

_PIECE = 1 << 20  # entries, or documents, of a mapped corpus that are looked at together


@dataclass(frozen=True, eq=False)
class Bags:
    """D documents. Entry n says that word ``words[n]`` occurs ``counts[n]`` times in a document;
    document d has the entries from ``offsets[d]`` to ``offsets[d + 1]``, each word once. A document
    may be empty."""

    offsets: np.ndarray  # [D + 1] int64
    words: np.ndarray  # [N] int32, from 0 to V − 1
    counts: np.ndarray  # [N] int32, 1 or more
    vocabulary_size: int  # V
    ids: Sequence[str] | None = None  # [D]; None: the documents' numbers, from 0
    labels: Sequence[str | None] | None = None  # [D]; None where a document has none

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def id(self, number: int) -> str:
        return str(number) if self.ids is None else self.ids[number]

    def lengths(self) -> np.ndarray:
        """The number of words (tokens) of each document, [D] int64."""
        lengths = np.empty(len(self), dtype=np.int64)
        for start in range(0, len(self), _PIECE):
            offsets = self.offsets[start : start + _PIECE + 1]
            counts = self.counts[offsets[0] : offsets[-1]]
            before = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[offsets - offsets[0]]
            lengths[start : start + _PIECE] = np.diff(before)
        return lengths

    def frequencies(self) -> np.ndarray:
        """How often each word occurs in all documents together, [V] float64."""
        total = np.zeros(self.vocabulary_size)
        for start in range(0, len(self.words), _PIECE):
            piece = slice(start, start + _PIECE)
            total += np.bincount(self.words[piece], self.counts[piece], len(total))
        return total

    def select(self, rows: np.ndarray) -> Bags:
        """The documents of these numbers, in this order."""
        places, sizes = entries(self.offsets, rows)
        return Bags(
            np.concatenate([[0], np.cumsum(sizes)]),
            self.words[places],
            self.counts[places],
            self.vocabulary_size,
            [self.id(row) for row in rows],
            None if self.labels is None else [self.labels[row] for row in rows],
        )


def entries(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of these documents' entries, one after the other; and how many each has."""
    starts, sizes = offsets[rows], offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(sizes)
    return np.arange(sizes.sum()) + np.repeat(starts - (ends - sizes), sizes), sizes


def halves(bags: Bags, seed: int) -> tuple[Bags, Bags]:
    """Every document's tokens cut in two at random, ⌈N/2⌉ and ⌊N/2⌋ of them."""
    random = np.random.default_rng(seed)
    tokens = np.repeat(np.arange(len(bags.words)), bags.counts)  # the entry of each token
    lengths = bags.lengths()
    document = np.repeat(np.arange(len(bags)), lengths)
    order = np.lexsort([random.random(len(tokens)), document])  # shuffled inside each document
    rank = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    first = rank < np.repeat((lengths + 1) // 2, lengths)
    parts = (tokens[order][first], tokens[order][~first])
    counts = [np.bincount(part, minlength=len(bags.words)) for part in parts]
    return _with_counts(bags, counts[0]), _with_counts(bags, counts[1])


def _with_counts(bags: Bags, counts: np.ndarray) -> Bags:
    """The same documents with other counts; an entry of 0 is left out."""
    kept = counts > 0
    before = np.concatenate([[0], np.cumsum(kept)])
    return replace(
        bags,
        offsets=before[bags.offsets],
        words=bags.words[kept],
        counts=counts[kept].astype(np.int32),
    )


@dataclass(frozen=True, eq=False)
class BagBatch:
    """B documents with N entries, some perhaps of count 0. On a rank without a row B is 0."""

    number: int
    index: Tensor  # [B] int64, places in the corpus; stays on the CPU
    words: Tensor  # [N] int64, one document after the other
    counts: Tensor  # [N] float32
    rows: Tensor  # [N] int64, the document of each entry
    starts: Tensor  # [B + 1] int64, where each document's entries begin
    lengths: Tensor  # [B] float32, tokens
    tokens: int  # Σ lengths; nobody has to ask the device for it
    vocabulary_size: int

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str) -> BagBatch:
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and name != "index"
        }
        return replace(self, **moved)

    def dense(self) -> Tensor:
        """The counts as a matrix, [B, V]: of one batch, never of a corpus."""
        matrix = self.counts.new_zeros(len(self), self.vocabulary_size)
        return matrix.index_put((self.rows, self.words), self.counts, accumulate=True)

    def weighted_sum(self, vectors: Tensor, weights: Tensor | None = None) -> Tensor:
        """Σ_n weight_n vectors[word_n] over each document's entries n, [B, H].

        vectors: [V, H], differentiable; weights: [N], the counts unless given.
        """
        weights = self.counts if weights is None else weights
        return torch.nn.functional.embedding_bag(
            self.words,
            vectors,
            self.starts,
            mode="sum",
            per_sample_weights=weights.to(vectors.dtype),
            include_last_offset=True,
        )

    def sum_by_document(self, values: Tensor) -> Tensor:
        """Σ of the entries' values, [..., N] → [..., B]."""
        sums = values.new_zeros(*values.shape[:-1], len(self))
        return sums.index_add(-1, self.rows, values)


def batch_of(
    bags: Bags, rows: np.ndarray, number: int = 0, counts: np.ndarray | None = None
) -> BagBatch:
    """The documents of these numbers as one batch, in this order; ``counts``: of their entries,
    instead of their own."""
    places, sizes = entries(bags.offsets, rows)
    counts = (bags.counts[places] if counts is None else counts).astype(np.float32)
    document = np.repeat(np.arange(len(rows)), sizes)
    lengths = np.bincount(document, weights=counts, minlength=len(rows))
    return BagBatch(
        number=number,
        index=torch.from_numpy(rows.astype(np.int64)),
        words=torch.from_numpy(bags.words[places].astype(np.int64)),
        counts=torch.from_numpy(counts),
        rows=torch.from_numpy(document),
        starts=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        lengths=torch.from_numpy(lengths.astype(np.float32)),
        tokens=int(lengths.sum()),
        vocabulary_size=bags.vocabulary_size,
    )


def batch_of_draws(words: Tensor, rows: Tensor, lengths: Tensor, vocabulary_size: int) -> BagBatch:
    """Drawn tokens as a batch: word ``words[t]`` of document ``rows[t]``; lengths [B].

    Nothing waits for the device, so there are as many entries as tokens: those that a repeated word
    leaves over have count 0 (in the last document).
    """
    keys, device = (rows * vocabulary_size + words).sort().values, words.device
    new = torch.ones_like(keys, dtype=torch.bool)
    new[1:] = keys[1:] != keys[:-1]
    entry = new.long().cumsum(0) - 1  # [T] the entry of each token
    distinct = torch.full_like(keys, max(len(lengths) - 1, 0) * vocabulary_size)
    distinct = distinct.scatter(0, entry, keys)
    counts = torch.zeros(len(keys), device=device).index_add(
        0, entry, torch.ones(len(keys), device=device)
    )
    # Entries that are left over stand behind all others, and in the last document.
    rows = (distinct // vocabulary_size).where(counts > 0, len(lengths) - 1)
    numbers = torch.arange(len(lengths), device=device)
    starts = torch.searchsorted(rows, numbers)
    return BagBatch(
        number=0,
        index=torch.arange(len(lengths)),
        words=distinct % vocabulary_size,
        counts=counts,
        rows=rows,
        starts=torch.cat([starts, starts.new_full((1,), len(keys))]),
        lengths=lengths.float(),
        tokens=len(words),
        vocabulary_size=vocabulary_size,
    )


LEAST_KEPT = 0.2


class BagBatches:
    """The documents in batches of ``size``.

    Which documents share a batch is a function of (seed, epoch): a permutation. Without ``shuffle``
    the batches follow the documents' order. Rank r of ``world`` gets every world-th row.

    Of a share ``thinned`` of the documents an epoch has a random part: every token is kept with a
    probability that is uniform between `LEAST_KEPT` and 1, anew for each document.
    """

    def __init__(
        self,
        bags: Bags,
        size: int,
        *,
        seed: int = 1,
        shuffle: bool = False,
        thinned: float = 0.0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if size < 1 or not 0 <= rank < world:
            raise ValueError(f"{size=} must be >= 1; 0 <= {rank=} < {world=}")
        self.bags, self.size, self.seed, self.shuffle = bags, size, seed, shuffle
        self.thinned, self._rank, self._world = thinned, rank, world

    def __len__(self) -> int:
        return -(-len(self.bags) // self.size)

    def __iter__(self) -> Iterator[BagBatch]:
        """All batches in the documents' order, whole."""
        order = np.arange(len(self.bags))
        return (batch_of(self.bags, self._rows(order, n), n) for n in range(len(self)))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[BagBatch]:
        """The batches of an epoch from its ``start``-th on."""
        order = np.arange(len(self.bags))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(order)
        for number in range(start, len(self)):
            rows = self._rows(order, number)
            counts = self._thinned(order, epoch, number) if self.thinned > 0 else None
            yield batch_of(self.bags, rows, number, counts)

    def _thinned(self, order: np.ndarray, epoch: int, number: int) -> np.ndarray:
        """Counts of a rank's rows. The whole batch is thinned: all ranks learn what one would."""
        random = np.random.default_rng([self.seed, epoch, number, 0])
        places, sizes = entries(self.bags.offsets, self._whole(order, number))
        some = random.random(len(sizes)) < self.thinned
        kept = np.where(some, random.uniform(LEAST_KEPT, 1, len(sizes)), 1.0)
        counts = random.binomial(self.bags.counts[places], np.repeat(kept, sizes))
        mine = np.repeat(np.arange(len(sizes)) % self._world == self._rank, sizes)
        return counts[mine]

    def _whole(self, order: np.ndarray, number: int) -> np.ndarray:
        return order[number * self.size : (number + 1) * self.size]

    def _rows(self, order: np.ndarray, number: int) -> np.ndarray:
        return self._whole(order, number)[self._rank :: self._world]
