"""recipes/topics on a tiny corpus: what each script writes and says; every TOML trains."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from toy_topics import QUICK, SMALL, options, subjects_of, toy_records, write, write_corpus

from latentnlp import config as configuration
from latentnlp.cli import main
from latentnlp.tasks.topics import TopicsConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "topics"
TOMLS = sorted(RECIPES.glob("*.toml"))


class Finished(NamedTuple):
    code: int
    out: str
    err: str


Script = Callable[..., Finished]


def called(capsys: pytest.CaptureFixture[str], name: str, *arguments: str | Path) -> Finished:
    """``called(capsys, "train", "ap.toml", "--out", folder)``, in this process."""
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


def test_from_a_corpus_to_a_report(script: Script, tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path / "toy"), tmp_path / "run"
    toml = tmp_path / "toy.toml"
    toml.write_text(f"[data]\ncorpus = '{corpus}'\n")
    done = script("train", toml, "--out", run, *options(SMALL))
    assert done.code == 0 and f"model saved in {run / 'model'}" in done.err
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert "dev_perplexity" in record and "dev_elbo_perplexity" in record

    done = script("extract", run)
    assert done.code == 0 and str(run / "codes" / "test.jsonl") in done.err
    codes = [json.loads(line) for line in (run / "codes" / "test.jsonl").read_text().splitlines()]
    assert [one["id"] for one in codes] == [one["id"] for one in toy_records(60, seed=3)]
    assert script("extract", run, "--part", "dev", "--format", "npz").code == 0
    with np.load(run / "codes" / "dev.npz", allow_pickle=False) as arrays:
        assert arrays["codes"].shape == (30, 6)
    header, *rows = (run / "topics.tsv").read_text().splitlines()
    assert header.split("\t") == ["layer", "unit", "state", "share", "words"]
    assert len(subjects_of([row.split("\t")[4].split() for row in rows])) >= 2

    done = script("evaluate", run, "--samples", "20")
    assert done.code == 0, done.err
    scores = json.loads((run / "scores.test.json").read_text())
    assert "toy, test, 60 documents:" in done.out and str(run / "report.html") in done.out
    for name, score in scores.items():
        assert name in done.out and score["signature"] in done.out
    assert {"elbo", "bound", "completion", "units", "retrieval", "linear probe"} <= set(scores)
    assert scores["bound"]["samples"] == 20 and scores["retrieval"]["database"] == 180
    done = script("evaluate", run, "--samples", "20", "--json")
    assert json.loads(done.out) == scores
    # A room that a newcomer can read.
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "codes", "config.json", "data.json", "environment.json", "metrics.jsonl",
        "model", "report.html", "scores.test.json", "topics.tsv", "train.log",
    }  # fmt: skip

    page = (run / "report.html").read_text()
    assert "http://" not in page and "https://" not in page
    assert not re.search(r"<(script|link|iframe|img)[^>]+(src|href)=[\"'](?!data:|#)", page)
    known = ("Topics: toy, test", "From layer to layer", "Map of the documents", "Dreams")
    for text in (*known, "importance-weighted bound", "Layer 2: ", scores["bound"]["signature"]):
        assert text in page
    assert page.count("</path>") == 60  # each document, with its title


def test_published_halves_are_completed(
    script: Script, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, run = write_corpus(tmp_path / "toy", 60, 20, 8), tmp_path / "run"
    settings = [*QUICK, *options([f"data.corpus={data}"])]
    assert script("train", "--out", run, *settings).code == 0

    def scores() -> dict[str, Any]:
        done = script("evaluate", run, "--samples", "5", "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    drawn = scores()
    assert "|log-p:completion|" in drawn["completion"]["signature"]
    texts = [one["text"].split() for one in toy_records(8, seed=3)]
    for name, start in (("test_half1", 0), ("test_half2", 1)):
        write(data / f"{name}.jsonl", [{"text": " ".join(text[start::2])} for text in texts])
    found = scores()
    assert "|log-p:completion-of-published-halves|" in found["completion"]["signature"]
    assert found["completion"]["tokens"] == sum(len(text[1::2]) for text in texts)
    assert found["bound"] == drawn["bound"] and found["completion"] != drawn["completion"]
    command = ["evaluate", "topics", str(run), str(data), "--samples", "5", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["completion"] == found["completion"]
    write(data / "test_half2.jsonl", toy_records(7))
    assert main(command) == 2
    assert "halves are 8 and 7 documents, but there are 8" in capsys.readouterr().err


def test_dev_selects_and_test_is_never_read(script: Script, tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "toy", 60, 20, 8)
    (data / "test.jsonl").write_text("not a document\n")
    run = tmp_path / "run"
    settings = [*QUICK, *options([f"data.corpus={data}"])]
    assert script("train", "--out", run, *settings).code == 0
    assert script("extract", run, "--part", "dev").code == 0
    assert script("evaluate", run, "--part", "dev", "--samples", "5").code == 0
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    scores = json.loads((run / "scores.dev.json").read_text())
    # Of other draws: the same model, and the same documents.
    assert record["dev_perplexity"] == pytest.approx(scores["bound"]["per_document"], rel=0.05)
    assert scores["bound"]["documents"] == 20
    for name in ("extract", "evaluate"):
        done = script(name, run)
        assert done.code == 2 and "test.jsonl, line 1: not JSON" in done.err


def test_what_is_missing_is_said(script: Script, tmp_path: Path) -> None:
    def message(*arguments: str | Path) -> str:
        code, out, err = script(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        return err

    toml, run = tmp_path / "toy.toml", tmp_path / "run"
    toml.write_text(f"[data]\ncorpus = '{tmp_path / 'toy'}'\n")
    assert "make it with a script of data_prep" in message("train", toml, "--out", run)
    toml.write_text("seed = 1\n")
    assert "nothing to train on" in message("train", toml, "--out", run)
    assert not run.exists()
    for name in ("extract", "evaluate"):
        assert "not a run directory" in message(name, run)
    data = write_corpus(tmp_path / "toy", 60, 0, 0)
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    assert script("train", toml, "--out", run, *QUICK).code == 0
    for name in ("extract", "evaluate"):
        assert "holds no test; there are: train" in message(name, run)
    (run / "config.json").write_text("{")
    assert "config.json: damaged" in message("evaluate", run)


@pytest.mark.parametrize("toml", TOMLS, ids=lambda path: path.stem)
def test_every_toml_is_strict_and_trains(script: Script, tmp_path: Path, toml: Path) -> None:
    """As it stands it loads; cut down to an epoch of a small model, on a toy corpus, it trains."""
    config = configuration.load(TopicsConfig, toml)
    assert config.data.corpus.startswith("data/")
    data = write_corpus(tmp_path / "toy", 40, 10, 8)
    layers = [4, 2][: len(config.model.belief_network.layers)]
    sizes = (
        "text.min_documents=1", "text.max_size=none", "learning.epochs=1", "learning.documents=10",
        "learning.dev_samples=2", f"model.belief_network.layers={layers}", "model.lda.topics=3",
        "model.nvdm.topics=3", "model.nvdm.hidden=8", f"data.corpus={data}",
    )  # fmt: skip
    run = tmp_path / "run"
    done = script("train", toml, "--out", run, "--quiet", *options(sizes))
    assert done.code == 0, done.err
    assert script("extract", run).code == 0
    assert len((run / "codes" / "test.jsonl").read_text().splitlines()) == 8
    done = script("evaluate", run, "--samples", "2")
    assert done.code == 0, done.err


def test_there_are_recipes() -> None:
    names = {toml.stem for toml in TOMLS}
    assert {"new_testament", "20ng_miao2000", "20ng_prodlda1994", "20ng_etm3072"} <= names
    assert {"ap", "bbc", "reuters8", "dblp", "20ng_hub"} <= names
    assert {f"20ng_miao2000_{name}" for name in ("wake_sleep", "lda", "nvdm", "vimco")} <= names
