"""What the gradient estimators are, in closed form: identities, variances and their order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Discrete, Latent, tensor_of
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product
from latentnlp.estimators import Estimator, make
from latentnlp.estimators.baselines import Constant, LeaveOneOut, OptimalCoefficient, SelfCritical
from latentnlp.estimators.rebar import REBAR
from latentnlp.estimators.relax import RELAX
from latentnlp.estimators.score_function import ScoreFunction
from latentnlp.estimators.vimco import without_each


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return randn(*shape, seed=seed).requires_grad_()


class Net:
    """Six Bernoulli units, of which f is a smooth and far from linear function."""

    def __init__(self) -> None:
        generator = seeded(27)
        shapes = ((6,), (6, 8), (8,))
        draws = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
        self.logits, self.w, self.v = draws
        states, log_q = Bernoulli(self.logits).enumerate_support()
        self.q, self.values = log_q.exp(), self.f(states)  # [64]
        self.score = states - self.logits.sigmoid()  # [64, 6]
        self.expected = (self.q * self.values).sum()

    def f(self, z: Latent) -> Tensor:
        return 20 + 2 * ((2 * (tensor_of(z) - 0.5) @ self.w).tanh() @ self.v)

    def draws(
        self, estimator: Estimator, count: int, f: Callable[[Latent], Tensor] | None = None
    ) -> Tensor:
        """Gradients of q's logits, [count, 6], of as many items."""
        logits = self.logits.expand(count, 6).clone().requires_grad_()
        estimate = estimator(Bernoulli(logits), f or self.f, None, seeded(5))
        return torch.autograd.grad(estimate.surrogate.sum(), logits)[0]

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Of two functions of the state, [64, 6] each, exactly: [6]."""
        q = self.q[:, None]
        return (q * a * b).sum(0) - (q * a).sum(0) * (q * b).sum(0)


# The score.


def families() -> list[tuple[Discrete, list[Tensor]]]:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    bits, sequence, values = leaf(2, 2, seed=1), leaf(2, 3, seed=2), leaf(2, 2, 3, seed=3)
    chain, top, below = leaf(2, 3, 2, seed=4), leaf(2, 2, seed=5), leaf(2, 2, seed=6)
    return [
        (Bernoulli(sequence, mask), [sequence]),
        (Categorical(values, mask[:, :2]), [values]),
        (Product([Bernoulli(bits), Categorical(values)]), [bits, values]),
        (MarkovBernoulli(chain, mask), [chain]),
        (Hierarchy(Bernoulli(top), [lambda z: Bernoulli(below * (1 + z))]), [top, below]),
    ]


@pytest.mark.parametrize("index", range(5))
def test_the_expected_score_is_zero(index: int) -> None:
    """E_q ∇ log q = Σ_z ∇ q(z) = ∇ 1 = 0, though no ∇ log q(z) is."""
    q, leaves = families()[index]
    z, log_q = q.enumerate_support()
    possible = log_q.detach() > float("-inf")
    log_q = torch.where(possible, q.log_prob(z), float("-inf"))
    weights = log_q.detach().exp()
    terms = torch.where(possible, weights * log_q.masked_fill(~possible, 0.0), 0.0)
    for one in torch.autograd.grad(terms.sum(), leaves, retain_graph=True):
        torch.testing.assert_close(one, torch.zeros_like(one), rtol=0, atol=1e-14)
    alone = torch.autograd.grad(terms[0].sum(), leaves, allow_unused=True)
    assert any(one is not None and one.abs().max() > 0.01 for one in alone)


# The coefficient of a control variate.


@pytest.mark.parametrize("b", [0.0, 10.0, 21.0, 40.0])
def test_variance_with_a_coefficient(b: float) -> None:
    """Var(f s − b s) = Var(f s) − 2 b Cov(f s, s) + b² Var(s), as 100,000 draws have it."""
    net, constant = Net(), Constant()
    constant.constant.data.fill_(b)
    f_s, s = net.values[:, None] * net.score, net.score
    expected = net.covariance(f_s, f_s) - 2 * b * net.covariance(f_s, s)
    expected += b**2 * net.covariance(s, s)
    measured = net.draws(ScoreFunction(1, [constant]), 100_000).var(0)
    torch.testing.assert_close(measured, expected, rtol=0.05, atol=0)


def test_the_variance_is_least_at_the_optimal_coefficient() -> None:
    """b* = Cov(f s, s) / Var(s) of each latent; E[f |s|²] / E |s|² where all share one."""
    net = Net()
    f_s, s = net.values[:, None] * net.score, net.score
    square = net.covariance(s, s)
    best = net.covariance(f_s, s) / square
    one_for_all = net.covariance(f_s, s).sum() / square.sum()

    def variance(b: Tensor) -> Tensor:
        return net.covariance(f_s - b * s, f_s - b * s)

    for step in (-0.5, 0.5):
        torch.testing.assert_close(variance(best + step) - variance(best), 0.25 * square)
        assert variance(one_for_all + step).sum() > variance(one_for_all).sum()
    assert variance(best).sum() < variance(one_for_all).sum() < variance(net.expected).sum()

    # What the baseline finds online from past samples.
    for latents, expected in ((6, best), (None, one_for_all)):
        baseline = OptimalCoefficient(latents, decay=0.5)
        estimator = ScoreFunction(1, [baseline])
        net.draws(estimator, 100_000)
        found = baseline.product.get(best) / baseline.square.get(best)
        torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
        measured = net.draws(estimator, 100_000).var(0)
        torch.testing.assert_close(measured, variance(expected), rtol=0.05, atol=0)


def test_leave_one_out_of_two_samples_in_closed_form() -> None:
    """½ (f(z_1) − f(z_2)) (s_1 − s_2)."""
    net = Net()
    found = net.draws(ScoreFunction(2, [LeaveOneOut()]), 100)
    z = Bernoulli(net.logits.expand(100, 6)).sample(2, seeded(5))  # the same
    f_z, s = net.f(z), z - net.logits.sigmoid()
    torch.testing.assert_close(found, 0.5 * (f_z[0] - f_z[1])[:, None] * (s[0] - s[1]))


def test_muprop_of_a_linear_f_has_no_variance() -> None:
    net = Net()
    weights = randn(6)
    found = net.draws(make("muprop"), 50, lambda z: tensor_of(z) @ weights)
    p = net.logits.sigmoid()
    torch.testing.assert_close(found, (weights * p * (1 - p)).expand(50, 6))


def test_straight_through_is_exact_for_a_linear_f() -> None:
    """And only then; with a Gumbel it is, for a linear f, the concrete relaxation."""
    net = Net()
    weights = randn(6)

    def f(z: Latent) -> Tensor:
        return tensor_of(z) @ weights

    p = net.logits.sigmoid()
    exact = (weights * p * (1 - p)).expand(50, 6)
    torch.testing.assert_close(net.draws(make("straight_through"), 50, f), exact)
    names = ("gumbel_softmax", "straight_through_gumbel")
    one, other = (net.draws(make(name, temperature=0.7), 50, f) for name in names)
    torch.testing.assert_close(one, other)
    assert (one - exact).abs().max() > 0.1


def test_gumbel_softmax_is_the_gradient_of_its_own_objective() -> None:
    """∂/∂l of Σ f(ζ) of the very same noise, by central differences."""
    net = Net()
    built = make("gumbel_softmax", temperature=0.7)
    slope = net.draws(built, 50).sum(0)
    for n in range(6):
        values = []
        for step in (1e-5, -1e-5):
            logits = net.logits.clone()
            logits[n] += step
            q = Bernoulli(logits.expand(50, 6))
            values.append(built(q, net.f, None, seeded(5)).value.sum().item())
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope[n].item(), rel=1e-6)


def test_vimco_of_two_samples_in_closed_form() -> None:
    """L̂_−1 has f(z_2) in both places: it is f(z_2)."""
    log_w = randn(2, 7)
    torch.testing.assert_close(without_each(log_w), log_w.flip(0))
    three = randn(3, 1)
    stand_in = (three[0] + three[2]) / 2
    expected = torch.stack([three[0], stand_in, three[2]]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(without_each(three)[1], expected)


# REBAR and RELAX.


def control(kind: str) -> REBAR:
    if kind == "rebar":
        return REBAR(2, temperature=0.7, scale=0.8).double()
    relax = RELAX(2, latents=5, hidden=4, relax_f=kind == "relax").double()
    for n, parameter in enumerate(relax.parameters()):
        parameter.data += 0.3 * randn(*parameter.shape, seed=n)
    return relax


@pytest.mark.parametrize("kind", ["rebar", "relax", "relax, f a black box"])
def test_what_trains_a_control_variate_is_the_slope_of_the_second_moment(kind: str) -> None:
    """∂/∂φ Σ |gradient|² of the very same noise, by central differences."""
    built = control(kind)
    bits, values = leaf(9, 2, seed=1), leaf(9, 1, 3, seed=2)
    q, weights = Product([Bernoulli(bits), Categorical(values)]), randn(5, seed=3)

    def f(z: Any) -> Tensor:
        u = torch.cat([part.flatten(2) for part in z], -1) @ weights
        return 3 + u.square() + u.cos()

    def second_moment() -> float:
        estimate = built(q, f, None, seeded(4))
        found = torch.autograd.grad(estimate.surrogate.sum(), [bits, values])
        return sum(gradient.square().sum().item() for gradient in found)

    loss = built(q, f, None, seeded(4)).baseline_loss.sum()
    assert loss.item() == pytest.approx(second_moment(), rel=1e-12)
    trained = [parameter for parameter in built.parameters() if parameter.requires_grad]
    for parameter, slopes in zip(trained, torch.autograd.grad(loss, trained), strict=True):
        numbers = parameter.data.view(-1)
        for n in range(len(numbers)):
            here, values_ = numbers[n].item(), []
            for step in (1e-5, -1e-5):
                numbers[n] = here + step
                values_.append(second_moment())
            numbers[n] = here
            numeric = (values_[0] - values_[1]) / 2e-5
            assert numeric == pytest.approx(slopes.view(-1)[n].item(), rel=1e-5, abs=1e-6)


def test_relax_begins_as_rebar() -> None:
    net = Net()
    found = net.draws(RELAX(latents=6).double(), 20)
    assert torch.equal(found, net.draws(REBAR().double(), 20))


def test_training_a_control_variate_makes_the_variance_smaller() -> None:
    """From a tenth of it, η goes to about 1."""
    net, built = Net(), REBAR(scale=0.1).double()
    optimizer = torch.optim.Adam(built.parameters(), lr=0.05)
    logits = net.logits.expand(200, 6).clone().requires_grad_()
    variances = []
    for step in range(40):
        estimate = built(Bernoulli(logits), net.f, None, seeded(step))
        (draws,) = torch.autograd.grad(estimate.surrogate.sum(), logits)
        variances.append(draws.var(0).sum().item())
        optimizer.zero_grad()
        estimate.baseline_loss.mean().backward()
        optimizer.step()
    assert sum(variances[-5:]) < 0.2 * sum(variances[:5])
    assert built.scale.item() == pytest.approx(1, abs=0.2)


# Summing out.


@pytest.mark.parametrize("kind", ["bits", "two values", "three values", "both"])
def test_all_categories_but_one_are_all(kind: str) -> None:
    """With k = V − 1 only one category is left to draw: it is the local expectation."""
    bits, two, three = leaf(20, 3, seed=1), leaf(20, 2, 2, seed=2), leaf(20, 2, 3, seed=3)
    made: dict[str, tuple[Any, list[Tensor], int]] = {
        "bits": (Bernoulli(bits), [bits], 1),
        "two values": (Categorical(two), [two], 1),
        "three values": (Categorical(three), [three], 2),
        "both": (Product([Bernoulli(bits), Categorical(three)]), [bits, three], 2),
    }
    q, leaves, k = made[kind]

    def f(z: Latent) -> Tensor:
        parts = z if isinstance(z, tuple) else (z,)
        flat = torch.cat([part.flatten(2) for part in parts], -1)
        return (flat @ randn(flat.shape[-1])).square()

    one = make("top_categories", categories=k, samples=3)(q, f, None, seeded(1))
    other = make("local_expectation", samples=3)(q, f, None, seeded(1))
    torch.testing.assert_close(one.value, other.value)
    torch.testing.assert_close(
        torch.autograd.grad(one.surrogate.sum(), leaves),
        torch.autograd.grad(other.surrogate.sum(), leaves),
    )


# Multi-sample wake-φ.


def wake_phi(q: Bernoulli, log_p: Callable[[Tensor], Tensor], samples: int) -> Tensor:
    """Σ_k w̃_k log q(z_k), w̃ = softmax_k (log p(x, z_k) − log q(z_k)): of each item, [*B].

    Its gradient estimates E_{p(z | x)} ∇ log q(z), with a bias that is O(1 / K).
    """
    z = q.sample(samples, seeded(3))
    log_q = q.log_prob(z)
    weights = (log_p(z) - log_q.detach()).softmax(0)  # over the samples, of each item alone
    return (weights * log_q).sum(0)


def test_the_bias_of_wake_phi_shrinks_with_the_number_of_samples() -> None:
    net, count = Net(), 20_000
    posterior = (0.3 * net.values).softmax(0)
    exact = (posterior[:, None] * net.score).sum(0)
    biases, chi_squares = [], []
    for samples in (2, 10, 100):
        logits = net.logits.expand(count, 6).clone().requires_grad_()
        surrogate = wake_phi(Bernoulli(logits), lambda z: 0.3 * net.f(z), samples)
        (draws,) = torch.autograd.grad(surrogate.sum(), logits)
        error = draws.mean(0) - exact
        biases.append(error.norm().item())
        chi_squares.append((error @ torch.linalg.solve(draws.T.cov() / count, error)).item())
    assert biases[0] > 1.5 * biases[1] > 6 * biases[2]
    assert chi_squares[0] > 2 * chi_squares[1] > 10 * chi_squares[2]


# Who has the least variance.


def test_order_of_the_variances() -> None:
    """Traces of the covariance of the gradient, 100,000 draws."""
    net, count = Net(), 100_000
    constant, best = Constant(), OptimalCoefficient(6, decay=0.5)
    constant.constant.data.fill_(net.expected)
    net.draws(ScoreFunction(1, [best]), count)  # past samples
    estimators: dict[str, Estimator] = {
        "reinforce": ScoreFunction(),
        "self-critical": ScoreFunction(1, [SelfCritical()]),
        "leave-one-out, 2": ScoreFunction(2, [LeaveOneOut()]),
        "b = E f": ScoreFunction(1, [constant]),
        "muprop": make("muprop"),
        "disarm": make("disarm"),
        "b* of each": ScoreFunction(1, [best.eval()]),
        "rebar": make("rebar").double(),
        "leave-one-out, 4": ScoreFunction(4, [LeaveOneOut()]),
        "local expectation": make("local_expectation"),
    }
    found = {}
    for name, built in estimators.items():
        found[name] = net.draws(built, count).var(0).sum().item()
    for more, less in itertools.pairwise(found.values()):
        assert more > 1.02 * less, found
    arm = net.draws(make("arm"), count).var(0)
    assert arm.sum().item() == pytest.approx(found["leave-one-out, 2"], rel=0.1)
    disarm = net.draws(make("disarm"), count).var(0)
    assert (disarm < 1.01 * arm).all()  # it is ARM with its noise integrated out, unit by unit


def test_vimco_against_the_bound_without_a_baseline() -> None:
    """K = 2: the score function of both samples together, its signal the bound itself."""
    net, count = Net(), 50_000

    def bound(z: Latent) -> Tensor:
        f_z = net.f(tensor_of(z).unflatten(-1, (2, 6)))  # [S, *B, 2]
        return f_z.logsumexp(-1) - math.log(2)

    logits = net.logits.expand(count, 6).clone().requires_grad_()
    plain = ScoreFunction()(Bernoulli(torch.cat([logits, logits], -1)), bound, None, seeded(5))
    (without,) = torch.autograd.grad(plain.surrogate.sum(), logits)
    with_it = net.draws(make("vimco", samples=2), count)
    assert with_it.var(0).sum() < 0.2 * without.var(0).sum()
    error = with_it.mean(0) - without.mean(0)
    deviation = ((with_it.var(0) + without.var(0)) / count).sqrt()
    assert (error.abs() < 5 * deviation).all()


def test_the_net_is_the_one_that_was_meant() -> None:
    """Its exact gradient, from the score and from ∇q, so that the rest rests on something."""
    net = Net()
    by_score = (net.q[:, None] * net.values[:, None] * net.score).sum(0)
    logits = nn.Parameter(net.logits.clone())
    value = make("enumeration")(Bernoulli(logits), net.f).surrogate
    value.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, by_score)
    assert value.item() == pytest.approx(net.expected.item())
