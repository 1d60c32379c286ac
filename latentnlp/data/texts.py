"""Labelled documents as padded batches of ids, and the units among which a selector chooses.

A document is a row of *words* (its tokens). A model reads *pieces*: the words themselves, or word
pieces of a pretrained model. It selects *units*: words, blocks of n words, or sentences.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.documents import Document, Span
from latentnlp.data.vocabulary import PAD, UNK, Vocabulary

UnitKind = Literal["word", "block", "sentence"]
NO_ASPECT = 10_000  # the "distance" of every word where no aspect is given
_MOST_GRAMS = 64  # of a word
_WINDOW = 32  # batches whose documents are sorted by length together


class Indexer(Protocol):
    """Words → ids of their pieces, one list a word; and how a piece is spelt."""

    def pieces(self, tokens: Sequence[str]) -> list[list[int]]: ...

    def known(self, piece: int) -> int:
        """The row of the table of vectors: the unknown word's if training had not this one."""
        ...

    def spelling(self, piece: int) -> np.ndarray:
        """Its character n-grams' rows, of which there may be none."""
        ...


class WordIndexer:
    """Every word is one piece. A word that training had not gets a number of its own, too: its
    n-grams still tell it from others."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        lowercase: bool = True,
        ngrams: tuple[int, ...] = (),
        buckets: int = 1,
    ) -> None:
        self.vocabulary, self.lowercase = vocabulary, lowercase
        self._ngrams, self._buckets = ngrams, buckets
        self._new: dict[str, int] = {}
        self._words = list(vocabulary.words)
        self._spellings: dict[int, np.ndarray] = {}

    def pieces(self, tokens: Sequence[str]) -> list[list[int]]:
        words = [token.lower() for token in tokens] if self.lowercase else list(tokens)
        return [
            [self._number(word, n)]
            for word, n in zip(words, self.vocabulary.encode(words), strict=True)
        ]

    def known(self, piece: int) -> int:
        return piece if piece < len(self.vocabulary) else UNK

    def spelling(self, piece: int) -> np.ndarray:
        if piece not in self._spellings:
            self._spellings[piece] = self._spell(piece)
        return self._spellings[piece]

    def _number(self, word: str, number: int) -> int:
        if number != UNK or not self._ngrams:
            return number
        if word not in self._new:
            self._new[word] = len(self._words)
            self._words.append(word)
        return self._new[word]

    def _spell(self, piece: int) -> np.ndarray:
        if not self._ngrams or piece in (PAD, UNK):
            return np.zeros(0, dtype=np.int64)
        marked = f"<{self._words[piece]}>"
        grams = [
            marked[start : start + length]
            for length in self._ngrams
            for start in range(len(marked) - length + 1)
        ]
        # crc32: the same on every machine and in every process, unlike Python's own hash.
        numbers = [zlib.crc32(gram.encode()) % self._buckets for gram in grams[:_MOST_GRAMS]]
        return np.array(numbers, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class TextBatch:
    """B documents of up to T pieces and U units. On a rank without a row B is 0."""

    number: int
    index: Tensor  # [B] int64, places in the corpus; stays on the CPU
    types: Tensor  # [W] int64, the batch's distinct pieces: rows of the table of vectors
    places: Tensor  # [B, T] int64, which of them stands where
    grams: Tensor  # [G] int64, the character n-grams of all types, one after the other
    gram_starts: Tensor  # [W + 1] int64, where each type's begin
    mask: Tensor  # [B, T] bool
    units: Tensor  # [B, T] int64, the unit of every piece; 0 at padding
    unit_mask: Tensor  # [B, U] bool
    unit_sizes: Tensor  # [B, U] float32, words in each unit
    distance: Tensor  # [B, T] int64, words after the aspect, or `NO_ASPECT`
    extra: Tensor  # [B] int64, 1 for a text of the extra stock (its classes are of other shares)
    labels: Tensor  # [B] int64 classes or float32 amounts
    one_to_one: bool = False  # every unit is one piece

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> TextBatch:
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and name != "index"
        }
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class EncodedText:
    """One document as arrays."""

    words: np.ndarray  # [T] int32
    units: np.ndarray  # [T] int32
    unit_sizes: np.ndarray  # [U] int32
    distance: np.ndarray  # [T] int16
    spans: tuple[Span, ...]  # the units as spans of words


def encode(document: Document, indexer: Indexer, unit: UnitKind, block: int = 10) -> EncodedText:
    """The ids and units of a document; a word without a piece stands for the unknown word."""
    spans = unit_spans(document, unit, block)
    unit_of_word = np.repeat(np.arange(len(spans)), [end - start for start, end in spans])
    pieces = indexer.pieces(document.tokens)
    counts = [max(1, len(one)) for one in pieces]
    words = [number for one in pieces for number in (one or [1])]
    return EncodedText(
        np.array(words, dtype=np.int32),
        np.repeat(unit_of_word, counts).astype(np.int32),
        np.array([end - start for start, end in spans], dtype=np.int32),
        np.repeat(_distances(document), counts).astype(np.int16),
        spans,
    )


def unit_spans(document: Document, unit: UnitKind, block: int = 10) -> tuple[Span, ...]:
    """The units of a document as spans of words, one after the other."""
    count = len(document.tokens)
    if unit == "word":
        starts: Sequence[int] = range(count)
    elif unit == "block":
        starts = range(0, count, block)
    else:
        starts = document.sentences()
    return tuple(zip(starts, [*starts[1:], count], strict=True))


def _distances(document: Document) -> np.ndarray:
    """How many words each word is after the aspect (before it: negative, inside: 0)."""
    count = len(document.tokens)
    if document.aspect is None:
        return np.full(count, NO_ASPECT)
    start, end = document.aspect
    place = np.arange(count)
    return np.minimum(place - start, 0) + np.maximum(place - end + 1, 0)


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """Documents as arrays, and who gave the pieces their numbers."""

    texts: Sequence[EncodedText]
    indexer: Indexer


class Texts:
    """Encoded documents with their targets, cut into batches of ``size`` documents.

    Which documents share a batch, and the order of the batches, is a function of (seed, epoch):
    a permutation, sorted by length within windows of batches to save padding. Without ``shuffle``
    the batches follow the documents' order. Rank r of ``world`` gets every world-th row.

    The last ``extra`` of the texts are a stock of which every epoch has ``extra_per_epoch``.
    """

    def __init__(
        self,
        encoded: EncodedTexts,
        labels: Sequence[float],
        size: int,
        *,
        classes: bool = True,
        extra: int = 0,
        extra_per_epoch: int = 0,
        seed: int = 1,
        shuffle: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if size < 1 or not 0 <= rank < world:
            raise ValueError(f"{size=} must be >= 1; 0 <= {rank=} < {world=}")
        texts = encoded.texts
        self.texts, self.indexer, self.size = texts, encoded.indexer, size
        self.seed, self.shuffle = seed, shuffle
        self.labels = torch.tensor(labels, dtype=torch.int64 if classes else torch.float32)
        self._own = len(texts) - extra
        self._drawn = min(extra, extra_per_epoch)
        self._lengths = np.array([len(text.words) for text in texts])
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return -(-(self._own + self._drawn) // self.size)

    def __iter__(self) -> Iterator[TextBatch]:
        """All batches in the documents' order."""
        order = np.arange(len(self.texts))
        return (self._batch(number, rows) for number, rows in enumerate(self._cut(order)))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[TextBatch]:
        """The batches of an epoch from its ``start``-th on."""
        if not self.shuffle:
            batches = self._cut(np.arange(self._own))
        else:
            random = np.random.default_rng([self.seed, epoch])
            drawn = self._own + random.permutation(len(self.texts) - self._own)[: self._drawn]
            order = random.permutation(np.concatenate([np.arange(self._own), drawn]))
            window = _WINDOW * self.size
            pieces = [order[at : at + window] for at in range(0, len(order), window)]
            sorted_ = [piece[np.argsort(self._lengths[piece], kind="stable")] for piece in pieces]
            batches = self._cut(np.concatenate(sorted_) if sorted_ else order)
            batches = [batches[number] for number in random.permutation(len(batches))]
        return (self._batch(number, rows) for number, rows in list(enumerate(batches))[start:])

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        return [order[at : at + self.size] for at in range(0, len(order), self.size)]

    def _batch(self, number: int, rows: np.ndarray) -> TextBatch:
        all_ranks = [self.texts[row] for row in rows]
        width = max(len(text.words) for text in all_ranks)
        units = max(len(text.unit_sizes) for text in all_ranks)
        rows = rows[self._rank :: self._world]
        texts = [self.texts[row] for row in rows]
        mask = _pad([np.ones(len(text.words), dtype=bool) for text in texts], width)
        types, places, grams, starts = self._types(_pad([text.words for text in texts], width))
        return TextBatch(
            number=number,
            index=torch.from_numpy(rows.copy()),
            types=types,
            places=places,
            grams=grams,
            gram_starts=starts,
            mask=mask.bool(),
            units=_pad([text.units for text in texts], width).long(),
            unit_mask=_pad([np.ones(len(t.unit_sizes), dtype=bool) for t in texts], units).bool(),
            unit_sizes=_pad([text.unit_sizes for text in texts], units).float(),
            distance=_pad([text.distance for text in texts], width, fill=NO_ASPECT).long(),
            extra=torch.from_numpy(rows >= self._own).long(),
            labels=self.labels[rows],
            one_to_one=all(len(text.words) == len(text.unit_sizes) for text in all_ranks),
        )

    def _types(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The distinct pieces; on the CPU: on a GPU, `unique` would have to be waited for."""
        distinct, places = np.unique(words.numpy(), return_inverse=True)
        spellings = [self.indexer.spelling(piece) for piece in distinct.tolist()]
        starts = np.cumsum([0, *map(len, spellings)])
        known = [self.indexer.known(piece) for piece in distinct.tolist()]
        grams = np.concatenate([*spellings, np.zeros(0, dtype=np.int64)])
        arrays = (np.array(known, dtype=np.int64), places.reshape(words.shape), grams, starts)
        types, places, grams, starts = (torch.from_numpy(array) for array in arrays)
        return types, places, grams, starts


def _pad(arrays: Sequence[np.ndarray], width: int, fill: int = 0) -> Tensor:
    padded = np.full((len(arrays), width), fill, dtype=np.int32)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)
