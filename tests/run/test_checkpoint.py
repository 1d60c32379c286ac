from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latentnlp import checkpoint
from latentnlp.checkpoint import CheckpointStore, load, save
from latentnlp.errors import UserError


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        equal = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return equal and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_of_every_kind(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "dtypes": [
            torch.tensor([True, False]),
            torch.tensor([1, -(2**60)]),
            torch.tensor([1.5, -torch.inf]).to(torch.bfloat16),
            torch.randn(2, dtype=torch.float64),
            torch.tensor([1, 2], dtype=torch.uint8),
        ],
        "shapes": (torch.tensor(3.0), torch.empty(0), torch.empty(2, 0, 3)),
        "shared": {"whole": base, "row": base[1], "column": base[:, 2], "transposed": base.T},
        "plain": [None, True, 0, 2**80, 0.1, float("inf"), "ünï", (), [], {}],
        "keys": {1: "int", "1": "string", ("a", 2): torch.ones(1), None: 3},
        "$tensor": "a string that looks like ours",
        "clash": {1: torch.ones(1), "1": torch.zeros(1)},
    }
    save(tmp_path / "c", state)
    assert same(load(tmp_path / "c"), state)
    assert names(tmp_path) == ["c"]
    assert names(tmp_path / "c") == ["state.json", "tensors.safetensors"]


def test_round_trip_without_tensors_and_of_one(tmp_path: Path) -> None:
    save(tmp_path / "c", {"n": 3})
    assert load(tmp_path / "c") == {"n": 3}
    save(tmp_path / "c", torch.eye(2))  # over the old one
    assert same(load(tmp_path / "c"), torch.eye(2))
    assert names(tmp_path) == ["c"]


def test_an_optimizer_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def build() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(3)
        model = nn.Linear(3, 2)
        return model, torch.optim.Adam(model.parameters(), lr=0.1)

    def step(model: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = build()
    step(model, optimizer)
    save(tmp_path / "c", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    step(model, optimizer)
    again, its_optimizer = build()
    state = load(tmp_path / "c")
    again.load_state_dict(state["model"])
    its_optimizer.load_state_dict(state["optimizer"])
    step(again, its_optimizer)
    assert torch.equal(model.weight, again.weight)
    assert same(optimizer.state_dict(), its_optimizer.state_dict())


def test_what_cannot_be_held_is_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a/b: a checkpoint cannot hold a set"):
        save(tmp_path / "c", {"a": {"b": {1}}})
    assert names(tmp_path) == []


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    assert "no such checkpoint folder" in refused(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    assert "no such checkpoint folder" in refused(tmp_path / "file")
    assert "not a checkpoint (it has no state.json)" in refused(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("how", ["cut", "emptied", "one bit", "removed"])
def test_damaged(tmp_path: Path, name: str, how: str) -> None:
    save(tmp_path / "c", {"a": torch.arange(100)})
    path = tmp_path / "c" / name
    data = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        middle = bytes([data[-40] ^ 0x81])
        spoiled = data[:-40] + middle + data[-39:]
        path.write_bytes({"cut": data[:-7], "emptied": b"", "one bit": spoiled}[how])
    expected = "not a checkpoint" if (name, how) == ("state.json", "removed") else "damaged"
    assert expected in refused(tmp_path / "c")


def test_newer_version(tmp_path: Path) -> None:
    save(tmp_path / "c", {})
    path = tmp_path / "c" / "state.json"
    document = json.loads(path.read_text()) | {"format_version": 2}
    path.write_text(json.dumps(document))
    assert "written by a newer latentnlp (format 2, this one reads up to 1)" in refused(
        tmp_path / "c"
    )


def test_what_a_killed_process_left_is_tidied(tmp_path: Path) -> None:
    save(tmp_path / "c", {"n": 1})
    (tmp_path / ".c.tmp").mkdir()
    (tmp_path / ".c.tmp" / "tensors.safetensors").write_bytes(b"half")
    save(tmp_path / "c", {"n": 2})
    assert load(tmp_path / "c") == {"n": 2} and names(tmp_path) == ["c"]
    # Killed between the two renames: the old one is still beside its place.
    os.replace(tmp_path / "c", tmp_path / ".c.previous")
    assert load(tmp_path / "c") == {"n": 2} and names(tmp_path) == ["c"]


# -------------------------------------------------------------------------------------- disk full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    save(small_disk / "c", {"a": torch.ones(1000)})
    with pytest.raises(UserError, match=r"No space left.*disk full\?.*nothing already saved") as e:
        save(small_disk / "c", {"a": torch.zeros(10**6)})
    assert "\n" not in str(e.value)
    assert same(load(small_disk / "c"), {"a": torch.ones(1000)})
    assert names(small_disk) == ["c"]
    store = CheckpointStore(small_disk / "checkpoints")
    store.save("s", {"a": torch.ones(1000)}, best=True)
    with pytest.raises(UserError, match=r"disk full\?"):
        store.save("s", {"a": torch.zeros(10**6)}, best=True)
    assert same(store.load("s", "best"), {"a": torch.ones(1000)})
    assert names(store.folder) == ["index.json", "s-000001"]


@pytest.mark.parametrize("moment", range(6))
def test_a_full_disk_at_every_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Whichever write the disk refuses, what was saved before is still there, whole."""
    store = CheckpointStore(tmp_path)
    store.save("s", {"a": torch.ones(3)}, best=True)
    calls = 0
    really = os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == moment + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(handle)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    with pytest.raises(UserError, match=r"disk full\?"):
        store.save("s", {"a": torch.zeros(3)})
    monkeypatch.undo()
    assert same(store.load("s", "best"), {"a": torch.ones(3)})
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    store.sweep()
    # The sixth comes after the index was replaced: last and best are two folders then.
    assert len(names(tmp_path)) == (3 if moment == 5 else 2)


# ------------------------------------------------------------------------------------------ store


def test_store_keeps_last_and_best_and_nothing_else(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.entry("a") is None and store.path("a", "best") is None
    with pytest.raises(UserError, match="no last checkpoint of stage 'a'"):
        store.load("a")
    for n in range(4):
        store.save("a", n, best=n == 1, best_metric=1 / (n + 1), done=n == 3)
    store.save("b/forward", "other", done=False)
    entry = store.entry("a")
    assert entry is not None and entry.best_metric == 0.5 and entry.done
    assert (store.load("a"), store.load("a", "best"), store.load("b/forward")) == (3, 1, "other")
    assert names(store.folder) == ["a-000002", "a-000004", "b_forward-000005", "index.json"]


def test_store_sweeps_only_what_is_its_own(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save("a", 1)
    for name in ("a-000002", ".a-000003.tmp", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("")
    store.sweep()
    assert names(tmp_path) == ["a-000001", "index.json", "mine", "notes.txt"]


def test_store_with_a_bad_index(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for text in ("{", "[]", '{"format_version": 1}', '{"format_version": 1, "stages": {"a": 3}}'):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(UserError, match=r"index\.json: damaged"):
            store.entry("a")
    (tmp_path / "index.json").write_text('{"format_version": 9}')
    with pytest.raises(UserError, match="newer latentnlp"):
        store.entry("a")
