"""Evidence: every numeric step against brute force, the whole against planted cues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_documents import CUES, planted

from latentnlp import checkpoint
from latentnlp.data.documents import Document
from latentnlp.data.ngrams import Corpus, Design, Lexicon
from latentnlp.errors import UserError
from latentnlp.evaluation.rationale import agreement
from latentnlp.models import evidence
from latentnlp.models.evidence import Config, Evidence, Level

SMALL = Config(windows=(5, 10), folds=3, steps=60, share=0.15)


def learn(documents: Sequence[Document], classes: int = 2, seed: int = 1) -> Evidence:
    return evidence.fit(documents, [int(d.label or 0) for d in documents], classes, SMALL, seed)


def average_precision(model: Evidence, documents: Sequence[Document]) -> float:
    scores = [model.probabilities(d).tolist() for d in documents]
    marks = [d.rationale or () for d in documents]
    found = agreement(marks, marks, [len(d.tokens) for d in documents], scores)
    assert found.average_precision is not None
    return found.average_precision


@pytest.fixture(scope="module")
def training() -> list[Document]:
    return planted(150)


@pytest.fixture(scope="module")
def model(training: list[Document]) -> Evidence:
    return learn(training)


# ------------------------------------------------------------------------------------- the whole


def test_planted_cues_are_found(model: Evidence) -> None:
    new = planted(60, seed=2)
    best = 0
    for document in new:
        start, end = (document.rationale or ((0, 0),))[0]
        best += start <= int(model.scores(document).argmax()) < end
    assert best >= 57  # of 60
    assert average_precision(model, new) > 0.8  # random: 7 words of 96


def test_labels_that_mean_nothing_find_nothing(training: list[Document], model: Evidence) -> None:
    random = np.random.default_rng(5)
    shuffled = [replace(d, label=str(random.integers(2))) for d in training]
    new = planted(60, seed=2)
    assert average_precision(learn(shuffled), new) < average_precision(model, new) - 0.3


def test_three_classes() -> None:
    new = planted(60, classes=3, seed=2)
    assert average_precision(learn(planted(150, classes=3), classes=3), new) > 0.8


def test_a_sentences_final_mark_is_below_its_sentence(model: Evidence) -> None:
    document = planted(1, seed=3)[0]
    without = replace(model, config=replace(SMALL, final_mark=0.0))
    lowered = without.scores(document) - model.scores(document)
    assert lowered.tolist() == pytest.approx([3.0 * (t == ".") for t in document.tokens])


def test_same_seed_same_scores_other_seed_others(training: list[Document], model: Evidence) -> None:
    document = planted(1, seed=3)[0]
    assert learn(training).scores(document).tolist() == model.scores(document).tolist()
    assert learn(training, seed=2).scores(document).tolist() != model.scores(document).tolist()


def test_saved_and_loaded_scores_are_equal(model: Evidence, tmp_path: Path) -> None:
    model = replace(model, offset=0.25)
    checkpoint.save(tmp_path / "model", model.state())
    again = Evidence.from_state(checkpoint.load(tmp_path / "model"))
    document = planted(1, seed=3)[0]
    assert again.scores(document).tolist() == model.scores(document).tolist()
    assert again.probabilities(document).tolist() == model.probabilities(document).tolist()
    assert again.config == model.config


@pytest.mark.parametrize("tokens", [("oak",), ("never", "seen"), (".",), ("Oak", "ba", "elm", ".")])
def test_short_documents(model: Evidence, tokens: tuple[str, ...]) -> None:
    scores = model.scores(Document("one", tokens))
    assert scores.shape == (len(tokens),)
    assert np.isfinite(scores).all()


def test_learns_from_documents_of_one_word_and_of_one_sentence() -> None:
    documents = [Document(str(n), (CUES[n % 2][0],), str(n % 2)) for n in range(12)]
    documents += [Document(f"s{n}", ("ba", CUES[n % 2][1], "bo"), str(n % 2)) for n in range(12)]
    scores = learn(documents).scores(Document("new", ("ba", "soup", "bo")))
    assert np.isfinite(scores).all()


def test_no_frequent_word_is_an_error() -> None:
    documents = [Document(str(n), (f"w{n}",), str(n % 2)) for n in range(6)]
    with pytest.raises(UserError, match=r"evidence\.min_count"):
        learn(documents)


# ------------------------------------------------------------------------------ n-grams and units


def small_corpus() -> tuple[Corpus, Lexicon]:
    documents = [
        Document("1", ("A", "b", "a", "b", "."), None, None, (0, 2)),
        Document("2", ("b", "a", "!"), None, None, (0,)),
    ]
    lexicon = Lexicon.of(documents, 2)
    return Corpus.of(documents, lexicon), lexicon


def test_n_grams_of_units_by_hand() -> None:
    corpus, lexicon = small_corpus()
    assert lexicon.words == ("a", "b")
    assert lexicon.pairs.tolist() == [[1, 0]]  # "b a"; "a b" stands in one document
    assert corpus.words.tolist() == [0, 1, 0, 1, -1, 1, 0, -1]
    # The second word's pair ends in the next sentence; no pair goes from text to text.
    assert corpus.pairs.tolist() == [-1, 2, -1, -1, -1, 2, -1, -1]
    assert corpus.closing.tolist() == [False] * 4 + [True, False, False, True]
    sentences = Design(corpus, corpus.sentence_units(), len(lexicon))
    root = [2**-0.5, 2**-0.5, 0]
    expected = np.array([root, root, [3**-0.5] * 3])
    assert np.allclose(sentences.x.to_dense().numpy(), expected)
    assert np.allclose(sentences.transposed.to_dense().numpy(), expected.T)
    assert sentences.counts(torch.tensor([1.0, 2.0, 4.0]).double()).tolist() == pytest.approx(
        [7, 7, 4]
    )
    texts = Design(corpus, corpus.text_units(), len(lexicon))
    assert np.allclose(texts.x.to_dense().numpy(), 3**-0.5)


@pytest.mark.parametrize("length", [1, 3, 50])
def test_windows_follow_each_other_within_documents(length: int) -> None:
    documents = planted(5)
    corpus = Corpus.of(documents, Lexicon.of(documents, 1))
    units = corpus.window_units(length, np.random.default_rng(1))
    document = corpus.document_of(units[:, 0])
    assert (document == corpus.document_of(units[:, 1] - 1)).all()
    assert sorted(set(document.tolist())) == list(range(5))
    sizes = units[:, 1] - units[:, 0]
    assert sizes.max() <= length and (2 * sizes >= length).all()
    same = document[1:] == document[:-1]
    assert (units[1:, 0][same] == units[:-1, 1][same]).all()


# -------------------------------------------------------------------------------- numeric helpers


@pytest.mark.parametrize("classes", [2, 4])
def test_softmax_regression_is_at_the_optimum(classes: int) -> None:
    documents = planted(30)
    lexicon = Lexicon.of(documents, 4)
    corpus = Corpus.of(documents, lexicon)
    design = Design(corpus, corpus.sentence_units(), len(lexicon))
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (design.x.shape[0],), generator=random)
    weight = torch.rand(len(labels), generator=random).double()
    b = evidence.softmax_regression(design, labels, weight, 1.5, classes).requires_grad_()
    logits = design.x.to_dense() @ b[:-1] + b[-1]
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    (0.5 * b.square().sum() + 1.5 * (weight * losses).sum()).backward()
    assert b.grad is not None and b.grad.abs().max() < 5e-3
    assert b.detach().abs().max() > 0.1


def test_naive_bayes_is_counting() -> None:
    documents = planted(20)
    lexicon = Lexicon.of(documents, 3)
    corpus = Corpus.of(documents, lexicon)
    units = corpus.sentence_units()
    design = Design(corpus, units, len(lexicon))
    random = np.random.default_rng(1)
    selected, weight = random.random(len(units)), random.integers(0, 2, len(units))
    counts: list[Counter[int]] = [Counter(), Counter()]
    for (start, end), q, w in zip(units, selected, weight, strict=True):
        for word in set(corpus.words[start:end].tolist()) - {-1}:
            counts[0][word] += w * q
            counts[1][word] += w * (1 - q)
    size = len(lexicon.words)
    both = np.array([[one[word] + 0.5 for word in range(size)] for one in counts])
    expected = np.log(both / both.sum(1, keepdims=True))
    tensors = torch.from_numpy(selected), torch.from_numpy(weight).double()
    found = evidence.naive_bayes(design, *tensors, size, 0.5)
    assert np.allclose(found, expected[0] - expected[1])


def test_level_solves_the_normal_equations() -> None:
    random = np.random.default_rng(1)
    a, gain = random.normal(3, 2, (50, 6)), random.normal(1, 1, 50)
    columns = (1, 2, 5)
    level = Level.learn(a, gain, columns, 7.0)
    z = (a[:, columns] - a[:, columns].mean(0)) / a[:, columns].std(0)
    left = z.T @ (gain - gain.mean() - z @ level.weights)  # half the negative slope of the squares
    assert np.allclose(left, 7.0 * level.weights)
    assert np.allclose(level.scores(a), z @ level.weights)


def test_neighbourhoods_by_brute_force() -> None:
    random = np.random.default_rng(1)
    words, starts = random.normal(0, 1, 30), [0, 4, 19]
    found = evidence.neighbourhoods(words, np.array(starts))
    place = np.arange(30)
    for column, deviation in enumerate((2, 5, 10, 20, 40, 80)):
        for t in (0, 7, 29):
            near = np.abs(place - t) <= 3 * deviation + 1
            weight = np.exp(-0.5 * ((place - t) / deviation) ** 2) * near
            assert found[t, column] == pytest.approx(weight @ words / weight.sum())
    assert found[7, 6] == pytest.approx(words[4:19].sum() / 15**0.5)
    assert found[7, 7] == pytest.approx(words[4:19].mean())
    assert found[7, 8] == pytest.approx(words.mean())
    p = 7.5 / 30
    assert found[7, 9:] == pytest.approx([p, p**2, p**3, np.exp(-20 * p), np.exp(-20 * (1 - p))])


def test_offset_gives_the_rate_as_far_as_its_bound_goes() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(1)).double() * 5
    b = evidence.offset(logits, 0.05, 50.0)
    assert float((logits + b).sigmoid().mean()) == pytest.approx(0.05)
    assert float(evidence.offset(logits, 0.05, 1.0)) == pytest.approx(-1.0)


def test_soft_labels_have_the_share_above_one_half() -> None:
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(1)).double()
    labels = evidence.soft_labels(logits, Config(share=0.2))
    assert int((labels > 0.5).sum()) == 200
    assert (labels.argsort() == logits.argsort()).all()


def test_the_selector_climbs_the_expected_log_likelihood() -> None:
    """Against its start, by the exact expectation over all subsets of the units."""
    documents = planted(40, sentences=6)
    lexicon = Lexicon.of(documents, 3)
    corpus = Corpus.of(documents, lexicon)
    units = corpus.sentence_units()
    design = Design(corpus, units, len(lexicon))
    labels = torch.tensor([int(d.label or 0) for d in documents])
    document = corpus.document_of(units[:, 0])
    # Only the unit with the cue speaks for the class; all others are against it.
    cue = torch.tensor(
        [any(corpus.words[a:b][k] in cues(lexicon) for k in range(b - a)) for a, b in units]
    )
    sign = torch.where(cue, 2.0, -1.0).double() * (2 * labels[document] - 1)
    logits = torch.stack([-sign / 2, sign / 2], 1)
    config = Config(steps=30, rate=0.2)
    shares = torch.tensor([0.5, 0.5]).double().log()

    def objective(s: torch.Tensor) -> float:
        p = (s + evidence.offset(s, 0.2, 10.0)).sigmoid().reshape(len(documents), 6)
        bits = torch.tensor([[n >> k & 1 for k in range(6)] for n in range(64)]).double()
        z = bits[:, None].expand(64, len(documents), 6)
        chance = torch.where(z > 0, p, 1 - p).prod(-1)
        value = evidence._reward(logits.reshape(-1, 6, 2), labels, shares, z)
        by_hand = torch.where(bits.sum(1) > 0, bits @ sign[:6] / bits.sum(1).clamp(min=1), 0.0)
        first = torch.nn.functional.logsigmoid(by_hand * (2 * labels[0] - 1))
        assert torch.allclose(value[:, 0], first)
        return float((chance * value).sum(0).mean())

    s = evidence.learn_selector(
        design, logits, document, labels, shares, config, torch.Generator().manual_seed(1)
    )
    assert objective(s) > objective(torch.zeros(len(units)).double()) + 0.1
    assert s[cue].mean() > s[~cue].mean() + 1


def cues(lexicon: Lexicon) -> set[int]:
    return {lexicon.number[word] for words in CUES for word in words if word in lexicon.number}
