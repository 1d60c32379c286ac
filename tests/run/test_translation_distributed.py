"""Two gloo processes under torchrun learn to translate what one process learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from toy_corpus import toy_corpus
from toy_translation import TINY

from latentnlp import checkpoint, distributed
from latentnlp import config as configuration
from latentnlp.data.corpora import ListText
from latentnlp.run import RunDirectory, seed_everything
from latentnlp.tasks.translation import TranslationConfig, train
from latentnlp.tasks.translation_commands import TrainOptions, train_command

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
KINDS = ("neural_hmm", "latent_alignment", "attention")
SETTINGS = (*TINY, "learning.epochs=2", "batches.sentences=12")


def text(pairs: int) -> ListText:
    corpus = toy_corpus(pairs, words=12)
    return ListText(
        [line.split() for line in corpus.source], [line.split() for line in corpus.target]
    )


def learnt(folder: Path, kind: str) -> dict[str, Any]:
    """The weights, the metrics, and the size of every step's gradient: Adam would hide it if all of
    them were doubled. 37 pairs in batches of 12: the last one leaves a process without a pair."""
    config = configuration.load(TranslationConfig, None, [*SETTINGS, f"model.kind={kind}"])
    norms: list[float] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

    seed_everything(config.seed)
    hook = register_optimizer_step_pre_hook(record)
    try:
        run = RunDirectory.create(folder, config)
        system = train(config, text(37), text(9), run, CPU, progress=False)
        distributed.barrier()
    finally:
        hook.remove()
    kept = [[one["log_likelihood_per_token"], one["dev_perplexity"]] for one in run.records()]
    return {"norms": norms, "weights": system.network.state_dict(), "metrics": kept}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have been."""
    folder = tmp_path_factory.mktemp("two")
    toy_corpus(60).write(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [*command, str(Path(__file__).resolve()), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_learns(place: Path, kind: str, tmp_path: Path) -> None:
    first, second = (checkpoint.load(place / f"{kind}{rank}") for rank in range(2))
    one = learnt(tmp_path / "one", kind)
    assert len(one["metrics"]) == 2 and len(one["norms"]) == 8
    for other in (first, second):
        for name in ("norms", "metrics"):
            torch.testing.assert_close(
                torch.tensor(other[name]), torch.tensor(one[name]), rtol=1e-3, atol=1e-4
            )
        for key, value in one["weights"].items():
            if key == "network.key.bias":  # adds the same to all scores: Adam scales its rounding
                continue
            torch.testing.assert_close(other["weights"][key], value, rtol=1e-3, atol=1e-3)


def test_what_a_user_starts(place: Path) -> None:
    """With dropout: one process saves, both hold the same weights."""
    said = (place / "stderr").read_text()
    assert said.count("model saved in") == 1 and said.count("no dev set was given") == 1
    records = [
        json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [one["epoch"] for one in records] == [1, 2]
    first, second = (checkpoint.load(place / f"run{rank}") for rank in range(2))
    for key, value in first.items():
        assert torch.equal(second[key], value), key


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(CPU)
    here, rank = Path(sys.argv[1]), distributed.rank()
    for name in KINDS:
        checkpoint.save(here / f"{name}{rank}", learnt(here / f"two_{name}", name))
    asked = TrainOptions(
        out=here / "run",
        source=str(here / "text.src"),
        target=str(here / "text.tgt"),
        overrides=(*SETTINGS, "model.network.dropout=0.2", "checkpoint_seconds=0"),
        device="cpu",
    )
    checkpoint.save(here / f"run{rank}", train_command(asked).network.state_dict())
