"""recipes/rationale on a tiny corpus: what each script writes and says; every TOML trains."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from toy_documents import SHORT, SMALL, found_it, options, toy_documents, write, write_corpus

from latentnlp import config as configuration
from latentnlp.data.documents import read_rationales
from latentnlp.tasks.rationale import RationaleConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "rationale"
TOMLS = sorted(RECIPES.glob("*.toml"))
VIEWS = ("rationale only", "complement only", "full text", "random rationale")


class Finished(NamedTuple):
    code: int
    out: str
    err: str


Script = Callable[..., Finished]


def called(capsys: pytest.CaptureFixture[str], name: str, *arguments: str | Path) -> Finished:
    """``called(capsys, "train", "vader.toml", "--out", folder)``, in this process."""
    path = str(RECIPES / f"{name}.py")
    capsys.readouterr()
    before, sys.argv = sys.argv, [path, *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = before
    return Finished(int(stop.value.code or 0), *capsys.readouterr())


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return lambda name, *arguments: called(capsys, name, *arguments)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy")


def test_from_a_corpus_to_a_report(script: Script, corpus: Path, tmp_path: Path) -> None:
    toml, run = tmp_path / "toy.toml", tmp_path / "run"
    toml.write_text(f"[data]\ncorpus = '{corpus}'\n")
    done = script("train", toml, "--out", run, *options(SMALL))
    assert done.code == 0 and f"model saved in {run / 'model'}" in done.err
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert "dev_error" in records[0] and "dev_selected" in records[-1]

    done = script("extract", run, "--show", "2")
    assert done.code == 0 and str(run / "rationales" / "test.jsonl") in done.err
    assert done.out.count("{human}") == 2
    gold = toy_documents(40, seed=3)
    found = read_rationales(run / "rationales" / "test.jsonl")
    assert found_it(found, gold) > 0.7

    done = script("evaluate", run, "--eraser", tmp_path / "eraser")
    assert done.code == 0, done.err
    scores = json.loads((run / "scores.test.json").read_text())
    assert list(scores) == ["rate", "top"]
    right = [one.prediction == document.label for one, document in zip(found, gold, strict=True)]
    for method, record in scores.items():
        assert f"toy, test, 40 documents, decoding by {method}:" in done.out
        assert set(record["task"]) == set(VIEWS)
        for view, score in record["task"].items():
            line = f"{view:16} accuracy {100 * score['accuracy']:.2f}"
            assert line in done.out and score["signature"] in done.out
        for name in ("selection", "faithfulness", "agreement"):
            assert record[name]["documents"] == 40 and record[name]["signature"] in done.out
        probe = record["mask_probe"]
        assert f"mask probe       accuracy {100 * probe['accuracy']:.2f}" in done.out
    own = scores["rate"]
    assert own["task"]["rationale only"]["accuracy"] == sum(right) / 40 > 0.9
    assert own["task"]["random rationale"]["accuracy"] < sum(right) / 40 - 0.1
    assert own["task"]["full text"] == scores["top"]["task"]["full text"]
    # A room that a newcomer can read.
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.json", "data.json", "environment.json", "metrics.jsonl", "model",
        "rationales", "report.html", "scores.test.json", "train.log",
    }  # fmt: skip

    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page
    assert not re.search(r"<(script|link|iframe|img)[^>]+(src|href)=[\"'](?!data:|#)", page)
    for text in ("What the predictor sees", "asked for", "<mark>", own["agreement"]["signature"]):
        assert text in page
    assert "Runs compared" not in page and page.count("<svg") >= 4

    eraser = tmp_path / "eraser"
    names = {path.name for path in eraser.iterdir()}
    assert names == {"docs", "test.jsonl", "test_predictions.jsonl"}
    lines = (eraser / "test_predictions.jsonl").read_text().splitlines()
    predictions = [json.loads(line) for line in lines]
    assert len(predictions) == 40
    for one in predictions:
        assert len(one["thresholded_scores"]) == 5
        assert set(one["classification_scores"]) == {"tree", "meal", "tool", "game"}
    # By ERASER's definitions these files say what was printed: of the class told from the text.
    drops = [
        one["classification_scores"][one["classification"]]
        - one["comprehensiveness_classification_scores"][one["classification"]]
        for one in predictions
    ]
    mean = sum(drops) / len(drops)
    assert mean == pytest.approx(own["faithfulness"]["comprehensiveness"], abs=1e-6)

    # A second run beside the first.
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert script("evaluate", run, "--part", "dev").code == 0
    assert "run evaluate.py on" in script("evaluate", run, "--part", "dev", "--compare", other).err
    assert script("evaluate", run, "--compare", other).code == 0
    page = (run / "report.html").read_text()
    assert "Runs compared" in page and str(other) in page and "leave_one_out" in page


def test_dev_selects_and_test_is_never_read(script: Script, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "toy", 40, 8, 8)
    (data / "test.jsonl").write_text("not a document\n")
    run = tmp_path / "run"
    settings = options([*SMALL, *SHORT, f"data.corpus={data}"])
    assert script("train", RECIPES / "vader.toml", "--out", run, *settings).code == 0
    assert script("extract", run, "--part", "dev").code == 0
    assert script("evaluate", run, "--part", "dev").code == 0
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    scores = json.loads((run / "scores.dev.json").read_text())["rate"]
    accuracy = scores["task"]["rationale only"]["accuracy"]
    assert record["dev_error"] == pytest.approx(1 - accuracy)
    assert record["dev_selected"] == pytest.approx(scores["selection"]["rate_micro"])
    for name in ("extract", "evaluate"):
        done = script(name, run)
        assert done.code == 2 and "test.jsonl, line 1: not JSON" in done.err


def test_amounts_and_no_human_rationales(script: Script, tmp_path: Path) -> None:
    data = tmp_path / "toy"
    data.mkdir()
    for seed, part in enumerate(("train", "test")):
        documents = [
            replace(one, label=float(len(one.id) + n), rationale=None)
            for n, one in enumerate(toy_documents(40, seed))
        ]
        write(data / f"{part}.jsonl", documents)
    run = tmp_path / "run"
    settings = options([*SMALL, *SHORT, f"data.corpus={data}"])
    done = script("train", RECIPES / "vader.toml", "--out", run, *settings)
    assert done.code == 0 and "4 of 40 training documents, drawn by seed 1, are the dev" in done.err
    done = script("evaluate", run)
    assert done.code == 0 and "MSE" in done.out
    for absent in ("agreement", "faithfulness", "mask probe"):
        assert absent not in done.out
    assert "MSE, decoding by top" in (run / "report.html").read_text()
    done = script("evaluate", run, "--eraser", tmp_path / "e")
    assert done.code == 2 and done.err.count("\n") == 1


def test_a_control_for_position(script: Script, tmp_path: Path) -> None:
    """A selector that reads single words chooses them wherever their sentence stands."""
    data, toml, run = tmp_path / "toy", tmp_path / "toy.toml", tmp_path / "run"
    data.mkdir()
    for seed, part in enumerate(("train", "dev", "test"), start=1):
        documents = toy_documents(40, seed)
        write(data / f"{part}.jsonl", [replace(one, sentence_starts=(0, 2)) for one in documents])
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    assert script("train", toml, "--out", run, *options(SMALL)).code == 0
    assert script("evaluate", run).code == 0
    report = (run / "report.html").read_bytes()
    done = script("evaluate", run, "--shuffle-sentences")
    assert done.code == 0 and "toy, test, sentences shuffled, 40 documents" in done.out
    assert (run / "report.html").read_bytes() == report and (run / "report.shuffled.html").exists()
    plain, shuffled = (
        json.loads((run / f"scores.{name}.json").read_text())["rate"]
        for name in ("test", "test.shuffled")
    )
    assert shuffled["selection"]["rate_micro"] == plain["selection"]["rate_micro"]
    assert shuffled["agreement"]["f1"] == pytest.approx(plain["agreement"]["f1"])
    assert shuffled["mask_probe"] != plain["mask_probe"]  # the words stand elsewhere


def test_what_is_missing_is_said(script: Script, tmp_path: Path) -> None:
    def message(*arguments: str | Path) -> str:
        code, out, err = script(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        return err

    toml, run = tmp_path / "toy.toml", tmp_path / "run"
    toml.write_text(f"[data]\ncorpus = '{tmp_path / 'toy'}'\n")
    assert "train.jsonl: no such file: make the corpus" in message("train", toml, "--out", run)
    toml.write_text("seed = 1\n")
    assert "nothing to train on" in message("train", toml, "--out", run)
    assert not run.exists()
    for name in ("extract", "evaluate"):
        assert "not a run directory" in message(name, run)
    data = write_corpus(tmp_path / "toy", 40, 0, 0)
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    assert script("train", toml, "--out", run, *options([*SMALL, *SHORT])).code == 0
    for name in ("extract", "evaluate"):
        assert "test.jsonl: no such file" in message(name, run)
    (run / "config.json").write_text("{")
    assert "config.json: damaged" in message("evaluate", run)


@pytest.mark.parametrize("toml", TOMLS, ids=lambda path: path.stem)
def test_every_toml_is_strict_and_trains(script: Script, tmp_path: Path, toml: Path) -> None:
    """As it stands it loads; cut down to an epoch a stage, on a toy corpus, it trains."""
    config = configuration.load(RationaleConfig, toml)
    assert config.data.corpus.startswith("data/")
    data = write_corpus(tmp_path / "toy", 24, 8, 8)
    if config.data.extra:
        write(data / config.data.extra, toy_documents(16, seed=9, words=2))
    sizes = ("model.embedding=8", "predictor.documents=8", "rationale.documents=8")
    settings = options([*sizes, *SHORT, f"data.corpus={data}"])
    done = script("train", toml, "--out", tmp_path / "run", *settings)
    assert done.code == 0, done.err
    assert script("extract", tmp_path / "run").code == 0
    assert len(read_rationales(tmp_path / "run" / "rationales" / "test.jsonl")) == 8


def test_there_are_recipes() -> None:
    names = {toml.stem for toml in TOMLS}
    assert {"vader", "sst5", "sst2", "movies", "aste_14lap", "imdb"} <= names
