"""Sentences as a model of translation reads and writes them: pieces of words, then an end mark.

    words ─ Segmenter.cut ─► pieces, and of each piece its word
    pieces ─ Segmenter.join ─► words, and of each piece its word

The end mark (`END`) is an entry of both vocabularies that no text can spell out: a piece that reads
like it is an unknown one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latentnlp.data.corpora import Pair, ParallelText
from latentnlp.data.subwords import Subwords
from latentnlp.data.vocabulary import SPECIALS, UNK, Vocabulary
from latentnlp.translation_models._contract import END

_START = "▁"  # of a word, in the pieces of sentencepiece


@dataclass(frozen=True)
class Segmenter:
    """How the sentences of one language are cut; without ``subwords`` a word is one piece."""

    subwords: Subwords | None = None
    lowercase: bool = False

    def cut(self, words: Sequence[str]) -> tuple[list[str], list[int]]:
        """The pieces of a sentence, and for each the position of its word."""
        if self.lowercase:
            words = [word.lower() for word in words]
        if self.subwords is None:
            pieces, word_of_piece = list(words), list(range(len(words)))
        else:
            pieces, word_of_piece = self.subwords.segment(words)
        return [SPECIALS[UNK] if piece == END else piece for piece in pieces], word_of_piece

    def join(self, pieces: Sequence[str]) -> tuple[list[str], list[int]]:
        """The words that ``pieces`` spell, and for each piece the position of its word.

        Pieces that spell nothing belong to their neighbour; without any word, to position -1.
        """
        if self.subwords is None:
            return list(pieces), list(range(len(pieces)))
        words: list[str] = []
        word_of_piece: list[int] = []
        for piece in pieces:
            # A start mark that stands alone is the start of the next piece's word.
            if not words or (piece.startswith(_START) and words[-1]):
                words.append("")
            words[-1] += piece.replace(_START, "")
            word_of_piece.append(len(words) - 1)
        if words and not words[-1]:
            words.pop()
            word_of_piece = [min(place, len(words) - 1) for place in word_of_piece]
        return words, word_of_piece


@dataclass(frozen=True)
class Language:
    """One side of a translation: how it is cut, and the numbers of its pieces."""

    vocabulary: Vocabulary
    segmenter: Segmenter

    @property
    def end(self) -> int:
        return self.vocabulary.id(END)

    def encode(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Ids of the pieces, without the end mark, and for each the position of its word."""
        pieces, word_of_piece = self.segmenter.cut(words)
        return self.vocabulary.encode(pieces), word_of_piece

    def decode(self, ids: Iterable[int]) -> tuple[list[str], list[int]]:
        """Words of pieces without an end mark, and for each piece the position of its word."""
        return self.segmenter.join(self.vocabulary.decode(ids))


class TranslationText(ParallelText):
    """A parallel text in pieces, an end mark after each sentence that is not empty."""

    def __init__(self, text: ParallelText, source: Segmenter, target: Segmenter) -> None:
        self.name, self._text, self._source, self._target = text.name, text, source, target

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, number: int) -> Pair:
        return self._view(self._text[number])

    def __iter__(self) -> Iterator[Pair]:
        return map(self._view, self._text)

    def _view(self, pair: Pair) -> Pair:
        source, _ = self._source.cut(pair[0])
        target, _ = self._target.cut(pair[1])
        return ended(source), ended(target)


class Swapped(ParallelText):
    """A text in the other direction: its target side is the source."""

    def __init__(self, text: ParallelText) -> None:
        self.name, self._text = text.name, text

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, number: int) -> Pair:
        source, target = self._text[number]
        return target, source

    def __iter__(self) -> Iterator[Pair]:
        return ((target, source) for source, target in self._text)


class Part(ParallelText):
    """Some consecutive lines of a text."""

    def __init__(self, text: ParallelText, lines: range) -> None:
        self.name, self._text, self._lines = text.name, text, lines

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> Pair:
        return self._text[self._lines[number]]


def ended(pieces: list[str]) -> list[str]:
    return [*pieces, END] if pieces else []


def stretches(word_of_piece: Sequence[int], longest: int) -> list[range]:
    """The pieces of a sentence in stretches of at most ``longest``, cut between words where it can
    be: an overlong sentence is translated a stretch at a time."""
    found: list[range] = []
    start, size = 0, len(word_of_piece)
    while start < size:
        end = min(start + longest, size)
        if end < size:
            starts = [k for k in range(start + 1, end + 1) if _starts_word(word_of_piece, k)]
            end = starts[-1] if starts else end
        found.append(range(start, end))
        start = end
    return found


def _starts_word(word_of_piece: Sequence[int], piece: int) -> bool:
    return word_of_piece[piece] != word_of_piece[piece - 1]


def word_posterior(
    posterior: np.ndarray,
    source_word_of_piece: Sequence[int],
    target_word_of_piece: Sequence[int],
    size: tuple[int, int],
) -> np.ndarray:
    """p(a_j = i) of pieces [J, I] as that of words [I', J'] = ``size``.

    A piece comes from a word with the sum over the word's pieces, and a word comes from where its
    surest piece comes from.
    """
    rows = np.zeros((size[0], posterior.shape[0]))  # [I', J]
    np.add.at(rows, list(source_word_of_piece), posterior.T)
    words = np.zeros(size)
    np.maximum.at(words.T, list(target_word_of_piece), rows.T)
    return np.minimum(words, 1.0)
