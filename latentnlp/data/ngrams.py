r"""Documents as one long row of words, and the n-grams of any spans of it as a sparse matrix.

documents → Lexicon (which n-grams) → Corpus (their places) → Design (x [U, F], for U spans)
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.documents import Document


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The n-grams that are read: words and pairs of neighbours, in lower case."""

    words: tuple[str, ...]
    pairs: Tensor  # [P, 2] int64, places of their words, rising

    @classmethod
    def of(cls, documents: Sequence[Document], least: int) -> Lexicon:
        """Those in ``least`` documents; of a pair, both words are."""
        words: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for document in documents:
            text = [token.lower() for token in document.tokens]
            words.update(set(text))
            pairs.update(set(pairwise(text)))
        known = sorted(word for word, count in words.items() if count >= least)
        number = {word: place for place, word in enumerate(known)}
        found = sorted([number[a], number[b]] for (a, b), n in pairs.items() if n >= least)
        return cls(tuple(known), torch.tensor(found, dtype=torch.int64).reshape(-1, 2))

    @cached_property
    def number(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def codes(self) -> np.ndarray:
        """[P], rising: one number a pair."""
        pairs = self.pairs.numpy()
        return pairs[:, 0] * len(self.words) + pairs[:, 1]

    def __len__(self) -> int:
        return len(self.words) + len(self.pairs)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents as one long row of N words."""

    words: np.ndarray  # [N], -1: not in the lexicon
    pairs: np.ndarray  # [N], of a word and the next; -1: not in the lexicon
    texts: np.ndarray  # [D + 1], where the documents begin, and the end
    sentences: np.ndarray  # [Q + 1], where the sentences begin, and the end
    closing: np.ndarray  # [N], whether it is a sentence's final punctuation mark

    @classmethod
    def of(cls, documents: Sequence[Document], lexicon: Lexicon) -> Corpus:
        tokens = [token for document in documents for token in document.tokens]
        sizes = [len(document.tokens) for document in documents]
        texts = np.cumsum([0, *sizes])
        words = np.array([lexicon.number.get(token.lower(), -1) for token in tokens], dtype=int)
        codes = words[:-1] * len(lexicon.words) + words[1:]
        place = np.searchsorted(lexicon.codes, codes)
        known = np.append(lexicon.codes, -1)[place] == codes
        known &= (words[:-1] >= 0) & (words[1:] >= 0)
        known[texts[1:-1] - 1] = False  # two documents' words are no neighbours
        pairs = np.append(np.where(known, place + len(lexicon.words), -1), -1)
        starts = [document.sentences() for document in documents]
        sentences = np.concatenate(
            [*(at + np.array(s, int) for at, s in zip(texts, starts, strict=False)), texts[-1:]]
        )
        closing = np.zeros(len(tokens), dtype=bool)
        last = sentences[1:] - 1
        closing[last] = [not any(map(str.isalnum, tokens[place])) for place in last]
        return cls(words, pairs, texts, sentences, closing)

    def document_of(self, starts: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.texts, starts, side="right") - 1

    def text_units(self) -> np.ndarray:
        """Spans [U, 2] of the long row: the documents."""
        return np.stack([self.texts[:-1], self.texts[1:]], 1)

    def sentence_units(self) -> np.ndarray:
        return np.stack([self.sentences[:-1], self.sentences[1:]], 1)

    def window_units(self, length: int, random: np.random.Generator) -> np.ndarray:
        """Windows of ``length`` words, one after the other from a random place on; a piece at an
        end counts if it has half that many words, or half of its text's."""
        spans = []
        for first, end in self.text_units():
            starts = np.arange(first - random.integers(0, length), end, length)
            ends = np.minimum(starts + length, end)
            starts = np.maximum(starts, first)
            keep = 2 * (ends - starts) >= min(length, end - first)
            spans.append(np.stack([starts, ends], 1)[keep])
        return np.concatenate(spans)


class Design:
    """Which n-grams are in which unit, x [U, F]: 0 or 1, over √(how many the unit has)."""

    def __init__(self, corpus: Corpus, units: np.ndarray, features: int) -> None:
        """units: spans [U, 2] of the row; features: F, the size of the lexicon."""
        sizes = units[:, 1] - units[:, 0]
        row = np.repeat(np.arange(len(units)), sizes)
        place = np.arange(len(row)) + np.repeat(units[:, 0] - (np.cumsum(sizes) - sizes), sizes)
        inside = place + 1 < units[row, 1]  # of a unit's last word, the next is outside
        rows = np.concatenate([row, row[inside]])
        grams = np.concatenate([corpus.words[place], corpus.pairs[place[inside]]])
        code = np.unique(rows[grams >= 0] * features + grams[grams >= 0])
        row, gram = np.divmod(code, features)
        count = np.bincount(row, minlength=len(units))
        self.norm = torch.from_numpy(np.sqrt(np.maximum(count, 1)))  # [U]
        value = 1 / self.norm.numpy()[row]
        self.x = _sparse(row, gram, value, (len(units), features))
        order = np.argsort(gram, kind="stable")
        self.transposed = _sparse(gram[order], row[order], value[order], (features, len(units)))

    def logits(self, weights: Tensor) -> Tensor:
        """weights [F + 1, C], the last row added to every unit's: [U, C]."""
        return self.x @ weights[:-1] + weights[-1]

    def counts(self, weight: Tensor) -> Tensor:
        """Of every n-gram, the weight [U] of the units that it is in, [F]."""
        return self.transposed @ (weight * self.norm)


def _sparse(
    row: np.ndarray, column: np.ndarray, value: np.ndarray, size: tuple[int, int]
) -> Tensor:
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size[0]))])
    begin, index, values = (torch.from_numpy(array) for array in (starts, column, value))
    with warnings.catch_warnings():  # that CSR is in beta
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(begin, index, values, size, check_invariants=False)
