"""The network in Python: `fit`, `transform`, `score`, `sample`, `topic_words`, `save`, `load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_topics import SHORT, SMALL, WORDS, subjects_of, toy_records

from latentnlp import Aligner, DocumentBeliefNetwork, RationaleExtractor, UserError
from latentnlp import config as configuration
from latentnlp.evaluation.topics import PerplexityScore
from latentnlp.tasks.topics import TopicsConfig

CONFIG = configuration.load(TopicsConfig, None, SMALL)
QUICK = configuration.load(TopicsConfig, None, [*SMALL, *SHORT])
TRAIN = [record["text"] for record in toy_records(180)]
NEW = [record["text"] for record in toy_records(40, seed=2)]


def counts(texts: list[str]) -> np.ndarray:
    """[D, V] in the order of WORDS."""
    return np.array([[text.split().count(word) for word in WORDS] for text in texts])


class Sparse:
    """Just as much of a sparse matrix as is asked for; a word may have two entries."""

    def __init__(self, table: np.ndarray) -> None:
        self.shape = table.shape
        rows, self.indices = np.nonzero(table)
        self.data = table[rows, self.indices]
        self.indptr = np.searchsorted(rows, np.arange(len(table) + 1))
        self.summed = False

    def tocsr(self, copy: bool = False) -> Sparse:
        assert copy  # what we are given is not ours to change
        return self

    def sum_duplicates(self) -> None:
        self.summed = True


@pytest.fixture(scope="module")
def fitted() -> DocumentBeliefNetwork:
    return DocumentBeliefNetwork(config=CONFIG, device="cpu").fit(TRAIN)


def quick(**settings: Any) -> DocumentBeliefNetwork:
    return DocumentBeliefNetwork(config=QUICK, device="cpu", **settings)


def test_fit(fitted: DocumentBeliefNetwork) -> None:
    assert fitted.model_ is not None and sorted(fitted.vocabulary_) == WORDS
    codes = fitted.transform(NEW)
    assert codes.shape == (40, 6) and codes.dtype == np.float32
    assert codes.std(0).max() > 0.1
    words = fitted.topic_words(layer=1, count=5)
    assert (
        len(words) == 6 and len(fitted.topic_words(2)) == 3 and len(fitted.topic_words()[0]) == 10
    )
    assert len(subjects_of([*words, *fitted.topic_words(2, 5)])) >= 2
    score = fitted.score(NEW)
    assert isinstance(score, PerplexityScore) and score.kind == "iw" and score.samples == 100
    assert 1 < score.per_document < 100 and score == fitted.score(NEW)
    assert fitted.score(NEW, samples=1).per_document > score.per_document


def test_codes_and_back(fitted: DocumentBeliefNetwork) -> None:
    codes = fitted.transform(NEW)
    words = fitted.inverse_transform(codes)
    assert words.shape == (40, len(WORDS))
    np.testing.assert_allclose(words.sum(1), 1, atol=1e-4)
    # What a text has is more probable given its own code than given another's.
    table = np.array([[t.split().count(w) for w in fitted.vocabulary_] for t in NEW])
    own = (table * np.log(words)).sum(1)
    others = (table * np.log(np.roll(words, 1, axis=0))).sum(1)
    assert (own > others).mean() > 0.6
    empty = fitted.transform(["", "qqq"])
    np.testing.assert_array_equal(empty[0], empty[1])
    assert fitted.transform([]).shape == (0, 6)
    assert fitted.inverse_transform(np.zeros((0, 6))).shape == (0, len(WORDS))
    for wrong in (np.zeros((2, 5)), np.zeros(6), np.full((1, 6), np.nan)):
        with pytest.raises(UserError, match=r"codes are finite numbers \[documents, 6\]"):
            fitted.inverse_transform(wrong)


def test_texts_tokens_and_counts_are_the_same() -> None:
    tokens = [text.split() for text in TRAIN]
    network = quick(vocabulary=WORDS).fit(TRAIN)
    expected = network.transform(NEW)
    table = counts(TRAIN)
    as_floats: list[Any] = [table.astype(float), table.astype(np.uint8), Sparse(table)]
    for given in (tokens, *as_floats):
        other = quick(vocabulary=WORDS).fit(given)
        np.testing.assert_array_equal(other.transform(NEW), expected)
    new = Sparse(counts(NEW))
    np.testing.assert_array_equal(network.transform(new), expected)
    assert new.summed
    np.testing.assert_array_equal(network.transform(counts(NEW)), expected)
    assert network.score(counts(NEW)) == network.score(NEW)


def test_scipy_is_understood() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    network = quick(vocabulary=WORDS).fit(counts(TRAIN))
    for form in (sparse.csr_matrix, sparse.coo_array, sparse.csc_array):
        given = form(counts(NEW))
        np.testing.assert_array_equal(network.transform(given), network.transform(NEW))


def test_samples(fitted: DocumentBeliefNetwork) -> None:
    state = torch.get_rng_state()
    dreams = fitted.sample(30, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(dreams) == 30 and all(set(one) <= set(WORDS) for one in dreams)
    lengths = {len(text.split()) for text in TRAIN}
    assert {len(one) for one in dreams} <= lengths
    assert fitted.sample(30, seed=3) == dreams != fitted.sample(30, seed=4)
    assert fitted.sample(0) == []


def test_save_and_load(fitted: DocumentBeliefNetwork, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # in the place of the first
    loaded = DocumentBeliefNetwork.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.transform(NEW), fitted.transform(NEW))
    assert loaded.vocabulary_ == fitted.vocabulary_ and loaded.layers == (6, 3)
    assert loaded.topic_words() == fitted.topic_words()
    with pytest.raises(UserError, match="holds no topics model"):
        DocumentBeliefNetwork.load(tmp_path / "no")


def test_the_same_twice_and_nothing_global(capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    first = quick(seed=4).fit_transform(TRAIN, labels=["ignored"])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    np.testing.assert_array_equal(quick(seed=4).fit(TRAIN).transform(TRAIN), first)
    assert not np.array_equal(quick(seed=5).fit(TRAIN).transform(TRAIN), first)
    assert capsys.readouterr().out == ""


def test_a_run_that_is_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = quick().fit(TRAIN, dev=NEW, run=run)
    metrics = (run / "metrics.jsonl").read_bytes()
    assert b"dev_perplexity" in metrics and "no dev set" not in (run / "train.log").read_text()
    again = quick().fit(TRAIN, dev=NEW, run=run)
    np.testing.assert_array_equal(again.transform(NEW), first.transform(NEW))
    assert (run / "metrics.jsonl").read_bytes() == metrics
    with pytest.raises(UserError, match=r"seed \(1 there, 5 here\)"):
        quick(seed=5).fit(TRAIN, dev=NEW, run=run)
    with pytest.raises(UserError, match="the text has changed"):
        quick().fit(TRAIN, run=run)


def test_settings_of_the_constructor() -> None:
    network = quick(layers=(5,), rule="reweighted_wake_sleep", seed=7, max_size=20).fit(TRAIN)
    assert network.model_ is not None and len(network.vocabulary_) == 20
    assert network.transform(NEW).shape == (40, 5) and len(network.topic_words()) == 5
    values = configuration.to_dict(QUICK)
    values["text"]["min_documents"] = 400
    config = configuration.from_dict(TopicsConfig, values, "test")
    with pytest.raises(UserError, match="no word is left"):
        DocumentBeliefNetwork(config=config).fit(TRAIN)
    assert DocumentBeliefNetwork(config=config, min_documents=2, device="cpu").fit(TRAIN).model_
    for layers in (5, np.array([5]), (np.int64(5),)):  # as a search over settings gives them
        network = quick(layers=layers).fit(TRAIN[:20])
        assert network.model_ is not None
        assert network.model_.config.belief_network.layers == (5,)
    for wrong, told in (
        ({"layers": ()}, "one layer of one unit"),
        ({"layers": (5.5,)}, "must be an integer"),
        ({"rule": "wake_slep"}, "did you mean 'wake_sleep'"),
        ({"rule": "coordinate_ascent"}, "it takes wake_sleep or"),
        ({"max_share": 2.0}, r"max_share = 2.0 is not above 0"),
        ({"vocabulary": ["oak", "oak"]}, "each of them once"),
        ({"vocabulary": "oak"}, "a list of words is needed"),
        ({"vocabulary": []}, "a list of words is needed"),
    ):
        with pytest.raises(UserError, match=told):
            quick(**wrong).fit(TRAIN)


@pytest.mark.parametrize("kind", [Aligner, DocumentBeliefNetwork, RationaleExtractor])
def test_parameters_are_the_arguments_of_the_constructor(kind: Any) -> None:
    one = kind(seed=5, device="cpu")
    given = one.get_params()
    assert given["seed"] == 5 and {"config", "progress"} <= set(given)
    copy = kind(**given).get_params()
    assert all(copy[name] is value for name, value in given.items()) and len(copy) == len(given)
    assert one.set_params(seed=6, progress=True) is one
    assert one.get_params() == given | {"seed": 6, "progress": True}
    with pytest.raises(UserError, match=f"{kind.__name__} has no parameter 'sed'; there are: "):
        one.set_params(device="cuda", sed=7)
    assert one.device == "cpu"


def test_parameters_that_are_set_are_learnt_with(fitted: DocumentBeliefNetwork) -> None:
    network = quick().set_params(layers=(5,)).fit(TRAIN[:20])
    assert network.transform(NEW).shape == (40, 5)
    codes = fitted.transform(NEW)
    fitted.set_params(progress=False)  # what was learnt stays
    np.testing.assert_array_equal(fitted.transform(NEW), codes)


def test_scikit_learns_clone_and_pipeline(fitted: DocumentBeliefNetwork) -> None:
    base = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed")
    pipeline = pytest.importorskip("sklearn.pipeline")
    copy = base.clone(fitted)
    assert copy.model_ is None and copy.get_params() == fitted.get_params()
    steps = pipeline.make_pipeline(base.clone(quick(seed=3)))
    steps.set_params(documentbeliefnetwork__layers=(5,))
    codes = base.clone(steps).fit_transform(TRAIN)
    np.testing.assert_array_equal(codes, quick(seed=3, layers=(5,)).fit_transform(TRAIN))


def test_bad_input(fitted: DocumentBeliefNetwork) -> None:
    with pytest.raises(UserError, match="call fit"):
        DocumentBeliefNetwork().transform(["a"])
    table = counts(TRAIN).astype(float)

    def changed(value: float) -> np.ndarray:
        other = table.copy()
        other[3, 7] = value
        return other

    cases: list[tuple[Any, str]] = [
        ("a text", "not one string"),
        (["oak", 3], r"texts\[1\]: 'text' must be a text or a list"),
        (["oak", ["elm", 3]], r"texts\[1\]: 'tokens' must be a text or a list"),
        ([], "holds no document"),
        (changed(-1), r"texts\[3\], column 7: -1\.0 is not a count"),
        (changed(0.5), r"texts\[3\], column 7: 0\.5 is not a count"),
        (changed(np.nan), r"texts\[3\], column 7: nan is not a count"),
        (changed(np.inf), r"texts\[3\], column 7: inf is not a count"),
        (Sparse(changed(0.5)), r"texts\[3\], column 7: 0\.5 is not a count"),
        (table[:, 1:], "109 columns, but the vocabulary has 110 words"),
        (table * 0, "nothing to learn"),
    ]
    for given, told in cases:
        with pytest.raises(UserError, match=told):
            quick(vocabulary=WORDS).fit(given)
    with pytest.raises(UserError, match="counts have no words"):
        quick().fit(table)
    with pytest.raises(UserError, match="109 columns, but the vocabulary has 110 words"):
        fitted.transform(table[:, 1:])
    with pytest.raises(UserError, match=r"dev\[3\], column 7"):
        quick(vocabulary=WORDS).fit(table, dev=changed(-2))
    with pytest.raises(UserError, match="dev: no document has a word"):
        quick().fit(TRAIN, dev=["qqq", ""])
    with pytest.raises(UserError, match="no layer 3"):
        fitted.topic_words(3)
    with pytest.raises(UserError, match="no document has a word to predict"):
        fitted.score([""])
    with pytest.raises(UserError, match="texts: holds no document"):
        fitted.score([])
    with pytest.raises(UserError, match="samples = 0 is below 1"):
        fitted.score(NEW, samples=0)
    for draw in (lambda: fitted.score(NEW, seed=2**64), lambda: fitted.sample(1, 2**64)):
        with pytest.raises(UserError, match="is too large"):
            draw()
    with pytest.raises(UserError, match="is too large"):
        quick(seed=2**64).fit(TRAIN)


class Frame:
    """What a table of pandas is when one goes through it: its columns' names."""

    columns = ("oak", "elm")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "found a NoneType; expected a list of texts"),
        ({"oak": 1}, "found a dict; expected a list of texts"),
        (Frame(), "found a Frame; expected a list of texts.*pass one column"),
        (np.ones((2, len(WORDS)), complex), "counts are whole numbers, found complex128"),
    ],
)
def test_what_is_no_list_of_texts(fitted: DocumentBeliefNetwork, given: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        fitted.transform(given)


@pytest.mark.parametrize("codes", [[[1.0], [1.0, 2.0]], [["a"] * 6], [1.0] * 6, [[np.nan] * 6]])
def test_what_is_no_code(fitted: DocumentBeliefNetwork, codes: Any) -> None:
    with pytest.raises(UserError, match=r"^codes are "):
        fitted.inverse_transform(codes)
