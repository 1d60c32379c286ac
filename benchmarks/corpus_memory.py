"""Does reading a corpus larger than memory need memory? Two million pairs, one process, one table.

    python benchmarks/corpus_memory.py [--pairs 2000000] [--corpus SOURCE TARGET]

Opens a parallel corpus, builds the vocabularies, encodes it and runs through one epoch of batches.
`anonymous` is memory that the process holds; `file` is the part of the mapped files that happens to
be in the page cache, which the system takes back when it needs it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from latentnlp.data.batches import Batches
from latentnlp.data.corpora import ParallelText, build_vocabularies, encode, open_parallel

WORD_TYPES = 60_000
BLOCK = 10_000
Item = TypeVar("Item")


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory and time of reading a large corpus.")
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--corpus", nargs=2, metavar=("SOURCE", "TARGET"), help="lines to multiply")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = corpus_lines(*arguments.corpus) if arguments.corpus else generated_lines()
        write_corpus(itertools.islice(lines, arguments.pairs), folder)
        measure(folder, arguments.pairs)


def measure(folder: Path, pairs: int) -> None:
    files = folder / "corpus.source", folder / "corpus.target"
    megabytes = sum(file.stat().st_size for file in files) / 2**20
    print(f"{pairs:,} pairs, {megabytes:,.0f} MB of text\n")
    table = Table(marks=[pairs // 8, pairs // 4, pairs // 2, pairs])

    table.start("start")
    table.row(0)
    table.start("index")
    text = open_parallel(*files)
    table.row(pairs)
    table.start("vocabularies")
    source, target = build_vocabularies(Watched(text, table))
    table.start("encode")
    corpus = encode(Watched(text, table), source, target, folder / "ids")
    table.start("cut into batches")
    batches = Batches(corpus, cells=500_000, max_sentences=512, seed=1, shuffle=True)
    table.row(pairs)
    table.start("one epoch")
    seen = 0
    for batch in batches.epoch(0):
        for _ in table.watch(range(len(batch)), seen):
            pass
        seen += len(batch)
    tokens = len(corpus.source_ids) + len(corpus.target_ids)
    print(f"\n{tokens:,} tokens, {len(source):,} + {len(target):,} types, {len(batches):,} batches")


class Table:
    """Prints a row when a stage has seen one of the marked numbers of pairs."""

    def __init__(self, marks: list[int]) -> None:
        self._marks = set(marks)
        print("| stage | pairs | seconds | pairs/s | anonymous MB | file MB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")

    def start(self, stage: str) -> None:
        self._stage, self._began = stage, time.perf_counter()

    def row(self, pairs: int) -> None:
        seconds = time.perf_counter() - self._began
        anonymous, file = resident_megabytes()
        print(
            f"| {self._stage} | {pairs:,} | {seconds:.1f} | {pairs / max(seconds, 1e-9):,.0f} "
            f"| {anonymous:.0f} | {file:.0f} |",
            flush=True,
        )

    def watch(self, items: Iterable[Item], seen: int = 0) -> Iterator[Item]:
        for number, item in enumerate(items, start=seen + 1):
            yield item
            if number in self._marks:
                self.row(number)


class Watched(ParallelText):
    """A text that tells the table how far it has been read."""

    def __init__(self, text: ParallelText, table: Table) -> None:
        self.name, self._text, self._table = text.name, text, table

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, number: int) -> tuple[list[str], list[str]]:
        return self._text[number]

    def __iter__(self) -> Iterator[tuple[list[str], list[str]]]:
        return self._table.watch(self._text)


def resident_megabytes() -> tuple[float, float]:
    """Resident memory of this process: (anonymous, mapped from files). Linux only."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, kilobytes, *_ = line.split()
        fields[name] = int(kilobytes) / 1024
    return fields["Anonymous:"], fields["Rss:"] - fields["Anonymous:"]


def generated_lines() -> Iterator[tuple[str, str]]:
    """Endless pairs of 1 to 48 words (24 on average) from a Zipfian vocabulary."""
    random = np.random.default_rng(0)
    cumulative = np.cumsum(1 / np.arange(1, WORD_TYPES + 1))
    sides = [[f"{letter}{rank}" for rank in range(WORD_TYPES)] for letter in "st"]
    while True:
        lengths = random.integers(1, 49, size=BLOCK).tolist()
        ranks = np.searchsorted(cumulative, random.random(sum(lengths)) * cumulative[-1]).tolist()
        end = 0
        for length in lengths:
            begin, end = end, end + length
            source, target = (" ".join([side[r] for r in ranks[begin:end]]) for side in sides)
            yield source, target


def corpus_lines(source: str, target: str) -> Iterator[tuple[str, str]]:
    """The pairs of a corpus, then again and again with a random word left out on each side."""
    random = np.random.default_rng(0)
    text = open_parallel(source, target)
    yield from ((" ".join(a), " ".join(b)) for a, b in text)
    while True:
        for pair in text:
            for words in pair:
                if len(words) > 1:
                    del words[random.integers(len(words))]
            yield " ".join(pair[0]), " ".join(pair[1])


def write_corpus(lines: Iterable[tuple[str, str]], folder: Path) -> None:
    with (
        open(folder / "corpus.source", "w", encoding="utf-8") as source,
        open(folder / "corpus.target", "w", encoding="utf-8") as target,
    ):
        for source_line, target_line in lines:
            source.write(source_line + "\n")
            target.write(target_line + "\n")


if __name__ == "__main__":
    main()
