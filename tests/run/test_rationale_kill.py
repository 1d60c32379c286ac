"""`latentnlp rationale train`, killed with kill -9 again and again, ends with the same bits."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_server import Server, inside_an_epoch
from toy_documents import FAST, options, toy_documents, write
from toy_learner import untimed

MOST_KILLS = 8
STAGES = ["predictor", "rationale"]
SETTINGS = (
    "checkpoint_seconds=0.001",  # after every step: a fast machine leaves as many moments to die
    "predictor.epochs=2",
    "rationale.epochs=3",
    # Baselines that learn keep a state of their own.
    'rationale.learner.estimator.baselines=["neural","moving_average","leave_one_out"]',
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.kill()
    server.process.communicate()


def test_killed_again_and_again(server: Server, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", toy_documents(80))
    settings = [*FAST, *options(SETTINGS)]

    def train(name: str) -> list[str]:
        return ["rationale", "train", data, "--out", str(tmp_path / name), "--quiet", *settings]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert server.run(train("whole"), whole / "train.log") == 0

    moments = random.Random(7)
    deaths = inside = 0
    while deaths < MOST_KILLS:
        more, delay = moments.randint(2, 9), moments.uniform(0.0, 0.03)
        status = server.run(train("killed"), killed / "train.log", more, delay)
        if status == 0:  # it was quicker than the kill
            break
        assert status == -signal.SIGKILL
        deaths += 1
        inside += inside_an_epoch(killed, STAGES)
    assert deaths >= 3 and inside >= 1, (deaths, inside)

    assert server.run(train("killed"), killed / "train.log") == 0
    records = untimed(killed)
    assert records == untimed(whole)
    assert list(dict.fromkeys(record["stage"] for record in records)) == STAGES
    names = sorted(path.name for path in (whole / "model").iterdir())
    assert sorted(path.name for path in (killed / "model").iterdir()) == names
    for name in names:
        assert (killed / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", ".previous"))]
