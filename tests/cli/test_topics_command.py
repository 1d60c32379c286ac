"""`latentnlp topics train|infer|show|export` and `evaluate topics` on texts of three subjects."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command, Refused
from toy_topics import (
    FAST,
    QUICK,
    SUBJECTS,
    WORDS,
    subjects_of,
    toy_records,
    write,
    write_corpus,
    write_counted,
)

from latentnlp import UserError
from latentnlp import config as configuration
from latentnlp.cli import main
from latentnlp.tasks.topics import TopicsConfig
from latentnlp.tasks.topics_commands import ReadOptions, load_model, read_new, training_files

NEW = toy_records(45, seed=9)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory, not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    data, run = write(folder / "train.jsonl", toy_records(200)), folder / "run"
    assert main(["topics", "train", data, "--out", str(run), "--quiet", *FAST]) == 0
    return run


@pytest.fixture
def new(tmp_path: Path) -> str:
    return write(tmp_path / "new.jsonl", NEW)


def codes_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# --- what it learns, and what it writes -----------------------------------------------------------


def test_from_documents_to_scores(
    latentnlp: Command, trained: Path, new: str, tmp_path: Path
) -> None:
    log = (trained / "train.log").read_text()
    assert "train.jsonl: 200 documents" in log
    assert "no dev set was given: 20 of 200 training documents, drawn by seed 1, are the dev" in log
    assert sorted(path.name for path in trained.iterdir()) == [
        "checkpoints", "config.json", "data.json", "environment.json", "metrics.jsonl", "model",
        "train.log",
    ]  # fmt: skip
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["dev_perplexity"] < 0.95 * records[0]["dev_perplexity"]

    done = latentnlp("topics", "infer", trained, new)
    assert (done.code, done.err) == (0, "")
    out = tmp_path / "deep" / "codes.jsonl"
    assert latentnlp("topics", "infer", trained, new, "-o", out) == (0, "", "")
    assert out.read_text() == done.out
    codes = codes_of(done.out)
    assert [one["id"] for one in codes] == [record["id"] for record in NEW]
    assert [one["label"] for one in codes] == [record["label"] for record in NEW]
    for one in codes:
        assert len(one["code"]) == 6 and set(one["on"]) <= set(range(6))
        assert one["code"] == [round(value, 6) for value in one["code"]]
    assert len({tuple(one["on"]) for one in codes}) > 1

    raw = codes_of(latentnlp("topics", "infer", trained, new, "--raw").out)
    for one, other in zip(raw, codes, strict=True):
        assert all(0 <= value <= 1 for value in one["code"])
        assert one["on"] == other["on"] == [k for k, p in enumerate(one["code"]) if p > 0.5]
    shift = np.array(raw[0]["code"]) - codes[0]["code"]
    for one, other in zip(raw, codes, strict=True):
        np.testing.assert_allclose(one["code"], other["code"] + shift, atol=3e-6)

    place = tmp_path / "codes.npz"
    assert latentnlp("topics", "infer", trained, new, "-o", place) == (0, "", "")
    with np.load(place, allow_pickle=False) as arrays:
        assert arrays["codes"].dtype == np.float32 and arrays["codes"].shape == (45, 6)
        np.testing.assert_allclose(arrays["codes"], [one["code"] for one in codes], atol=1e-6)
        assert arrays["ids"].tolist() == [one["id"] for one in codes]
        assert arrays["labels"].tolist() == [one["label"] for one in codes]

    train = str(trained.parent / "train.jsonl")
    score = ["evaluate", "topics", trained, new, "--samples", "20"]
    done = latentnlp(*score, "--train", train)
    assert done.code == 0 and done.err == ""
    for name in ("elbo", "bound", "completion", "npmi", "units", "retrieval", "linear probe"):
        assert any(line.startswith(name) for line in done.lines), name
    record = json.loads(latentnlp(*score, "--train", train, "--json").out)
    assert record["bound"]["samples"] == 20 and record["bound"]["documents"] == 45
    assert f"{record['bound']['per_document']:.2f} per document" in done.out
    assert record["bound"]["per_document"] < min(100, record["elbo"]["per_document"])
    assert record["retrieval"]["precision_at_best"] > 0.5
    assert "retrieval" not in json.loads(latentnlp(*score, "--json").out)
    again = json.loads(latentnlp(*score, "--train", train, "--seed", "2", "--json").out)
    assert again["bound"] != record["bound"] and again["retrieval"] == record["retrieval"]


def test_show(latentnlp: Command, trained: Path) -> None:
    done = latentnlp("topics", "show", trained)
    assert (done.code, done.err) == (0, "")
    assert "of 6 units" in done.out and "of 3 units" in done.out
    done = latentnlp("topics", "show", trained, "--tsv", "--words", "5")
    header, *rows = (line.split("\t") for line in done.lines)
    assert header == ["layer", "unit", "state", "share", "words"]
    topics = [row[4].split() for row in rows]
    assert {len(topic) for topic in topics} == {5}
    assert len(subjects_of(topics)) >= 2
    assert {row[0] for row in rows} == {"1", "2"}
    only = latentnlp("topics", "show", trained, "--tsv", "--layer", "2", "--count", "1")
    assert [line.split("\t")[0] for line in only.lines[1:]] == ["2"]
    assert all(0 <= float(row[3]) <= 1 and row[2] in ("on", "off") for row in rows)


def test_dreams(latentnlp: Command, trained: Path) -> None:
    done = latentnlp("topics", "show", trained, "--dreams", "3")
    assert done.code == 0 and done.out.count("dream ") == 3 and "layer 2 on:" in done.out
    words = {
        word.split("×")[0]
        for line in done.lines
        if line.startswith("  ") and "layer" not in line
        for word in line.split()
    }
    assert words <= {*WORDS, *map(str, range(6)), "nothing"} and len(words) > 20
    assert latentnlp("topics", "show", trained, "--dreams", "3").out == done.out
    assert latentnlp("topics", "show", trained, "--dreams", "3", "--seed", "2").out != done.out


def test_export(latentnlp: Command, trained: Path, tmp_path: Path) -> None:
    """What pyLDAvis asks of the arguments of prepare()."""
    data = write(tmp_path / "n.jsonl", [*NEW, {"id": "empty", "text": ""}])
    out = tmp_path / "vis.json"
    assert latentnlp("topics", "export", trained, data, "-o", out).code == 0
    assert latentnlp("topics", "export", trained, data).out == out.read_text()
    found = json.loads(out.read_text())
    assert set(found) == {
        "topic_term_dists", "doc_topic_dists", "doc_lengths", "vocab", "term_frequency",
    }  # fmt: skip
    terms, documents = (np.array(found[n]) for n in ("topic_term_dists", "doc_topic_dists"))
    assert terms.shape == (6, len(found["vocab"])) and documents.shape == (45, 6)
    for table in (terms, documents):
        np.testing.assert_allclose(table.sum(1), 1, atol=1e-4)
        assert (table >= 0).all()
    lengths = [len(record["text"].split()) for record in NEW]
    assert found["doc_lengths"] == lengths and sum(found["term_frequency"]) == sum(lengths)
    tokens = [word for record in NEW for word in record["text"].split()]
    assert found["term_frequency"] == [tokens.count(word) for word in found["vocab"]]
    vis = pytest.importorskip("pyLDAvis")
    assert vis.prepare(**found).topic_coordinates.shape[0] == 6


def test_export_of_units_that_speak_by_being_off(
    latentnlp: Command, trained: Path, new: str, tmp_path: Path
) -> None:
    """Their words are those of the documents that do not have them, and so are their shares."""
    model = load_model(trained, "cpu")
    layer = model.topics[0]
    on = torch.arange(len(layer.on)) % 2 == 0
    topics = [replace(layer, on=on), *model.topics[1:]]
    replace(model, topics=topics).save(tmp_path / "other")
    done = latentnlp("topics", "export", tmp_path / "other", new)
    means = model.transform(read_new(model, new, ReadOptions())) + model.centre
    means = np.where(on, means, 1 - means)
    expected = means / means.sum(1, keepdims=True)
    np.testing.assert_allclose(json.loads(done.out)["doc_topic_dists"], expected, atol=1e-5)


def test_training_again_goes_on(latentnlp: Command, tmp_path: Path) -> None:
    """The same command twice trains once; other settings or documents are refused there."""
    data = write(tmp_path / "t.jsonl", toy_records(60))
    dev = write(tmp_path / "d.jsonl", NEW)
    train = ["topics", "train", data, "--dev", dev, "--out", tmp_path / "run", *QUICK]
    done = latentnlp(*train)
    assert done.code == 0 and "dev_perplexity" in done.err and "no dev set" not in done.err
    names = ("metrics.jsonl", "model/tensors.safetensors", "model/state.json")
    before = [(tmp_path / "run" / name).read_bytes() for name in names]
    done = latentnlp(*train)
    assert done.code == 0 and "is done already" in done.err
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == before
    done = latentnlp(*train, "--layers", "4,2")
    assert done.code == 2 and "model.belief_network.layers ([6, 3] there, [4, 2] here)" in done.err
    write(tmp_path / "t.jsonl", toy_records(60, seed=3))
    done = latentnlp(*train)
    assert done.code == 2 and "the text has changed" in done.err
    assert not (tmp_path / "run" / "documents").exists()


def test_folders(latentnlp: Command, tmp_path: Path) -> None:
    """Of texts and of counts: dev is the folder's, test is what is scored, with train beside it."""
    texts = write_corpus(tmp_path / "texts", 60, 20, 20)
    counted = write_counted(tmp_path / "counted", WORDS, train=60, dev=20, test=20)
    scores = []
    for folder in (texts, counted):
        run = tmp_path / f"{folder.name}.run"
        done = latentnlp("topics", "train", folder, "--out", run, *QUICK, "--layers", "5,3,2")
        assert done.code == 0 and "no dev set" not in done.err and "dev_perplexity" in done.err
        config = json.loads((run / "config.json").read_text())
        assert config["data"] == {"corpus": str(folder), "train": "", "dev": ""}
        assert config["model"]["belief_network"]["layers"] == [5, 3, 2]
        done = latentnlp("evaluate", "topics", run, folder, "--samples", "5", "--json")
        assert done.code == 0, done.err
        scores.append(json.loads(done.out))
        assert scores[-1]["retrieval"]["queries"] == 20
        assert scores[-1]["retrieval"]["database"] == 60
        assert "by-20-dev-docs" in scores[-1]["linear probe"]["signature"]
        assert len(latentnlp("topics", "infer", run, folder).lines) == 20
    assert scores[0]["bound"]["tokens"] == scores[1]["bound"]["tokens"]
    # Counts of other words: what the model knows of them is counted, the rest is said.
    odd = [*reversed(WORDS), "zebra"]
    other = write_counted(tmp_path / "other", odd, test=20)
    (other / "test.ldac").write_text((other / "test.ldac").read_text() + "1 110:3\n")
    with (other / "test.labels.txt").open("a") as labels:
        labels.write("\n")
    run = tmp_path / "counted.run"
    done = latentnlp("topics", "infer", run, other)
    assert "3 of them outside the vocabulary, 1 documents without a word of it" in done.err
    same = latentnlp("topics", "infer", run, counted)
    found, expected = codes_of(done.out), codes_of(same.out)
    assert len(found) == 21 and "label" not in found[20] and same.err == ""
    for one, known in zip(found, expected, strict=False):
        assert one["code"] == pytest.approx(known["code"], abs=1e-5)
    named = tmp_path / "elsewhere.txt"
    shutil.move(counted / "vocab.txt", named)
    done = latentnlp("topics", "infer", run, counted / "test.ldac", "--vocabulary", named)
    assert done.out == same.out


def test_raw_text(
    latentnlp: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All forms of the same texts give the same codes; an empty text has its own."""
    texts = [record["text"] for record in NEW[:5]] + ["", "Qqq zzz!"]
    (tmp_path / "new.txt").write_text("".join(text + "\n" for text in texts))
    done = latentnlp("topics", "infer", trained, tmp_path / "new.txt")
    assert done.code == 0 and "2 of them outside the vocabulary, 2 documents without" in done.err
    found = codes_of(done.out)
    assert len(found) == 7 and found[5]["code"] == found[6]["code"] != found[0]["code"]
    assert all("label" not in one for one in found)

    def inferred(path: Path | str, *arguments: str) -> list[list[float]]:
        done = latentnlp("topics", "infer", trained, path, *arguments)
        assert done.code == 0, done.err
        return [one["code"] for one in codes_of(done.out)]

    codes = [one["code"] for one in found]
    records = [{"body": text.upper(), "kind": None} for text in texts]
    records[2]["kind"] = "a meal"
    data = write(tmp_path / "n.jsonl", records)
    columns = ("--text-column", "body", "--label-column", "kind")
    assert inferred(data, *columns) == codes
    labels = [
        one.get("label")
        for one in codes_of(latentnlp("topics", "infer", trained, data, *columns).out)
    ]
    assert labels == [None, None, "a meal", None, None, None, None]
    place = tmp_path / "c.npz"
    assert latentnlp("topics", "infer", trained, data, *columns, "-o", place).code == 0
    with np.load(place, allow_pickle=False) as arrays:
        assert arrays["labels"].tolist() == ["", "", "a meal", "", "", "", ""]
    tokens = write(tmp_path / "t.jsonl", [{"tokens": text.split()} for text in texts])
    assert inferred(tokens) == codes
    (tmp_path / "n.txt.gz").write_bytes(gzip.compress((tmp_path / "new.txt").read_bytes()))
    assert inferred(tmp_path / "n.txt.gz") == codes

    class Stdin:
        buffer = io.BytesIO((tmp_path / "new.txt").read_bytes())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert inferred("-", "--input-format", "txt") == codes


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--kind", "lda", "--topics", "4"], ["learning.epochs=3"]),
        (["--kind", "nvdm", "--topics", "4"], ["model.nvdm.hidden=8", "learning.epochs=2"]),
        (["--kind", "unigram"], []),
        (["--rule", "reweighted_wake_sleep"], []),
        (["--rule", "variational"], ["learning.variational.estimator=vimco"]),
    ],
)
def test_company(
    latentnlp: Command, tmp_path: Path, arguments: list[str], settings: list[str]
) -> None:
    """Every other kind and rule goes all the way, or says in a line why it does not."""
    data, run = write(tmp_path / "t.jsonl", toy_records(60)), tmp_path / "run"
    more = [part for one in settings for part in ("--set", one)]
    done = latentnlp("topics", "train", data, "--out", run, "--quiet", *QUICK, *more, *arguments)
    assert done.code == 0, done.err
    new = write(tmp_path / "n.jsonl", NEW)
    done = latentnlp("topics", "infer", run, new)
    network = "--rule" in arguments
    width = 6 if network else 0 if "unigram" in arguments else 4
    assert all(len(one["code"]) == width and ("on" in one) == network for one in codes_of(done.out))
    assert len(done.lines) == 45
    done = latentnlp("evaluate", "topics", run, new, "--samples", "5", "--json")
    assert done.code == 0 and json.loads(done.out)["bound"]["per_document"] > 1
    shown = latentnlp("topics", "show", run)
    dreams = latentnlp("topics", "show", run, "--dreams", "1")
    exported = latentnlp("topics", "export", run, new)
    assert shown.code == (2 if "unigram" in arguments else 0)
    assert dreams.code == (0 if network else 2)
    assert exported.code == (0 if network or "lda" in arguments else 2)
    for told in (shown, dreams, exported):
        assert (told.code == 0) or (told.err.count("\n") == 1 and told.out == "")


def test_a_vocabulary_of_ones_own(latentnlp: Command, tmp_path: Path) -> None:
    words = [*SUBJECTS["tree"], *SUBJECTS["meal"]]
    (tmp_path / "words.txt").write_text("".join(word + "\n" for word in words))
    data, run = write(tmp_path / "t.jsonl", toy_records(30)), tmp_path / "run"
    train = ["topics", "train", data, "--out", run, "--vocabulary", tmp_path / "words.txt", *QUICK]
    done = latentnlp(*train)
    assert done.code == 0 and "outside the vocabulary" in done.err
    shown = latentnlp("topics", "show", run, "--tsv", "--count", "0", "--words", "99")
    found = {word for line in shown.lines[1:] for word in line.split("\t")[4].split()}
    assert found == set(words)


def test_help_is_light() -> None:
    code = """
import sys
from latentnlp.cli import main
for arguments in (["topics"], ["topics", "train"], ["topics", "infer"], ["topics", "show"],
                  ["topics", "export"], ["evaluate", "topics"]):
    try:
        main([*arguments, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
heavy = {"torch", "numpy", "safetensors", "tqdm", "latentnlp.data.bags"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for word in ("--layers", "--dreams", "--reference", "--vocabulary", "npz"):
        assert word in done.stdout


def test_the_example_of_a_setting_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["topics", "train", "--help"])
    example = re.search(r"e\.g\.\s+--set\s+(\S+);", capsys.readouterr().out)
    assert example is not None
    config = configuration.load(TopicsConfig, None, [example[1]])
    assert config != TopicsConfig()


def test_a_folder_stands_for_its_part(tmp_path: Path) -> None:
    """Of data.train for train, of data.dev for dev: never for test."""
    folder = write_corpus(tmp_path / "corpus")
    data = [f'data.train="{folder}"', f'data.dev="{folder}"']
    assert training_files(configuration.load(TopicsConfig, None, data)) == {
        "train": folder / "train.jsonl",
        "dev": folder / "dev.jsonl",
    }
    corpus = [f'data.corpus="{folder}"', f'data.dev="{write_corpus(tmp_path / "no", dev=0)}"']
    with pytest.raises(UserError, match="holds no dev"):
        training_files(configuration.load(TopicsConfig, None, corpus))


# --- bad input ------------------------------------------------------------------------------------


@pytest.fixture
def train_refused(refused: Refused, tmp_path: Path) -> Callable[..., str]:
    """Train on bad input: no model appears, and nothing half-written."""

    def run(*arguments: str | Path) -> str:
        out = tmp_path / "fresh"
        message = refused("topics", "train", *arguments, "--out", out, "--quiet", *QUICK)
        assert not (out / "model").exists() and not (out / "documents").exists()
        return message

    return run


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"text": "oak"}\n{"text": 3}\n', "line 2: 'text' must be a text or a list of tokens"),
        ('{"text": "oak"}\nnothing\n', "line 2: not JSON"),
        ('{"body": "oak"}\n', "line 1: has no column or key 'text'"),
        ("", "holds no document"),
        ('{"text": ""}\n', "none of its 1 documents has a word"),
    ],
)
def test_bad_documents(
    train_refused: Callable[..., str], content: str, told: str, tmp_path: Path
) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text(content)
    message = train_refused(data)
    assert message.startswith(str(data)) and told in message


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1 0:-2", "line 2: word 0 has the count '-2'"),
        ("1 0:1.5", "line 2: word 0 has the count '1.5'"),
        ("1 0:0", "line 2: word 0 has the count 0"),
        ("1 200:1", "line 2: word 200 is outside the vocabulary"),
    ],
)
def test_bad_counts(
    train_refused: Callable[..., str],
    refused: Refused,
    trained: Path,
    tmp_path: Path,
    line: str,
    told: str,
) -> None:
    folder = write_counted(tmp_path / "bad", WORDS, train=3)
    (folder / "train.labels.txt").unlink()
    (folder / "train.ldac").write_text(f"1 0:1\n{line}\n")
    for message in (
        train_refused(folder),
        refused("topics", "infer", trained, folder / "train.ldac", "-o", tmp_path / "c.jsonl"),
    ):
        assert message.startswith(str(folder / "train.ldac")) and told in message
    assert not (tmp_path / "c.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--layers", "20,x"], "--layers 20,x: expected whole numbers above 0"),
        (["--layers", ""], "--layers : expected whole numbers"),
        (["--layers", "6,0"], "--layers 6,0: expected whole numbers above 0"),
        (["--kind", "lda", "--rule", "wake_sleep"], "it takes coordinate_ascent"),
        (["--kind", "belief_network", "--rule", "coordinate_ascent"], "it takes wake_sleep or"),
        (["--set", "learning.epoch=3"], "unknown key 'learning.epoch'; did you mean 'epochs'"),
        (["--dev", "absent.jsonl"], "absent.jsonl: no such file"),
        (["--vocabulary", "absent.txt"], "absent.txt: no such file"),
        (["--threads", "0"], "a process needs at least one thread"),
        (["--label-column", "kind"], "no document has the column or key 'kind'"),
        (["--seed", "-1"], "seed = -1 is below 0"),
        (["--seed", str(2**64)], "is too large"),
        (
            [
                *("--rule", "reweighted_wake_sleep"),
                *("--set", "learning.reweighted_wake_sleep.ascent.learning_rate=1e30"),
            ],
            "lower learning rate",
        ),
        (["--layers", "6,3", "--kind", "lda"], "a model of kind 'lda' has none"),
        (["--topics", "9"], "--set model.belief_network.layers=[200,50]"),
        (["--topics", "9", "--kind", "unigram"], "--topics 9 goes with --kind lda or nvdm"),
        (["--topics", "0", "--kind", "lda"], "topics = 0 is below 1"),
    ],
)
def test_bad_arguments(
    train_refused: Callable[..., str], arguments: list[str], told: str, tmp_path: Path
) -> None:
    assert told in train_refused(write(tmp_path / "t.jsonl", toy_records(20)), *arguments)


def test_nothing_in_common(
    train_refused: Callable[..., str], refused: Refused, trained: Path, tmp_path: Path
) -> None:
    strange = write(tmp_path / "s.jsonl", [{"text": "qqq zzz"}, {"text": ""}])
    data = write(tmp_path / "t.jsonl", toy_records(20))
    assert "s.jsonl: no document has a word of the vocabulary" in train_refused(
        data, "--dev", strange
    )
    folder = write_counted(tmp_path / "other", ["qqq", "zzz"], test=3)
    message = refused("topics", "infer", trained, folder)
    assert "none of the 2 words of its vocabulary is in the model's" in message


def test_bad_models(refused: Refused, trained: Path, new: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    infer = ("topics", "infer")
    assert "holds no topics model" in refused(*infer, tmp_path / "no", new, "-o", out)
    broken = Path(shutil.copytree(trained, tmp_path / "broken"))
    tensors = broken / "model" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-7])
    assert "damaged" in refused(*infer, broken, new, "-o", out)
    (broken / "model" / "state.json").write_text("{")
    assert "damaged" in refused("topics", "show", broken)
    assert not out.exists()
    assert "say where with -o" in refused(*infer, trained, new, "--format", "npz")
    for arguments, told in (
        (["--layer", "3"], "no layer 3: it has 1 to 2"),
        (["--layer", "0"], "no layer 0"),
        (["--words", "0"], "--words 0 is below 1"),
        (["--dreams", "-1"], "--dreams -1 is below 0"),
        (["--dreams", "1", "--seed", str(2**64)], "is too large"),
    ):
        assert told in refused("topics", "show", trained, *arguments)
    assert "--samples must" in refused("evaluate", "topics", trained, new, "--samples", "0")
    assert "is too large" in refused("evaluate", "topics", trained, new, "--seed", str(2**64))
    assert "no such file" in refused("evaluate", "topics", trained, tmp_path / "no.jsonl")
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    assert "is not a run directory" in refused("topics", "train", new, "--out", folder)
