"""A parallel text that can be aligned right: a one-to-one dictionary and some local reordering."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentnlp.data.links import Link

# For `latentnlp align`: two epochs of each stage, said by hand so that no default matters.
FAST = ("--set", "em.ibm1_epochs=2", "--set", "em.epochs=2", "--set", "model.counts.mean=unigram")

_SYLLABLES = [c + v for c in "bdgklmnprstvz" for v in "aeiou"]


@dataclass(frozen=True)
class ToyCorpus:
    """``gold[n]`` links every word of ``source[n]`` to its translation in ``target[n]``."""

    source: list[str]
    target: list[str]
    gold: list[frozenset[Link]]

    def __len__(self) -> int:
        return len(self.source)

    def part(self, start: int, end: int | None = None) -> ToyCorpus:
        lines = slice(start, end)
        return ToyCorpus(self.source[lines], self.target[lines], self.gold[lines])

    def write(self, folder: Path, name: str = "text") -> tuple[str, str]:
        """``name.src`` and ``name.tgt`` in ``folder``; their paths."""
        return (
            write_lines(folder / f"{name}.src", self.source),
            write_lines(folder / f"{name}.tgt", self.target),
        )

    def write_canonical(self, folder: Path, test: int, dev: int = 0) -> Path:
        """A folder as data_prep/ writes it: the first ``test`` lines, then ``dev``, then train."""
        folder.mkdir(parents=True)
        parts = {
            "test": self.part(0, test),
            "dev": self.part(test, test + dev),
            "train": self.part(test + dev),
        }
        for name, part in parts.items():
            if not len(part):
                continue
            write_lines(folder / f"{name}.xx", part.source)
            write_lines(folder / f"{name}.yy", part.target)
            if name != "train":
                write_lines(folder / f"{name}.gold", [pharaoh(one) for one in part.gold])
        manifest = {"name": "toy", "languages": ["xx", "yy"]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def accuracy(self, links: Sequence[str] | Sequence[frozenset[Link]]) -> float:
        """F1 of links (sets, or Pharaoh lines) against the gold."""
        found = [parse(one) if isinstance(one, str) else one for one in links]
        assert len(found) == len(self.gold)
        right = sum(len(f & g) for f, g in zip(found, self.gold, strict=True))
        return 2 * right / (sum(map(len, found)) + sum(map(len, self.gold)))


def toy_corpus(pairs: int = 120, words: int = 30, seed: int = 1) -> ToyCorpus:
    draw = random.Random(seed)
    names = draw.sample(
        [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in "xwj"], 2 * words
    )
    translation = dict(zip(names[:words], names[words:], strict=True))
    corpus = ToyCorpus([], [], [])
    for _ in range(pairs):
        source = draw.sample(names[:words], draw.randint(2, 8))
        order = sorted(range(len(source)), key=lambda i: i + draw.uniform(0, 1.7))
        corpus.source.append(" ".join(source))
        corpus.target.append(" ".join(translation[source[i]] for i in order))
        corpus.gold.append(frozenset((i, j) for j, i in enumerate(order)))
    return corpus


def write_lines(path: Path, lines: Sequence[str], end: str = "\n") -> str:
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def pharaoh(links: frozenset[Link]) -> str:
    return " ".join(f"{i}-{j}" for i, j in sorted(links))


def parse(line: str) -> frozenset[Link]:
    """The links of a Pharaoh line, with or without scores."""
    pairs = (item.partition(":")[0].split("-") for item in line.split())
    return frozenset((int(i), int(j)) for i, j in pairs)
