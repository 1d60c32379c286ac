"""The command as a process: how fast it answers, and how it ends when nobody listens."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import Command
from toy_corpus import ToyCorpus

import latentnlp as package
from latentnlp.cli import main

LATENTNLP = [sys.executable, "-m", "latentnlp"]
HEAVY = ("torch", "numpy", "sentencepiece", "safetensors", "tqdm")


def test_help_answers_at_once() -> None:
    """The best of three, for other processes may be at work."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([*LATENTNLP, "align", "--help"], capture_output=True, text=True)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0 and "--decode" in done.stdout
    assert min(seconds) < 0.5, seconds


def test_help_does_not_import_what_only_work_needs() -> None:
    code = f"""
import sys
from latentnlp.cli import main
for arguments in (["--help"], ["align", "--help"], ["evaluate", "alignment", "--help"]):
    try:
        main(arguments)
    except SystemExit as stop:
        assert stop.code == 0
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for word in ("align", "evaluate", "--threshold", "--gold-base"):
        assert word in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"latentnlp {package.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["align"], ["align", "a", "b", "--decode", "best"], ["evaluate"], ["align", "a", "--bad"]],
)
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage: latentnlp") and "error: " in err


def into_nothing(arguments: list[str | Path], output: int) -> tuple[int, str]:
    """Exit code and stderr; with the buffer that stdout has by default."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*LATENTNLP, *map(str, arguments)],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


@pytest.fixture
def evaluate(corpus: ToyCorpus, trained: tuple[Path, list[str]], tmp_path: Path) -> list[str]:
    links = tmp_path / "links"
    links.write_text("\n".join(trained[1]) + "\n")
    return ["evaluate", "alignment", str(links), str(links)]


def test_a_reader_that_has_gone(
    corpus: ToyCorpus, trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """As in `latentnlp align ... | head -1`, and sooner: the pipe is closed before a word."""
    read, write = os.pipe()
    os.close(read)
    align = ["align", *corpus.write(tmp_path), "--model", trained[0], "--quiet"]
    try:
        assert into_nothing(align, write) == (1, "")
    finally:
        os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_standard_output_without_room(evaluate: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        code, err = into_nothing([*evaluate], full.fileno())
    assert code == 2
    assert err == "latentnlp: error: [Errno 28] No space left on device\n"


def test_an_interrupt(
    latentnlp: Command, evaluate: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latentnlp.tasks.alignment_commands.evaluate_command", stop)
    assert latentnlp(*evaluate) == (130, "", "latentnlp: interrupted\n")
