"""A step of the beam search on a device without data; all of it on CUDA, where there is one."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
from device_placement import placement_check
from register import TRANSLATION
from tiny import make_side, randomise, vocabulary

from latentnlp import search
from latentnlp.translation_models import _network
from latentnlp.translation_models._contract import TranslationModel

META, CUDA, END = torch.device("meta"), torch.device("cuda"), 2
SENTENCES = [[3, 5, 2], [2], [4, 4, 3, 1, 2], [5, 2]]
CONFIG = search.Config(beam=3, longest=1.0, extra=3)


def build(kind: str) -> TranslationModel:
    module: Any = importlib.import_module(f"latentnlp.translation_models.{kind}")
    sizes = _network.Config(embedding=8, states=8, keys=4)
    return module.build(
        module.Config(), sizes, vocabulary(6, "haus"), vocabulary(6, "house")
    ).eval()


@pytest.mark.parametrize("kind", TRANSLATION)
@torch.no_grad()
def test_a_step_waits_for_nothing(kind: str) -> None:
    """What goes on between two looks at how many sentences are done."""
    model, source = build(kind).to(META), make_side(SENTENCES).to(META)
    with placement_check():
        memory = model.encode(source)
        state, beams = model.start(memory), search._begin(source, CONFIG, 2)
        for _ in range(2):
            log_p, step = model.predict(memory, state)
            choice = search._candidates(beams, log_p, END, CONFIG.beam)
            going = search._unfinished(choice, END, CONFIG.beam)
            beams = search._advance(beams, choice, going, END, CONFIG)
            done = search._is_done(beams, CONFIG)
            state = model.extend(memory, step, going.parents, going.words)
    assert {tensor.device for tensor in (*beams, done)} == {META}
    assert beams.words.shape == (4, 3, 2) and beams.best_words.shape == (4, 2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", TRANSLATION)
def test_cuda_finds_what_the_cpu_finds(kind: str) -> None:
    model, source = build(kind).double(), make_side(SENTENCES)
    randomise(model)
    here = search.search(model, source, END, CONFIG, best=2)
    there = search.search(copy.deepcopy(model).to(CUDA), source.to(CUDA), END, CONFIG, best=2)
    for ours, theirs in zip(here, there, strict=True):
        assert [one.words for one in ours] == [one.words for one in theirs]
        scores = [one.score for one in theirs]
        assert [one.score for one in ours] == pytest.approx(scores, abs=1e-6)
