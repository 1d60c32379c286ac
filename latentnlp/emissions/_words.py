r"""Vectors of word types: a row of a table, plus the mean of their character n-grams' vectors.

    v(w) = E[w] + mean_{g ∈ grams(w)} G[g]

Rare and inflected words thus share strength with the words they are spelt like (Bojanowski et al.
2017, "Enriching word vectors with subword information", section 3.2).
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from latentnlp.data.vocabulary import SPECIALS, Vocabulary

_MOST_GRAMS = 48


class WordVectors(nn.Module):
    """E[w], and G where ``ngrams`` names lengths (empty: no characters)."""

    members: Tensor  # int64 [V, most n-grams of a word], padded with 0

    def __init__(self, vocabulary: Vocabulary, dim: int, ngrams: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Embedding(len(vocabulary), dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        self.grams = None
        if ngrams:
            # Characters carry what words share; the table starts at zero and learns the rest.
            nn.init.zeros_(self.table.weight)
            members, size = ngram_members(vocabulary.words, ngrams)
            self.grams = nn.Embedding(size, dim)
            nn.init.normal_(self.grams.weight, std=dim**-0.5)
            # What the vocabulary implies is not saved with the weights.
            self.register_buffer("members", members, persistent=False)

    def forward(self, words: Tensor) -> Tensor:
        """v(w), [N, d], of words [N]."""
        if self.grams is None:
            return self.table(words)
        bags = embedding_bag(self.members[words], self.grams.weight, mode="mean", padding_idx=0)
        return self.table(words) + bags

    def everything(self) -> Tensor:
        """v(w) of the whole vocabulary, [V, d]."""
        if self.grams is None:
            return self.table.weight
        bags = embedding_bag(self.members, self.grams.weight, mode="mean", padding_idx=0)
        return self.table.weight + bags


def ngram_members(words: tuple[str, ...], lengths: tuple[int, ...]) -> tuple[Tensor, int]:
    """The ids of each word's character n-grams, [V, most], padded with 0; and how many ids exist.

    The word is marked by ^ and $. Only n-grams that two words share get an id, and a word keeps its
    first 48.
    """
    spelt = [() if word in SPECIALS else _grams(word, lengths) for word in words]
    frequency = Counter(gram for grams in spelt for gram in grams)
    kept = sorted(gram for gram, count in frequency.items() if count > 1)
    ids = {gram: number for number, gram in enumerate(kept, start=1)}
    shared = [[ids[gram] for gram in grams if gram in ids][:_MOST_GRAMS] for grams in spelt]
    members = torch.zeros(len(words), max(1, *map(len, shared)), dtype=torch.int64)
    for row, grams in zip(members, shared, strict=True):
        row[: len(grams)] = torch.tensor(grams, dtype=torch.int64)
    return members, len(ids) + 1


def _grams(word: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    """The set of n-grams of ^word$, in a fixed order."""
    marked = f"^{word}$"
    grams = (
        marked[start : start + length]
        for length in lengths
        for start in range(len(marked) - length + 1)
    )
    return tuple(dict.fromkeys(grams))
