"""Gradient ascent on the log-marginal: it climbs, per word, in either precision."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from tiny import make_batch, mixed_batch, random_sentences, randomise, vocabulary
from torch import Tensor, nn

from latentnlp.emissions import contextual, counts, type_based
from latentnlp.learners.marginal import Config, Marginal
from latentnlp.models.aligner import BidirectionalAligner
from latentnlp.tasks.alignment_model import Languages, ModelConfig, build_aligner

CPU = torch.device("cpu")
LANGUAGES = Languages(vocabulary(6, "haus"), vocabulary(6, "house"))
TYPES = type_based.Config(8, (3,))
GENERATOR = random.Random(0)
SOURCE = random_sentences(GENERATOR, [3, 1, 5, 2], 6)
TARGET = random_sentences(GENERATOR, [2, 4, 3, 2], 6)
BATCH = make_batch(SOURCE, TARGET)
COMBINATIONS = [
    (positions, emission)
    for positions in ("ibm1", "ibm2", "hmm")
    for emission in ("type_based", "contextual", "counts")
]


def aligner(positions: str, emission: str) -> BidirectionalAligner:
    config = ModelConfig(
        positions,  # type: ignore[arg-type]
        emission,  # type: ignore[arg-type]
        type_based=TYPES,
        contextual=contextual.Config(TYPES, states=4),
        counts=counts.Config(mean="neural", neural=TYPES),
    )
    built = build_aligner(config, LANGUAGES)
    randomise(built, scale=0.3)
    return built


@pytest.mark.parametrize("positions, emission", COMBINATIONS)
def test_small_steps_climb(positions: str, emission: str) -> None:
    learner = Marginal(Config(learning_rate=1e-4), aligner(positions, emission), CPU)
    values = []
    for _ in range(4):
        found = learner.step(BATCH)
        values.append(float(found["log_likelihood"]))
        assert int(found["weight"]) == 11 + 11
        assert not found["log_likelihood"].requires_grad
    assert values == sorted(values) and values[-1] > values[0]


def gradient(value: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    # The NULL of a neural prior is not used: counts have one of their own.
    return torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("positions, emission", COMBINATIONS)
def test_gradient_of_a_batch_is_the_sum_over_its_sentences(positions: str, emission: str) -> None:
    learner = Marginal(Config(), aligner(positions, emission).double(), CPU)
    parameters = list(learner.model.parameters())
    whole, words = learner.objective(BATCH)
    together = gradient(whole, parameters)
    summed = [torch.zeros_like(parameter) for parameter in parameters]
    value, counted = 0.0, 0
    for row in range(4):
        alone, n = learner.objective(make_batch(SOURCE[row : row + 1], TARGET[row : row + 1]))
        for total, part in zip(summed, gradient(alone, parameters), strict=True):
            total += part
        value, counted = value + alone.item(), counted + int(n)
    assert (value, counted) == (pytest.approx(whole.item(), rel=1e-6), int(words))
    for one, other in zip(together, summed, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_step_descends_the_loss_per_word(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Marginal(Config(max_gradient_norm=1e9), aligner("hmm", "type_based"), CPU)
    objective, words = learner.objective(BATCH)
    parameters = list(learner.model.parameters())
    expected = torch.autograd.grad(-objective / words, parameters)
    monkeypatch.setattr(learner.optimizer, "step", lambda: None)
    learner.step(BATCH)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_long_gradients_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Marginal(Config(max_gradient_norm=1e-3), aligner("hmm", "type_based"), CPU)
    monkeypatch.setattr(learner.optimizer, "step", lambda: None)
    learner.step(BATCH)
    gradients = [p.grad for p in learner.model.parameters() if p.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("positions, emission", COMBINATIONS)
def test_bfloat16_is_close_to_float32(positions: str, emission: str) -> None:
    built = aligner(positions, emission)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for precision in ("float32", "bfloat16"):
        learner = Marginal(Config(precision=precision), copy.deepcopy(built), CPU)
        value, _ = learner.objective(BATCH)
        assert value.dtype == torch.float32
        value.backward()
        gradients = [p.grad for p in learner.model.parameters() if p.grad is not None]
        assert all(gradient.dtype == torch.float32 for gradient in gradients)
        found[precision] = value.detach(), torch.cat([g.flatten() for g in gradients])
    (value, gradient), (rough, rough_gradient) = found["float32"], found["bfloat16"]
    assert not torch.equal(gradient, rough_gradient), "nothing ran in bfloat16"
    torch.testing.assert_close(rough, value, rtol=2e-2, atol=0)
    assert torch.cosine_similarity(rough_gradient, gradient, dim=0) > 0.99
    learner = Marginal(Config(precision="bfloat16"), built, CPU)
    assert torch.isfinite(learner.step(BATCH)["log_likelihood"])


def test_state_goes_on_identically() -> None:
    first = Marginal(Config(), aligner("hmm", "type_based"), CPU)
    first.step(BATCH)
    saved = {name: copy.deepcopy(part.state_dict()) for name, part in first.parts().items()}
    second = Marginal(Config(), aligner("hmm", "type_based"), CPU)
    for name, part in second.parts().items():
        part.load_state_dict(saved[name])
    for _ in range(2):
        assert first.step(BATCH)["log_likelihood"] == second.step(BATCH)["log_likelihood"]


def rates(warmup: int, steps: int) -> list[float]:
    """The learning rate of each step, and the one after the last."""
    config = Config(learning_rate=0.5, warmup=warmup, schedule="linear")
    learner, found = Marginal(config, aligner("ibm1", "type_based"), CPU, steps=steps), []
    for _ in range(steps + 1):
        found.append(learner.optimizer.param_groups[0]["lr"])
        learner.step(mixed_batch())
    return found


def test_the_learning_rate_rises_and_falls() -> None:
    """By 1/w, 2/w, … to its height, then in equal steps to 0 at the end of the training."""
    falling = [0.5 * (16 - step) / 12 for step in range(4, 17)]
    torch.testing.assert_close(rates(4, 16), [0.125, 0.25, 0.375, 0.5, *falling])


def test_a_short_training_warms_up_for_a_quarter_of_it() -> None:
    falling = [0.5 * (8 - step) / 6 for step in range(2, 9)]
    torch.testing.assert_close(rates(400, 8), [0.25, 0.5, *falling])
