from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from latentnlp import config
from latentnlp.errors import UserError


@dataclass(frozen=True)
class Train:
    epochs: int = 5
    rate: float = 0.1
    patience: int | None = 3
    optimizer: Literal["adam", "sgd"] = "adam"

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError("epochs must not be negative")


@dataclass(frozen=True)
class Recipe:
    name: str
    out: Path | None = None
    amp: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    stages: tuple[str, ...] = ()
    train: Train = field(default_factory=Train)


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, *overrides: str) -> str:
    path = write(folder, text)
    with pytest.raises(UserError) as error:
        config.load(Recipe, path, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def test_every_kind_of_value(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        name = "demo"
        out = "runs/demo"
        amp = true
        betas = [0, 0.5]
        stages = ["ibm1", "hmm"]
        [train]
        rate = 1
        patience = "none"
        optimizer = "sgd"
        """,
    )
    expected = Recipe(
        "demo",
        Path("runs/demo"),
        True,
        (0.0, 0.5),
        ("ibm1", "hmm"),
        Train(5, 1.0, None, "sgd"),
    )
    got = config.load(Recipe, path)
    assert got == expected
    assert isinstance(got.train.rate, float)


def test_json_round_trip(tmp_path: Path) -> None:
    recipe = Recipe("x", Path("a/b"), stages=("s",), train=Train(patience=None))
    values = json.loads(json.dumps(config.to_dict(recipe)))
    assert config.from_dict(Recipe, values, "config.json") == recipe
    values["train"]["epoch"] = 3
    with pytest.raises(UserError, match=r"^config.json: unknown key 'train.epoch'"):
        config.from_dict(Recipe, values, "config.json")


def test_overrides_go_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "a"\n[train]\nepochs = 2\n')
    overrides = ["train.epochs=7", "name=plain words", "train.rate = 1e-3", 'stages=["x", "y"]']
    got = config.load(Recipe, path, overrides)
    assert (got.train.epochs, got.name, got.train.rate) == (7, "plain words", 1e-3)
    assert got.stages == ("x", "y")
    assert config.load(Recipe, None, ["name=only", "train={epochs=1}"]).train.epochs == 1
    assert config.load(Recipe, path, ["train.patience=none"]).train.patience is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name='a'\n[train]\nepoch=1", "FILE: unknown key 'train.epoch'; did you mean 'epochs'?"),
        ("name='a'\n[trian]\nepochs=1", "FILE: unknown key 'trian'; did you mean 'train'?"),
        ("amp=true", "FILE: key 'name' is missing (a string)"),
        ("name=3", "FILE: 'name' must be a string, found an integer (3)"),
        ("name='a'\namp=1", "FILE: 'amp' must be true or false, found an integer (1)"),
        (
            "name='a'\n[train]\nepochs=true",
            "FILE: 'train.epochs' must be an integer, found true or false (True)",
        ),
        (
            "name='a'\n[train]\nepochs=1.5",
            "FILE: 'train.epochs' must be an integer, found a number (1.5)",
        ),
        ("name='a'\ntrain=1", "FILE: 'train' must be a table, found an integer (1)"),
        ("name='a'\nstages='x'", "FILE: 'stages' must be an array, found a string ('x')"),
        ("name='a'\nstages=[1]", "FILE: 'stages[0]' must be a string, found an integer (1)"),
        ("name='a'\nbetas=[1]", "FILE: 'betas' must hold 2 values, found 1"),
        ("name='a'\n[train]\nepochs=-1", "FILE: [train]: epochs must not be negative"),
        (
            "name='a'\n[train]\noptimizer='adm'",
            "FILE: 'train.optimizer' must be one of 'adam', 'sgd', not 'adm'; did you mean 'adam'?",
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert refused(tmp_path, text) == expected


def test_refused_overrides_name_themselves(tmp_path: Path) -> None:
    good = "name='a'"
    assert refused(tmp_path, good, "train.epoch=3").startswith("--set train.epoch=3: unknown key")
    assert refused(tmp_path, good, "tran.rate=3").startswith("--set tran.rate=3: unknown key")
    assert refused(tmp_path, good, "train.epochs=x").startswith("--set train.epochs=x: 'train.e")
    assert refused(tmp_path, good, "train={epochs=''}").startswith("--set train={epochs=''}: 't")
    assert refused(tmp_path, good, "name.x=3") == "--set name.x=3: 'name' is a value, not a table"
    assert "expected key=value" in refused(tmp_path, good, "epochs")
    assert "--set train.epochs=-1" in refused(tmp_path, good, "train.epochs=-1")


def test_bad_files(tmp_path: Path) -> None:
    assert refused(tmp_path, "name = 'a'\nx = = 3").startswith("FILE:2: not valid TOML")
    assert refused(tmp_path, "name = 'a'\n[train").startswith("FILE:2: not valid TOML")
    with pytest.raises(UserError, match="no such configuration file"):
        config.load(Recipe, tmp_path / "absent.toml")
    with pytest.raises(UserError, match="cannot be read"):
        config.load(Recipe, tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b"name = '\xe9'")
    with pytest.raises(UserError, match="not UTF-8 at byte 8"):
        config.load(Recipe, path)


def test_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, latentnlp.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    steps: int = 5


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=lambda: Inner(rate=0.1))


def test_a_table_changes_only_what_it_names() -> None:
    """The other keys keep the defaults of the section that holds the table, not of its class."""
    assert config.load(Outer, None, ["inner.steps=7"]).inner == Inner(rate=0.1, steps=7)
    assert config.from_dict(Outer, {"inner": {}}, "here").inner == Inner(rate=0.1)
