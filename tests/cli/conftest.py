"""The command run in this process, and one trained model for all tests that only read it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Command, Finished
from toy_corpus import FAST, ToyCorpus, toy_corpus

from latentnlp.cli import main


@pytest.fixture
def latentnlp(capsys: pytest.CaptureFixture[str]) -> Command:
    """``latentnlp("align", source, target)`` → exit code, stdout, stderr."""

    def run(*arguments: str | Path) -> Finished:
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        return Finished(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(latentnlp: Command) -> Callable[..., str]:
    """Run a command that must fail as bad input does; its message."""

    def run(*arguments: str | Path) -> str:
        code, out, err = latentnlp(*arguments)
        assert (code, out) == (2, ""), (code, out, err)
        assert err.startswith("latentnlp: error: "), err
        assert err.count("\n") == 1 and err.endswith("\n"), err
        assert "Traceback" not in err
        return err.removeprefix("latentnlp: error: ").rstrip("\n")

    return run


@pytest.fixture(scope="session")
def corpus() -> ToyCorpus:
    return toy_corpus()


@pytest.fixture(scope="session")
def trained(corpus: ToyCorpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run directory of ``align --model`` on `corpus`, not to be written to; and its links."""
    folder = tmp_path_factory.mktemp("trained")
    source, target = corpus.write(folder)
    links = folder / "links"
    model = folder / "run"
    arguments = ["align", source, target, "-o", str(links), "--model", str(model), "--quiet"]
    assert main([*arguments, *FAST]) == 0
    return model, links.read_text().splitlines()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
