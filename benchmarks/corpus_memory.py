"""Does a corpus larger than memory need memory? Two million pairs, one process, one table.

    python benchmarks/corpus_memory.py [--pairs 2000000] [--corpus SOURCE TARGET]

Opens a parallel corpus, builds the vocabularies, encodes it and runs through one epoch of batches.
`anonymous` is memory that the process holds; `file` is the part of the mapped files that happens to
be in the page cache, which the system takes back when it needs it.

    python benchmarks/corpus_memory.py --train 250000 500000 1000000 2000000 \\
        --corpus SOURCE TARGET [--set KEY=VALUE …]

Trains on so many pairs and aligns them: ``latentnlp align`` with its defaults and these settings,
one process and one row for each size. The seconds are of all of it, and so are the pairs a CPU
second; `an epoch` is what the last one of the stage "em" takes. The memory is each kind's largest,
looked at ten times a second.

The pairs are those of the corpus, then the same again and again, each with a word left out and
another one replaced on either side; without a corpus, random words.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
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
    parser.add_argument("--train", nargs="+", type=int, metavar="PAIRS", help="train on so many")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    arguments = parser.parse_args()
    for file in arguments.corpus or ():
        if not Path(file).exists():
            print(f"skipped: there is no {file}")
            return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = arguments.train or [arguments.pairs]
        if arguments.train:
            table_of_trainings()
        for pairs in sizes:
            lines = corpus_lines(*arguments.corpus) if arguments.corpus else generated_lines()
            write_corpus(itertools.islice(lines, pairs), folder)
            if arguments.train:
                train(folder, pairs, arguments.settings)
            else:
                measure(folder, pairs)


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


def table_of_trainings() -> None:
    print(
        "| pairs | MB of text | seconds | CPU s | pairs/CPU s | an epoch | anonymous MB | file MB |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")


def train(folder: Path, pairs: int, settings: list[str]) -> None:
    """One row: ``latentnlp align`` on the corpus in ``folder``."""
    files = [str(folder / "corpus.source"), str(folder / "corpus.target")]
    megabytes = sum(Path(file).stat().st_size for file in files) / 2**20
    command = [sys.executable, "-m", "latentnlp", "align", *files, "-o", str(folder / "links")]
    command += ["--device", "cpu", *(part for one in settings for part in ("--set", one))]
    began, log = time.perf_counter(), folder / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, stderr=output, env={**os.environ, "TMPDIR": str(folder)})
    peaks = {"RssAnon": 0.0, "RssFile": 0.0}
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        for name, now in _status(child.pid).items():
            peaks[name] = max(peaks[name], now)
        time.sleep(0.1)
    child.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(encoding="utf-8", errors="replace")
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-2000:]}")
    seconds = time.perf_counter() - began
    epochs = re.findall(r"^em epoch .* seconds=([\d.]+)", text, re.MULTILINE)
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"| {pairs:,} | {megabytes:.0f} | {seconds:,.0f} | {cpu:,.0f} | {pairs / cpu:,.0f} "
        f"| {epochs[-1] if epochs else ''} | {peaks['RssAnon']:,.0f} | {peaks['RssFile']:,.0f} |",
        flush=True,
    )


def _status(pid: int) -> dict[str, float]:
    """Resident megabytes of a process: anonymous, and mapped from files. Linux only."""
    fields = re.findall(
        r"^(RssAnon|RssFile):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return {name: int(kilobytes) / 1024 for name, kilobytes in fields}


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
    """The pairs of a corpus, then again and again, perturbed: on each side one word left out, and
    one replaced by one of the sentence before, so as often as it is in the text."""
    random = np.random.default_rng(0)
    text = open_parallel(source, target)
    yield from ((" ".join(a), " ".join(b)) for a, b in text)
    before = text[len(text) - 1]
    while True:
        for pair in text:
            perturbed = [list(words) for words in pair]
            for words, others in zip(perturbed, before, strict=True):
                if len(words) > 1:
                    del words[random.integers(len(words))]
                if words and others:
                    words[random.integers(len(words))] = others[random.integers(len(others))]
            before = pair
            yield " ".join(perturbed[0]), " ".join(perturbed[1])


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
