"""A small learner whose result depends on all that a checkpoint must hold; run, it serves kills.

Dropout draws from torch's global random state, Adam has moments, SGD has momentum, and the order of
the batches changes with the epoch: forgetting any of them changes the last bits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentnlp.loop import FitResult, fit
from latentnlp.run import RunDirectory, seed_everything

TIMINGS = ("seconds", "tokens_per_second", "documents_per_second", "words_per_second")


@dataclass(frozen=True)
class ToyConfig:
    seed: int = 1
    epochs: int = 3


class ToyBatches:
    """``count`` fixed batches of 8 points, in an order that is a function of the epoch."""

    def __init__(self, count: int = 7, poison: tuple[int, int] | None = None) -> None:
        generator = torch.Generator().manual_seed(5)
        self.points = torch.randn(count, 8, 4, generator=generator)  # [N, B, D]
        self.labels = (self.points.sum(-1) > 0).long()  # [N, B]
        self.poison = poison  # (epoch, position) of a batch with a NaN in it

    def __len__(self) -> int:
        return len(self.points)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(epoch))
        for position in range(start, len(self)):
            n = order[position]
            points = self.points[n] * float("nan") if (epoch, position) == self.poison else None
            yield self.points[n] if points is None else points, self.labels[n]


class ToyLearner:
    ready: Path | None = None  # a file to touch once a step has been taken

    def __init__(self, optimizer: str = "adam", delay: float = 0.0, width: int = 16) -> None:
        self.model = nn.Sequential(
            nn.Linear(4, width), nn.Tanh(), nn.Dropout(0.3), nn.Linear(width, 2)
        )
        parameters = self.model.parameters()
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, lr=0.01)
            if optimizer == "adam"
            else torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
        )
        self.delay = delay
        self.steps = 0
        self.stop_at: int | None = None  # raise KeyboardInterrupt before this step
        self.spoil_at: int | None = None  # put a NaN into a parameter after this step

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        points, labels = batch
        log_likelihood = -nn.functional.cross_entropy(self.model(points), labels, reduction="sum")
        self.optimizer.zero_grad()
        (-log_likelihood / len(labels)).backward()
        self.optimizer.step()
        self.steps += 1
        if self.steps == self.spoil_at:
            with torch.no_grad():
                next(self.model.parameters())[0, 0] = float("nan")
        if self.ready is not None:
            self.ready.touch()
            time.sleep(self.delay)
        weight = torch.tensor(float(len(labels)))
        return {"log_likelihood": log_likelihood.detach(), "weight": weight}

    def end_epoch(self) -> dict[str, float]:
        return {"norm": float(sum(p.detach().square().sum() for p in self.model.parameters()))}

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer}

    def validate(self) -> dict[str, float]:
        return {"dev_noise": float(torch.rand(()))}  # goes up and down, and uses the random state

    def flat(self) -> Tensor:
        return nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()


def untimed(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what differs from one machine or moment to another."""
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in TIMINGS} for record in records]


def train(
    path: Path, config: ToyConfig, delay: float = 0.0, checkpoint_seconds: float = 0.0
) -> tuple[FitResult, Tensor]:
    """Two stages, Adam then SGD, the way a recipe does it."""
    seed_everything(config.seed)
    run = RunDirectory.create(path, config, resume=True, seed=config.seed)
    batches = ToyBatches()
    first = ToyLearner("adam", delay)
    common = {"run": run, "epochs": config.epochs, "checkpoint_seconds": checkpoint_seconds}
    fit(first, batches, stage="first", validate=first.validate, select_on="dev_noise", **common)
    second = ToyLearner("sgd", delay)
    second.model.load_state_dict(first.model.state_dict())
    result = fit(second, batches, stage="second", **common)
    return result, second.flat()


def serve() -> None:
    """For every line "directory delay": train in a new process, print its number and its status.

    Importing torch takes seconds; a fork of a process that has done it does not.
    """
    torch.set_num_threads(1)
    ToyLearner()  # the first optimizer imports more of torch
    print("ready", flush=True)
    for line in sys.stdin:
        target, delay = line.split()
        child = os.fork()
        if child == 0:
            ToyLearner.ready = Path(target).parent / "ready"
            train(Path(target), ToyConfig(epochs=4), float(delay), checkpoint_seconds=0.02)
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
