"""Documents in all forms that are read and written, and every bad one named with its line."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentnlp.data.documents import (
    Document,
    Rationale,
    document_record,
    documents_from_rows,
    hold_out,
    read_documents,
    read_rationales,
    shuffle_sentences,
    split_sentences,
    tokenise,
    write_documents,
    write_rationales,
)
from latentnlp.data.eraser import Faithfulness, write_eraser, write_eraser_documents
from latentnlp.errors import UserError

GOOD = {"id": "a", "tokens": ["a", "fine", "film"], "label": "pos", "rationale": [[1, 2]]}


def lines(path: Path, *records: dict[str, Any] | str) -> Path:
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def labels(path: Path, **options: Any) -> list[Any]:
    return [document.label for document in read_documents(path, **options)]


def labelled(folder: Path, *values: Any) -> Path:
    return lines(folder / "x.jsonl", *({"tokens": ["a"], "label": value} for value in values))


# --- from text to tokens ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It doesn't cost $1,000.50!", "It does n't cost $ 1,000.50 !"),
        ("Mr. Smith's co-writer, in the U.S....", "Mr. Smith 's co-writer , in the U.S. ..."),
        ("''wow'' (don’t)“x”", "'' wow '' ( do n’t ) “ x ”"),
        ("see https://a.b/c?d=1, e/f", "see https://a.b/c?d=1, e / f"),
        ("rock'n'roll '90s -- 3-D", "rock'n'roll ' 90s -- 3-D"),
        ("नमस्ते दुनिया, naïve cafe\u0301", "नमस्ते दुनिया , naïve cafe\u0301"),
        (" \t\u00a0\n", ""),
    ],
)
def test_tokens(text: str, tokens: str) -> None:
    assert tokenise(text) == tokens.split()


def test_no_letter_is_lost() -> None:
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices("ab'’n t.s-/\"“”é1,。 \n…!", k=30))
        assert "".join(tokenise(text)) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("a b . c ! ? d", (0, 3, 6)),
        ('he said " stop . " then " go " .', (0, 6)),
        ("( late ! ) ok . '' so", (0, 4, 7)),
        ('one . " two . "', (0, 2)),
        ("no stop", (0,)),
        ("... .", (0,)),
        ("", ()),
    ],
)
def test_sentences(text: str, starts: tuple[int, ...]) -> None:
    assert split_sentences(text.split()) == starts


# --- JSON Lines ---------------------------------------------------------------------------------


def test_canonical_form_and_back(tmp_path: Path) -> None:
    documents = [
        Document("a", ("x", "\u00a0", "", "ä\u2028"), "pos", ((0, 2), (1, 3)), (0, 2), (3, 4)),
        Document("b", ("y",), "neg", ()),
        Document("c", ("z",), "neg", None),
    ]
    write_documents(tmp_path / "x.jsonl", documents)
    assert read_documents(tmp_path / "x.jsonl") == documents
    zipped = tmp_path / "y.jsonl.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "x.jsonl").read_bytes()))
    assert read_documents(zipped) == documents
    assert document_record(documents[2]) == {"id": "c", "tokens": ("z",), "label": "neg"}


def test_amounts_come_back_as_amounts(tmp_path: Path) -> None:
    documents = [Document(str(n), ("a",), float(n)) for n in range(3)]
    write_documents(tmp_path / "x.jsonl", documents)
    assert read_documents(tmp_path / "x.jsonl") == documents


def test_text_ids_and_other_columns(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        {"text": "Good. Isn't it?", "label": 1, "else": [None]},
        "",
        {"text": "ignored", "tokens": ["as", "given"], "label": 0, "id": 7, "rationale": None},
    )
    first, second = read_documents(path)
    assert first == Document(
        "1", ("Good", ".", "Is", "n't", "it", "?"), "1", None, sentence_starts=(0, 2)
    )
    assert second == Document("7", ("as", "given"), "0")
    assert second.sentences() == (0,) and first.sentences() == (0, 2)
    assert read_documents(path, text_column="text")[1].tokens == ("ignored",)


def test_one_aspect_of_several(tmp_path: Path) -> None:
    row = {"tokens": ["a", "b"], "look": 0.4, "taste": 0.8, "why_taste": [[1, 2]]}
    path = lines(tmp_path / "x.jsonl", row)
    (document,) = read_documents(path, label_column="taste", rationale_column="why_taste")
    assert document.label == 0.8 and document.rationale == ((1, 2),)
    assert read_documents(path, label_column="look")[0].rationale is None


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(json.dumps(GOOD).encode())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert [d.id for d in read_documents("-")] == ["a"]


def test_limit_is_spread_over_the_file(tmp_path: Path) -> None:
    path = labelled(tmp_path, *("neg" for _ in range(5)), *("pos" for _ in range(5)))
    assert [d.id for d in read_documents(path, limit=4)] == ["1", "3", "6", "8"]
    assert labels(path, limit=4) == ["neg", "neg", "pos", "pos"]
    assert len(read_documents(path, limit=10)) == len(read_documents(path, limit=99)) == 10
    with pytest.raises(UserError, match="limit of 0"):
        read_documents(path, limit=0)


def test_shuffled_sentences_take_their_marks_along() -> None:
    tokens = tuple(f"w{n}" for n in range(12))
    starts = (0, 2, 5, 6, 10)
    document = Document("d", tokens, "pos", ((1, 2), (4, 7), (8, 9)), starts, (10, 11))
    orders = set()
    for seed in range(20):
        new = shuffle_sentences(document, seed)
        assert new == shuffle_sentences(document, seed)
        ends = [*(new.sentence_starts or ())[1:], 12]
        sentences = [new.tokens[a:b] for a, b in zip(new.sentence_starts or (), ends, strict=True)]
        old = [tokens[a:b] for a, b in zip(starts, [*starts[1:], 12], strict=True)]
        assert sorted(sentences) == sorted(old)
        marked = [new.tokens[a:b] for a, b in new.rationale or ()]
        # The span across three sentences is in pieces.
        assert marked == [("w1",), ("w4",), ("w5",), ("w6",), ("w8",)]
        assert new.aspect and new.tokens[slice(*new.aspect)] == ("w10",)
        assert (new.id, new.label) == ("d", "pos")
        orders.add(new.tokens)
    assert len(orders) > 10
    assert shuffle_sentences(Document("d", ("a", ".", "b")), 1).rationale is None


BAD_ROWS = [
    ("{", "line 2: not JSON"),
    ('{"tokens": ["\\ud83d"], "label": "pos"}', "line 2: not JSON .*surrogate"),
    ("[1]", "line 2: expected a JSON object, found list"),
    ({"tokens": [], "label": "pos"}, "line 2: the document has no tokens"),
    ({"text": "  ", "label": "pos"}, "line 2: the document has no tokens"),
    ({"words": ["a"], "label": "pos"}, "line 2: has no column or key 'text'.*words, label"),
    ({"tokens": "a b", "rationale": [[0, 1]]}, "line 2: 'rationale' counts tokens"),
    ({"tokens": ["a", 1], "label": "pos"}, r"line 2: 'tokens' must be a text or a list"),
    ({"tokens": None, "label": "pos"}, r"line 2: 'tokens' must be a text or a list"),
    (GOOD | {"id": "b", "rationale": [[1, 4]]}, r"line 2: span \[1, 4\) in 'rationale'.*3 tokens"),
    (GOOD | {"id": "b", "rationale": [[-1, 1]]}, r"line 2: span \[-1, 1\)"),
    (GOOD | {"id": "b", "rationale": [[1, 1]]}, r"line 2: span \[1, 1\) in .* is empty"),
    (GOOD | {"id": "b", "rationale": [[1]]}, r"line 2: \[1\] in 'rationale' is not a span"),
    (GOOD | {"id": "b", "rationale": [[0, True]]}, r"line 2: .* is not a span"),
    (GOOD | {"id": "b", "rationale": "good"}, "line 2: 'rationale' must be a list of spans"),
    (GOOD | {"id": "b", "aspect": [2, 5]}, r"line 2: span \[2, 5\) in 'aspect'"),
    (GOOD | {"id": "b", "sentence_starts": [0, 3]}, "line 2: 'sentence_starts' must be"),
    (GOOD | {"id": "b", "sentence_starts": [1]}, "line 2: 'sentence_starts' must be"),
    (GOOD | {"id": "b", "sentence_starts": []}, "line 2: 'sentence_starts' must be"),
    (GOOD | {"id": "b", "sentence_starts": 0}, "line 2: 'sentence_starts' must be"),
    (GOOD, r"line 2: id 'a' was used before \(.*line 1\)"),
]


@pytest.mark.parametrize(("row", "told"), BAD_ROWS)
def test_bad_row(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"x\.jsonl, {told}") as error:
        read_documents(lines(tmp_path / "x.jsonl", GOOD, row))
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n\xff\n")
    with pytest.raises(UserError, match=r"x\.jsonl, line 2, byte 1: not valid UTF-8"):
        read_documents(tmp_path / "x.jsonl")
    for name in ("e.jsonl", "e.tsv", "e.csv", "e.txt"):
        (tmp_path / name).write_text("")
        with pytest.raises(UserError, match=rf"{name}: holds no document"):
            read_documents(tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        read_documents(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match=r"is a folder; name one of its files"):
        read_documents(tmp_path, fmt="jsonl")
    with pytest.raises(UserError, match=r"unknown format '\.xml'"):
        read_documents(tmp_path / "x.xml")
    (tmp_path / "z.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(UserError, match="damaged gzip"):
        read_documents(tmp_path / "z.jsonl.gz")


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "given", "read"),
    [
        ("auto", ["pos", "neg"], ["pos", "neg"]),
        ("auto", [2, 0], ["2", "0"]),
        ("auto", ["2", "0"], ["2", "0"]),
        ("auto", [True, False], ["true", "false"]),
        ("auto", [1, 0.5], [1.0, 0.5]),
        ("auto", ["1e2", " -.5"], [100.0, -0.5]),
        ("auto", [*range(21)], [float(n) for n in range(21)]),
        ("auto", [*range(20)], [str(n) for n in range(20)]),
        ("regression", [1, 0], [1.0, 0.0]),
        ("regression", ["1", "0.5"], [1.0, 0.5]),
        ("classification", [1.0, 0.5], ["1", "0.5"]),
        ("classification", [*range(21)], [str(n) for n in range(21)]),
        ("classification", ["7", " n/a "], ["7", "n/a"]),
    ],
)
def test_labels(tmp_path: Path, task: Any, given: list[Any], read: list[Any]) -> None:
    found = labels(labelled(tmp_path, *given), task=task)
    assert found == read and [type(x) for x in found] == [type(x) for x in read]


@pytest.mark.parametrize("missing", [None, float("nan"), "", "NaN", "null", " "])
def test_missing_label(tmp_path: Path, missing: Any) -> None:
    path = labelled(tmp_path, "pos", missing)
    with pytest.raises(UserError, match=r"x\.jsonl, line 2: the label \('label'\) is "):
        read_documents(path)
    assert labels(path, require_label=False) == ["pos", None]


def test_label_column_missing(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", GOOD, {"tokens": ["a"], "stars": 1})
    told = r"line 2: has no column or key 'label' with the label; there are: tokens, stars"
    with pytest.raises(UserError, match=told):
        read_documents(path)
    with pytest.raises(UserError, match=r"line 1: has no column or key 'stars'"):
        read_documents(path, label_column="stars")
    assert labels(path, require_label=False) == ["pos", None]


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("auto", ["pos", 1]),
        ("auto", [1, "pos"]),
        ("auto", ["1", "pos"]),
        ("auto", [True, 1]),
        ("auto", [0.5, "pos"]),
        ("classification", ["1", 1]),
        ("classification", [1, "n/a"]),
    ],
)
def test_mixed_labels(tmp_path: Path, task: Any, values: list[Any]) -> None:
    path = labelled(tmp_path, values[0], values[0], values[1])
    told = r"x\.jsonl, line 3: the label .* and the label .* of .*x\.jsonl, line 1 are of mixed"
    with pytest.raises(UserError, match=told):
        read_documents(path, task=task)
    with pytest.raises(UserError, match="mixed"):
        read_documents(path, task=task, require_label=False)


def test_other_bad_labels(tmp_path: Path) -> None:
    for value in ([1], {"a": 1}, float("inf")):
        with pytest.raises(UserError, match=r"line 2: the label .* neither a class nor a number"):
            read_documents(labelled(tmp_path, 1, value))
    with pytest.raises(UserError, match="line 2: the label 'good' is not a number"):
        read_documents(labelled(tmp_path, 1, "good"), task="regression")
    with pytest.raises(
        UserError, match=r"line 2: the label 'maybe' is not among the classes.*a, b"
    ):
        read_documents(labelled(tmp_path, "a", "maybe"), classes={"b", "a"})


# --- tables and plain text ----------------------------------------------------------------------


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(
        b"\xef\xbb\xbfid\ttext\tlabel\r\nr1\tsays \"good\tpos\r\n\r\nr2\tisn't\tneg"
    )
    assert read_documents(tmp_path / "x.tsv") == [
        Document("r1", ("says", '"', "good"), "pos", sentence_starts=(0,)),
        Document("r2", ("is", "n't"), "neg", sentence_starts=(0,)),
    ]
    text = 'label,tokens\n1,a isn\'t\n2,"two\nlines, ""b"""\n1,c\n'
    (tmp_path / "x.csv").write_text(text, newline="")
    documents = read_documents(tmp_path / "x.csv")
    assert [d.tokens for d in documents] == [("a", "isn't"), ("two\nlines,", '"b"'), ("c",)]
    assert [d.label for d in documents] == ["1", "2", "1"]
    assert read_documents(tmp_path / "x.csv", fmt="csv", task="regression")[1].label == 2.0


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.tsv", "text\tlabel\na\tpos\nb\n", "line 3: 1 columns, but line 1 names 2"),
        ("x.tsv", "text\ttext\na\tb\n", "line 1: two columns have the same name"),
        ("x.tsv", "text\tlabel\na\tpos\n \tneg\n", "line 3: the document has no tokens"),
        ("x.tsv", "text\tlabel\na\tpos\nb\t\n", r"line 3: the label \('label'\) is ''"),
        ("x.tsv", "text\tlabel\na\tpos\nb\t0.5\n", "line 3: .*mixed types"),
        ("x.tsv", "text\tstars\na\tpos\n", "line 2: has no column or key 'label'"),
        ("x.csv", 'text,label\n"a\nb",pos\n"c",nan\n', r"line 4: the label \('label'\) is 'nan'"),
        ("x.csv", 'text,label\n"a" b,pos\n', "line 2: not CSV"),
        ("x.csv", 'text,label\n"a,pos\n', "line 2: not CSV"),
        ("x.csv", "text,label\na,pos,more\n", "line 2: 3 columns, but line 1 names 2"),
        ("x.txt", "a film\n\nb\n", "line 2: the document has no tokens"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, newline="")
    with pytest.raises(UserError, match=f"{name}, {told}"):
        read_documents(tmp_path / name, require_label=name != "x.txt")


def test_long_cells(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("tokens,label\n" + "word " * 50_000 + ",pos\n")
    assert len(read_documents(tmp_path / "x.csv")[0].tokens) == 50_000


def test_plain_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("A film.\nGood!\n")
    documents = read_documents(tmp_path / "x.txt", require_label=False)
    assert [d.tokens for d in documents] == [("A", "film", "."), ("Good", "!")]
    with pytest.raises(UserError, match=r"line 1: has no column or key 'label'.* text"):
        read_documents(tmp_path / "x.txt")


def test_rows_of_any_source() -> None:
    rows = [("hub, row 0", {"text": "Good!", "label": 1}), ("hub, row 1", {"text": ""})]
    assert documents_from_rows(rows[:1]) == [Document("1", ("Good", "!"), "1", None, (0,))]
    with pytest.raises(UserError, match="hub, row 1: the document has no tokens"):
        documents_from_rows(rows)
    assert documents_from_rows([]) == []


# --- what a model says --------------------------------------------------------------------------

PREDICTIONS = [
    Rationale("a/1", ("x", " y", "z"), (), (0.1, 0.2, 0.3), "neg", {"neg": 0.7, "pos": 0.3}),
    Rationale("b", ("u", "v"), ((1, 2),), (0.25, 1 / 3), "pos", {"neg": 0.5, "pos": 0.5}),
]


def test_rationales_are_written(tmp_path: Path) -> None:
    amount = Rationale("c", ("é", "w"), ((0, 2),), (1.0, 0.5), 2.5, units=((0, 2),))
    write_rationales(tmp_path / "r.jsonl", [PREDICTIONS[1], amount])
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").open(encoding="utf-8")] == [
        {
            "id": "b",
            "tokens": ["u", "v"],
            "rationale": [[1, 2]],
            "scores": [0.25, 0.333333],
            "prediction": "pos",
            "probabilities": {"neg": 0.5, "pos": 0.5},
        },
        {
            "id": "c",
            "tokens": ["é", "w"],
            "rationale": [[0, 2]],
            "scores": [1.0, 0.5],
            "prediction": 2.5,
            "units": [[0, 2]],
        },
    ]
    # What was selected can be read as a rationale in its turn.
    read = read_documents(tmp_path / "r.jsonl", require_label=False)
    assert [d.rationale for d in read] == [((1, 2),), ((0, 2),)]


def test_rationales_are_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    amounts = [
        Rationale("c", ("é", "\u00a0"), ((0, 2),), (1.0, 0.5), 2.5, units=((0, 2),)),
        Rationale("d", ("w",), (), (1e-9,), -1.0),
    ]
    for rationales in ([replace(PREDICTIONS[1], scores=(0.25, 0.123456)), PREDICTIONS[0]], amounts):
        write_rationales(tmp_path / "r.jsonl", rationales)
        assert read_rationales(tmp_path / "r.jsonl") == rationales
        write_rationales("-", rationales)
        assert capsys.readouterr().out == (tmp_path / "r.jsonl").read_text(encoding="utf-8")


SAID = {
    "id": "b",
    "tokens": ["u", "v"],
    "rationale": [[1, 2]],
    "scores": [0.5, 1],
    "prediction": "x",
}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("{", "not JSON"),
        ({"tokens": ["u"]}, "has no 'id'; is it a file that"),
        (GOOD | {"scores": [1, 1, 1]}, "has no 'prediction'"),
        (SAID | {"tokens": "u v"}, "'rationale' counts tokens"),
        (SAID | {"rationale": [[1, 3]]}, r"span \[1, 3\) in 'rationale'"),
        (SAID | {"rationale": [[1, 2], [0, 1]]}, "the spans in 'rationale' overlap or do not rise"),
        (SAID | {"scores": [1]}, "'scores' must be 2 numbers"),
        (SAID | {"scores": [1, None]}, "'scores' must be 2 numbers"),
        (SAID | {"scores": [1, math.nan]}, "'scores' must be 2 numbers"),
        (SAID | {"scores": {}}, "'scores' must be 2 numbers"),
        (SAID | {"prediction": [1]}, r"'prediction' must be a class or a number, not \[1\]"),
        (SAID | {"prediction": 1}, "predicts 1.0, the first document has 'x': classes and amounts"),
        (SAID | {"probabilities": {"y": 1}}, "'probabilities' must be a number for each class"),
        (SAID | {"probabilities": {"x": "1"}}, "'probabilities' must be a number for each class"),
        (SAID | {"probabilities": [1]}, "'probabilities' must be a number for each class"),
        (SAID | {"units": [[0, 3]]}, r"span \[0, 3\) in 'units'"),
    ],
)
def test_bad_rationales(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"r\.jsonl, line 2: {told}") as error:
        read_rationales(lines(tmp_path / "r.jsonl", SAID, row))
    assert "\n" not in str(error.value)


def test_no_rationales(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl: holds no document"):
        read_rationales(lines(tmp_path / "r.jsonl"))


def test_a_tenth_is_held_out() -> None:
    """Of every class, whatever the order; the same with the same seed; nothing is lost."""
    classes = ["a"] * 30 + ["b"] * 19 + ["c"] * 9
    documents = [Document(str(n), ("w",), label) for n, label in enumerate(classes)]
    rest, held = hold_out(documents, 1)
    assert sorted(d.label for d in held if isinstance(d.label, str)) == ["a"] * 3 + ["b"]
    assert sorted(rest + held, key=lambda d: int(d.id)) == documents
    assert [int(d.id) for d in held] == sorted(int(d.id) for d in held)
    assert hold_out(documents, 1) == (rest, held)
    assert hold_out(documents, 2)[1] != held
    amounts = [Document(str(n), ("w",), float(n)) for n in range(25)]
    assert [len(part) for part in hold_out(amounts, 1)] == [23, 2]


# --- ERASER -------------------------------------------------------------------------------------


def eraser_folder(folder: Path, *annotations: dict[str, Any], **texts: str) -> Path:
    (folder / "docs").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")
    return lines(folder / "train.jsonl", *annotations)


def annotation(name: str, *evidences: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "annotation_id": name,
        "classification": "POS",
        "docids": None,
        "evidences": [[evidence] for evidence in evidences],
        "query": "What is the sentiment of this review?",
        "query_type": None,
    } | more


def evidence(name: str, start: int, end: int) -> dict[str, Any]:
    span = {"start_token": start, "end_token": end, "start_sentence": -1, "end_sentence": -1}
    return {"docid": name, "text": "..."} | span


def test_eraser_release(tmp_path: Path) -> None:
    path = eraser_folder(
        tmp_path,
        annotation("r1", evidence("r1", 3, 5), evidence("r1", 2, 4), evidence("r1", 1, 1)),
        annotation("r2", docids=["r2"], classification="NEG"),
        r1=" a  b .\n\nc\u00a0d e .\n",
        r2="f g",
    )
    assert read_documents(path) == [
        Document("r1", ("a", "b", ".", "c\u00a0d", "e", "."), "POS", ((3, 5), (2, 4)), (0, 3)),
        Document("r2", ("f", "g"), "NEG", (), (0,)),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (annotation("r2", evidence("r2", 0, 1)), "line 2: no text 'r2' in "),
        (annotation("r1", evidence("../train.jsonl", 0, 1)), "line 2: no text '../train.jsonl'"),
        (annotation("r2", evidence("r1", 0, 9)), r"line 2: span \[0, 9\) .* has 2 tokens"),
        (annotation("r2", evidence("r1", 0, 1), evidence("r2", 0, 1)), "line 2: speaks of 2 doc"),
        (annotation("r2", evidences=["r1"]), "line 2: 'evidences' must be a list of lists"),
        (annotation("r2", {"docid": "r1"}), r"line 2: \[None, None\] in 'rationale' is not"),
        (annotation("empty"), "line 2: the document has no tokens"),
        (annotation("r2", docids=["r1"], classification=None), "line 2: the label .* is None"),
    ],
)
def test_bad_eraser_release(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    path = eraser_folder(tmp_path, annotation("r1"), row, r1="a b", empty="\n")
    with pytest.raises(UserError, match=rf"train\.jsonl, {told}"):
        read_documents(path)


DOCUMENTS = [
    Document("a/1", ("x", " y", "z"), "neg", ((0, 2), (1, 3)), (0, 2)),
    Document("b", ("u", ""), "pos"),
]


def test_eraser_documents_and_back(tmp_path: Path) -> None:
    write_eraser_documents(tmp_path, "val", DOCUMENTS)
    assert (tmp_path / "docs" / "a%2F1").read_text() == "x _y\nz\n"
    assert (tmp_path / "docs" / "b").read_text() == "u _\n"
    first, second = read_documents(tmp_path / "val.jsonl")
    assert first == Document("a/1", ("x", "_y", "z"), "neg", ((0, 2), (1, 3)), (0, 2))
    assert second == Document("b", ("u", "_"), "pos", (), (0,))
    with pytest.raises(UserError, match="document c: ERASER's form holds classes"):
        write_eraser_documents(tmp_path, "test", [Document("c", ("a",), 0.5)])
    assert not (tmp_path / "test.jsonl").exists()


@pytest.mark.parametrize("name", ["..", ".", "../x", "a\\b", "/etc/x", " "])
def test_eraser_ids_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    write_eraser_documents(tmp_path / "out", "test", [Document(name, ("a",), "pos")])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out" / "docs").iterdir())) == 1
    assert read_documents(tmp_path / "out" / "test.jsonl")[0].id == name


def test_eraser_predictions(tmp_path: Path) -> None:
    half = {"neg": 0.5, "pos": 0.5}
    bins = {0.5: (half, half), 0.01: (half, {"neg": 1.0, "pos": 0.0})}
    faithfulness = [Faithfulness({"neg": 0.4, "pos": 0.6}, half, bins)] * 2
    write_eraser(tmp_path, "test", DOCUMENTS, PREDICTIONS, faithfulness)
    records = [json.loads(line) for line in (tmp_path / "test_predictions.jsonl").open()]
    # The one without spans comes last: ERASER's program takes the first as a sign for all.
    assert [record["annotation_id"] for record in records] == ["b", "a/1"]
    assert records[0] == {
        "annotation_id": "b",
        "rationales": [
            {
                "docid": "b",
                "hard_rationale_predictions": [{"start_token": 1, "end_token": 2}],
                "soft_rationale_predictions": [0.25, 1 / 3],
            }
        ],
        "classification": "pos",
        "classification_scores": half,
        "comprehensiveness_classification_scores": {"neg": 0.4, "pos": 0.6},
        "sufficiency_classification_scores": half,
        "thresholded_scores": [
            {
                "threshold": 0.01,
                "comprehensiveness_classification_scores": half,
                "sufficiency_classification_scores": {"neg": 1.0, "pos": 0.0},
            },
            {
                "threshold": 0.5,
                "comprehensiveness_classification_scores": half,
                "sufficiency_classification_scores": half,
            },
        ],
    }
    assert records[1]["rationales"][0]["docid"] == "a%2F1"
    write_eraser(tmp_path, "test", DOCUMENTS, PREDICTIONS)
    assert "thresholded_scores" not in (tmp_path / "test_predictions.jsonl").read_text()
    amounts = [Rationale(p.id, p.tokens, p.spans, p.scores, 1.0) for p in PREDICTIONS]
    with pytest.raises(UserError, match="document a/1: ERASER's form holds classes"):
        write_eraser(tmp_path, "test", DOCUMENTS, amounts)


def test_reading_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, latentnlp.data.documents, latentnlp.data.eraser;"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
