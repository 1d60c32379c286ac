"""`kill -9` at random moments loses at most the work since the last checkpoint, and no bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_learner import untimed

from latentnlp.checkpoint import CheckpointStore, load

SCRIPT = Path(__file__).with_name("toy_learner.py")
DELAY = 0.05  # seconds a step: 2 stages of 4 epochs of 7 steps take about 3 s
KILLS = 6


class Server:
    """Starts training processes; see `toy_learner.serve`."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        with errors.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.errors.read_text()
        return line

    def run(self, path: Path, delay: float, kill_after: float | None = None) -> int:
        """Train, with ``kill -9`` so many seconds after the first step; the status of the end."""
        path.parent.mkdir(exist_ok=True)
        ready = path.parent / "ready"
        ready.unlink(missing_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path} {delay}\n")
        self.process.stdin.flush()
        child = int(self._line())
        if kill_after is not None:
            deadline = time.monotonic() + 30  # a run that is done takes no step
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self._line())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "stderr")
    yield server
    server.process.kill()
    server.process.communicate()


def last_bytes(path: Path) -> dict[str, bytes]:
    """The final tensors of every stage, byte for byte."""
    store = CheckpointStore(path / "checkpoints")
    found = {}
    for stage in ("first", "second"):
        entry, folder = store.entry(stage), store.path(stage)
        assert entry is not None and folder is not None and entry.done
        found[stage] = (folder / "tensors.safetensors").read_bytes()
    return found


def test_killed_at_random_moments(server: Server, tmp_path: Path) -> None:
    whole, killed = tmp_path / "a" / "whole", tmp_path / "b" / "killed"
    assert server.run(whole, 0.0) == 0, server.errors.read_text()

    moments = random.Random(1)
    deaths, checkpoints = 0, []
    for _ in range(KILLS):
        status = server.run(killed, DELAY, kill_after=moments.uniform(0.05, 0.7))
        if status == 0:  # it was quicker than the kill
            break
        assert status == signal.SIGKILL, server.errors.read_text()
        deaths += 1
        checkpoints.append(_position(killed))
    assert deaths >= 2, "the runs ended before they could be killed"
    assert checkpoints == sorted(checkpoints) and checkpoints[-1] > (0, 0), checkpoints

    assert server.run(killed, 0.0) == 0, server.errors.read_text()
    assert untimed(killed) == untimed(whole)
    assert last_bytes(killed) == last_bytes(whole)
    folders = {path.name for path in (killed / "checkpoints").iterdir()}
    assert len(folders) == 3, folders  # the index, and one a stage


def _position(path: Path) -> tuple[int, int]:
    """(stage, step) of the newest checkpoint; every checkpoint named by the index is whole."""
    store = CheckpointStore(path / "checkpoints")
    newest = (0, 0)
    for number, stage in enumerate(("first", "second"), start=1):
        if store.entry(stage) is not None:
            folder = store.path(stage)
            assert folder is not None
            at = load(folder)["progress"]
            newest = (number, at["epoch"] * at["batches"] + at["position"])
    return newest
