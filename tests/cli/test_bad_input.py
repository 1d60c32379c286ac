"""Bad input to `latentnlp align`: one line, exit code 2, and nothing half-written left behind."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command, Refused, fill
from toy_corpus import FAST, ToyCorpus, write_lines

from latentnlp.learners.em import ExpectationMaximisation
from latentnlp.run import RunDirectory

Trained = tuple[Path, list[str]]
Text = tuple[str, str]


@pytest.fixture
def text(corpus: ToyCorpus, tmp_path: Path) -> Text:
    return corpus.write(tmp_path)


@pytest.fixture
def model(trained: Trained, tmp_path: Path) -> Path:
    """A trained run directory that may be spoilt."""
    return Path(shutil.copytree(trained[0], tmp_path / "model"))


@pytest.fixture
def align_refused(refused: Refused, tmp_path: Path) -> Refused:
    """Run ``align`` on bad input: no links appear, no model appears, nothing is left aside."""

    def run(*arguments: str | Path) -> str:
        before = set(tmp_path.iterdir())
        fresh = tmp_path / "fresh"
        options = ["--quiet", "-o", tmp_path / "links"]
        if "--model" not in arguments:
            options += ["--model", fresh]
        message = refused("align", *arguments, *options)
        assert not (fresh / "model").exists()
        assert set(tmp_path.iterdir()) - before <= {fresh}
        return message

    return run


# --- text -----------------------------------------------------------------------------------------


def test_unequal_line_counts(align_refused: Refused, corpus: ToyCorpus, tmp_path: Path) -> None:
    source, _ = corpus.write(tmp_path)
    short = write_lines(tmp_path / "short", corpus.target[:-2])
    message = align_refused(source, short)
    assert message.startswith(f"{source} has 120 lines but {short} has 118:")
    assert align_refused(short, source).startswith(f"{short} has 118 lines but {source} has 120:")


def test_text_that_is_not_utf8(align_refused: Refused, text: Text, tmp_path: Path) -> None:
    source, target = text
    lines = Path(target).read_bytes().splitlines(keepends=True)
    lines[3] = "éa ".encode() + b"caf\xe9" + lines[3]
    broken = tmp_path / "latin1"
    broken.write_bytes(b"".join(lines))
    assert align_refused(source, broken).startswith(f"{broken}, line 4, byte 8: not valid UTF-8")
    packed = tmp_path / "latin1.gz"
    packed.write_bytes(gzip.compress(b"".join(lines)))
    assert align_refused(packed, target).startswith(f"{packed}, line 4, byte 8: not valid UTF-8")


def test_text_that_is_not_there(align_refused: Refused, text: Text, tmp_path: Path) -> None:
    source, _ = text
    assert align_refused(source, tmp_path / "no") == f"{tmp_path / 'no'}: no such file"
    assert align_refused(tmp_path / "no.gz") == f"{tmp_path / 'no.gz'}: no such file"
    assert "is a folder" in align_refused(tmp_path, source)
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(b"a ||| b\n" * 100)[:-12])
    assert align_refused(damaged).startswith(f"{damaged}: damaged gzip file")


def test_text_with_nothing_in_it(align_refused: Refused, tmp_path: Path) -> None:
    empty = write_lines(tmp_path / "empty", [])
    assert align_refused(empty, empty).startswith(f"{empty} is empty")
    blank = write_lines(tmp_path / "blank", ["", " \t", ""])
    message = align_refused(blank, blank)
    assert message.startswith(f"{blank} has no usable sentence pair: 3 are empty on a side")
    long = write_lines(tmp_path / "long", ["a " * 5] * 2)
    message = align_refused(long, long, "--set", "text.max_length=4")
    assert "2 are longer than 4 words" in message


def test_one_file_with_both_sides(align_refused: Refused, text: Text, tmp_path: Path) -> None:
    wrong = write_lines(tmp_path / "bars", ["a ||| b", "a b"])
    assert align_refused(wrong).startswith(f"{wrong}, line 2: expected one '|||'")
    tabs = write_lines(tmp_path / "p.tsv", ["a\tb", "a\tb\tc"])
    assert align_refused(tabs).startswith(f"{tabs}, line 2: expected two columns")
    assert "standard input cannot be one of two files" in align_refused("-", text[0])


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("em.epoch=3", "unknown key 'em.epoch'; did you mean 'epochs'?"),
        ("modle.positions=hmm", "unknown key 'modle'; did you mean 'model'?"),
        ("em.epochs=many", "'em.epochs' must be an integer, found a string ('many')"),
        ("em.epochs=2.5", "'em.epochs' must be an integer, found a number (2.5)"),
        ("em.learner.leave_one_out=1", "must be true or false, found an integer (1)"),
        ("model.positions=hnm", "must be one of 'ibm1', 'ibm2', 'hmm', not 'hnm'; did you mean"),
        ("em=3", "'em' must be a table"),
        ("em.epochs", "expected key=value"),
        ("decoding.threshold=1.5", "threshold = 1.5 is not between 0 and 1"),
    ],
)
def test_wrong_settings(align_refused: Refused, text: Text, setting: str, expected: str) -> None:
    message = align_refused(*text, "--set", setting)
    assert expected in message and f"--set {setting}" in message


def test_wrong_files_of_settings(align_refused: Refused, text: Text, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    for content, expected in (
        ("[em]\nepoch = 3\n", "unknown key 'em.epoch'; did you mean 'epochs'?"),
        ("seed = 'one'\n", "'seed' must be an integer, found a string"),
    ):
        config.write_text(content)
        message = align_refused(*text, "--config", config)
        assert message.startswith(f"{config}: ") and expected in message
    config.write_text("[em]\nepochs == 3\n")
    assert align_refused(*text, "--config", config).startswith(f"{config}:2: not valid TOML")
    assert "no such configuration file" in align_refused(*text, "--config", tmp_path / "no.toml")
    assert "threshold = 7.0" in align_refused(*text, "--threshold", "7")


@pytest.mark.parametrize(
    "setting",
    [
        "seed=-1",
        "text.max_length=0",
        "text.min_count=0",
        "text.max_size=-5",
        "text.subwords=3",
        "text.subwords=-1",
        "batches.cells=0",
        "batches.sentences=0",
        "em.epochs=-1",
        "model.counts.strength=0",
        "model.counts.strength=-3",
        "model.hmm.null_probability=1.5",
        "model.hmm.width=0",
    ],
)
def test_values_that_make_no_sense(align_refused: Refused, text: Text, setting: str) -> None:
    assert align_refused(*text, *FAST, "--set", setting)


def test_a_device_that_is_not_there(
    align_refused: Refused, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = align_refused(*text, "--device", "cuda")
    assert message == "device cuda was asked for, but torch sees none: use --device cpu"


# --- a model directory that is not a good one -----------------------------------------------------


def truncate(model: Path) -> None:
    tensors = model / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-7])


def flip(model: Path) -> None:
    tensors = model / "tensors.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-9] ^= 1
    tensors.write_bytes(content)


def lose(model: Path) -> None:
    (model / "tensors.safetensors").unlink()


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(model: Path) -> None:
        document = json.loads((model / "state.json").read_text())
        change(document)
        (model / "state.json").write_text(json.dumps(document))

    return spoil


def cut_state(model: Path) -> None:
    content = (model / "state.json").read_text()
    (model / "state.json").write_text(content[: len(content) // 2])


def without(*keys: str) -> Callable[[Path], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return edit(change)


def with_value(value: Any, *keys: str) -> Callable[[Path], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit(change)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (truncate, "damaged"),
        (flip, "damaged"),
        (lose, "damaged"),
        (cut_state, "damaged"),
        (without("state"), "damaged"),
        (without("crc32"), "damaged"),
        (without("format_version"), "damaged"),
        (without("state", "kind"), "not an alignment model"),
        (without("state", "model_version"), "damaged"),
        (without("state", "text"), "damaged"),
        (without("state", "model"), "damaged"),
        (without("state", "source"), "damaged"),
        (without("state", "target", "words"), "damaged"),
        (without("state", "subwords"), "damaged"),
        (without("state", "weights"), "damaged"),
        (without("state", "weights", "source_to_target.emission.counts"), "damaged"),
        (with_value("1", "state", "model_version"), "damaged"),
        (with_value(["a"], "state", "target", "words"), "damaged"),
        (with_value({}, "state", "source"), "damaged"),
        (with_value([], "state"), "not an alignment model"),
        (with_value(2, "state", "text", "max_len"), "unknown key 'max_len'"),
        (with_value(99, "format_version"), "written by a newer latentnlp"),
        (with_value(99, "state", "model_version"), "written by a newer latentnlp"),
    ],
)
def test_a_damaged_model(
    align_refused: Refused,
    text: Text,
    model: Path,
    spoil: Callable[[Path], None],
    expected: str,
) -> None:
    spoil(model / "model")
    message = align_refused(*text, "--model", model)
    assert message.startswith(str(model)) and expected in message


def test_a_damaged_run_directory(align_refused: Refused, text: Text, model: Path) -> None:
    (model / "config.json").write_text("{")
    message = align_refused(*text, "--model", model)
    assert message.startswith(f"{model / 'config.json'}: damaged")
    (model / "config.json").write_text('{"seed": 1, "from_the_future": 2}')
    assert "unknown key 'from_the_future'" in align_refused(*text, "--model", model)


def test_what_is_no_model_directory(align_refused: Refused, text: Text, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").touch()
    message = align_refused(*text, "--model", folder)
    assert message.startswith(f"{folder}: is not a model directory")
    assert [path.name for path in folder.iterdir()] == ["cat.jpg"]
    assert "is a file, not a model directory" in align_refused(*text, "--model", text[0])
    assert "could not be saved" in align_refused(*text, "--model", Path(text[0]) / "below")


def test_a_trained_model_is_not_trained_otherwise(
    align_refused: Refused, text: Text, model: Path, tmp_path: Path
) -> None:
    message = align_refused(*text, "--model", model, "--set", "em.epochs=9")
    assert message.startswith(f"{model}: holds a model that was trained with another 'em.epochs'")
    config = tmp_path / "c.toml"
    config.write_text("[em]\nibm1_epochs = 2\nepochs = 9\n[model.counts]\nmean = 'unigram'\n")
    message = align_refused(*text, "--model", model, "--config", config)
    assert message.startswith(f"{model}: holds a model that was trained with another 'em'")
    message = align_refused(*text, "--model", model, "--set", "em.epoch=2")
    assert "did you mean 'epochs'?" in message
    message = align_refused(*text, "--model", model, "--set", "decoding.treshold=0.4")
    assert "did you mean 'threshold'?" in message


def test_an_unfinished_run_of_another_kind(
    align_refused: Refused, text: Text, model: Path, corpus: ToyCorpus, tmp_path: Path
) -> None:
    shutil.rmtree(model / "model")
    message = align_refused(*text, "--model", model, *FAST, "--set", "em.epochs=9")
    assert "holds a run of another configuration" in message and "em.epochs (2 there, 9" in message
    assert not (model / "model").exists()


def test_the_corpus_of_an_unfinished_run_has_changed(
    align_refused: Refused, corpus: ToyCorpus, tmp_path: Path, latentnlp: Command
) -> None:
    """The files' names are the same, and so is the number of batches."""
    text, model = corpus.write(tmp_path), tmp_path / "m"
    assert latentnlp("align", *text, "--model", model, "--quiet", *FAST).code == 0
    shutil.rmtree(model / "model")
    corpus.part(0, 90).write(tmp_path)
    message = align_refused(*text, "--model", model, *FAST)
    assert str(model) in message and "the text has changed" in message


# --- what happens while it works ------------------------------------------------------------------


def test_the_disk_is_full(
    refused: Refused, latentnlp: Command, text: Text, small_disk: Path
) -> None:
    """It stops with a line that says so; with room, the same command goes on and ends well."""
    filler = fill(small_disk, leave=40_000)
    model = small_disk / "model"
    align = ["align", *text, *FAST, "--quiet", "--model", model]
    message = refused(*align)
    assert str(model) in message and "No space left" in message and "disk full?" in message
    assert not (model / "model").exists()
    assert not [path for path in model.rglob(".*")]
    filler.unlink()
    assert latentnlp(*align).code == 0


def test_the_disk_is_full_when_the_links_are_written(
    refused: Refused, text: Text, model: Path, small_disk: Path
) -> None:
    fill(small_disk, leave=0)
    message = refused("align", *text, "--model", model, "-o", small_disk / "links", "--quiet")
    assert message.startswith(f"{small_disk / 'links'}: cannot be written: No space left")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("name", ["folder", "text.src/links"])
def test_output_that_cannot_be_written(
    refused: Refused, text: Text, model: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    for option in ("-o", "--forward-links", "--reverse-links", "--confidence"):
        message = refused("align", *text, "--model", model, "--quiet", option, tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: cannot be written: ")


def test_only_the_links_go_to_standard_output(
    refused: Refused, text: Text, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in ("--forward-links", "--reverse-links", "--confidence"):
        message = refused("align", *text, "--model", model, "--quiet", option, "-")
        assert "is for --output" in message
    assert not Path("-").exists()


def test_a_learning_rate_that_ruins_the_model(refused: Refused, text: Text, tmp_path: Path) -> None:
    """It stops at the first step whose log-likelihood is not finite, and says which."""
    small = ("model.emission=type_based", "model.type_based.dim=8", "lexicon.first_epochs=1")
    settings = [*small, "marginal.learner.learning_rate=1e30", "batches.sentences=30"]
    options = [part for one in settings for part in ("--set", one)]
    model = tmp_path / "m"
    message = refused("align", *text, *FAST, *options, "--quiet", "--model", model)
    assert "not finite in stage 'marginal', epoch 1, step 2; no checkpoint was saved" in message
    assert not (model / "model").exists()
    # The stages before it are there still.
    store = RunDirectory(model).checkpoints
    assert store.entry("marginal") is None
    entry = store.entry("em")
    assert entry is not None and entry.done


def test_a_likelihood_that_is_no_number(
    refused: Refused,
    latentnlp: Command,
    text: Text,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last good checkpoint is kept, and a run without the fault goes on from there."""
    model, good = tmp_path / "m", ExpectationMaximisation.step
    settings = ["--set", "batches.sentences=40", "--set", "checkpoint_seconds=0"]
    options = [*settings, "--quiet", "-o", tmp_path / "links"]
    align = ["align", *text, *FAST, *options, "--model", model]
    steps = 0

    def step(self: ExpectationMaximisation, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        values = good(self, batch)
        return values | {"log_likelihood": torch.tensor(float("nan"))} if steps == 8 else values

    monkeypatch.setattr(ExpectationMaximisation, "step", step)
    message = refused(*align)
    assert "not finite in stage 'em', epoch 1, step 2; no checkpoint" in message
    steps = 3
    message = refused(*align)
    assert "in stage 'em', epoch 2, step 5; the last good checkpoint is" in message
    kept = Path(message.partition("checkpoint is ")[2].partition(":")[0])
    assert kept.parent == model / "checkpoints" and (kept / "state.json").exists()
    assert not (model / "model").exists() and not (tmp_path / "links").exists()

    monkeypatch.setattr(ExpectationMaximisation, "step", good)
    assert latentnlp(*align).code == 0
    resumed = (tmp_path / "links").read_bytes()
    whole = [*align[:-1], tmp_path / "whole"]
    assert latentnlp(*whole).code == 0
    assert (tmp_path / "links").read_bytes() == resumed


@pytest.mark.parametrize(("leave", "expected"), [(0, ""), (30_000, "cells.npy: ")])
def test_no_room_for_temporary_files(
    refused: Refused,
    text: Text,
    tmp_path: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    leave: int,
    expected: str,
) -> None:
    """Whether it is the text's numbers that do not fit or the table of cells, which is mapped."""
    fill(small_disk, leave)
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    message = refused("align", *text, *FAST, "--quiet", "--model", tmp_path / "m")
    assert message.startswith(f"{small_disk}")
    assert expected in message and "No space left" in message
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
