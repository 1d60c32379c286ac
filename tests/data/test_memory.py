"""A corpus costs a few bytes a pair, not its text (the two-million-pair run is in benchmarks/)."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentnlp.data.batches import Batches
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.data.corpora import build_vocabularies, encode, open_parallel
from latentnlp.emissions import counts
from latentnlp.learners.em import Config, ExpectationMaximisation
from latentnlp.tasks.alignment_model import Languages, ModelConfig, build_aligner

PAIRS = 60_000
WORDS = 20  # on average, on each side
AS_STRINGS = 2 * PAIRS * WORDS * 50  # bytes if the words were held: 120 MB
BOUND = 24_000_000  # offsets, lengths and order take 3 MB; the rest is room for the allocators
ROLLUP = Path("/proc/self/smaps_rollup")


def anonymous() -> int:
    """Bytes of memory of this process that are not the mapped files' own."""
    lines = ROLLUP.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def write(folder: Path, pairs: int) -> None:
    for side in ("s", "t"):
        with open(folder / side, "w", encoding="utf-8") as stream:
            for n in range(pairs):
                length = 1 + n * 7 % (2 * WORDS - 1)
                stream.write(" ".join([f"{side}{(n + k) % 997}" for k in range(length)]) + "\n")


@pytest.mark.skipif(not ROLLUP.exists(), reason="memory is measured with Linux's smaps_rollup")
def test_memory_is_a_few_bytes_a_pair(tmp_path: Path) -> None:
    write(tmp_path, PAIRS)
    grown = {}
    start = anonymous()
    text = open_parallel(tmp_path / "s", tmp_path / "t")
    grown["open"] = anonymous() - start
    vocabularies = build_vocabularies(text)
    grown["vocabularies"] = anonymous() - start
    corpus = encode(text, *vocabularies, tmp_path / "ids")
    grown["encode"] = anonymous() - start
    batches = Batches(corpus, cells=50_000, max_sentences=256, seed=0, shuffle=True)
    assert sum(len(batch) for batch in batches.epoch(0)) == PAIRS
    grown["epoch"] = anonymous() - start
    assert max(grown.values()) < BOUND < AS_STRINGS / 4, grown


def test_the_measure_sees_words_that_are_held(tmp_path: Path) -> None:
    """The control: the same measure on a program that does hold the text."""
    if not ROLLUP.exists():
        pytest.skip("memory is measured with Linux's smaps_rollup")
    start = anonymous()
    held = [[f"{n}-{k}" for k in range(2 * WORDS)] for n in range(PAIRS)]
    assert anonymous() - start > BOUND
    del held


@pytest.mark.skipif(not ROLLUP.exists(), reason="memory is measured with Linux's smaps_rollup")
def test_em_holds_no_cells(tmp_path: Path) -> None:
    """Neither their word pairs, of 4 bytes, nor their last posteriors, of 2 bytes each way."""
    write(tmp_path, 10_000)
    text = open_parallel(tmp_path / "s", tmp_path / "t")
    languages = Languages(*build_vocabularies(text))
    corpus = encode(text, languages.source, languages.target, tmp_path / "ids")
    batches = Batches(corpus, cells=50_000, max_sentences=256, seed=0, shuffle=True)
    config = ModelConfig(positions="ibm1", counts=counts.Config(mean="unigram"))
    aligner = build_aligner(config, languages)
    start, grown = anonymous(), {}
    table = Cooccurrences.build(corpus, batches, tmp_path / "cells.npy")
    grown["table"] = anonymous() - start
    learner = ExpectationMaximisation(Config(), aligner, table)
    for batch in batches.epoch(0):
        learner.step(batch)
    grown["step"] = anonymous() - start
    learner.end_epoch()
    grown["epoch"] = anonymous() - start
    assert max(grown.values()) < 2 * table.size, (grown, table.size)
    assert learner.there.own.float().sum() > 10_000, "all batches were seen"
