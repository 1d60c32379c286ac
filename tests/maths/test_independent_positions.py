"""IBM 1 and 2's distribution: closed forms against enumeration of every alignment."""

from __future__ import annotations

import random

import pytest
import torch
from test_hidden_markov import worst_z
from tiny import LOG_ZERO, safe_logsumexp, without_padding_twins
from torch import Tensor

from latentnlp.distributions.alignment import NULL
from latentnlp.distributions.hidden_markov import HiddenMarkov
from latentnlp.distributions.independent_positions import IndependentPositions

SEEDS = range(60)


def random_case(seed: int, forbid: bool = True) -> IndependentPositions:
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    b, j, i = draw.choice([1, 2, 3]), draw.randint(1, 4), draw.randint(1, 3)
    share = draw.choice([0.0, 0.3, 0.6]) if forbid else 0.0

    def potential(*shape: int) -> Tensor:
        values = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.masked_fill(torch.rand(shape, generator=generator) < share, LOG_ZERO)

    joint = potential(b, j, i)
    if draw.random() < 0.5:  # source padding
        lengths = torch.randint(1, i + 1, (b,), generator=generator)
        outside = torch.arange(i) >= lengths[:, None]
        joint = joint.masked_fill(outside.unsqueeze(1), LOG_ZERO)
    lengths = torch.randint(1, j + 1, (b,), generator=generator)
    return IndependentPositions(joint, potential(b, j), torch.arange(j) < lengths[:, None])


def enumerate_all(case: IndependentPositions) -> tuple[Tensor, Tensor, Tensor]:
    """Support [A, 1, J]; log-potentials [A, B], one for each real alignment; log Z [B]."""
    # A chain without memory has the same alignments.
    support = HiddenMarkov(case.log_joint, case.log_joint[0, 0]).enumerate_support()
    every = support.expand(-1, len(case.log_null), -1)
    allowed = without_padding_twins(support, case.target_mask)
    potential = torch.where(allowed, case.log_potential(every), LOG_ZERO)
    return support, potential, safe_logsumexp(potential, 0)


def spelt_out(case: IndependentPositions, alignment: list[int], b: int) -> float:
    return sum(
        float(case.log_null[b, j] if a == NULL else case.log_joint[b, j, a])
        for j, a in enumerate(alignment)
        if case.target_mask[b, j]
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_against_enumeration(seed: int) -> None:
    case = random_case(seed)
    support, potential, log_z = enumerate_all(case)
    draw = random.Random(seed)
    for number in draw.sample(range(len(support)), min(8, len(support))):
        for b in range(len(log_z)):
            if potential[number, b] > LOG_ZERO:
                expected = spelt_out(case, support[number, 0].tolist(), b)
                assert float(potential[number, b]) == pytest.approx(expected, abs=1e-10)

    torch.testing.assert_close(case.log_partition(), log_z)
    found = case.posteriors()
    torch.testing.assert_close(found.log_partition, log_z)
    assert not found.emission.isnan().any() and not found.null.isnan().any()
    alive = log_z > LOG_ZERO
    p = torch.where(alive, (potential - log_z).exp(), 0.0)
    for i in range(case.log_joint.shape[-1]):
        expected = torch.einsum("ab,abj->bj", p, (support == i).double().expand(-1, len(log_z), -1))
        torch.testing.assert_close(found.emission[alive][..., i], expected[alive])
    is_null = (support == NULL) & case.target_mask
    expected = torch.einsum("ab,abj->bj", p, is_null.double())
    torch.testing.assert_close(found.null[alive], expected[alive])
    assert (found.emission[~case.target_mask] == 0).all()

    best = case.mode()
    assert (best[~case.target_mask] == NULL).all()
    torch.testing.assert_close(case.log_potential(best)[alive], potential.amax(0)[alive])


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_against_enumeration(seed: int) -> None:
    case = random_case(seed)
    joint, null = case.log_joint.requires_grad_(), case.log_null.requires_grad_()
    log_z = case.log_partition()
    alive = log_z > LOG_ZERO
    if not alive.any():
        return
    found = torch.autograd.grad(log_z[alive].sum(), (joint, null))
    expected = torch.autograd.grad(enumerate_all(case)[2][alive].sum(), (joint, null))
    torch.testing.assert_close(found, expected)


def test_gradcheck() -> None:
    case = random_case(4, forbid=False)
    joint = case.log_joint.nan_to_num(neginf=0.0).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda joint, null: IndependentPositions(joint, null, case.target_mask).log_partition(),
        (joint, case.log_null.requires_grad_()),
    )


def test_ibm1_by_hand() -> None:
    """log p(y | x) = Σ_j log( (1 - p₀) / I Σ_i e_ji + p₀ n_j )."""
    emission = torch.tensor([[[0.2, 0.4], [0.1, 0.3]]])
    joint = (emission * 0.9 / 2).log()
    null = torch.tensor([[0.05, 0.5]])
    case = IndependentPositions(joint, (0.1 * null).log(), torch.ones(1, 2, dtype=torch.bool))
    expected = (0.45 * 0.6 + 0.005) * (0.45 * 0.4 + 0.05)
    torch.testing.assert_close(case.log_partition().exp(), torch.tensor([expected]))


def test_impossible_sentence_beside_a_possible_one() -> None:
    joint, null = torch.zeros(2, 2, 2), torch.zeros(2, 2)
    joint[1, 0], null[1, 0] = LOG_ZERO, LOG_ZERO
    joint.requires_grad_()
    null.requires_grad_()
    case = IndependentPositions(joint, null, torch.ones(2, 2, dtype=torch.bool))
    log_z = case.log_partition()
    assert log_z[0] > LOG_ZERO and log_z[1] == LOG_ZERO
    log_z.sum().backward()
    found = case.posteriors()
    for tensor in (joint.grad, null.grad, found.emission, found.null):
        assert tensor is not None and tensor.isfinite().all()
        assert (tensor[0] != 0).all() and (tensor[1, 0] == 0).all()


def test_no_sentences() -> None:
    case = IndependentPositions(
        torch.zeros(0, 2, 3), torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.bool)
    )
    assert case.log_partition().shape == (0,)
    assert case.mode().shape == (0, 2)
    assert case.sample(4).shape == (4, 0, 2)


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_samples_have_the_right_frequencies(seed: int) -> None:
    case = random_case(seed, forbid=False)
    support, potential, log_z = enumerate_all(case)
    found = case.sample(20_000, torch.Generator().manual_seed(seed))
    assert found.shape == (20_000, *case.log_null.shape)
    for b in range(len(log_z)):
        p = (potential[:, b] - log_z[b]).exp()
        z, critical = worst_z(found[:, b], support[:, 0], p)
        assert z < critical
        wrong = torch.roll(p, 1)
        z, critical = worst_z(found[:, b], support[:, 0], wrong)
        assert z > critical, "the test can fail"
