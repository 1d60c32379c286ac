"""What the scripts share that write documents: train.jsonl dev.jsonl test.jsonl manifest.json.

Each line of the three files is a document in the canonical form, see ``latentnlp.data.documents``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import Corpus, Facts, create, empty_split, sha256
from tqdm import tqdm

from latentnlp.data.documents import Document, document_record, json_line

JSONL_SPLITS = {split: [f"{split}.jsonl"] for split in ("train", "dev", "test")}


@dataclass(frozen=True)
class DocumentCorpus(Corpus):
    """A corpus whose splits are iterables of :class:`Document`."""

    def write_split(self, folder: Path, split: str) -> Facts:
        name = f"{split}.jsonl"
        facts = _Facts()
        shown = tqdm(self.splits[split], desc=split, unit=" documents", disable=None)
        with create(folder / name) as file:
            for document in shown:
                file.write(json_line(document_record(document)))
                facts.add(document)
        if not facts.lines:
            raise empty_split(split)
        return {name: facts.record() | {"sha256": sha256(folder / name)}}


class _Facts:
    """What the manifest says of a file of documents.

    Of the ``rationale_lines`` documents that are annotated: ``rationale_tokens`` is the size of the
    union of their spans, ``rationale_share`` its share of a document's tokens, on average.
    """

    def __init__(self) -> None:
        self.lines = self.tokens = self.selected = 0
        self.shares: list[float] = []
        self.labels: list[str | float] = []

    def add(self, document: Document) -> None:
        self.lines += 1
        self.tokens += len(document.tokens)
        if document.label is not None:
            self.labels.append(document.label)
        if document.rationale is not None:
            selected = len({t for i, j in document.rationale for t in range(i, j)})
            self.selected += selected
            self.shares.append(selected / len(document.tokens))

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = {"lines": self.lines, "tokens": self.tokens}
        record["labels"] = _label_facts(self.labels)
        if self.shares:
            record["rationale_lines"] = len(self.shares)
            record["rationale_tokens"] = self.selected
            record["rationale_share"] = round(sum(self.shares) / len(self.shares), 4)
        return record


def _label_facts(labels: list[str | float]) -> dict[str, float]:
    amounts = [label for label in labels if isinstance(label, float)]
    if not amounts:
        return dict(sorted(Counter(map(str, labels)).items()))
    mean = round(sum(amounts) / len(amounts), 4)
    return {"min": min(amounts), "mean": mean, "max": max(amounts)}


def text_hash(tokens: Iterable[str]) -> str:
    """sha256 of a text's words in lower case, without punctuation: equal for near copies."""
    words = re.findall(r"\w+", " ".join(tokens).lower())
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def hash_share(digest: str) -> float:
    """A hash as a number in [0, 1): uniform, and the same on every machine."""
    return int(digest[:13], 16) / 16**13
