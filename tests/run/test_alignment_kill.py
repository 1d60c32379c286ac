"""`latentnlp align --model DIR`, killed with kill -9 again and again, ends with the same bits."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_server import Server, inside_an_epoch
from toy_corpus import FAST, toy_corpus
from toy_learner import untimed

MOST_KILLS = 9
COMMON = (
    "batches.sentences=6",
    "checkpoint_seconds=0.001",  # after every step: a fast machine leaves as many moments to die
    "em.ibm1_epochs=3",
    "em.epochs=3",
    "lexicon.first_epochs=3",
    "lexicon.learner.words_per_step=4",
    "lexicon.learner.frequent=3",
    "lexicon.learner.sampled=3",  # fewer than there are: which ones is drawn at every step
)
NEURAL_COUNTS = (
    "model.counts.mean=neural",
    "model.counts.neural.dim=16",
    "lexicon.rounds=1",
    "lexicon.em_epochs=2",
)
PRIOR = ("data.prior=PRIOR",)  # in the folder of the test
NEURAL = (
    "model.emission=type_based",
    "model.type_based.dim=16",
    "marginal.epochs=2",
)


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
        (NEURAL_COUNTS + PRIOR, ["ibm1", "em", "lexicon1", "em1"]),
        (NEURAL, ["ibm1", "em", "lexicon", "marginal"]),
    ],
    ids=["counts", "prior", "marginal"],
)
def test_killed_again_and_again(
    server: Server, settings: tuple[str, ...], stages: list[str], tmp_path: Path
) -> None:
    text = toy_corpus(60).write(tmp_path)
    settings = tuple(one.replace("PRIOR", str(tmp_path / "prior")) for one in settings)
    if any("prior" in one for one in settings):
        earlier = ["align", *toy_corpus(20, seed=2).write(tmp_path, "earlier"), "--quiet"]
        earlier += ["-o", str(tmp_path / "x"), "--model", str(tmp_path / "prior"), *FAST]
        assert server.run(earlier, tmp_path / "prior" / "train.log") == 0
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
