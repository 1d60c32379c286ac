"""Tiny vocabularies, batches, corpora and aligners for the tests of the mathematics."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch, Batches, Side, side
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.data.corpora import EncodedCorpus, ListText, build_vocabularies, encode
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions import counts
from latentnlp.models.aligner import BidirectionalAligner
from latentnlp.tasks.alignment_model import Languages, ModelConfig, build_aligner

LOG_ZERO = float("-inf")
Sentences = Sequence[Sequence[int]]


def vocabulary(size: int, stem: str = "word") -> Vocabulary:
    """``size`` <= 9 words with ids from 2 on and falling counts. Each shares its first trigram with
    some, its last with others, and no two share both: their n-grams tell them apart."""
    spelt = [f"{first}{stem}{last}" for last in "uvw" for first in "xyz"]
    return Vocabulary((word, size - k) for k, word in enumerate(spelt[:size]))


def make_side(sentences: Sentences, width: int | None = None) -> Side:
    width = width or max(map(len, sentences))
    words = np.zeros((len(sentences), width), dtype=np.int64)
    for row, sentence in enumerate(sentences):
        words[row, : len(sentence)] = sentence
    return side(words, words > 0)


def make_batch(
    source: Sentences, target: Sentences, widths: tuple[int | None, int | None] = (None, None)
) -> Batch:
    return Batch(
        0,
        torch.arange(len(source)),
        make_side(source, widths[0]),
        make_side(target, widths[1]),
    )


def random_sentences(
    generator: random.Random, lengths: Sequence[int], words: int
) -> list[list[int]]:
    """Sentences of the given lengths over the ids 1 (unknown) … ``words`` + 1."""
    return [[generator.randint(1, words + 1) for _ in range(length)] for length in lengths]


def mixed_batch(seed: int = 0, words: int = 5) -> Batch:
    """Four pairs of mixed lengths, each side padded in some rows."""
    generator = random.Random(seed)
    return make_batch(
        random_sentences(generator, [1, 3, 2, 4], words),
        random_sentences(generator, [2, 1, 3, 2], words),
    )


def empty_batch() -> Batch:
    """What a rank gets that has no row of a batch: B = 0, I = 3, J = 2."""
    return make_batch([], [], (3, 2))


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.5) -> None:
    """Move every parameter away from where it starts (zeros hide mistakes)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(scale * noise.to(parameter))


def safe_logsumexp(values: Tensor, dim: int) -> Tensor:
    """logsumexp whose gradient is 0, not NaN, where all values are -inf."""
    possible = (values > LOG_ZERO).any(dim)
    total = torch.where(possible.unsqueeze(dim), values, 0.0).logsumexp(dim)
    return torch.where(possible, total, LOG_ZERO)


def without_padding_twins(alignments: Tensor, mask: Tensor) -> Tensor:
    """[A, B] True where alignment [A, 1, J] is NULL at all padding of sentence b."""
    return ((alignments == -1) | mask).all(-1)


def corpus_text(seed: int, pairs: int = 12, words: int = 6, longest: int = 5) -> ListText:
    generator = random.Random(seed)

    def text(letter: str) -> list[list[str]]:
        return [
            [f"{letter}{generator.randrange(words)}" for _ in range(generator.randint(1, longest))]
            for _ in range(pairs)
        ]

    return ListText(text("x"), text("y"))


class Corpus:
    """A text, its vocabularies, its encoding, its batches and its table of word pairs."""

    def __init__(
        self, text: ListText, folder: Path, cells: int = 60, sentences: int = 5, ranks: int = 1
    ) -> None:
        self.text = text
        self.languages = Languages(*build_vocabularies(text))
        self.encoded: EncodedCorpus = encode(
            text, self.languages.source, self.languages.target, folder / "encoded"
        )
        self.batches = Batches(self.encoded, cells, sentences, seed=0, shuffle=True)
        self.shares = [
            Batches(self.encoded, cells, sentences, 0, True, rank=rank, world=ranks)
            for rank in range(ranks)
        ]
        self.tables = [
            Cooccurrences.build(
                self.encoded, self.batches, folder / f"cells{rank}.npy", rank, ranks
            )
            for rank in range(ranks)
        ]

    @property
    def table(self) -> Cooccurrences:
        return self.tables[0]

    def aligner(self, **options: Any) -> BidirectionalAligner:
        """Untrained; unless ``options`` say otherwise, of counts with a prior that needs no fit."""
        options.setdefault("emission", "counts")
        options.setdefault("counts", counts.Config(mean="unigram", strength=3.0))
        return build_aligner(ModelConfig(**options), self.languages)
