"""`latentnlp translate train`, killed with kill -9 again and again, ends with the same bits."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_server import Server, inside_an_epoch
from toy_corpus import toy_corpus
from toy_learner import untimed
from toy_translation import TINY, options

MOST_KILLS = 8
SETTINGS = (
    *TINY,
    "text.subwords=80",
    "model.network.dropout=0.2",  # drawn at every step
    "learning.epochs=4",
    "learning.learner.schedule=linear",
    "batches.sentences=8",
    "checkpoint_seconds=0.001",  # after every step: a fast machine leaves as many moments to die
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.mark.parametrize("kind", ["neural_hmm", "attention"])
def test_killed_again_and_again(server: Server, kind: str, tmp_path: Path) -> None:
    text = toy_corpus(60).write(tmp_path)

    def train(name: str) -> list[str]:
        run = ["--out", str(tmp_path / name), "--kind", kind, "--quiet"]
        return ["translate", "train", *text, *run, *options(*SETTINGS)]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert server.run(train("whole"), whole / "train.log") == 0

    moments = random.Random(11)
    deaths = inside = 0
    while deaths < MOST_KILLS:
        more, delay = moments.randint(1, 5), moments.uniform(0.0, 0.03)
        status = server.run(train("killed"), killed / "train.log", more, delay)
        if status == 0:  # it was quicker than the kill
            break
        assert status == -signal.SIGKILL
        assert not (killed / "model").exists()
        deaths += 1
        inside += inside_an_epoch(killed, ["marginal"])
    assert deaths >= 3 and inside >= 1, (deaths, inside)

    assert server.run(train("killed"), killed / "train.log") == 0
    records = untimed(killed)
    assert records == untimed(whole) and len(records) == 4
    names = sorted(path.name for path in (whole / "model").iterdir())
    assert sorted(path.name for path in (killed / "model").iterdir()) == names
    for name in names:
        assert (killed / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", ".previous"))]
