"""Every model's training step, checked for misplaced tensors; and the check itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from device_placement import Misplaced, placement_check
from register import EMISSIONS, POSITIONS
from tiny import Corpus, corpus_text, mixed_batch, vocabulary
from torch import Tensor

from latentnlp.data.batches import Batch
from latentnlp.emissions import counts, type_based
from latentnlp.learners.em import Config as EmConfig
from latentnlp.learners.em import ExpectationMaximisation
from latentnlp.learners.lexicon import Config as LexiconConfig
from latentnlp.learners.lexicon import _Objective
from latentnlp.learners.marginal import Config, Marginal
from latentnlp.models.aligner import BidirectionalAligner, WordAligner

META = torch.device("meta")


MIXED: list[tuple[str, Callable[[Tensor, Tensor], Any]]] = [
    ("add", lambda device, host: device + host),
    ("matmul", lambda device, host: device @ host),
    ("where", lambda device, host: torch.where(device > 0, device, host)),
    ("gather", lambda device, host: device.gather(0, host.long())),
    ("index", lambda device, host: device[host.long()]),
    ("cat", lambda device, host: torch.cat([device, host])),
    ("in place", lambda device, host: device.add_(host)),
    ("copy in", lambda device, host: device.copy_(host)),
    ("copy out", lambda device, host: host.copy_(device)),
    ("to cpu", lambda device, host: device.to("cpu")),
    ("to meta", lambda device, host: host.to("meta")),
    ("cpu()", lambda device, host: device.cpu()),
    ("to like", lambda device, host: host.to(device)),
    ("item", lambda device, host: device.sum().item()),
    ("float", lambda device, host: float(device.sum())),
    ("bool", lambda device, host: bool(device.sum() > 0)),
    ("if any", lambda device, host: 1 if (device > 0).any() else 2),
    ("tolist", lambda device, host: device.tolist()),
    ("nonzero", lambda device, host: device.nonzero()),
    ("where indices", lambda device, host: torch.where(device > 0)),
    ("masked_select", lambda device, host: device.masked_select(device > 0)),
    ("mask as index", lambda device, host: device[device > 0]),
    ("unique", lambda device, host: device.unique()),
    ("repeat_interleave", lambda device, host: device[0].repeat_interleave(device[0].long())),
    ("equal", lambda device, host: torch.equal(device, device + 1)),
]


@pytest.mark.parametrize("operation", [pytest.param(f, id=name) for name, f in MIXED])
def test_the_check_catches(operation: Callable[[Tensor, Tensor], Any]) -> None:
    device, host = torch.ones(3, 3, device=META), torch.ones(3, 3)
    with placement_check(), pytest.raises(Misplaced):
        operation(device, host)


def test_the_check_catches_what_only_the_backward_pass_does() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0] * torch.ones(3)

    x = torch.ones(3, device=META, requires_grad=True)
    with placement_check():
        y: Any = Wrong.apply(x)
        with pytest.raises(Misplaced):
            y.sum().backward()


ALLOWED: list[tuple[str, Callable[[Tensor, Tensor], Any]]] = [
    ("a number", lambda device, host: device + 1.0),
    ("a 0-d host tensor", lambda device, host: device * torch.tensor(2.0)),
    ("where with a number", lambda device, host: torch.where(device > 0, device, 0.0)),
    ("masked_fill", lambda device, host: device.masked_fill(device > 0, 1.0)),
    ("fill by mask", lambda device, host: device.index_put_((device > 0,), torch.tensor(0.0))),
    ("to its own device", lambda device, host: device.to("meta")),
    ("to another type", lambda device, host: device.to(torch.float64)),
    ("the host alone", lambda device, host: host[host > 0].sum().item()),
    ("its shape", lambda device, host: device.new_zeros(device.shape[0])),
]


@pytest.mark.parametrize("operation", [pytest.param(f, id=name) for name, f in ALLOWED])
def test_the_check_allows(operation: Callable[[Tensor, Tensor], Any]) -> None:
    with placement_check():
        operation(torch.ones(3, 3, device=META), torch.ones(3, 3))


def test_autocast_is_itself_again_afterwards() -> None:
    before = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    with placement_check():
        assert torch.autocast is not before[0]
    assert (torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype) == before


# Training steps.


def one_direction(positions: str, emission: str, swap: bool, emission_options: Any) -> WordAligner:
    sides = vocabulary(6, "haus"), vocabulary(5, "house")
    sides = sides[::-1] if swap else sides
    words: Any = importlib.import_module(f"latentnlp.emissions.{emission}")
    places: Any = importlib.import_module(f"latentnlp.models.{positions}")
    return WordAligner(
        words.build(words.Config(**emission_options), *sides),
        places.build(places.Config(), sides[0]),
    )


def check_marginal_step(
    positions: str,
    emission: str,
    precision: Any = "float32",
    emission_options: dict[str, Any] | None = None,
) -> None:
    """Forward, loss and backward; the optimizer's step stays outside."""
    options = emission_options or {}
    both = [one_direction(positions, emission, swap, options) for swap in (False, True)]
    aligner = BidirectionalAligner(*both).to(META)
    batch = mixed_batch(words=4).to(META)
    learner = Marginal(Config(precision=precision), aligner, META)
    with placement_check():
        objective, words = learner.objective(batch)
        loss = -objective / words
        loss.backward()
        torch.nn.utils.clip_grad_norm_(aligner.parameters(), 5.0)
    assert objective.device == META and objective.dtype == torch.float32


@pytest.mark.parametrize("emission", EMISSIONS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_training_step(positions: str, emission: str) -> None:
    check_marginal_step(positions, emission)


@pytest.mark.parametrize("positions", POSITIONS)
def test_training_step_of_counts_with_a_neural_mean(positions: str) -> None:
    check_marginal_step(positions, "counts", emission_options={"mean": "neural"})


@pytest.mark.parametrize("emission", EMISSIONS)
def test_training_step_in_bfloat16(emission: str) -> None:
    check_marginal_step("hmm", emission, precision="bfloat16")


def test_a_model_with_a_forgotten_constant_is_caught() -> None:
    """The training step as a whole can fail the check."""

    class Forgetful(type_based.TypeBasedEmission):
        def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
            log_p, log_null = super().forward(batch)
            return log_p + torch.zeros(log_p.shape), log_null  # made on the host

    sides = vocabulary(6, "haus"), vocabulary(5, "house")
    forgetful = Forgetful(type_based.Config(), *sides).to(META)
    batch = mixed_batch(words=4).to(META)
    with placement_check(), pytest.raises(Misplaced, match=r"cpu.*meta"):
        forgetful(batch)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
def test_expectation_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: str, leave_one_out: bool
) -> None:
    """The expected counts of one batch; the M-step, once an epoch, stays outside."""
    corpus = Corpus(corpus_text(0), tmp_path)
    aligner = corpus.aligner(positions=positions).to(META)
    config = EmConfig(leave_one_out, agreement_from=1)
    learner = ExpectationMaximisation(config, aligner, corpus.table)
    learner.there.mean = torch.ones(len(corpus.table), device=META)  # as of a neural prior
    for batch in corpus.batches.epoch(0):
        batch = batch.to(META)
        # The one copy that a step is meant to make is made before it.
        cells = corpus.table.cells(batch).to(META)
        monkeypatch.setattr(corpus.table, "cells", lambda _, cells=cells: cells)
        with placement_check():
            found = learner.step(batch)
        monkeypatch.undo()
        assert found["log_likelihood"].device == META
    with placement_check():
        learner.end_epoch()


@pytest.mark.parametrize("similarity", [0.0, 3.0])
@pytest.mark.parametrize("sampled", [1, 1000])
def test_lexicon_objective(sampled: int, similarity: float) -> None:
    sides = vocabulary(6, "haus"), vocabulary(5, "house")
    prior = type_based.build(type_based.Config(8, similarity=similarity), *sides)
    config = LexiconConfig(frequent=2, sampled=sampled)
    objective = _Objective(prior, 2.0, config).to(META)
    assert (objective.sample.step > 1) == (sampled == 1)
    rows = (
        torch.tensor([2, 3]),
        torch.tensor([0, 0, 1]),
        torch.tensor([2, 4, 4]),
        torch.ones(3),
        torch.ones(2),
    )
    rows = tuple(row.to(META) for row in rows)
    with placement_check():
        log_likelihood, _ = objective(*rows, 12345)
        (-log_likelihood).backward()


def test_the_prior_of_all_pairs(tmp_path: Path) -> None:
    """What EM asks a neural prior once an epoch, and a forward pass with what it keeps."""
    corpus = Corpus(corpus_text(0), tmp_path)
    options = counts.Config(mean="neural", neural=type_based.Config(8))
    aligner = corpus.aligner(counts=options)
    for direction in aligner.directions():
        direction.emission.start(corpus.table)  # type: ignore[operator]
    aligner = aligner.to(META)
    batch = mixed_batch(words=4).to(META)
    for direction, one in zip(aligner.directions(), (batch, batch.reversed()), strict=True):
        assert isinstance(direction.emission, counts.CountEmission)
        with placement_check():
            mean = direction.emission.pair_mean()
            log_p, _ = direction.emission(one)
        assert mean is not None and mean.device == log_p.device == META
        assert direction.emission.mean_log_z.device == META
