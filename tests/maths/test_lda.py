"""LDA against scikit-learn from the same start, against enumeration, and its learner's promises;
and the unigram."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.data.bags import BagBatch, BagBatches, Bags, batch_of, batch_of_draws
from latentnlp.document_models import lda, unigram
from latentnlp.document_models._contract import log_weights
from latentnlp.learners.coordinate_ascent import Config, CoordinateAscent
from latentnlp.loop import fit
from latentnlp.run import RunDirectory

D, V, K, LENGTH = 12, 6, 3, 20
EXACT = lda.Config(
    topics=K,
    prior_topic=0.4,
    prior_word=0.2,
    local_iterations=5000,
    local_tolerance=1e-10,
    sharpness=1.0,
)
CPU = torch.device("cpu")


def matrix() -> np.ndarray:
    """Counts [D, V] of documents of one length."""
    d, w = np.arange(D)[:, None], np.arange(V)
    counts = np.clip((3 * d * d + 5 * d * w + 7 * w * w) % 13 - 8, 0, None)
    counts[np.arange(D), np.arange(D) % V] += LENGTH - counts.sum(1)
    return counts


def bags(counts: np.ndarray) -> Bags:
    rows, words = counts.nonzero()
    offsets = np.searchsorted(rows, np.arange(len(counts) + 1))
    found = counts[rows, words].astype(np.int32)
    return Bags(offsets, words.astype(np.int32), found, counts.shape[1])


def model(config: lda.Config = EXACT, counts: np.ndarray | None = None) -> Any:
    built = lda.build(
        config, (matrix() if counts is None else counts).sum(0).astype(float)
    ).double()
    built.concentration.copy_(torch.from_numpy(start(*built.concentration.shape)))
    return built


def start(topics: int = K, words: int = V) -> np.ndarray:
    return 1 + 0.5 * np.sin(1.0 + np.arange(topics * words)).reshape(topics, words)


def whole(counts: np.ndarray | None = None) -> BagBatch:
    all_bags = bags(matrix() if counts is None else counts)
    return batch_of(all_bags, np.arange(len(all_bags)))


def train(found: Any, config: Config, size: int, epochs: int) -> list[float]:
    """The corpus' bound at the start of each epoch."""
    learner = CoordinateAscent(config, found, 0, CPU)
    bounds = []
    for _ in range(epochs):
        documents = sum(
            float(learner.step(batch)["log_likelihood"])
            for batch in BagBatches(bags(matrix()), size)
        )
        bounds.append(documents - float(learner.end_epoch()["topic_divergence"]))
    return bounds


def bound(found: Any) -> float:
    return float(found.expect(whole()).bound.sum() - found.topic_divergence())


# (a) scikit-learn. What it gave is written down, and compared with it where it is installed.

MODES = {
    "batch": (Config(online=False), D, 5),
    "online": (Config(online=True, tau=3.0, kappa=0.6), 4, 4),
}
GOLDEN: dict[str, tuple[float, str]] = {  # the bound and λ
    "batch": (
        -331.479345,
        "45.124788 0.204914 9.748872 0.202018 25.770481 36.199489 "
        "0.200250 41.884947 0.242705 0.200643 0.547181 0.200453 "
        "6.274963 0.510139 35.608423 40.197339 0.282338 0.200058",
    ),
    "online": (
        -326.869946,
        "41.636289 0.273182 0.381951 0.597542 0.725172 37.767886 "
        "0.237478 35.909458 2.213621 0.217495 26.370866 1.218280 "
        "5.923376 1.607520 43.137518 38.888394 2.039372 0.307594",
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_same_numbers_as_scikit_learn_gave(mode: str) -> None:
    config, size, epochs = MODES[mode]
    found = model()
    train(found, config, size, epochs)
    expected_bound, expected = GOLDEN[mode]
    np.testing.assert_allclose(found.concentration.flatten(), numbers(expected), rtol=1e-5)
    assert bound(found) == pytest.approx(expected_bound, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_numbers_written_down_are_those_of_scikit_learn(mode: str) -> None:
    pytest.importorskip("sklearn")
    expected_bound, expected = GOLDEN[mode]
    found_bound, found = scikit_learn(*MODES[mode])
    np.testing.assert_allclose(found, numbers(expected), rtol=1e-5)
    assert found_bound == pytest.approx(expected_bound, rel=1e-6)


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split()]


def scikit_learn(config: Config, size: int, epochs: int) -> tuple[float, list[float]]:
    from sklearn.decomposition import LatentDirichletAllocation

    peer = LatentDirichletAllocation(
        n_components=K,
        doc_topic_prior=EXACT.prior_topic,
        topic_word_prior=EXACT.prior_word,
        learning_offset=config.tau,
        learning_decay=config.kappa,
        mean_change_tol=1e-12,
        max_doc_update_iter=5000,
        random_state=1,
    )
    peer._init_latent_vars(V)
    peer.components_ = start()
    scores = torch.from_numpy(start())
    scores = scores.digamma() - scores.sum(1, keepdim=True).digamma()
    peer.exp_dirichlet_component_ = scores.exp().numpy()
    counts = matrix().astype(float)
    for _ in range(epochs):
        for first in range(0, D, size):
            rows = counts[first : first + size]
            peer._em_step(rows, total_samples=D, batch_update=not config.online)
    gamma = peer._unnormalized_transform(counts)
    return float(peer._approx_bound(counts, gamma, False)), peer.components_.flatten().tolist()


# (b) The bound.


def test_batch_mode_never_lowers_the_bound() -> None:
    bounds = train(model(), Config(online=False), 5, 40)
    assert bounds[-1] > bounds[0] + 10
    assert all(after >= before - 1e-8 for before, after in itertools.pairwise(bounds))


def test_fitting_the_prior_raises_the_bound_further() -> None:
    plain = train(model(), Config(online=False), D, 60)
    fitted = model()
    bounds = train(fitted, Config(online=False, learn_prior=True), D, 60)
    assert all(after >= before - 1e-8 for before, after in itertools.pairwise(bounds))
    assert bounds[-1] > plain[-1] + 1
    assert float(fitted.prior_topic.std()) > 1e-3


def test_online_mode_climbs_too() -> None:
    found = model()
    before = bound(found)
    train(found, Config(), 4, 20)
    assert bound(found) > before + 10


# (c) Scores, by enumeration of each word's topic.


def log_evidence(found: Any, words: list[int]) -> float:
    """log Σ_z Dirichlet-multinomial(z) Π_n β_{z_n, w_n}."""
    beta, alpha = found.word_probabilities(), found.prior_topic
    total = 0.0
    for topics in itertools.product(range(len(alpha)), repeat=len(words)):
        n = torch.bincount(torch.tensor(topics, dtype=torch.int64), minlength=len(alpha))
        log_p = (alpha + n).lgamma().sum() - alpha.lgamma().sum()
        log_p = log_p + alpha.sum().lgamma() - (alpha + n).sum().lgamma()
        total += math.exp(log_p) * math.prod(
            float(beta[k, w]) for k, w in zip(topics, words, strict=True)
        )
    return math.log(total)


@pytest.mark.parametrize("sharpness", [1.0, 0.5])
def test_the_importance_weighted_bound_is_the_evidence_and_the_elbo_lies_below(
    sharpness: float,
) -> None:
    # α is large, or the variance of the weights is not finite: γ has to stay below 2 α.
    found = model(replace(EXACT, prior_topic=3.0, sharpness=sharpness))
    train(found, Config(online=False), D, 20)
    documents = [[0, 3, 5, 0], [2], []]
    batch = whole(np.stack([np.bincount(np.array(words, int), minlength=V) for words in documents]))
    exact = torch.tensor([log_evidence(found, document) for document in documents]).double()
    weights = log_weights(found, batch, 50_000, torch.Generator().manual_seed(1))
    ratio = (weights - exact).exp()  # its mean is 1
    error = ratio.std(0) / 50_000**0.5
    assert bool((error < 0.01).all())
    assert bool(((ratio.mean(0) - 1).abs() <= 4.5 * error + 1e-12).all())
    elbo = weights.mean(0)
    assert bool((elbo[:2] < exact[:2]).all()) and bool((elbo > exact - 1).all())
    assert elbo[2] == pytest.approx(0.0, abs=1e-9)  # an empty document: q is the prior


def test_the_joint_is_the_evidence_averaged_over_the_prior() -> None:
    found = model()
    train(found, Config(online=False), D, 20)
    document = [0, 0, 3, 5, 1, 4]
    batch = whole(np.bincount(document, minlength=V)[None])
    prior = lda.Dirichlet(found.prior_topic[None])
    z = prior.sample(20_000, torch.Generator().manual_seed(1))
    ratio = (found.log_joint(batch, z) - prior.log_prob(z) - log_evidence(found, document)).exp()
    assert abs(float(ratio.mean()) - 1) < 4.5 * float(ratio.std()) / 20_000**0.5 < 0.1


def test_the_posterior_maximises_its_own_elbo() -> None:
    """Any other γ is worse: q is fitted to the β that the scores are computed with."""
    found, batch = model(), whole()
    train(found, Config(online=False), D, 20)
    gamma = found.posterior(batch).concentration

    def elbo(gamma: Tensor) -> Tensor:
        """Jensen over each word's topic as well: what coordinate ascent climbs."""
        q = lda.Dirichlet(gamma)
        scores = q.mean_log()[:, :, None] + found.word_probabilities().log()  # [D, K, V]
        log_words = (batch.dense() * scores.logsumexp(1)).sum(1)
        return log_words - q.divergence(lda.Dirichlet(found.prior_topic))

    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        noise = torch.randn(gamma.shape, generator=generator, dtype=gamma.dtype)
        assert bool((elbo(gamma * (0.05 * noise).exp()) < elbo(gamma)).all())


def test_bound_and_counts_are_the_definitions() -> None:
    found, batch = model(), whole()
    expected = found.expect(batch)
    log_beta = lda.Dirichlet(found.concentration).mean_log()
    scores = expected.q.mean_log()[:, :, None] + log_beta  # [D, K, V]
    counts = torch.einsum("dv,dkv->kv", batch.dense().double(), scores.softmax(1))
    torch.testing.assert_close(expected.counts, counts)
    log_words = (batch.dense() * scores.logsumexp(1)).sum(1)
    divergence = expected.q.divergence(lda.Dirichlet(found.prior_topic))
    torch.testing.assert_close(expected.bound, log_words - divergence)


def test_words_and_codes() -> None:
    found, batch = model(), whole()
    q = found.posterior(batch)
    z = q.sample(4, torch.Generator().manual_seed(1))
    log_words = found.log_words(z)
    assert log_words.shape == (4, D, V)
    torch.testing.assert_close(log_words.exp().sum(-1), torch.ones(4, D).double())
    expected = (batch.dense() * log_words).sum(-1) + lda.Dirichlet(found.prior_topic).log_prob(z)
    torch.testing.assert_close(found.log_joint(batch, z), expected)
    codes = found.codes(batch)
    torch.testing.assert_close(codes.sum(1), torch.ones(D).double())
    torch.testing.assert_close(found.decode(codes), found.log_words(codes.log()[None])[0])


# (d) Batches.


def uneven() -> np.ndarray:
    """Documents of many lengths, an empty one among them."""
    counts = matrix() * (np.arange(D) % 4)[:, None]
    return np.concatenate([counts, 17 * matrix()[:3]])


@pytest.mark.parametrize("iterations", [3, 100])
def test_a_document_does_not_depend_on_its_company(iterations: int) -> None:
    config = lda.Config(topics=K, local_iterations=iterations)
    found, counts = model(config), uneven()
    together = found.posterior(whole(counts)).concentration
    for row, gamma in zip(counts, together, strict=True):
        alone = found.posterior(whole(row[None])).concentration[0]
        torch.testing.assert_close(alone, gamma, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(together[0], found.prior_topic)  # the empty one


def test_entries_of_count_0_say_nothing() -> None:
    found, counts = model(), uneven()
    rows, words = (torch.from_numpy(numbers) for numbers in counts.nonzero())
    times = torch.from_numpy(counts[counts > 0])
    lengths = torch.from_numpy(counts.sum(1)).float()
    drawn = batch_of_draws(
        words.repeat_interleave(times), rows.repeat_interleave(times), lengths, V
    )
    assert bool((drawn.counts == 0).any())
    one, many = found.expect(whole(counts)), found.expect(drawn)
    torch.testing.assert_close(one.q.concentration, many.q.concentration)
    torch.testing.assert_close(one.bound, many.bound)
    torch.testing.assert_close(one.counts, many.counts)


@pytest.mark.parametrize("counts", [np.zeros((3, V), int), np.zeros((0, V), int)])
@pytest.mark.parametrize("online", [True, False])
def test_batches_without_a_word(counts: np.ndarray, online: bool) -> None:
    found = model()
    learner = CoordinateAscent(Config(online=online), found, 0, CPU)
    before = found.concentration.clone()
    values = learner.step(whole(counts))
    learner.end_epoch()
    torch.testing.assert_close(found.concentration, before)
    assert float(values["log_likelihood"]) == pytest.approx(0.0, abs=1e-9)
    assert bool(found.concentration.isfinite().all())
    assert log_weights(found, whole(counts), 2).shape == (2, len(counts))


def test_rare_words_and_many_topics_do_not_underflow() -> None:
    """exp(ψ(1/400)) is 0 in float32."""
    found = lda.build(lda.Config(topics=400), np.ones(V))
    found.concentration.fill_(1 / 400)
    found.concentration[:, 0] = 1e6
    batch = whole()
    expected = found.expect(batch)
    assert bool(expected.bound.isfinite().all())
    torch.testing.assert_close(expected.counts.sum(), batch.counts.sum())


@pytest.mark.parametrize("online", [True, False])
def test_two_processes_are_as_one(online: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(online=online, learn_prior=True)
    first, second = whole(uneven()[:7]), whole(uneven()[7:])
    one = CoordinateAscent(config, model(), 0, CPU)
    one.step(whole(uneven()))
    one.end_epoch()

    other = CoordinateAscent(Config(online=False), model(), 0, CPU)  # gathers, and does not move
    other.step(second)
    theirs = iter([other.counts, other.sums, other.totals])
    monkeypatch.setattr(distributed, "sum_over_processes", lambda mine: mine.add_(next(theirs)))
    here = CoordinateAscent(config, model(), 0, CPU)
    here.step(first)
    here.end_epoch()
    assert next(theirs, None) is None
    torch.testing.assert_close(here.model.concentration, one.model.concentration)
    torch.testing.assert_close(here.model.prior_topic, one.model.prior_topic)


# (e) Under the loop.


@pytest.mark.parametrize("online", [True, False])
def test_a_resumed_run_ends_with_the_same_bits(online: bool, tmp_path: Path) -> None:
    config = Config(online=online, learn_prior=True)
    batches = BagBatches(bags(uneven()), 4, shuffle=True)

    def run(folder: str, stop: int | None) -> Any:
        found = model()
        learner = CoordinateAscent(config, found, 0, CPU)
        if stop is not None:
            learner.step = Stops(learner.step, stop)
        directory = RunDirectory.create(tmp_path / folder, config)
        fit(learner, batches, run=directory, stage="lda", epochs=3, checkpoint_seconds=0)
        return found

    expected = run("whole", None).state_dict()
    with pytest.raises(Stopped):
        run("cut", 6)
    found = run("cut", None).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


class Stopped(Exception):
    pass


class Stops:
    def __init__(self, step: Any, after: int) -> None:
        self.step, self.left = step, after

    def __call__(self, batch: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return self.step(batch)


# (f) Topics.


def test_topics() -> None:
    found = model()
    train(found, Config(online=False), D, 30)
    (topics,) = found.topics(BagBatches(bags(uneven()), 4))
    batch = whole(uneven())
    share = (batch.lengths.double() @ found.codes(batch)) / batch.lengths.sum()
    torch.testing.assert_close(topics.share, share)
    assert topics.shown.tolist() == share.argsort(descending=True).tolist()
    torch.testing.assert_close(topics.words.sum(1), torch.ones(K).double())
    marginal = share @ topics.words
    relevance = 0.6 * topics.words.log() + 0.4 * (topics.words / marginal).log()
    torch.testing.assert_close(topics.relevance, relevance)
    (of_nothing,) = found.topics([])
    torch.testing.assert_close(of_nothing.share, torch.full((K,), 1 / K).double())


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="prior_word"):
        lda.Config(prior_word=0.0)
    with pytest.raises(TypeError, match="latent Dirichlet"):
        CoordinateAscent(Config(), unigram.build(unigram.Config(), np.ones(3)), 0, CPU)  # type: ignore[arg-type]


# (g) The unigram.


def test_the_unigram() -> None:
    frequencies = np.array([3.0, 0.0, 5.0, 2.0])
    floor = unigram.build(unigram.Config(), frequencies)
    counts = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
    batch = whole(counts)
    log_p = np.log((frequencies + 0.01) / (10 + 0.04))
    weights = log_weights(floor, batch, 2)
    np.testing.assert_allclose(weights, np.tile(counts @ log_p, (2, 1)), rtol=1e-6)
    codes = floor.codes(batch)
    assert codes.shape == (3, 0)
    np.testing.assert_allclose(floor.decode(codes), np.tile(log_p, (3, 1)), rtol=1e-6)
    assert floor.log_words(floor.posterior(batch).sample(2)).shape == (2, 3, 4)
    assert floor.topics([batch]) == []
    with pytest.raises(ValueError, match="smoothing"):
        unigram.build(unigram.Config(smoothing=0.0), frequencies)


def test_nothing_is_shared_between_models() -> None:
    """A copy learns on its own."""
    found = model()
    twin = copy.deepcopy(found)
    train(found, Config(online=False), D, 1)
    assert not torch.equal(found.concentration, twin.concentration)
