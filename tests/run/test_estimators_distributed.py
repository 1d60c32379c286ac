"""Two gloo processes under torchrun, each with its rows: baselines have the state of one."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.estimators import Estimator, make, make_baseline, names

CPU = torch.device("cpu")
SIZES = (7, 1, 4)  # items of a step; of a single one the second process has nothing
OFFERED = {"samples": 2, "latents": 3, "context_size": 2, "hidden": 4}


class Replayed(Bernoulli):
    """Gives the draws that it was given: what is compared must not hang on the noise."""

    def __init__(self, logits: Tensor, z: Tensor) -> None:
        super().__init__(logits)
        self.z = z

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        return self.z[:samples]


def settings(package: str, name: str) -> dict[str, Any]:
    known = inspect.signature(importlib.import_module(f"{package}.{name}").build).parameters
    return {setting: value for setting, value in OFFERED.items() if setting in known}


def estimators() -> dict[str, Estimator]:
    """Those with a running state: the score function with every baseline, others with their own."""
    torch.manual_seed(1)
    package = "latentnlp.estimators"
    found = {name: make(name, **settings(package, name)) for name in names()}
    for name in names(f"{package}.baselines"):
        own = make_baseline(name, **settings(f"{package}.baselines", name))
        found[f"+{name}"] = make("score_function", samples=2, baselines=[own])
    one_for_all = [make_baseline("optimal_coefficient"), make_baseline("variance_normalisation")]
    found["+both"] = make("score_function", samples=2, baselines=one_for_all)
    mean = [make_baseline("moving_average")]
    found["local_signals"] = make("local_signals", samples=2, baselines=mean)
    return {name: one.double() for name, one in found.items() if list(one.buffers())}


def train(built: Estimator, each: bool) -> dict[str, Any]:
    """Three steps on this process's rows; the state, and the gradients summed over processes."""
    generator = torch.Generator().manual_seed(2)
    parameters = list(built.parameters())
    total = torch.zeros(3 + sum(parameter.numel() for parameter in parameters)).double()
    rows = slice(distributed.rank(), None, distributed.world_size())
    for size in SIZES:
        logits, context, z = (
            torch.randn(*shape, generator=generator, dtype=torch.float64)
            for shape in ((size, 3), (size, 2), (2, size, 3))
        )
        z = (z[:, rows] > 0).double()
        shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        weights = 3 * context[rows].sum(-1, keepdim=True)

        def f(z: Tensor, weights: Tensor = weights) -> Tensor:
            terms = z * weights + 1
            return terms if each else terms.sum(-1)

        q = Replayed(logits[rows] + shift, z)
        estimate = built(q, f, context[rows])  # type: ignore[arg-type]
        loss = estimate.surrogate.sum() + estimate.baseline_loss.sum()
        leaves = [shift, *parameters]
        found = torch.autograd.grad(loss, leaves, materialize_grads=True)
        total += torch.cat([gradient.flatten() for gradient in found])
    state = {name: value.tolist() for name, value in built.named_buffers()}
    return {"state": state, "gradient": distributed.sum_over_processes(total).tolist()}


def train_all() -> dict[str, Any]:
    return {name: train(one, name == "local_signals") for name, one in estimators().items()}


def test_two_processes_hold_the_state_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(Path(__file__).resolve()), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    one = train_all()
    stateful = {"nvil", "+moving_average", "+optimal_coefficient", "+variance_normalisation"}
    assert stateful | {"local_signals", "+both"} <= set(one)
    for name, alone in one.items():
        assert ranks[0][name] == ranks[1][name], name
        for buffer, value in alone["state"].items():
            assert ranks[0][name]["state"][buffer] == pytest.approx(value, rel=1e-12), name
            assert value != 0
        assert ranks[0][name]["gradient"] == pytest.approx(alone["gradient"], rel=1e-9), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(CPU)
    found = train_all()
    (Path(sys.argv[1]) / f"rank{distributed.rank()}.json").write_text(json.dumps(found))
    distributed.shutdown()
