from __future__ import annotations

import builtins
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_learner import ToyConfig

from latentnlp.errors import UserError
from latentnlp.run import RunDirectory, pick_device, seed_everything


@dataclass(frozen=True)
class Nested:
    toy: ToyConfig = field(default_factory=ToyConfig)
    folder: Path | None = Path("data")


def test_a_new_directory_holds_what_was_run(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    RunDirectory.create(path, Nested(), seed=7)
    config = json.loads((path / "config.json").read_text())
    assert config == {"toy": {"seed": 1, "epochs": 3}, "folder": "data"}
    environment = json.loads((path / "environment.json").read_text())
    assert environment["seed"] == 7 and environment["torch"] == torch.__version__
    assert (path / "checkpoints").is_dir()
    RunDirectory.create(path, Nested())  # the same: it may go on


def test_another_configuration_is_refused_by_its_keys(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "r", Nested()).metrics({"stage": "s", "epoch": 1})
    with pytest.raises(UserError) as error:
        RunDirectory.create(tmp_path / "r", Nested(ToyConfig(seed=2), None))
    message = str(error.value)
    assert "folder ('data' there, None here), toy.seed (1 there, 2 here)" in message
    assert "toy.epochs" not in message
    with pytest.raises(UserError, match="already holds a run"):
        RunDirectory.create(tmp_path / "r", Nested(), resume=False)


def test_a_run_that_saved_nothing_gives_way(tmp_path: Path) -> None:
    """Its text could not be read, say: the next try may well have other settings."""
    RunDirectory.create(tmp_path / "r", Nested())
    RunDirectory.create(tmp_path / "r", Nested(ToyConfig(seed=2), None))
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config == {"toy": {"seed": 2, "epochs": 3}, "folder": None}


def test_bad_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: could not be saved \(.*\); choose another place"):
        RunDirectory.create(tmp_path / "file", Nested())
    RunDirectory.create(tmp_path / "r", Nested())
    (tmp_path / "r" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: damaged"):
        RunDirectory.create(tmp_path / "r", Nested())


def test_metrics_tolerate_a_half_written_line(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "r", Nested())
    for epoch in range(3):
        run.metrics({"stage": "s", "epoch": epoch, "value": torch.tensor(0.5)})
    path = tmp_path / "r" / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"stage": "s", "ep')
    RunDirectory.create(tmp_path / "r", Nested())
    assert path.read_text() == whole
    run.truncate_metrics(lambda record: record["epoch"] < 1)
    assert run.records() == [{"stage": "s", "epoch": 0, "value": 0.5}]


def test_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path / "r", Nested())
    run.log("hello")
    run.log("quiet", echo=False)
    said = capsys.readouterr()
    assert said.err == "hello\n" and said.out == ""
    lines = (tmp_path / "r" / "train.log").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["hello", "quiet"]


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = RunDirectory.create(tmp_path / "r", Nested())
    run.log("x")
    run.metrics({"x": 1})
    assert list(tmp_path.iterdir()) == []


def test_seeds() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert draw() != first


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="use --device cpu"):
        pick_device("cuda")
    with pytest.raises(UserError, match="unknown device 'tpu'"):
        pick_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="there are only 2"):
        pick_device("cuda")


def test_tensorboard_absent_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = builtins.__import__

    def no_tensorboard(name: str, *rest: Any, **more: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ImportError(name)
        return really(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_tensorboard)
    with pytest.raises(UserError, match=r"pip install 'latentnlp\[tensorboard\]'"):
        RunDirectory.create(tmp_path / "r", Nested(), tensorboard=True)


def test_tensorboard_is_rebuilt_from_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is opened anew after a truncation, and shows every record once."""
    opened: list[list[tuple[str, float, int]]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            opened.append([])

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            opened[-1].append((tag, value, step))

        def flush(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr("latentnlp.run._summary_writer", lambda: Writer)
    run = RunDirectory.create(tmp_path / "r", Nested(), tensorboard=True)
    for epoch in (1, 2):
        run.metrics({"stage": "s", "epoch": epoch, "value": epoch / 2})
    run.truncate_metrics(lambda record: record["epoch"] < 2)
    run.metrics({"stage": "s", "epoch": 2, "value": 9.0})
    assert opened[0] == [("s/value", 0.5, 1), ("s/value", 1.0, 2)]
    assert opened[1] == [("s/value", 0.5, 1), ("s/value", 9.0, 2)]
