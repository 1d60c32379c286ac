"""`tasks.rationale.train`: where it begins, how long it goes on, what a run folder remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_documents import SMALL, found_it, toy_documents

from latentnlp import config as configuration
from latentnlp.data.documents import Document
from latentnlp.run import RunDirectory, seed_everything
from latentnlp.tasks.rationale import (
    PredictorStage,
    RationaleConfig,
    RationaleStage,
    epochs_of,
    extract,
    fingerprint,
    train,
)
from latentnlp.tasks.rationale_model import RationaleModel

CPU = torch.device("cpu")
TRAINING, DEV = toy_documents(160), toy_documents(40, seed=2)


def trained(
    folder: Path, settings: Iterable[str] = (), start: dict[str, torch.Tensor] | None = None
) -> RationaleModel:
    config = configuration.load(RationaleConfig, None, [*SMALL, *settings])
    seed_everything(1)
    run = RunDirectory.create(folder, config, seed=1)
    model = train(config, TRAINING, run, CPU, DEV, progress=False, start=start)
    run.close()
    return model


UNTRAINED = ("predictor.epochs=0", "rationale.epochs=0")


def test_a_start_is_where_training_begins(tmp_path: Path) -> None:
    learnt = trained(tmp_path / "learnt")
    state = {name: value.clone() for name, value in learnt.network.state_dict().items()}
    assert found_it(list(extract(learnt, DEV)), DEV) > 0.7
    nothing = trained(tmp_path / "nothing", UNTRAINED)
    assert found_it(list(extract(nothing, DEV)), DEV) < 0.6

    # Without a stage the start stays as it is, and says what it said.
    kept = trained(tmp_path / "kept", UNTRAINED, state)
    assert list(extract(kept, DEV)) == list(extract(learnt, DEV))
    # A stage goes on from it: with no rate of learning it comes back, from nothing it does not.
    still = ("rationale.learner.learning_rate=0", "rationale.learner.predictor_learning_rate=0")
    stage = ("predictor.epochs=0", "rationale.epochs=1", *still)
    again = trained(tmp_path / "again", stage, state)
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, state[name], msg=name)


def test_a_start_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = trained(tmp_path / "other", [*UNTRAINED, "model.embedding=8"]).network.state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        trained(tmp_path / "run", UNTRAINED, other)


@pytest.mark.parametrize(("batches", "epochs"), [(5, 200), (100, 10), (10_000, 3)])
def test_the_epochs_follow_the_corpus(batches: int, epochs: int) -> None:
    for stage in (PredictorStage, RationaleStage):
        assert epochs_of(stage(), range(batches)) == epochs
        assert epochs_of(stage(epochs=50), range(batches)) == 50


def test_the_fingerprint_sees_all_that_is_learnt_from() -> None:
    one = Document("d", ("a", ".", "b"), "x", sentence_starts=(0, 2))
    seen = {
        fingerprint([[changed]])
        for changed in (
            one,
            replace(one, tokens=("a", ".", "c")),
            replace(one, label="y"),
            replace(one, aspect=(0, 1)),
            replace(one, sentence_starts=(0, 1)),
        )
    }
    assert len(seen) == 5
    # Human marks are never learnt from, nor are names.
    assert fingerprint([[replace(one, id="e", rationale=((0, 1),))]]) == fingerprint([[one]])
