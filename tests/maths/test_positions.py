"""Position models: they are distributions, blind to padding, and their M-steps climb."""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
from tiny import LOG_ZERO, make_batch, mixed_batch, random_sentences, randomise, vocabulary
from torch import Tensor

from latentnlp.data.batches import Batch
from latentnlp.distributions.alignment import NULL, Posteriors
from latentnlp.distributions.hidden_markov import ChainPosteriors, HiddenMarkov
from latentnlp.models import hmm, ibm1, ibm2
from latentnlp.models._positions import PositionModel, Totals

SOURCE = vocabulary(5)
MODELS = {
    "ibm1": lambda: ibm1.build(ibm1.Config(), SOURCE),
    "ibm2": lambda: ibm2.build(ibm2.Config(), SOURCE),
    "hmm": lambda: hmm.build(hmm.Config(), SOURCE),
    "hmm, short jumps": lambda: hmm.build(hmm.Config(width=2), SOURCE),
    "hmm, free words": lambda: hmm.build(hmm.Config(word_strength=0.5), SOURCE),
}


def model(name: str, seed: int = 0) -> PositionModel:
    built = MODELS[name]()
    randomise(built, seed)
    return built.double()


def emissions(batch: Batch, seed: int | None) -> tuple[Tensor, Tensor]:
    """Random log-emissions that depend on (j, i) alone, or zeros where ``seed`` is None."""
    n_target, n_source = batch.target.shape[1], batch.source.shape[1]
    values = torch.zeros(20, 21, dtype=torch.float64)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(20, 21, generator=generator, dtype=torch.float64)
    every = values.expand(len(batch), -1, -1)
    return every[:, :n_target, :n_source].clone(), every[:, :n_target, 20].clone()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MODELS)
def test_alignments_sum_to_one(name: str, seed: int) -> None:
    """With all emissions 1, Σ_a p(a | x, J) = 1 for every length in one padded batch."""
    batch = mixed_batch(seed)
    log_z = model(name, seed)(batch, *emissions(batch, None)).log_partition()
    torch.testing.assert_close(log_z, torch.zeros(4).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_null_has_its_probability(name: str) -> None:
    batch = mixed_batch()
    positions = model(name)
    posteriors = positions(batch, *emissions(batch, None)).posteriors()
    p = positions.null_logit.sigmoid().expand(4, 3)
    torch.testing.assert_close(
        posteriors.null, torch.where(batch.target_mask, p, 0.0), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("name", MODELS)
def test_no_sentence_depends_on_its_neighbours(name: str) -> None:
    generator = random.Random(1)
    source = random_sentences(generator, [3, 1, 6, 2], 5)
    target = random_sentences(generator, [2, 4, 1, 3], 5)
    positions = model(name)
    whole = make_batch(source, target, (9, 7))
    together = positions(whole, *emissions(whole, 3))
    for row in range(4):
        alone = make_batch(source[row : row + 1], target[row : row + 1])
        found = positions(alone, *emissions(alone, 3))
        torch.testing.assert_close(together.log_partition()[row], found.log_partition()[0])
        n_target, n_source = alone.target.shape[1], alone.source.shape[1]
        p, q = together.posteriors(), found.posteriors()
        torch.testing.assert_close(p.emission[row, :n_target, :n_source], q.emission[0])
        torch.testing.assert_close(p.null[row, :n_target], q.null[0])
        assert (p.emission[row, n_target:] == 0).all() and (
            p.emission[row, :, n_source:] == 0
        ).all()


def log_prior(positions: PositionModel, batch: Batch, alignment: list[int]) -> float:
    found = positions(batch, *emissions(batch, None)).log_potential(torch.tensor([alignment]))
    return found[0].item()


def test_ibm1_by_hand() -> None:
    positions = ibm1.build(ibm1.Config(null_probability=0.2), SOURCE)
    batch = make_batch([[2, 3, 4]], [[2, 2]])
    expected = math.log(0.8 / 3) + math.log(0.2)
    assert log_prior(positions, batch, [1, NULL]) == pytest.approx(expected, rel=1e-6)


def test_ibm2_by_hand() -> None:
    positions = ibm2.build(ibm2.Config(null_probability=0.2, tension=3.0), SOURCE)
    batch = make_batch([[2, 3, 4]], [[2, 2]])
    scores = [math.exp(-3 * abs(i / 3 - 1 / 2)) for i in (1, 2, 3)]
    expected = math.log(0.8 * scores[2] / sum(scores)) + math.log(0.2)
    assert log_prior(positions, batch, [2, NULL]) == pytest.approx(expected, rel=1e-6)


def test_hmm_by_hand() -> None:
    """Jumps are scored by their length (longer ones as W), or where they go from the start, and by
    the words that they leave and reach, for their kind."""
    width = 2
    positions = hmm.build(hmm.Config(width=width), SOURCE)
    randomise(positions)
    positions.double()
    source = [5, 3, 2, 6, 4]
    batch = make_batch([source], [[2, 2, 2, 2]])
    start, jump = positions.start_logits.tolist(), positions.jump_logits.tolist()

    left, reached = positions.words_left.tolist(), positions.words_reached.tolist()

    def score(m: int | None, i: int) -> float:
        if m is None:
            return math.exp(start[min(i, width - 1)] + reached[source[i]][5])
        kind = {-1: 1, 0: 2, 1: 3}.get(i - m, 0 if i < m else 4)
        bucket = max(-width, min(width, i - m)) + width
        return math.exp(jump[bucket] + left[source[m]][kind] + reached[source[i]][kind])

    p_null = positions.null_logit.sigmoid().item()
    expected, memory = 0.0, None
    path = [4, NULL, 0, 1]  # a jump of -4 over a NULL
    for a in path:
        if a == NULL:
            expected += math.log(p_null)
            continue
        total = sum(score(memory, i) for i in range(len(source)))
        expected += math.log((1 - p_null) * score(memory, a) / total)
        memory = a
    assert log_prior(positions, batch, path) == pytest.approx(expected, rel=1e-9)


# M-steps: the expected complete log-likelihood Q of the parameters, given expected counts.


def corpus_batches(seed: int) -> list[Batch]:
    generator = random.Random(seed)
    found = []
    for _ in range(3):
        source = random_sentences(generator, [generator.randint(1, 8) for _ in range(5)], 5)
        target = random_sentences(generator, [generator.randint(1, 8) for _ in range(5)], 5)
        found.append(make_batch(source, target))
    return found


Fixed = list[tuple[Batch, Posteriors]]


def fixed_posteriors(positions: PositionModel, batches: list[Batch], seed: int) -> Fixed:
    """Each batch with a q(a) that stays as it is from here on."""
    return [
        (batch, positions(batch, *emissions(batch, seed + number)).posteriors())
        for number, batch in enumerate(batches)
    ]


def m_step(positions: PositionModel, fixed: Fixed) -> None:
    totals: Totals = {}
    with torch.no_grad():
        for batch, q in fixed:
            positions.collect(totals, batch, positions(batch, *emissions(batch, None)), q)
        positions.maximise(totals)


def q_function(positions: PositionModel, fixed: Fixed) -> Tensor:
    """E_q[log p(a | x, J)], from the potentials that the model gives with emissions of 1."""
    total = torch.zeros((), dtype=torch.float64)

    def expectation(count: Tensor, log_potential: Tensor) -> Tensor:
        return (count * log_potential.masked_fill(log_potential == LOG_ZERO, 0.0)).sum()

    for batch, q in fixed:
        found = positions(batch, *emissions(batch, None))
        total = total + expectation(q.null, found.log_null)
        if isinstance(found, HiddenMarkov):
            assert isinstance(q, ChainPosteriors) and found.log_leave is not None
            total = total + expectation(q.transition, found.log_transition)
            total = total + expectation(q.leave, found.log_leave)
        else:
            total = total + expectation(q.emission, found.log_joint)
    return total


def pretended(positions: PositionModel) -> Tensor:
    """What the M-step of the HMM maximises besides: the pretended sentence's log p(a), and the
    prior of its words' factors."""
    if not isinstance(positions, hmm.JumpPositions):
        return torch.zeros(())
    scores = [positions.start_logits.log_softmax(0), positions.jump_logits.log_softmax(0)]
    factors = torch.cat([positions.words_left, positions.words_reached], 1)
    prior = positions.word_strength * (factors - factors.exp()).sum()
    return (positions.pretended * torch.cat(scores)).sum() + prior


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["ibm1", "ibm2", "hmm", "hmm, free words", "hmm, short jumps"])
def test_every_m_step_climbs_to_the_numerical_optimum(name: str, seed: int) -> None:
    batches = corpus_batches(seed)
    fixed = fixed_posteriors(model(name, seed), batches, seed)
    positions = model(name, seed + 100)  # climbs from elsewhere
    values = []
    for _ in range(200):
        values.append((q_function(positions, fixed) + pretended(positions)).item())
        m_step(positions, fixed)
    assert all(after >= before - 2e-5 for before, after in itertools.pairwise(values))
    if name != "ibm1":
        assert values[1] > values[0] + 1e-3

    best = model(name, seed + 200)
    optimizer = torch.optim.LBFGS(
        best.parameters(), max_iter=400, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -(q_function(best, fixed) + pretended(best))
        loss.backward()
        return loss

    optimizer.step(closure)
    if isinstance(best, ibm2.DiagonalPositions) and best.tension < 0:
        with torch.no_grad():
            best.tension.zero_()  # Q is concave: the best tension allowed is 0
    optimum = (q_function(best, fixed) + pretended(best)).item()
    assert values[-1] == pytest.approx(optimum, abs=2e-2)
    assert values[-1] <= optimum + 1e-4


def test_jumps_beyond_the_corpus_keep_their_shape() -> None:
    """Short sentences say nothing about long jumps; nothing may overflow, however often asked."""
    positions = hmm.build(hmm.Config(), SOURCE).double()
    before = positions.jump_logits.detach().clone()
    fixed = fixed_posteriors(positions, corpus_batches(0), 0)
    for _ in range(30):
        m_step(positions, fixed)
    assert positions.jump_logits.isfinite().all() and positions.start_logits.isfinite().all()
    far = positions.jump_logits[-15:]
    torch.testing.assert_close(far.diff(), before[-15:].diff(), atol=1e-3, rtol=0)
    assert far.max() < positions.jump_logits[positions.width + 1] - 3


def test_statistics_do_not_see_padding() -> None:
    generator = random.Random(0)
    source, target = random_sentences(generator, [3, 5], 5), random_sentences(generator, [4, 2], 5)
    for name in ("ibm2", "hmm"):
        positions = model(name)
        tight, wide = make_batch(source, target), make_batch(source, target, (7, 9))
        one: Totals = {}
        other: Totals = {}
        for totals, batch in ((one, tight), (other, wide)):
            found = positions(batch, *emissions(batch, 0))
            positions.collect(totals, batch, found, found.posteriors())
        for key, value in one.items():
            torch.testing.assert_close(value, other[key])


def test_jumps_that_are_next_to_impossible() -> None:
    """Scores below the smallest float32 have a normaliser all the same."""
    positions = hmm.build(hmm.Config(decay=200.0), SOURCE)
    batch = make_batch([[2, 3, 4]], [[2, 2]])
    found = positions(batch, *(one.float() for one in emissions(batch, 0)))
    assert found.log_partition().isfinite().all()
    posteriors, totals = found.posteriors(), {}
    positions.collect(totals, batch, found, posteriors)
    assert all(value.isfinite().all() for value in totals.values())
