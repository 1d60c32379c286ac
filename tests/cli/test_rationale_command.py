"""`latentnlp rationale train|extract` and `evaluate rationale` on texts that one word decides."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import Command, Refused, fill
from toy_documents import (
    FAST,
    SHORT,
    amounts,
    found_it,
    options,
    toy_documents,
    write,
    write_corpus,
)

from latentnlp.cli import main
from latentnlp.data.documents import Document, Rationale, document_record, read_rationales
from latentnlp.data.eraser import write_eraser_documents

QUICK = [*FAST, *options(SHORT)]
GOLD = toy_documents(40, seed=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    data, run = write(folder / "train.jsonl", toy_documents(180)), folder / "run"
    assert main(["rationale", "train", data, "--out", str(run), "--quiet", *FAST]) == 0
    return run


@pytest.fixture
def gold(tmp_path: Path) -> str:
    return write(tmp_path / "gold.jsonl", GOLD)


def rows(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def changed(number: int, **values: Any) -> list[dict[str, Any]]:
    """Records of 20 documents, one of them with other values; a None takes the key away."""
    records = [dict(document_record(document)) for document in toy_documents(20)]
    records[number] = {k: v for k, v in (records[number] | values).items() if v is not None}
    return records


# --- what it learns, and what it writes -----------------------------------------------------------


def test_from_documents_to_scores(
    latentnlp: Command, trained: Path, gold: str, tmp_path: Path
) -> None:
    log = (trained / "train.log").read_text()
    assert "no dev set was given: 16 of 180 training documents, drawn by seed 1, are the dev" in log
    assert sorted(path.name for path in trained.iterdir()) == [
        "checkpoints", "config.json", "data.json", "environment.json", "metrics.jsonl", "model",
        "train.log",
    ]  # fmt: skip

    done = latentnlp("rationale", "extract", trained, gold)
    assert (done.code, done.err) == (0, "")
    out = tmp_path / "deep" / "r.jsonl"
    assert latentnlp("rationale", "extract", trained, gold, "-o", out) == (0, "", "")
    assert out.read_text() == done.out
    found = read_rationales(out)
    assert [one.id for one in found] == [document.id for document in GOLD]
    assert found_it(found, GOLD) > 0.7
    right = sum(one.prediction == document.label for one, document in zip(found, GOLD, strict=True))
    assert right >= 36
    for one in found:
        assert one.probabilities is not None and one.units is None
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(one.probabilities, key=one.probabilities.__getitem__) == one.prediction

    done = latentnlp("evaluate", "rationale", out, gold)
    assert done.code == 0
    assert [line.split()[0] for line in done.lines] == ["task", "selection", "agreement"]
    assert f"accuracy {100 * right / 40:.2f}" in done.lines[0] and "docs:40" in done.lines[0]
    scores = json.loads(latentnlp("evaluate", "rationale", out, gold, "--json").out)
    assert scores["task"]["accuracy"] == right / 40
    selected = sum(end - start for one in found for start, end in one.spans)
    assert scores["selection"]["rate_micro"] == pytest.approx(selected / 200)
    assert scores["agreement"]["human"] == 40 and scores["agreement"]["f1"] > 0.4

    done = latentnlp("evaluate", "rationale", out, gold, "--model", trained)
    names = [
        "rationale only", "complement only", "full text", "random rationale", "selection",
        "faithfulness", "agreement",
    ]  # fmt: skip
    assert [line[:16].rstrip() for line in done.lines] == names
    record = json.loads(
        latentnlp("evaluate", "rationale", out, gold, "--model", trained, "--json").out
    )
    assert record["task"]["rationale only"]["accuracy"] == right / 40
    assert record["task"]["rationale only"]["accuracy"] > 0.2 + max(
        record["task"][view]["accuracy"] for view in ("complement only", "random rationale")
    )
    assert record["agreement"] == scores["agreement"]


def test_a_model_judges_what_another_selected(
    latentnlp: Command, trained: Path, gold: str, tmp_path: Path
) -> None:
    """With --model the rationales are those of the file, not the model's own."""
    right = [
        Rationale(one.id, one.tokens, one.rationale or (), (0.5,) * len(one.tokens), "tree")
        for one in GOLD
    ]
    others = [replace(one, spans=()) for one in right]
    accuracy = []
    for name, found in (("right", right), ("nothing", others)):
        from latentnlp.data.documents import write_rationales

        write_rationales(tmp_path / name, found)
        arguments = (tmp_path / name, gold, "--model", trained, "--json")
        record = json.loads(latentnlp("evaluate", "rationale", *arguments).out)
        accuracy.append(record["task"]["rationale only"]["accuracy"])
    assert accuracy[0] > 0.9 and accuracy[1] == 0.25


def test_training_again_goes_on(latentnlp: Command, tmp_path: Path) -> None:
    """The same command twice trains once; other settings or labels are refused there."""
    data, dev = write(tmp_path / "t.jsonl", toy_documents(40)), write(tmp_path / "d.jsonl", GOLD)
    train = ["rationale", "train", data, "--dev", dev, "--out", tmp_path / "run", *QUICK]
    done = latentnlp(*train)
    assert done.code == 0 and "dev_error" in done.err and "no dev set" not in done.err
    names = ("metrics.jsonl", "model/tensors.safetensors", "model/state.json")
    before = [(tmp_path / "run" / name).read_bytes() for name in names]
    done = latentnlp(*train)
    assert done.code == 0 and "is done already" in done.err
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == before
    done = latentnlp(*train, "--rate", "0.4")
    assert done.code == 2 and "rationale.learner.rate (0.3 there, 0.4 here)" in done.err
    write(tmp_path / "t.jsonl", toy_documents(40, seed=3))
    done = latentnlp(*train)
    assert done.code == 2 and "the text has changed" in done.err


def test_a_folder_of_data_prep(latentnlp: Command, tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "toy", 40, 8, 8)
    done = latentnlp("rationale", "train", folder, "--out", tmp_path / "run", *QUICK)
    assert done.code == 0 and "no dev set" not in done.err and "dev_error" in done.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["corpus"] == str(folder) and config["data"]["train"] == ""
    (folder / "train.jsonl").unlink()
    done = latentnlp("rationale", "train", folder, "--out", tmp_path / "other", *QUICK)
    assert done.code == 2 and "train.jsonl: no such file" in done.err


def test_raw_text(
    latentnlp: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All forms of the same texts, with no labels or with some, give the same rationales."""
    texts = [" ".join(document.tokens) for document in GOLD[:6]]
    (tmp_path / "new.txt").write_text("".join(text + "\n" for text in texts))
    found = latentnlp("rationale", "extract", trained, tmp_path / "new.txt").out
    assert [json.loads(line)["id"] for line in found.splitlines()] == list("123456")

    def extracted(path: Path | str, *arguments: str) -> str:
        done = latentnlp("rationale", "extract", trained, path, *arguments)
        assert (done.code, done.err) == (0, ""), done.err
        return done.out

    records = [{"text": text, "label": None} for text in texts]
    records[2]["label"] = "meal"
    assert extracted(rows(tmp_path / "n.jsonl", *records)) == found
    named = rows(tmp_path / "m.jsonl", *({"body": text} for text in texts))
    assert extracted(named, "--text-column", "body") == found
    table = "text\tlabel\n" + "".join(f"{text}\t\n" for text in texts)
    (tmp_path / "n.tsv").write_text(table)
    assert extracted(tmp_path / "n.tsv") == found
    (tmp_path / "n.csv.gz").write_bytes(gzip.compress(table.replace("\t", ",").encode()))
    assert extracted(tmp_path / "n.csv.gz") == found

    class Stdin:
        buffer = io.BytesIO((tmp_path / "new.txt").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert extracted("-", "--input-format", "txt") == found
    # Punctuation and upper case are read as in training; words that were never seen are read too.
    shouted = tmp_path / "shouted.txt"
    shouted.write_text("Qqq RICE, zzz!\n")
    assert json.loads(extracted(shouted))["tokens"] == ["Qqq", "RICE", ",", "zzz", "!"]


def test_ways_to_decode(latentnlp: Command, trained: Path, gold: str) -> None:
    def selected(*arguments: str) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in latentnlp("rationale", "extract", trained, gold, *arguments).lines
        ]

    def size(one: dict[str, Any]) -> int:
        return sum(end - start for start, end in one["rationale"])

    top, half = selected("--decode", "top"), selected("--decode", "half")
    assert {size(one) for one in top} == {2}  # 0.3 of five words is one and a half
    for one in half:
        assert size(one) == max(1, sum(score > 0.5 for score in one["scores"]))
    assert selected("--decode", "rate") == selected()
    assert [one["scores"] for one in top] == [one["scores"] for one in half]


def test_highlighted_texts(latentnlp: Command, trained: Path, gold: str, tmp_path: Path) -> None:
    aside = latentnlp("rationale", "extract", trained, gold, "--show", "2")
    assert len(aside.lines) == 40 and aside.err.count("{human}") == 2
    out = tmp_path / "r.jsonl"
    done = latentnlp("rationale", "extract", trained, gold, "--show", "3", "-o", out)
    assert done.err == "" and done.out.count("{human}") == 3
    assert "\x1b" not in done.out and "[{" in done.out  # no terminal, no colours
    assert len(out.read_text().splitlines()) == 40


def test_eraser_format(latentnlp: Command, trained: Path, gold: str, tmp_path: Path) -> None:
    done = latentnlp(
        "rationale", "extract", trained, gold, "--format", "eraser", "-o", tmp_path / "e"
    )
    assert (done.code, done.out) == (0, "")
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert names == {"docs", "test.jsonl", "test_predictions.jsonl"}
    plain = {
        one["id"]: one
        for one in map(json.loads, latentnlp("rationale", "extract", trained, gold).lines)
    }
    for line in (tmp_path / "e" / "test_predictions.jsonl").read_text().splitlines():
        record = json.loads(line)
        one = plain.pop(record["annotation_id"])
        assert record["classification"] == one["prediction"]
        spans = record["rationales"][0]["hard_rationale_predictions"]
        assert [[span["start_token"], span["end_token"]] for span in spans] == one["rationale"]
    assert not plain
    # ERASER's own form is read as well.
    write_eraser_documents(tmp_path / "theirs", "test", GOLD)
    again = latentnlp("rationale", "extract", trained, tmp_path / "theirs" / "test.jsonl")
    assert again.code == 0
    assert [json.loads(line)["tokens"] for line in again.lines] == [list(d.tokens) for d in GOLD]
    (tmp_path / "r.jsonl").write_text(again.out)
    scores = [
        json.loads(latentnlp("evaluate", "rationale", tmp_path / "r.jsonl", place, "--json").out)
        for place in (gold, tmp_path / "theirs" / "test.jsonl")
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("unit", ["block", "sentence"])
def test_larger_units(latentnlp: Command, unit: str, tmp_path: Path) -> None:
    """What is selected is whole units; a text that was cut is said and scored."""
    long = [replace(one, tokens=(*one.tokens, ".", "bo", "ba", ".")) for one in toy_documents(40)]
    data, run = write(tmp_path / "t.jsonl", long), tmp_path / "run"
    more = options(["text.block=3", "text.max_length=8", "rationale.learner.rate=0.5"])
    done = latentnlp("rationale", "train", data, "--out", run, "--unit", unit, *QUICK, *more)
    assert done.code == 0 and "were cut to 8 words" in (run / "train.log").read_text()
    out = tmp_path / "r.jsonl"
    done = latentnlp("rationale", "extract", run, data, "-o", out, "--show", "40")
    assert done.code == 0
    told = "40 of 40 documents are read only up to word 8, as in training"
    assert done.err == f"latentnlp: {told}\n"
    units = ((0, 3), (3, 6), (6, 8)) if unit == "block" else ((0, 6), (6, 8))
    edges = {0, *(end for _, end in units)}
    found = read_rationales(out)
    for one in found:
        assert one.units == units and len(one.tokens) == 8
        assert {edge for span in one.spans for edge in span} <= edges
        assert all(len(set(one.scores[start:end])) == 1 for start, end in units)
    assert len({one.spans for one in found}) > 1
    for more in ([], ["--model", run]):
        done = latentnlp("evaluate", "rationale", out, data, *more, "--json")
        assert done.code == 0 and json.loads(done.out)["agreement"]["tokens"] == 9 * 40
    folder = tmp_path / "e"
    assert (
        latentnlp("rationale", "extract", run, data, "--format", "eraser", "-o", folder).code == 0
    )


def test_amounts(latentnlp: Command, tmp_path: Path) -> None:
    data, new = (
        write(tmp_path / name, amounts(toy_documents(120 if seed == 1 else 40, seed)))
        for seed, name in ((1, "t.jsonl"), (2, "n.jsonl"))
    )
    run, out = tmp_path / "run", tmp_path / "r.jsonl"
    done = latentnlp("rationale", "train", data, "--out", run, "--quiet", *FAST)
    assert done.code == 0
    assert latentnlp("rationale", "extract", run, new, "-o", out).code == 0
    found = read_rationales(out)
    assert all(isinstance(one.prediction, float) and one.probabilities is None for one in found)
    scores = json.loads(latentnlp("evaluate", "rationale", out, new, "--json").out)
    assert scores["task"]["mse"] < 0.7 * scores["task"]["variance"]
    done = latentnlp("evaluate", "rationale", out, new, "--model", run)
    assert done.code == 0 and done.lines[0].startswith("rationale only   MSE ")
    assert not any(line.startswith(("faithfulness", "mask")) for line in done.lines)
    # Whole numbers are classes, unless one says that they are amounts.
    few = rows(tmp_path / "few.jsonl", *(
        {"tokens": list(one.tokens), "label": number % 3}
        for number, one in enumerate(toy_documents(24))
    ))  # fmt: skip
    for task, kind in (("auto", str), ("regression", float)):
        run = tmp_path / task
        train = ["rationale", "train", few, "--out", run, "--quiet", *QUICK, "--task", task]
        assert latentnlp(*train).code == 0
        assert latentnlp("rationale", "extract", run, few, "-o", out).code == 0
        assert isinstance(read_rationales(out)[0].prediction, kind)


def test_several_aspects(latentnlp: Command, tmp_path: Path) -> None:
    """Each training has one aspect's labels and finds the words of that aspect."""
    records, others = [], toy_documents(160, 6)
    random.Random(1).shuffle(others)
    for look, taste in zip(toy_documents(160, 5), others, strict=True):
        tokens = [f"look-{word}" for word in look.tokens] + [
            f"taste-{word}" for word in taste.tokens
        ]
        assert look.rationale and taste.rationale
        why_taste = [[start + 5, end + 5] for start, end in taste.rationale]
        records.append(
            {"tokens": tokens, "look": look.label, "why_look": look.rationale}
            | {"taste": taste.label, "why_taste": why_taste}
        )
    data = rows(tmp_path / "t.jsonl", *records)
    f1 = {}
    for aspect, other in (("look", "taste"), ("taste", "look")):
        run, out = tmp_path / aspect, tmp_path / f"{aspect}.jsonl"
        column = ["--label-column", aspect]
        train = ["rationale", "train", data, "--out", run, *column, "--rate", "0.15", "--quiet"]
        assert latentnlp(*train, *FAST).code == 0
        assert latentnlp("rationale", "extract", run, data, "-o", out, *column).code == 0
        for why in (aspect, other):
            evaluate = ["evaluate", "rationale", out, data, *column, "--json"]
            done = latentnlp(*evaluate, "--rationale-column", f"why_{why}")
            assert done.code == 0, done.err
            f1[aspect, why] = json.loads(done.out)["agreement"]["f1"]
    for aspect, other in (("look", "taste"), ("taste", "look")):
        assert f1[aspect, aspect] > 0.15 + f1[aspect, other], f1


def test_help_is_light() -> None:
    code = """
import sys
from latentnlp.cli import main
for arguments in (["rationale"], ["rationale", "train"], ["rationale", "extract"],
                  ["evaluate", "rationale"]):
    try:
        main([*arguments, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
heavy = {"torch", "numpy", "safetensors", "tqdm", "latentnlp.data.documents"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for word in ("--rate", "--show", "--rationale-column", "PREDICTED"):
        assert word in done.stdout


# --- bad input ------------------------------------------------------------------------------------


@pytest.fixture
def train_refused(refused: Refused, tmp_path: Path) -> Callable[..., str]:
    """Train on bad input: no model appears."""

    def run(*arguments: str | Path) -> str:
        out = tmp_path / "fresh"
        message = refused("rationale", "train", *arguments, "--out", out, "--quiet", *QUICK)
        assert not (out / "model").exists()
        return message

    return run


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (changed(3, tokens=[]), "line 4: the document has no tokens"),
        (
            changed(3, rationale=[[4, 6]]),
            "line 4: span [4, 6) in 'rationale' is empty or lies outside",
        ),
        (changed(3, label=float("nan")), "line 4: the label ('label') is nan"),
        (changed(3, label=None), "line 4: has no column or key 'label' with the label"),
        (changed(3, label=7), "line 4: the label 7 and the label 'tree' of"),
        (changed(0, label=7), "line 2: the label 'meal' and the label 7 of"),
        (changed(3, id="1.0"), "line 4: id '1.0' was used before"),
        ([one | {"label": "tree"} for one in changed(0)], "all texts have the label 'tree'"),
        ([one | {"label": 0.5} for one in changed(0)], "all texts have the label 0.5"),
        ([], "holds no document"),
    ],
)
def test_bad_documents(
    train_refused: Callable[..., str], records: list[dict[str, Any]], told: str, tmp_path: Path
) -> None:
    data = rows(tmp_path / "bad.jsonl", *records)
    message = train_refused(data)
    assert message.startswith(data) and told in message


def test_labels_of_dev_that_training_has_not(
    train_refused: Callable[..., str], tmp_path: Path
) -> None:
    data = rows(tmp_path / "t.jsonl", *changed(0))
    for label, told in (("sport", "'sport' is not among the classes"), (1, "of mixed types")):
        dev = rows(tmp_path / "d.jsonl", *changed(2, label=label))
        message = train_refused(data, "--dev", dev)
        assert message.startswith(f"{dev}, line 3: the label ") and told in message
    half = write(tmp_path / "half.jsonl", amounts(toy_documents(8)))
    assert "is not a number" in train_refused(half, "--dev", data)


def test_columns_that_are_not_there(train_refused: Callable[..., str], tmp_path: Path) -> None:
    data = rows(tmp_path / "t.jsonl", *changed(0))
    message = train_refused(data, "--label-column", "stars")
    assert message.startswith(f"{data}, line 1: has no column or key 'stars' with the label")
    assert "no column or key 'body'" in train_refused(data, "--text-column", "body")
    (tmp_path / "t.txt").write_text("a film\n")
    assert "line 1: has no column or key 'label'" in train_refused(tmp_path / "t.txt")
    assert train_refused(tmp_path / "no.jsonl") == f"{tmp_path / 'no.jsonl'}: no such file"


def test_bad_settings(train_refused: Callable[..., str], refused: Refused, tmp_path: Path) -> None:
    data = rows(tmp_path / "t.jsonl", *changed(0))
    for arguments, told in (
        (["--rate", "1.5"], "rate = 1.5 is not between 0 and 1"),
        (["--set", "text.unti=word"], "unknown key 'text.unti'; did you mean 'unit'?"),
        (["--set", "model.selection=kumaraswamy"], "go together"),
        (["--set", "rationale.learner.estimator.name=reinforce"], "there is no estimator"),
        (["--seed", "-1"], "seed = -1 is below 0"),
        (["--threads", "0"], "needs at least one thread"),
    ):
        assert told in train_refused(data, *arguments)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for place in (tmp_path / "photos", data):
        message = refused("rationale", "train", data, "--out", place, *QUICK)
        assert message.startswith(f"{place}: is") and "not a run directory" in message


def test_what_is_no_model(refused: Refused, gold: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "absent", gold):
        assert "holds no rationale model" in refused("rationale", "extract", place, gold)
    write(tmp_path / "r.jsonl", GOLD)


def test_a_model_of_another_kind(
    refused: Refused, latentnlp: Command, trained: Path, gold: str, tmp_path: Path
) -> None:
    for name in ("s", "t"):
        (tmp_path / name).write_text("a b\nc\n")
    text = [tmp_path / "s", tmp_path / "t"]
    aligner = tmp_path / "aligner"
    small = ["--set", "em.ibm1_epochs=1", "--set", "em.epochs=1"]
    small += ["--set", "model.counts.mean=unigram"]
    assert latentnlp("align", *text, "--model", aligner, "--quiet", *small).code == 0
    assert "not a rationale model" in refused("rationale", "extract", aligner, gold)
    assert "holds a run of another configuration" in refused(
        "rationale", "train", gold, "--out", aligner, "--quiet"
    )
    assert "not an alignment model" in refused("align", *text, "--model", trained, "--quiet")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.update(kind="other"), "not a rationale model"),
        (lambda state: state.update(model_version=99), "written by a newer latentnlp"),
        (lambda state: state.pop("labels"), "damaged"),
        (lambda state: state["words"].pop(), "damaged"),
        (lambda state: state["weights"].popitem(), "damaged"),
        (lambda state: state["text"].update(unit="letter"), "'unit' must be one of"),
    ],
)
def test_a_damaged_model(
    refused: Refused, trained: Path, gold: str, tmp_path: Path, change: Any, told: str
) -> None:
    model = Path(shutil.copytree(trained / "model", tmp_path / "model"))
    document = json.loads((model / "state.json").read_text())
    change(document["state"])
    (model / "state.json").write_text(json.dumps(document))
    message = refused("rationale", "extract", model, gold)
    assert message.startswith(str(model)) and told in message


def test_texts_that_cannot_be_extracted_from(
    refused: Refused, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.jsonl"

    def message(*records: dict[str, Any]) -> str:
        data = rows(tmp_path / "new.jsonl", {"text": "a"}, *records)
        told = refused("rationale", "extract", trained, data, "-o", out)
        assert told.startswith(f"{data}, line 2: ") and not out.exists()
        return told

    assert "the document has no tokens" in message({"text": " "})
    assert "is not among the classes that the model knows" in message({"text": "a", "label": "x"})
    assert "has no column or key 'text'" in message({"body": "a"})
    (tmp_path / "new.txt").write_bytes(b"a\n\xff\n")
    told = refused("rationale", "extract", trained, tmp_path / "new.txt", "-o", out)
    assert "line 2, byte 1: not valid UTF-8" in told
    gold = write(tmp_path / "g.jsonl", GOLD)
    assert "-o FOLDER" in refused("rationale", "extract", trained, gold, "--format", "eraser")
    below = Path(gold) / "r.jsonl"
    assert "cannot be written" in refused("rationale", "extract", trained, gold, "-o", below)


def test_files_that_do_not_belong_together(
    refused: Refused, latentnlp: Command, trained: Path, gold: str, tmp_path: Path
) -> None:
    out = tmp_path / "r.jsonl"
    assert latentnlp("rationale", "extract", trained, gold, "-o", out).code == 0
    short = write(tmp_path / "short.jsonl", GOLD[:-1])
    other = write(tmp_path / "other.jsonl", [GOLD[1], GOLD[0], *GOLD[2:]])
    labelled = write(tmp_path / "l.jsonl", [*GOLD[:-1], replace(GOLD[-1], label="sport")])
    without = write(tmp_path / "w.jsonl", [*GOLD[:-1], replace(GOLD[-1], label=None)])
    number = write(tmp_path / "n.jsonl", amounts(GOLD))
    for model in ([], ["--model", trained]):
        evaluate = ["evaluate", "rationale", out]
        told = refused(*evaluate, short, *model)
        assert told.startswith(f"{out} has 40 documents but {short} has 39: ")
        told = refused(*evaluate, other, *model)
        assert told.startswith(f"{out}, document 1 (2.0): its tokens are not those of document 1")
        told = refused(*evaluate, labelled, *model)
        assert told.startswith(f"{labelled}, line 40: the label 'sport' is not among the classes")
        assert f"{without}, line 40: has no column or key 'label'" in refused(*evaluate, without)
        assert "'-2' is not among the classes" in refused(*evaluate, number, *model)
    assert "line 1: has no 'rationale'" not in refused("evaluate", "rationale", gold, gold)
    assert "holds no rationale model" in refused(*evaluate, gold, "--model", tmp_path)


def test_the_disk_is_full(
    refused: Refused, latentnlp: Command, trained: Path, gold: str, small_disk: Path
) -> None:
    """It stops with a line that says so; with room, the same command goes on and ends well."""
    filler = fill(small_disk, leave=30_000)
    run = small_disk / "run"
    train = ["rationale", "train", gold, "--out", run, "--quiet", *QUICK]
    message = refused(*train)
    assert str(run) in message and "No space left" in message and "disk full?" in message
    assert not (run / "model").exists()
    filler.unlink()
    assert latentnlp(*train).code == 0
    fill(small_disk, leave=0)
    out = small_disk / "r.jsonl"
    message = refused("rationale", "extract", trained, gold, "-o", out)
    assert message.startswith(f"{out}: cannot be written: No space left")
    assert not out.exists()


def test_an_empty_text_with_no_document(refused: Refused, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("")
    message = refused("rationale", "extract", trained, tmp_path / "new.txt")
    assert message == f"{tmp_path / 'new.txt'}: holds no document"


def test_one_word(latentnlp: Command, trained: Path, tmp_path: Path) -> None:
    """The shortest text there is, and one with more words than any of training."""
    write(tmp_path / "n.jsonl", [Document("a", ("rice",)), Document("b", ("bo",) * 400)])
    done = latentnlp("rationale", "extract", trained, tmp_path / "n.jsonl")
    assert done.code == 0
    assert [len(json.loads(line)["scores"]) for line in done.lines] == [1, 400]
