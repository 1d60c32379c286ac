"""Word links of sentence pairs, read and written in the formats of the field.

A link (i, j) joins source word i and target word j, both from 0. A gold alignment has *sure* links
and *possible* ones, S ⊆ P (Och and Ney 2003, "A systematic comparison of various statistical
alignment models", section 6).

=========  ==================================================================================
Pharaoh    one line a sentence pair: ``i-j`` sure, ``ipj`` or ``i?j`` possible; counts from 0
           by custom, from 1 in some gold files (`base`). ``i-j:0.93`` carries a score.
NAACL      one line a link: ``sentence i j [S|P] [confidence]``, all from 1; no letter is sure
           (Mihalcea and Pedersen 2003). Position 0 is the empty word: such links are left out.
JSONL      one object a sentence pair: ``{"id": 0, "links": [[i, j], ...], "scores": [...]}``,
           and ``"confidence"`` in the pair
=========  ==================================================================================
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

from latentnlp.data.textfiles import STDIN, read_lines, write_atomically
from latentnlp.errors import UserError

Link = tuple[int, int]
Links = frozenset[Link]

FORMATS = ("pharaoh", "pharaoh-scores", "naacl", "jsonl")
_INDEX = r"([0-9]{1,9})"  # no more digits than a position can have
_SCORE = r"-?[0-9.]+(?:[eE][-+]?[0-9]+)?"
_PHARAOH = re.compile(rf"{_INDEX}([-p?]){_INDEX}(?::{_SCORE})?")
_NAACL = re.compile(rf"{_INDEX}\s+{_INDEX}\s+{_INDEX}(?:\s+([SP]))?(?:\s+{_SCORE})?")


@dataclass(frozen=True)
class Gold:
    """The links of one sentence pair; `possible` includes the sure ones."""

    sure: Links
    possible: Links

    def __post_init__(self) -> None:
        if not self.sure <= self.possible:
            raise ValueError("every sure link is also a possible one")


# --- reading --------------------------------------------------------------------------------------


def read_gold(
    path: str | Path,
    fmt: str = "auto",
    base: int = 0,
    sentences: int | None = None,
    source_lengths: Sequence[int] | None = None,
    target_lengths: Sequence[int] | None = None,
) -> list[Gold]:
    """Gold links in either format; ``auto`` takes a file whose first link has columns for NAACL.

    `base` is that of a Pharaoh file. `sentences` is the number of sentence pairs where it is known.

    Raises:
        UserError: as `read_links` and `read_naacl`.
    """
    if fmt == "auto":
        if str(path) == STDIN:
            raise UserError("standard input is read once: say which format its gold links have")
        first = next((text.strip() for _, text in read_lines(path) if text.strip()), "")
        fmt = "naacl" if _NAACL.fullmatch(first) else "pharaoh"
    if fmt == "naacl":
        return read_naacl(path, sentences, source_lengths, target_lengths)
    if fmt != "pharaoh":
        raise UserError(f"unknown format {fmt!r} of {path}: take auto, pharaoh or naacl")
    gold = read_links(path, base, source_lengths, target_lengths)
    if sentences is not None:
        _check_count(path, len(gold), sentences)
    return gold


def read_links(
    path: str | Path,
    base: int = 0,
    source_lengths: Sequence[int] | None = None,
    target_lengths: Sequence[int] | None = None,
) -> list[Gold]:
    """A Pharaoh file, one element a line. Scores are read over.

    Raises:
        UserError: not a link, an index below `base`, or, where lengths are given, an index beyond
            the sentence or another number of lines.
    """
    return list(stream_links(path, base, source_lengths, target_lengths))


def stream_links(
    path: str | Path,
    base: int = 0,
    source_lengths: Sequence[int] | None = None,
    target_lengths: Sequence[int] | None = None,
) -> Iterator[Gold]:
    """As `read_links`, one line at a time: it knows the number of lines when all are read."""
    line = 0
    check = _Range(path, source_lengths, target_lengths)
    for line, text in read_lines(path):
        sure: set[Link] = set()
        possible: set[Link] = set()
        for item in text.split():
            match = _PHARAOH.fullmatch(item)
            if match is None:
                raise UserError(
                    f"{path}, line {line}: {item!r} is not a link; expected i-j, ipj or i?j"
                )
            link = int(match[1]) - base, int(match[3]) - base
            if min(link) < 0:
                raise UserError(
                    f"{path}, line {line}: link {item!r} is below {base}, where this file is said "
                    "to count from; check the base"
                )
            check(link, line - 1, line, item)
            (sure if match[2] == "-" else possible).add(link)
        yield Gold(frozenset(sure), frozenset(sure | possible))
    for lengths in (source_lengths, target_lengths):
        if lengths is not None:
            _check_count(path, line, len(lengths))


def read_scores(path: str | Path, base: int = 0) -> list[dict[Link, float]]:
    """The scores of links, one element a line, from JSON lines or from Pharaoh with scores.

    Raises:
        UserError: a line that is neither, or has a link without a score from 0 to 1.
    """
    return [_scores(text, base, f"{path}, line {line}") for line, text in read_lines(path)]


def _scores(text: str, base: int, place: str) -> dict[Link, float]:
    try:
        if text.lstrip().startswith("{"):
            record = json.loads(text)
            base, pairs, values = 0, record["links"], record["scores"]
        else:
            items = [item.partition(":") for item in text.split()]
            pairs, values = [item[0].split("-") for item in items], [item[2] for item in items]
        links = [(int(i) - base, int(j) - base) for i, j in pairs]
        found = dict(zip(links, map(float, values), strict=True))
    except (ValueError, TypeError, KeyError, OverflowError):  # json reads Infinity
        found = {(-1, -1): 0.0}
    # A sum of posteriors may exceed 1 by a rounding error.
    if any(min(link) < 0 or not 0 <= value <= 1.001 for link, value in found.items()):
        raise UserError(
            f"{place}: expected links with scores from 0 to 1, as `align --format jsonl` or "
            f"pharaoh-scores writes them, found {text[:60]!r}"
        )
    return found


def read_naacl(
    path: str | Path,
    sentences: int | None = None,
    source_lengths: Sequence[int] | None = None,
    target_lengths: Sequence[int] | None = None,
) -> list[Gold]:
    """A NAACL file, its lines in any order; element n is sentence n + 1.

    Where neither `sentences` nor lengths are given, the highest number in the file ends the list.

    Raises:
        UserError: not a link line, a sentence number out of range, or, where lengths are given, an
            index beyond the sentence.
    """
    for lengths in (source_lengths, target_lengths):
        sentences = len(lengths) if sentences is None and lengths is not None else sentences
    sure: dict[int, set[Link]] = {}
    possible: dict[int, set[Link]] = {}
    check = _Range(path, source_lengths, target_lengths)
    for line, text in read_lines(path):
        if not text.strip():
            continue
        match = _NAACL.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"{path}, line {line}: {text.strip()!r} is not a link; "
                "expected 'sentence i j [S|P] [confidence]'"
            )
        number, i, j = (int(match[column]) - 1 for column in (1, 2, 3))
        if number < 0 or (sentences is not None and number >= sentences):
            most = f" to {sentences}" if sentences is not None else ""
            raise UserError(
                f"{path}, line {line}: sentence {match[1]} of link {text.strip()!r} is out of "
                f"range; sentences count from 1{most}"
            )
        known = possible.setdefault(number, set())
        if i < 0 or j < 0:
            continue  # a link to the empty word
        check((i, j), number, line, text.strip())
        known.add((i, j))
        if match[4] != "P":
            sure.setdefault(number, set()).add((i, j))
    count = sentences if sentences is not None else max(possible, default=-1) + 1
    return [Gold(frozenset(sure.get(n, ())), frozenset(possible.get(n, ()))) for n in range(count)]


class _Range:
    """Is a link inside its sentence pair? Knows nothing where no lengths are given."""

    def __init__(
        self,
        path: str | Path,
        source_lengths: Sequence[int] | None,
        target_lengths: Sequence[int] | None,
    ) -> None:
        self._path = path
        self._sides = [
            (side, name, lengths)
            for side, (name, lengths) in enumerate(
                (("source", source_lengths), ("target", target_lengths))
            )
            if lengths is not None
        ]

    def __call__(self, link: Link, sentence: int, line: int, item: str) -> None:
        for side, name, lengths in self._sides:
            if sentence >= len(lengths):
                continue  # too many lines: reported with both counts at the end
            if link[side] >= lengths[sentence]:
                raise UserError(
                    f"{self._path}, line {line}: link {item!r} is out of range; the {name} "
                    f"sentence {sentence + 1} has {lengths[sentence]} words"
                )


def _check_count(path: str | Path, lines: int, sentences: int) -> None:
    if lines != sentences:
        raise UserError(
            f"{path} has {lines} lines but the text has {sentences} sentence pairs: every pair "
            "needs its line of links, empty if it has none"
        )


# --- writing --------------------------------------------------------------------------------------


def format_pharaoh(links: Collection[Link], scores: Mapping[Link, float] | None = None) -> str:
    """``0-0 1-2``, in the order of (i, j); with scores ``0-0:0.93 1-2:0.5``."""
    if scores is None:
        return " ".join(f"{i}-{j}" for i, j in sorted(links))
    return " ".join(f"{i}-{j}:{scores[i, j]:.4g}" for i, j in sorted(links))


def write_links(
    where: str | Path | TextIO,
    links: Iterable[Collection[Link]],
    fmt: str = "pharaoh",
    scores: Iterable[Mapping[Link, float]] | None = None,
    words: Iterable[tuple[Sequence[str], Sequence[str]]] | None = None,
    confidences: Iterable[float] | None = None,
) -> None:
    """Writes the links of one sentence pair after another, as a stream.

    `where`: a path (the file appears when it is complete), ``-`` for standard output, or a stream.
    `scores` are needed by ``pharaoh-scores``, written by ``naacl`` and ``jsonl`` where given;
    `words` (source, target) and `confidences` are written by ``jsonl`` where given.

    Raises:
        UserError: unknown format, scores missing, or the file cannot be written.
    """
    if fmt not in FORMATS:
        raise UserError(f"unknown format {fmt!r} of links: take {', '.join(FORMATS)}")
    if fmt == "pharaoh-scores" and scores is None:
        raise UserError("format 'pharaoh-scores' needs the links' scores")
    with _stream(where) as stream:
        for text in _records(links, fmt, scores, words, confidences):
            stream.write(text)


def _stream(where: str | Path | TextIO) -> AbstractContextManager[TextIO]:
    if isinstance(where, str | Path) and str(where) != STDIN:
        return write_atomically(where)
    return nullcontext(sys.stdout if isinstance(where, str | Path) else where)


def _records(
    links: Iterable[Collection[Link]],
    fmt: str,
    scores: Iterable[Mapping[Link, float]] | None,
    words: Iterable[tuple[Sequence[str], Sequence[str]]] | None,
    confidences: Iterable[float] | None,
) -> Iterator[str]:
    rows = _beside(_beside(_beside(links, scores), words), confidences)
    for number, (((row, row_scores), pair), confidence) in enumerate(rows):
        if fmt == "jsonl":
            yield _json_record(number, row, row_scores, pair, confidence)
        elif fmt == "naacl":
            yield _naacl_record(number, row, row_scores)
        else:
            yield format_pharaoh(row, row_scores if fmt == "pharaoh-scores" else None) + "\n"


def _beside(rows: Iterable[Any], more: Iterable[Any] | None) -> Iterator[tuple[Any, Any]]:
    """Each row with its one of ``more``, or with None where nothing more is given."""
    return zip(rows, repeat(None) if more is None else more, strict=more is not None)


def _naacl_record(number: int, links: Collection[Link], scores: Mapping[Link, float] | None) -> str:
    lines = []
    for i, j in sorted(links):
        confidence = "" if scores is None else f" {scores[i, j]:.4g}"
        lines.append(f"{number + 1} {i + 1} {j + 1} S{confidence}\n")
    return "".join(lines)


def _json_record(
    number: int,
    links: Collection[Link],
    scores: Mapping[Link, float] | None,
    words: tuple[Sequence[str], Sequence[str]] | None,
    confidence: float | None,
) -> str:
    ordered = sorted(links)
    record: dict[str, object] = {"id": number, "links": [list(link) for link in ordered]}
    if scores is not None:
        record["scores"] = [float(f"{scores[link]:.4g}") for link in ordered]
    if confidence is not None:
        record["confidence"] = float(f"{confidence:.4g}")
    if words is not None:
        record["source"], record["target"] = list(words[0]), list(words[1])
    return json.dumps(record, ensure_ascii=False) + "\n"
