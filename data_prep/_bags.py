"""What the scripts share that write documents for topic models.

A counted corpus holds ``vocab.txt`` and ``train.ldac dev.ldac test.ldac``, each with
``.labels.txt`` and ``.ids.txt`` beside it where there are any (see ``latentnlp.data.ldac``). A
corpus of texts holds ``train.jsonl dev.jsonl test.jsonl`` with ``id``, ``text`` or ``tokens``,
``label``; where ``vocab.txt`` stands beside them, these words and no others are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from _common import (
    Corpus,
    Facts,
    already_complete,
    arguments,
    create,
    empty_split,
    find_raw,
    raw_sums,
    sha256,
    write_corpus,
)
from tqdm import tqdm

from latentnlp.data import ldac
from latentnlp.data.documents import Row, json_line, read_rows
from latentnlp.errors import UserError

SEED = 1  # of the choice of dev, where the source has none
DEV_NOTE = (
    "a tenth of train, drawn without replacement: the first tenth of "
    f"numpy.random.RandomState({SEED}).permutation(documents), in the order of the file"
)

BY_DATE_NOTE = (
    "the last tenth of each group of train by the number of the post, which grows with time, as "
    "test comes after train: posts of a thread stand on one side"
)

Item = TypeVar("Item")


class Counted(NamedTuple):
    """One document of a counted corpus."""

    words: Sequence[int]
    counts: Sequence[int]
    id: str | None = None
    label: str | None = None


def hold_out(documents: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """(the rest, a tenth), both in order. RandomState's stream is the same in every numpy."""
    total = len(documents)
    held = set(np.random.RandomState(SEED).permutation(total)[: round(total / 10)].tolist())
    rest = [document for place, document in enumerate(documents) if place not in held]
    return rest, [documents[place] for place in sorted(held)]


def hold_out_latest(
    documents: Sequence[Item], names: Sequence[str]
) -> tuple[list[Item], list[Item]]:
    """(the rest, the last tenth of each group), both in order; names are ``group/number``."""
    groups: dict[str, list[tuple[int, int]]] = {}
    for place, name in enumerate(names):
        group, _, number = name.rpartition("/")
        groups.setdefault(group, []).append((int(number), place))
    held = {
        place
        for posts in groups.values()
        for _, place in sorted(posts)[len(posts) - round(len(posts) / 10) :]
    }
    rest = [document for place, document in enumerate(documents) if place not in held]
    return rest, [documents[place] for place in sorted(held)]


def read_counted(path: Path, vocabulary_size: int) -> list[Counted]:
    """A file in LDA-C with the labels and ids beside it."""
    found = ldac.read_documents(path, vocabulary_size)
    return [Counted(words, counts, name, label) for (words, counts), name, label in found]


@dataclass(frozen=True)
class CountedCorpus(Corpus):
    """A corpus whose splits are iterables of :class:`Counted`."""

    vocabulary: Sequence[str] = field(kw_only=True)

    def write_split(self, folder: Path, split: str) -> Facts:
        documents = list(self.splits[split])
        if not documents:
            raise empty_split(split)
        lines = (ldac.ldac_line(document.words, document.counts) for document in documents)
        lengths = [sum(document.counts) for document in documents]
        labels, ids = [d.label for d in documents], [d.id for d in documents]
        facts: Facts = {f"{split}.ldac": write_lines(folder / f"{split}.ldac", lines)}
        facts[f"{split}.ldac"] |= {"tokens": sum(lengths), "empty": lengths.count(0)}
        for kind, values in (("labels", labels), ("ids", ids)):
            if any(value is not None for value in values):
                name = f"{split}.{kind}.txt"
                facts[name] = write_lines(folder / name, (f"{value or ''}\n" for value in values))
        if f"{split}.labels.txt" in facts:
            facts[f"{split}.labels.txt"]["labels"] = label_counts(labels)
        return facts | vocabulary_facts(folder, self.vocabulary)


@dataclass(frozen=True)
class TextCorpus(Corpus):
    """A corpus whose splits are iterables of mappings with ``text`` or ``tokens``."""

    vocabulary: Sequence[str] | None = field(default=None, kw_only=True)

    def write_split(self, folder: Path, split: str) -> Facts:
        name, tokens, labels = f"{split}.jsonl", [], []
        with create(folder / name) as file:
            for row in tqdm(self.splits[split], desc=split, unit=" documents", disable=None):
                file.write(json_line(row))
                tokens.append(len(row["tokens"] if "tokens" in row else row["text"].split()))
                labels.append(row.get("label"))
        if not tokens:
            raise empty_split(split)
        facts = {"lines": len(tokens), "tokens": sum(tokens), "empty": tokens.count(0)}
        facts |= {"labels": label_counts(labels), "sha256": sha256(folder / name)}
        known = {} if self.vocabulary is None else vocabulary_facts(folder, self.vocabulary)
        return {name: facts} | known


def rows_of(rows: Iterable[Row], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows with these keys and no others.

    Raises:
        UserError: a row lacks one of them.
    """
    for where, row in rows:
        missing = [key for key in keys if key not in row]
        if missing:
            raise UserError(f"{where}: has no {missing[0]!r}; there are: {', '.join(row)}")
        yield {key: row[key] for key in keys}


def label_counts(labels: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(label for label in labels if label is not None).items()))


def vocabulary_facts(folder: Path, vocabulary: Sequence[str]) -> Facts:
    """Writes the vocabulary file: the same for every split."""
    path = folder / ldac.VOCABULARY
    return {path.name: write_lines(path, (f"{word}\n" for word in vocabulary))}


def write_lines(path: Path, lines: Iterable[str]) -> dict[str, Any]:
    number = 0
    with create(path) as file:
        for number, line in enumerate(lines, start=1):  # noqa: B007
            file.write(line)
    return {"lines": number, "sha256": sha256(path)}


# --- sets that lie in plain files ---------------------------------------------------------------


@dataclass(frozen=True)
class RawTopics:
    """A collection that lies in counted files or in JSON Lines, gzipped or not.

    ``files`` names those of each split, the documents first. Where there is no "dev", it is drawn
    out of train, or is the latest part of it if ``by_date`` and every document has an id.
    """

    name: str
    folder: str
    source: str
    licence: str
    files: Mapping[str, Sequence[str]]
    vocabulary: bool = True  # vocab.txt stands beside them
    keys: Sequence[str] = ()  # of the JSON Lines
    request: Mapping[str, str] = field(default_factory=dict)
    by_date: bool = False  # ids are group/number


def prepare_topics(description: str | None, topics: RawTopics) -> None:
    """The whole of a script whose raw files need checking, a dev split and a manifest."""
    args = arguments(description).parse_args()
    write_topics(args.out, args.raw, topics)


def write_topics(out: Path, raw: Path | None, topics: RawTopics) -> None:
    request = dict(topics.request)
    if already_complete(out, topics.name, request):
        return
    expected = {split: list(names) for split, names in topics.files.items()}
    if topics.vocabulary:
        expected["vocabulary"] = [ldac.VOCABULARY]
    files = find_raw(raw, topics.folder, expected)
    words = ldac.read_vocabulary(files["vocabulary"][0]) if topics.vocabulary else None
    splits: dict[str, list[Any]] = {
        split: list(rows_of(read_rows(files[split][0]), topics.keys))
        if topics.keys
        else read_counted(files[split][0], len(words or ()))
        for split in topics.files
    }
    splits, note = with_dev(splits, topics.by_date)
    fields: dict[str, Any] = {
        "name": topics.name,
        "languages": ("en",),
        "source": {"text": topics.source, "raw": raw_sums(files)},
        "licence": topics.licence,
        "splits": splits,
        "request": request,
        "notes": {"dev": note},
    }
    if topics.keys:
        write_corpus(out, TextCorpus(**fields, vocabulary=words))
    else:
        write_corpus(out, CountedCorpus(**fields, vocabulary=words or ()))


def with_dev(
    splits: Mapping[str, list[Any]], by_date: bool = False
) -> tuple[dict[str, list[Any]], str]:
    """The splits with a dev out of train (if there is none), and how it was chosen."""
    if "dev" in splits:
        return dict(splits), "the source's own"
    names = [one["id"] if isinstance(one, dict) else one.id for one in splits["train"]]
    if by_date and all(re.fullmatch(r".+/\d+", name or "") for name in names):
        (train, dev), note = hold_out_latest(splits["train"], names), BY_DATE_NOTE
    else:
        (train, dev), note = hold_out(splits["train"]), DEV_NOTE
    return {"train": train, "dev": dev, "test": splits["test"]}, note
