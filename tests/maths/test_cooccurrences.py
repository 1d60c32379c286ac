"""The table of word pairs against a dict, and the cells of every batch against its words."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest
import torch
from tiny import Corpus, corpus_text

from latentnlp.data import cooccurrences
from latentnlp.data.batches import Batches
from latentnlp.data.cooccurrences import OUTSIDE, Cooccurrences
from latentnlp.data.corpora import ListText, encode
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError

SEEDS = range(8)


def random_corpus(folder: Path, seed: int, ranks: int = 1) -> Corpus:
    draw = random.Random(seed)
    text = corpus_text(
        seed,
        pairs=draw.choice([1, 5, 40]),
        words=draw.choice([1, 4, 30]),
        longest=draw.choice([1, 6]),
    )
    return Corpus(text, folder, draw.choice([10, 80]), draw.choice([1, 6]), ranks)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_and_cells(
    tmp_path: Path, seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooccurrences, "_AT_ONCE", at_once)
    corpus = random_corpus(tmp_path, seed)
    expected: set[tuple[int, int]] = set()
    for n in range(len(corpus.encoded)):
        source, target = corpus.encoded[n]
        expected |= {(x, y) for x in source.tolist() for y in target.tolist()}
    table = corpus.table
    words = zip(table.source_words.tolist(), table.target_words.tolist(), strict=True)
    assert list(words) == [(0, 0), *sorted(expected)]
    assert table.source_words.dtype == torch.int32
    number = {pair: k for k, pair in enumerate(sorted(expected), start=1)}

    size = 0
    for batch in corpus.batches.epoch(0):
        cells = table.cells(batch)
        assert cells.shape == (len(batch), batch.source.shape[1], batch.target.shape[1])
        size += cells.numel()
        for b in range(len(batch)):
            for i, x in enumerate(batch.source[b].tolist()):
                for j, y in enumerate(batch.target[b].tolist()):
                    real = bool(batch.source_mask[b, i] and batch.target_mask[b, j])
                    assert int(cells[b, i, j]) == (number[x, y] if real else OUTSIDE)
    assert table.size == size
    for second_size in (31, 47):
        keys = table.keys(second_size)
        assert keys.tolist() == [x * second_size + y for x, y in [(0, 0), *sorted(expected)]]
        assert table.keys(second_size) is keys, "one for both directions"


@pytest.mark.parametrize("dtype", [torch.half, torch.int64])
def test_zeros_are_on_the_disk(tmp_path: Path, dtype: torch.dtype) -> None:
    table = random_corpus(tmp_path, 2).table
    one, other = (table.zeros(torch.ones(0, dtype=dtype)) for _ in range(2))
    assert one.shape == (table.size,) and one.dtype == dtype and (one == 0).all()
    one.fill_(3)
    assert (other == 0).all(), "each its own"
    maps = Path("/proc/self/smaps")
    if maps.exists():
        place = f"{one.data_ptr() & ~4095:x}-"
        (mapping,) = [line for line in maps.read_text().splitlines() if line.startswith(place)]
        assert "latentnlp-" in mapping or "#" in mapping, "a file, which memory may forget"
    assert table.zeros(torch.ones(0, device="meta")).device.type == "meta"


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    corpus = random_corpus(tmp_path, 2)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match=r"No space left on device; it needs \d+ MB: set TMPDIR"):
        corpus.table.zeros(torch.ones(0))
    with pytest.raises(UserError, match=r"new.npy: cannot be written: No space"):
        Cooccurrences.build(corpus.encoded, corpus.batches, tmp_path / "new.npy")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("world", [2, 3])
def test_each_rank_reads_the_cells_of_its_rows(tmp_path: Path, seed: int, world: int) -> None:
    corpus = random_corpus(tmp_path, seed, world)
    whole = Cooccurrences.build(corpus.encoded, corpus.batches, tmp_path / "whole.npy")
    for rank, (table, share) in enumerate(zip(corpus.tables, corpus.shares, strict=True)):
        assert torch.equal(table.source_words, whole.source_words)
        assert torch.equal(table.target_words, whole.target_words)
        for batch, mine in zip(corpus.batches, share, strict=True):
            assert torch.equal(table.cells(mine), whole.cells(batch)[rank::world])


def test_a_block_is_a_view(tmp_path: Path) -> None:
    corpus = random_corpus(tmp_path, 1, ranks=2)
    values = torch.zeros(corpus.table.size)
    for batch, mine in zip(corpus.batches, corpus.shares[1], strict=True):
        corpus.tables[1].block(values, mine).fill_(1.0)
        whole = Cooccurrences.block(corpus.table, values, batch)
        assert len(whole) == len(batch.index[::2])
    rows = sum(
        batch.source.shape[1] * batch.target.shape[1] * (len(batch) // 2)
        for batch in corpus.batches
    )
    assert values.sum() == rows


def test_skipped_pairs_have_no_cells(tmp_path: Path) -> None:
    text = ListText([["a", "b"], [], ["a"]], [["u"], ["v"], ["w", "u"]])
    corpus = Corpus(text, tmp_path)
    source, target = corpus.languages.source, corpus.languages.target
    found = {
        (source.words[x], target.words[y])
        for x, y in zip(
            corpus.table.source_words.tolist(), corpus.table.target_words.tolist(), strict=True
        )
        if x
    }
    assert found == {("a", "u"), ("b", "u"), ("a", "w")}


def test_an_unknown_word_is_a_word(tmp_path: Path) -> None:
    text = ListText([["a", "b"]], [["u", "v"]])
    small = Vocabulary([("a", 1)]), Vocabulary([("u", 1)])
    encoded = encode(text, *small, tmp_path / "encoded")
    batches = Batches(encoded, 60, 5, seed=0, shuffle=True)
    table = Cooccurrences.build(encoded, batches, tmp_path / "cells.npy")
    words = zip(table.source_words.tolist(), table.target_words.tolist(), strict=True)
    assert list(words) == [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
