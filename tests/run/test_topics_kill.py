"""`latentnlp topics train`, killed with kill -9 again and again, ends with the same bits."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_server import Server, inside_an_epoch
from toy_learner import untimed
from toy_topics import FAST, options, toy_records, write

MOST_KILLS = 8
SETTINGS = (
    "checkpoint_seconds=0.001",  # after every step: a fast machine leaves as many moments to die
    "learning.epochs=4",
)
RULES = (
    ("wake_sleep", ()),
    ("reweighted_wake_sleep", ()),
    # Baselines that learn keep a state of their own.
    ("variational", ("learning.variational.estimator=nvil",)),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.mark.parametrize(("rule", "more"), RULES, ids=[rule for rule, _ in RULES])
def test_killed_again_and_again(
    server: Server, tmp_path: Path, rule: str, more: tuple[str, ...]
) -> None:
    data = write(tmp_path / "train.jsonl", toy_records(70))
    settings = [*FAST, *options([*SETTINGS, *more])]

    def train(name: str) -> list[str]:
        out = str(tmp_path / name)
        return ["topics", "train", data, "--out", out, "--quiet", "--rule", rule, *settings]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert server.run(train("whole"), whole / "train.log") == 0

    moments = random.Random(7)
    deaths = inside = 0
    while deaths < MOST_KILLS:
        later, delay = moments.randint(2, 7), moments.uniform(0.0, 0.03)
        status = server.run(train("killed"), killed / "train.log", later, delay)
        if status == 0:  # it was quicker than the kill
            break
        assert status == -signal.SIGKILL
        deaths += 1
        inside += inside_an_epoch(killed, [rule])
    assert deaths >= 3 and inside >= 1, (deaths, inside)

    assert server.run(train("killed"), killed / "train.log") == 0
    records = untimed(killed)
    assert len(records) == 4 and records == untimed(whole)
    names = sorted(path.name for path in (whole / "model").iterdir())
    assert sorted(path.name for path in (killed / "model").iterdir()) == names
    for name in names:
        assert (killed / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
    assert not [path for path in killed.rglob("*") if path.name.endswith((".tmp", ".previous"))]
    assert sorted(path.name for path in killed.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


def test_killed_while_it_reads(server: Server, tmp_path: Path) -> None:
    """What it leaves of the encoded text is neither taken for whole nor left for ever."""
    data = write(tmp_path / "train.jsonl", toy_records(40))
    run = tmp_path / "run"
    train = ["topics", "train", data, "--out", str(run), "--quiet", *FAST]
    train += options(["learning.epochs=1"])
    half = run / "documents" / "train"
    assert server.run(train, run / "train.log") == 0
    expected = (run / "model" / "tensors.safetensors").read_bytes()
    half.mkdir(parents=True)
    (half / "bags.json").write_text("{}")
    assert server.run(train, run / "train.log") == 0
    assert (run / "model" / "tensors.safetensors").read_bytes() == expected
    assert not half.parent.exists()
