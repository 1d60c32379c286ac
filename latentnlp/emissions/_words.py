r"""Vectors of word types: rows of a table, or the mean of their character n-grams' vectors.

    v(w) = E[w]        or        v(w) = mean_{g ∈ grams(w)} G[g]

Made of characters, rare and inflected words share strength with the words they are spelt like
(Bojanowski et al. 2017, "Enriching word vectors with subword information", section 3.2). A rare
word has no row for itself beside its n-grams: with one it learns its own accidents by heart, which
is what the characters are there to prevent.
"""

from __future__ import annotations

from collections import Counter
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
            members, size = ngram_members(vocabulary, ngrams)
            word, place = members.nonzero(as_tuple=True)
            share = 1.0 / torch.bincount(word, minlength=len(members))
            self.sums = GramSums(word, members[word, place], share, size)
        self.table = nn.Embedding(size, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(self, words: Tensor) -> Tensor:
        """v(w), [N, d], of words [N]."""
        return embedding(words, self.everything())

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
        spelt = [
            [() if word in SPECIALS else _grams(_in_latin(word), ngrams) for word in side.words]
            for side in (source, target)
        ]
        there, back = (set().union(*side) for side in spelt)
        ids = {gram: number for number, gram in enumerate(sorted(there & back))}
        size = max(1, len(ids))
        self.sums = nn.ModuleList()
        for side in spelt:
            shared = [[ids[gram] for gram in grams if gram in ids] for grams in side]
            lengths = torch.tensor([len(grams) for grams in shared])
            word = torch.repeat_interleave(torch.arange(len(side)), lengths)
            gram = torch.from_numpy(np.fromiter(chain.from_iterable(shared), np.int64))
            counts = torch.tensor([max(1.0, len(grams)) for grams in side])
            self.sums.append(GramSums(word, gram, counts.rsqrt(), size))
        self.table = nn.Embedding(size, dim)
        nn.init.normal_(self.table.weight, std=(similarity / dim) ** 0.5)

    def source(self) -> Tensor:
        """r(x) of all source words, [|X|, d']."""
        return self.sums[0](self.table.weight)

    def target(self) -> Tensor:
        """r(y) of all target words, [|Y|, d']."""
        return self.sums[1](self.table.weight)


class GramSums(nn.Module):
    """The scaled sums of the n-grams of every word, [V, d], of a table of n-grams [G, d]."""

    # What the vocabulary implies is not saved with the weights.
    grams: Tensor  # int64 [N]: the n-grams of word 0, of word 1, …
    gram_starts: Tensor  # int64 [V+1]: where each word's begin in ``grams``
    words: Tensor  # int64 [N]: the words that n-gram 0 is in, n-gram 1, …
    word_starts: Tensor  # int64 [G+1]
    scale: Tensor  # [V, 1]

    def __init__(self, word: Tensor, gram: Tensor, scale: Tensor, n_grams: int) -> None:
        """word, gram: [N], gram[n] is one of word[n]; rising in ``word``. scale: [V]."""
        super().__init__()
        by_gram = gram.argsort(stable=True)
        word_starts = _starts(torch.bincount(gram, minlength=n_grams))
        self.register_buffer("grams", gram, persistent=False)
        self.register_buffer(
            "gram_starts", _starts(torch.bincount(word, minlength=len(scale))), persistent=False
        )
        self.register_buffer("words", word[by_gram], persistent=False)
        self.register_buffer("word_starts", word_starts, persistent=False)
        self.register_buffer("scale", scale.unsqueeze(1), persistent=False)

    def forward(self, table: Tensor) -> Tensor:
        lists = (self.grams, self.gram_starts, self.words, self.word_starts)
        sums: Any = _SumOfLists.apply(table, *lists)
        return sums * self.scale


class _SumOfLists(torch.autograd.Function):
    """Σ of the rows of a table over each of many lists of rows. The gradient is the same sum over
    the transposed lists; torch's own backward of `embedding_bag` sorts the lists every time, which
    takes thirty times as long."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, rows: Tensor, starts: Tensor, lists: Tensor, list_starts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(lists, list_starts)
        return embedding_bag(rows, table, starts, mode="sum", include_last_offset=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        lists, starts = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        table = embedding_bag(lists, gradient, starts, mode="sum", include_last_offset=True)
        return table, None, None, None, None


def _starts(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def ngram_members(vocabulary: Vocabulary, lengths: tuple[int, ...]) -> tuple[Tensor, int]:
    """The ids of each word's character n-grams, [V, most], padded with 0; and how many ids exist.

    The word is marked by ^ and $. Only n-grams that two words share get an id, and a word keeps its
    first 48. The whole word is an n-gram of its own where it is frequent enough to be learnt, or
    where it shares nothing with others (a single Chinese character, a number).
    """
    words = vocabulary.words
    spelt = [() if word in SPECIALS else _grams(word, lengths) for word in words]
    frequency = Counter(gram for grams in spelt for gram in grams)
    kept = sorted(gram for gram, count in frequency.items() if count > 1)
    ids = {gram: number for number, gram in enumerate(kept, start=1)}
    shared = [[ids[gram] for gram in grams if gram in ids][:_MOST_GRAMS] for grams in spelt]
    size = len(ids) + 1
    for grams, count in zip(shared, vocabulary.counts, strict=True):
        if count >= _FREQUENT or not grams:
            grams.append(size)
            size += 1
    members = torch.zeros(len(words), max(map(len, shared)), dtype=torch.int64)
    for row, grams in zip(members, shared, strict=True):
        row[: len(grams)] = torch.tensor(grams, dtype=torch.int64)
    return members, size


def _in_latin(word: str) -> str:
    """The word itself, or its romanisation where it has a letter of another script."""
    letters = (letter for letter in word if letter.isalpha())
    if all(name(letter, "").startswith("LATIN") for letter in letters):
        return word
    return anyascii(word).lower()


def _grams(word: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    """The set of n-grams of ^word$, in a fixed order."""
    marked = f"^{word}$"
    grams = (
        marked[start : start + length]
        for length in lengths
        for start in range(len(marked) - length + 1)
    )
    return tuple(dict.fromkeys(grams))
