"""Two gloo processes under torchrun, one launch: the gradients and the loop are those of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_learner import ToyConfig, untimed

from latentnlp import distributed, loop
from latentnlp.loop import fit
from latentnlp.run import RunDirectory, seed_everything

CPU = torch.device("cpu")
LENGTHS = torch.tensor([5, 1, 3, 7, 2, 4, 6])  # an odd number of sentences: ranks differ


class RowBatches:
    """Four global batches; this process gets the rows rank::world of each."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(4, len(LENGTHS), 7, 3, generator=generator)  # [N, B, T, D]
        self.mask = torch.arange(7) < LENGTHS[:, None]  # [B, T]
        self.rows = slice(distributed.rank(), None, distributed.world_size())

    def __len__(self) -> int:
        return len(self.x)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for n in range(start, len(self)):
            yield self.x[n, self.rows], self.mask[self.rows]


class RowLearner:
    def __init__(self, stop_at: int | None) -> None:
        self.steps, self.stop_at = 0, stop_at
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.parallel = distributed.wrap(self.model, CPU)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.first_gradient: Tensor | None = None

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        self.steps += 1
        x, mask = batch
        scores = self.parallel(x).squeeze(-1)  # [B, T]
        log_likelihood = torch.where(mask, -scores.square(), 0.0).sum()
        tokens = mask.sum().double()
        everyone = distributed.sum_over_processes(tokens.clone())
        loss = -log_likelihood * distributed.world_size() / everyone
        self.optimizer.zero_grad()
        loss.backward()
        if self.first_gradient is None:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.first_gradient = torch.cat([g.flatten() for g in gradients]).clone()
        self.optimizer.step()
        return {"log_likelihood": log_likelihood.detach(), "weight": tokens}

    def end_epoch(self) -> dict[str, float]:
        return {}

    def validate(self) -> dict[str, float]:
        """The second epoch is the best one; the processes do not quite agree on by how much."""
        size = float(nn.utils.parameters_to_vector(self.model.parameters()).detach().norm())
        return {"dev": abs(size - 2.12) + 1e-3 * distributed.rank()}

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer}


def train(path: Path, stop_at: int | None = None) -> dict[str, Any]:
    """Train (as far as step ``stop_at``), and say what this process ended with."""
    seed_everything(3)
    run = RunDirectory.create(path, ToyConfig())
    learner = RowLearner(stop_at)
    result = fit(
        learner,
        RowBatches(),
        run=run,
        stage="s",
        epochs=3,
        validate=learner.validate,
        select_on="dev",
        checkpoint_seconds=0.0,
        progress=False,
    )
    assert learner.first_gradient is not None
    return {
        "gradient": learner.first_gradient.tolist(),
        "parameters": nn.utils.parameters_to_vector(learner.model.parameters()).tolist(),
        "best": [result.best_epoch, result.best_metric],
        "steps": learner.steps,
    }


def buffer_after_a_step() -> float:
    """Of a buffer that holds this process's number."""
    module = nn.BatchNorm1d(1).eval()
    parallel = distributed.wrap(module, CPU)
    assert module.running_mean is not None
    module.running_mean.fill_(float(distributed.rank()))
    parallel(torch.ones(2, 1)).sum().backward()
    return module.running_mean.item()


def main(folder: Path) -> None:
    distributed.setup(CPU)
    loop._AGREE_EVERY = 3
    whole = train(folder / "two")
    stopped = False
    try:
        train(folder / "stopped", stop_at=7)
    except SystemExit:
        stopped = True
    whole["stopped"] = stopped
    whole["resumed"] = train(folder / "stopped")
    whole["gathered"] = [
        one.tolist() for one in distributed.gather(torch.tensor(whole["best"][:1]))
    ]
    whole["buffer"] = buffer_after_a_step()
    (folder / f"rank{distributed.rank()}.json").write_text(json.dumps(whole))
    distributed.shutdown()


def test_two_processes_are_as_one(tmp_path: Path) -> None:
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
    one = train(tmp_path / "one")
    for name in ("gradient", "parameters"):
        assert ranks[0][name] == ranks[1][name]
        assert ranks[0][name] == pytest.approx(one[name], rel=1e-5, abs=1e-7)
    assert ranks[0]["best"] == ranks[1]["best"] == pytest.approx(one["best"], rel=1e-3)
    assert one["best"][0] == 2

    # The records count every process's rows, once.
    for two, single in zip(untimed(tmp_path / "two"), untimed(tmp_path / "one"), strict=True):
        assert two.pop("stage") == single.pop("stage") == "s"
        assert two == pytest.approx(single, rel=1e-5, abs=1e-5)

    # A run of two processes that was stopped and resumed is the run that was not.
    for rank in ranks:
        assert rank["stopped"]
        assert rank["resumed"]["parameters"] == rank["parameters"]
        assert rank["resumed"]["best"] == rank["best"]
        assert rank["resumed"]["steps"] == 5  # from step 7 of 12, inside the second epoch
    assert untimed(tmp_path / "stopped") == untimed(tmp_path / "two")
    assert ranks[0]["gathered"] == [[2], [2]]
    # Buffers are not sent at every step: those of a large vocabulary are hundreds of megabytes.
    assert [rank["buffer"] for rank in ranks] == [0.0, 1.0]


def test_a_single_process_needs_no_setup() -> None:
    value = torch.tensor(3.0)
    module = nn.Linear(1, 1)
    distributed.setup(CPU)
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.sum_over_processes(value) is value and value == 3
    assert distributed.gather(value) == [value]
    assert distributed.wrap(module, CPU) is module
    distributed.barrier()
    distributed.shutdown()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
