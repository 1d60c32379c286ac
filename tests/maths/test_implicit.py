"""The likelihood of a map of noise, against what can be counted by hand.

Tests of draws have seeds of their own; a right estimate would fail one of them under another seed
at the stated rate (fewer than 100 at 1e-6).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from families import (
    FAMILIES,
    Family,
    check_z,
    flat,
    random_case,
    seeded,
)
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.implicit import by_enumeration, by_monte_carlo

INF = float("inf")
RATE = 1e-6


def total(z: Any) -> Tensor:
    return z.sum(-1)


def pips(z: Any) -> Tensor:
    """Of one-hot dice, together."""
    return (z * torch.arange(1, 7)).sum((-1, -2))


def test_three_coins() -> None:
    coins = Bernoulli(torch.zeros(6, 3))
    found = by_enumeration(torch.tensor([0, 1, 2, 3, 4, -1]), total, coins)
    expected = [1 / 8, 3 / 8, 3 / 8, 1 / 8, 0.0, 0.0]
    assert found.log_prob.exp().tolist() == pytest.approx(expected)
    assert (found.log_prob[4:] == -INF).all() and (found.standard_error == 0).all()


def test_two_dice() -> None:
    dice = Categorical(torch.zeros(13, 2, 6))
    found = by_enumeration(torch.arange(1, 14), pips, dice)
    expected = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0]
    assert (36 * found.log_prob.exp()).tolist() == pytest.approx(expected, rel=1e-5)


def test_padded_noise_is_not_counted_twice() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = by_enumeration(torch.tensor([1, 0]), total, Bernoulli(torch.ones(2, 3), mask))
    p = 1 / (1 + math.exp(-1))
    assert found.log_prob.exp().tolist() == pytest.approx([2 * p * (1 - p), 1.0])


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_of_the_identity_is_the_noise_itself(family: Family, batch: tuple[int, ...]) -> None:
    """x is a vector: all of it must be equal. Of every family of noise, tuples too."""
    case = random_case(family, batch)
    q = case.q
    z = q.sample(1, seeded(1))
    found = by_enumeration(flat(q, z)[0], lambda noise: flat(q, noise), q)
    assert found.log_prob.shape == batch
    torch.testing.assert_close(found.log_prob, q.log_prob(z)[0])


def test_gradients() -> None:
    """Two coins of different bias show one head: p (1 − r) + r (1 − p)."""
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    p, r = logits.sigmoid().unbind(-1)
    expected = (p * (1 - r) + r * (1 - p)).log()
    found = by_enumeration(torch.tensor([1, 1]), total, Bernoulli(logits)).log_prob
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_what_cannot_be_has_no_nan_in_its_gradient() -> None:
    """x = 5 never; x = 2 only if the noise could, whose logit says no; x = 0 surely."""
    rows = [[0.3, 0.1], [0.5, -INF], [-INF, -INF], [INF, 0.2], [0.3, 0.1]]
    logits = torch.tensor(rows, requires_grad=True)
    found = by_enumeration(torch.tensor([5, 2, 0, 2, 1]), total, Bernoulli(logits)).log_prob
    p, r = (1 / (1 + math.exp(-x)) for x in (0.3, 0.1))
    one = math.log(p * (1 - r) + r * (1 - p))
    second = -math.log1p(math.exp(-0.2))
    assert found.tolist() == pytest.approx([-INF, -INF, 0.0, second, one])
    found.sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert (logits.grad[:3] == 0).all() and (logits.grad[4] != 0).all()


def test_enumeration_has_its_limit() -> None:
    with pytest.raises(ValueError, match="enumerated"):
        by_enumeration(torch.tensor(0), total, Bernoulli(torch.zeros(21)))


# Monte Carlo.


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("samples", [1000, 20_000])
def test_monte_carlo_within_its_own_standard_error(batch: tuple[int, ...], samples: int) -> None:
    logits = 0.5 * torch.randn(*batch, 4, generator=seeded(2))
    x, q = torch.full(batch, 2), Bernoulli(logits)
    exact = by_enumeration(x, total, q).log_prob.exp()
    found = by_monte_carlo(x, total, q.sample, samples, len(batch), seeded(3))
    assert found.log_prob.shape == found.standard_error.shape == batch
    p = found.log_prob.exp()
    torch.testing.assert_close(found.standard_error, (p * (1 - p) / (samples - 1)).sqrt())
    for row in torch.stack([p, exact, found.standard_error]).reshape(3, -1).T.tolist():
        check_z(row[0], row[1], row[2], RATE)


def test_the_standard_error_is_that_of_repetitions() -> None:
    """2,000 estimates at once: their spread, known to within 2 % (one standard deviation)."""
    repeats = 2000
    q = Bernoulli(torch.zeros(repeats, 2))
    found = by_monte_carlo(torch.ones(repeats), total, q.sample, 300, generator=seeded(4))
    spread = found.log_prob.exp().std().item()
    mean = found.standard_error.square().mean().sqrt().item()
    check_z(spread / mean, 1.0, (2 * repeats) ** -0.5, RATE)


def test_monte_carlo_of_continuous_noise() -> None:
    """The argmax of logits and Gumbel noise: its implicit likelihood is the softmax."""
    logits = torch.tensor([[1.0, 0.0, -1.0]] * 3)

    def noise(samples: int, generator: torch.Generator | None) -> Tensor:
        return -torch.empty(samples, 3, 3).exponential_(generator=generator).log()

    x = torch.arange(3)
    found = by_monte_carlo(x, lambda e: (logits + e).argmax(-1), noise, 50_000, 1, seeded(5))
    for row in zip(
        found.log_prob.exp().tolist(),
        logits[0].softmax(-1).tolist(),
        found.standard_error.tolist(),
        strict=True,
    ):
        check_z(*row, RATE)


@pytest.mark.parametrize("chunk", [1, 7, 100, 1000])
def test_all_the_samples_are_drawn_a_chunk_at_a_time(chunk: int) -> None:
    asked: list[int] = []

    def noise(samples: int, generator: torch.Generator | None) -> Tensor:
        asked.append(samples)
        start = sum(asked[:-1])
        return torch.arange(start, start + samples)[:, None]  # [S, 1]

    found = by_monte_carlo(torch.tensor([1]), lambda e: (e < 25).long(), noise, 100, chunk=chunk)
    assert sum(asked) == 100 and max(asked) == min(chunk, 100)
    assert found.log_prob.item() == pytest.approx(math.log(0.25))
    assert found.standard_error.item() == pytest.approx((0.25 * 0.75 / 99) ** 0.5)


def test_monte_carlo_of_what_cannot_be() -> None:
    q = Bernoulli(torch.zeros(2, 3))
    found = by_monte_carlo(torch.tensor([9, 1]), total, q.sample, 500, generator=seeded(6))
    assert found.log_prob[0] == -INF and found.log_prob[1].isfinite()
    assert found.standard_error[0] == 0


def test_monte_carlo_is_reproducible() -> None:
    q = Bernoulli(torch.zeros(50, 3))
    x = torch.ones(50)

    def estimate(seed: int) -> Tensor:
        return by_monte_carlo(x, total, q.sample, 100, generator=seeded(seed)).log_prob

    assert torch.equal(estimate(1), estimate(1)) and not torch.equal(estimate(1), estimate(2))


@pytest.mark.parametrize("samples", [-1, 0, 1])
def test_too_few_samples_are_refused(samples: int) -> None:
    q = Bernoulli(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 2"):
        by_monte_carlo(torch.zeros(1), total, q.sample, samples)
