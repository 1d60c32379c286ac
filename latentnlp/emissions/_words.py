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


class WordVectors(nn.Module):
    """E[w], and G where ``ngrams`` names lengths (empty: no characters)."""

    def __init__(self, vocabulary: Vocabulary, dim: int, ngrams: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Embedding(len(vocabulary), dim)
        self.has_ngrams = bool(ngrams)
        if ngrams:
            # Characters carry what is shared; the table starts at zero and learns what is not.
            nn.init.zeros_(self.table.weight)
            members, offsets, size = ngram_members(vocabulary.words, ngrams)
            self.grams = nn.Embedding(size, dim)
            # What the vocabulary implies is not saved with the weights.
            self.register_buffer("members", members, persistent=False)
            self.register_buffer("offsets", offsets, persistent=False)

    def everything(self) -> Tensor:
        """The vectors of the whole vocabulary, [V, d]."""
        if not self.has_ngrams:
            return self.table.weight
        members, offsets = self.get_buffer("members"), self.get_buffer("offsets")
        return self.table.weight + embedding_bag(
            members, self.grams.weight, offsets, mode="mean", include_last_offset=True
        )

    def forward(self, words: Tensor) -> Tensor:
        """The vectors of ``words`` [...], [..., d]."""
        if not self.has_ngrams:
            return self.table(words)
        return nn.functional.embedding(words, self.everything())


def ngram_members(
    words: tuple[str, ...], lengths: tuple[int, ...]
) -> tuple[Tensor, Tensor, int]:
    """For each word the ids of its character n-grams, flat, and where each word's list begins.

    The word is marked by ^ and $; only n-grams that two words share get an id. Id 0 is "no shared
    n-gram", so no list is empty.
    """
    spelt = [() if word in SPECIALS else _grams(word, lengths) for word in words]
    frequency = Counter(gram for grams in spelt for gram in grams)
    kept = sorted(gram for gram, count in frequency.items() if count > 1)
    ids = {gram: number for number, gram in enumerate(kept, start=1)}
    flat: list[int] = []
    offsets = [0]
    for grams in spelt:
        flat.extend([ids[gram] for gram in grams if gram in ids] or [0])
        offsets.append(len(flat))
    return torch.tensor(flat), torch.tensor(offsets), len(ids) + 1


def _grams(word: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    """The set of n-grams of ^word$, in a fixed order."""
    marked = f"^{word}$"
    grams = (
        marked[start : start + length]
        for length in lengths
        for start in range(len(marked) - length + 1)
    )
    return tuple(dict.fromkeys(grams))
