"""The extractor in Python: `fit`, `extract`, `predict`, `score`, `save`, `load`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_documents import SHORT, SMALL, amounts, found_it, toy_documents

from latentnlp import RationaleExtractor, UserError
from latentnlp import config as configuration
from latentnlp.data.documents import Document
from latentnlp.evaluation.rationale import ClassificationScore, RegressionScore
from latentnlp.tasks.rationale import RationaleConfig

CONFIG = configuration.load(RationaleConfig, None, SMALL)
QUICK = configuration.load(RationaleConfig, None, [*SMALL, *SHORT])
TRAIN, NEW = toy_documents(160), toy_documents(40, seed=2)


def texts(documents: list[Document]) -> list[str]:
    return [" ".join(document.tokens) for document in documents]


def labels(documents: list[Document]) -> list[Any]:
    return [document.label for document in documents]


@pytest.fixture(scope="module")
def fitted() -> RationaleExtractor:
    extractor = RationaleExtractor(config=CONFIG, device="cpu")
    return extractor.fit(texts(TRAIN), labels(TRAIN))


def quick(**settings: Any) -> RationaleExtractor:
    return RationaleExtractor(config=QUICK, device="cpu", **settings)


def test_fit(fitted: RationaleExtractor) -> None:
    assert fitted.model_ is not None
    assert fitted.classes_ == ("game", "meal", "tool", "tree")
    found = fitted.extract(texts(NEW))
    assert found_it(found, NEW) > 0.7
    assert [one.id for one in found] == [str(n) for n in range(1, 41)]
    assert fitted.predict(texts(NEW)) == [one.prediction for one in found]
    score = fitted.score(texts(NEW), labels(NEW))
    assert isinstance(score, ClassificationScore) and score.documents == 40
    right = sum(
        y == guess for y, guess in zip(labels(NEW), fitted.predict(texts(NEW)), strict=True)
    )
    assert score.accuracy == right / 40 > 0.85


def test_strings_tokens_and_documents_are_the_same(fitted: RationaleExtractor) -> None:
    tokens = [document.tokens for document in NEW]
    assert fitted.extract(tokens) == fitted.extract(texts(NEW))
    plain = [replace(one, id=str(n)) for n, one in enumerate(NEW, start=1)]
    assert fitted.extract(plain) == fitted.extract(texts(NEW))
    assert fitted.extract(NEW)[3].id == "2.3"
    assert fitted.score(NEW, labels(NEW)) == fitted.score(texts(NEW), np.array(labels(NEW)))  # type: ignore[arg-type]
    # One at a time, in any order.
    alone = [fitted.extract([text])[0] for text in texts(NEW)[:5]]
    together = fitted.extract(texts(NEW))[:5]
    for one, other in zip(alone, together, strict=True):
        assert one.spans == other.spans and one.prediction == other.prediction
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
    assert fitted.extract([]) == [] and fitted.predict([]) == []


def test_a_sentence_is_not_judged_by_its_neighbours() -> None:
    """Neither by the other texts of a batch: here one's sentences are as many as its words."""
    short = [Document(d.id, d.tokens, d.label, sentence_starts=(0, 1, 2, 3, 4)) for d in TRAIN[:24]]
    long = [replace(one, sentence_starts=(0,)) for one in short]
    extractor = quick(unit="sentence").fit(short[::2] + long[1::2], labels(short[::2] + long[1::2]))
    together = extractor.extract([short[0], long[1]])
    for one, other in zip((short[0], long[1]), together, strict=True):
        alone = extractor.extract([one])[0]
        assert alone.scores == pytest.approx(other.scores, abs=1e-6)
        assert alone.units == other.units and alone.spans == other.spans


def test_save_and_load(fitted: RationaleExtractor, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # in the place of the first
    loaded = RationaleExtractor.load(tmp_path / "model", device="cpu")
    assert loaded.extract(texts(NEW)) == fitted.extract(texts(NEW))
    assert loaded.classes_ == fitted.classes_ and loaded.rate == 0.3 and loaded.unit == "word"
    with pytest.raises(UserError, match="holds no rationale model"):
        RationaleExtractor.load(tmp_path / "no")


def test_the_same_twice_and_nothing_global(capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    first = quick(seed=4).fit(texts(TRAIN), labels(TRAIN)).extract(texts(NEW))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert quick(seed=4).fit(texts(TRAIN), labels(TRAIN)).extract(texts(NEW)) == first
    assert quick(seed=5).fit(texts(TRAIN), labels(TRAIN)).extract(texts(NEW)) != first
    assert capsys.readouterr().out == ""


def test_a_run_that_is_kept(tmp_path: Path) -> None:
    data, run = (texts(TRAIN), labels(TRAIN)), tmp_path / "run"
    dev = (texts(NEW), labels(NEW))
    first = quick().fit(*data, dev=dev, run=run)
    metrics = (run / "metrics.jsonl").read_bytes()
    assert b"dev_error" in metrics and "no dev set" not in (run / "train.log").read_text()
    again = quick().fit(*data, dev=dev, run=run)
    assert again.extract(texts(NEW)) == first.extract(texts(NEW))
    assert (run / "metrics.jsonl").read_bytes() == metrics
    with pytest.raises(UserError, match=r"seed \(1 there, 5 here\)"):
        quick(seed=5).fit(*data, dev=dev, run=run)
    with pytest.raises(UserError, match="the text has changed"):
        quick().fit(*data, run=run)


def test_settings_of_the_constructor() -> None:
    extractor = quick(rate=0.4, unit="sentence", selection="first_order", encoder="bag", seed=7)
    long = [Document(d.id, (*d.tokens, ".", *d.tokens), d.label) for d in TRAIN[:24]]
    model = extractor.fit(long, labels(long)).model_
    assert model is not None
    assert (model.rate, model.text.unit, model.config.selection) == (0.4, "sentence", "first_order")
    assert (model.config.selector, model.config.predictor) == ("bag", "bag")
    assert model.config.embedding == QUICK.model.embedding
    assert extractor.extract(long)[0].units == ((0, 6), (6, 11))
    # HardKuma has its own estimator, and back again.
    kumaraswamy = quick(selection="kumaraswamy").fit(texts(TRAIN), labels(TRAIN))
    assert kumaraswamy.extract(texts(NEW)) != []
    values = configuration.to_dict(QUICK)
    values["model"]["selection"] = "kumaraswamy"
    values["rationale"]["learner"]["estimator"] |= {"name": "reparameterised", "baselines": []}
    config = configuration.from_dict(RationaleConfig, values, "test")
    extractor = RationaleExtractor(config=config, selection="independent", device="cpu")
    assert extractor.fit(texts(TRAIN[:24]), labels(TRAIN[:24])).model_ is not None
    for wrong, told in (
        ({"unit": "letter"}, "'text.unit' must be one of"),
        ({"rate": 2.0}, "rate = 2.0 is not between 0 and 1"),
        ({"encoder": "lst"}, "did you mean 'lstm'"),
    ):
        with pytest.raises(UserError, match=told):
            quick(**wrong).fit(texts(TRAIN), labels(TRAIN))


def test_labels_of_all_kinds() -> None:
    numbers = [n % 2 for n in range(24)]
    for given in (numbers, np.array(numbers), [bool(n) for n in numbers]):
        extractor = quick().fit(texts(TRAIN[:24]), given)  # type: ignore[arg-type]
        assert extractor.classes_ in (("0", "1"), ("false", "true"))
        score = extractor.score(texts(TRAIN[:24]), given)  # type: ignore[arg-type]
        assert isinstance(score, ClassificationScore) and set(
            extractor.predict(texts(TRAIN[:24]))
        ) <= set(extractor.classes_)
    given = labels(amounts(TRAIN))
    for values in (given, np.array(given)):
        extractor = quick().fit(texts(TRAIN), values)
        assert extractor.classes_ == ()
        assert all(isinstance(one, float) for one in extractor.predict(texts(NEW)))
        score = extractor.score(texts(NEW), labels(amounts(NEW)))
        assert isinstance(score, RegressionScore) and score.mse > 0


def test_bad_input(fitted: RationaleExtractor) -> None:
    with pytest.raises(UserError, match="call fit"):
        RationaleExtractor().extract(["a"])
    fit = quick().fit
    cases: list[tuple[Any, Any, str]] = [
        ("a text", ["x"], "not one string"),
        (["a", "b"], ["x"], "2 texts but 1 labels"),
        (["a", " "], ["x", "y"], r"texts\[1\]: the document has no tokens"),
        (["a", ["b", 3]], ["x", "y"], r"texts\[1\]: 'tokens' must be a text or a list"),
        (["a", "b"], ["x", None], r"texts\[1\]: the label \('label'\) is None"),
        (["a", "b"], [0.5, float("nan")], r"texts\[1\]: the label \('label'\) is nan"),
        (["a", "b"], ["x", 3], r"texts\[1\]: .* are of mixed types"),
        (["a", "b"], ["x", "x"], "all texts have the label 'x'"),
        ([], [], "no text to learn from"),
    ]
    for given, targets, told in cases:
        with pytest.raises(UserError, match=told):
            fit(given, targets)
    with pytest.raises(UserError, match=r"texts\[0\]: the label 'sport' is not among the classes"):
        fitted.score(["a"], ["sport"])
    with pytest.raises(UserError, match=r"texts\[0\]: the label 'sport' is not among the classes"):
        fit(texts(TRAIN), labels(TRAIN), dev=(["a"], ["sport"]))
    with pytest.raises(UserError, match="unknown device"):
        RationaleExtractor(config=QUICK, device="tpu").fit(texts(TRAIN), labels(TRAIN))
