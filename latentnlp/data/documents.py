"""Documents with a label and, where there is one, a human rationale; and what a model says of them.

A rationale is a list of spans ``[start, end)`` of token positions. The canonical form is JSON
Lines, one document a line::

    {"id": "r7", "tokens": ["a", "fine", "film"], "label": "positive",
     "rationale": [[1, 2]],        optional: spans as they were marked; they may touch or overlap
     "sentence_starts": [0],       optional: where the sentences begin
     "aspect": [2, 3]}             optional: what the label is about; a model has to be told

Unknown keys are ignored. Other forms that are read: see `read_documents`.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

from latentnlp.data.eraser import eraser_rows
from latentnlp.data.textfiles import STDIN, read_lines, split_words, write_atomically
from latentnlp.errors import UserError

Span = tuple[int, int]
Task = Literal["auto", "classification", "regression"]
Row = tuple[str, Mapping[str, Any]]  # where it stands ("reviews.tsv, line 7"), its columns

FORMATS = {".jsonl": "jsonl", ".json": "jsonl", ".tsv": "tsv", ".csv": "csv", ".txt": "txt"}
# More distinct whole numbers than this are an amount to predict, not names of classes.
MAX_NUMBERED_CLASSES = 20
MISSING = {"", "nan", "null"}  # how a table writes "no label"


@dataclass(frozen=True, slots=True)
class Document:
    """One text. ``label``: a class (str) or an amount (float); ``rationale`` None: not annotated.

    ``rationale`` holds the single spans as they were marked: they may touch or overlap.
    ``sentence_starts``: positions, rising from 0. ``aspect``: the words that the label is about.
    """

    id: str
    tokens: tuple[str, ...]
    label: str | float | None = None
    rationale: tuple[Span, ...] | None = None
    sentence_starts: tuple[int, ...] | None = None
    aspect: Span | None = None

    def sentences(self) -> tuple[int, ...]:
        """Where its sentences begin: as given, else as `split_sentences` finds them."""
        if self.sentence_starts is not None:
            return self.sentence_starts
        return split_sentences(self.tokens)


@dataclass(frozen=True, slots=True)
class Rationale:
    """What a model selects in one document, and what it predicts from that alone.

    ``spans``: disjoint runs of selected tokens, rising. ``scores``: one a token, q(z_t = 1 | x).
    ``prediction``: a class, with the ``probabilities`` of all classes, or an amount (None then).
    ``units``: the word spans among which the selector chose, if these are not single words.
    """

    id: str
    tokens: tuple[str, ...]
    spans: tuple[Span, ...]
    scores: tuple[float, ...]
    prediction: str | float
    probabilities: Mapping[str, float] | None = None
    units: tuple[Span, ...] | None = None


# --- from text to tokens ------------------------------------------------------------------------

# A letter of a word is all that is neither white space nor punctuation; \w would break the vowel
# signs of Indic scripts, which are marks, off their words.
LETTER = r"[^\s!-/:-@\[-^`{-~¡-©«-´¶-¹»-¿×÷‐-⁞⟨⟩、-】！-／：-＠\U0001f300-\U0001faff]"
_TOKEN = re.compile(
    rf"""https?://\S+ | \.\.+ | --+ | '' | `` | (?:[A-Za-z]\.){{2,}}
    | (?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|vs)\.
    | \d+(?:[.,:/]\d+)+
    | {LETTER}+(?:['’-]{LETTER}+)*
    | \S""",
    re.VERBOSE,
)
_CLITIC = re.compile(r"(.+)(n['’]t|['’](?:s|re|ve|ll|d|m))", re.IGNORECASE)
_STOP = re.compile(r"[.!?…]+|[。！？]")
_CLOSING = {"''", "”", "’", "»", ")", "]", "-RRB-", "-rrb-"}


def tokenise(text: str) -> list[str]:
    """Words and punctuation, in the way of the Penn Treebank, case kept: ``does n't``, ``it 's``.

    Hyphenated words, numbers (1,000.50), abbreviations with inner dots (U.S.) and a few titles
    (Mr.) stay whole; every other mark is a token. Text written without spaces is not segmented.
    """
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        parts = _CLITIC.fullmatch(token)
        tokens += parts.groups() if parts else (token,)
    return tokens


def split_sentences(tokens: Sequence[str]) -> tuple[int, ...]:
    """Where sentences begin: after ``. ! ?`` and what closes with them (quotes, brackets).

    A ``"`` that follows the stop belongs to the sentence if it is the second of a pair there.
    """
    starts = [0]
    stopped = False
    for position, token in enumerate(tokens):
        if _STOP.fullmatch(token):
            stopped = True
        elif stopped:
            before = tokens[starts[-1] : position]
            if token in _CLOSING or (token == '"' and before.count('"') % 2):
                continue
            starts.append(position)
            stopped = False
    return tuple(starts) if tokens else ()


# --- reading ------------------------------------------------------------------------------------


def read_documents(
    path: str | Path,
    *,
    fmt: str = "auto",
    text_column: str | None = None,
    label_column: str | None = None,
    rationale_column: str = "rationale",
    limit: int | None = None,
    task: Task = "auto",
    require_label: bool = True,
    classes: Collection[str] | None = None,
) -> list[Document]:
    """The documents of a file, in order; ``-`` is standard input (JSON Lines, unless `fmt` says).

    `fmt` "auto" goes by the name, a ``.gz`` after it aside: ``.jsonl`` (canonical, or ERASER's form
    with ``docs/`` beside it, known by its key ``annotation_id``), ``.tsv`` (unquoted) and ``.csv``
    with a heading, ``.txt`` (one text a line, no labels). The text is the column ``tokens`` (in a
    table: separated by spaces) or ``text``, which goes through `tokenise` and `split_sentences`;
    `text_column` names another, in which a list is tokens and a string is text. `label_column` and
    `rationale_column` choose one aspect where a document has several.

    `limit` keeps that many documents, evenly spaced: many files are sorted by label.

    Labels: see `settle_labels`. A model that is trained already passes its `task` and `classes`, so
    that the labels of another file mean the same. Where `require_label` is False, a document
    without label gets None.

    Raises:
        UserError: with file and line: not UTF-8, not JSON, a document without tokens, spans
            outside the text, two documents of one id, no column of that name, a label that is
            null, NaN, of mixed type or not among `classes`; a file without documents.
    """
    rows = read_rows(path, fmt)
    first = next(rows, None)
    rows = iter(()) if first is None else chain([first], rows)
    if first is not None and fmt == "auto" and "annotation_id" in first[1]:
        rows = eraser_rows(rows, Path(path).parent / "docs")
    documents = documents_from_rows(
        rows,
        text_column=text_column,
        label_column=label_column,
        rationale_column=rationale_column,
        task=task,
        require_label=require_label,
        classes=classes,
    )
    if not documents:
        raise UserError(f"{path}: holds no document")
    return spread(documents, limit)


def documents_from_rows(
    rows: Iterable[Row],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    rationale_column: str = "rationale",
    task: Task = "auto",
    require_label: bool = True,
    classes: Collection[str] | None = None,
) -> list[Document]:
    """Documents of any mappings with such columns, say of a split of Hugging Face `datasets`.

    Takes pairs of a name for error messages ("imdb, row 7") and the mapping; otherwise as
    `read_documents`, and raises as it does.
    """
    documents: list[Document] = []
    places: dict[str, str] = {}  # id -> where it stands
    labels: list[Any] = []
    for number, (where, row) in enumerate(rows, start=1):
        document = _document(where, row, str(number), text_column, rationale_column)
        if document.id in places:
            raise UserError(
                f"{where}: id {document.id!r} was used before ({places[document.id]}); ids must be "
                "unique"
            )
        places[document.id] = where
        documents.append(document)
        labels.append(raw_label(where, row, label_column or "label", require_label))
    settled = settle_labels(list(places.values()), labels, task, classes)
    return [replace(d, label=label) for d, label in zip(documents, settled, strict=True)]


def spread(documents: list[Document], limit: int | None) -> list[Document]:
    """`limit` of the documents, evenly spaced and in order; all of them if there are no more."""
    if limit is None or limit >= len(documents):
        return documents
    if limit < 1:
        raise UserError(f"a limit of {limit} documents leaves none; take 1 or more")
    return [documents[n * len(documents) // limit] for n in range(limit)]


def hold_out(documents: Sequence[Document], seed: int) -> tuple[list[Document], list[Document]]:
    """(the rest, a tenth), both in order; of each class a tenth, rounded down, drawn by `seed`."""
    by_class: dict[str, list[int]] = {}
    for place, document in enumerate(documents):
        name = document.label if isinstance(document.label, str) else ""
        by_class.setdefault(name, []).append(place)
    draw = random.Random(seed)
    held = {
        n for _, places in sorted(by_class.items()) for n in draw.sample(places, len(places) // 10)
    }
    rest = [document for place, document in enumerate(documents) if place not in held]
    return rest, [documents[place] for place in sorted(held)]


def shuffle_sentences(document: Document, seed: int) -> Document:
    """The same sentences in another order, each with its marks; a control for what position tells.

    A span across sentences becomes one span a sentence; of such an aspect the first part stays.
    """
    starts = document.sentences()
    sentences = list(zip(starts, [*starts[1:], len(document.tokens)], strict=True))
    random.Random(seed).shuffle(sentences)
    shifts: list[tuple[int, int, int]] = []  # a sentence's old span, and how far it moves
    tokens: list[str] = []
    for start, end in sentences:
        shifts.append((start, end, len(tokens) - start))
        tokens += document.tokens[start:end]

    def moved(spans: Iterable[Span]) -> tuple[Span, ...]:
        return tuple(
            (max(a, start) + shift, min(b, end) + shift)
            for a, b in spans
            for start, end, shift in sorted(shifts)
            if max(a, start) < min(b, end)
        )

    return replace(
        document,
        tokens=tuple(tokens),
        rationale=None if document.rationale is None else moved(document.rationale),
        sentence_starts=tuple(start + shift for start, _, shift in shifts),
        aspect=None if document.aspect is None else moved([document.aspect])[0],
    )


def read_rows(path: str | Path, fmt: str = "auto") -> Iterator[Row]:
    """The rows of a JSON Lines, TSV, CSV or plain text file, each with its place, as a stream."""
    suffix = Path(str(path).removesuffix(".gz")).suffix.lower()
    if fmt == "auto":
        fmt = "jsonl" if str(path) == STDIN else FORMATS.get(suffix, "")
    if fmt not in FORMATS.values():
        raise UserError(
            f"{path}: unknown format {fmt or suffix!r} of documents; take a file in "
            f"{', '.join(FORMATS)} (each may be .gz), or name the format"
        )
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name one of its files, such as train.jsonl")
    return {"jsonl": _json_rows, "tsv": _tsv_rows, "csv": _csv_rows, "txt": _txt_rows}[fmt](path)


def _json_rows(path: str | Path) -> Iterator[Row]:
    for line, text in read_lines(path):
        if not text.strip():
            continue
        where = f"{path}, line {line}"
        try:
            row = json.loads(text)
            if "\\ud" in text:  # half of a surrogate pair could not be written again
                json.dumps(row, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            told = getattr(error, "msg", None) or str(error)
            raise UserError(f"{where}: not JSON ({told}); expected one object a line") from None
        if not isinstance(row, dict):
            raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield where, row


def _tsv_rows(path: str | Path) -> Iterator[Row]:
    return _table_rows(path, ((line, text.split("\t")) for line, text in read_lines(path)))


def _csv_rows(path: str | Path) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # the default refuses long documents
    cells = csv.reader((text + "\n" for _, text in read_lines(path)), strict=True)

    def numbered() -> Iterator[tuple[int, list[str]]]:
        try:
            line = 1
            for row in cells:
                yield line, row
                line = cells.line_num + 1  # a quoted cell may hold line ends
        except csv.Error as error:
            raise UserError(f"{path}, line {cells.line_num}: not CSV ({error})") from None

    return _table_rows(path, numbered())


def _table_rows(path: str | Path, lines: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    _, heading = next(lines, (1, []))
    if len(set(heading)) != len(heading):
        raise UserError(
            f"{path}, line 1: two columns have the same name; the first line names them"
        )
    for line, cells in lines:
        if not any(cells):
            continue
        where = f"{path}, line {line}"
        if len(cells) != len(heading):
            raise UserError(f"{where}: {len(cells)} columns, but line 1 names {len(heading)}")
        row: dict[str, Any] = dict(zip(heading, cells, strict=True))
        if "tokens" in row:
            row["tokens"] = split_words(row["tokens"])
        yield where, row


def _txt_rows(path: str | Path) -> Iterator[Row]:
    return ((f"{path}, line {line}", {"text": text}) for line, text in read_lines(path))


# --- one document -------------------------------------------------------------------------------


def _document(
    where: str, row: Mapping[str, Any], number: str, text_column: str | None, rationale_column: str
) -> Document:
    """The document of a row, without its label."""
    column = text_column or ("tokens" if "tokens" in row else "text")
    if column not in row:
        raise UserError(
            f"{where}: has no {_column(column)} with the text; there are: {', '.join(row)}"
        )
    text, marks = row[column], row.get(rationale_column)
    starts: Sequence[int] | None = row.get("sentence_starts")
    if isinstance(text, str):
        if marks is not None:
            raise UserError(
                f"{where}: {rationale_column!r} counts tokens, but {column!r} is not split into "
                "tokens; give a list of tokens"
            )
        tokens = tokenise(text)
        starts = split_sentences(tokens)
    elif isinstance(text, list | tuple) and all(isinstance(token, str) for token in text):
        tokens = text
    else:
        raise UserError(f"{where}: {column!r} must be a text or a list of tokens (strings)")
    if not tokens:
        raise UserError(f"{where}: the document has no tokens; remove it or fill it in")
    identifier, aspect = row.get("id"), row.get("aspect")
    return Document(
        id=number if identifier is None else str(identifier),
        tokens=tuple(map(sys.intern, map(str, tokens))),
        rationale=None if marks is None else _spans(where, rationale_column, marks, len(tokens)),
        sentence_starts=None if starts is None else _starts(where, starts, len(tokens)),
        aspect=None if aspect is None else _spans(where, "aspect", [aspect], len(tokens))[0],
    )


def _column(name: str) -> str:
    return f"column or key {name!r}"


def _spans(where: str, name: str, marks: Any, length: int) -> tuple[Span, ...]:
    if not isinstance(marks, list | tuple):
        raise UserError(f"{where}: {name!r} must be a list of spans [start, end)")
    spans: list[Span] = []
    for mark in marks:
        pair = isinstance(mark, list | tuple) and len(mark) == 2
        if not pair or not all(type(end) is int for end in mark):
            raise UserError(f"{where}: {mark!r} in {name!r} is not a span [start, end)")
        start, end = mark
        if not 0 <= start < end <= length:
            raise UserError(
                f"{where}: span [{start}, {end}) in {name!r} is empty or lies outside the text, "
                f"which has {length} tokens (positions count from 0, the end is not included)"
            )
        spans.append((start, end))
    return tuple(spans)


def _starts(where: str, starts: Any, length: int) -> tuple[int, ...]:
    listed = isinstance(starts, list | tuple) and all(type(start) is int for start in starts)
    rising = listed and all(one < other for one, other in pairwise((*starts, length)))
    if not rising or not starts or starts[0] != 0:
        raise UserError(
            f"{where}: 'sentence_starts' must be token positions that rise from 0 and lie in the "
            f"text, which has {length} tokens"
        )
    return tuple(starts)


# --- labels -------------------------------------------------------------------------------------


def raw_label(where: str, row: Mapping[str, Any], column: str, required: bool) -> Any:
    """The label as it stands there; None only where it may be missing."""
    if column not in row and required:
        raise UserError(
            f"{where}: has no {_column(column)} with the label; there are: {', '.join(row)}"
        )
    label = row.get(column)
    missing = label is None or (isinstance(label, float) and math.isnan(label))
    if missing or (isinstance(label, str) and label.strip().lower() in MISSING):
        if required:
            raise UserError(
                f"{where}: the label ({column!r}) is {label!r}; remove the document or label it"
            )
        return None
    if isinstance(label, bool):
        return str(label).lower()
    if not isinstance(label, str | int | float) or label in (math.inf, -math.inf):
        raise UserError(
            f"{where}: the label ({column!r}) {label!r} is neither a class nor a number"
        )
    return label


def settle_labels(
    places: Sequence[str],
    labels: Sequence[str | float | None],
    task: Task = "auto",
    classes: Collection[str] | None = None,
) -> list[str | float | None]:
    """All labels as classes (str) or all as amounts (float); None stays.

    By `task`; with "auto", numbers are amounts unless they are all whole and no more than
    MAX_NUMBERED_CLASSES are distinct, and all else are classes. Numbers that are written as text
    count as numbers for "auto" and "regression". `places` says where each stands, for errors.

    Raises:
        UserError: labels of mixed types, not a number in regression, a class not in `classes`.
    """
    numbers = [None if label is None else _number(label) for label in labels]
    given = [n for n, label in enumerate(labels) if label is not None]
    if task == "regression":
        for n in given:
            if numbers[n] is None:
                raise UserError(f"{places[n]}: the label {labels[n]!r} is not a number")
        return [None if number is None else float(number) for number in numbers]
    # Told that these are classes, "7" beside "n/a" is in order; a JSON 7 beside "n/a" never is.
    by_type = task == "classification"
    kinds = [isinstance(labels[n], str) if by_type else numbers[n] is None for n in given]
    if len(set(kinds)) > 1:
        first, other = given[0], given[kinds.index(not kinds[0])]
        raise UserError(
            f"{places[other]}: the label {labels[other]!r} and the label {labels[first]!r} of "
            f"{places[first]} are of mixed types; take only numbers or only names"
        )
    found = {numbers[n] for n in given}
    if task == "auto" and given and not kinds[0]:
        whole = all(isinstance(number, int) for number in found)
        if not whole or len(found) > MAX_NUMBERED_CLASSES:
            return [None if number is None else float(number) for number in numbers]
    named = [None if label is None else class_name(label) for label in labels]
    unknown = [] if classes is None else [n for n in given if named[n] not in classes]
    if classes is not None and unknown:
        raise UserError(
            f"{places[unknown[0]]}: the label {named[unknown[0]]!r} is not among the classes that "
            f"the model knows: {', '.join(sorted(classes))}"
        )
    return list(named)


def _number(label: str | float) -> int | float | None:
    """A label as a number if it is one or reads as one."""
    if not isinstance(label, str):
        return label
    if re.fullmatch(r"\s*[+-]?\d+\s*", label):
        return int(label)
    if re.fullmatch(r"\s*[+-]?(\d+\.\d*|\.?\d+)([eE][+-]?\d+)?\s*", label):
        return float(label)
    return None


def class_name(label: str | float) -> str:
    if isinstance(label, float):
        return f"{label:g}"
    return str(label).strip()


# --- writing ------------------------------------------------------------------------------------


def document_record(document: Document) -> dict[str, Any]:
    """A document as the canonical form writes it; what is None is left out."""
    record: dict[str, Any] = {"id": document.id, "tokens": document.tokens}
    for name in ("label", "rationale", "sentence_starts", "aspect"):
        if (value := getattr(document, name)) is not None:
            record[name] = value
    return record


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Writes the canonical form; `read_documents` gives the same documents back.

    Raises:
        UserError: the file cannot be written.
    """
    _write_json_lines(path, map(document_record, documents))


def write_rationales(path: str | Path, predictions: Iterable[Rationale]) -> None:
    """Writes one JSON object a document: its tokens, the selected spans, scores, prediction.

    ``units`` and ``probabilities`` stand there if they are not None. ``-`` is standard output.
    `read_rationales` gives them back, with scores of six digits.

    Raises:
        UserError: the file cannot be written.
    """
    records = map(_rationale_record, predictions)
    if str(path) == STDIN:
        sys.stdout.writelines(map(json_line, records))
    else:
        _write_json_lines(path, records)


def read_rationales(path: str | Path) -> list[Rationale]:
    """What `write_rationales` wrote, in order; ``-`` is standard input.

    Raises:
        UserError: with file and line: not UTF-8, not JSON, a key missing or of another type, spans
            that are outside the text or not disjoint and rising, scores that are not one finite
            number a token, predictions of classes beside predicted amounts; no document.
    """
    found: list[Rationale] = []
    for where, row in read_rows(path, "jsonl"):
        one = _rationale(where, row)
        if found and isinstance(one.prediction, str) != isinstance(found[0].prediction, str):
            raise UserError(
                f"{where}: predicts {one.prediction!r}, the first document has "
                f"{found[0].prediction!r}: classes and amounts are mixed"
            )
        found.append(one)
    if not found:
        raise UserError(f"{path}: holds no document")
    return found


def _rationale(where: str, row: Mapping[str, Any]) -> Rationale:
    for key in ("id", "tokens", "rationale", "scores", "prediction"):
        if key not in row:
            raise UserError(
                f"{where}: has no {key!r}; is it a file that `latentnlp rationale extract` wrote?"
            )
    document = _document(where, row, "", "tokens", "rationale")
    spans, length = document.rationale or (), len(document.tokens)
    if any(start < end for (_, end), (start, _) in pairwise(spans)):
        raise UserError(f"{where}: the spans in 'rationale' overlap or do not rise")
    scores, prediction = row["scores"], row["prediction"]
    if not isinstance(scores, list) or len(scores) != length or not all(map(_is_finite, scores)):
        raise UserError(f"{where}: 'scores' must be {length} numbers, one a token")
    if not isinstance(prediction, str) and not _is_finite(prediction):
        raise UserError(f"{where}: 'prediction' must be a class or a number, not {prediction!r}")
    shares, units = row.get("probabilities"), row.get("units")
    if shares is not None and not (
        isinstance(shares, dict) and prediction in shares and all(map(_is_finite, shares.values()))
    ):
        raise UserError(f"{where}: 'probabilities' must be a number for each class")
    return Rationale(
        document.id,
        document.tokens,
        spans,
        tuple(map(float, scores)),
        prediction if isinstance(prediction, str) else float(prediction),
        shares,
        None if units is None else _spans(where, "units", units, length),
    )


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _rationale_record(prediction: Rationale) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": prediction.id,
        "tokens": prediction.tokens,
        "rationale": prediction.spans,
        "scores": [float(f"{score:.6g}") for score in prediction.scores],
        "prediction": prediction.prediction,
    }
    if prediction.probabilities is not None:
        record["probabilities"] = dict(prediction.probabilities)
    if prediction.units is not None:
        record["units"] = prediction.units
    return record


def json_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _write_json_lines(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    with write_atomically(path) as stream:
        stream.writelines(map(json_line, records))
