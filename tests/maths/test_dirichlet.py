"""The Dirichlet against torch's own, its draws in log space, and its maximum likelihood."""

from __future__ import annotations

import pytest
import torch

from latentnlp.distributions.dirichlet import Dirichlet, most_likely

A = torch.tensor([[0.3, 1.0, 2.5], [4.0, 0.7, 11.0]], dtype=torch.float64)
B = torch.tensor([0.5, 0.1, 1.5], dtype=torch.float64)


def test_density_mean_and_divergence_are_those_of_torch() -> None:
    here, there = Dirichlet(A), torch.distributions.Dirichlet(A)
    theta = there.sample(torch.Size([5]))
    torch.testing.assert_close(here.log_prob(theta.log()), there.log_prob(theta))
    torch.testing.assert_close(here.mean(), there.mean)
    prior = torch.distributions.Dirichlet(B.expand(2, 3))
    divergence = torch.distributions.kl_divergence(there, prior)
    torch.testing.assert_close(here.divergence(Dirichlet(B)), divergence)


def test_draws_have_the_moments() -> None:
    q = Dirichlet(A)
    z = q.sample(40_000, torch.Generator().manual_seed(1))
    assert z.shape == (40_000, 2, 3)
    torch.testing.assert_close(z.exp().sum(-1), torch.ones(40_000, 2, dtype=z.dtype))
    for values, mean in ((z.exp(), q.mean()), (z, q.mean_log())):
        error = values.std(0) / 200
        assert bool(((values.mean(0) - mean).abs() < 4.5 * error).all())
    again = q.sample(40_000, torch.Generator().manual_seed(1))
    assert torch.equal(z, again)


def test_draws_of_a_tiny_concentration_are_finite() -> None:
    q, p = Dirichlet(torch.full((50,), 0.01)), Dirichlet(torch.full((50,), 0.011))
    z = q.sample(1000, torch.Generator().manual_seed(1))
    assert bool((z.exp() == 0).any())  # θ itself underflows
    weights = (p.log_prob(z) - q.log_prob(z)).double().exp()
    assert bool(weights.isfinite().all())
    assert abs(float(weights.mean()) - 1) < 4.5 * float(weights.std()) / 1000**0.5


@pytest.mark.parametrize("start", [0.01, 1.0, 300.0])
def test_the_most_likely_concentration_is_found(start: float) -> None:
    found = most_likely(Dirichlet(A[0]).mean_log(), torch.full((3,), start, dtype=A.dtype))
    torch.testing.assert_close(found, A[0])


def test_a_concentration_needs_a_dimension() -> None:
    with pytest.raises(ValueError, match="is not"):
        Dirichlet(torch.tensor(1.0))
