"""The objectives of all learners of documents, checked for misplaced tensors and for waiting."""

from __future__ import annotations

import pytest
import torch
from device_placement import placement_check
from tiny_documents import batch, network

from latentnlp.document_models import nvdm
from latentnlp.learners import reweighted_wake_sleep, variational, wake_sleep
from latentnlp.learners._ascent import Ascent

META = torch.device("meta")
UNIGRAM = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


def learners() -> dict:
    return {
        "wake_sleep": lambda model: wake_sleep.build(wake_sleep.Config(), model, 10, META),
        "reweighted_wake_sleep": lambda model: reweighted_wake_sleep.build(
            reweighted_wake_sleep.Config(), model, 10, META
        ),
    } | {
        name: lambda model, name=name, baselines=baselines: variational.build(
            variational.Config(name, 2, baselines), model, UNIGRAM, 10, META
        )
        for name, baselines in (
            ("nvil", ()),
            ("vimco", ()),
            ("score_function", ("neural", "leave_one_out")),
        )
    }


def check(learner: Ascent) -> None:
    here = batch([[0, 1, 1], [], [3]]).to(META)
    with placement_check():
        climb = learner.module(here)
        (climb.loss - climb.objective).sum().backward()


@pytest.mark.parametrize("rule", learners())
@pytest.mark.parametrize("layers", [(3,), (3, 2)])
def test_a_belief_network(rule: str, layers: tuple[int, ...]) -> None:
    check(learners()[rule](network(layers).to(META)))


def test_a_gaussian_code() -> None:
    model = nvdm.build(nvdm.Config(2, 3), UNIGRAM.double().exp().numpy()).to(META)
    check(variational.build(variational.Config("reparameterised", 2), model, UNIGRAM, 10, META))
