r"""Vectors of word types: rows of a table, or the mean of their character n-grams' vectors.

    v(w) = E[w]        or        v(w) = mean_{g ∈ grams(w)} G[g]

Made of characters, rare and inflected words share strength with the words they are spelt like
(Bojanowski et al. 2017, "Enriching word vectors with subword information", section 3.2). A rare
word has no row for itself beside its n-grams: with one it learns its own accidents by heart, which
is what the characters are there to prevent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain
from typing import Any
from unicodedata import name

import numpy as np
import torch
from anyascii import anyascii
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from latentnlp.data.vocabulary import SPECIALS, Vocabulary

_MOST_GRAMS = 48
_FREQUENT = 20  # a word seen so often has a vector of its own among its n-grams


class WordVectors(nn.Module):
    """E[w] where ``ngrams`` is empty; else the mean of G over the n-grams of these lengths."""

    def __init__(self, vocabulary: Vocabulary, dim: int, ngrams: tuple[int, ...]) -> None:
        super().__init__()
        size, self.sums = len(vocabulary), None
        if ngrams:
            lists, size = _word_lists(vocabulary, ngrams)
            self.sums = GramSums(lists)
        self.table = nn.Embedding(size, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(self, words: Tensor) -> Tensor:
        """v(w), [N, d], of words [N]."""
        if self.sums is None:
            return embedding(words, self.table.weight)
        return self.sums.some(self.table.weight, words)

    def everything(self) -> Tensor:
        """v(w) of the whole vocabulary, [V, d]."""
        if self.sums is None:
            return self.table.weight
        return self.sums(self.table.weight)


class SpellingVectors(nn.Module):
    r"""Vectors of the words of both languages in one space, so that r(x) · r(y) knows spelling:

        r(w) = Σ_{g ∈ grams(w), in both languages} G[g] / √|grams(w)|

    At the start G is random with variance γ / d', and r(x) · r(y) close to

        γ |grams(x) ∩ grams(y)| / √(|grams(x)| |grams(y)|)

    (Johnson and Lindenstrauss 1984): names, numbers and cognates begin as translations of each
    other. Training learns which n-grams are. A word with a letter that is not Latin is compared by
    its romanisation.
    """

    def __init__(
        self,
        source: Vocabulary,
        target: Vocabulary,
        dim: int,
        similarity: float,
        ngrams: tuple[int, ...],
    ) -> None:
        """similarity: γ."""
        super().__init__()
        # In an order that both directions agree on: they share the lists.
        first, second = sorted((source, target), key=hash)
        sides, size = _spelling_lists(first, second, ngrams)
        sides = sides if first is source else sides[::-1]
        self.sums = nn.ModuleList(map(GramSums, sides))
        self.table = nn.Embedding(size, dim)
        nn.init.normal_(self.table.weight, std=(similarity / dim) ** 0.5)

    def source(self, words: Tensor | None = None) -> Tensor:
        """r(x) of source words [U], or of all, [|X|, d']."""
        return self._side(0, words)

    def target(self, words: Tensor | None = None) -> Tensor:
        """r(y) of target words [U], or of all, [|Y|, d']."""
        return self._side(1, words)

    def _side(self, side: int, words: Tensor | None) -> Tensor:
        sums: Any = self.sums[side]
        table = self.table.weight
        return sums(table) if words is None else sums.some(table, words)


@dataclass(frozen=True)
class GramLists:
    """Which n-grams every word has; built once for both directions."""

    grams: Tensor  # int64 [N]: the n-grams of word 0, of word 1, …
    gram_starts: Tensor  # int64 [V+1]: where each word's begin in ``grams``
    words: Tensor  # int64 [N]: the words that n-gram 0 is in, n-gram 1, …
    word_starts: Tensor  # int64 [G+1]
    scale: Tensor  # [V, 1]

    @classmethod
    def of(cls, members: list[list[int]], scale: Tensor, n_grams: int) -> GramLists:
        """members: the n-grams of each word; scale: [V]."""
        grams = torch.from_numpy(np.fromiter(chain.from_iterable(members), np.int64))
        starts = _starts(torch.tensor([len(one) for one in members]))
        return cls(grams, starts, *_turned(grams, starts, n_grams), scale.unsqueeze(1))


class GramSums(nn.Module):
    """The scaled sums of the n-grams of words, of a table of n-grams [G, d]."""

    # What the vocabulary implies is not saved with the weights.
    grams: Tensor
    gram_starts: Tensor
    words: Tensor
    word_starts: Tensor
    scale: Tensor

    def __init__(self, lists: GramLists) -> None:
        super().__init__()
        for field in fields(lists):
            self.register_buffer(field.name, getattr(lists, field.name), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        """Of every word, [V, d]."""
        lists = (self.grams, self.gram_starts, self.words, self.word_starts)
        sums: Any = _SumOfLists.apply(table, *lists)
        return sums * self.scale

    def some(self, table: Tensor, words: Tensor) -> Tensor:
        """Of words [U], [U, d]."""
        if table.device.type != "cpu":  # which would be waited for: how long are the lists?
            return embedding(words, self(table))
        begin = self.gram_starts[words]
        lengths = self.gram_starts[words + 1] - begin
        starts = _starts(lengths)
        place = torch.arange(int(starts[-1]))
        place += torch.repeat_interleave(begin - starts[:-1], lengths)
        sums: Any = _SumOfLists.apply(table, self.grams[place], starts, None, None)
        return sums * self.scale[words]


class _SumOfLists(torch.autograd.Function):
    """Σ of the rows of a table over each of many lists of rows. The gradient is the same sum over
    the lists turned round; torch's own backward of `embedding_bag` takes thirty times as long."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        rows: Tensor,
        starts: Tensor,
        lists: Tensor | None,
        list_starts: Tensor | None,
    ) -> Tensor:
        ctx.size = len(table)
        ctx.save_for_backward(rows, starts, lists, list_starts)
        return embedding_bag(rows, table, starts, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, starts, lists, list_starts = ctx.saved_tensors
        if lists is None:
            lists, list_starts = _turned(rows, starts, ctx.size)
        gradient = gradients[0].contiguous()
        table = embedding_bag(lists, gradient, list_starts, mode="sum", include_last_offset=True)
        return table, None, None, None, None


def _turned(rows: Tensor, starts: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """From the rows that are in each list to the lists that each row is in, and their starts."""
    list_of = torch.repeat_interleave(torch.arange(len(starts) - 1), starts.diff())
    counts = torch.bincount(rows, minlength=n_rows)
    return list_of[rows.argsort(stable=True)], _starts(counts)


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


@lru_cache(maxsize=2)
def _word_lists(vocabulary: Vocabulary, lengths: tuple[int, ...]) -> tuple[GramLists, int]:
    """The n-grams of each word, for their mean; and how many ids exist."""
    members, size = ngram_members(vocabulary, lengths)
    share = 1.0 / torch.tensor([len(one) for one in members])
    return GramLists.of(members, share, size), size


def ngram_members(vocabulary: Vocabulary, lengths: tuple[int, ...]) -> tuple[list[list[int]], int]:
    """The ids, from 1, of each word's character n-grams; and how many ids exist.

    The word is marked by ^ and $. Only n-grams that two words share get an id, and a word keeps its
    first 48. The whole word is an n-gram of its own where it is frequent enough to be learnt, or
    where it shares nothing with others (a single Chinese character, a number).
    """
    spelt = [() if word in SPECIALS else _grams(word, lengths) for word in vocabulary.words]
    frequency = Counter(chain.from_iterable(spelt))
    kept = sorted(gram for gram, count in frequency.items() if count > 1)
    ids = {gram: number for number, gram in enumerate(kept, start=1)}
    members = [[ids[gram] for gram in grams if gram in ids][:_MOST_GRAMS] for grams in spelt]
    size = len(ids) + 1
    for grams, count in zip(members, vocabulary.counts, strict=True):
        if count >= _FREQUENT or not grams:
            grams.append(size)
            size += 1
    return members, size


@lru_cache(maxsize=1)
def _spelling_lists(
    one: Vocabulary, other: Vocabulary, lengths: tuple[int, ...]
) -> tuple[tuple[GramLists, GramLists], int]:
    """The n-grams of the words of two vocabularies that are in both; and how many there are."""
    spelt = [
        [() if word in SPECIALS else _grams(_in_latin(word), lengths) for word in side.words]
        for side in (one, other)
    ]
    there, back = (set(chain.from_iterable(side)) for side in spelt)
    ids = {gram: number for number, gram in enumerate(sorted(there & back))}
    size = max(1, len(ids))
    first, second = (
        GramLists.of(
            [[ids[gram] for gram in grams if gram in ids] for grams in side],
            torch.tensor([max(1.0, len(grams)) for grams in side]).rsqrt(),
            size,
        )
        for side in spelt
    )
    return (first, second), size


def _in_latin(word: str) -> str:
    """The word itself, or its romanisation where it has a letter of another script."""
    letters = (letter for letter in word if letter.isalpha())
    if word.isascii() or all(name(letter, "").startswith("LATIN") for letter in letters):
        return word
    return anyascii(word).lower()


def _grams(word: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    """The set of n-grams of ^word$, in a fixed order."""
    marked = f"^{word}$"
    grams = [
        marked[start : start + length]
        for length in lengths
        for start in range(len(marked) - length + 1)
    ]
    return tuple(dict.fromkeys(grams))
