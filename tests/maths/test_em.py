"""EM: it climbs, its Q has the marginal's gradient, and each of its options does what it says."""

from __future__ import annotations

import copy
import itertools
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Corpus, corpus_text, mixed_batch, randomise, vocabulary, without_padding_twins
from torch import Tensor

from latentnlp.data.batches import Batch
from latentnlp.data.corpora import ListText
from latentnlp.distributions.hidden_markov import HiddenMarkov
from latentnlp.distributions.independent_positions import IndependentPositions
from latentnlp.emissions import counts, type_based
from latentnlp.emissions.counts import CountEmission
from latentnlp.learners.em import Config, ExpectationMaximisation, _Direction
from latentnlp.models import hmm, ibm1, ibm2
from latentnlp.models.aligner import BidirectionalAligner, WordAligner

POSITIONS = ["ibm1", "ibm2", "hmm"]
PLAIN = Config(leave_one_out=False, agreement_from=0)
NO_PRIOR = counts.Config(mean="uniform", strength=1e-9, null_strength=1e-9)


def plain_learner(corpus: Corpus, positions: str, **options: Any) -> ExpectationMaximisation:
    aligner = corpus.aligner(positions=positions, counts=NO_PRIOR, **options)
    return ExpectationMaximisation(PLAIN, aligner, corpus.table)


def start_uneven(learner: ExpectationMaximisation, seed: int) -> None:
    """Random counts: from a table of zeros, EM in IBM 1 has one optimum alone to climb to."""
    for direction, emission in directions(learner):
        generator = torch.Generator().manual_seed(seed)
        votes = torch.rand(emission.counts.shape, generator=generator) + 0.1
        null = torch.rand(emission.null_counts.shape, generator=generator) + 0.1
        emission.maximise(votes, null)
        randomise(direction.positions, seed)
        direction.refresh()


def directions(learner: ExpectationMaximisation) -> list[tuple[_Direction, CountEmission]]:
    return [(one, one.emission) for one in (learner.there, learner.back)]


def epoch(learner: ExpectationMaximisation, batches: Any) -> float:
    total = sum(float(learner.step(batch)["log_likelihood"]) for batch in batches)
    learner.end_epoch()
    return total


# (a) The likelihood.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("positions", POSITIONS)
def test_em_never_lowers_the_likelihood(tmp_path: Path, positions: str, seed: int) -> None:
    corpus = Corpus(corpus_text(seed, pairs=20, words=5, longest=6), tmp_path)
    learner = plain_learner(corpus, positions)
    start_uneven(learner, seed)
    values = [epoch(learner, corpus.batches.epoch(number)) for number in range(25)]
    assert values[-1] > values[0] + 10
    # 0.1 nat: the HMM's pretended sentence; 1e-4 of the p₀ that the M-step will not go below.
    slack = 0.1 if positions == "hmm" else 2e-3
    for before, after in itertools.pairwise(values):
        assert after >= before - slack


def test_the_reported_likelihood_is_that_of_the_aligner(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(3), tmp_path)
    aligner = corpus.aligner(positions="hmm")
    learner = ExpectationMaximisation(PLAIN, aligner, corpus.table)
    epoch(learner, corpus.batches.epoch(0))
    for batch in corpus.batches:
        expected = sum(one.log_partition().sum().item() for one in aligner.distributions(batch))
        found = learner.step(batch)
        assert float(found["log_likelihood"]) == pytest.approx(expected, rel=1e-5)
        assert int(found["weight"]) == batch.source_mask.sum() + batch.target_mask.sum()


# (b) Fisher's identity.


@pytest.mark.parametrize(
    "name, options",
    [("ibm1", {}), ("ibm2", {}), ("hmm", {}), ("hmm", {"width": 2})],
)
def test_gradient_of_q_is_the_gradient_of_the_log_marginal(name: str, options: dict) -> None:
    source, target = vocabulary(5), vocabulary(5)
    module: Any = {"ibm1": ibm1, "ibm2": ibm2, "hmm": hmm}[name]
    aligner = WordAligner(
        type_based.build(type_based.Config(4, (3,)), source, target),
        module.build(module.Config(**options), source),
    )
    randomise(aligner)
    aligner.double()
    batch = mixed_batch()
    parameters = list(aligner.parameters())

    log_marginal = aligner(batch).log_partition()
    found = torch.autograd.grad(log_marginal.sum(), parameters)

    p = aligner(batch)
    emission = torch.zeros(4, 3, 4)
    support = HiddenMarkov(emission, torch.zeros(5, 4)).enumerate_support()  # [A, 1, J]
    alignments = support.expand(-1, 4, -1)
    allowed = without_padding_twins(support, batch.target_mask)
    lengths = batch.source_lengths.unsqueeze(1)
    allowed &= (alignments < lengths).all(-1)
    log_joint = torch.where(allowed, p.log_potential(alignments), 0.0)
    q = torch.where(allowed, (log_joint - log_marginal).exp(), 0.0).detach()
    torch.testing.assert_close(q.sum(0), torch.ones(4).double(), atol=1e-6, rtol=0)
    expected = torch.autograd.grad((q * log_joint).sum(), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
        assert (one != 0).any()


# (c) IBM 1 as in a textbook.


def dict_ibm1(pairs: list[tuple[list[int], list[int]]], epochs: int, p_null: float, size: int):
    """IBM 1 with NULL as a source word of prior p₀: t(y | x), the likelihoods and p₀."""
    t: dict[Any, dict[int, float]] = defaultdict(lambda: defaultdict(lambda: 1 / size))
    t["NULL"] = null_start(pairs, size)
    likelihoods = []
    for _ in range(epochs):
        votes: dict[Any, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        likelihood = words = 0.0
        for source, target in pairs:
            for y in target:
                p = [((1 - p_null) / len(source), x) for x in source] + [(p_null, "NULL")]
                joint = [(weight * t[x][y], x) for weight, x in p]
                total = sum(value for value, _ in joint)
                likelihood += math.log(total)
                words += 1
                for value, x in joint:
                    votes[x][y] += value / total
        p_null = sum(votes["NULL"].values()) / words
        for x, row in votes.items():
            t[x] = defaultdict(float, {y: n / sum(row.values()) for y, n in row.items()})
        likelihoods.append(likelihood)
    return t, likelihoods, p_null


def null_start(pairs: list[tuple[list[int], list[int]]], size: int) -> dict[int, float]:
    """NULL starts from the add-one smoothed unigram."""
    seen: dict[int, float] = defaultdict(lambda: 1.0)
    for _, target in pairs:
        for y in target:
            seen[y] += 1
    total = sum(seen.values()) + size - len(seen)
    return {y: n / total for y, n in seen.items()}


@pytest.mark.parametrize("seed", range(4))
def test_ibm1_is_the_textbook_one(tmp_path: Path, seed: int) -> None:
    corpus = Corpus(corpus_text(seed, pairs=15), tmp_path)
    learner = plain_learner(corpus, "ibm1")
    pairs = [tuple(side.tolist() for side in corpus.encoded[n]) for n in range(15)]
    found = [learner_likelihood(learner, corpus, number) for number in range(6)]
    for side, (direction, emission) in enumerate(directions(learner)):
        mine = pairs if side == 0 else [(y, x) for x, y in pairs]
        size = len((corpus.languages.target, corpus.languages.source)[side])
        t, likelihoods, p_null = dict_ibm1(mine, 6, 0.1, size)
        assert [pair[side] for pair in found] == pytest.approx(likelihoods, rel=1e-5)
        assert direction.positions.null_logit.sigmoid().item() == pytest.approx(p_null, abs=1e-5)
        source, target = emission.pair_words()
        p = (emission.counts / emission.totals[source]).tolist()
        for x, y, value in list(zip(source.tolist(), target.tolist(), p, strict=True))[1:]:
            assert value == pytest.approx(t[x][y], abs=1e-5)
        null = emission.log_null().exp()
        for y, value in t["NULL"].items():
            assert null[y].item() == pytest.approx(value, abs=1e-5)


def learner_likelihood(
    learner: ExpectationMaximisation, corpus: Corpus, number: int
) -> tuple[float, float]:
    """One epoch; the log-likelihood of each direction before it."""
    totals = [0.0, 0.0]
    for batch in corpus.batches.epoch(number):
        with torch.no_grad():
            there, back = learner.there.aligner(batch), learner.back.aligner(batch.reversed())
        totals[0] += there.log_partition().sum().item()
        totals[1] += back.log_partition().sum().item()
        learner.step(batch)
    learner.end_epoch()
    return totals[0], totals[1]


# (d) Leave-one-out.


def single_batch(corpus: Corpus) -> Batch:
    (batch,) = corpus.batches
    return batch


def test_a_hapax_link_does_not_vote_for_itself(tmp_path: Path) -> None:
    text = ListText(
        [["common", "rare"], ["common"], ["common"]], [["usual", "seldom"], ["usual"], ["usual"]]
    )
    corpus = Corpus(text, tmp_path, cells=100, sentences=10)
    aligner = corpus.aligner(positions="ibm1", counts=counts.Config(strength=0.5, mean="uniform"))
    config = Config(leave_one_out=True, agreement_from=0)
    learner = ExpectationMaximisation(config, aligner, corpus.table)
    for number in range(3):
        epoch(learner, corpus.batches.epoch(number))
    batch = single_batch(corpus)
    cells = corpus.table.cells(batch)
    own = corpus.table.block(learner.there.own, batch)
    languages, emission = corpus.languages, learner.there.emission
    rare = batch.source == languages.source.id("rare")
    b, i = rare.nonzero()[0].tolist()
    assert (own[b, i] > 0).any()
    # All votes of a word that occurs once are its own: of a link nothing but the prior is left.
    assert torch.equal(emission.counts[cells[b, i]], own[b, i].float())
    distribution = learner.there.distribution(batch, cells.mT, own.mT)
    assert isinstance(distribution, IndependentPositions)
    log_p = distribution.log_joint[b, :, i]
    p_link = (1 - learner.there.positions.null_logit.sigmoid()) / batch.source_lengths[b]
    others = emission.totals[batch.source[b, i]] - own[b, i].float()  # its votes for other words
    expected = (p_link * 0.5 / len(languages.target) / (others + 0.5)).log()
    torch.testing.assert_close(log_p, expected, atol=1e-6, rtol=0)
    # With its own votes it would have had more.
    log_emission, _ = emission(batch)
    assert log_emission[b, :, i].exp().max() > 2 / len(languages.target)


@pytest.mark.parametrize("positions", POSITIONS)
def test_leave_one_out_formula(tmp_path: Path, positions: str) -> None:
    corpus = Corpus(corpus_text(5, pairs=10), tmp_path)
    aligner = corpus.aligner(
        positions=positions, counts=counts.Config(mean="unigram", strength=0.7)
    )
    config = Config(leave_one_out=True, agreement_from=0)
    learner = ExpectationMaximisation(config, aligner, corpus.table)
    epoch(learner, corpus.batches.epoch(0))
    for direction, _ in directions(learner):
        assert direction.own.max() > 0
    for batch in corpus.batches:
        cells, own = corpus.table.cells(batch), corpus.table.block(learner.there.own, batch)
        emission = learner.there.emission
        expected = torch.zeros(len(batch), batch.target.shape[1], batch.source.shape[1])
        for b, j, i in torch.ones_like(expected).nonzero().tolist():
            x, y = batch.source[b, i], batch.target[b, j]
            n = emission.counts[cells[b, i, j]] - own[b, i, j].float()
            total = emission.totals[x] - own[b, i, j].float()
            expected[b, j, i] = ((n + 0.7 * emission.unigram[y]) / (total + 0.7)).log()
        found = learner.there.distribution(batch, cells.mT, own.mT)
        positions_model = learner.there.positions
        log_null = emission.log_null()[batch.target]
        same = positions_model(batch, expected, log_null)
        torch.testing.assert_close(
            found.posteriors().emission, same.posteriors().emission, atol=1e-5, rtol=1e-4
        )


def test_own_votes_are_exactly_those_that_were_counted(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(2), tmp_path)
    learner = ExpectationMaximisation(Config(), corpus.aligner(positions="hmm"), corpus.table)
    for number in range(4):  # agreement begins at the third
        epoch(learner, corpus.batches.epoch(number))
    for direction, emission in directions(learner):
        votes = torch.zeros_like(emission.counts)
        for batch in corpus.batches:
            own = corpus.table.block(direction.own, batch).float()
            votes.index_add_(0, corpus.table.cells(batch).flatten(), own.flatten())
        torch.testing.assert_close(emission.counts[1:], votes[1:], atol=1e-5, rtol=0)
        assert votes[0] == 0, "padding never votes"
        torch.testing.assert_close(
            emission.totals,
            torch.zeros_like(emission.totals).index_add_(
                0, emission.pair_words()[0], emission.counts
            ),
        )


# (e) Agreement.


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_directions_that_agree_count_the_same_links(tmp_path: Path, leave_one_out: bool) -> None:
    corpus = Corpus(corpus_text(4), tmp_path)
    config = Config(leave_one_out, agreement_from=2)
    learner = ExpectationMaximisation(config, corpus.aligner(positions="hmm"), corpus.table)
    epoch(learner, corpus.batches.epoch(0))
    there, back = learner.there.emission, learner.back.emission
    assert (there.counts - back.counts).abs().max() > 1e-3, "not before the second epoch"
    posteriors = [
        (one.posteriors().emission, other.posteriors().emission.mT)
        for one, other in (agreed(learner, corpus, batch) for batch in corpus.batches)
    ]
    epoch(learner, corpus.batches)
    torch.testing.assert_close(there.counts, back.counts)
    expected = torch.zeros_like(there.counts)
    null = torch.zeros_like(there.null_counts)
    for batch, (p, q) in zip(corpus.batches, posteriors, strict=True):
        cells = corpus.table.cells(batch).mT.flatten()
        links = (p * q) ** 0.75
        expected.index_add_(0, cells, links.flatten())
        left = torch.where(batch.target_mask, (1 - links.sum(2)).clamp_min(0), 0.0)
        null.index_add_(0, batch.target.flatten(), left.flatten())
    torch.testing.assert_close(there.counts[1:], expected[1:], atol=5e-3, rtol=0)
    torch.testing.assert_close(there.null_counts, null, atol=5e-3, rtol=0)


def agreed(learner: ExpectationMaximisation, corpus: Corpus, batch: Batch) -> tuple[Any, Any]:
    cells = corpus.table.cells(batch)
    own = [corpus.table.block(one.own, batch) for one in (learner.there, learner.back)]
    there = learner.there.distribution(batch, cells.mT, own[0].mT)
    return there, learner.back.distribution(batch.reversed(), cells, own[1])


def test_null_counts_are_never_negative(tmp_path: Path) -> None:
    """Links rounded to half precision may sum to more than 1."""
    corpus = Corpus(corpus_text(0, pairs=40, words=8), tmp_path)
    aligner = corpus.aligner(positions="hmm", counts=NO_PRIOR)
    learner = ExpectationMaximisation(Config(agreement_from=0), aligner, corpus.table)
    for number in range(15):
        assert math.isfinite(epoch(learner, corpus.batches.epoch(number)))
        for _, emission in directions(learner):
            assert emission.null_counts.min() >= 0
            assert not emission.log_null().isnan().any()


# (f) Two processes, by hand.


@pytest.mark.parametrize("sentences", [1, 5])  # 1: the second rank has no rows
@pytest.mark.parametrize("positions", POSITIONS)
def test_two_ranks_count_what_one_process_counts(
    tmp_path: Path, positions: str, sentences: int
) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    text = corpus_text(6, pairs=11)
    one = Corpus(text, folders[0], sentences=sentences)
    two = Corpus(text, folders[1], sentences=sentences, ranks=2)
    aligner = one.aligner(positions=positions)
    copies = [copy.deepcopy(aligner) for _ in range(2)]
    alone = ExpectationMaximisation(Config(agreement_from=2), aligner, one.table)
    ranks = [
        ExpectationMaximisation(Config(agreement_from=2), copied, table)
        for copied, table in zip(copies, two.tables, strict=True)
    ]
    for number in range(3):
        likelihood = epoch(alone, one.batches.epoch(number))
        shares = [share.epoch(number) for share in two.shares]
        total = sum(
            float(rank.step(batch)["log_likelihood"])
            for rank, share in zip(ranks, shares, strict=True)
            for batch in share
        )
        assert total == pytest.approx(likelihood, rel=1e-5)
        for pick in (lambda rank: rank.there, lambda rank: rank.back):
            first, second = pick(ranks[0]), pick(ranks[1])
            add_up(first.counts, second.counts)
            add_up(first.null_counts, second.null_counts)
            assert first.totals.keys() == second.totals.keys()
            for name, value in first.totals.items():
                add_up(value, second.totals[name])
        for rank in ranks:
            rank.end_epoch()
    for copied in copies:
        for name, value in aligner.state_dict().items():
            torch.testing.assert_close(
                copied.state_dict()[name],
                value,
                atol=2e-3,
                rtol=1e-3,
                msg=lambda m, n=name: f"{n}: {m}",
            )


def add_up(first: Tensor, second: Tensor) -> None:
    assert first.shape == second.shape, "an all-reduce needs the same shape everywhere"
    total = first + second
    first.copy_(total)
    second.copy_(total)


# (g) State, stages, errors.


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("mean", ["unigram", "neural"])
def test_state_round_trip_goes_on_identically(
    tmp_path: Path, leave_one_out: bool, mean: str
) -> None:
    corpus = Corpus(corpus_text(7), tmp_path)
    options = counts.Config(mean=mean, neural=type_based.Config(4, (3,)))  # type: ignore[arg-type]

    def fresh() -> tuple[BidirectionalAligner, ExpectationMaximisation]:
        aligner = corpus.aligner(positions="hmm", counts=options)
        return aligner, ExpectationMaximisation(Config(leave_one_out, 2), aligner, corpus.table)

    aligner, learner = fresh()
    epoch(learner, corpus.batches.epoch(0))
    saved = {name: copy.deepcopy(part.state_dict()) for name, part in learner.parts().items()}
    resumed_aligner, resumed = fresh()
    for name, part in resumed.parts().items():
        part.load_state_dict(saved[name])
    for number in range(1, 4):
        one = epoch(learner, corpus.batches.epoch(number))
        assert one == epoch(resumed, corpus.batches.epoch(number))
    for name, value in aligner.state_dict().items():
        assert torch.equal(value, resumed_aligner.state_dict()[name]), name


def test_the_next_stage_starts_from_the_last_posteriors(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(8), tmp_path)
    aligner = corpus.aligner(positions="ibm1")
    first = ExpectationMaximisation(Config(), aligner, corpus.table)
    epoch(first, corpus.batches.epoch(0))
    votes = aligner.source_to_target.emission.get_buffer("counts").clone()
    second = ExpectationMaximisation(Config(), aligner, corpus.table, after=first)
    assert second.there.own is first.there.own and second.back.own is first.back.own
    assert torch.equal(second.there.emission.counts, votes), "the counts are kept"
    assert second.epoch == 1


def test_the_next_stage_asks_the_prior_again_unless_it_is_the_same(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(8), tmp_path)
    aligner = corpus.aligner(
        positions="ibm1", counts=counts.Config(neural=type_based.Config(4, (3,)))
    )
    learner = ExpectationMaximisation(Config(), aligner, corpus.table)
    epoch(learner, corpus.batches.epoch(0))
    asked = [direction.mean for direction, _ in directions(learner)]
    for same_prior in (True, False, True):
        learner = ExpectationMaximisation(Config(), aligner, corpus.table, learner, same_prior)
        for before, (direction, emission) in zip(asked, directions(learner), strict=True):
            mean = emission.pair_mean()
            assert mean is not None and before is not None and direction.mean is not None
            assert torch.equal(direction.mean, mean)
            assert (direction.mean is before) == same_prior
            assert (direction.counts == 0).all() and len(direction.counts) == len(corpus.table)
        asked = [direction.mean for direction, _ in directions(learner)]
        epoch(learner, corpus.batches.epoch(1))
        if same_prior:  # as the lexicon's fit would
            for _, emission in directions(learner):
                assert emission.neural is not None
                randomise(emission.neural, seed=5)


def test_both_directions_have_one_list_of_pairs(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(8), tmp_path)
    learner = ExpectationMaximisation(Config(), corpus.aligner(positions="ibm1"), corpus.table)
    assert learner.there.emission.pairs is learner.back.emission.pairs


def test_only_count_emissions(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(1), tmp_path)
    aligner = corpus.aligner(emission="type_based", type_based=type_based.Config(4, ()))
    with pytest.raises(TypeError, match="count emissions"):
        ExpectationMaximisation(Config(), aligner, corpus.table)
