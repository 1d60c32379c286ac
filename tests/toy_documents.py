"""Labelled texts in which one word decides, and it is known which."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentnlp.data.documents import Document, Rationale, write_documents

# Four classes: with two, selecting nothing could well say one of them.
DECISIVE = {
    "tree": ("oak", "elm"),
    "meal": ("soup", "rice"),
    "tool": ("saw", "axe"),
    "game": ("chess",),
}
CLASSES = tuple(DECISIVE)
_NEUTRAL = [c + v for c in "bdgklmnprstvz" for v in "aeiou"]

# For `latentnlp rationale train`: a small model that learns it in two seconds, said by hand so that
# no default matters.
SMALL = (
    "model.selector=cnn",
    "model.predictor=cnn",
    "model.embedding=16",
    "model.ngrams=[]",
    "model.cnn.filters=16",
    "model.cnn.widths=[1]",
    "model.predictor_dropout=0.1",
    "model.selector_dropout=0",
    "predictor.epochs=4",
    "predictor.documents=8",
    "predictor.learner.learning_rate=0.05",
    "predictor.learner.averaging=0.9",
    "rationale.epochs=5",
    "rationale.documents=8",
    "rationale.learner.rate=0.3",
    "rationale.learner.learning_rate=0.02",
    "rationale.learner.predictor_learning_rate=0.01",
    "rationale.learner.averaging=0.9",
)
SHORT = ("predictor.epochs=1", "rationale.epochs=1")  # where nothing needs to be learnt


def options(settings: Sequence[str]) -> list[str]:
    return [part for one in settings for part in ("--set", one)]


FAST = options(SMALL)


def toy_documents(count: int, seed: int = 1, words: int = 5) -> list[Document]:
    """Each of ``words`` words; of the one that decides there is a human mark."""
    draw = random.Random(seed)
    documents = []
    for number in range(count):
        label = CLASSES[number % len(CLASSES)]
        tokens = draw.choices(_NEUTRAL, k=words)
        place = draw.randrange(words)
        tokens[place] = draw.choice(DECISIVE[label])
        documents.append(Document(f"{seed}.{number}", tuple(tokens), label, ((place, place + 1),)))
    return documents


def amounts(documents: Sequence[Document]) -> list[Document]:
    """The same with amounts as labels."""
    return [replace(one, label=1.5 * CLASSES.index(str(one.label)) - 2) for one in documents]


def write(path: Path, documents: Sequence[Document]) -> str:
    write_documents(path, documents)
    return str(path)


def write_corpus(folder: Path, train: int = 160, dev: int = 40, test: int = 40) -> Path:
    """A folder as data_prep/ writes it."""
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate({"train": train, "dev": dev, "test": test}.items(), 1):
        if count:
            write(folder / f"{name}.jsonl", toy_documents(count, seed))
    (folder / "manifest.json").write_text(json.dumps({"name": "toy", "languages": ["en"]}))
    return folder


def found_it(found: Sequence[Rationale], documents: Sequence[Document]) -> float:
    """The share of texts of which the decisive word was selected."""
    hits = 0
    for one, document in zip(found, documents, strict=True):
        assert one.tokens == document.tokens and document.rationale is not None
        place = document.rationale[0][0]
        hits += any(start <= place < end for start, end in one.spans)
    return hits / len(documents)


# For long documents: the words of a class stand in one sentence of many.
CUES = (("oak", "elm", "yew"), ("soup", "rice", "stew"), ("saw", "axe", "file"))


def planted(count: int, classes: int = 2, seed: int = 1, sentences: int = 12) -> list[Document]:
    """Long documents of noise, with two cues of the class in one sentence, which is marked."""
    random = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        tokens: list[str] = []
        starts, span = [], (0, 0)
        telling = random.integers(sentences)
        for place in range(sentences):
            words = list(random.choice(_NEUTRAL, 7))
            if place == telling:
                words[1], words[4] = random.choice(CUES[number % classes], 2)
                span = (len(tokens), len(tokens) + 7)
            starts.append(len(tokens))
            tokens += [*map(str, words), "."]
        label = str(number % classes)
        documents.append(Document(str(number), tuple(tokens), label, (span,), tuple(starts)))
    return documents
