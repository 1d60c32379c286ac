"""The Gaussian against torch.distributions, and its gradient by the pathwise estimator."""

from __future__ import annotations

import math

import pytest
import torch
from families import check_z, seeded
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from latentnlp.distributions.gaussian import Gaussian, standard_log_prob
from latentnlp.estimators import make

SHAPE = (2, 3, 4)  # [*B, N]
RATE = 1e-6  # of one z-test; there are fewer than 100


def parameters(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = seeded(seed)
    draws = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
    return draws[0].requires_grad_(), draws[1].requires_grad_()


def oracle(location: Tensor, log_scale: Tensor) -> Independent:
    return Independent(Normal(location, log_scale.exp()), 1)


def check(found: Tensor, expected: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """The values and the gradients."""
    torch.testing.assert_close(found, expected)
    ours, theirs = (
        torch.autograd.grad(x.sum(), leaves, retain_graph=True) for x in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)


def test_against_torch() -> None:
    leaves = parameters()
    q, expected = Gaussian(*leaves), oracle(*leaves)
    z = torch.randn(5, *SHAPE, dtype=torch.float64)
    check(q.log_prob(z), expected.log_prob(z), leaves)
    check(q.divergence_from_standard(), _divergence(expected), leaves)
    torch.testing.assert_close(q.entropy(), expected.entropy())
    torch.testing.assert_close(q.mean(), expected.mean)
    zero = torch.zeros(SHAPE, dtype=torch.float64)
    torch.testing.assert_close(standard_log_prob(z), oracle(zero, zero).log_prob(z))
    assert q.batch_shape == SHAPE[:-1]


def _divergence(q: Independent) -> Tensor:
    zero = torch.zeros(SHAPE, dtype=torch.float64)
    return kl_divergence(q, oracle(zero, zero))


def test_draws() -> None:
    location, log_scale = parameters()
    q = Gaussian(location, log_scale)
    z = q.sample(40_000, seeded(1))
    assert z.shape == (40_000, *SHAPE) and z.dtype == torch.float64 and not z.requires_grad
    squares = (z - location.detach()).square()
    check_means(z, location.detach())
    check_means(squares, (2 * log_scale).exp().detach())
    single = Gaussian(location.float(), log_scale.float())
    again = single.rsample(40_000, seeded(1))
    assert again.dtype == torch.float32 and again.requires_grad
    torch.testing.assert_close(again.double(), z, atol=1e-5, rtol=1e-5)  # the very same noise


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("detached", [False, True])
def test_pathwise_gradient(samples: int, detached: bool) -> None:
    """f = Σ_n a_n z_n² − log q(z): E f = Σ_n a_n (μ_n² + σ_n²) + H(q), at 40,000 replicas.

    Also where log q has no gradient of its own.
    """
    replicas, a = 40_000, torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    one = [torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([0.2, -0.5, 0.0]).double()]
    leaves = [x.expand(replicas, -1).clone().requires_grad_() for x in one]
    q = Gaussian(*leaves)
    q_of_f = q.detached() if detached else q
    estimate = make("reparameterised", samples=samples)(
        q, lambda z: (a * z.square()).sum(-1) - q_of_f.log_prob(z), generator=seeded(2)
    )
    draws = torch.autograd.grad(estimate.surrogate.sum(), leaves)
    location, scale = one[0], one[1].exp()
    check_means(draws[0], 2 * a * location)
    check_means(draws[1], 2 * a * scale.square() + 1)
    energy = (a * (location.square() + scale.square())).sum()
    check_means(estimate.value, energy + Gaussian(*one).entropy())


def check_means(draws: Tensor, exact: Tensor) -> None:
    """draws [R, …], exact […]."""
    errors = draws.std(0) / math.sqrt(len(draws))
    numbers = zip(*(x.flatten().tolist() for x in (draws.mean(0), exact, errors)), strict=True)
    for mean, expected, error in numbers:
        check_z(mean, expected, error, RATE)


def test_shapes_must_agree() -> None:
    for location, log_scale in ((torch.zeros(2), torch.zeros(3)), (torch.zeros(()),) * 2):
        with pytest.raises(ValueError, match=r"must be the same \[\*B, N\]"):
            Gaussian(location, log_scale)


def test_log_density_of_a_far_draw() -> None:
    """A σ of e^−20 and z 20 σ away: no overflow in the value or gradient."""
    log_scale = torch.full((1,), -20.0, requires_grad=True)
    q = Gaussian(torch.zeros(1), log_scale)
    log_prob = q.log_prob(torch.full((1, 1), 20 * math.exp(-20)))
    assert log_prob.item() == pytest.approx(-200 + 20 - 0.5 * math.log(2 * math.pi), rel=1e-5)
    log_prob.sum().backward()
    assert log_scale.grad is not None and log_scale.grad.item() == pytest.approx(399, rel=1e-4)
