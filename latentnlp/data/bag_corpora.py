"""Bags of words from what users have: text, JSON Lines, tables, LDA-C, the folders of data_prep/.

A file is read once, as a stream, into .npy files that are mapped: memory holds the distinct words
and nothing that grows with the number of documents. Every document is kept, an empty one too, so
document n is row n (of a .txt: line n + 1).
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentnlp.data.bag_files import BagWriter, load_bags, occurrences, renumber
from latentnlp.data.bag_text import TextConfig, choose_vocabulary, split_text
from latentnlp.data.bags import Bags
from latentnlp.data.documents import Row, class_name, raw_label, read_rows
from latentnlp.data.ldac import (
    VOCABULARY,
    is_ldac,
    read_documents,
    read_vocabulary,
    vocabulary_beside,
)
from latentnlp.data.textfiles import STDIN
from latentnlp.data.vocabulary import SPECIALS, Vocabulary
from latentnlp.errors import UserError

PARTS = ("train", "dev", "test", "test_half1", "test_half2")
OUTSIDE = -1  # the number of a word that is not in the vocabulary


class Read(NamedTuple):
    """What was found in a file. ``outside``: tokens whose word is not in the vocabulary."""

    documents: int
    empty: int  # documents without a word of the vocabulary
    tokens: int
    outside: int


@dataclass(frozen=True, eq=False)
class BagCorpus:
    """Word w of ``bags`` is the word of id w + len(SPECIALS) in ``vocabulary``."""

    bags: Bags
    vocabulary: Vocabulary
    read: Read

    def words(self) -> tuple[str, ...]:
        """The words by their number in the bags, [V]."""
        return self.vocabulary.words[len(SPECIALS) :]


def open_bags(
    path: str | Path,
    text: TextConfig | None = None,
    vocabulary: Vocabulary | None = None,
    *,
    fmt: str = "auto",
    text_column: str | None = None,
    label_column: str | None = None,
    vocabulary_file: str | Path | None = None,
    folder: Path | None = None,
) -> BagCorpus:
    """Reads a file of documents; each may be .gz, and ``-`` is standard input (JSON Lines, or
    what `fmt` says: jsonl, tsv, csv, txt, ldac).

    - ``.ldac``: see `ldac`; ``vocab.txt`` stands beside the file, or is named. These are the words.
    - ``.txt``: one document a line; a blank line is an empty one. ``.jsonl``; ``.tsv`` (unquoted)
      and ``.csv`` with a heading: see `bags_from_rows`. With `vocabulary_file`, its words and no
      others are counted.

    `vocabulary`, of a model: its words and no others, with their ids; then the words that a
    vocabulary file names are looked up there. `folder` keeps the arrays (it has to stay as long as
    they are used); without it they lie in a nameless temporary place.

    Raises:
        UserError: with file and line: not UTF-8, damaged gzip, a line that is not of its form, a
            document without text; no document; LDA-C whose vocabulary cannot be found, or has no
            word of the model's; no word that passes the thresholds of `text`.
    """
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name one of its files, such as train.jsonl")
    if fmt == "ldac" or (fmt == "auto" and is_ldac(path)):
        named = vocabulary_file or (None if str(path) == STDIN else vocabulary_beside(path))
        if named is None:
            raise UserError("LDA-C on standard input has no vocab.txt beside it; name the file")
        with _place(folder) as place:
            return _counted(path, read_vocabulary(named), vocabulary, place)
    words = None
    if vocabulary_file is not None and vocabulary is None:
        words = read_vocabulary(vocabulary_file)
    return bags_from_rows(
        read_rows(path, fmt),
        text,
        words if vocabulary is None else vocabulary,
        name=str(path),
        text_column=text_column,
        label_column=label_column,
        folder=folder,
    )


def bags_from_rows(
    rows: Iterable[Row],
    text: TextConfig | None = None,
    vocabulary: Vocabulary | list[str] | None = None,
    *,
    name: str = "documents",
    text_column: str | None = None,
    label_column: str | None = None,
    folder: Path | None = None,
) -> BagCorpus:
    """Bags of any mappings, say of a split of Hugging Face `datasets`; see `open_bags`.

    Takes pairs of a name for error messages ("imdb, row 7") and the mapping. The words are the
    column ``tokens`` (a list) or ``text`` (split as `text` says), or `text_column`; ``id`` and
    ``label`` (or `label_column`) may be missing, in some rows too. `vocabulary` None: chosen as
    `text` says; a list: these words, counted here; a `Vocabulary`: as it is.

    Raises:
        UserError: as `open_bags`.
    """
    text = text or TextConfig()
    with _place(folder) as place:
        if vocabulary is not None:
            given = isinstance(vocabulary, Vocabulary)
            words = vocabulary.words[len(SPECIALS) :] if given else vocabulary
            known = {word: number for number, word in enumerate(words)}
            tokens = _encode(rows, known, False, text, text_column, label_column, place, name)
            return _corpus(load_bags(place), words, vocabulary if given else None, tokens)
        types: dict[str, int] = {}
        with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as drafts:
            draft = Path(drafts)
            tokens = _encode(rows, types, True, text, text_column, label_column, draft, name)
            found = load_bags(draft)
            vocabulary = choose_vocabulary(list(types), *occurrences(found), len(found), text, name)
            words = vocabulary.words[len(SPECIALS) :]
            table = np.full(len(types), -1, dtype=np.int32)
            table[[types[word] for word in words]] = np.arange(len(words))
            return _corpus(renumber(found, table, len(words), place), words, vocabulary, tokens)


class BagFolder:
    """A folder as data_prep/ writes it: the documents of "train", and "dev" and "test" if there.

    Each is ``<part>.ldac`` or ``<part>.jsonl`` (or .gz). "test_half1" and "test_half2" are the test
    documents as their publisher has cut them in two. Where ``vocab.txt`` stands beside them, its
    words are the vocabulary. ``manifest.json`` names the collection; a folder may lack it.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises UserError: no such folder, a damaged manifest, no documents in it."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"{folder}: no such folder; make it with a script of data_prep/")
        self.name = _name(self.folder)
        names = (".ldac", ".ldac.gz", ".jsonl", ".jsonl.gz")
        self.files: dict[str, Path] = {}
        for part in PARTS:
            paths = (self.folder / f"{part}{suffix}" for suffix in names)
            if path := next((path for path in paths if path.is_file()), None):
                self.files[part] = path
        if "train" not in self.files and "test" not in self.files:
            raise UserError(
                f"{folder}: has no documents; it needs train.ldac with vocab.txt, or train.jsonl; "
                "make it with a script of data_prep/"
            )
        vocabulary = self.folder / VOCABULARY
        self.vocabulary_file = vocabulary if vocabulary.is_file() else None

    def has(self, part: str) -> bool:
        return part in self.files

    def halves(self, part: str) -> tuple[str, str] | None:
        """The parts with a part's published halves; None: it has none."""
        first, second = f"{part}_half1", f"{part}_half2"
        return (first, second) if self.has(first) and self.has(second) else None

    def path(self, part: str) -> Path:
        """The file of a part. Raises UserError where there is no such part."""
        if part not in self.files:
            raise UserError(f"{self.folder}: holds no {part}; there are: {', '.join(self.files)}")
        return self.files[part]

    def open(
        self,
        part: str,
        text: TextConfig | None = None,
        vocabulary: Vocabulary | None = None,
        *,
        folder: Path | None = None,
    ) -> BagCorpus:
        """`open_bags` of a part; raises as it does, and UserError where there is no such part."""
        return open_bags(
            self.path(part),
            text,
            vocabulary,
            vocabulary_file=self.vocabulary_file,
            folder=folder,
        )


# --- one file -----------------------------------------------------------------------------------


def _encode(
    rows: Iterable[Row],
    known: dict[str, int],
    grow: bool,
    text: TextConfig,
    text_column: str | None,
    label_column: str | None,
    place: Path,
    name: str,
) -> int:
    """Writes the rows' words by their numbers in `known`, to which new ones are added if it may
    `grow`; returns the number of tokens read."""
    number = _Numbers(known, text.lowercase, grow).__getitem__
    total, labelled = 0, label_column is None
    with BagWriter(place) as writer:
        for where, row in rows:
            tokens = _tokens(where, row, text_column, text.split)
            total += len(tokens)
            bag = Counter(map(number, tokens))
            bag.pop(OUTSIDE, None)
            words = sorted(bag)
            identifier = row.get("id")
            label = raw_label(where, row, label_column or "label", False)
            labelled = labelled or label_column in row
            writer.add(
                words,
                [bag[word] for word in words],
                None if identifier is None else str(identifier),
                None if label is None else class_name(label),
            )
        if not len(writer):
            raise UserError(f"{name}: holds no document")
        if not labelled:
            raise UserError(f"{name}: no document has the column or key {label_column!r}")
        writer.vocabulary_size = len(known)
    return total


class _Numbers(dict[str, int]):
    """The number of each word as it is written, worked out once."""

    def __init__(self, known: dict[str, int], lowercase: bool, grow: bool) -> None:
        self._known, self._lowercase, self._grow = known, lowercase, grow

    def __missing__(self, word: str) -> int:
        known, lower = self._known, word.lower() if self._lowercase else word
        if self._grow:
            number = known.setdefault(lower, len(known))
        else:
            number = known.get(word, known.get(lower, OUTSIDE))
        self[word] = number
        return number


def _tokens(where: str, row: Mapping[str, Any], column: str | None, split: str) -> list[str]:
    column = column or ("tokens" if "tokens" in row else "text")
    if column not in row:
        raise UserError(
            f"{where}: has no column or key {column!r} with the text; there are: {', '.join(row)}"
        )
    value = row[column]
    if isinstance(value, str):
        return split_text(value, split)
    if isinstance(value, list | tuple) and all(isinstance(token, str) for token in value):
        return list(value)
    raise UserError(f"{where}: {column!r} must be a text or a list of tokens (strings)")


def _counted(
    path: str | Path, words: list[str], vocabulary: Vocabulary | None, place: Path
) -> BagCorpus:
    """A file in LDA-C, whose ids mean `words`; renumbered where `vocabulary` has others."""
    if vocabulary is None or list(vocabulary.words[len(SPECIALS) :]) == words:
        tokens = _copy(path, len(words), place)
        return _corpus(load_bags(place), words, vocabulary, tokens)
    table = np.array(vocabulary.encode(words), dtype=np.int32) - len(SPECIALS)  # <unk>: −1
    if (table < 0).all():
        raise UserError(
            f"{path}: none of the {len(words)} words of its vocabulary is in the model's; it was "
            "counted with another vocabulary than the model was trained on"
        )
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as draft:
        tokens = _copy(path, len(words), Path(draft))
        known = vocabulary.words[len(SPECIALS) :]
        bags = renumber(load_bags(draft), table, len(known), place)
        return _corpus(bags, known, vocabulary, tokens)


def _copy(path: str | Path, size: int, place: Path) -> int:
    total = 0
    with BagWriter(place, size) as writer:
        for (words, counts), name, label in read_documents(path, size):
            writer.add(words, counts, name, label)
            total += sum(counts)
        if not len(writer):
            raise UserError(f"{path}: holds no document")
    return total


def _corpus(
    bags: Bags, words: Sequence[str], vocabulary: Vocabulary | None, tokens: int
) -> BagCorpus:
    """`vocabulary` None: `words` with their counts here."""
    outside = tokens - int(bags.counts.sum(dtype=np.int64))
    empty = int((bags.offsets[1:] == bags.offsets[:-1]).sum())
    if vocabulary is None:
        _, counts = occurrences(bags)
        vocabulary = Vocabulary(zip(words, counts.tolist(), strict=True), outside)
    return BagCorpus(bags, vocabulary, Read(len(bags), empty, tokens, outside))


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """The folder for the arrays; without one, a temporary one whose files are nameless afterwards:
    what is mapped outlives its name."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
        else:
            with tempfile.TemporaryDirectory(
                prefix="latentnlp-", ignore_cleanup_errors=True
            ) as place:
                yield Path(place)
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise UserError(f"{where}: cannot be written: {error.strerror or error}") from error


def _name(folder: Path) -> str:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return folder.resolve().name
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{manifest}: damaged ({error}); make the folder again") from None
