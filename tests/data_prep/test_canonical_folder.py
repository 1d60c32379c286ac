"""The canonical folder: complete or absent, checked, never over a user's own files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latentnlp.errors import UserError

ROOT = Path(__file__).parents[2]
PAIRS = [(["a", "b"], ["x"], "0-0 1p0"), (["c"], [], "")]
TEXT = [(["a"], ["x", "y"], None)]


def make(common, splits, **options):
    return common.Corpus(
        name="toy",
        languages=("en", "fr"),
        source={"from": "here"},
        licence="none",
        splits=splits,
        **options,
    )


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_and_manifest(common, tmp_path, check_folder):
    out = tmp_path / "deep" / "toy"
    common.write_corpus(out, make(common, {"train": iter(TEXT), "test": iter(PAIRS)}))
    manifest = check_folder(out)
    assert (out / "test.en").read_text() == "a b\nc\n"
    assert (out / "test.fr").read_text() == "x\n\n"
    assert (out / "test.gold").read_text() == "0-0 1p0\n\n"
    assert "train.gold" not in manifest["files"]
    assert manifest["files"]["test.gold"] | {"sha256": ""} == {
        "lines": 2,
        "sure": 1,
        "possible": 1,
        "sha256": "",
    }
    assert listing(out.parent) == ["toy"]


def test_complete_folder_is_recognised(common, tmp_path, capsys):
    out = tmp_path / "toy"
    assert not common.already_complete(out, "toy", {})
    common.write_corpus(out, make(common, {"train": TEXT}))
    assert common.already_complete(out, "toy", {})
    assert "already complete" in capsys.readouterr().out
    assert not common.already_complete(out, "toy", {"pairs": 3})
    (out / "train.fr").write_text("changed\n")
    assert not common.already_complete(out, "toy", {})
    assert "train.fr is missing or damaged" in capsys.readouterr().out


def test_foreign_files_are_left_alone(common, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt.*choose another --out"):
        common.already_complete(tmp_path, "toy", {})
    with pytest.raises(UserError, match="is a file"):
        common.already_complete(tmp_path / "thesis.txt", "toy", {})


def test_failed_write_leaves_the_old_corpus(common, tmp_path):
    def broken():
        yield from TEXT
        raise UserError("the source dried up")

    out = tmp_path / "toy"
    with pytest.raises(UserError, match="dried up"):
        common.write_corpus(out, make(common, {"train": broken()}))
    assert listing(tmp_path) == []
    common.write_corpus(out, make(common, {"train": TEXT}))
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(UserError, match="dried up"):
        common.write_corpus(out, make(common, {"train": broken()}))
    assert listing(tmp_path) == ["toy"]
    assert (out / "manifest.json").read_bytes() == before


def test_new_corpus_replaces_the_old_one(common, tmp_path, check_folder):
    out = tmp_path / "toy"
    common.write_corpus(out, make(common, {"train": TEXT, "test": PAIRS}))
    common.write_corpus(out, make(common, {"test": PAIRS}, request={"pairs": 1}))
    assert "train.en" not in check_folder(out)["files"]
    assert listing(tmp_path) == ["toy"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL")
def test_killed_run_leaves_nothing_and_the_next_one_succeeds(common, tmp_path, check_folder):
    out = tmp_path / "toy"
    program = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "data_prep")!r}, {str(ROOT)!r}]
from pathlib import Path
from _common import Corpus, write_corpus
def pairs():
    yield ["a"], ["x"], None
    print("started", flush=True)
    time.sleep(60)
splits = {{"train": pairs()}}
write_corpus(Path({str(out)!r}), Corpus("toy", ("en", "fr"), {{}}, "none", splits))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert not common.already_complete(out, "toy", {})
    common.write_corpus(out, make(common, {"train": TEXT}))
    check_folder(out)
    assert listing(tmp_path) == ["toy"]


@pytest.mark.parametrize(
    ("gold", "told"),
    [
        ("0-0 1:0", "test.gold:1: '1:0' is not a link"),
        ("0-0 0-1", "test.gold:1: link 0-1 points outside the pair, which has 2 x 1 words"),
        ("2p0", "test.gold:1: link 2p0 points outside"),
    ],
)
def test_bad_gold(common, tmp_path, gold, told):
    with pytest.raises(UserError, match=told):
        common.write_corpus(tmp_path / "toy", make(common, {"test": [(["a", "b"], ["x"], gold)]}))
    assert listing(tmp_path) == []


def test_empty_split(common, tmp_path):
    with pytest.raises(UserError, match="train split is empty"):
        common.write_corpus(tmp_path / "toy", make(common, {"train": []}))
