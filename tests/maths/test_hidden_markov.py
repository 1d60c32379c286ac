"""The chain against enumeration of every alignment, and against plain autograd."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
import torch
from tiny import LOG_ZERO, safe_logsumexp, without_padding_twins
from torch import Tensor

from latentnlp.distributions.alignment import NULL
from latentnlp.distributions.hidden_markov import HiddenMarkov

POTENTIALS = ("log_emission", "log_transition", "log_null", "log_leave", "log_final")
SEEDS = range(120)


def random_chain(seed: int, forbid: bool = True, **fixed: Any) -> HiddenMarkov:
    """Any mixture of options; ``forbid`` puts -inf into emissions, transitions and the rest."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    n_batch = fixed.get("B", draw.choice([1, 1, 2, 3]))
    n_target, n_source = fixed.get("J", draw.randint(1, 4)), fixed.get("I", draw.randint(1, 3))
    share = draw.choice([0.0, 0.2, 0.5]) if forbid else 0.0

    def potential(*shape: int) -> Tensor:
        values = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        forbidden = torch.rand(shape, generator=generator) < share
        return values.masked_fill(forbidden, LOG_ZERO)

    emission = potential(n_batch, n_target, n_source)
    mask = None
    if draw.random() < 0.7:
        lengths = torch.randint(1, n_target + 1, (n_batch,), generator=generator)
        mask = torch.arange(n_target) < lengths[:, None]
    if forbid and draw.random() < 0.5:  # source padding
        lengths = torch.randint(1, n_source + 1, (n_batch,), generator=generator)
        outside = torch.arange(n_source) >= lengths[:, None]
        emission = emission.masked_fill(outside.unsqueeze(1), LOG_ZERO)
    rows = draw.choice([[], [], [n_batch], [n_batch, n_target]])
    return HiddenMarkov(
        emission,
        potential(*rows, n_source + 1, n_source),
        mask,
        potential(n_batch, n_target) if draw.random() < 0.6 else None,
        potential(n_batch, n_source + 1) if draw.random() < 0.5 else None,
        potential(n_batch, n_source + 1) if draw.random() < 0.5 else None,
    )


def mask_of(chain: HiddenMarkov) -> Tensor:
    if chain.target_mask is not None:
        return chain.target_mask
    return torch.ones(chain.log_emission.shape[:2], dtype=torch.bool)


def spelt_out(chain: HiddenMarkov, alignment: list[int], b: int) -> float:
    """The log-potential of one alignment, straight from the definition."""
    total, memory = 0.0, 0
    for j, a in enumerate(alignment):
        if not mask_of(chain)[b, j]:
            continue
        if a == NULL:
            total += LOG_ZERO if chain.log_null is None else float(chain.log_null[b, j])
            continue
        transition = chain.log_transition
        transition = transition[b] if transition.dim() > 2 else transition
        transition = transition[j] if transition.dim() > 2 else transition
        total += float(transition[memory, a]) + float(chain.log_emission[b, j, a])
        if chain.log_leave is not None:
            total += float(chain.log_leave[b, memory])
        memory = a + 1
    return total if chain.log_final is None else total + float(chain.log_final[b, memory])


class Enumeration:
    """Everything there is to know, by visiting every alignment."""

    def __init__(self, chain: HiddenMarkov) -> None:
        self.chain, self.mask = chain, mask_of(chain)
        self.support = chain.enumerate_support()  # [A, 1, J]
        n_batch, _, n_source = chain.log_emission.shape
        self.alignments = self.support.expand(-1, n_batch, -1)
        allowed = without_padding_twins(self.support, self.mask)  # [A, B]
        potential = chain.log_potential(self.alignments)
        self.potential = torch.where(allowed, potential, LOG_ZERO)
        self.log_z = safe_logsumexp(self.potential, 0)
        alive = self.log_z > LOG_ZERO
        self.p = torch.where(alive, (self.potential - self.log_z).exp(), 0.0)  # [A, B]
        self.n_source = n_source

    def counts(self) -> dict[str, Tensor]:
        """Expected uses of each potential, in its shape."""
        chain, p = self.chain, self.p
        n_batch, n_target, n_source = chain.log_emission.shape
        emission = p.new_zeros(n_batch, n_target, n_source)
        null = p.new_zeros(n_batch, n_target)
        transition = p.new_zeros(n_batch, n_target, n_source + 1, n_source)
        final = p.new_zeros(n_batch, n_source + 1)
        for b in range(n_batch):
            for weight, path in zip(p[:, b], self.support[:, 0].tolist(), strict=True):
                memory = 0
                for j, a in enumerate(path):
                    if not self.mask[b, j]:
                        continue
                    if a == NULL:
                        null[b, j] += weight
                    else:
                        emission[b, j, a] += weight
                        transition[b, j, memory, a] += weight
                        memory = a + 1
                final[b, memory] += weight
        leave = transition.sum((1, 3))
        if chain.log_transition.dim() < 4:
            transition = transition.sum(1)
        if chain.log_transition.dim() == 2:
            transition = transition.sum(0)
        return {
            "emission": emission,
            "null": null,
            "transition": transition,
            "leave": leave,
            "final": final,
        }


def gradients(chain: HiddenMarkov, log_partition: Any, weight: Tensor) -> dict[str, Tensor]:
    """∂ Σ_b weight_b log Z_b / ∂ each potential that the chain has."""
    leaves = {
        name: value.detach().clone().requires_grad_()
        for name in POTENTIALS
        if (value := getattr(chain, name)) is not None
    }
    log_z = log_partition(replace(chain, **leaves))
    torch.where(log_z > LOG_ZERO, log_z * weight, 0.0).sum().backward()
    zero = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return {n: zero[n] if leaf.grad is None else leaf.grad for n, leaf in leaves.items()}


def plain_log_partition(chain: HiddenMarkov) -> Tensor:
    """The forward recursion in log space, for autograd and for long chains."""
    emission, mask = chain.log_emission, mask_of(chain)
    n_batch, n_target, n_source = emission.shape
    jump = chain.log_transition
    if jump.dim() == 3:
        jump = jump.unsqueeze(1)
    jump = jump.expand(n_batch, n_target, n_source + 1, n_source)
    if chain.log_leave is not None:
        jump = jump + chain.log_leave[:, None, :, None]
    null = emission.new_full((n_batch, n_target), LOG_ZERO)
    null = null if chain.log_null is None else chain.log_null
    alpha = emission.new_full((n_batch, n_source + 1), LOG_ZERO)
    alpha = torch.cat([torch.zeros_like(alpha[:, :1]), alpha[:, 1:]], 1)
    for j in range(n_target):
        moved = safe_logsumexp(alpha.unsqueeze(-1) + jump[:, j], 1) + emission[:, j]
        moved = torch.cat([torch.full_like(alpha[:, :1], LOG_ZERO), moved], 1)
        after = safe_logsumexp(torch.stack([moved, alpha + null[:, j, None]]), 0)
        alpha = torch.where(mask[:, j, None], after, alpha)
    if chain.log_final is not None:
        alpha = alpha + chain.log_final
    return safe_logsumexp(alpha, 1)


def test_the_cases_cover_the_options() -> None:
    chains = [random_chain(seed) for seed in SEEDS]
    for name in ("target_mask", "log_null", "log_leave", "log_final"):
        present = sum(getattr(chain, name) is not None for chain in chains)
        assert 10 < present < len(chains) - 10, name
    for dimensions in (2, 3, 4):
        assert sum(chain.log_transition.dim() == dimensions for chain in chains) > 10
    impossible = torch.cat([chain.log_partition() for chain in chains]) == LOG_ZERO
    assert 10 < impossible.sum() < len(impossible) - 50


@pytest.mark.parametrize("seed", SEEDS)
def test_against_enumeration(seed: int) -> None:
    chain = random_chain(seed)
    oracle = Enumeration(chain)
    draw = random.Random(seed)
    for path in draw.sample(oracle.support[:, 0].tolist(), min(8, len(oracle.support))):
        for b in range(chain.log_emission.shape[0]):
            found = chain.log_potential(torch.tensor(path).expand(len(oracle.mask), -1))[b]
            assert float(found) == pytest.approx(spelt_out(chain, path, b), abs=1e-10)

    torch.testing.assert_close(chain.log_partition(), oracle.log_z)
    found = chain.posteriors()
    torch.testing.assert_close(found.log_partition, oracle.log_z)
    for name, expected in oracle.counts().items():
        torch.testing.assert_close(
            getattr(found, name), expected, msg=lambda m, n=name: f"{n}: {m}"
        )

    alive = oracle.log_z > LOG_ZERO
    log_prob = chain.log_prob(oracle.alignments)[:, alive]
    allowed = without_padding_twins(oracle.support, oracle.mask)[:, alive]
    torch.testing.assert_close(torch.where(allowed, log_prob.exp(), 0.0), oracle.p[:, alive])

    best = chain.mode()
    assert (best[~oracle.mask] == NULL).all()
    torch.testing.assert_close(chain.log_potential(best)[alive], oracle.potential.amax(0)[alive])


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_against_autograd(seed: int) -> None:
    chain = random_chain(seed)
    weight = torch.randn(
        len(chain.log_emission), generator=torch.Generator().manual_seed(seed)
    ).double()
    found = gradients(chain, HiddenMarkov.log_partition, weight)
    by_recursion = gradients(chain, plain_log_partition, weight)
    by_enumeration = gradients(chain, lambda c: Enumeration(c).log_z, weight)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, by_recursion[name], msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(
            gradient, by_enumeration[name], msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("seed", range(6))
def test_gradcheck(seed: int) -> None:
    chain = random_chain(seed, forbid=False, I=3)
    names = [name for name in POTENTIALS if getattr(chain, name) is not None]
    leaves = [getattr(chain, name).requires_grad_() for name in names]

    def log_z(*values: Tensor) -> Tensor:
        return replace(chain, **dict(zip(names, values, strict=True))).log_partition()

    assert torch.autograd.gradcheck(log_z, leaves)


def test_one_word_by_hand() -> None:
    chain = HiddenMarkov(
        torch.tensor([[[0.5]]]).log(),
        torch.tensor([[0.25], [1.0]]).log(),
        log_null=torch.tensor([[0.1]]).log(),
    )
    torch.testing.assert_close(chain.log_partition().exp(), torch.tensor([0.225]))
    assert chain.mode().tolist() == [[0]]


def test_null_remembers_the_last_position() -> None:
    """p(0, NULL, 1) uses T(0 → 1), not T(start → 1)."""
    transition = torch.tensor([[2.0, 3.0], [5.0, 7.0], [11.0, 13.0]]).log()
    chain = HiddenMarkov(torch.zeros(1, 3, 2), transition, log_null=torch.zeros(1, 3))
    score = chain.log_potential(torch.tensor([[0, NULL, 1]])).exp()
    torch.testing.assert_close(score, torch.tensor([2.0 * 7.0]))


def test_no_sentences() -> None:
    chain = random_chain(0, B=0)
    assert chain.log_partition().shape == (0,)
    assert chain.mode().shape == (0, chain.log_emission.shape[1])
    assert chain.sample(3).shape == (3, 0, chain.log_emission.shape[1])
    transition = torch.zeros(3, 2, requires_grad=True)
    empty = HiddenMarkov(torch.zeros(0, 4, 2, requires_grad=True), transition)
    empty.log_partition().sum().backward()
    assert transition.grad is not None and (transition.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("where", ["emission", "transition", "null", "final", "first", "last"])
def test_impossible_sentence_beside_a_possible_one(where: str, dtype: torch.dtype) -> None:
    chain = random_chain(1, forbid=False, B=2, J=4, I=3)
    leaves = {
        "log_emission": torch.randn(2, 4, 3, dtype=dtype),
        "log_transition": torch.randn(2, 4, 3, dtype=dtype),
        "log_null": torch.full((2, 4), -1.0, dtype=dtype),
        "log_final": torch.zeros(2, 4, dtype=dtype),
    }
    steps = {"first": slice(0, 1), "last": slice(3, 4)}.get(where, slice(None))
    if where == "transition":
        leaves["log_transition"][1], leaves["log_null"][1] = LOG_ZERO, LOG_ZERO
    elif where == "final":
        leaves["log_final"][1] = LOG_ZERO
    else:
        leaves["log_emission"][1, steps], leaves["log_null"][1, steps] = LOG_ZERO, LOG_ZERO
    for leaf in leaves.values():
        leaf.requires_grad_()
    chain = HiddenMarkov(**leaves)
    log_z = chain.log_partition()
    assert log_z[0] > LOG_ZERO and log_z[1] == LOG_ZERO
    log_z.sum().backward()
    found = chain.posteriors()
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all(), name
        assert (leaf.grad[1] == 0).all(), name
        assert (leaf.grad[0] != 0).any(), name
        count = getattr(found, name.removeprefix("log_"))
        assert (count[1] == 0).all() and count.isfinite().all(), name
    assert chain.mode().shape == (2, 4)
    assert chain.sample(2).shape == (2, 2, 4)


def test_states_out_of_reach_do_not_overflow() -> None:
    """A monotone chain pays e^-30 a step; the state that would cost nothing comes too late."""
    size = 6
    emission = torch.full((1, size, size), -30.0)
    emission[..., -1] = 0.0
    transition = torch.full((size + 1, size), LOG_ZERO)
    transition[0, 0] = 0.0
    for m in range(size):
        transition[m + 1, m : m + 2] = -1.0
    chain = HiddenMarkov(emission.requires_grad_(), transition)
    log_z = chain.log_partition()
    log_z.sum().backward()
    exact = HiddenMarkov(emission.detach().double(), transition.double())
    torch.testing.assert_close(log_z.double(), plain_log_partition(exact))
    expected = gradients(exact, plain_log_partition, torch.ones(1, dtype=torch.float64))
    assert emission.grad is not None
    torch.testing.assert_close(emission.grad.double(), expected["log_emission"])


def long_chain(dtype: torch.dtype) -> HiddenMarkov:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(shape, generator=generator)).to(dtype)

    lengths = torch.tensor([300, 211])
    return HiddenMarkov(
        normal(2, 300, 40, scale=4.0) - 9.0,
        normal(41, 40, scale=2.0).log_softmax(-1),
        torch.arange(300) < lengths[:, None],
        normal(2, 300) - 9.0,
        normal(2, 41, scale=0.3),
    )


def test_long_chain_in_single_precision() -> None:
    single, double = long_chain(torch.float32), long_chain(torch.float64)
    exact = plain_log_partition(double)
    assert exact.max() < -500, "far below what exp() of a float can hold"
    torch.testing.assert_close(single.log_partition().double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(double.log_partition(), exact)
    weight = torch.ones(2)
    found = gradients(single, HiddenMarkov.log_partition, weight)
    for name, expected in gradients(double, plain_log_partition, weight.double()).items():
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-3, atol=2e-4)


def test_autocast_and_half_precision_inputs_keep_single_precision() -> None:
    chain = long_chain(torch.float32)
    expected = chain.log_partition()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = chain.log_partition()
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)

    rough = chain.log_emission.bfloat16().requires_grad_()
    log_z = replace(chain, log_emission=rough).log_partition()
    assert log_z.dtype == torch.float32
    exact = plain_log_partition(replace(chain, log_emission=rough.detach().float()))
    torch.testing.assert_close(log_z, exact, rtol=1e-5, atol=0)
    log_z.sum().backward()
    assert rough.grad is not None and rough.grad.dtype == torch.bfloat16


FAILURE_RATE = 1e-6  # of a right sampler, with a seed of its own


def worst_z(sample: Tensor, support: Tensor, p: Tensor) -> tuple[float, float]:
    """The largest |z| of the frequencies of alignments [S, J], and its critical value."""
    size = len(sample)
    common = p * size >= 10
    hits = torch.stack([(sample == one).all(-1).sum() for one in support[common]])
    # All rare alignments count as one.
    hits = torch.cat([hits, (size - hits.sum()).view(1)]).double()
    p = torch.cat([p[common], (1 - p[common].sum()).clamp_min(1e-12).view(1)])
    z = (hits - p * size) / (p * (1 - p) * size).clamp_min(1e-6).sqrt()
    return z.abs().max().item(), -NormalDist().inv_cdf(FAILURE_RATE / 2 / len(p))


@pytest.mark.parametrize("seed", [2, 3, 5, 8, 13, 21])
def test_samples_have_the_right_frequencies(seed: int) -> None:
    chain = random_chain(seed, forbid=seed % 2 == 0, J=3, I=2, B=2)
    oracle = Enumeration(chain)
    found = chain.sample(20_000, torch.Generator().manual_seed(seed))
    assert found.shape == (20_000, 2, 3)
    assert (found[:, ~oracle.mask] == NULL).all()
    tested = 0
    for b in range(2):
        if oracle.log_z[b] == LOG_ZERO:
            continue
        z, critical = worst_z(found[:, b], oracle.support[:, 0], oracle.p[:, b])
        assert z < critical
        for never in oracle.support[oracle.p[:, b] == 0, 0]:
            assert not (found[:, b] == never).all(-1).any()
        tested += 1
    assert tested


def test_the_frequency_test_sees_a_wrong_sampler() -> None:
    chain = random_chain(3, forbid=False, J=3, I=2, B=1)
    oracle = Enumeration(chain)
    wrong = replace(chain, log_emission=chain.log_emission + torch.tensor([0.2, 0.0]))
    found = wrong.sample(20_000, torch.Generator().manual_seed(0))
    z, critical = worst_z(found[:, 0], oracle.support[:, 0], oracle.p[:, 0])
    assert z > critical


def test_sampling_is_a_function_of_the_generator() -> None:
    chain = random_chain(5, forbid=False, J=4, I=3)
    first, second, other = (
        chain.sample(50, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
