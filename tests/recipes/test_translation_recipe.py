"""recipes/translation on a tiny corpus: what each script writes and says; every TOML trains."""

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
from toy_translation import LEARNS, TINY, options, same_words

from latentnlp import config as configuration
from latentnlp.tasks.translation import TranslationConfig
from latentnlp.tasks.translation_commands import load_model, training_texts

RECIPES = Path(__file__).parents[2] / "recipes" / "translation"
TOMLS = sorted(RECIPES.glob("*.toml"))


class Finished(NamedTuple):
    code: int
    out: str
    err: str


Script = Callable[..., Finished]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """``script("train", "toy.toml", "--out", folder)``, in this process."""

    def call(name: str, *arguments: str | Path) -> Finished:
        path = str(RECIPES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name="__main__")
        return Finished(int(stop.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def corpus() -> ToyCorpus:
    return toy_corpus(260, words=20)


def test_from_a_corpus_to_a_report(script: Script, corpus: ToyCorpus, tmp_path: Path) -> None:
    data = corpus.write_canonical(tmp_path / "toy", test=30, dev=20)
    (data / "test.gold").unlink()  # links of people are not needed
    toml = tmp_path / "toy.toml"
    toml.write_text(f"data.corpus = '{data}'\n")
    run = tmp_path / "run"
    done = script("train", toml, "--out", run, *options(*LEARNS))
    assert done.code == 0 and f"model saved in {run / 'model'}" in done.err
    assert "no dev set was given" not in done.err

    done = script("decode", run, "--beam", "3")
    assert done.code == 0 and f"30 translations in {run / 'translations.test'}" in done.err
    found = (run / "translations.test").read_text().splitlines()
    assert same_words(found, corpus.part(0, 30).target) > 0.8
    assert len((run / "translations.test.pharaoh").read_text().splitlines()) == 30

    done = script("evaluate", run)
    assert done.code == 0, done.err
    scores = json.loads((run / "scores.test.json").read_text())
    as_it_is = scores["as the corpus has it"]
    assert as_it_is["sentences"] == 30 and "tok:none" in as_it_is["system"]["BLEU"]["signature"]
    assert f"{as_it_is['system']['BLEU']['score']:.2f}" in done.out
    assert "toy, xx to yy, test, as the corpus has it:" in done.out
    done = script("evaluate", run, "--baseline", run / "translations.test")
    assert done.code == 0 and "baseline" in done.out

    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page
    assert not re.search(r"<(script|link|iframe|img)[^>]+(src|href)=[\"'](?!data:|#)", page)
    assert as_it_is["system"]["chrF2"]["signature"] in page and "neural hmm" in page
    assert page.count("<svg") >= 4 and "Reference: " in page and "posterior" in page
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.json", "data.json", "environment.json", "metrics.jsonl", "model",
        "report.html", "scores.test.json", "train.log", "translations.test",
        "translations.test.pharaoh",
    }  # fmt: skip

    assert script("decode", run, "--part", "dev").code == 0
    assert script("evaluate", run, "--part", "dev").code == 0
    done = script("decode", run, "--beam", "0")
    assert done.code == 2 and "beam = 0" in done.err


def test_a_corpus_from_its_target_into_its_source(
    script: Script, corpus: ToyCorpus, tmp_path: Path
) -> None:
    data = corpus.part(0, 60).write_canonical(tmp_path / "toy", test=5, dev=5)
    toml = tmp_path / "toy.toml"
    toml.write_text(f"[data]\ncorpus = '{data}'\nreversed = true\ntrain_pairs = 30\n")
    config = configuration.load(TranslationConfig, toml)
    text, dev = training_texts(config)
    assert len(text) == 30 and dev is not None
    assert dev[0] == (corpus.target[5].split(), corpus.source[5].split())
    assert next(iter(text)) == (corpus.target[10].split(), corpus.source[10].split())
    run = tmp_path / "run"
    assert script("train", toml, "--out", run, *options(*TINY, "learning.epochs=1")).code == 0
    words = load_model(run, "cpu").source.vocabulary
    assert corpus.target[10].split()[0] in words and corpus.source[10].split()[0] not in words
    assert script("decode", run).code == 0
    assert "toy, yy to xx, test" in script("evaluate", run).out


def test_what_is_missing_is_said(script: Script, corpus: ToyCorpus, tmp_path: Path) -> None:
    def message(*arguments: str | Path) -> str:
        code, out, err = script(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        return err

    toml, run = tmp_path / "toy.toml", tmp_path / "run"
    toml.write_text(f"[data]\ncorpus = '{tmp_path / 'toy'}'\n")
    assert "no corpus here" in message("train", toml, "--out", run)
    toml.write_text("seed = 1\n")
    assert "nothing to train on" in message("train", toml, "--out", run)
    assert not run.exists()
    assert "not a run directory" in message("decode", run)
    assert "not a run directory" in message("evaluate", run)
    data = corpus.part(0, 30).write_canonical(tmp_path / "toy", test=5)
    toml.write_text(f"[data]\ncorpus = '{data}'\n")
    settings = options(*TINY, "learning.epochs=1")
    assert script("train", toml, "--out", run, *settings).code == 0
    assert "run decode.py first" in message("evaluate", run)
    assert "dev" in message("decode", run, "--part", "dev")


@pytest.mark.parametrize("toml", TOMLS, ids=lambda path: path.stem)
def test_every_toml_is_strict_and_trains(
    script: Script, corpus: ToyCorpus, tmp_path: Path, toml: Path
) -> None:
    """As it stands it loads; cut down to an epoch, on a toy corpus, it trains and translates."""
    config = configuration.load(TranslationConfig, toml)
    assert config.data.corpus.startswith("data/")
    data = corpus.part(0, 60).write_canonical(tmp_path / "toy", test=10, dev=5)
    tiny = [one for one in TINY if not one.startswith("text.")]
    settings = [*tiny, "text.subwords=90", "learning.epochs=1", f"data.corpus={data}"]
    done = script("train", toml, "--out", tmp_path / "run", *options(*settings), "--quiet")
    assert done.code == 0, done.err
    assert script("decode", tmp_path / "run").code == 0
    assert len((tmp_path / "run" / "translations.test").read_text().split("\n")) == 11


def test_there_are_recipes() -> None:
    assert len(TOMLS) >= 7
