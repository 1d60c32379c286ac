"""recipes/alignment on a tiny corpus: what each script writes and says; every TOML trains."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from toy_corpus import ToyCorpus, toy_corpus

from latentnlp import config as configuration
from latentnlp.tasks.alignment import AlignmentConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "alignment"
TOMLS = sorted(RECIPES.glob("*.toml"))
SHORT = (
    "em.ibm1_epochs=1",
    "em.epochs=1",
    "lexicon.rounds=1",
    "lexicon.first_epochs=1",
    "lexicon.epochs=1",
    "lexicon.em_epochs=1",
    "marginal.epochs=1",
)


class Finished(NamedTuple):
    code: int
    out: str
    err: str


Script = Callable[..., Finished]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """``script("train", "bible.toml", "--out", folder)``, in this process."""

    def call(name: str, *arguments: str | Path) -> Finished:
        path = str(RECIPES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name="__main__")
        return Finished(int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def corpus() -> ToyCorpus:
    return toy_corpus(100, words=20)


def test_from_a_corpus_to_a_report(script: Script, corpus: ToyCorpus, tmp_path: Path) -> None:
    data = corpus.write_canonical(tmp_path / "toy", test=12, dev=8)
    toml = tmp_path / "toy.toml"
    toml.write_text(
        f"data.corpus = '{data}'\n[em]\nibm1_epochs = 2\nepochs = 3\n"
        "[model.counts]\nmean = 'unigram'\n"
    )
    run = tmp_path / "run"

    done = script("train", toml, "--out", run, "--set", "em.epochs=2")
    assert done.code == 0 and f"model saved in {run / 'model'}" in done.err
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(one["stage"], one["epoch"]) for one in records] == [
        ("ibm1", 1), ("ibm1", 2), ("em", 1), ("em", 2)
    ]  # fmt: skip
    assert records[-1]["dev_aer"] < 0.3

    done = script("extract", run)
    assert done.code == 0
    links = (run / "links" / "test.pharaoh").read_text().splitlines()
    accuracy = corpus.part(0, 12).accuracy(links)
    assert accuracy > 0.8

    done = script("evaluate", run)
    assert done.code == 0
    scores = json.loads((run / "scores.test.json").read_text())
    chosen = scores["links (agreement)"]
    assert 1 - chosen["aer"] == pytest.approx(accuracy)
    assert f"AER {100 * chosen['aer']:.2f}" in done.out and chosen["signature"] in done.out
    for name in (
        "source → target", "target → source", "intersection", "union", "grow-diag",
        "grow-diag-final", "grow-diag-final-and",
    ):  # fmt: skip
        assert f"{name:22}  {100 * scores[name]['aer']:5.1f}" in done.out
    assert scores["union"]["predicted"] >= scores["intersection"]["predicted"]
    assert "95 % interval of this AER" in done.out and str(run / "report.html") in done.out

    # A room that a newcomer can read.
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.json", "data.json", "environment.json", "links", "metrics.jsonl",
        "model", "report.html", "scores.test.json", "train.log",
    }  # fmt: skip
    assert {path.name for path in (run / "links").iterdir()} == {
        "test.pharaoh", "test.scores.jsonl", "test.forward.pharaoh", "test.reverse.pharaoh"
    }  # fmt: skip
    assert {path.name for path in (run / "model").iterdir()} == {
        "state.json", "tensors.safetensors"
    }  # fmt: skip

    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page
    assert not re.search(r"<(script|link|iframe|img)[^>]+(src|href)=[\"'](?!data:|#)", page)
    assert chosen["signature"] in page and "dev" in page and page.count("<svg") >= 3


def test_dev_selects_and_test_gold_is_never_read(
    script: Script, corpus: ToyCorpus, tmp_path: Path
) -> None:
    data = corpus.write_canonical(tmp_path / "toy", test=12, dev=8)
    (data / "test.gold").write_text("this is not a line of links\n")
    options = [part for one in SHORT for part in ("--set", one)]
    options += ["--set", f"data.corpus={data}", "--set", "model.type_based.dim=8"]
    run = tmp_path / "run"
    neural = RECIPES / "bible_type_based.toml"
    done = script("train", neural, "--out", run, *options)
    assert done.code == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["stage"] == "marginal" and "dev_aer" in records[-1]
    assert script("extract", run, "--part", "dev").code == 0
    assert script("evaluate", run, "--part", "dev").code == 0
    scores = json.loads((run / "scores.dev.json").read_text())
    assert records[-1]["dev_aer"] == pytest.approx(scores["links (agreement)"]["aer"])
    done = script("evaluate", run)
    assert done.code == 2 and "test.gold" in done.err


def test_training_again_goes_on(script: Script, corpus: ToyCorpus, tmp_path: Path) -> None:
    """The same command twice trains once; other settings are refused in the same directory."""
    data = corpus.write_canonical(tmp_path / "toy", test=12)
    toml = tmp_path / "toy.toml"
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    options = [part for one in SHORT for part in ("--set", one)]
    train = ["train", toml, "--out", tmp_path / "run", *options]
    assert script(*train).code == 0
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    model = (tmp_path / "run" / "model" / "tensors.safetensors").read_bytes()
    assert script(*train).code == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics
    assert (tmp_path / "run" / "model" / "tensors.safetensors").read_bytes() == model
    done = script(*train, "--set", "seed=9")
    assert done.code == 2 and "seed (1 there, 9 here)" in done.err


def test_what_is_missing_is_said(script: Script, corpus: ToyCorpus, tmp_path: Path) -> None:
    def message(*arguments: str | Path) -> str:
        code, out, err = script(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        return err

    toml = tmp_path / "toy.toml"
    toml.write_text(f"[data]\ncorpus = '{tmp_path / 'toy'}'\n")
    run = tmp_path / "run"
    assert "no corpus here" in message("train", toml, "--out", run)
    toml.write_text("seed = 1\n")
    assert "says no data.corpus" in message("train", toml, "--out", run)
    assert not run.exists()
    assert "not a run directory" in message("extract", run)
    assert "not a run directory" in message("evaluate", run)

    data = corpus.write_canonical(tmp_path / "toy", test=12)
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    options = [part for one in SHORT for part in ("--set", one)]
    assert script("train", toml, "--out", run, *options).code == 0
    assert "run extract.py first" in message("evaluate", run)
    assert "dev" in message("extract", run, "--part", "dev")
    (data / "manifest.json").write_text("{")
    assert "manifest.json: damaged" in message("extract", run)


@pytest.mark.parametrize("toml", TOMLS, ids=lambda path: path.stem)
def test_every_toml_is_strict_and_trains(
    script: Script, corpus: ToyCorpus, tmp_path: Path, toml: Path
) -> None:
    """As it stands it loads; cut down to an epoch a stage, on a toy corpus, it trains."""
    config = configuration.load(AlignmentConfig, toml)
    assert config.data.corpus.startswith("data/")
    small = ["text.subwords=60"] if config.text.subwords else []
    for place in ("counts.neural", "type_based", "contextual.types"):
        small.append(f"model.{place}.dim=8")
    data = corpus.part(0, 60).write_canonical(tmp_path / "toy", test=10, dev=5)
    settings = [*SHORT, *small, f"data.corpus={data}"]
    options = [part for one in settings for part in ("--set", one)]
    done = script("train", toml, "--out", tmp_path / "run", *options)
    assert done.code == 0, done.err
    assert script("extract", tmp_path / "run").code == 0
    lines = (tmp_path / "run" / "links" / "test.pharaoh").read_text().splitlines()
    assert len(lines) == 10 and any(lines)


def test_there_are_recipes() -> None:
    assert len(TOMLS) >= 7
