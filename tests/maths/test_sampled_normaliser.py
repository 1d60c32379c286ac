"""The sampled normaliser: exact where nothing is left out, right on average where something is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from latentnlp.emissions import _base
from latentnlp.emissions._base import Sample, log_normaliser, sampled_log_normaliser

ROWS, SIZE, FREQUENT = 4, 17, 3
# Row 2 has no pair, row 3 all of them. With 3 frequent words and a step of 4 or 5, the partners of
# rows 0 and 1 are frequent, sampled, or neither, whatever the offset.
PAIRS = [(0, 1), (0, 3), (0, 8), (0, 11), (1, 4), (1, 16), (1, 0), *((3, v) for v in range(SIZE))]


def case(scale: float = 2.0) -> list[Tensor]:
    """hidden [R, d], weight [V, d], bias [V]."""
    generator = torch.Generator().manual_seed(3)
    return [
        (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for shape in [(ROWS, 3), (SIZE, 3), (SIZE,)]
    ]


def estimate(inputs: Sequence[Tensor], pairs: list[tuple[int, int]], sample: Sample) -> Tensor:
    hidden, weight, bias = inputs
    place, target = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    scores = (hidden[place] * weight[target]).sum(-1) + bias[target]
    few = weight[sample.words(len(weight), weight.device)]
    parts = list(zip(*(column.split(3) for column in (place, target, scores)), strict=True))
    return sampled_log_normaliser(hidden, few, bias, lambda: parts, sample)


def times(row: int, word: int, pairs: list[tuple[int, int]], sample: Sample) -> int:
    """How often exp(s(row, word)) belongs into the sum."""
    if word < sample.frequent or (row, word) in pairs:
        return 1
    return sample.step if (word - sample.frequent) % sample.step == sample.offset else 0


def naive(inputs: Sequence[Tensor], pairs: list[tuple[int, int]], sample: Sample) -> Tensor:
    hidden, weight, bias = inputs
    scores, sums = hidden @ weight.t() + bias, []
    for row, of_row in enumerate(scores):
        often = [times(row, v, pairs, sample) for v in range(len(of_row))]
        kept = [s + math.log(n) for s, n in zip(of_row, often, strict=True) if n]
        sums.append(torch.stack(kept).logsumexp(0))
    return torch.stack(sums)


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    """The same values, and the same gradients."""
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found @ weight, inputs),
        torch.autograd.grad(expected @ weight, inputs),
        rtol=1e-11,
        atol=1e-11,
    )


@pytest.mark.parametrize("frequent", [0, FREQUENT, SIZE, SIZE + 5])
def test_a_sample_of_everything_is_exact(frequent: int) -> None:
    inputs = case()
    assert_same(estimate(inputs, PAIRS, Sample(frequent, 1)), log_normaliser(*inputs), inputs)


@pytest.mark.parametrize("frequent", [0, 1, FREQUENT, SIZE])
@pytest.mark.parametrize("step", [1, 2, 4, 5, 13])
def test_the_mean_over_all_offsets_is_the_exact_sum(frequent: int, step: int) -> None:
    inputs = case()
    sums = [estimate(inputs, PAIRS, Sample(frequent, step, k)).exp() for k in range(step)]
    exact = log_normaliser(*inputs).exp()
    torch.testing.assert_close(torch.stack(sums).mean(0), exact, rtol=1e-12, atol=0.0)
    if step > 1 and frequent < SIZE:
        assert (torch.stack(sums)[:, 2] / exact[2] - 1).abs().max() > 0.01, "row 2 is estimated"
        torch.testing.assert_close(torch.stack(sums)[:, 3], exact[3].expand(step))


@pytest.mark.parametrize("offset", range(5))
def test_estimate_and_its_gradient_are_those_of_the_formula(offset: int) -> None:
    inputs, sample = case(), Sample(FREQUENT, 5, offset)
    assert_same(estimate(inputs, PAIRS, sample), naive(inputs, PAIRS, sample), inputs)
    gentle = case(0.5)
    assert torch.autograd.gradcheck(lambda *given: estimate(given, PAIRS, sample), gentle)


@pytest.mark.parametrize("partner", [1, 5, 6], ids=["frequent", "sampled", "neither"])
def test_a_partner_counts_once(partner: int) -> None:
    """With equal scores the sum is a number of words."""
    hidden, weight, bias = torch.zeros(1, 2), torch.zeros(SIZE, 2), torch.zeros(SIZE)
    sample = Sample(FREQUENT, 4, 2)  # of 3 … 16: 5, 9, 13
    found = estimate((hidden, weight, bias), [(0, partner)], sample).exp()
    expected = {1: 3 + 3 * 4, 5: 3 + 2 * 4 + 1, 6: 3 + 3 * 4 + 1}[partner]
    torch.testing.assert_close(found, torch.tensor([float(expected)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nats", [-1000.0, -60.0, 60.0, 1000.0])
@pytest.mark.parametrize("partner", [1, 5, 6], ids=["frequent", "sampled", "neither"])
def test_a_partner_far_from_the_rest(partner: int, nats: float, dtype: torch.dtype) -> None:
    sample, pairs = Sample(FREQUENT, 4, 2), [(0, partner)]
    bias = torch.linspace(-1.0, 1.0, SIZE, dtype=torch.float64)
    bias[partner] = nats
    hidden, weight = torch.ones(1, 2).double(), torch.full((SIZE, 2), 0.25).double()
    results, gradients = [], []
    for function, kind in ((estimate, dtype), (naive, torch.float64)):
        inputs = [one.to(kind).detach().requires_grad_() for one in (hidden, weight, bias)]
        result = function(inputs, pairs, sample)
        results.append(result.double())
        gradients.append([one.double() for one in torch.autograd.grad(result.sum(), inputs)])
    near = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(results[0], results[1], rtol=near, atol=near)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=near, atol=near)


def test_all_partners_sampled_and_far_above() -> None:
    """Taking all but one of the ``step`` shares of each away leaves the sum of the partners."""
    step, size = 500, 5000
    sample = Sample(0, step, 7)
    pairs = [(0, v) for v in range(7, size, step)]
    bias = torch.zeros(size)
    bias[7::step] = torch.arange(40.0, 40.0 + size // step)
    found = estimate((torch.ones(1, 1), torch.zeros(size, 1), bias), pairs, sample)
    expected = bias[7::step].double().logsumexp(0)
    torch.testing.assert_close(found.double(), expected[None], rtol=0, atol=1e-3)


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_rows_in_parts(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(_base, "_ROWS_AT_ONCE", at_once)
    inputs, sample = case(), Sample(FREQUENT, 4, 1)
    torch.testing.assert_close(estimate(inputs, PAIRS, sample), naive(inputs, PAIRS, sample))


@pytest.mark.parametrize("rows", [0, ROWS])
def test_no_pairs(rows: int) -> None:
    hidden, weight, bias = case()
    hidden = hidden.detach()[:rows].requires_grad_()
    sample = Sample(FREQUENT, 4, 1)
    found = estimate((hidden, weight, bias), [], sample)
    assert found.shape == (rows,)
    if rows:
        torch.testing.assert_close(found, naive((hidden, weight, bias), [], sample))
    found.sum().backward()
    for one in (hidden, weight, bias):
        assert one.grad is not None and one.grad.isfinite().all()


# The sample itself.


@pytest.mark.parametrize("size", [1, FREQUENT - 1, FREQUENT, FREQUENT + 1, SIZE, 1000])
@pytest.mark.parametrize("others", [1, 5, 40, 2000])
def test_size_of_a_sample(size: int, others: int) -> None:
    sample = Sample.of(FREQUENT, others, size)
    assert sample.frequent == FREQUENT and 0 <= sample.offset < sample.step
    rest = max(0, size - FREQUENT)
    for offset in range(sample.step):
        drawn = len(Sample(FREQUENT, sample.step, offset).words(size, torch.device("cpu")))
        drawn -= min(size, FREQUENT)
        assert min(rest, others) // 2 <= drawn <= min(rest, others)
    assert (sample.step == 1) == (rest <= others), "everything where that is few enough"


@pytest.mark.parametrize("size", [2, FREQUENT, SIZE])
@pytest.mark.parametrize("frequent", [0, FREQUENT])
@pytest.mark.parametrize("step", [1, 4, 5])
def test_weights_are_those_of_the_words(step: int, frequent: int, size: int) -> None:
    everything = torch.arange(size)
    total = torch.zeros(size, dtype=torch.int64)
    for offset in range(step):
        sample = Sample(frequent, step, offset)
        words, weight = sample.words(size, torch.device("cpu")), sample.weight(everything)
        assert words.tolist() == weight.nonzero().squeeze(1).tolist(), "each once, rising"
        expected = [times(0, v, [], sample) for v in range(size)]
        assert weight.tolist() == expected
        total += weight
    assert (total == step).all(), "over all offsets every word is there as often as any other"
