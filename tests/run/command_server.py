"""Runs `latentnlp` in processes that can be killed at a moment of one's choice."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import torch

from latentnlp.checkpoint import CheckpointStore
from latentnlp.cli import main


def serve() -> None:
    """For every line, a command: run it in a new process; print its number, then its status.

    Importing torch takes seconds; a fork of a process that has done it does not.
    """
    import latentnlp.tasks.alignment_commands
    import latentnlp.tasks.rationale_commands
    import latentnlp.tasks.topics_commands
    import latentnlp.tasks.translation_commands  # noqa: F401

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


if __name__ == "__main__":
    serve()
