"""The aligner in Python: `fit`, `align`, `alignments`, `score`, `save`, `load`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_corpus import ToyCorpus, toy_corpus

from latentnlp import Aligner, UserError
from latentnlp.data.links import Gold
from latentnlp.decoding import calibrated
from latentnlp.emissions import counts
from latentnlp.tasks.alignment import AlignmentConfig, EMStages
from latentnlp.tasks.alignment_model import ModelConfig

CONFIG = AlignmentConfig(
    em=EMStages(ibm1_epochs=2, epochs=2), model=ModelConfig(counts=counts.Config(mean="unigram"))
)


@pytest.fixture(scope="module")
def corpus() -> ToyCorpus:
    return toy_corpus(80, words=20)


@pytest.fixture(scope="module")
def fitted(corpus: ToyCorpus) -> Aligner:
    return Aligner(CONFIG, device="cpu").fit(corpus.source, corpus.target)


def test_fit(fitted: Aligner, corpus: ToyCorpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert fitted.model_ is not None and len(fitted.links_) == len(corpus)
    assert corpus.accuracy(fitted.links_) > 0.9
    words = [line.split() for line in corpus.source], [line.split() for line in corpus.target]
    again = Aligner(CONFIG, device="cpu").fit(*words)  # words or lines, it is the same
    assert again.links_ == fitted.links_
    assert fitted.align(*words) == fitted.links_
    assert capsys.readouterr() == ("", "")


def test_alignments_have_scores_and_details(fitted: Aligner, corpus: ToyCorpus) -> None:
    source, target = ["", *corpus.source[:3]], ["x", *corpus.target[:3]]
    plain = fitted.alignments(source, target)
    assert [one.line for one in plain] == [0, 1, 2, 3]
    assert plain[0].links == frozenset() and plain[0].scores == {} and plain[0].confidence == 0.0
    assert all(0 < one.confidence < 1 for one in plain[1:])
    assert [one.links for one in plain[1:]] == fitted.links_[:3]
    detailed = fitted.alignments(source, target, details=True)
    for one, other, n in zip(plain[1:], detailed[1:], range(3), strict=True):
        assert one.links == other.links == frozenset(one.scores)
        assert one.forward is None and one.posterior is None
        assert other.forward and other.reverse and other.posterior is not None
        assert other.posterior.shape == (len(corpus.source[n].split()),) * 2
        assert np.all((other.posterior >= 0) & (other.posterior <= 1.0001))
        for link, score in other.scores.items():
            assert score == pytest.approx(calibrated(torch.tensor(other.posterior[link])).item())


def test_score(fitted: Aligner, corpus: ToyCorpus) -> None:
    found = fitted.score(corpus.source, corpus.target, corpus.gold)
    assert 1 - found.aer == pytest.approx(corpus.accuracy(fitted.links_))
    # Gold with possible links: what is only possible costs no precision.
    nothing = frozenset()
    possible = [Gold(nothing, one) for one in fitted.links_]
    assert fitted.score(corpus.source, corpus.target, possible).precision == 1.0
    with pytest.raises(UserError, match="79 gold alignments but 80"):
        fitted.score(corpus.source, corpus.target, corpus.gold[1:])


def test_save_and_load(fitted: Aligner, corpus: ToyCorpus, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # in the place of the first
    loaded = Aligner.load(tmp_path / "model", device="cpu")
    assert loaded.align(corpus.source, corpus.target) == fitted.links_
    # Upper case and a word that was never seen.
    source, target = "qqq " + corpus.source[5].upper(), "zzz " + corpus.target[5]
    assert loaded.align([source], [target]) == fitted.align([source], [target])
    with pytest.raises(UserError, match="no such checkpoint folder"):
        Aligner.load(tmp_path / "no")


def test_a_run_that_is_kept(corpus: ToyCorpus, tmp_path: Path) -> None:
    text, run = (corpus.source, corpus.target), tmp_path / "run"
    first = Aligner(CONFIG, seed=4, device="cpu").fit(*text, run)
    metrics = (run / "metrics.jsonl").read_bytes()
    again = Aligner(CONFIG, seed=4, device="cpu").fit(*text, run)
    assert again.links_ == first.links_
    assert (run / "metrics.jsonl").read_bytes() == metrics
    with pytest.raises(UserError, match=r"seed \(4 there, 5 here\)"):
        Aligner(CONFIG, seed=5).fit(*text, run)


def test_bad_input(fitted: Aligner, corpus: ToyCorpus) -> None:
    with pytest.raises(UserError, match="call fit"):
        Aligner().align(["a"], ["b"])
    for use in (Aligner(CONFIG).fit, fitted.align, fitted.alignments):
        with pytest.raises(UserError, match="source has 2 lines but target has 1"):
            use(["a", "b"], ["c"])
    with pytest.raises(UserError, match="no usable sentence pair"):
        Aligner(CONFIG).fit(["", "a"], ["b", ""])
    with pytest.raises(UserError, match="unknown device"):
        Aligner(replace(CONFIG), device="tpu").fit(corpus.source, corpus.target)
    assert fitted.align([], []) == []


def test_nothing_global_is_needed(fitted: Aligner, corpus: ToyCorpus) -> None:
    """Aligning does not depend on what else is aligned, nor on the order."""
    assert [
        fitted.align([source], [target])[0]
        for source, target in zip(corpus.source[:10], corpus.target[:10], strict=True)
    ] == fitted.links_[:10]
    assert fitted.align(corpus.source[::-1], corpus.target[::-1]) == fitted.links_[::-1]
