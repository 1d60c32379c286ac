"""LDA-C, the common form of counted documents: one a line, ``M id:count id:count …``.

M is the number of distinct words. ``vocab.txt`` beside the file has one word a line; the line's
number, from 0, is the word's id. An empty document is the line ``0``. Labels and ids, where there
are any, stand in ``<name>.labels.txt`` and ``<name>.ids.txt``, line by line; a blank line: none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from latentnlp.data.textfiles import read_lines, write_atomically
from latentnlp.data.vocabulary import SPECIALS
from latentnlp.errors import UserError

if TYPE_CHECKING:  # it imports torch, which data_prep/ can do without
    from latentnlp.data.bags import Bags

VOCABULARY = "vocab.txt"
MAX_COUNT = 2**31 - 1  # of an int32
_LINE = re.compile(r"[0-9]{1,10}(?: [0-9]{1,10}:[0-9]{1,10})*")

Entries = tuple[list[int], list[int]]  # a document's word ids, rising, and their counts


def is_ldac(path: str | Path) -> bool:
    """By its name."""
    return str(path).removesuffix(".gz").endswith(".ldac")


# --- reading ------------------------------------------------------------------------------------


def read_ldac(path: str | Path, vocabulary_size: int) -> Iterator[Entries]:
    """The documents of a file (it may be .gz), as a stream.

    Raises:
        UserError: with file and line: not of this form, an id outside the vocabulary or used twice
            in a line, a count that is not a whole number of at least 1, another M than there are
            pairs; a file that cannot be read.
    """
    for line, text in read_lines(path):
        text = text.rstrip(" ")
        if not _LINE.fullmatch(text):
            raise UserError(f"{path}, line {line}: {_complaint(text)}")
        size, *numbers = map(int, text.replace(":", " ").split(" "))
        words, counts = numbers[::2], numbers[1::2]
        if size != len(words):
            raise UserError(
                f"{path}, line {line}: begins with {size} but has {len(words)} pairs id:count; the "
                "first number is how many there are"
            )
        if not words:
            yield [], []
            continue
        if max(words) >= vocabulary_size:
            raise UserError(
                f"{path}, line {line}: word {max(words)} is outside the vocabulary, whose "
                f"{vocabulary_size} words have the ids 0 to {vocabulary_size - 1}"
            )
        if min(counts) < 1 or max(counts) > MAX_COUNT:
            place = next(n for n, count in enumerate(counts) if not 1 <= count <= MAX_COUNT)
            raise UserError(
                f"{path}, line {line}: word {words[place]} has the count {counts[place]}; a count "
                f"is from 1 to {MAX_COUNT}, and a word that does not occur is left out"
            )
        pairs = sorted(zip(words, counts, strict=True))
        words = [word for word, _ in pairs]
        if len(set(words)) != len(words):
            twice = next(word for word, other in pairwise(words) if word == other)
            raise UserError(f"{path}, line {line}: word {twice} stands there twice; add its counts")
        yield words, [count for _, count in pairs]


def _complaint(text: str) -> str:
    """What is wrong with a line that does not have the form of one."""
    first, *pairs = text.split(" ")
    form = "expected `M id:count id:count …`"
    if not text.strip():
        return f"is blank; an empty document is written 0 ({form})"
    if not re.fullmatch(r"[0-9]{1,10}", first):
        return f"begins with {first[:40]!r}, not with a number of words; {form}"
    for pair in pairs:
        word, colon, count = pair.partition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,10}", word):
            return f"{pair[:40]!r} is not a pair id:count; {form}, with single spaces"
        if not re.fullmatch(r"[0-9]{1,10}", count):
            return (
                f"word {word} has the count {count[:40]!r}; a count is a whole number of at least "
                "1: weights such as tf-idf are not counts"
            )
    return f"not a line of LDA-C; {form}"


def read_vocabulary(path: str | Path) -> list[str]:
    """The words in the order of their ids.

    Raises:
        UserError: with file and line: a blank line, a word with a tab, a word that stood there
            before, a name that is kept for other use; a file without words.
    """
    words: dict[str, int] = {}
    for line, word in read_lines(path):
        if not word.strip() or "\t" in word or word in SPECIALS:
            raise UserError(
                f"{path}, line {line}: {word[:60]!r} is not a word; expected one a line, without "
                f"tabs, and none of {', '.join(SPECIALS)}"
            )
        if word in words:
            raise UserError(
                f"{path}, line {line}: the word {word!r} stands in line {words[word]} already; "
                "every word has one id"
            )
        words[word] = line
    if not words:
        raise UserError(f"{path}: holds no word")
    return list(words)


def vocabulary_beside(path: str | Path) -> Path:
    """The vocabulary file in the folder of an LDA-C file. Raises UserError: there is none."""
    found = _existing(Path(path).parent / VOCABULARY)
    if found is None:
        raise UserError(
            f"{path}: there is no {VOCABULARY} beside it; put one there, with the word of id n in "
            "line n + 1, or name the vocabulary file"
        )
    return found


def read_beside(path: str | Path, kind: str) -> Iterator[str | None] | None:
    """The lines of ``<name>.<kind>.txt`` or .txt.gz, a blank one as None; None: no such file."""
    found = _existing(_beside(path, kind))
    if found is None:
        return None
    return (text.strip() or None for _, text in read_lines(found))


def read_documents(
    path: str | Path, vocabulary_size: int
) -> Iterator[tuple[Entries, str | None, str | None]]:
    """Entries, id and label of each document.

    Raises:
        UserError: as `read_ldac`; or another number of labels or ids than of documents.
    """
    ids, labels = read_beside(path, "ids"), read_beside(path, "labels")
    total = 0
    for total, entries in enumerate(read_ldac(path, vocabulary_size), start=1):
        yield entries, _next(path, ids, "ids", total), _next(path, labels, "labels", total)
    for kind, rest in (("ids", ids), ("labels", labels)):
        if rest is not None and (more := sum(1 for _ in rest)):
            raise _unequal(path, kind, total + more, f"{total}")


def _next(path: str | Path, lines: Iterator[str | None] | None, kind: str, line: int) -> str | None:
    if lines is None:
        return None
    for value in islice(lines, 1):
        return value
    raise _unequal(path, kind, line - 1, f"more than {line - 1}")


def _unequal(path: str | Path, kind: str, lines: int, documents: str) -> UserError:
    name = _existing(_beside(path, kind))
    return UserError(
        f"{name}: has {lines} lines but {path} has {documents} documents: line n of one must "
        "belong to line n of the other"
    )


def _beside(path: str | Path, kind: str) -> Path:
    path = Path(path)
    return path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.ldac')}.{kind}.txt")


def _existing(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


# --- writing ------------------------------------------------------------------------------------


def ldac_line(words: Sequence[int], counts: Sequence[int]) -> str:
    pairs = [f"{word}:{count}" for word, count in zip(words, counts, strict=True)]
    return " ".join([str(len(pairs)), *pairs]) + "\n"


def write_ldac(path: str | Path, bags: Bags, words: Iterable[str]) -> None:
    """Writes ``<name>.ldac``, ``vocab.txt`` beside it and, where there are any, labels and ids.

    Raises:
        UserError: a file cannot be written; a word, id or label that does not fit on a line.
    """
    _write_lines(Path(path).parent / VOCABULARY, words)
    with write_atomically(path) as stream:
        for start, end in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
            stream.write(ldac_line(bags.words[start:end].tolist(), bags.counts[start:end].tolist()))
    for kind, values in (("ids", bags.ids), ("labels", bags.labels)):
        if values is None:
            _beside(path, kind).unlink(missing_ok=True)  # of a corpus that was here before
        else:
            _write_lines(_beside(path, kind), (value or "" for value in values))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with write_atomically(path) as stream:
        for text in lines:
            if "\n" in text or "\r" in text:
                raise UserError(f"{path}: {text[:60]!r} has a line end in it and cannot be written")
            stream.write(text + "\n")
