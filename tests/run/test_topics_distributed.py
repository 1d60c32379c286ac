"""Two gloo processes under torchrun: one reads, both learn the same, one saves."""

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
from toy_topics import SMALL, subjects_of, toy_records, write, write_corpus

from latentnlp import UserError, checkpoint, distributed
from latentnlp import config as configuration
from latentnlp.data.bag_corpora import open_bags
from latentnlp.run import RunDirectory, seed_everything
from latentnlp.tasks.topics import TopicsConfig, train
from latentnlp.tasks.topics_commands import TrainOptions, train_command

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
# Nothing is left to chance: the expectation over all 2^2 codes.
CERTAIN = (
    "text.min_documents=1",
    "text.max_share=1.0",
    "model.belief_network.layers=[2]",
    "model.belief_network.recognition_hidden=8",
    "learning.rule=variational",
    "learning.variational.estimator=enumeration",
    "learning.variational.samples=1",
    "learning.variational.ascent.learning_rate=0.01",
    "learning.epochs=3",
    "learning.documents=6",
    "learning.dev_samples=2",
)


def learnt(folder: Path, data: Path) -> dict[str, Any]:
    """The model, the metrics, and the size of every step's gradient: Adam would hide it if all of
    them were doubled. 19 texts in batches of 6: the last one leaves a process without a text."""
    config = configuration.load(TopicsConfig, None, CERTAIN)
    norms: list[float] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        norms.append(float(torch.stack([grad.norm() for grad in grads]).norm()))

    seed_everything(config.seed)
    hook = register_optimizer_step_pre_hook(record)
    try:
        run = RunDirectory.create(folder, config)
        corpus = open_bags(data, config.text)
        model = train(config, corpus.bags, corpus.vocabulary, run, CPU, progress=False)
        distributed.barrier()
    finally:
        hook.remove()
    kept = [one["log_likelihood_per_word"] for one in run.records()]
    return {
        "norms": norms,
        "weights": model.network.state_dict(),
        "centre": model.centre,
        "metrics": kept,
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have been."""
    folder = tmp_path_factory.mktemp("two")
    write_corpus(folder / "toy", 181, 30, 30)
    write(folder / "few.jsonl", toy_records(19))
    (folder / "bad.jsonl").write_text("not a document\n")
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


def test_what_a_user_starts(place: Path) -> None:
    """Wake-sleep on a folder: read once, the same weights everywhere, saved once."""
    said = (place / "stderr").read_text()
    assert said.count("model saved in") == 1 and said.count("train.jsonl: 181 documents") == 1
    run = place / "run"
    assert not (run / "documents").exists()
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 30
    first, second = (checkpoint.load(place / f"network{rank}") for rank in range(2))
    for key, value in first.items():
        assert torch.equal(second[key], value), key

    from latentnlp import DocumentBeliefNetwork

    network = DocumentBeliefNetwork.load(run, device="cpu")
    assert len(subjects_of([*network.topic_words(1, 5), *network.topic_words(2, 5)])) >= 2
    assert network.score([one["text"] for one in toy_records(30, seed=3)]).per_document < 100


def test_every_process_ends_where_the_text_is_bad(place: Path) -> None:
    messages = [(place / f"message{rank}").read_text() for rank in range(2)]
    assert "bad.jsonl, line 1: not JSON" in messages[0]
    assert messages[1] == "the documents could not be read"
    assert not (place / "refused" / "documents").exists()


def test_two_processes_learn_what_one_learns(place: Path, tmp_path: Path) -> None:
    first, second = (checkpoint.load(place / f"rank{rank}") for rank in range(2))
    one = learnt(tmp_path / "one", place / "few.jsonl")
    assert len(one["metrics"]) == 3 and len(one["norms"]) == 12
    for other in (first, second):
        for name in ("norms", "metrics"):
            torch.testing.assert_close(
                torch.tensor(other[name]), torch.tensor(one[name]), rtol=1e-3, atol=1e-4
            )
        for key, value in one["weights"].items():
            torch.testing.assert_close(other["weights"][key], value, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(other["centre"], one["centre"], rtol=1e-3, atol=1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(CPU)
    here, rank = Path(sys.argv[1]), distributed.rank()
    checkpoint.save(here / f"rank{rank}", learnt(here / "two", here / "few.jsonl"))
    try:
        options = TrainOptions(out=here / "refused", train=str(here / "bad.jsonl"), device="cpu")
        train_command(options)
    except UserError as error:
        (here / f"message{rank}").write_text(str(error))
    overrides = (*SMALL, f"data.corpus={here / 'toy'}", "checkpoint_seconds=0")
    model = train_command(TrainOptions(out=here / "run", overrides=overrides, device="cpu"))
    checkpoint.save(here / f"network{rank}", model.network.state_dict())
