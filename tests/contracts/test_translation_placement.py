"""Every model of translation: a training step, and a step of a search, on a device without data;
and the same on CUDA as on the CPU, where there is one."""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from device_placement import placement_check
from register import TRANSLATION
from tiny import mixed_batch, randomise, vocabulary

from latentnlp.learners.marginal import Config, Marginal
from latentnlp.translation_models import _lexicon, _network
from latentnlp.translation_models._contract import TranslationModel

META = torch.device("meta")
LEXICONS = (_lexicon.Config(), _lexicon.Config("joint", chunk=3, recompute=True))


def build(kind: str, lexicon: _lexicon.Config, dropout: float = 0.2) -> TranslationModel:
    module: Any = importlib.import_module(f"latentnlp.translation_models.{kind}")
    config = module.Config()
    if hasattr(config, "lexicon"):
        config = replace(config, lexicon=lexicon)
    sizes = _network.Config(embedding=8, states=8, keys=4, dropout=dropout)
    return module.build(config, sizes, vocabulary(6, "haus"), vocabulary(6, "house"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lexicon", LEXICONS, ids=str)
@pytest.mark.parametrize("kind", TRANSLATION)
def test_training_step(
    kind: str, lexicon: _lexicon.Config, precision: Literal["float32", "bfloat16"]
) -> None:
    model = build(kind, lexicon)
    learner = Marginal(Config(precision=precision), model, META)
    batch = mixed_batch(words=4).to(META)
    with placement_check():
        objective, words = learner.objective(batch)
        (-objective / words).backward()
    assert objective.device == META and objective.dtype == torch.float32


@pytest.mark.parametrize("lexicon", LEXICONS, ids=str)
@pytest.mark.parametrize("kind", TRANSLATION)
def test_a_step_of_a_search(kind: str, lexicon: _lexicon.Config) -> None:
    model = build(kind, lexicon).to(META).eval()
    batch = mixed_batch(words=4).to(META)
    parents = torch.zeros(len(batch), 3, dtype=torch.long, device=META)
    with placement_check(), torch.no_grad():
        memory = model.encode(batch.source_side)
        log_p, step = model.predict(memory, model.start(memory))
        state = model.extend(memory, step, parents, parents + 2)
        log_p, _ = model.predict(memory, state)
        links = model.links(batch)
    assert log_p.shape[:2] == parents.shape and log_p.device == links.device == META


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("lexicon", LEXICONS, ids=str)
@pytest.mark.parametrize("kind", TRANSLATION)
def test_cuda_as_cpu(kind: str, lexicon: _lexicon.Config) -> None:
    model = build(kind, lexicon, dropout=0.0)
    randomise(model, scale=0.2)
    batch = mixed_batch(words=4)
    learners = [
        Marginal(Config(), copy.deepcopy(model), torch.device(name)) for name in ("cpu", "cuda")
    ]
    for _ in range(3):
        expected, found = (learner.step(batch)["log_likelihood"] for learner in learners)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    links = [learner.model.links(batch.to(learner.device)).cpu() for learner in learners]
    torch.testing.assert_close(links[1], links[0], rtol=1e-2, atol=1e-3)
