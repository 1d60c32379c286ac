"""Closed forms of KL(q ‖ p) against the enumerating one, and both against sums by itertools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

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
    State,
    random_case,
)
from torch import Tensor

from latentnlp.distributions import divergence
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.divergence import kl_by_enumeration, kl_divergence
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli

INF, NAN = float("inf"), float("nan")
CLOSED = [
    (BERNOULLI, BERNOULLI),
    (CATEGORICAL, CATEGORICAL),
    (MARKOV, MARKOV),
    (BERNOULLI, MARKOV),
    (MARKOV, BERNOULLI),
    (PRODUCT, PRODUCT),
]
PAIRS = [*CLOSED, (HIERARCHY, HIERARCHY)]


def named(pairs: Sequence[tuple[Family, Family]]) -> pytest.MarkDecorator:
    ids = [f"{q.name}-{p.name}" for q, p in pairs]
    return pytest.mark.parametrize(("first", "second"), pairs, ids=ids)


def pair(first: Family, second: Family, batch: tuple[int, ...], padded: bool) -> tuple[Case, Case]:
    """q and p of the same padding."""
    q, p = random_case(first, batch, padded), random_case(second, batch, padded, seed=1)
    return q.leaves(), Case(second, p.parameters, q.mask, batch).leaves()


def by_hand(q: dict[State, float], p: dict[State, float]) -> float:
    terms = [(x, p[state]) for state, x in q.items() if x > 0]
    return sum(x * math.log(x / y) if y > 0 else INF for x, y in terms)


def gradients(value: Tensor, *cases: Case) -> list[Tensor]:
    leaves = [leaf for case in cases for leaf in case.parameters]
    return list(torch.autograd.grad(value.sum(), leaves, retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@named(PAIRS)
def test_against_the_sum_over_states(
    first: Family, second: Family, batch: tuple[int, ...], padded: bool
) -> None:
    q, p = pair(first, second, batch, padded)
    found, enumerated = kl_divergence(q.q, p.q), kl_by_enumeration(q.q, p.q)
    assert found.shape == batch
    for (item, of_q), (_, of_p) in zip(q.items(), p.items(), strict=True):
        expected = by_hand(of_q, of_p)
        assert found[item].item() == pytest.approx(expected, abs=1e-12)
        assert enumerated[item].item() == pytest.approx(expected, abs=1e-12)
        padding = padded and q.mask is not None and not q.mask[item].any()
        assert (found[item] == 0) if padding else (found[item] > 0)
    for ours, theirs in zip(gradients(found, q, p), gradients(enumerated, q, p), strict=True):
        torch.testing.assert_close(ours, theirs)


@named(PAIRS)
def test_gradient_against_finite_differences(first: Family, second: Family) -> None:
    q, p = pair(first, second, (2,), True)
    split = len(q.parameters)

    def value(*parameters: Tensor) -> Tensor:
        q_, p_ = q.with_parameters(parameters[:split]), p.with_parameters(parameters[split:])
        return kl_divergence(q_.q, p_.q)

    assert torch.autograd.gradcheck(value, (*q.parameters, *p.parameters))


@named(CLOSED)
def test_closed_forms_do_not_enumerate(
    first: Family, second: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("enumerated")

    monkeypatch.setattr(divergence, "kl_by_enumeration", refuse)
    q, p = pair(first, second, (2,), False)
    assert kl_divergence(q.q, p.q).isfinite().all()


@named([(family, family) for family in FAMILIES])
def test_of_a_distribution_and_itself(first: Family, second: Family) -> None:
    q = random_case(first).leaves()
    found = kl_divergence(q.q, q.q)
    assert (found == 0).all()
    again = random_case(second)  # the same numbers, other tensors: a minimum
    for gradient in gradients(kl_divergence(q.q, again.q), q):
        assert gradient.abs().max() < 1e-12


def test_a_chain_of_equal_columns_is_independent() -> None:
    q, p = pair(BERNOULLI, BERNOULLI, (2, 3), True)
    chains = [MarkovBernoulli(torch.stack([c.parameters[0]] * 2, -1), c.mask) for c in (q, p)]
    expected = kl_divergence(q.q, p.q)
    for one, other in ((chains[0], chains[1]), (chains[0], p.q), (q.q, chains[1])):
        torch.testing.assert_close(kl_divergence(one, other), expected)
    assert kl_divergence(q.q, chains[0]).abs().max() < 1e-12


# Certain latents: every pair of parameters from a few values, infinite ones too.


def every_pair(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    values = torch.stack(rows).double()
    n = len(values)
    q = values[:, None].expand(n, n, *values.shape[1:]).flatten(0, 1)
    p = values.expand(n, n, *values.shape[1:]).flatten(0, 1)
    return q.clone().requires_grad_(), p.clone().requires_grad_()


def rows_of(family: Family) -> list[Tensor]:
    """Parameters of 3 latents; of the first (the first two of the chain) every choice."""
    if family is CATEGORICAL:
        rows = [row for row in product((-INF, 0.0, 1.0), repeat=3) if max(row) > -INF]
        return [torch.tensor([row, (0.0, 1.0, 0.5), (-INF, 0.3, -INF)]) for row in rows]
    if family is BERNOULLI:
        return [torch.tensor(row) for row in product((-INF, -1.0, INF), repeat=3)]
    rows = product((-INF, 0.3, INF), repeat=4)
    return [torch.tensor([row[:2], row[2:], (0.2, -0.1)]) for row in rows]


@pytest.mark.parametrize("family", [BERNOULLI, CATEGORICAL, MARKOV], ids=lambda f: f.name)
def test_infinite_divergences(family: Family) -> None:
    q, p = every_pair(rows_of(family))
    cases = [Case(family, [x], None, (len(q),)) for x in (q, p)]
    found, enumerated = (kl(cases[0].q, cases[1].q) for kl in (kl_divergence, kl_by_enumeration))
    expected = [
        by_hand(of_q, of_p)
        for (_, of_q), (_, of_p) in zip(cases[0].items(), cases[1].items(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert enumerated.tolist() == pytest.approx(expected, abs=1e-12)
    infinite = found == INF
    assert 0.2 < infinite.double().mean() < 0.9
    for value in (found, enumerated):
        for x, gradient in zip((q, p), gradients(value, *cases), strict=True):
            assert gradient.isfinite().all()
            assert (gradient[x.isinf()] == 0).all()
    ours, theirs = (gradients(value[~infinite], *cases) for value in (found, enumerated))
    for gradient, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, other)


def test_an_infinite_divergence_in_a_product() -> None:
    q = random_case(PRODUCT, (2,), padded=False).leaves()
    p = random_case(PRODUCT, (2,), padded=False, seed=1)
    p.parameters[1][0, 0, 2] = -INF
    p = p.leaves()
    found = kl_divergence(q.q, p.q)
    assert found[0] == INF and found[1].isfinite()
    for gradient in gradients(found, q, p):
        assert gradient.isfinite().all()


def test_where_probabilities_round_to_0_logarithms_do_not() -> None:
    """Not +inf: p(z = 0) = e^−10000 is small but not 0."""
    q = Bernoulli(torch.tensor([0.0], requires_grad=True))
    p = Bernoulli(torch.tensor([1e4], requires_grad=True))
    assert kl_divergence(q, p).item() == pytest.approx(5000 - math.log(2), rel=1e-6)
    assert kl_divergence(p, q).item() == pytest.approx(math.log(2))
    chain = MarkovBernoulli(torch.tensor([[1e4, 1e4]]))
    assert kl_divergence(q, chain).item() == pytest.approx(5000 - math.log(2), rel=1e-6)
    values, rare = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -1e4]])
    found = kl_divergence(Categorical(values), Categorical(rare)).item()
    assert found == pytest.approx(5000 - math.log(2), rel=1e-6)


@pytest.mark.parametrize("garbage", [INF, -INF, NAN])
@named(CLOSED)
def test_what_stands_at_padding_is_nothing(first: Family, second: Family, garbage: float) -> None:
    clean = pair(first, second, (2, 3), True)
    expected = kl_divergence(clean[0].q, clean[1].q)
    for index in (0, 1):  # in q alone, in p alone
        dirty, padding = list(clean), []
        case = clean[index]
        for parameter, mask in zip(case.parameters, case.family.masks(case.mask), strict=True):
            assert mask is not None
            axes = [1] * (parameter.dim() - mask.dim())
            padding.append((~mask).reshape(*mask.shape, *axes).expand(parameter.shape))
        dirty[index] = case.with_parameters(
            [
                x.detach().masked_fill(where, garbage)
                for x, where in zip(case.parameters, padding, strict=True)
            ]
        ).leaves()
        for kl in (kl_divergence, kl_by_enumeration):
            found = kl(dirty[0].q, dirty[1].q)
            torch.testing.assert_close(found, expected)
            for gradient, where in zip(gradients(found, dirty[index]), padding, strict=True):
                assert gradient.isfinite().all() and (gradient[where] == 0).all()
                assert (gradient[~where] != 0).any()


# Sizes.


def test_closed_forms_have_no_limit_of_states() -> None:
    zeros = torch.zeros(1000)
    ones = torch.ones(1000)
    each = kl_divergence(Bernoulli(ones[:1]), Bernoulli(zeros[:1]))
    torch.testing.assert_close(kl_divergence(Bernoulli(ones), Bernoulli(zeros)), 1000 * each)
    chain = MarkovBernoulli(torch.ones(1000, 2))
    torch.testing.assert_close(kl_divergence(chain, Bernoulli(zeros)), 1000 * each)
    layers = Hierarchy(Bernoulli(zeros), [])
    with pytest.raises(ValueError, match="enumerated"):
        kl_divergence(layers, layers)


@pytest.mark.parametrize("family", [BERNOULLI, CATEGORICAL, MARKOV], ids=lambda f: f.name)
def test_one_prior_serves_all_items(family: Family) -> None:
    q, p = random_case(family, (2, 3), padded=False), random_case(family, (), padded=False, seed=1)
    wide = p.with_parameters([x.expand(2, 3, *x.shape) for x in p.parameters])
    for kl in (kl_divergence, kl_by_enumeration):
        torch.testing.assert_close(kl(q.q, p.q), kl_divergence(q.q, wide.q))
