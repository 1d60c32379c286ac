"""Stanford Sentiment Treebank: sentences of film reviews in five grades, or in two.

Text:   Socher et al. 2013, the standard split of 8544 / 1101 / 2210 sentences, tokenised; through
        GitHub munikarmanish/RNTN (trees/). Licence: none stated there.
Task:   sst5 keeps the label of the whole sentence, 0 (very negative) to 4 (very positive); sst2
        leaves out the neutral sentences (2) and writes negative (0, 1) and positive (3, 4).
Phrases: people graded every phrase of the parse trees. phrases.jsonl has those of the training
        sentences (in sst2 of the neutral ones too), each text once with each of its labels; a
        phrase that is a whole sentence of dev or test, but for case, is left out.
No rationales.
--raw:  train.jsonl dev.jsonl test.jsonl (each may be .gz) with the keys id, tokens, label and, for
        phrases.jsonl, phrases: [start, end, label]; or a folder that holds them in sst/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import already_complete, arguments, find_raw, raw_sums, run, write_corpus
from _documents import JSONL_SPLITS, DocumentCorpus

from latentnlp.data.documents import Document, read_documents, read_rows
from latentnlp.errors import UserError

GRADES = {"0", "1", "2", "3", "4"}
POLARITY = {"0": "negative", "1": "negative", "3": "positive", "4": "positive"}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--task", choices=("sst5", "sst2"), default="sst5")
    args = parser.parse_args()
    if already_complete(args.out, args.task, {}):
        return
    files = find_raw(args.raw, "sst", JSONL_SPLITS)
    splits = {
        split: read_documents(paths[0], task="classification", classes=GRADES)
        for split, paths in files.items()
    }
    splits["phrases"] = list(phrases(files["train"][0], splits["train"]))
    if args.task == "sst2":
        splits = {split: list(two_classes(documents)) for split, documents in splits.items()}
    splits["phrases"] = list(once(splits["phrases"], [*splits["dev"], *splits["test"]]))
    if not splits["phrases"]:
        del splits["phrases"]
    write_corpus(
        args.out,
        DocumentCorpus(
            name=args.task,
            languages=("en",),
            source={
                "text": "Stanford Sentiment Treebank, through GitHub munikarmanish/RNTN",
                "raw": raw_sums(files),
            },
            licence="none stated",
            splits=splits,
            notes={"rationale": "none"},
        ),
    )


def two_classes(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents that are not neutral, by their polarity."""
    for document in documents:
        if (label := POLARITY.get(str(document.label))) is not None:
            yield replace(document, label=label)


def phrases(path: Path, sentences: Iterable[Document]) -> Iterator[Document]:
    """The graded phrases of the sentences that `path` holds.

    Raises:
        UserError: a phrase that is not [start, end, grade] inside its sentence.
    """
    for (where, row), sentence in zip(read_rows(path), sentences, strict=True):
        for phrase in row.get("phrases") or ():
            start, end, label = _phrase(where, phrase, len(sentence.tokens))
            yield Document(f"{sentence.id}_{start}_{end}", sentence.tokens[start:end], label)


def once(documents: Iterable[Document], held_out: Iterable[Document]) -> Iterator[Document]:
    """Each text once with each label, and none that is held out."""
    seen: set[tuple[tuple[str, ...], object]] = set()
    others = {_folded(document) for document in held_out}
    for document in documents:
        key = (document.tokens, document.label)
        if key not in seen and _folded(document) not in others:
            seen.add(key)
            yield document


def _phrase(where: str, phrase: Any, length: int) -> tuple[int, int, str]:
    if isinstance(phrase, list) and len(phrase) == 3 and all(type(n) is int for n in phrase):
        start, end, label = phrase
        if 0 <= start < end <= length and str(label) in GRADES:
            return start, end, str(label)
    raise UserError(
        f"{where}: the phrase {phrase!r} is not [start, end, grade] inside a sentence of {length} "
        "tokens, with a grade from 0 to 4"
    )


def _folded(document: Document) -> tuple[str, ...]:
    return tuple(token.lower() for token in document.tokens)


if __name__ == "__main__":
    run(main)
