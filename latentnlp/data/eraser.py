"""ERASER's files (DeYoung et al. 2020): documents with human evidence, and predictions to score.

``docs/<docid>`` holds a text, one sentence a line, tokens split at single spaces. A line of
``train|val|test.jsonl`` is an annotation: ``annotation_id``, ``classification``, ``query`` and
``evidences``, lists of lists of ``{docid, start_token, end_token, text}`` whose positions count
through the whole document. What is written here is scored by ERASER's own program::

    python rationale_benchmark/metrics.py --data_dir FOLDER --split test \\
        --results FOLDER/test_predictions.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from latentnlp.data.textfiles import read_lines, write_atomically
from latentnlp.errors import UserError

if TYPE_CHECKING:
    from latentnlp.data.documents import Document, Rationale, Row

QUERY = "What is the label of this document?"
Probabilities = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """Class probabilities of one document without its rationale and with nothing else.

    ``without``: the rationale's words taken away (ERASER's comprehensiveness); ``only``: nothing
    but the rationale's words (sufficiency). ``bins``: the same where the rationale is the given
    share of best-scored words: share -> (without, only).
    """

    without: Probabilities
    only: Probabilities
    bins: Mapping[float, tuple[Probabilities, Probabilities]]


# --- reading ------------------------------------------------------------------------------------


def eraser_rows(rows: Iterable[Row], docs: Path) -> Iterator[Row]:
    """Annotations with the texts in `docs`, as rows of the canonical form.

    The spans are the single evidences, unmerged; those of no words (the release has 20) are
    dropped.

    Raises:
        UserError: an annotation of no or several documents, a text that is not there.
    """
    for where, row in rows:
        evidences = _evidences(where, row)
        name = _only_document(where, row, evidences)
        path = docs / name
        if docs.resolve() not in path.resolve().parents or not path.is_file():
            raise UserError(f"{where}: no text {name!r} in {docs}; is the folder complete?")
        sentences = _sentences(path)
        starts = [0]
        for sentence in sentences:
            starts.append(starts[-1] + len(sentence))
        spans = [[evidence.get("start_token"), evidence.get("end_token")] for evidence in evidences]
        yield (
            where,
            {
                "id": row["annotation_id"],
                "tokens": [token for sentence in sentences for token in sentence],
                "rationale": [span for span in spans if span[0] is None or span[0] != span[1]],
                "sentence_starts": starts[:-1] if sentences else None,
            }
            | ({"label": row["classification"]} if "classification" in row else {}),
        )


def _evidences(where: str, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        return [dict(evidence) for group in row["evidences"] for evidence in group]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{where}: 'evidences' must be a list of lists of objects, as in ERASER's files"
        ) from None


def _only_document(
    where: str, row: Mapping[str, Any], evidences: Sequence[Mapping[str, Any]]
) -> str:
    names = {str(evidence.get("docid")) for evidence in evidences}
    names |= {str(name) for name in row.get("docids") or ()}
    if len(names) > 1:
        raise UserError(
            f"{where}: speaks of {len(names)} documents; only annotations of one can be read"
        )
    return names.pop() if names else str(row["annotation_id"])


def _sentences(path: Path) -> list[list[str]]:
    """The tokens of each line that has any; split as ERASER's program splits."""
    lines = (list(filter(None, text.strip().split(" "))) for _, text in read_lines(path))
    return [line for line in lines if line]


# --- writing ------------------------------------------------------------------------------------


def write_eraser_documents(folder: str | Path, split: str, documents: Iterable[Document]) -> None:
    """Writes ``docs/`` and the annotations ``<split>.jsonl``. ERASER calls its splits train, val,
    test.

    A token that is empty or has white space in it is written with ``_`` in that place, or ERASER's
    program would count other positions.

    Raises:
        UserError: a document without a class as its label; a file cannot be written.
    """
    folder = Path(folder)
    with write_atomically(folder / f"{split}.jsonl") as annotations:
        for document in documents:
            if not isinstance(document.label, str):
                raise UserError(
                    f"document {document.id}: ERASER's form holds classes, but its label is "
                    f"{document.label!r}"
                )
            tokens = [_docs_token(token) for token in document.tokens]
            ends = (*document.sentences(), len(tokens))
            with write_atomically(folder / "docs" / document_name(document.id)) as text:
                for start, end in pairwise(ends):
                    text.write(" ".join(tokens[start:end]) + "\n")
            annotations.write(_json_line(_annotation(document, tokens)))


def write_eraser(
    folder: str | Path,
    split: str,
    documents: Sequence[Document],
    predictions: Sequence[Rationale],
    faithfulness: Sequence[Faithfulness] | None = None,
) -> None:
    """`write_eraser_documents`, and beside it what a model says, ``<split>_predictions.jsonl``.

    `predictions` and, where given, `faithfulness` belong to the `documents` in their order.

    Raises:
        UserError: labels or predictions that are not classes; a file cannot be written.
    """
    write_eraser_documents(folder, split, documents)
    rest = [None] * len(predictions) if faithfulness is None else faithfulness
    records = [
        _prediction(document, prediction, extra)
        for document, prediction, extra in zip(documents, predictions, rest, strict=True)
    ]
    # ERASER's program looks at the first record only to see whether there are any spans.
    records.sort(key=lambda record: not record["rationales"][0]["hard_rationale_predictions"])
    with write_atomically(Path(folder) / f"{split}_predictions.jsonl") as stream:
        stream.writelines(map(_json_line, records))


def document_name(identifier: str) -> str:
    """The id as the name of one plain file: ``/`` and its kind are written as %2F."""
    name = quote(identifier, safe=" ")
    return name if name.strip(". ") else name.replace(".", "%2E").replace(" ", "%20")


def _docs_token(token: str) -> str:
    return "".join("_" if letter.isspace() else letter for letter in token) or "_"


def _annotation(document: Document, tokens: Sequence[str]) -> dict[str, Any]:
    name = document_name(document.id)
    evidences = [
        {"docid": name, "start_token": i, "end_token": j, "text": " ".join(tokens[i:j])}
        for i, j in document.rationale or ()
    ]
    return {
        "annotation_id": document.id,
        "classification": document.label,
        "docids": [name],
        "evidences": [[evidence] for evidence in evidences],
        "query": QUERY,
    }


def _prediction(
    document: Document, prediction: Rationale, faithfulness: Faithfulness | None
) -> dict[str, Any]:
    if prediction.probabilities is None:
        raise UserError(f"document {document.id}: ERASER's form holds classes, not amounts")
    assert prediction.id == document.id and len(prediction.scores) == len(document.tokens)
    rationale = {
        "docid": document_name(document.id),
        "hard_rationale_predictions": [
            {"start_token": i, "end_token": j} for i, j in prediction.spans
        ],
        "soft_rationale_predictions": list(prediction.scores),
    }
    record: dict[str, Any] = {
        "annotation_id": document.id,
        "rationales": [rationale],
        "classification": prediction.prediction,
        "classification_scores": dict(prediction.probabilities),
    }
    if faithfulness is not None:
        record |= _scores(faithfulness.without, faithfulness.only)
        record["thresholded_scores"] = [
            {"threshold": share} | _scores(*pair)
            for share, pair in sorted(faithfulness.bins.items())
        ]
    return record


def _scores(without: Probabilities, only: Probabilities) -> dict[str, Any]:
    return {
        "comprehensiveness_classification_scores": dict(without),
        "sufficiency_classification_scores": dict(only),
    }


def _json_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
