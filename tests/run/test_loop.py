from __future__ import annotations

import io
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_learner import ToyBatches, ToyConfig, ToyLearner, train, untimed

from latentnlp.checkpoint import CheckpointStore, load
from latentnlp.errors import UserError
from latentnlp.loop import FitResult, fit
from latentnlp.run import RunDirectory, seed_everything


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forcing every checkpoint to the disk takes most of the time; test_checkpoint.py does that."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def start(path: Path, optimizer: str = "adam") -> tuple[RunDirectory, ToyLearner]:
    seed_everything(11)
    return RunDirectory.create(path, ToyConfig()), ToyLearner(optimizer)


class Dev:
    """Gives the listed values of the dev metric, one an epoch."""

    def __init__(self, run: RunDirectory, values: list[float]) -> None:
        self.run, self.values = run, values

    def __call__(self) -> dict[str, float]:
        return {"aer": self.values[len(self.run.records())]}


def test_the_record_of_an_epoch(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    result = fit(learner, ToyBatches(), run=run, stage="s", epochs=2, validate=learner.validate)
    first, second = run.records()
    assert (first["stage"], first["epoch"], first["step"]) == ("s", 1, 7)
    assert (second["epoch"], second["step"]) == (2, 14)
    assert {"norm", "dev_noise", "seconds", "tokens_per_second"} <= first.keys()
    assert first["perplexity"] == pytest.approx(math.exp(-first["log_likelihood_per_token"]))
    assert result == FitResult("s", 2, 14, None, None, second)


def test_sums_are_those_of_the_steps(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    total, step = [], learner.step

    def spy(batch: Any) -> dict[str, torch.Tensor]:
        values = step(batch)
        total.append(float(values["log_likelihood"]))
        return values

    learner.step = spy
    fit(learner, ToyBatches(5), run=run, stage="s", epochs=1, checkpoint_seconds=0.0)
    assert run.records()[0]["log_likelihood_per_token"] == sum(total) / 40


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("stop_at", [0, 1, 6, 7, 8, 13, 17])
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0])
def test_an_interrupted_run_ends_with_the_same_bits(
    tmp_path: Path, optimizer: str, stop_at: int, checkpoint_seconds: float
) -> None:
    options: dict[str, Any] = {
        "stage": "s",
        "epochs": 3,
        "checkpoint_seconds": checkpoint_seconds,
        "select_on": "dev_noise",
        "progress": False,
    }
    run, whole = start(tmp_path / "whole", optimizer)
    expected = fit(whole, ToyBatches(), run=run, validate=whole.validate, **options)

    run, learner = start(tmp_path / "parts", optimizer)
    learner.stop_at = stop_at
    with pytest.raises(SystemExit) as stopped:
        fit(learner, ToyBatches(), run=run, validate=learner.validate, **options)
    assert stopped.value.code == 130
    assert "the same command resumes" in (tmp_path / "parts" / "train.log").read_text()

    run, learner = start(tmp_path / "parts", optimizer)
    got = fit(learner, ToyBatches(), run=run, validate=learner.validate, **options)
    assert torch.equal(learner.flat(), whole.flat())
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "whole")
    assert (got.best_epoch, got.best_metric) == (expected.best_epoch, expected.best_metric)
    assert torch.rand(()) == _next_number(run)
    done_over = 0 if stop_at == 0 else 1 if checkpoint_seconds == 0 else stop_at // 7 * 7
    assert learner.steps <= 21 - done_over + 1


def _next_number(run: RunDirectory) -> torch.Tensor:
    """What torch draws next according to the stage's last checkpoint."""
    torch.set_rng_state(run.checkpoints.load("s")["random"][0])
    return torch.rand(())


@pytest.mark.parametrize("moment", range(6))
def test_a_death_between_the_record_and_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """The record of an epoch without its checkpoint is dropped and written again: once."""
    monkeypatch.setattr(ToyLearner, "mid_epoch_checkpoints", False, raising=False)
    _, expected = train(tmp_path / "whole", ToyConfig(), checkpoint_seconds=0.0)
    really, calls = CheckpointStore.save, 0

    def save(store: CheckpointStore, *state: Any, **more: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls == moment + 1:
            raise KeyboardInterrupt
        return really(store, *state, **more)

    monkeypatch.setattr(CheckpointStore, "save", save)
    with pytest.raises(SystemExit):
        train(tmp_path / "parts", ToyConfig(), checkpoint_seconds=0.0)
    _, got = train(tmp_path / "parts", ToyConfig(), checkpoint_seconds=0.0)
    assert torch.equal(got, expected)
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "whole")


def test_no_checkpoint_inside_an_epoch_where_the_learner_forbids_it(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    learner.mid_epoch_checkpoints = False  # type: ignore[attr-defined]
    learner.stop_at = 10
    with pytest.raises(SystemExit):
        fit(learner, ToyBatches(), run=run, stage="s", epochs=3, checkpoint_seconds=0.0)
    progress = run.checkpoints.load("s")["progress"]
    assert (progress["epoch"], progress["position"]) == (1, 0)


def test_a_done_stage_is_loaded_and_not_trained(tmp_path: Path) -> None:
    first_result, first = train(tmp_path / "r", ToyConfig())
    lines = untimed(tmp_path / "r")
    again_result, again = train(tmp_path / "r", ToyConfig())
    assert torch.equal(first, again) and again_result == first_result
    assert untimed(tmp_path / "r") == lines and len(lines) == 6
    index = RunDirectory(tmp_path / "r").checkpoints
    folders = {p.name for p in index.folder.iterdir()} - {"index.json"}
    assert len(folders) == 2  # one a stage


def test_early_stop_and_the_best_parts(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    seen = []

    def validate() -> dict[str, float]:
        seen.append(learner.flat())
        return {"aer": [0.5, 0.3, 0.4, 0.3, 0.2][len(seen) - 1]}

    options: dict[str, Any] = {"stage": "s", "epochs": 9, "select_on": "aer", "patience": 2}
    result = fit(learner, ToyBatches(), run=run, validate=validate, **options)
    assert (result.epochs, result.best_epoch, result.best_metric) == (4, 2, 0.3)
    assert result.metrics["aer"] == 0.3 and result.metrics["epoch"] == 2
    assert torch.equal(learner.flat(), seen[1])
    assert len(run.records()) == 4
    path = run.checkpoints.path("s", "best")
    assert path is not None
    saved = load(path)["parts"]["model"]
    assert torch.equal(torch.cat([t.flatten() for t in saved.values()]), seen[1])


def test_a_dev_metric_that_is_not_a_number_is_never_best(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    dev = Dev(run, [math.nan, 0.4, math.nan])
    options: dict[str, Any] = {"stage": "s", "epochs": 3, "select_on": "aer"}
    result = fit(learner, ToyBatches(), run=run, validate=dev, **options)
    assert (result.best_epoch, result.best_metric) == (2, 0.4)
    run, learner = start(tmp_path / "q")
    dev = Dev(run, [math.nan] * 3)
    result = fit(learner, ToyBatches(), run=run, validate=dev, patience=2, **options)
    assert (result.epochs, result.best_epoch) == (2, None)


@pytest.mark.parametrize("mid_epoch", [True, False])
def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, mid_epoch: bool) -> None:
    run, learner = start(tmp_path / "r")
    learner.mid_epoch_checkpoints = mid_epoch  # type: ignore[attr-defined]
    batches = ToyBatches(poison=(1, 3))  # epoch 2, step 7 + 4
    with pytest.raises(UserError) as error:
        fit(
            learner,
            batches,
            run=run,
            stage="s",
            epochs=3,
            checkpoint_seconds=0.0,
        )
    message = str(error.value)
    last = run.checkpoints.path("s")
    assert "log-likelihood is not finite in stage 's', epoch 2, step 11" in message
    assert f"the last good checkpoint is {last}" in message and "\n" not in message
    state = run.checkpoints.load("s")
    assert all(torch.isfinite(t).all() for t in state["parts"]["model"].values())
    assert state["progress"]["position"] == (3 if mid_epoch else 0)
    assert len(run.records()) == 1


def test_nan_loss_is_seen_at_log_points(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    with pytest.raises(UserError, match=r"epoch 1, step 3; no checkpoint was saved before"):
        fit(
            learner,
            ToyBatches(poison=(0, 2)),
            run=run,
            stage="s",
            epochs=1,
            log_every_seconds=0.0,
        )
    assert learner.steps == 3


def test_nan_parameters_are_never_saved(tmp_path: Path) -> None:
    """The likelihood of the last step is still finite: the parameters became NaN after it."""
    run, learner = start(tmp_path / "r")
    learner.mid_epoch_checkpoints = False  # type: ignore[attr-defined]
    learner.spoil_at = 7
    with pytest.raises(UserError, match=r"parameter model\.0\.weight is not finite.*step 7;"):
        fit(learner, ToyBatches(), run=run, stage="s", epochs=3, checkpoint_seconds=0.0)
    assert run.checkpoints.entry("s") is None
    assert not run.checkpoints.folder.exists() or not list(run.checkpoints.folder.iterdir())


def test_log_of_zero_in_a_buffer_may_be_saved(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    learner.model.register_buffer("table", torch.tensor([-math.inf, 0.0]))
    fit(learner, ToyBatches(), run=run, stage="s", epochs=1)
    saved = run.checkpoints.load("s")["parts"]["model"]["table"]
    assert saved.tolist() == [-math.inf, 0.0]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    options: dict[str, Any] = {"run": run, "stage": "s", "epochs": 1}
    fit(learner, ToyBatches(), **options)
    with pytest.raises(UserError, match="made on 7 batches and there are 8 now"):
        fit(learner, ToyBatches(8), **options)
    with pytest.raises(UserError, match=r"part 'model' does not fit.*size mismatch") as error:
        fit(ToyLearner(width=3), ToyBatches(), **options)
    assert "\n" not in str(error.value)
    learner.parts = lambda: {"other": learner.model}
    with pytest.raises(UserError, match="holds the parts model, optimizer, not other"):
        fit(learner, ToyBatches(), **options)


def test_bad_arguments(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    options: dict[str, Any] = {"run": run, "stage": "s", "epochs": 1}
    with pytest.raises(UserError, match="needs a dev set"):
        fit(learner, ToyBatches(), select_on="aer", **options)
    with pytest.raises(UserError, match="patience needs a dev metric"):
        fit(learner, ToyBatches(), patience=1, **options)
    with pytest.raises(UserError, match="nothing to train on"):
        fit(learner, ToyBatches(0), **options)
    with pytest.raises(UserError, match="no dev metric 'aer' to select on; there are: dev_noise"):
        fit(learner, ToyBatches(), validate=learner.validate, select_on="aer", **options)


def test_zero_epochs_leave_the_learner_as_it_is(tmp_path: Path) -> None:
    run, learner = start(tmp_path / "r")
    before = learner.flat()
    result = fit(learner, ToyBatches(), run=run, stage="s", epochs=0)
    assert torch.equal(learner.flat(), before) and result.steps == 0
    entry = run.checkpoints.entry("s")
    assert entry is not None and entry.done


def test_a_line_an_epoch_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, learner = start(tmp_path / "r")
    fit(learner, ToyBatches(), run=run, stage="s", epochs=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.match(r"s epoch 1 step 7/14 log_likelihood_per_token=-\S+ .*ETA \d\d:\d\d$", lines[0])
    fit(learner, ToyBatches(), run=run, stage="quiet", epochs=1, progress=False)
    assert capsys.readouterr().err == ""
    assert "quiet epoch 1" in (tmp_path / "r" / "train.log").read_text()


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run, learner = start(tmp_path / "r")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    fit(learner, ToyBatches(), run=run, stage="s", epochs=2, log_every_seconds=0.0)
    assert "14/14" in terminal.getvalue() and "log-likelihood/token -" in terminal.getvalue()
    assert "\ns epoch" not in terminal.getvalue()


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, learner = start(tmp_path / "r")
    fit(learner, ToyBatches(), run=run, stage="s", epochs=1)

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentnlp.checkpoint.save_file", refuse)
    with pytest.raises(UserError, match=r"No space left on device\); disk full\?"):
        fit(learner, ToyBatches(), run=run, stage="t", epochs=1)
    monkeypatch.undo()
    assert run.checkpoints.load("s")["progress"]["epoch"] == 1
    assert run.checkpoints.entry("t") is None
