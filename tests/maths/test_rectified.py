"""HardKuma and Hard Concrete against quadrature, long arithmetic, finite differences and draws.

Tests of draws have seeds of their own; a right sampler would fail one of them under another seed
at the stated rate, and one of all of them (fewer than 200) below 1 in 1,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import torch
from families import check_z, seeded
from torch import Tensor

from latentnlp.distributions.hard_concrete import HardConcrete
from latentnlp.distributions.rectified import Rectified
from latentnlp.distributions.stretched_kumaraswamy import StretchedKumaraswamy

RATE = 1e-6  # of one z-test
INF, NAN = float("inf"), float("nan")
DRAWS = 200_000
Make = Callable[..., Rectified]

KUMA = [(1.0, 1.0), (0.3, 0.4), (0.5, 2.0), (3.0, 0.7), (4.0, 6.0), (0.02, 3.0)]
CONCRETE = [(0.0, 2 / 3), (2.0, 0.5), (-3.0, 1.0), (1.0, 0.1)]


def kuma(*parameters: float, **options: Any) -> StretchedKumaraswamy:
    a, b = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in parameters)
    return StretchedKumaraswamy(a, b, **options)


def concrete(logit: float, temperature: float = 2 / 3, **options: Any) -> HardConcrete:
    logits = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    return HardConcrete(logits, temperature=temperature, **options)


STRETCHES = [(-0.1, 1.1), (-0.5, 1.02)]
GRID = [
    (make, parameters, stretch)
    for make, grid in ((kuma, KUMA), (concrete, CONCRETE))
    for parameters in grid
    for stretch in STRETCHES
]
CASES = [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}-{case[2]}") for case in GRID]
every_case = pytest.mark.parametrize(("make", "parameters", "stretch"), CASES)


def leaves(q: Rectified) -> list[Tensor]:
    if isinstance(q, StretchedKumaraswamy):
        return [q.a, q.b]
    assert isinstance(q, HardConcrete)
    return [q.logits]


def inside(q: Rectified, f: Callable[[Tensor], Tensor], upto: float = 1.0) -> float:
    """∫ f(z) p(z) dz over the open interval (0, ``upto``): Gauss and Legendre, 400 nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = torch.from_numpy((nodes + 1) / 2 * upto)
    density = q.log_prob(z[:, None]).exp()
    return (torch.from_numpy(weights / 2 * upto) * density * f(z)).sum().item()


def expected(q: Rectified, f: Callable[[Tensor], Tensor]) -> float:
    """E f(z), the two atoms and the integral."""
    ends = f(torch.tensor([0.0, 1.0], dtype=torch.float64))
    zero, one = q.log_probability_of_zero().exp(), q.log_probability_of_one().exp()
    return (zero * ends[0] + one * ends[1]).item() + inside(q, f)


def draws(q: Rectified, seed: int = 0) -> Tensor:
    return q.rsample(DRAWS, seeded(seed))[:, 0]


# Probabilities and densities.


@every_case
def test_atoms_and_density_sum_to_one(make: Make, parameters: Any, stretch: Any) -> None:
    q = make(*parameters, lower=stretch[0], upper=stretch[1])
    assert expected(q, torch.ones_like) == pytest.approx(1.0, abs=1e-9)


@every_case
def test_atoms_in_closed_form(make: Make, parameters: Any, stretch: Any) -> None:
    lower, upper = stretch
    q = make(*parameters, lower=lower, upper=upper)
    at_zero, at_one = -lower / (upper - lower), (1 - lower) / (upper - lower)

    def below(s: float) -> float:
        if make is kuma:
            a, b = parameters
            return 1 - (1 - s**a) ** b
        logit, temperature = parameters
        return 1 / (1 + math.exp(logit - temperature * math.log(s / (1 - s))))

    assert q.log_probability_of_zero().exp().item() == pytest.approx(below(at_zero), abs=1e-12)
    assert q.log_probability_of_one().exp().item() == pytest.approx(1 - below(at_one), abs=1e-12)
    assert q.probability_of_not_zero().item() == pytest.approx(1 - below(at_zero), abs=1e-12)


@every_case
def test_draws_have_the_atoms_and_the_density(make: Make, parameters: Any, stretch: Any) -> None:
    q = make(*parameters, lower=stretch[0], upper=stretch[1])
    z = draws(q)
    assert (z >= 0).all() and (z <= 1).all()
    zero = q.log_probability_of_zero().exp().item()
    shares = [((z == 0), zero), ((z == 1), q.log_probability_of_one().exp().item())]
    shares += [((z <= x), zero + inside(q, torch.ones_like, x)) for x in (0.05, 0.3, 0.8)]
    for hits, p in shares:
        error = max((p * (1 - p) / DRAWS) ** 0.5, 1 / DRAWS)
        check_z(hits.double().mean().item(), p, error, RATE)
    mean, square = expected(q, lambda z: z), expected(q, torch.square)
    check_z(z.mean().item(), mean, ((square - mean**2) / DRAWS) ** 0.5, RATE)


def kuma_in_long_arithmetic(a: float, b: float) -> tuple[float, float]:
    """log P(0) and log P(1), to as many digits as it takes."""
    with localcontext() as context:
        context.prec = 1500
        da, db, span = Decimal(a), Decimal(b), Decimal("1.2")
        rest = [1 - (da * (Decimal(x) / span).ln()).exp() for x in ("0.1", "1.1")]
        zero = (1 - (db * rest[0].ln()).exp()).ln()
        return float(zero), float(db * rest[1].ln())


EXTREMES = [(a, b) for a in (1e-3, 1.0, 8.0, 1e3) for b in (1e-3, 1.0, 1e3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("a", "b"), EXTREMES)
def test_atoms_of_extreme_kumaraswamys(a: float, b: float, dtype: torch.dtype) -> None:
    q = StretchedKumaraswamy(torch.tensor([a], dtype=dtype), torch.tensor([b], dtype=dtype))
    exact = kuma_in_long_arithmetic(q.a.item(), q.b.item())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    found = (q.log_probability_of_zero().item(), q.log_probability_of_one().item())
    # A logarithm below −10 is asked for to so many digits, the probability near 1 likewise.
    assert found == pytest.approx(exact, rel=tolerance, abs=tolerance / 100)
    assert -math.expm1(exact[0]) == pytest.approx(
        q.probability_of_not_zero().item(), rel=tolerance, abs=1e-30
    )


def extreme_cases() -> list[Rectified]:
    """float32, every pair of extremes at once; both lists as leaves."""
    scale = [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3]
    a, b = torch.meshgrid(torch.tensor(scale), torch.tensor(scale), indexing="ij")
    logits = torch.tensor([-1e4, -100.0, -30.0, -10.0, 0.0, 10.0, 30.0, 100.0, 1e4])
    a, b, logits = (x.clone().requires_grad_() for x in (a, b, logits))
    return [
        StretchedKumaraswamy(a, b),
        HardConcrete(logits),
        HardConcrete(logits, temperature=0.1),
    ]


@pytest.mark.parametrize("index", range(3))
def test_extreme_parameters_stay_finite(index: int) -> None:
    q = extreme_cases()[index]
    z = q.rsample(2000, seeded(1))
    assert ((z >= 0) & (z <= 1)).all()
    grid = torch.tensor([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6]).reshape(-1, *[1] * len(q.shape))
    values = {
        "rsample": z,
        "zero": q.log_probability_of_zero(),
        "one": q.log_probability_of_one(),
        "not zero": q.probability_of_not_zero(),
        "changes": q.expected_changes(),
        "median": q.median(),
        "mode": q.mode(),
        "density": q.log_prob(grid.expand(5, *q.shape)),
        "atom at 0": q.log_prob(torch.zeros(1, *q.shape)),
        "atom at 1": q.log_prob(torch.ones(1, *q.shape)),
    }
    for name, value in values.items():
        assert value.isfinite().all(), name
        for leaf, gradient in zip(
            leaves(q), torch.autograd.grad(value.sum(), leaves(q), retain_graph=True), strict=True
        ):
            assert gradient.isfinite().all(), f"{name}: {gradient} at {leaf}"


def test_the_gradient_of_a_small_atom_is_not_lost() -> None:
    """P(0) = 2e-9: its logarithm is a log(1/12) + log b, and so is its gradient, in float32."""
    a, b = (torch.tensor([x], requires_grad=True) for x in (8.0, 1.0))
    StretchedKumaraswamy(a, b).log_probability_of_zero().sum().backward()
    assert a.grad is not None and b.grad is not None
    assert a.grad.item() == pytest.approx(math.log(1 / 12), rel=1e-4)
    assert b.grad.item() == pytest.approx(1.0, rel=1e-4)


@every_case
def test_gradients_of_the_probabilities(make: Make, parameters: Any, stretch: Any) -> None:
    q = make(*parameters, lower=stretch[0], upper=stretch[1])
    z = torch.tensor([[0.0], [0.2], [0.7], [1.0]], dtype=torch.float64)

    def values(*found: Tensor) -> tuple[Tensor, ...]:
        other = StretchedKumaraswamy(found[0], found[1], None, *stretch) if make is kuma else None
        other = other or HardConcrete(found[0], None, parameters[1], *stretch)
        return other.log_prob(z), other.probability_of_not_zero(), other.rsample(20, seeded(2))

    assert torch.autograd.gradcheck(values, tuple(leaves(q)))


# What has been built on them.


@every_case
def test_the_pathwise_gradient(make: Make, parameters: Any, stretch: Any) -> None:
    """E of ∂f(z)/∂θ against finite differences of E f(z), for an f of no special form."""

    def f(z: Tensor) -> Tensor:
        return (z - 0.3).square() + 0.5 * (3 * z).sin()

    q = make(*parameters, lower=stretch[0], upper=stretch[1])
    # One parameter a draw: the gradient of each is its own.
    wide = [leaf.detach().expand(DRAWS).clone().requires_grad_() for leaf in leaves(q)]
    many = StretchedKumaraswamy(wide[0], wide[1], None, *stretch) if make is kuma else None
    many = many or HardConcrete(wide[0], None, parameters[1], *stretch)
    f(many.rsample(1, seeded(3))).sum().backward()
    for index, leaf in enumerate(wide):
        step = 1e-4 * (abs(parameters[index]) or 1.0)
        near = []
        for sign in (-1, 1):
            moved = list(parameters)
            moved[index] += sign * step
            near.append(expected(make(*moved, lower=stretch[0], upper=stretch[1]), f))
        difference = (near[1] - near[0]) / (2 * step)
        assert leaf.grad is not None
        mean, error = leaf.grad.mean().item(), leaf.grad.std().item() / DRAWS**0.5
        check_z(mean, difference, error, RATE)
        assert abs(mean) > 4 * error or abs(difference) < 0.05, "too weak a test"


def sequence(seed: int = 0, batch: int = 3) -> tuple[StretchedKumaraswamy, Tensor]:
    generator = seeded(seed)
    a, b = (torch.rand(batch, 5, generator=generator).double() * 2 + 0.2 for _ in range(2))
    mask = torch.rand(batch, 5, generator=generator) < 0.7
    return StretchedKumaraswamy(a, b, mask), mask


def test_expected_norm_and_changes() -> None:
    q, _ = sequence()
    z = q.rsample(DRAWS, seeded(4))
    on = (z != 0).double()
    changes = (on[..., 1:] != on[..., :-1]).double()
    assert q.mask is not None
    changes = changes * (q.mask[:, 1:] & q.mask[:, :-1])  # a step into padding is none
    for found, exact in (
        (on.sum(-1), q.probability_of_not_zero().sum(-1)),
        (changes.sum(-1), q.expected_changes()),
    ):
        assert exact.shape == q.batch_shape
        errors = (found.std(0) / DRAWS**0.5).clamp(min=1e-12)
        for row in zip(found.mean(0).tolist(), exact.tolist(), errors.tolist(), strict=True):
            check_z(*row, RATE)


def test_log_prob_is_a_sum_over_what_is_not_padding() -> None:
    q, mask = sequence()
    z = q.rsample(50, seeded(5))
    assert q.log_prob(z).shape == (50, 3)
    each = StretchedKumaraswamy(q.a[..., None], q.b[..., None]).log_prob(z[..., None])  # [S, B, N]
    torch.testing.assert_close(q.log_prob(z), (each * mask).sum(-1))
    zero, one = q.log_probability_of_zero(), q.log_probability_of_one()
    assert (zero[~mask] == 0).all() and (one[~mask] == -INF).all()
    assert (q.probability_of_not_zero()[~mask] == 0).all()
    atoms = torch.where(mask, torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]).double(), 0.0)[None]
    parts = torch.where(atoms > 0, one, zero)
    torch.testing.assert_close(q.log_prob(atoms), parts.sum(-1))


@every_case
def test_median_and_mode(make: Make, parameters: Any, stretch: Any) -> None:
    q = make(*parameters, lower=stretch[0], upper=stretch[1])
    zero, one = (q.log_probability_of_zero().exp(), q.log_probability_of_one().exp())
    zero, one, median = zero.item(), one.item(), q.median().item()
    if zero >= 0.5:
        assert median == 0
    elif one >= 0.5:
        assert median == 1
    else:
        assert zero + inside(q, torch.ones_like, median) == pytest.approx(0.5, abs=1e-9)
    likeliest = max((1 - zero - one, median), (zero, 0.0), (one, 1.0))[1]
    assert q.mode().item() == likeliest


def test_the_cases_have_every_kind_of_mode() -> None:
    modes = {make(*p, lower=s[0], upper=s[1]).mode().item() for make, p, s in GRID}
    assert {0.0, 1.0} < modes


# Padding, generators, types, and what is refused.


@pytest.mark.parametrize("garbage", [0.0, -1.0, 1e30, INF, -INF, NAN])
def test_what_stands_at_padding_is_nothing(garbage: float) -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])

    def parameter() -> Tensor:
        x = torch.tensor([[0.5, 2.0, 1.5], [1.0, 1.0, 1.0]])
        return x.masked_fill(~mask, garbage).requires_grad_()

    for q, own in (
        (StretchedKumaraswamy(a := parameter(), b := parameter(), mask), [a, b]),
        (HardConcrete(a := parameter(), mask), [a]),
    ):
        z = q.rsample(20, seeded(6))
        for latent in (z, q.mode()[None], q.median()[None]):
            assert (latent[:, ~mask] == 0).all()
        value = q.log_prob(z.detach()).sum() + q.expected_changes().sum() + z.square().sum()
        value = value + q.probability_of_not_zero().sum() + q.log_probability_of_zero().sum()
        value = value + q.median().sum() + torch.where(mask, q.log_probability_of_one(), 0.0).sum()
        value.backward()
        for leaf in own:
            assert leaf.grad is not None and leaf.grad.isfinite().all()
            assert (leaf.grad[~mask] == 0).all() and (leaf.grad[mask] != 0).all()


def test_generators_and_types() -> None:
    for make in (
        lambda x: StretchedKumaraswamy(x, x),
        lambda x: HardConcrete(x),
    ):
        x = torch.full((2, 3), 0.7, dtype=torch.float64)
        q, single, half = make(x), make(x.float()), make(x.bfloat16())
        assert q.batch_shape == (2,)
        assert torch.equal(q.rsample(9, seeded(7)), q.rsample(9, seeded(7)))
        assert not torch.equal(q.rsample(9, seeded(7)), q.rsample(9, seeded(8)))
        z, z_ = q.rsample(999, seeded(7)), single.rsample(999, seeded(7))
        assert (z.dtype, z_.dtype) == (torch.float64, torch.float32)
        torch.testing.assert_close(z_.double(), z, atol=1e-5, rtol=1e-5)
        assert half.rsample(9, seeded(7)).isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: kuma(1.0, 1.0, lower=0.0),
        lambda: kuma(1.0, 1.0, upper=1.0),
        lambda: kuma(1.0, 1.0, lower=NAN),
        lambda: concrete(0.0, lower=0.1),
        lambda: concrete(0.0, temperature=0.0),
        lambda: concrete(0.0, temperature=NAN),
        lambda: kuma(1.0, 1.0, mask=torch.ones(2).bool()),
        lambda: concrete(1.0, mask=torch.ones(1, 1).bool()),
        lambda: HardConcrete(torch.tensor(0.0)),
        lambda: StretchedKumaraswamy(torch.ones(3), torch.ones(1)),
        lambda: StretchedKumaraswamy(torch.ones(2, 3), torch.ones(3)),
    ],
)
def test_wrong_settings_are_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()
