"""Sentences in pieces and back, end marks, stretches, posteriors of words."""

from __future__ import annotations

import numpy as np
import pytest

from latentnlp.data.corpora import ListText, build_vocabularies
from latentnlp.data.subwords import Subwords
from latentnlp.data.translation_text import (
    Language,
    Part,
    Segmenter,
    Swapped,
    TranslationText,
    stretches,
    word_posterior,
)
from latentnlp.translation_models._contract import END

SENTENCES = ["zwei hunde rennen .", "ein hund rennt schnell", "der hundehalter", "zwei katzen"]


@pytest.fixture(scope="module")
def pieces() -> Subwords:
    return Subwords.train([one.split() for one in SENTENCES] * 5, 40, lowercase=False)


@pytest.mark.parametrize("line", [*SENTENCES, "rennende hunderte", "", "Ω hund ΩΩ", "a b c"])
def test_pieces_spell_their_words(pieces: Subwords, line: str) -> None:
    cutter = Segmenter(pieces)
    cut, word_of_piece = cutter.cut(line.split())
    words, again = cutter.join(cut)
    assert words == line.split() and again == word_of_piece
    assert sorted(set(word_of_piece)) == list(range(len(words)))


def test_pieces_that_no_text_would_give(pieces: Subwords) -> None:
    """A model may say anything."""
    cutter = Segmenter(pieces)
    assert cutter.join(["ren", "▁", "▁hund", "e", "▁"]) == (["ren", "hunde"], [0, 1, 1, 1, 1])
    assert cutter.join(["▁", "▁"]) == ([], [-1, -1])
    assert cutter.join([]) == ([], [])


def test_words_as_they_stand() -> None:
    cutter = Segmenter(None, lowercase=True)
    assert cutter.cut(["Ein", "Hund"]) == (["ein", "hund"], [0, 1])
    assert cutter.join(["▁ein", "hund"]) == (["▁ein", "hund"], [0, 1])


def test_no_text_spells_out_the_end_mark(pieces: Subwords) -> None:
    assert Segmenter().cut(["a", END, "b"]) == (["a", "<unk>", "b"], [0, 1, 2])
    for line in (END, f"hund{END}", f"{END} {END}{END}"):
        assert END not in Segmenter(pieces).cut(line.split())[0]


def test_end_marks_are_in_the_text_and_the_vocabulary() -> None:
    text = ListText([["a", END], [], ["b"]], [["x"], ["y"], []])
    seen = TranslationText(text, Segmenter(), Segmenter())
    assert list(seen) == [(["a", "<unk>", END], ["x", END]), ([], ["y", END]), (["b", END], [])]
    assert [seen[n] for n in range(3)] == list(seen) and len(seen) == 3
    source, _ = build_vocabularies(seen, lowercase=False)
    language = Language(source, Segmenter())
    assert source.words[language.end] == END and source.counts[language.end] == 1
    assert language.end not in language.encode(["a", END])[0]
    assert language.decode(language.encode(["a", END])[0]) == (["a", "<unk>"], [0, 1])


def test_views() -> None:
    text = ListText([["a"], ["b"], ["c"]], [["x"], ["y"], ["z"]], "name")
    swapped, part = Swapped(text), Part(text, range(1, 3))
    assert list(swapped) == [(["x"], ["a"]), (["y"], ["b"]), (["z"], ["c"])] == [*map(
        swapped.__getitem__, range(3)
    )]  # fmt: skip
    assert list(part) == [(["b"], ["y"]), (["c"], ["z"])] and len(part) == 2
    assert part.name == swapped.name == "name"


def test_stretches_are_cut_between_words() -> None:
    assert stretches([], 3) == []
    assert stretches([0, 1, 2], 3) == [range(0, 3)]
    assert stretches([0, 1, 1, 2, 2, 2], 3) == [range(0, 3), range(3, 6)]
    assert stretches([0, 1, 1, 1, 2], 3) == [range(0, 1), range(1, 4), range(4, 5)]
    assert stretches([0] * 7 + [1], 3) == [range(0, 3), range(3, 6), range(6, 8)]


def test_posteriors_of_words() -> None:
    """Sums over the pieces of a source word; the surest piece of a target word."""
    pieces = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.9, 0.05, 0.05]])  # [J, I + end]
    words = word_posterior(pieces, [0, 0, 1], [0, 0, 1], (2, 2))
    np.testing.assert_allclose(words, [[0.6, 0.95], [0.7, 0.05]])
    assert word_posterior(np.ones((1, 2)), [0, 0], [0], (1, 1)) == [[1.0]]
