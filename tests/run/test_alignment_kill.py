"""`latentnlp align --model DIR`, killed with kill -9 again and again, ends with the same bits."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from toy_corpus import toy_corpus
from toy_learner import untimed

from latentnlp.checkpoint import CheckpointStore
from latentnlp.cli import main

MOST_KILLS = 9
COMMON = (
    "batches.sentences=6",
    "checkpoint_seconds=0.001",  # after every step: a fast machine leaves as many moments to die
    "em.ibm1_epochs=3",
    "em.epochs=3",
    "lexicon.first_epochs=3",
    "lexicon.learner.words_per_step=4",
)
NEURAL_COUNTS = (
    "model.counts.mean=neural",
    "model.counts.neural.dim=16",
    "lexicon.rounds=1",
    "lexicon.em_epochs=2",
)
NEURAL = (
    "model.emission=type_based",
    "model.type_based.dim=16",
    "marginal.epochs=2",
)


def serve() -> None:
    """For every line, a command: run it in a new process; print its number, then its status.

    Importing torch takes seconds; a fork of a process that has done it does not.
    """
    import latentnlp.tasks.alignment_commands  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # the first one imports more of torch
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(main(line.split()))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Server:
    """Runs commands in processes that can be killed."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(
        self, command: list[str], log: Path, more: int | None = None, delay: float = 0.0
    ) -> int:
        """The exit code; -9 if the process was killed, ``delay`` seconds after its log told of so
        many ``more`` epochs and checkpoints."""
        assert self.process.stdin is not None
        before = saved(log)
        self.process.stdin.write(" ".join(command) + "\n")
        self.process.stdin.flush()
        child = int(self._line())
        if more is not None:
            while not self._ended(0.002) and saved(log) < before + more:
                pass
            if not self._ended(delay):
                os.kill(child, signal.SIGKILL)
        return int(self._line())

    def _ended(self, wait: float) -> bool:
        return bool(select.select([self.process.stdout], [], [], wait)[0])


def saved(log: Path) -> int:
    """How many epochs and checkpoints inside an epoch a run tells of."""
    return log.read_text().count(" epoch ") if log.exists() else 0


def inside_an_epoch(model: Path, stages: list[str]) -> bool:
    """Whether the newest checkpoint is one. Loads them all: those that are named are whole."""
    store = CheckpointStore(model / "checkpoints")
    states = [store.load(stage) for stage in stages if store.entry(stage) is not None]
    return bool(states) and states[-1]["progress"]["position"] > 0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (NEURAL_COUNTS, ["ibm1", "em", "lexicon1", "em1"]),
        (NEURAL, ["ibm1", "em", "lexicon", "marginal"]),
    ],
    ids=["counts", "marginal"],
)
def test_killed_again_and_again(
    server: Server, settings: tuple[str, ...], stages: list[str], tmp_path: Path
) -> None:
    text = toy_corpus(60).write(tmp_path)
    options = [part for one in COMMON + settings for part in ("--set", one)]

    def align(name: str) -> list[str]:
        files = ["-o", str(tmp_path / f"{name}.links"), "--model", str(tmp_path / name)]
        return ["align", *text, *files, "--quiet", *options]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert server.run(align("whole"), whole / "train.log") == 0

    moments = random.Random(7)
    deaths = inside = 0
    while deaths < MOST_KILLS:
        more, delay = moments.randint(1, 4), moments.uniform(0.0, 0.03)
        status = server.run(align("killed"), killed / "train.log", more, delay)
        if status == 0:  # it was quicker than the kill
            break
        assert status == -signal.SIGKILL
        assert not (tmp_path / "killed.links").exists()
        deaths += 1
        inside += inside_an_epoch(killed, stages)
    assert deaths >= 3 and inside >= 1, (deaths, inside)

    assert server.run(align("killed"), killed / "train.log") == 0
    assert (tmp_path / "killed.links").read_bytes() == (tmp_path / "whole.links").read_bytes()
    records = untimed(killed)
    assert records == untimed(whole)
    assert list(dict.fromkeys(record["stage"] for record in records)) == stages
    names = sorted(path.name for path in (whole / "model").iterdir())
    assert sorted(path.name for path in (killed / "model").iterdir()) == names
    for name in names:
        assert (killed / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", ".previous"))]


if __name__ == "__main__":
    serve()
