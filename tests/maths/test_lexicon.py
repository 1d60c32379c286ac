"""The Dirichlet-multinomial fit of the neural prior, and the rows it is fed."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import randomise, vocabulary

from latentnlp import checkpoint
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.emissions import counts, type_based
from latentnlp.learners.lexicon import Config, Lexicon, LexiconBatches, _Adam, _Objective, _Rows

SOURCE, TARGET = vocabulary(3, "haus"), vocabulary(2, "house")
KAPPA = 1.7
EXACT = Config()  # with so few words, all of them are in a normaliser


def prior() -> type_based.TypeBasedEmission:
    built = type_based.build(type_based.Config(4, (3,)), SOURCE, TARGET)
    randomise(built)
    return built


def lgamma_formula(n: dict[int, float], mean: dict[int, float]) -> float:
    """log p(n | θ) of one source word, straight from the docstring's equation."""
    total = math.lgamma(KAPPA) - math.lgamma(sum(n.values()) + KAPPA)
    for y, count in n.items():
        total += math.lgamma(count + KAPPA * mean[y]) - math.lgamma(KAPPA * mean[y])
    return total


def log_likelihood(
    model: Any, rows: dict[int, dict[int, float]], config: Config = EXACT, draw: int = 3
) -> float:
    words = sorted(rows)
    pairs = [(k, y, n) for k, x in enumerate(words) for y, n in rows[x].items()]
    place, target, count = (torch.tensor(column) for column in zip(*pairs, strict=True))
    totals = torch.tensor([sum(rows[x].values()) for x in words], dtype=torch.float64)
    found, tokens = _Objective(model, KAPPA, config)(
        torch.tensor(words), place, target, count.double(), totals, draw
    )
    assert torch.equal(tokens, totals.sum())
    return found.item()


def test_objective_is_the_formula() -> None:
    model = prior().double()
    rows = {2: {1: 0.3, 3: 5.0}, 4: {2: 2.25}, 1: {0: 1.0, 1: 2.0, 2: 0.5, 3: 9.0}}
    table = model.log_prob_rows(torch.arange(5)).exp().tolist()
    expected = sum(lgamma_formula(n, dict(enumerate(table[x]))) for x, n in rows.items())
    assert log_likelihood(model, rows) == pytest.approx(expected, rel=1e-6)


def test_objective_of_a_sample_of_words() -> None:
    """Of the words 0 … 3, word 0 is frequent and every third of the others is looked at."""
    model, config = prior().double(), Config(frequent=1, sampled=1)
    rows = {2: {1: 0.3}, 4: {3: 2.25, 0: 1.0}}
    table = model.log_prob_rows(torch.arange(5)).exp().tolist()
    values = []
    for draw in range(3):
        expected = 0.0
        for x, n in rows.items():
            known = {0, *n}
            sampled = {1 + draw} - known
            seen = sum(table[x][y] for y in known) + 3 * sum(table[x][y] for y in sampled)
            expected += lgamma_formula(n, {y: table[x][y] / seen for y in n})
        values.append(log_likelihood(model, rows, config, draw))
        assert values[-1] == pytest.approx(expected, rel=1e-6)
        again = log_likelihood(model, rows, config, draw + 3 * 12345)
        assert again == values[-1], "a draw is any number"
    assert len({round(value, 6) for value in values}) == 3


@pytest.mark.parametrize("total", [1, 2, 4])
def test_all_count_vectors_of_a_total_sum_to_one(total: int) -> None:
    """Σ_n multinomial(n) p(n | θ) = 1: the formula is of one order of the words."""
    model, size = prior().double(), len(TARGET)
    mass = 0.0
    for n in itertools.product(range(total + 1), repeat=size):
        if sum(n) != total:
            continue
        orders = math.factorial(total) / math.prod(map(math.factorial, n))
        seen = {y: float(count) for y, count in enumerate(n) if count}
        mass += orders * math.exp(log_likelihood(model, {3: seen}))
    assert mass == pytest.approx(1.0, abs=1e-6)


PAIRS = [(2, 2), (2, 3), (3, 2), (3, 3), (4, 3)]
VOTES = [3.0, 0.5, 0.001, 2.0, 0.002]  # those below 0.01 are not looked at


def emission(transposed: bool = False) -> counts.CountEmission:
    sides = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    config = counts.Config(mean="neural", strength=KAPPA, neural=type_based.Config(4, (3,)))
    built = counts.build(config, *sides, transposed)
    words = torch.tensor([(0, 0), *PAIRS], dtype=torch.int32)
    nothing = np.zeros(1, dtype=np.int32)
    built.start(Cooccurrences(words[:, 0], words[:, 1], nothing, nothing))
    built.maximise(torch.tensor([5.0, *VOTES]), torch.zeros(len(sides[1])))
    return built


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_of_some_words(transposed: bool) -> None:
    rows = _Rows(emission(transposed))
    votes: dict[int, dict[int, float]] = {}
    totals: dict[int, float] = {}
    for (x, y), n in zip(PAIRS, VOTES, strict=True):
        x, y = (y, x) if transposed else (x, y)
        totals[x] = totals.get(x, 0.0) + n
        if n > 0.01:
            votes.setdefault(x, {})[y] = n
    assert rows.words.tolist() == sorted(votes)
    for chosen in ([2], [3], [3, 2], [2, 3], []):
        words, place, target, count, total = rows.select(torch.tensor(chosen, dtype=torch.int64))
        assert words.tolist() == chosen
        found: dict[int, dict[int, float]] = {x: {} for x in chosen}
        for k, y, n in zip(place.tolist(), target.tolist(), count.tolist(), strict=True):
            found[chosen[k]][y] = n
        assert found == {x: pytest.approx(votes[x]) for x in chosen}
        assert total.tolist() == pytest.approx([totals[x] for x in chosen])


def test_order_is_a_function_of_seed_and_epoch() -> None:
    words = [np.arange(2, 40), np.arange(5, 22)]

    def epoch(number: int, seed: int = 0, start: int = 0) -> list[tuple[int, list[int], int]]:
        batches = LexiconBatches(words, 8, seed)
        return [(k, chosen.tolist(), draw) for k, chosen, draw in batches.epoch(number, start)]

    first = epoch(0)
    assert len(first) == len(LexiconBatches(words, 8, 0)) == 5 + 3
    assert first == epoch(0) and first != epoch(1) and first != epoch(0, seed=1)
    for start in range(len(first) + 1):
        assert epoch(0, start=start) == first[start:]
    for direction in range(2):
        seen = [x for k, chosen, _ in first for x in chosen if k == direction]
        assert sorted(seen) == words[direction].tolist(), "every word once"
    assert all(chosen == sorted(chosen) and len(chosen) <= 8 for _, chosen, _ in first)
    draws = [[draw for *_, draw in some] for some in (first, epoch(1), epoch(0, seed=1))]
    assert all(type(draw) is int and draw >= 0 for some in draws for draw in some)
    assert len({draw for some in draws for draw in some}) == 3 * len(first), "never the same twice"


def test_steps_climb_and_leave_the_counts_alone() -> None:
    both = emission(), emission(transposed=True)
    priors = tuple(one.neural for one in both)
    assert priors[0] is not None and priors[1] is not None
    learner = Lexicon(Config(learning_rate=1e-3), both, priors, torch.device("cpu"))  # type: ignore[arg-type]
    before = [one.counts.clone() for one in both]
    values = []
    for number in range(5):
        found = [learner.step(batch) for batch in learner.batches(seed=0).epoch(number)]
        assert len(found) == 2
        values.append(sum(float(one["log_likelihood"]) for one in found))
        assert sum(float(one["weight"]) for one in found) == pytest.approx(2 * 5.5, abs=0.01)
    assert values == sorted(values) and values[-1] > values[0]
    assert all(map(torch.equal, before, [one.counts for one in both]))
    assert set(learner.parts()) == {"priors", "optimizer"}


def test_the_optimizer_is_adam(tmp_path: Path) -> None:
    """As torch's, with parameters that at some steps have no gradient; and saved and loaded."""
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(size)) for size in (5, 40, 3)]
    theirs = copy.deepcopy(ours)
    optimizer = _Adam(ours, 0.02)
    reference = torch.optim.Adam(theirs, lr=0.02, betas=(0.9, 0.99), fused=True)
    for number in range(6):
        for one, other, every in zip(ours, theirs, (1, 2, 7), strict=True):
            there_is = number % every == every - 1
            one.grad = other.grad = torch.randn_like(one) if there_is else None
        if number == 3:
            checkpoint.save(tmp_path / "saved", optimizer.state_dict())
            optimizer = _Adam(ours, 0.02)
            optimizer.load_state_dict(checkpoint.load(tmp_path / "saved"))
        optimizer.step()
        reference.step()
        assert all(map(torch.equal, ours, theirs))


def test_learning_does_not_import_a_compiler() -> None:
    """It takes two seconds, and nothing is compiled."""
    program = """
import sys, torch
from latentnlp.learners.lexicon import _Adam
parameter = torch.nn.Parameter(torch.ones(2))
parameter.grad = torch.ones(2)
_Adam([parameter], 0.1).step()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
