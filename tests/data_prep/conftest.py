"""Runs the scripts of data_prep/ as a user does, and makes their shared modules importable."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "data_prep"


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``script("bible", "--out", folder, env={...})`` -> the finished process."""

    def call(name: str, *arguments: Any, env: dict[str, str] | None = None):
        command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, arguments)]
        # Additions of `env` come first on PYTHONPATH so that a test can put a module in the way.
        given = env or {}
        path = os.pathsep.join(filter(None, [given.get("PYTHONPATH"), str(ROOT)]))
        merged = os.environ | given | {"PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, env=merged, check=False)

    return call


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module data_prep/_common.py."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import _common

    yield _common


@pytest.fixture
def check_folder() -> Callable[[Path], dict[str, Any]]:
    """Checks a prepared folder against its own manifest, which it returns."""

    def check(folder: Path) -> dict[str, Any]:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert {p.name for p in folder.iterdir()} == {*manifest["files"], "manifest.json"}
        for name, facts in manifest["files"].items():
            content = (folder / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == facts["sha256"]
            text = content.decode("utf-8")
            assert text.count("\n") == facts["lines"]
            if name.endswith(".gold"):
                links = text.split()
                assert sum("p" in link for link in links) == facts["possible"]
                assert sum("-" in link for link in links) == facts["sure"]
            elif name.endswith(".jsonl"):
                documents = map(json.loads, text.removesuffix("\n").split("\n"))
                assert sum(len(document["tokens"]) for document in documents) == facts["tokens"]
            else:
                assert len(text.split()) == facts["tokens"]
        for key in ("name", "languages", "source", "licence", "notes", "date", "command"):
            assert key in manifest
        return manifest

    return check


@pytest.fixture
def refused() -> Callable[..., str]:
    """Asserts one line ``error: ...`` with status 2 and nothing written; returns the line."""

    def check(done: subprocess.CompletedProcess[str], out: Path | None = None) -> str:
        assert done.returncode == 2, done.stdout + done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        if out is not None:
            assert not out.exists()
            assert not list(out.parent.glob(f".{out.name}*"))
        return done.stderr

    return check
