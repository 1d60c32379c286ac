"""On CUDA as on the CPU. Skipped, with a reason, where there is no GPU."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from register import EMISSIONS, POSITIONS
from tiny import Corpus, corpus_text, mixed_batch, randomise, vocabulary

from latentnlp.decoding import Config as DecodingConfig
from latentnlp.decoding import decode
from latentnlp.distributions.hidden_markov import HiddenMarkov
from latentnlp.emissions import counts, type_based
from latentnlp.learners.em import Config as EmConfig
from latentnlp.learners.em import ExpectationMaximisation
from latentnlp.learners.lexicon import Config as LexiconConfig
from latentnlp.learners.lexicon import Lexicon
from latentnlp.learners.marginal import Config, Marginal
from latentnlp.models.aligner import BidirectionalAligner, WordAligner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NAMES = ("log_emission", "log_transition", "log_null", "log_leave", "log_final")


def chain(device: torch.device, rows: tuple[int, ...]) -> HiddenMarkov:
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, 12, 9), (*rows, 10, 9), (5, 12), (5, 10), (5, 10)]
    values = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    leaves = dict(zip(NAMES, (value.requires_grad_() for value in values), strict=True))
    lengths = torch.tensor([12, 3, 1, 7, 12])
    return HiddenMarkov(**leaves, target_mask=(torch.arange(12) < lengths[:, None]).to(device))


@pytest.mark.parametrize("rows", [(), (5,), (5, 12)])
def test_hidden_markov(rows: tuple[int, ...]) -> None:
    here, there = chain(CPU, rows), chain(CUDA, rows)
    for one in (here, there):
        one.log_partition().sum().backward()
    torch.testing.assert_close(there.log_partition().cpu(), here.log_partition())
    for name in NAMES:
        torch.testing.assert_close(
            getattr(there, name).grad.cpu(), getattr(here, name).grad, atol=1e-4, rtol=1e-4
        )
    assert torch.equal(there.mode().cpu(), here.mode())
    sample = there.sample(20_000, torch.Generator(CUDA).manual_seed(0))
    frequency = (sample == 2).float().mean(0).cpu()
    torch.testing.assert_close(frequency, here.posteriors().emission[..., 2], atol=0.02, rtol=0)


def aligner(positions: str, emission: str) -> BidirectionalAligner:
    words: Any = importlib.import_module(f"latentnlp.emissions.{emission}")
    places: Any = importlib.import_module(f"latentnlp.models.{positions}")
    sides = vocabulary(6, "haus"), vocabulary(5, "house")
    both = [
        WordAligner(words.build(words.Config(), x, y), places.build(places.Config(), x))
        for x, y in (sides, sides[::-1])
    ]
    built = BidirectionalAligner(*both)
    randomise(built, scale=0.2)
    return built


@pytest.mark.parametrize("emission", EMISSIONS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_training_step(positions: str, emission: str) -> None:
    built, batch = aligner(positions, emission), mixed_batch(words=4)
    here = Marginal(Config(), copy.deepcopy(built), CPU)
    there = Marginal(Config(), copy.deepcopy(built), CUDA)
    for _ in range(3):
        expected, found = (one.step(batch)["log_likelihood"] for one in (here, there))
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    rough = Marginal(Config(precision="bfloat16"), copy.deepcopy(built), CUDA)
    assert rough.step(batch)["log_likelihood"].isfinite()


@pytest.mark.parametrize("sampled", [1, 1000])
def test_lexicon_steps_and_the_prior_of_all_pairs(tmp_path: Path, sampled: int) -> None:
    corpus, learners, tables = Corpus(corpus_text(0), tmp_path), [], []
    options = counts.Config(mean="neural", neural=type_based.Config(8))
    built = corpus.aligner(counts=options)
    for device in (CPU, CUDA):
        model = copy.deepcopy(built).to(device)
        learner = ExpectationMaximisation(EmConfig(), model, corpus.table)
        for batch in corpus.batches:
            learner.step(batch)
        learner.end_epoch()
        both: Any = tuple(direction.emission for direction in model.directions())
        config = LexiconConfig(frequent=2, sampled=sampled)
        learners.append(Lexicon(config, both, tuple(one.neural for one in both), device))
        tables.append(both)
    with torch.no_grad():
        for one, other in zip(*tables, strict=True):
            torch.testing.assert_close(other.pair_mean().cpu(), one.pair_mean(), rtol=0, atol=1e-2)
            torch.testing.assert_close(other.mean_log_z.cpu(), one.mean_log_z, rtol=1e-3, atol=1e-2)
    for step in learners[0].batches(seed=0).epoch(0):
        expected, found = (learner.step(step)["log_likelihood"] for learner in learners)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("positions", POSITIONS)
def test_expectation_maximisation_and_decoding(tmp_path: Path, positions: str) -> None:
    corpus = Corpus(corpus_text(0), tmp_path)
    here = corpus.aligner(positions=positions)
    there = copy.deepcopy(here).to(CUDA)
    learners = [ExpectationMaximisation(EmConfig(), one, corpus.table) for one in (here, there)]
    for number in range(4):
        for batch in corpus.batches.epoch(number):
            expected, found = (learner.step(batch)["log_likelihood"] for learner in learners)
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-2)
        for learner in learners:
            learner.end_epoch()
    for batch in corpus.batches:
        one, other = (
            list(decode(model, batch.to(device), DecodingConfig(), details=True))
            for model, device in ((here, CPU), (there, CUDA))
        )
        for expected, found in zip(one, other, strict=True):
            assert found.posterior == pytest.approx(expected.posterior, abs=1e-2)
