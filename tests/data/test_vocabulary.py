"""Ids, counts, the unknown word, and an exact round trip through the file."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from latentnlp.data.vocabulary import PAD, UNK, Vocabulary
from latentnlp.errors import UserError


def test_ids_fall_with_the_count_then_the_alphabet() -> None:
    vocabulary = Vocabulary.build({"b": 2, "a": 2, "z": 5, "rare": 1}, min_count=2)
    assert vocabulary.words == ("<pad>", "<unk>", "z", "a", "b")
    assert vocabulary.counts == (0, 1, 5, 2, 2)
    assert (PAD, UNK) == (0, 1)
    assert vocabulary.encode(["a", "rare", "z"]) == [3, UNK, 2]
    assert vocabulary.decode([3, UNK, 2]) == ["a", "<unk>", "z"]
    assert vocabulary.id("b") == 4
    assert "b" in vocabulary
    assert "rare" not in vocabulary
    assert len(vocabulary) == 5


def test_max_size_leaves_the_specials_out() -> None:
    assert Vocabulary.build({"a": 3, "b": 2, "c": 1}, max_size=2).words[2:] == ("a", "b")
    assert len(Vocabulary.build({})) == 2


def test_a_text_cannot_spell_padding() -> None:
    vocabulary = Vocabulary.build({"<pad>": 9, "<unk>": 9, "a": 1})
    assert vocabulary.words == ("<pad>", "<unk>", "a")
    assert vocabulary.encode(["<pad>", "<unk>"]) == [UNK, UNK]


def test_it_is_immutable_and_compares_by_content() -> None:
    vocabulary = Vocabulary.build({"a": 1})
    assert vocabulary == Vocabulary.build({"a": 1}) != Vocabulary.build({"a": 2})
    assert hash(vocabulary) == hash(Vocabulary.build({"a": 1}))
    with pytest.raises(AttributeError):
        vocabulary.words = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="once"):
        Vocabulary([("a", 1), ("a", 2)])
    with pytest.raises(ValueError, match="specials"):
        Vocabulary([("<pad>", 1)])


@pytest.mark.parametrize("seed", range(20))
def test_round_trip_of_random_words(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    alphabet = "ab\u2028\u0085\u00a0\r\x0b\x0c\x1c\x00\ufeff\"'\\#\u3000語🙂e\u0301İ"
    words = ("".join(rng.choices(alphabet, k=rng.randint(1, 4))) for _ in range(200))
    vocabulary = Vocabulary.build(Counter(words))
    vocabulary.save(tmp_path / "v")
    loaded = Vocabulary.load(tmp_path / "v")
    assert loaded == vocabulary
    assert loaded.encode(vocabulary.words) == [UNK, UNK, *range(2, len(vocabulary))]


@pytest.mark.parametrize(
    "content",
    [b"a\t1\nb\n", b"a\t1\nb\t-1\n", b"a\t1\n\t2\n", b"a\t1\na\t2\n", b"a\t1\n<pad>\t2\n"],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(UserError, match=r"v, line 2: not a line of a vocabulary.*damaged"):
        Vocabulary.load(tmp_path / "v")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Vocabulary.load(tmp_path / "v")


def test_a_first_word_that_looks_like_a_byte_order_mark_survives(tmp_path: Path) -> None:
    vocabulary = Vocabulary.build({"\ufeffa": 2, "b": 1})
    vocabulary.save(tmp_path / "v")
    assert Vocabulary.load(tmp_path / "v") == vocabulary


def test_the_unknown_word_counts_what_was_left_out(tmp_path):
    counter = {"the": 5, "a": 3, "rare": 1, "rarer": 1, "odd": 2}
    vocabulary = Vocabulary.build(counter, min_count=2, max_size=2)
    assert vocabulary.words[2:] == ("the", "a") and vocabulary.counts == (0, 4, 5, 3)
    vocabulary.save(tmp_path / "v")
    assert Vocabulary.load(tmp_path / "v").counts == (0, 4, 5, 3)
