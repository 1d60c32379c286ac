"""Labelled documents of three subjects, whose words are known; every document has common words."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def _words(first: str, count: int) -> tuple[str, ...]:
    return tuple([first + v + c for v in "aeiou" for c in "dgklmnprst"][:count])


SUBJECTS = {"tree": _words("t", 30), "meal": _words("m", 30), "tool": _words("f", 30)}
COMMON = _words("b", 20)
WORDS = sorted([*COMMON, *(word for words in SUBJECTS.values() for word in words)])

# A small network that learns it in seconds, said by hand so that no default matters.
SMALL = (
    "text.min_documents=1",
    "text.max_share=1.0",
    "model.belief_network.layers=[6,3]",
    "model.belief_network.generator_hidden=0",
    "model.belief_network.recognition_hidden=64",
    "model.belief_network.scale=0.3",
    "model.belief_network.active=0.3",
    "learning.epochs=30",
    "learning.documents=10",
    "learning.dev_samples=5",
    "learning.rule=wake_sleep",
    "learning.wake_sleep.ascent.learning_rate=0.02",
    "learning.wake_sleep.ascent.averaging=0.05",
)
SHORT = ("learning.epochs=2",)  # where nothing needs to be learnt


def options(settings: Sequence[str]) -> list[str]:
    return [part for one in settings for part in ("--set", one)]


FAST = options(SMALL)
QUICK = options([*SMALL, *SHORT])


def toy_records(count: int, seed: int = 1, words: int = 24) -> list[dict[str, str]]:
    """id, text, label; seven words in ten are of the subject."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        label = list(SUBJECTS)[number % len(SUBJECTS)]
        tokens = [
            draw.choice(SUBJECTS[label] if draw.random() < 0.7 else COMMON)
            for _ in range(words + draw.randrange(-8, 9))
        ]
        found.append({"id": f"{seed}.{number}", "text": " ".join(tokens), "label": label})
    return found


def write(path: Path, records: Sequence[dict]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def write_corpus(folder: Path, train: int = 180, dev: int = 30, test: int = 60) -> Path:
    """A folder of texts as data_prep/ writes it."""
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate({"train": train, "dev": dev, "test": test}.items(), 1):
        if count:
            write(folder / f"{name}.jsonl", toy_records(count, seed))
    (folder / "manifest.json").write_text(json.dumps({"name": "toy", "languages": ["en"]}))
    return folder


def write_counted(folder: Path, vocabulary: Sequence[str], **counts: int) -> Path:
    """The same as LDA-C, with labels: ``train=180, test=60``."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in vocabulary))
    known = {word: number for number, word in enumerate(vocabulary)}
    for name, count in counts.items():
        records = toy_records(count, ("train", "dev", "test").index(name) + 1)
        lines = []
        for record in records:
            bag = Counter(known[word] for word in record["text"].split() if word in known)
            pairs = [f"{word}:{times}" for word, times in sorted(bag.items())]
            lines.append(" ".join([str(len(pairs)), *pairs]) + "\n")
        (folder / f"{name}.ldac").write_text("".join(lines))
        (folder / f"{name}.labels.txt").write_text("".join(r["label"] + "\n" for r in records))
    return folder


def subjects_of(topics: Sequence[Sequence[str]]) -> set[str]:
    """Those of which one topic has at least four of its first five words."""
    return {
        name
        for name, words in SUBJECTS.items()
        if any(len(set(topic[:5]) & set(words)) >= 4 for topic in topics)
    }
