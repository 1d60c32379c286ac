"""Pieces that know their word: segmentation, projection, and a corpus seen in pieces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from latentnlp.data.batches import Batches
from latentnlp.data.corpora import ListText, build_vocabularies, encode
from latentnlp.data.subwords import KINDS, Subwords, SubwordText, project
from latentnlp.errors import UserError

SYLLABLES = ["ka", "lo", "mi", "ter", "sun", "Das", "é", "語"]


def sentences(seed: int, count: int = 300) -> list[list[str]]:
    rng = random.Random(seed)
    return [
        ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(rng.randint(0, 8))]
        for _ in range(count)
    ]


@pytest.fixture(scope="module", params=KINDS)
def subwords(request: pytest.FixtureRequest) -> Subwords:
    return Subwords.train(sentences(0), size=60, kind=request.param)


ODD = ["▁", "a▁b", "<unk>", "<s>", "x\u2028y", "\u00a0", "\ufeff", "\u200b", "🙂🙂", "\x00", "日本"]


def test_pieces_spell_their_word_and_know_it(subwords: Subwords) -> None:
    for words in [*sentences(1, 50), ODD, ODD[::-1]]:
        words = [word.lower() for word in words]
        pieces, word_of_piece = subwords.segment(words)
        assert len(pieces) == len(word_of_piece)
        assert sorted(set(word_of_piece)) == list(range(len(words))), "no word without a piece"
        assert word_of_piece == sorted(word_of_piece)
        for position, word in enumerate(words):
            own = [p for p, w in zip(pieces, word_of_piece, strict=True) if w == position]
            assert own == subwords.segment([word])[0]
            assert "".join(own) in ("▁" + word, word)
            assert not any(" " in piece or "\t" in piece for piece in own)


def test_training_is_repeatable_and_learns_something(subwords: Subwords) -> None:
    words = [word.lower() for line in sentences(0) for word in line]
    pieces, _ = subwords.segment(words)
    assert len(words) < len(pieces) < 0.7 * sum(map(len, words))
    kind = "bpe" if subwords.model == Subwords.train(sentences(0), size=60).model else "unigram"
    assert Subwords.train(sentences(0), size=60, kind=kind).model == subwords.model


def test_save_and_load(tmp_path: Path, subwords: Subwords) -> None:
    subwords.save(tmp_path / "en.model")
    loaded = Subwords.load(tmp_path / "en.model")
    assert loaded.model == subwords.model
    for words in sentences(2, 20):
        assert loaded.segment(words) == subwords.segment(words)


def test_bad_models_and_bad_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Subwords.load(tmp_path / "x.model")
    for content in (b"", b"not a model"):
        (tmp_path / "x.model").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.model: not a sentencepiece model"):
            Subwords.load(tmp_path / "x.model")
    with pytest.raises(UserError, match="unknown kind of subwords 'wordpiece': take bpe or"):
        Subwords.train(sentences(0), kind="wordpiece")
    for nothing in ([], [[], []]):
        with pytest.raises(UserError, match="cannot be learnt: there is no text"):
            Subwords.train(nothing)
    with pytest.raises(UserError, match="cannot be learnt: Vocabulary size is smaller"):
        Subwords.train(sentences(0), size=5)


@pytest.mark.parametrize("seed", range(20))
def test_words_are_linked_if_and_only_if_a_piece_is(seed: int) -> None:
    rng = random.Random(seed)
    source = sorted(rng.choices(range(4), k=8))
    target = sorted(rng.choices(range(5), k=7))
    links = {(rng.randrange(8), rng.randrange(7)) for _ in range(rng.randrange(6))}
    expected = {
        (i, j)
        for i in range(4)
        for j in range(5)
        if any(source[a] == i and target[b] == j for a, b in links)
    }
    assert project(links, source, target) == expected


def test_a_text_in_pieces_goes_all_the_way(tmp_path: Path, subwords: Subwords) -> None:
    text = ListText(sentences(3), sentences(4))
    pieces = SubwordText(text, subwords, subwords)
    assert len(pieces) == len(text) and pieces.name == text.name
    for n, (source, target) in enumerate(pieces):
        assert pieces[n] == (source, target)
        source_map, target_map = pieces.word_maps(n)
        assert (len(source_map), len(target_map)) == (len(source), len(target))
        assert set(source_map) == set(range(len(text[n][0])))
        assert (source, source_map) == subwords.segment([w.lower() for w in text[n][0]])
        everything = [(i, j) for i in range(len(source)) for j in range(len(target))]
        assert pieces.project(n, everything) == {
            (i, j) for i in range(len(text[n][0])) for j in range(len(text[n][1]))
        }
    source_vocabulary, target_vocabulary = build_vocabularies(pieces)
    assert len(source_vocabulary) <= 2 + 60
    corpus = encode(pieces, source_vocabulary, target_vocabulary, tmp_path)
    for batch in Batches(corpus, 500, 32, seed=0, shuffle=True).epoch(0):
        for row, n in enumerate(batch.index.tolist()):
            ids = batch.source[row][batch.source_mask[row]].tolist()
            assert source_vocabulary.decode(ids) == pieces[n][0], "no piece is unknown"


def test_case_is_kept_on_request() -> None:
    kept = Subwords.train(sentences(0), size=60, lowercase=False)
    text = ListText([["DasDas"]], [["Das"]])
    assert "".join(SubwordText(text, kept, kept, lowercase=False)[0][0]) == "▁DasDas"
    assert "".join(SubwordText(text, kept, kept)[0][0]) == "▁dasdas"
