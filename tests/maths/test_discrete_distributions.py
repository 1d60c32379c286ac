"""Every discrete family against a list of all its states.

Tests of draws have seeds of their own; each says at what rate a right sampler would fail it under
another seed. All together (fewer than 400 such tests at 1e-6) that is below 1 in 1,000.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from families import (
    BERNOULLI,
    CATEGORICAL,
    FAMILIES,
    HIERARCHY,
    MARKOV,
    PRODUCT,
    Case,
    Family,
    check_frequencies,
    check_same_distribution,
    check_z,
    flat,
    random_case,
    seeded,
    states,
)
from torch import Tensor

from latentnlp.distributions._noise import gumbel, uniform
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Discrete, Factor, Factored, Latent
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product

INF, NAN = float("inf"), float("nan")
RATE = 1e-6  # of one test of draws
BATCHES = [(), (1,), (2, 3)]
FACTORS = [BERNOULLI, CATEGORICAL]

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
every_factor = pytest.mark.parametrize("family", FACTORS, ids=lambda f: f.name)
every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(random_case(family, batch, padded), id=f"{family.name}-{batch}-{padded}")
        for family in FAMILIES
        for batch in BATCHES
        for padded in (False, True)
    ],
)

CERTAIN: dict[Family, list[Any]] = {
    BERNOULLI: [[INF, -INF, 0.3]],
    CATEGORICAL: [[[-INF, 0.3, 1.0], [-INF, 2.0, -INF], [0.0, -1.0, -INF]]],
    MARKOV: [[[INF, 0.2], [0.5, -INF], [-INF, INF]]],
    PRODUCT: [[-INF, 0.4], [[0.2, -INF, 1.0]]],
    HIERARCHY: [[INF], [0.3], [[0.1, -INF, 0.0]]],
}


def certain_case(family: Family, scale: float = INF) -> Case:
    """Two items; infinities, or (with a ``scale`` in their place) large finite logits."""
    parameters = [torch.tensor([p, p], dtype=torch.float64) for p in CERTAIN[family]]
    parameters = [torch.where(p.isinf(), p.sign() * scale, p) for p in parameters]
    return Case(family, parameters, None, (2,))


def factor(case: Case) -> Bernoulli | Categorical:
    q = case.q
    assert isinstance(q, Bernoulli | Categorical)
    return q


def one(z: Latent) -> Tensor:
    assert isinstance(z, Tensor)
    return z


def quantities(q: Discrete, z: Latent, temperature: Tensor | float = 0.7) -> dict[str, Tensor]:
    """All that q answers and has a gradient."""
    found = {
        "log_prob_terms": q.log_prob_terms(z),
        "log_prob": q.log_prob(z),
        "entropy": q.entropy(),
        "support": q.enumerate_support()[1].exp(),
    }
    if isinstance(q, Factor):
        table = q.table()
        found |= {"mean": q.mean(), "score": q.score(one(z)), "table": table.exp()}
        found["log table"] = torch.where(table.isinf(), 0.0, table)
        found["relaxed"] = q.relaxed(4, temperature, seeded(1))[1]
        _, found["soft"], found["given"] = q.coupled_relaxation(4, temperature, seeded(2))
    if isinstance(q, Bernoulli | MarkovBernoulli):
        found |= {"marginals": q.marginals(), "changes": q.expected_changes()}
    if isinstance(q, MarkovBernoulli):
        found["edges"] = q.edge_marginals()
    return found


def gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Of a sum of ``value`` with random weights."""
    weights = torch.randn(value.shape, generator=seeded(3), dtype=value.dtype)
    (weights * value).sum().backward(retain_graph=True)
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found


def expectation(q: Discrete, value: Tensor) -> Tensor:
    """E_q of a function's values [M, *B, …] on the support; differentiable."""
    p = q.enumerate_support()[1].exp()
    return (p.reshape(*p.shape, *[1] * (value.dim() - p.dim())) * value).sum(0)


# The support and what it sums to.


@every_case
def test_support_and_log_prob(case: Case) -> None:
    q = case.q
    assert q.batch_shape == case.batch_shape
    z, log_q = q.enumerate_support()
    assert log_q.shape[1:] == case.batch_shape
    terms, again = q.log_prob_terms(z), q.log_prob(z)
    assert terms.shape == (*log_q.shape, 3)
    torch.testing.assert_close(terms.sum(-1), again)
    if case.mask is not None:
        assert (terms[:, ~case.mask] == 0).all()
    for item, expected in case.items():
        found, where = {}, (slice(None), *item)
        rows = zip(states(q, z, item), log_q[where].tolist(), again[where].tolist(), strict=True)
        for state, log_p, once_more in rows:
            assert state in expected  # the repetitions too: 0 at padding
            assert once_more == pytest.approx(math.log(expected[state]), abs=1e-10)
            if log_p > -INF:
                assert state not in found, "a state is there twice"
                found[state] = math.exp(log_p)
        assert found == pytest.approx(expected, abs=1e-12)
        assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)


@every_case
def test_entropy(case: Case) -> None:
    found = case.q.entropy()
    assert found.shape == case.batch_shape
    for item, expected in case.items():
        entropy = -sum(p * math.log(p) for p in expected.values())
        assert found[item].item() == pytest.approx(entropy, abs=1e-12)


@every_case
def test_mode(case: Case) -> None:
    q = case.q
    mode = q.mode()
    z = tuple(part[None] for part in mode) if isinstance(mode, tuple) else mode[None]
    for item, expected in case.items():
        (found,) = states(q, z, item)
        if case.family is HIERARCHY:
            assert found == ancestral_mode(expected)
        else:
            assert expected[found] == max(expected.values())


def ancestral_mode(expected: dict[tuple[int, ...], float]) -> tuple[int, ...]:
    """Of the two bits, then of the rest given them: the most probable, one after the other."""
    for length in (1, 2, 5):
        mass: Counter[tuple[int, ...]] = Counter()
        for state, p in expected.items():
            mass[state[:length]] += p  # type: ignore[assignment]
        best = max(mass, key=lambda start: mass[start])
        expected = {state: p for state, p in expected.items() if state[:length] == best}
    return next(iter(expected))


def test_mode_of_many_longer_chains() -> None:
    """Viterbi, where the best bit by bit is another: 300 chains of 7 with holes and ends."""
    logits = 2 * torch.randn(300, 7, 2, generator=seeded(4))
    mask = torch.rand(300, 7, generator=seeded(5)) < 0.8
    q = MarkovBernoulli(logits, mask)
    log_q = q.enumerate_support()[1]
    mode = q.mode()
    assert (mode[~mask] == 0).all()
    torch.testing.assert_close(q.log_prob(mode[None])[0], log_q.amax(0))
    greedy = (q.marginals() > 0.5).float()
    assert (greedy != mode).any(-1).sum() > 30, "the test is too easy"


@pytest.mark.parametrize("padded", [False, True])
@every_factor
def test_mean_and_table(family: Family, padded: bool) -> None:
    case = random_case(family, padded=padded)
    q = factor(case)
    mean, table = q.mean().flatten(len(case.batch_shape)), q.table().exp()
    size = table.shape[-1]
    for item, expected in case.items():
        average = [
            sum(p * state[i] for state, p in expected.items()) for i in range(mean.shape[-1])
        ]
        assert mean[item].tolist() == pytest.approx(average, abs=1e-12)
        for n, row in enumerate(table[item].tolist()):
            if family is BERNOULLI:
                share = [1 - average[n], average[n]]
            else:
                share = average[n * size : (n + 1) * size]
            if case.mask is not None and not case.mask[item][n]:
                share = [1.0] + [0.0] * (size - 1)  # padding is surely the first
            assert row == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("padded", [False, True])
def test_edge_marginals_of_a_chain(padded: bool) -> None:
    case = random_case(MARKOV, padded=padded)
    q = case.q
    assert isinstance(q, MarkovBernoulli)
    edges = q.edge_marginals()
    for item, expected in case.items():
        for t in range(3):
            for k in (0, 1):
                for v in (0, 1):
                    both = sum(p for z, p in expected.items() if (0, *z)[t] == k and z[t] == v)
                    assert edges[item][t, k, v].item() == pytest.approx(both, abs=1e-12)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", [BERNOULLI, MARKOV], ids=lambda f: f.name)
def test_expected_changes(family: Family, padded: bool) -> None:
    """Between neighbours of which neither is padding; the start is no change."""
    case = random_case(family, padded=padded)
    q = case.q
    assert isinstance(q, Bernoulli | MarkovBernoulli)
    changes, marginals = q.expected_changes(), q.marginals()
    assert changes.shape == case.batch_shape
    for item, expected in case.items():
        here = [True] * 3 if case.mask is None else case.mask[item].tolist()
        average = sum(
            p * sum(z[t] != z[t - 1] for t in (1, 2) if here[t] and here[t - 1])
            for z, p in expected.items()
        )
        assert changes[item].item() == pytest.approx(average, abs=1e-12)
        for t in range(3):
            one = sum(p for z, p in expected.items() if z[t] == 1)
            assert marginals[item][t].item() == pytest.approx(one, abs=1e-12)


@every_case
def test_gradients_are_those_of_the_sums(case: Case) -> None:
    case = case.leaves()
    q = case.q
    z, log_q = q.enumerate_support()
    pairs = [(q.entropy(), expectation(q, -torch.where(log_q.isinf(), 0.0, log_q)))]
    if isinstance(q, Factor):
        pairs.append((q.mean(), expectation(q, one(z))))
    if isinstance(q, Bernoulli | MarkovBernoulli):
        pairs.append((q.marginals(), expectation(q, one(z))))
    if isinstance(q, MarkovBernoulli):
        before = torch.nn.functional.pad(one(z), (1, -1))
        both = torch.stack([(1 - before), before], -1)[..., None]
        both = both * torch.stack([1 - one(z), one(z)], -1)[..., None, :]
        pairs.append((q.edge_marginals(), expectation(q, both)))
    for found, expected in pairs:
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(
            gradients(found, case.parameters), gradients(expected, case.parameters), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


@every_case
def test_scores(case: Case) -> None:
    """The samples are made items of a batch: then autograd gives each one's own gradient."""
    z = case.q.sample(5, seeded(6))
    wide = [p.expand(5, *p.shape).clone().requires_grad_() for p in case.parameters]
    mask = None if case.mask is None else case.mask.expand(5, *case.mask.shape)
    each = case.family.build(wide, case.family.masks(mask))
    inner = tuple(part[None] for part in z) if isinstance(z, tuple) else z[None]
    each.log_prob(inner).sum().backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in wide]
    axes = len(case.batch_shape) + 2
    squares = [g.square().flatten(axes - 1).reshape(*g.shape[:axes], -1).sum(-1) for g in grads]
    leaves = case.leaves()
    squared = leaves.q.squared_score(z)
    assert not squared.requires_grad
    torch.testing.assert_close(squared, torch.cat(squares, -1))
    if isinstance(leaves.q, Factor):
        score = leaves.q.score(one(z))
        assert score.requires_grad
        torch.testing.assert_close(score.detach(), grads[0])


@every_factor
def test_one_changed(family: Family) -> None:
    case = random_case(family)
    q = factor(case)
    assert case.mask is not None
    z = one(q.sample(4, seeded(7)))
    changed = q.one_changed(z)
    size = q.table().shape[-1]
    assert changed.shape == (3, size, *z.shape)
    for n in range(3):
        for v in range(size):
            expected = z.clone()
            if family is BERNOULLI:
                expected[..., n] = v
                expected[:, ~case.mask] = 0
            else:
                expected[..., n, :] = 0
                expected[..., n, v] = 1
                expected[:, ~case.mask, :] = 0
            assert torch.equal(changed[n, v], expected)


# Draws.


def counts(q: Discrete, z: Latent, item: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    rows, number = np.unique(
        flat(q, z)[(slice(None), *item)].numpy().astype(int), axis=0, return_counts=True
    )
    return {tuple(row): int(n) for row, n in zip(rows.tolist(), number, strict=True)}


@every_case
def test_sample_frequencies(case: Case) -> None:
    q = case.leaves().q
    z = q.sample(20_000, seeded(8))
    parts = z if isinstance(z, tuple) else (z,)
    assert not any(part.requires_grad for part in parts)
    assert all(part.dtype == torch.float64 for part in parts)
    for item, expected in case.items():
        check_frequencies(counts(q, z, item), expected, RATE)


@every_factor
def test_hard_draws_of_the_relaxations(family: Family) -> None:
    case = random_case(family)
    q = factor(case)
    relaxed = q.relaxed(20_000, 0.5, seeded(9))
    coupled = q.coupled_relaxation(20_000, 0.5, seeded(10))
    for item, expected in case.items():
        check_frequencies(counts(q, relaxed[0], item), expected, RATE)
        check_frequencies(counts(q, coupled[0], item), expected, RATE)


def test_the_test_of_frequencies_can_fail() -> None:
    case = random_case(MARKOV, ())
    expected = next(case.items())[1]
    z = case.with_parameters([case.parameters[0] + 0.1]).q.sample(20_000, seeded(8))
    with pytest.raises(AssertionError, match="chi²"):
        check_frequencies(counts(case.q, z, ()), expected, RATE)
    with pytest.raises(AssertionError, match="impossible"):
        check_frequencies({(0,): 9, (1,): 1}, {(0,): 1.0, (1,): 0.0}, RATE)


@every_family
def test_generators(family: Family) -> None:
    q = random_case(family).q

    def draws(seed: int) -> list[Tensor]:
        found = [flat(q, q.sample(50, seeded(seed)))]
        if isinstance(q, Factor):
            found += [*q.relaxed(50, 0.5, seeded(seed)), *q.coupled_relaxation(9, 1, seeded(seed))]
        return found

    before = torch.get_rng_state()
    first, again, other = draws(1), draws(1), draws(2)
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(3)
    global_draw = flat(q, q.sample(50))
    torch.manual_seed(3)
    assert torch.equal(global_draw, flat(q, q.sample(50)))


@every_family
def test_draws_do_not_depend_on_the_precision(family: Family) -> None:
    case = random_case(family)
    single = case.with_parameters([p.float() for p in case.parameters])
    for seed in range(3):
        z, z_ = (flat(c.q, c.q.sample(2000, seeded(seed))) for c in (case, single))
        assert (z.dtype, z_.dtype) == (torch.float64, torch.float32)
        assert torch.equal(z, z_.double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_noise_is_finite_at_both_ends(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least and the greatest that `torch.rand` gives."""
    ends = torch.tensor([0.0, 1 - 2**-24])
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: ends)
    u, g = (noise((2,), torch.zeros(1, dtype=dtype), None) for noise in (uniform, gumbel))
    assert u.dtype == g.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert u.tolist() == [2**-25, 1 - 2**-24]
    assert g.tolist() == pytest.approx([-math.log(25 * math.log(2)), 24 * math.log(2)], rel=1e-6)
    assert (-u).log1p().isfinite().all()


@pytest.mark.parametrize("family", [BERNOULLI, CATEGORICAL, MARKOV], ids=lambda f: f.name)
def test_bfloat16_draws_have_the_right_frequency(family: Family) -> None:
    """σ(7) = 0.99909 is 1 in bfloat16: the rare value must come all the same."""
    rare = 1 / (1 + math.exp(7))
    logits = torch.tensor([7.0, -7.0, 0.5], dtype=torch.bfloat16)
    parameters = {
        BERNOULLI: logits,
        CATEGORICAL: torch.stack([torch.zeros_like(logits), logits], -1),
        MARKOV: torch.stack([logits, logits], -1),
    }
    q = family.build([parameters[family]], [None])
    draws = [q.sample(200_000, seeded(11))]
    if isinstance(q, Factor):
        draws += [q.relaxed(200_000, 0.5, seeded(12))[0]]
        draws += [q.coupled_relaxation(200_000, 0.5, seeded(13))[0]]
    for z in draws:
        assert one(z).dtype == torch.bfloat16
        share = one(z).float().mean(0)
        share = share[..., 1] if family is CATEGORICAL else share
        for found, p in zip(share, (1 - rare, rare, 1 / (1 + math.exp(-0.5))), strict=True):
            check_z(found.item(), p, (p * (1 - p) / 200_000) ** 0.5, RATE)


# Relaxations.


@every_factor
def test_relaxations_of_bfloat16_logits_are_not_rounded(family: Family) -> None:
    case = random_case(family, dtype=torch.bfloat16)
    q = factor(case)
    exact = factor(case.with_parameters([p.float() for p in case.parameters]))
    ours = [*q.relaxed(200, 0.5, seeded(27)), *q.coupled_relaxation(200, 0.5, seeded(28))]
    theirs = [*exact.relaxed(200, 0.5, seeded(27)), *exact.coupled_relaxation(200, 0.5, seeded(28))]
    for z, same in zip(ours, theirs, strict=True):
        assert torch.equal(z.float(), same)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
@every_factor
def test_relaxations_harden_to_their_draw(family: Family, temperature: float) -> None:
    q = factor(random_case(family))
    z, soft = q.relaxed(2000, temperature, seeded(14))
    check_hardens(q, z, soft)
    z, soft, given = q.coupled_relaxation(2000, temperature, seeded(15))
    check_hardens(q, z, soft)
    check_hardens(q, z, given)
    assert not torch.equal(soft, given) and not z.requires_grad


def check_hardens(q: Bernoulli | Categorical, z: Tensor, soft: Tensor) -> None:
    assert q.mask is not None
    assert (soft >= 0).all() and (soft <= 1).all()
    if isinstance(q, Bernoulli):
        hard = (soft > 0.5).to(z.dtype)
    else:
        hard = torch.nn.functional.one_hot(soft.argmax(-1), 3) * q.mask[..., None]
        torch.testing.assert_close(soft.sum(-1), q.mask.to(soft.dtype).expand(soft.shape[:-1]))
    assert torch.equal(hard.to(z.dtype), z)
    assert (soft[:, ~q.mask] == 0).all()


@pytest.mark.parametrize("temperature", [0.3, 1.5])
@every_factor
def test_relaxations_are_concrete(family: Family, temperature: float) -> None:
    """Against numpy's own logistic and Gumbel noise."""
    case = random_case(family, (), padded=False)
    q, draws = factor(case), 50_000
    random, logits = np.random.default_rng(0), case.parameters[0].numpy()
    if family is BERNOULLI:
        noisy = (logits + random.logistic(size=(draws, *logits.shape))) / temperature
        expected = 1 / (1 + np.exp(-noisy))
    else:
        noisy = (logits + random.gumbel(size=(draws, *logits.shape))) / temperature
        expected = np.exp(noisy - noisy.max(-1, keepdims=True))
        expected /= expected.sum(-1, keepdims=True)
    soft = q.relaxed(draws, temperature, seeded(16))[1]
    for column, other in zip(columns(soft), columns(torch.from_numpy(expected)), strict=True):
        check_same_distribution(column, other, RATE)


@pytest.mark.parametrize("temperature", [0.3, 1.5])
@every_factor
def test_coupled_relaxations_have_one_distribution(family: Family, temperature: float) -> None:
    """z, soft and z, given are one pair in distribution: whatever z is, and altogether."""
    q = factor(random_case(family, (), padded=False))
    z, soft, _ = q.coupled_relaxation(50_000, temperature, seeded(17))
    z_, _, given = q.coupled_relaxation(50_000, temperature, seeded(18))  # independent of soft
    for column, other in zip(columns(soft), columns(given), strict=True):
        check_same_distribution(column, other, RATE)
    weights = torch.randn(soft[0].numel(), generator=seeded(19), dtype=soft.dtype)
    check_same_distribution(soft.flatten(1) @ weights, given.flatten(1) @ weights, RATE)
    for n in range(3):
        for v in (0, 1):
            here, there = ((x.flatten(1)[:, n] == v) for x in (z, z_))
            for column, other in zip(columns(soft[here]), columns(given[there]), strict=True):
                check_same_distribution(column, other, RATE)


def columns(values: Tensor) -> list[np.ndarray]:
    return list(values.flatten(1).T.numpy())


def test_the_test_of_distributions_can_fail() -> None:
    q = factor(random_case(BERNOULLI, (), padded=False))
    other = q.with_logits(q.logits + 0.1)
    x, y = q.relaxed(50_000, 0.3, seeded(17))[1], other.relaxed(50_000, 0.3, seeded(18))[1]
    with pytest.raises(AssertionError, match="distance"):
        for column, its in zip(columns(x), columns(y), strict=True):
            check_same_distribution(column, its, RATE)


@every_factor
def test_relaxations_against_finite_differences(family: Family) -> None:
    """First and second derivatives, in the logits and in the temperature."""
    case = random_case(family).leaves()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def relaxations(logits: Tensor, temperature: Tensor) -> tuple[Tensor, ...]:
        q = factor(case.with_parameters([logits]))
        soft = q.relaxed(2, temperature, seeded(20))[1]
        return soft, *q.coupled_relaxation(2, temperature, seeded(21))[1:]

    inputs = (case.parameters[0], temperature)
    assert torch.autograd.gradcheck(relaxations, inputs)
    assert torch.autograd.gradgradcheck(relaxations, inputs)


# Padding and infinities.


@pytest.mark.parametrize("garbage", [1e4, INF, -INF, NAN])
@every_family
def test_what_stands_at_padding_is_nothing(family: Family, garbage: float) -> None:
    case = random_case(family).leaves()
    assert case.mask is not None
    padding = [
        (~mask).reshape(*mask.shape, *[1] * (p.dim() - mask.dim())).expand(p.shape)
        for p, mask in zip(case.parameters, family.masks(case.mask), strict=True)
        if mask is not None
    ]
    dirty = case.with_parameters(
        [
            p.detach().masked_fill(where, garbage).requires_grad_()
            for p, where in zip(case.parameters, padding, strict=True)
        ]
    )
    z, z_ = (c.q.sample(20, seeded(22)) for c in (case, dirty))
    assert torch.equal(flat(case.q, z), flat(dirty.q, z_))
    for clean, soiled in ((case.q.mode(), dirty.q.mode()), (z, z_)):
        parts = soiled if isinstance(soiled, tuple) else (soiled,)
        others = clean if isinstance(clean, tuple) else (clean,)
        for part, other, mask in zip(parts, others, part_masks(case), strict=True):
            assert torch.equal(part, other)
            inside = part.movedim(0, -1) if part.dim() > mask.dim() and soiled is z_ else part
            assert (inside[~mask] == 0).all()
    expected, found = quantities(case.q, z), quantities(dirty.q, z)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=name, rtol=0, atol=0)
        ours, theirs = (
            gradients(v, c.parameters) for v, c in ((value, dirty), (expected[name], case))
        )
        for gradient, other, where in zip(ours, theirs, padding, strict=True):
            assert (gradient[where] == 0).all(), name
            torch.testing.assert_close(gradient, other, msg=name, rtol=0, atol=0)


def part_masks(case: Case) -> list[Tensor]:
    return [mask for mask in case.family.masks(case.mask) if mask is not None]


@pytest.mark.parametrize("scale", [INF, 1e4, 1e30])
@every_family
def test_certain_latents(family: Family, scale: float) -> None:
    case = certain_case(family, scale).leaves()
    q = case.q
    z, log_q = q.enumerate_support()
    draws = q.sample(20_000, seeded(23))
    entropy = q.entropy()
    for item, expected in certain_case(family).items():
        found = dict(
            zip(states(q, z, item), log_q[(slice(None), *item)].exp().tolist(), strict=True)
        )
        assert found == pytest.approx(expected, abs=1e-12)
        check_frequencies(counts(q, draws, item), expected, RATE)
        bits = -sum(p * math.log(p) for p in expected.values() if p > 0)
        assert entropy[item].item() == pytest.approx(bits, abs=1e-12)
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for name, value in quantities(q, q.sample(20, seeded(24)), temperature).items():
        assert value.isfinite().all(), name
        for gradient in gradients(value, [*case.parameters, temperature]):
            assert gradient.isfinite().all(), name
    impossible = q.log_prob(z)
    assert not impossible.isnan().any()
    for gradient in gradients(impossible, case.parameters):
        assert not gradient.isnan().any()


@pytest.mark.parametrize("scale", [INF, 1e4])
@every_factor
def test_second_derivatives_of_certain_latents(family: Family, scale: float) -> None:
    """REBAR trains its temperature on the square of a gradient."""
    case = certain_case(family, scale).leaves()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    leaves = [*case.parameters, temperature]
    relaxed = factor(case).relaxed(4, temperature, seeded(1))[1:]
    coupled = factor(case).coupled_relaxation(4, temperature, seeded(2))[1:]
    for soft in (*relaxed, *coupled):
        slopes = torch.autograd.grad(soft.square().sum(), leaves, create_graph=True)
        square = torch.stack([slope.square().sum() for slope in slopes]).sum()
        second = torch.autograd.grad(square, leaves, retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in (*slopes, *second))
        assert second[-1] != 0


@every_family
def test_the_mode_of_certain_latents(family: Family) -> None:
    case = certain_case(family)
    mode = case.q.mode()
    z = tuple(part[None] for part in mode) if isinstance(mode, tuple) else mode[None]
    for item, expected in case.items():
        (found,) = states(case.q, z, item)
        best = ancestral_mode(expected) if family is HIERARCHY else max(expected, key=expected.get)  # type: ignore[arg-type]
        assert found == best


# The seams, and what is refused.


def test_protocols() -> None:
    bernoulli, categorical, chain, pair, layers = (random_case(f).q for f in FAMILIES)
    assert isinstance(bernoulli, Factor) and isinstance(categorical, Factor)
    for q in (bernoulli, categorical, pair):
        assert isinstance(q, Factored)
        z = q.sample(2, seeded(25))
        assert torch.equal(flat(q, q.join(q.split(z))), flat(q, z))
        assert len(q.factors) == len(q.split(z))
        assert q is pair or q.factors == (q,)
    for q in (chain, layers):
        assert not isinstance(q, Factor) and not isinstance(q, Factored)


@every_factor
def test_with_logits_keeps_the_mask(family: Family) -> None:
    case = random_case(family)
    q = factor(case)
    other = q.with_logits(q.logits + 1)
    assert type(other) is type(q) and other.mask is q.mask
    expected = factor(case.with_parameters([case.parameters[0] + 1]))
    torch.testing.assert_close(other.mean(), expected.mean())


def mask(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bernoulli(torch.zeros(())),
        lambda: Bernoulli(torch.zeros(2, 3), mask(3)),
        lambda: Bernoulli(torch.zeros(2, 3), mask(2, 3, 1)),
        lambda: Categorical(torch.zeros(3)),
        lambda: Categorical(torch.zeros(2, 3), mask(2, 3)),
        lambda: Categorical(torch.zeros(2, 3, 4), mask(3)),
        lambda: MarkovBernoulli(torch.zeros(2)),
        lambda: MarkovBernoulli(torch.zeros(4, 3)),
        lambda: MarkovBernoulli(torch.zeros(4, 3, 2), mask(3)),
        lambda: Product([]),
        lambda: Product([Bernoulli(torch.zeros(2, 3)), Bernoulli(torch.zeros(3, 3))]),
    ],
)
def test_wrong_shapes_are_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    "q",
    [
        Bernoulli(torch.zeros(21)),
        Categorical(torch.zeros(13, 3)),
        MarkovBernoulli(torch.zeros(21, 2)),
        Product([Bernoulli(torch.zeros(11)), Bernoulli(torch.zeros(10))]),
        Hierarchy(Bernoulli(torch.zeros(15)), [lambda z: Bernoulli(torch.zeros(z.shape[0], 15))]),
    ],
    ids=lambda q: type(q).__name__,
)
def test_too_many_states_are_refused(q: Discrete) -> None:
    with pytest.raises(ValueError, match=r"support has \d+ states.*sampling estimator"):
        q.enumerate_support()


@pytest.mark.parametrize("q", [random_case(PRODUCT).q, random_case(HIERARCHY).q])
def test_a_tuple_of_another_length_is_refused(q: Discrete) -> None:
    z = q.sample(1, seeded(26))
    for wrong in (z[:1], z[0]):
        with pytest.raises(TypeError, match="tuple"):
            q.log_prob(wrong)
    with pytest.raises(TypeError, match="one tensor"):
        Bernoulli(torch.zeros(2)).log_prob(z)
