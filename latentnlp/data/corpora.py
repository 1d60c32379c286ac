"""Parallel text, read from disk as it is needed, and its words as numbers.

`open_parallel` maps the files and keeps in memory only where each line starts (8 bytes a line and
side); `encode` streams the words' ids into .npy files that are mapped in their turn. Neither holds
the text, so a corpus may be larger than memory. Sentence order and count are those of the files,
always: a pair that cannot be trained on stays in its place, as a pair of length 0.

What counts as a line and as a word: see `textfiles`.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import mmap
import operator
import os
import shutil
import stat
import sys
import tempfile
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from latentnlp.data.textfiles import (
    BOM,
    STDIN,
    decode_line,
    gzip_errors,
    is_gzip,
    open_bytes,
    split_words,
    strip_line_end,
    write_atomically,
)
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError

MAX_LENGTH = 256
BARS = "|||"
SCAN_BYTES = 1 << 20
BLOCK = 4096

Pair = tuple[list[str], list[str]]


# --- text -----------------------------------------------------------------------------------------


class ParallelText(ABC):
    """Sentence pairs by number: `text[n] -> (source words, target words)`, `len`, iteration."""

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Pair: ...

    def __iter__(self) -> Iterator[Pair]:
        return (self[number] for number in range(len(self)))


class ListText(ParallelText):
    """Sentence pairs that are in memory already."""

    def __init__(
        self, source: Sequence[Sequence[str]], target: Sequence[Sequence[str]], name: str = "corpus"
    ) -> None:
        check_equal_counts(f"source of {name}", len(source), f"target of {name}", len(target))
        self.name, self._source, self._target = name, source, target

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> Pair:
        return list(self._source[number]), list(self._target[number])


class TwoFiles(ParallelText):
    """Line n of one file is the translation of line n of the other."""

    def __init__(self, source: Lines, target: Lines) -> None:
        check_equal_counts(source.name, len(source), target.name, len(target))
        self.name, self._source, self._target = source.name, source, target

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> Pair:
        return split_words(self._source[number]), split_words(self._target[number])

    def __iter__(self) -> Iterator[Pair]:
        for source, target in zip(self._source, self._target, strict=True):
            yield split_words(source), split_words(target)


class OneFile(ParallelText):
    """``source ||| target`` or ``source<TAB>target`` a line; a blank line is an empty pair."""

    def __init__(self, lines: Lines, tab_separated: bool) -> None:
        self.name, self._lines = lines.name, lines
        self._split = self._at_tab if tab_separated else self._at_bars

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> Pair:
        line = self._lines[number]  # first, so that a wrong number is an IndexError
        return self._split(line, operator.index(number) % len(self) + 1)

    def __iter__(self) -> Iterator[Pair]:
        return map(self._split, self._lines, itertools.count(1))

    def _at_bars(self, text: str, line: int) -> Pair:
        words = split_words(text)
        if words.count(BARS) == 1:
            cut = words.index(BARS)
            return words[:cut], words[cut + 1 :]
        if not words:
            return [], []
        raise UserError(
            f"{self.name}, line {line}: expected one '{BARS}' between source and target, with a "
            f"space on both sides, found {words.count(BARS)}"
        )

    def _at_tab(self, text: str, line: int) -> Pair:
        columns = text.split("\t")
        if len(columns) == 2:
            return split_words(columns[0]), split_words(columns[1])
        if not split_words(text):
            return [], []
        raise UserError(
            f"{self.name}, line {line}: expected two columns (source, tab, target), "
            f"found {len(columns)}"
        )


class Concatenation(ParallelText):
    """Several texts, one after another."""

    def __init__(self, texts: Sequence[ParallelText]) -> None:
        self.name = " + ".join(text.name for text in texts)
        self._texts = tuple(texts)
        self._starts = [0, *itertools.accumulate(len(text) for text in texts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Pair:
        number = place(number, len(self))
        part = bisect.bisect_right(self._starts, number) - 1
        return self._texts[part][number - self._starts[part]]

    def __iter__(self) -> Iterator[Pair]:
        return itertools.chain.from_iterable(self._texts)


def concatenate(texts: Sequence[ParallelText]) -> ParallelText:
    """One text of several, in order (for example training text, then the text to be aligned)."""
    return texts[0] if len(texts) == 1 else Concatenation(texts)


def open_parallel(
    source: str | Path, target: str | Path | None = None, fmt: str = "auto"
) -> ParallelText:
    """Opens parallel text: two files, or one file (or ``-``, standard input) with both sides.

    `fmt` matters for one file only: ``|||``, ``tsv``, or ``auto``, which takes ``.tsv`` and
    ``.tsv.gz`` for TSV and everything else for ``|||``. What cannot be mapped (a name in ``.gz``,
    standard input, a pipe) is copied once to a nameless temporary file that goes with the text.

    Raises:
        UserError: missing or unreadable file, damaged gzip, unequal line counts, empty corpus; and,
            when a line is read: not UTF-8, no or several separators.
    """
    if target is None:
        if fmt == "auto":
            fmt = "tsv" if str(source).removesuffix(".gz").endswith(".tsv") else BARS
        if fmt not in (BARS, "tsv"):
            raise UserError(f"unknown format {fmt!r} of {source}: take auto, {BARS} or tsv")
        text: ParallelText = OneFile(Lines(source), tab_separated=fmt == "tsv")
    elif STDIN in (str(source), str(target)):
        raise UserError(
            f"standard input cannot be one of two files: give both sides in it ('source {BARS} "
            "target', or TSV) and name no second file"
        )
    elif fmt != "auto":
        raise UserError(f"format {fmt!r} is for one file with both sides, but two files are given")
    else:
        text = TwoFiles(Lines(source), Lines(target))
    if len(text) == 0:
        raise UserError(f"{text.name} is empty: there is no sentence pair to read")
    return text


def check_equal_counts(source: str, lines: int, target: str, target_lines: int) -> None:
    """Raises UserError unless both sides have the same number of lines."""
    if lines != target_lines:
        raise UserError(
            f"{source} has {lines} lines but {target} has {target_lines}: line n of one must be "
            "the translation of line n of the other"
        )


def place(number: int, length: int) -> int:
    """A sequence index as a number in [0, length); raises IndexError like a list."""
    index = operator.index(number)
    if not -length <= index < length:
        raise IndexError(f"no sentence {index} among {length}")
    return index % length


class Lines:
    """The lines of a file as strings, by number; memory holds where they start, no more.

    Raises:
        UserError: the file cannot be opened (at once); a line is not UTF-8 (when it is read).
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        with _seekable(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            # An empty file cannot be mapped. The map outlives the file object it was made from.
            self._bytes = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) if size else b""
        self._starts = _line_starts(self._bytes)  # [N + 1]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> str:
        number = place(number, len(self))
        raw = self._bytes[self._starts[number] : self._starts[number + 1]]
        return decode_line(strip_line_end(raw), self.name, number + 1)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            starts = self._starts[first : first + BLOCK + 1].tolist()
            for line, (start, end) in enumerate(itertools.pairwise(starts), start=first + 1):
                yield decode_line(strip_line_end(self._bytes[start:end]), self.name, line)


def _line_starts(data: mmap.mmap | bytes) -> np.ndarray:
    """Where each line starts, and where the last one ends: int64 [N + 1]. Searched in chunks."""
    size = len(data)
    first = len(BOM) if data[: len(BOM)] == BOM else 0
    starts = [np.array([first], dtype=np.int64)]
    for offset in range(first, size, SCAN_BYTES):
        chunk = np.frombuffer(data[offset : offset + SCAN_BYTES], dtype=np.uint8)
        starts.append(np.flatnonzero(chunk == ord("\n")) + (offset + 1))
    if size > first and data[size - 1 : size] != b"\n":
        starts.append(np.array([size], dtype=np.int64))
    return np.concatenate(starts)


def _seekable(path: str | Path) -> BinaryIO:
    """The file itself, or a nameless temporary copy of what cannot be mapped: gz, stdin, a pipe."""
    stream = open_bytes(path)
    is_stdin = stream is sys.stdin.buffer
    if not (is_stdin or is_gzip(path)) and stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    with ExitStack() as undo:
        if not is_stdin:
            undo.enter_context(stream)
        copy = undo.enter_context(tempfile.TemporaryFile())
        try:
            with gzip_errors(path):
                shutil.copyfileobj(stream, copy, 1 << 20)
            copy.flush()
        except OSError as error:
            raise UserError(
                f"{path}: cannot be copied to {tempfile.gettempdir()}: {error.strerror or error}"
            ) from error
        if not is_stdin:
            stream.close()
        undo.pop_all()
    return copy  # type: ignore[return-value]


# --- numbers --------------------------------------------------------------------------------------


class Skipped(NamedTuple):
    """How many pairs are not trained on, and why (a pair counts once; empty comes first)."""

    empty: int
    too_long: int


def build_vocabularies(
    text: ParallelText,
    lowercase: bool = True,
    max_length: int = MAX_LENGTH,
    min_count: int = 1,
    max_size: int | None = None,
) -> tuple[Vocabulary, Vocabulary]:
    """The words of both sides, counted in one pass over the pairs that `encode` would keep.

    Raises:
        UserError: no pair is left to count.
    """
    source_counts: Counter[str] = Counter()
    target_counts: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    for source, target in text:
        verdict = _verdict(source, target, max_length)
        verdicts[verdict] += 1
        if verdict == "kept":
            source_counts.update(_case(source, lowercase))
            target_counts.update(_case(target, lowercase))
    if not source_counts:
        raise UserError(
            f"{text.name} has no usable sentence pair: {verdicts['empty']} are empty on a side, "
            f"{verdicts['too_long']} are longer than {max_length} words"
        )
    return (
        Vocabulary.build(source_counts, min_count, max_size),
        Vocabulary.build(target_counts, min_count, max_size),
    )


class EncodedCorpus:
    """Word ids of a parallel text, mapped from a folder that `encode` wrote.

    `source_ids[source_offsets[n]:source_offsets[n + 1]]` is sentence n: ids int32 [T], offsets
    int64 [N + 1]; the same for the target. `source_lengths`, `target_lengths`: int32 [N], both 0
    where the pair is skipped.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises UserError if the folder does not hold a complete encoded corpus."""
        folder = Path(folder)
        try:
            record = json.loads((folder / "encoded.json").read_text(encoding="utf-8"))
            self.skipped = Skipped(record["empty"], record["too_long"])
            self.source_ids, self.target_ids, self.source_offsets, self.target_offsets = (
                map_npy(folder / f"{name}.npy") for name in _ARRAYS
            )
            complete = (
                len(self.source_offsets) == len(self.target_offsets) == record["pairs"] + 1
                and self.source_offsets[-1] == len(self.source_ids)
                and self.target_offsets[-1] == len(self.target_ids)
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: not an encoded corpus ({error}); encode it again") from None
        if not complete:
            raise UserError(f"{folder}: its files do not belong together; encode the corpus again")
        self.source_lengths = np.diff(self.source_offsets).astype(np.int32)
        self.target_lengths = np.diff(self.target_offsets).astype(np.int32)

    def __len__(self) -> int:
        return len(self.source_lengths)

    def fingerprint(self) -> str:
        """SHA-256 of all ids and offsets, in hexadecimal."""
        digest = hashlib.sha256()
        for part in (self.source_ids, self.source_offsets, self.target_ids, self.target_offsets):
            digest.update(part.tobytes())
        return digest.hexdigest()

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        n = place(number, len(self))
        return (
            self.source_ids[self.source_offsets[n] : self.source_offsets[n + 1]],
            self.target_ids[self.target_offsets[n] : self.target_offsets[n + 1]],
        )


_ARRAYS = ("source_ids", "target_ids", "source_offsets", "target_offsets")


def encode(
    text: ParallelText,
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    folder: str | Path,
    lowercase: bool = True,
    max_length: int = MAX_LENGTH,
) -> EncodedCorpus:
    """Writes the ids of every pair into `folder`, as a stream, and maps what it wrote.

    A pair with an empty side, or with a side of more than `max_length` words, is stored with both
    sides of length 0. Lower-casing is by word, so it never changes the number of words.

    Raises:
        UserError: a line cannot be read, or the folder cannot be written.
    """
    folder = Path(folder)
    verdicts: Counter[str] = Counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # First, so that what a killed process leaves behind is not taken for complete.
        (folder / "encoded.json").unlink(missing_ok=True)
        with ExitStack() as files:
            source_ids, target_ids, source_offsets, target_offsets = (
                files.enter_context(NpyWriter(folder / f"{name}.npy", typecode))
                for name, typecode in zip(_ARRAYS, "iiqq", strict=True)
            )
            source_offsets.append(0)
            target_offsets.append(0)
            for source, target in text:
                verdict = _verdict(source, target, max_length)
                verdicts[verdict] += 1
                if verdict == "kept":
                    source_ids.extend(source_vocabulary.encode(_case(source, lowercase)))
                    target_ids.extend(target_vocabulary.encode(_case(target, lowercase)))
                source_offsets.append(len(source_ids))
                target_offsets.append(len(target_ids))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with write_atomically(folder / "encoded.json") as stream:
        skipped = {name: verdicts[name] for name in ("empty", "too_long")}
        record = {"pairs": len(source_offsets) - 1, **skipped}
        json.dump(record, stream)
    return EncodedCorpus(folder)


def _verdict(source: list[str], target: list[str], max_length: int) -> str:
    """Whether a pair is "kept", or why it is not: "empty" or "too_long"."""
    if not source or not target:
        return "empty"
    return "too_long" if max(len(source), len(target)) > max_length else "kept"


def _case(words: list[str], lowercase: bool) -> Iterable[str]:
    return map(str.lower, words) if lowercase else words


class NpyWriter:
    """A one-dimensional .npy file of unknown length, written as a stream.

    It is a new file, put into place at the end: a process that has mapped the old one keeps it.
    """

    FLUSH = 1 << 16

    def __init__(self, path: Path, typecode: str) -> None:
        self._path, self._part = path, path.with_suffix(".part")
        self._buffer, self._written = array(typecode), 0

    def __len__(self) -> int:
        return self._written + len(self._buffer)

    def append(self, value: int) -> None:
        self.extend([value])

    def extend(self, values: list[int]) -> None:
        self._buffer.extend(values)
        if len(self._buffer) >= self.FLUSH:
            self._flush()

    def __enter__(self) -> NpyWriter:
        self._file = open(self._part, "wb")
        self._header()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._flush()
                    self._file.seek(0)
                    self._header()
            if kind is None:
                os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._buffer.tofile(self._file)
        self._written += len(self._buffer)
        del self._buffer[:]

    def _header(self) -> None:
        # numpy pads the header so that the first axis may grow: it has the same size both times.
        dtype = np.dtype(self._buffer.typecode)
        np.lib.format.write_array_header_1_0(
            self._file,
            {"descr": dtype.str, "fortran_order": False, "shape": (self._written,)},
        )


def map_npy(path: Path) -> np.ndarray:
    """A mapped array as a plain ndarray (numpy's memmap class slows every index down)."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(mapped)
