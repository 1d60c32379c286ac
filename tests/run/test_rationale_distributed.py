"""Two gloo processes under torchrun learn to select what one process learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from toy_documents import SMALL, found_it, toy_documents, write_corpus

from latentnlp import checkpoint, distributed
from latentnlp import config as configuration
from latentnlp.run import RunDirectory, seed_everything
from latentnlp.tasks.rationale import RationaleConfig, train
from latentnlp.tasks.rationale_commands import TrainOptions, train_command

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
# Nothing is left to chance: whole texts, no dropout, and the expectation over all 2^5 selections.
CERTAIN = (
    *SMALL,
    "model.unknown=0",
    "model.predictor_dropout=0",
    "predictor.epochs=2",
    "predictor.documents=6",
    "predictor.learner.least_kept=1",
    "predictor.learner.learning_rate=0.01",
    "rationale.epochs=2",
    "rationale.documents=6",
    "rationale.learner.estimator.name=enumeration",
    "rationale.learner.contiguity=0.1",
)


def learnt(folder: Path) -> dict[str, Any]:
    """The weights, the metrics, and the size of every step's gradient: Adam would hide it if all
    of them were doubled. 19 texts in batches of 6: the last one leaves a process without a text."""
    config = configuration.load(RationaleConfig, None, CERTAIN)
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def recording(*arguments: Any, **options: Any) -> torch.Tensor:
        norm = clip(*arguments, **options)
        norms.append(float(norm))
        return norm

    seed_everything(config.seed)
    torch.nn.utils.clip_grad_norm_ = recording
    try:
        run = RunDirectory.create(folder, config)
        documents, dev = toy_documents(19), toy_documents(8, seed=2)
        model = train(config, documents, run, CPU, dev, progress=False)
        distributed.barrier()
    finally:
        torch.nn.utils.clip_grad_norm_ = clip
    kept = ("log_likelihood_per_document", "selected_per_document", "multiplier_per_document")
    return {
        "norms": norms,
        "weights": model.network.state_dict(),
        "threshold": model.threshold,
        "metrics": [[one.get(name, 0.0) for name in (*kept, "dev_error")] for one in run.records()],
    }


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    write_corpus(tmp_path / "toy", 161, 40, 40)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [*command, str(Path(__file__).resolve()), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (checkpoint.load(tmp_path / f"rank{rank}") for rank in range(2))
    one = learnt(tmp_path / "one")
    assert len(one["norms"]) == 16 and len(one["metrics"]) == 4
    close = {"rtol": 1e-3, "atol": 1e-4}
    for other in (first, second):
        torch.testing.assert_close(
            torch.tensor(other["norms"]), torch.tensor(one["norms"]), **close
        )
        assert abs(other["threshold"] - one["threshold"]) < 1e-3
        assert other["weights"].keys() == one["weights"].keys()
        for key, value in one["weights"].items():
            torch.testing.assert_close(
                other["weights"][key], value, **close, msg=lambda m, k=key: f"{k}: {m}"
            )
            assert torch.equal(first["weights"][key], second["weights"][key]), key
    torch.testing.assert_close(
        torch.tensor(first["metrics"]), torch.tensor(one["metrics"]), **close
    )

    # What a user starts: with sampled selections, saved once.
    run = tmp_path / "run"
    assert done.stderr.count("model saved in") == 1
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["stage"] for record in records] == ["predictor"] * 4 + ["rationale"] * 5
    from latentnlp import RationaleExtractor

    documents = toy_documents(40, seed=3)
    extractor = RationaleExtractor.load(run, device="cpu")
    assert found_it(extractor.extract(documents), documents) > 0.7
    assert extractor.score(documents, [one.label for one in documents]).accuracy > 0.8  # type: ignore


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.setup(CPU)
    place = Path(sys.argv[1])
    checkpoint.save(place / f"rank{distributed.rank()}", learnt(place / "two"))
    overrides = (*SMALL, f"data.corpus={place / 'toy'}", "checkpoint_seconds=0")
    train_command(TrainOptions(out=place / "run", overrides=overrides, device="cpu"))
