"""Scores of document models by hand, by brute force and against gensim and scikit-learn."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from latentnlp import __version__
from latentnlp.data.bags import Bags
from latentnlp.errors import UserError
from latentnlp.evaluation import topics
from latentnlp.evaluation.topics import (
    SHARES,
    STRENGTHS,
    ImportanceWeights,
    active_units,
    coherence,
    diversity,
    linear_probe,
    perplexity,
    retrieval,
    softmax_regression,
    top_words,
)

INF, NAN = float("inf"), float("nan")
GENSIM = "gensim, the oracle of coherence, is not installed"
SKLEARN = "scikit-learn, the oracle of the probe, is not installed"


def bags(documents: list[list[int]], vocabulary_size: int) -> Bags:
    """Documents as lists of tokens."""
    counted = [
        np.unique(np.array(words, dtype=np.int64), return_counts=True) for words in documents
    ]
    sizes = [len(words) for words, _ in counted]
    return Bags(
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([words for words, _ in counted]).astype(np.int32),
        np.concatenate([counts for _, counts in counted]).astype(np.int32),
        vocabulary_size,
    )


# --- perplexity -----------------------------------------------------------------------------------


def test_perplexity_by_hand() -> None:
    # Two words of probability 1/4 each, one of 1/2; the third document has none.
    got = perplexity([2 * math.log(1 / 4), math.log(1 / 2), -7.0], [2, 1, 0], "elbo")
    assert (got.documents, got.empty, got.tokens) == (2, 1, 3)
    assert got.per_document == pytest.approx(math.sqrt(4 * 2))
    assert got.per_corpus == pytest.approx((4 * 4 * 2) ** (1 / 3))
    assert got.format() == (
        "perplexity 2.83 per document (95 %: 2.00 to 4.00)  3.17 per corpus  "
        f"perplexity|log-p:elbo|docs:2|empty:1|tokens:3|version:latentnlp-{__version__}"
    )
    assert json.loads(json.dumps(got.to_dict()))["per_corpus"] == got.per_corpus


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    lengths = torch.tensor([3.0, 100.0, 0.0, 7.0])
    got = perplexity(-lengths * math.log(2000), lengths, "exact")
    assert got.per_document == pytest.approx(2000)
    assert got.per_corpus == pytest.approx(2000)


def test_perplexity_of_the_impossible_is_infinite() -> None:
    got = perplexity([-INF, -1.0], [3, 1], "exact")
    assert got.per_document == got.per_corpus == INF
    assert perplexity([-1e6, -1.0], [3, 1], "exact").per_document == INF
    got = perplexity([-INF, *[-1.0] * 9], [1] * 10, "exact")
    assert got.interval == (pytest.approx(math.e), INF)


def test_perplexity_says_how_many_samples() -> None:
    assert "|log-p:iw|samples:1000|" in perplexity([-1.0], [1], "iw", samples=1000).signature
    assert "samples" not in perplexity([-1.0], [1], "completion").signature
    with pytest.raises(ValueError, match="number of samples"):
        perplexity([-1.0], [1], "iw")


@pytest.mark.parametrize(
    ("log_p", "lengths"),
    [([-1.0], [1, 2]), ([[-1.0]], [[1]]), ([-1.0], [-1]), ([-1.0], [NAN])],
)
def test_perplexity_of_nonsense(log_p: Any, lengths: Any) -> None:
    with pytest.raises(ValueError):
        perplexity(log_p, lengths, "exact")


def test_perplexity_of_a_model_that_diverged() -> None:
    with pytest.raises(UserError, match=r"is not a number: .* lower learning rate"):
        perplexity([NAN, -1.0], [1, 1], "elbo")
    assert perplexity([NAN, -1.0], [0, 1], "elbo").per_document == pytest.approx(math.e)


def test_no_perplexity_without_words() -> None:
    with pytest.raises(UserError, match="no document has a word"):
        perplexity([-1.0, 0.0], [0, 0], "elbo")


def test_the_interval_is_that_of_drawn_documents() -> None:
    random = np.random.default_rng(3)
    lengths = random.integers(0, 40, size=30)
    log_p = -lengths * random.uniform(3, 8, size=30)
    filled = np.flatnonzero(lengths)
    draw = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        rows = filled[draw.integers(len(filled), size=len(filled))]
        drawn.append(-(log_p[rows] / lengths[rows]).mean())
    got = perplexity(log_p, lengths, "elbo")
    assert got.interval == pytest.approx(tuple(np.exp(np.quantile(drawn, [0.025, 0.975]))))
    # As wide as the normal approximation has it.
    low, high = np.log(got.interval)
    deviation = np.std(log_p[filled] / lengths[filled]) / math.sqrt(len(filled))
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


# --- weights in chunks ----------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    weights = ImportanceWeights()
    weights.add(torch.tensor([[0.0, math.log(8)], [math.log(3), math.log(2)]]))
    weights.add(torch.tensor([[math.log(5), math.log(2)]]))
    assert weights.samples == 3
    assert weights.bound().tolist() == pytest.approx([math.log(9 / 3), math.log(12 / 3)])
    assert weights.elbo().tolist() == pytest.approx([math.log(15) / 3, math.log(32) / 3])


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_weights_do_not_depend_on_the_chunks(size: int) -> None:
    random = torch.Generator().manual_seed(1)
    log_w = -700 + 30 * torch.randn(1000, 5, generator=random)
    weights = ImportanceWeights()
    for chunk in log_w.split(size):
        weights.add(chunk)
    expected = log_w.double().logsumexp(0) - math.log(1000)
    torch.testing.assert_close(weights.bound(), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(weights.elbo(), log_w.double().mean(0), rtol=1e-12, atol=0)
    assert (weights.bound() > weights.elbo()).all()
    # What must not be done: the weights themselves are 0 in floating point.
    assert log_w.exp().mean(0).log().tolist() == [-INF] * 5


def test_weights_of_any_size() -> None:
    weights = ImportanceWeights()
    weights.add(torch.tensor([[-INF, -INF, 1e5, -1e5]]))
    weights.add(torch.tensor([[-INF, 0.0, -1e5, -1e5]]))
    half = -math.log(2)
    assert weights.bound().tolist() == [-INF, half, pytest.approx(1e5 + half), -1e5]
    assert weights.elbo().tolist() == [-INF, -INF, 0.0, -1e5]


def test_weights_of_other_documents_or_none() -> None:
    weights = ImportanceWeights()
    for value in (weights.bound, weights.elbo):
        with pytest.raises(ValueError, match="no weights"):
            value()
    weights.add(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="after chunks of 3"):
        weights.add(torch.zeros(2, 1))


# --- topics ---------------------------------------------------------------------------------------


def test_top_words_are_the_best_first_and_of_equals_the_lower() -> None:
    scores = torch.tensor([[0.1, 0.4, 0.4, 0.2], [-1.0, -INF, 0.0, 0.0]])
    assert top_words(scores, 3).tolist() == [[1, 2, 3], [2, 3, 0]]
    assert top_words(scores, 9).shape == (2, 4)


# Word 0 stands in documents 1 and 2 of 4, 1 in 1 to 3, 2 in the last, 3 in all and 4 in none.
SMALL = bags([[0, 1, 3, 3], [0, 0, 1, 3], [1, 3], [2, 3]], 5)


def test_coherence_by_hand() -> None:
    one = math.log((2 / 4) / (2 / 4 * 3 / 4)) / -math.log(2 / 4)
    assert coherence([[0, 1]], SMALL).npmi == pytest.approx(one)
    assert coherence([[1, 0]], SMALL).npmi == pytest.approx(one)
    assert coherence([[0, 2]], SMALL).npmi == -1  # never together
    assert coherence([[0, 3]], SMALL).npmi == 0  # independent of a word of all documents
    got = coherence([[0, 1, 2], [3, 0, 1]], SMALL)
    assert got.per_topic == pytest.approx([(one - 1 - 1) / 3, (0 + 0 + one) / 3])
    assert got.npmi == pytest.approx(sum(got.per_topic) / 2)
    assert (got.topics, got.words, got.documents, got.unseen) == (2, 3, 4, 0)


def test_perfect_pairs_and_words_of_all_documents() -> None:
    assert coherence([[0, 1]], bags([[0, 1], [0, 1], [2]], 3)).npmi == pytest.approx(1)
    assert coherence([[0, 1]], bags([[0, 1], [0, 1]], 3)).npmi == 0


def test_words_that_the_reference_does_not_have() -> None:
    got = coherence([[0, 1, 4], [-1, 0, 1], [-1, 4, -1]], SMALL)
    one = coherence([[0, 1]], SMALL).npmi
    assert got.per_topic == pytest.approx([(one - 2) / 3, (one - 2) / 3, -1])
    assert got.unseen == 5
    assert "|never:-1|unseen:5|" in got.signature


def test_only_the_best_words_count() -> None:
    ranked = [[0, 1, 2, 4]]
    assert coherence(ranked, SMALL, 2) == coherence([[0, 1]], SMALL, 2)
    assert coherence(ranked, SMALL, 2).npmi != coherence(ranked, SMALL, 4).npmi
    assert coherence(ranked, SMALL, 10).words == 4


def test_empty_documents_count_and_repetitions_do_not() -> None:
    longer = bags([[0, 1, 3], [], [0, 1, 1, 1, 3], [1, 3], [2, 3], []], 5)
    one = math.log((2 / 6) / (2 / 6 * 3 / 6)) / -math.log(2 / 6)
    assert coherence([[0, 1]], longer).npmi == pytest.approx(one)


def texts_of_topics(
    random: np.random.Generator, documents: int, vocabulary_size: int
) -> tuple[list[list[int]], np.ndarray]:
    """Zipfian documents, some empty; 12 topics of 10 words: common ones, related ones, any."""
    shares = 1 / np.arange(1, vocabulary_size + 1)
    texts = []
    for number in range(documents):
        words = random.choice(vocabulary_size, size=number % 30, p=shares / shares.sum())
        related = random.integers(20, 40, size=10) if number % 3 == 0 and number % 30 else []
        texts.append([*words.tolist(), *map(int, related)])
    groups = [range(20), range(20, 40), range(vocabulary_size)]
    top = [random.choice(groups[t % 3], size=10, replace=False) for t in range(12)]
    return texts, np.stack(top)


def test_coherence_by_brute_force() -> None:
    # More documents than are looked at together, and exact arithmetic up to the logarithm.
    texts, top = texts_of_topics(np.random.default_rng(2), 2500, 300)
    assert len(texts) > 2 * topics._DOCUMENTS
    sets = [frozenset(text) for text in texts]

    def npmi(a: int, b: int) -> float:
        both = sum(a in one and b in one for one in sets)
        if not both:
            return -1.0
        alone = sum(a in one for one in sets) * sum(b in one for one in sets)
        pmi = math.log(Fraction(both * len(sets), alone))
        return pmi / -math.log(Fraction(both, len(sets)))

    got = coherence(top, bags(texts, 300))
    for t, words in enumerate(top.tolist()):
        pairs = [npmi(a, b) for n, a in enumerate(words) for b in words[:n]]
        assert len(pairs) == 45
        assert got.per_topic[t] == pytest.approx(sum(pairs) / 45, abs=1e-12)
    common, related, other = (np.mean(got.per_topic[t::3]) for t in range(3))
    assert related > common + 0.1 > other


def test_coherence_is_gensims_by_documents() -> None:
    """c_npmi with a window longer than any document: one window a document.

    Where a pair never stands together, gensim's ε = 1e-12 stands in for p(a, b) and gives, with
    e = log ε, (e − log p(a) p(b)) / −e: the difference from our −1 is log(p(a) p(b)) / e.
    """
    corpora = pytest.importorskip("gensim.corpora", reason=GENSIM)
    models = pytest.importorskip("gensim.models", reason=GENSIM)
    texts, top = texts_of_topics(np.random.default_rng(4), 1500, 200)
    words = [[f"w{word}" for word in text] for text in texts]
    names = [[f"w{word}" for word in topic] for topic in top]
    model = models.CoherenceModel(
        topics=names,
        texts=words,
        dictionary=corpora.Dictionary(words),
        coherence="c_npmi",
        window_size=1 + max(map(len, words)),
        topn=10,
        processes=1,
    )
    theirs = np.array(model.get_coherence_per_topic())
    reference = bags(texts, 200)
    got = coherence(top, reference)

    have = np.array([[word in set(text) for word in range(200)] for text in texts], dtype=float)
    share, together = have.mean(axis=0), have.T @ have
    epsilon = np.zeros(len(top))
    for t, topic in enumerate(top):
        never = [(a, b) for a in topic for b in topic if a < b and not together[a, b]]
        epsilon[t] = sum(math.log(share[a] * share[b]) for a, b in never) / math.log(1e-12) / 45
    assert got.unseen == 0  # gensim has none or infinity there
    plain = epsilon == 0
    assert plain.sum() >= 4 and (~plain).sum() >= 3
    np.testing.assert_allclose(np.array(got.per_topic)[plain], theirs[plain], atol=1e-6)
    np.testing.assert_allclose(np.array(got.per_topic) + epsilon, theirs, atol=1e-6)
    # The oracle can tell: half of the documents are another reference.
    other = np.array(coherence(top, reference.select(np.arange(0, 1500, 2))).per_topic)
    assert np.abs(other[plain] - theirs[plain]).max() > 1e-3


@pytest.mark.parametrize(
    "top", [[[0, 5]], [[0, -2]], [[0, 0]], [[0]], [0, 1], [[]], np.zeros((0, 10))]
)
def test_coherence_of_nonsense(top: Any) -> None:
    with pytest.raises(ValueError):
        coherence(top, SMALL)


def test_no_coherence_without_documents() -> None:
    with pytest.raises(UserError, match="reference corpus has no document"):
        coherence([[0, 1]], SMALL.select(np.arange(0)))


def test_diversity_by_hand() -> None:
    top = [[0, 1, 2], [2, 3, 9], [0, 4, 2]]
    assert diversity(top, 1).diversity == 2 / 3  # 0, 2
    assert diversity(top, 2).diversity == 5 / 6  # 0, 1, 2, 3, 4
    assert diversity(top).diversity == 6 / 9
    assert diversity(top).words == 3
    assert diversity([[5, 6]] * 4).diversity == 1 / 4
    assert diversity(np.arange(50).reshape(2, 25)).format().startswith("diversity@25 1.0000  ")
    with pytest.raises(ValueError):
        diversity([0, 1])


# --- retrieval ------------------------------------------------------------------------------------


def test_retrieval_by_hand() -> None:
    database = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [-3.0, 0.0]]
    labels = ["a", "b", "b", "a"]
    # Query 1 (a) ranks 1 3 2 4: a b b a. Query 2 (b) ranks 2 3, then 1 and 4 (equals): b b a a.
    got = retrieval([[5.0, 0.1], [0.0, 1.0]], ["a", "b"], database, labels, (0.1, 0.5, 1.0), 3)
    assert got.precisions == pytest.approx([(1 + 1) / 2, (1 / 2 + 1) / 2, 1 / 2])
    assert got.precision_at_best == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert (got.queries, got.database, got.unlabelled, got.best) == (2, 4, 0, 3)
    assert got.format() == (
        "precision@3 50.00  shares @0.1 100.00  @0.5 75.00  @1 50.00  retrieval|queries:2|"
        f"database:4|unlabelled:0|cosine|ties:earlier|version:latentnlp-{__version__}"
    )


def test_of_equals_the_earlier_comes_first_and_zeros_equal_all() -> None:
    database, labels = [[0.0, 1.0], [0.0, 0.0], [0.0, 3.0], [1.0, 0.0]], ["a", "b", "c", "d"]

    def first(query: list[float], count: int) -> set[str]:
        found = {}
        for label in "abcd":
            got = retrieval([query], [label], database, labels, (), count)
            found[label] = got.precision_at_best * count
        assert sum(found.values()) == pytest.approx(count)
        return {label for label, hits in found.items() if hits}

    assert [first([0.0, 0.0], m) for m in (1, 2, 3)] == [{"a"}, {"a", "b"}, {"a", "b", "c"}]
    assert [first([0.0, 0.1], m) for m in (1, 2, 3)] == [{"a"}, {"a", "c"}, {"a", "b", "c"}]
    assert [first([1e-9, -1e-9], m) for m in (1, 2)] == [{"d"}, {"b", "d"}]


def brute_retrieval(
    queries: np.ndarray, wanted: list[Any], database: np.ndarray, labels: list[Any], m: int
) -> float:
    """Precision@m by a stable sort of every query's cosines, in steps of 2⁻²⁰."""

    def unit(codes: np.ndarray) -> np.ndarray:
        norms = np.linalg.norm(codes, axis=1, keepdims=True)
        return codes / np.where(norms == 0, 1, norms)

    cosines = np.rint(unit(queries) @ unit(database).T * 2**20)
    precisions = []
    for row, label in zip(cosines, wanted, strict=True):
        best = np.argsort(-row, kind="stable")[:m]
        precisions.append(np.mean([labels[n] == label for n in best]))
    return float(np.mean(precisions))


@pytest.mark.parametrize("bits", [False, True])
def test_retrieval_by_brute_force(bits: bool) -> None:
    random = np.random.default_rng(6)
    wanted, labels = random.integers(4, size=150), random.integers(4, size=700)
    centres = random.normal(size=(4, 6))
    queries = centres[wanted] + 1.5 * random.normal(size=(150, 6))
    database = centres[labels] + 1.5 * random.normal(size=(700, 6))
    if bits:  # 64 codes, that of zeros among them: ties everywhere
        queries, database = (queries > 0).astype(float), (database > 0).astype(float)
        assert (database.sum(axis=1) == 0).any()
    assert len(queries) > 2 * topics._QUERIES
    got = retrieval(
        torch.tensor(queries), [str(y) for y in wanted], database, [str(y) for y in labels]
    )
    assert got.shares == SHARES
    # .5 of a document and less is one; .7 · 4 = 2.8 of them are 3.
    sizes = [1, 1, 3, 11, 45, 179, 700]
    for size, precision in zip(sizes, got.precisions, strict=True):
        brute = brute_retrieval(queries, wanted.tolist(), database, labels.tolist(), size)
        # In float32 a cosine may fall on the other side of a step: one pair in thousands.
        assert precision == pytest.approx(brute, abs=2e-3 / math.sqrt(size))
    brute = brute_retrieval(queries, wanted.tolist(), database, labels.tolist(), 10)
    assert got.precision_at_best == pytest.approx(brute, abs=1e-3)
    assert got.precisions[0] > 0.3 > got.precisions[-1]


def test_retrieval_of_chance() -> None:
    random = np.random.default_rng(7)
    queries, database = random.normal(size=(400, 8)), random.normal(size=(500, 8))
    wanted = [str(y) for y in random.integers(4, size=400)]
    labels = [str(y) for y in random.integers(4, size=500)]
    got = retrieval(queries, wanted, database, labels)
    # 4,000 answers, right one in four: three deviations are 2 %; queries share documents.
    assert got.precision_at_best == pytest.approx(got.precisions[-1], abs=0.04)
    itself = retrieval(database, labels, database, labels, (), 1)
    assert itself.precision_at_best == 1


def test_documents_without_a_label_are_left_out() -> None:
    random = np.random.default_rng(8)
    queries, database = random.normal(size=(20, 3)), random.normal(size=(30, 3))
    wanted: list[str | None] = [["a", "b"][n % 2] for n in range(20)]
    labels: list[str | None] = [["a", "b", "c"][n % 3] for n in range(30)]
    plain = retrieval(queries, wanted, database, labels)
    more = retrieval(
        np.concatenate([[[9.0, 9, 9]], queries]),
        [None, *wanted],
        np.concatenate([database, queries]),
        [*labels, *[None] * 20],
    )
    assert more == replace(plain, unlabelled=21)


def test_length_of_a_code_does_not_matter() -> None:
    random = np.random.default_rng(9)
    queries, database = random.normal(size=(20, 3)), random.normal(size=(30, 3))
    wanted, labels = ["a", "b"] * 10, ["a", "b", "c"] * 10
    scale = np.exp(random.normal(size=(30, 1)) * 50)
    plain = retrieval(queries, wanted, database, labels)
    assert retrieval(queries * 1e200, wanted, database * scale, labels) == plain
    assert retrieval(queries + 1, wanted, database + 1, labels) != plain  # centring does


def test_retrieval_of_nonsense() -> None:
    codes = np.ones((2, 3))
    with pytest.raises(ValueError, match="against codes of 2"):
        retrieval(codes, ["a", "b"], np.ones((2, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="1 labels"):
        retrieval(codes, ["a"], codes, ["a", "b"])
    with pytest.raises(ValueError, match="finite"):
        retrieval(codes * NAN, ["a", "b"], codes, ["a", "b"])
    with pytest.raises(UserError, match="no database document has a label"):
        retrieval(codes, ["a", "b"], codes, [None, None])


# --- linear probe ---------------------------------------------------------------------------------


def labelled(
    random: np.random.Generator, documents: int, noise: float = 1.0
) -> tuple[np.ndarray, list[str]]:
    """Codes around the corners of three classes, the first the commonest."""
    centres = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 2.0, 1.0]])
    numbers = random.choice(3, size=documents, p=[0.5, 0.3, 0.2])
    codes = centres[numbers] + noise * random.normal(size=(documents, 4))
    return codes, [["x", "y", "z"][n] for n in numbers]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_softmax_regression_is_scikit_learns(strength: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason=SKLEARN)
    codes, labels = labelled(np.random.default_rng(10), 300)
    y = np.array(["xyz".index(label) for label in labels])
    theirs = linear_model.LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(codes, y)
    got = softmax_regression(torch.from_numpy(codes), torch.from_numpy(y), 3, strength)
    np.testing.assert_allclose(got[:-1].T, theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(got[-1], theirs.intercept_, atol=1e-3)
    # The oracle can tell: twice the penalty is another answer.
    other = softmax_regression(torch.from_numpy(codes), torch.from_numpy(y), 3, strength / 2)
    assert np.abs(other[:-1].T.numpy() - theirs.coef_).max() > 5e-3


def test_softmax_regression_stands_still_at_its_optimum() -> None:
    codes, labels = labelled(np.random.default_rng(11), 200)
    x, y = torch.from_numpy(codes), torch.tensor(["xyz".index(label) for label in labels])
    weights = softmax_regression(x, y, 3, 0.1).requires_grad_()
    log_p = (x @ weights[:-1] + weights[-1]).log_softmax(1)
    loss = 0.5 * weights[:-1].square().sum() - 0.1 * log_p[torch.arange(200), y].sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.abs().max() < 1e-6 * 0.1 * 200 * 1.01
    assert abs(float(weights.detach()[-1].sum())) < 1e-9
    warm = softmax_regression(x, y, 3, 0.1, softmax_regression(x, y, 3, 1.0))
    torch.testing.assert_close(warm, weights.detach(), rtol=0, atol=1e-3)


def test_probe_is_scikit_learns_on_standardised_codes() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason=SKLEARN)
    metrics = pytest.importorskip("sklearn.metrics", reason=SKLEARN)
    random = np.random.default_rng(12)
    (codes, labels), (test, gold) = labelled(random, 300, 2), labelled(random, 200, 2)
    scale = np.array([1e-3, 1.0, 50.0, 7.0])
    codes, test = codes * scale + 3, test * scale + 3
    mean, deviation = codes.mean(axis=0), codes.std(axis=0)
    theirs = linear_model.LogisticRegression(C=1.0, tol=1e-8).fit(
        (codes - mean) / deviation, labels
    )
    answers = theirs.predict((test - mean) / deviation)
    got = linear_probe((codes, labels), (torch.from_numpy(test), gold))
    assert got.accuracy == pytest.approx(np.mean(answers == np.array(gold)))
    assert got.macro_f1 == pytest.approx(metrics.f1_score(gold, answers, average="macro"))
    assert got.majority == pytest.approx(gold.count("x") / 200)
    assert got.majority + 0.1 < got.accuracy < 0.95
    assert (got.strength, got.dev, got.training, got.documents, got.classes) == (1, 0, 300, 200, 3)
    assert "|standardised|C:1|training:300|docs:200|" in got.signature


def test_dev_chooses_the_penalty() -> None:
    random = np.random.default_rng(13)
    # 60 numbers of noise for 40 documents: a strong penalty predicts better.
    train, dev, test = (labelled(random, n) for n in (40, 200, 200))

    def noisy(part: tuple[np.ndarray, list[str]]) -> tuple[np.ndarray, list[str]]:
        return np.concatenate([part[0], random.normal(size=(len(part[0]), 60))], axis=1), part[1]

    train, dev, test = noisy(train), noisy(dev), noisy(test)
    got = linear_probe(train, test, dev)
    x = (train[0] - train[0].mean(0)) / train[0].std(0)
    y = torch.tensor(["xyz".index(label) for label in train[1]])
    right = {}
    for strength in STRENGTHS:
        w = softmax_regression(torch.from_numpy(x), y, 3, strength).numpy()
        best = ((dev[0] - train[0].mean(0)) / train[0].std(0) @ w[:-1] + w[-1]).argmax(1)
        right[strength] = np.mean(
            ["xyz"[n] == label for n, label in zip(best, dev[1], strict=True)]
        )
    assert len(set(right.values())) > 2
    assert got.strength == max(STRENGTHS, key=right.__getitem__)
    assert (got.dev, got.accuracy > got.majority) == (200, True)
    assert f"|C:{got.strength:g}-of-0.001,0.01,0.1,1-by-200-dev-docs|" in got.signature
    swapped = linear_probe(train, test, (test[0], ["y"] * 200))
    assert swapped.strength != got.strength  # it is dev that chooses


def test_probe_of_codes_that_say_nothing() -> None:
    random = np.random.default_rng(14)
    _, labels = labelled(random, 300)
    _, gold = labelled(random, 300)
    got = linear_probe((random.normal(size=(300, 4)), labels), (random.normal(size=(300, 4)), gold))
    assert got.accuracy == pytest.approx(got.majority, abs=0.05)
    # Constant codes, whose mean is not exact in floating point: always the commonest class.
    constant = np.full((300, 2), 0.1)
    other = random.normal(size=(300, 2))
    got = linear_probe((constant, labels), (constant + other, gold))
    assert got.accuracy == got.majority == gold.count("x") / 300


def test_probe_leaves_out_the_unlabelled_and_fails_at_new_labels() -> None:
    random = np.random.default_rng(15)
    train, (codes, gold) = labelled(random, 100), labelled(random, 50)
    plain = linear_probe(train, (codes, gold))
    blank = (np.concatenate([train[0], codes * 99]), [*train[1], *[None] * 50])
    more = linear_probe(blank, (np.concatenate([codes, codes]), [*gold, *[None] * 50]))
    assert more == replace(plain, unlabelled=50)
    new = linear_probe(train, (np.concatenate([codes, codes]), [*gold, *["new"] * 50]))
    assert new.accuracy == pytest.approx(plain.accuracy / 2)
    assert new.majority == pytest.approx(plain.majority / 2)
    with pytest.raises(ValueError, match="codes of 3 numbers, in training 4"):
        linear_probe(train, (codes[:, :3], gold))
    with pytest.raises(UserError, match="no training document has a label"):
        linear_probe((train[0], [None] * 100), (codes, gold))
    # One class: nothing to learn, nothing to fail at.
    assert linear_probe((codes, ["x"] * 50), (codes, ["x"] * 50)).accuracy == 1


# --- active units ---------------------------------------------------------------------------------


def test_active_units_by_hand() -> None:
    # Variances over two documents: .04, .0100000… above, .0081, 0.
    means = [[0.1, 0.3, 0.50, 0.7], [0.5, 0.502, 0.68, 0.7]]
    got = active_units(means)
    assert (got.documents, got.units, got.active, got.on, got.entropy) == (2, 4, 2, None, None)
    assert active_units(means, 0.039).active == 1
    assert active_units(torch.tensor(means) * 100).active == 3
    assert got.format().startswith("active 2 of 4  active-units|docs:2|units:4|variance:0.01|")


def test_bits_that_are_on() -> None:
    got = active_units([[0.5, 1.0, 0.0], [0.25, 1.0, 1.0]], bits=True)
    assert got.on == pytest.approx((1.5 + 2.25) / 2)
    assert got.entropy == pytest.approx((1 + (0.25 * 2 - 0.75 * math.log2(0.75))) / 2)
    assert got.active == 2
    sure = active_units([[1.0, 0.0]], bits=True)
    assert (sure.active, sure.on, str(sure.entropy)) == (0, 1, "0.0")
    with pytest.raises(ValueError, match="outside"):
        active_units([[1.5]], bits=True)
    with pytest.raises(ValueError, match="finite"):
        active_units([[NAN]])
    with pytest.raises(UserError, match="no document"):
        active_units(np.zeros((0, 3)))


def test_every_score_can_be_written_as_json() -> None:
    codes, labels = labelled(np.random.default_rng(16), 30)
    scores = [
        perplexity([-1.0], [1], "iw", samples=5),
        coherence([[0, 1]], SMALL),
        diversity([[0, 1]]),
        retrieval(codes, labels, codes, labels),
        linear_probe((codes, labels), (codes, labels)),
        active_units(codes),
    ]
    for score in scores:
        written = json.loads(json.dumps(score.to_dict(), allow_nan=False))
        assert written["signature"] == score.signature
        assert score.format().endswith(score.signature) and "\n" not in score.format()
