"""Every distribution's answers, checked for misplaced tensors; not a GPU test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from device_placement import placement_check
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Discrete, Factor, Latent
from latentnlp.distributions.divergence import kl_by_enumeration, kl_divergence
from latentnlp.distributions.hard_concrete import HardConcrete
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.implicit import by_enumeration, by_monte_carlo
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product
from latentnlp.distributions.rectified import Rectified
from latentnlp.distributions.stretched_kumaraswamy import StretchedKumaraswamy

META = torch.device("meta")
WEIGHTS = torch.ones(3, device=META)
TEMPERATURE = torch.tensor(0.5)  # a number: it may stay on the host


def leaf(*shape: int) -> Tensor:
    return torch.zeros(shape, device=META, requires_grad=True)


def mask(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool, device=META)


DISCRETE: dict[str, Callable[[], Discrete]] = {
    "bernoulli": lambda: Bernoulli(leaf(2, 3), mask(2, 3)),
    "categorical": lambda: Categorical(leaf(2, 3, 4), mask(2, 3)),
    "markov": lambda: MarkovBernoulli(leaf(2, 3, 2), mask(2, 3)),
    "product": lambda: Product([Bernoulli(leaf(2, 3), mask(2, 3)), Categorical(leaf(2, 1, 3))]),
    "hierarchy": lambda: Hierarchy(
        Bernoulli(leaf(2, 3)), [lambda z: Bernoulli(z * WEIGHTS), lambda z, w: Bernoulli(z + w)]
    ),
}


def backward(*values: Tensor) -> None:
    for value in values:
        assert value.device == META
        if value.requires_grad:
            value.sum().backward(retain_graph=True)


def parts(z: Latent) -> tuple[Tensor, ...]:
    return z if isinstance(z, tuple) else (z,)


@pytest.mark.parametrize("make", DISCRETE.values(), ids=DISCRETE)
def test_discrete(make: Callable[[], Discrete]) -> None:
    with placement_check():
        q = make()
        z = q.sample(5)
        backward(*parts(z), *parts(q.mode()))
        backward(q.log_prob_terms(z), q.log_prob(z), q.squared_score(z), q.entropy())
        states, log_q = q.enumerate_support()
        backward(*parts(states), log_q)
        if isinstance(q, Factor):
            backward(q.mean(), q.table(), *[f(parts(z)[0]) for f in (q.score, q.one_changed)])
            for temperature in (0.5, TEMPERATURE):
                backward(*q.relaxed(5, temperature), *q.coupled_relaxation(5, temperature))
        if isinstance(q, Bernoulli | MarkovBernoulli):
            backward(q.marginals(), q.expected_changes())


@pytest.mark.parametrize("kl", [kl_divergence, kl_by_enumeration])
@pytest.mark.parametrize("make", DISCRETE.values(), ids=DISCRETE)
def test_divergences(
    make: Callable[[], Discrete], kl: Callable[[Discrete, Discrete], Tensor]
) -> None:
    with placement_check():
        backward(kl(make(), make()))


def test_divergence_of_a_chain_and_independent_bits() -> None:
    with placement_check():
        chain, bits = DISCRETE["markov"](), DISCRETE["bernoulli"]()
        backward(kl_divergence(chain, bits), kl_divergence(bits, chain))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda mask: StretchedKumaraswamy(leaf(2, 3), leaf(2, 3), mask),
        lambda mask: HardConcrete(leaf(2, 3), mask),
    ],
    ids=["stretched_kumaraswamy", "hard_concrete"],
)
def test_rectified(make: Callable[[Tensor | None], Rectified], padded: bool) -> None:
    with placement_check():
        q = make(mask(2, 3) if padded else None)
        z = q.rsample(5)
        backward(z, q.log_prob(z), q.median(), q.mode(), q.probability_of_not_zero())
        backward(q.log_probability_of_zero(), q.log_probability_of_one(), q.expected_changes())


def test_implicit_likelihoods() -> None:
    def g(z: Latent) -> Tensor:
        return parts(z)[0] * WEIGHTS

    with placement_check():
        q = DISCRETE["bernoulli"]()
        x = torch.zeros(2, 3, device=META)
        exact, estimate = by_enumeration(x, g, q), by_monte_carlo(x, g, q.sample, 10, chunk=4)
        backward(exact.log_prob, exact.standard_error)
        backward(estimate.log_prob, estimate.standard_error)
