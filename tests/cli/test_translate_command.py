"""`latentnlp translate`: train, decode, align; what it writes and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from command import Command, Refused
from toy_corpus import ToyCorpus, parse, toy_corpus, write_lines
from toy_translation import LEARNS, ONCE, options, same_words

from latentnlp import checkpoint
from latentnlp.cli import main
from latentnlp.data.links import read_scores

TRAINED = 300


@pytest.fixture(scope="module")
def text() -> ToyCorpus:
    return toy_corpus(TRAINED + 40, words=20)


@pytest.fixture(scope="module")
def models(text: ToyCorpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run directories of both directions, not to be written to."""
    folder = tmp_path_factory.mktemp("translate")
    source, target = text.part(0, TRAINED).write(folder)
    for name, sides in (("there", (source, target)), ("back", (target, source))):
        run = ["--out", str(folder / name), "--quiet", *options(*LEARNS)]
        assert main(["translate", "train", *sides, *run]) == 0
    return folder / "there", folder / "back"


@pytest.fixture(scope="module")
def model(models: tuple[Path, Path]) -> Path:
    return models[0]


@pytest.fixture
def new(text: ToyCorpus, tmp_path: Path) -> tuple[str, str]:
    return text.part(TRAINED).write(tmp_path, "new")


# --- training -------------------------------------------------------------------------------------


def test_what_a_training_leaves(model: Path) -> None:
    records = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert [one["epoch"] for one in records] == list(range(1, 13))
    assert {"dev_perplexity", "dev_bleu", "log_likelihood_per_token"} <= records[0].keys()
    assert records[-1]["dev_perplexity"] < 0.3 * records[0]["dev_perplexity"]
    assert max(one["dev_bleu"] for one in records) > 20
    config = json.loads((model / "config.json").read_text())
    assert config["model"]["kind"] == "neural_hmm" and config["data"]["source"].endswith(".src")
    said = (model / "train.log").read_text()
    assert f"the last {TRAINED // 10} of {TRAINED} pairs are it" in said and "ETA" in said


def test_the_same_command_trains_once(latentnlp: Command, text: ToyCorpus, tmp_path: Path) -> None:
    source, target = text.part(0, 40).write(tmp_path)
    dev = text.part(40, 50).write(tmp_path, "dev")
    command = ["translate", "train", source, target, "--dev-source", dev[0], "--dev-target", dev[1]]
    command += ["--out", tmp_path / "run", "--kind", "attention", *options(*ONCE)]
    code, out, err = latentnlp(*command)
    assert code == 0 and not out and "no dev set was given" not in err and "dev_bleu" in err
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    weights = (tmp_path / "run" / "model" / "tensors.safetensors").read_bytes()
    assert latentnlp(*command, "--quiet") == (0, "", "")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert (tmp_path / "run" / "model" / "tensors.safetensors").read_bytes() == weights
    code, _, err = latentnlp(*command, "--seed", "3")
    assert code == 2 and "seed (1 there, 3 here)" in err


@pytest.mark.parametrize("kind", ["latent_alignment", "attention"])
def test_other_kinds_and_subwords(
    latentnlp: Command, text: ToyCorpus, kind: str, tmp_path: Path
) -> None:
    source, target = text.part(0, 60).write(tmp_path)
    settings = options(*ONCE, "text.subwords=80", "text.joint=false", "learning.dev_translations=0")
    run = tmp_path / "run"
    command = ["translate", "train", source, target, "--out", run, "--kind", kind, *settings]
    assert latentnlp(*command, "--quiet").code == 0
    record = json.loads((run / "metrics.jsonl").read_text())
    assert "dev_perplexity" in record and "dev_bleu" not in record
    assert len(latentnlp("translate", "decode", run, source, "--quiet").lines) == 60
    assert len(latentnlp("translate", "align", run, source, target, "--quiet").lines) == 60


def test_too_few_pairs_for_a_dev_set(latentnlp: Command, text: ToyCorpus, tmp_path: Path) -> None:
    source, target = text.part(0, 6).write(tmp_path)
    done = latentnlp(
        "translate", "train", source, target, "--out", tmp_path / "run", *options(*ONCE)
    )
    assert done.code == 0 and "no dev set was given: too few" in done.err
    assert "dev_perplexity" not in (tmp_path / "run" / "metrics.jsonl").read_text()


# --- translating ----------------------------------------------------------------------------------


def test_translations_keep_the_lines(
    latentnlp: Command,
    model: Path,
    text: ToyCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Empty lines stay; the order is that of the file; a file and stdin give the same."""
    lines = text.source[TRAINED:]
    lines[3] = lines[10] = ""
    source = write_lines(tmp_path / "in", lines)
    out, links = tmp_path / "out", tmp_path / "links"
    command = ["translate", "decode", model, source, "-o", out, "--alignments", links, "--quiet"]
    assert latentnlp(*command) == (0, "", "")
    found = out.read_text().split("\n")[:-1]
    assert [n for n, line in enumerate(found) if not line] == [3, 10]
    wanted = ["" if n in (3, 10) else one for n, one in enumerate(text.target[TRAINED:])]
    assert same_words(found, wanted) > 0.9
    assert "</s>" not in out.read_text()

    written = links.read_text().splitlines()
    for line, output, pharaoh in zip(lines, found, written, strict=True):
        pairs = parse(pharaoh)
        assert all(i < len(line.split()) and j < len(output.split()) for i, j in pairs)
        assert len({j for _, j in pairs}) == len(pairs)  # a word comes from one place
        assert len(pairs) >= 0.5 * len(output.split())

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(source).read_bytes())))
    done = latentnlp("translate", "decode", model)
    assert done.out == out.read_text() and "translate: 100%" in done.err
    done = latentnlp("translate", "decode", model, source, "--beam", "1", "--quiet")
    assert same_words(done.lines, wanted) > 0.85


def test_several_translations(latentnlp: Command, model: Path, new: tuple[str, str]) -> None:
    done = latentnlp("translate", "decode", model, new[0], "--n-best", "3", "--quiet")
    first = latentnlp("translate", "decode", model, new[0], "--quiet").lines
    records = [json.loads(line) for line in done.lines]
    assert [one["id"] for one in records] == list(range(40))
    for record, line in zip(records, first, strict=True):
        rows = record["translations"]
        assert 1 <= len(rows) <= 3 and rows[0]["text"] == line
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True) and len({row["text"] for row in rows}) == len(
            rows
        )
        for row in rows:
            assert row["log_prob"] <= 0
            # Log-probability per word, the end mark counted.
            length = len(row["text"].split()) + 1
            assert row["score"] == pytest.approx(row["log_prob"] / length, rel=1e-4, abs=1e-5)
            assert all(0 < score <= 1 for score in row["scores"])
            assert len(row["scores"]) == len(row["links"])
    flat = latentnlp(
        "translate", "decode", model, new[0], "--format", "jsonl", "--quiet",
        "--length-normalisation", "0",
    )  # fmt: skip
    for line in flat.lines:
        (row,) = json.loads(line)["translations"]
        assert row["score"] == row["log_prob"]


def test_unknown_words_are_copied(latentnlp: Command, text: ToyCorpus, tmp_path: Path) -> None:
    """A model that has met unknown words on both sides says `<unk>`, and knows whence."""
    rare = text.part(0, TRAINED)
    source = [f"{s} rare{n}" for n, s in enumerate(rare.source)]
    target = [f"{t} selten{n}" for n, t in enumerate(rare.target)]
    files = write_lines(tmp_path / "s", source), write_lines(tmp_path / "t", target)
    run = tmp_path / "run"
    settings = options(*LEARNS, "text.min_count=2")
    assert latentnlp("translate", "train", *files, "--out", run, "--quiet", *settings).code == 0
    lines = [f"{one} Neu{n}" for n, one in enumerate(text.source[TRAINED:])]
    new = write_lines(tmp_path / "new", lines)
    copied = latentnlp("translate", "decode", run, new, "--quiet").lines
    plain = latentnlp("translate", "decode", run, new, "--quiet", "--no-unknown-replacement").lines
    assert "<unk>" not in " ".join(copied) and " ".join(plain).count("<unk>") >= 36
    right = [n for n, line in enumerate(copied) if line.split()[-1:] == [f"Neu{n}"]]
    assert len(right) >= 36, copied
    for with_copies, without in zip(copied, plain, strict=True):
        pairs = zip(with_copies.split(), without.split(), strict=True)
        assert all(a == b or b == "<unk>" for a, b in pairs)
    done = latentnlp("translate", "decode", run, new, "--quiet", "--format", "jsonl")
    for line in done.lines:
        (row,) = json.loads(line)["translations"]
        words = row["text"].split()
        assert [n for n, word in enumerate(words) if word.startswith("Neu")] == row["unknown"]


def test_the_end_mark_in_a_text_is_a_word(
    latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    """It is read as an unknown word on both sides, and ends nothing."""
    part = text.part(0, 60)
    source = [one.replace(" ", " </s> ", 1) for one in part.source]
    target = [one.replace(" ", " </s> ", 1) for one in part.target]
    files = write_lines(tmp_path / "s", source), write_lines(tmp_path / "t", target)
    run = tmp_path / "run"
    done = latentnlp(
        "translate", "train", *files, "--out", run, "--quiet", *options(*ONCE)
    )  # fmt: skip
    assert done.code == 0
    found = latentnlp("translate", "decode", run, files[0], "--quiet", "--no-unknown-replacement")
    assert len(found.lines) == 60 and "</s>" not in found.out
    links = latentnlp("translate", "align", run, *files, "--quiet").lines
    for line, s, t in zip(links, source, target, strict=True):
        assert all(i < len(s.split()) and j < len(t.split()) for i, j in parse(line))


def test_an_overlong_line_is_translated_in_parts(
    latentnlp: Command, model: Path, text: ToyCorpus, tmp_path: Path
) -> None:
    short = [*text.source[TRAINED : TRAINED + 5]]
    long = " ".join(short * 6)
    assert len(long.split()) > 100
    source = write_lines(tmp_path / "in", ["", long, short[0]])
    links = tmp_path / "links"
    command = ["translate", "decode", model, source, "--alignments", links, "--quiet"]
    empty, found, last = latentnlp(*command).out.split("\n")[:-1]
    assert not empty and last
    wanted = " ".join([*text.target[TRAINED : TRAINED + 5]] * 6)
    assert same_words([found], [wanted]) > 0.5
    pairs = parse(links.read_text().split("\n")[1])
    assert max(i for i, _ in pairs) >= 100  # positions in the whole line
    assert max(j for _, j in pairs) >= 0.7 * len(found.split())
    rank = sorted(pairs, key=lambda pair: pair[1])
    assert rank[0][0] < 20 and rank[-1][0] > len(long.split()) - 20


# --- aligning -------------------------------------------------------------------------------------


def test_links_of_given_translations(
    latentnlp: Command, models: tuple[Path, Path], text: ToyCorpus, new: tuple[str, str]
) -> None:
    there, back = models
    alone = latentnlp("translate", "align", there, *new, "--quiet").lines
    both = latentnlp("translate", "align", there, *new, "--reverse", back, "--quiet").lines
    gold = text.part(TRAINED)
    assert gold.accuracy(alone) > 0.85 and gold.accuracy(both) > 0.85
    for line in alone:
        pairs = parse(line)
        assert len({j for _, j in pairs}) == len(pairs)


def test_thresholds_and_formats(
    latentnlp: Command, models: tuple[Path, Path], new: tuple[str, str], tmp_path: Path
) -> None:
    there, back = models
    command = ["translate", "align", there, *new, "--quiet", "--format", "jsonl"]
    out = tmp_path / "links.jsonl"
    assert latentnlp(*command, "--reverse", back, "--threshold", "0.6", "-o", out).code == 0
    few = read_scores(out)
    assert few and all(score > 0.6 for one in few for score in one.values())
    assert latentnlp(*command, "--reverse", back, "--threshold", "0.1", "-o", out).code == 0
    many = read_scores(out)
    assert all(a.keys() <= b.keys() for a, b in zip(few, many, strict=True))
    assert latentnlp(*command, "--threshold", "0.5", "-o", out).code == 0
    strong = read_scores(out)
    assert all(score > 0.5 for one in strong for score in one.values())


def test_pairs_that_cannot_be_aligned(
    latentnlp: Command, models: tuple[Path, Path], text: ToyCorpus, tmp_path: Path
) -> None:
    source, target = text.source[:4], text.target[:4]
    source[1], target[2] = "", ""
    target[3] = " ".join(text.target[:40])
    files = write_lines(tmp_path / "s", source), write_lines(tmp_path / "t", target)
    for more in ([], ["--reverse", models[1]]):
        found = latentnlp("translate", "align", models[0], *files, "--quiet", *more).out
        lines = found.split("\n")[:-1]
        assert lines[0] and lines[1:] == ["", "", ""]


# --- what is refused ------------------------------------------------------------------------------


def test_bad_text_is_not_trained_on(refused: Refused, text: ToyCorpus, tmp_path: Path) -> None:
    source, target = text.part(0, 20).write(tmp_path)
    run = tmp_path / "run"

    def message(*arguments: str | Path) -> str:
        command = ["translate", "train", "--out", run, "--quiet", *options(*ONCE)]
        found = refused(*command, *arguments)
        assert not (run / "model").exists()
        return found

    short = write_lines(tmp_path / "short", text.target[:18])
    assert message(source, short).startswith(f"{source} has 20 lines but {short} has 18:")
    empty = write_lines(tmp_path / "empty", [])
    assert message(empty, empty).startswith(f"{empty} is empty")
    assert message(source, tmp_path / "no") == f"{tmp_path / 'no'}: no such file"
    broken = tmp_path / "latin1"
    broken.write_bytes(b"caf\xe9\n" * 20)
    assert f"{broken}, line 1, byte 4: not valid UTF-8" in message(source, str(broken))
    blank = write_lines(tmp_path / "blank", [""] * 20)
    assert "has no usable sentence pair" in message(source, blank)
    assert "go together" in message(source, target, "--dev-source", source)
    assert "min_count = 50" in message(source, target, "--set", "text.min_count=50")
    assert "unknown key 'learning.epoch'" in message(source, target, "--set", "learning.epoch=3")
    assert "subwords cannot be learnt" in message(source, target, "--set", "text.subwords=3")
    assert "beam = 0 is below 1" in message(source, target, "--set", "search.beam=0")


def test_a_folder_that_is_no_model(
    refused: Refused, model: Path, trained: tuple[Path, list[str]], new: tuple[str, str],
    tmp_path: Path,
) -> None:  # fmt: skip
    source, target = new
    missing = refused("translate", "decode", tmp_path / "no", source)
    assert "holds no translation model: train one with `latentnlp translate train`" in missing
    wrong = refused("translate", "decode", trained[0], source)
    assert wrong == f"{trained[0] / 'model'}: not a translation model"
    assert "not a translation model" in refused(
        "translate", "align", model, source, target, "--reverse", trained[0]
    )
    assert "not an alignment model" in refused("align", source, target, "--model", model)

    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    state = checkpoint.load(copy / "model")
    for key, value, expected in (
        ("model_version", 2, "written by a newer latentnlp (model version 2, this one reads 1)"),
        ("model_version", 0, "written by an older latentnlp"),
        ("weights", {}, "damaged translation model"),
        ("source", 7, "damaged translation model"),
        ("text", {"subword": 1}, "unknown key 'subword'"),
        ("subwords", [torch.zeros(3, dtype=torch.uint8)], "not a sentencepiece model"),
    ):
        checkpoint.save(copy / "model", state | {key: value})
        assert expected in refused("translate", "decode", copy, source)
    (copy / "model" / "tensors.safetensors").write_bytes(b"nothing")
    assert str(copy) in refused("translate", "decode", copy, source)


def test_bad_input_is_not_translated(
    refused: Refused, model: Path, new: tuple[str, str], tmp_path: Path
) -> None:
    source, target = new
    out, links = tmp_path / "out", tmp_path / "links"

    def message(*arguments: str | Path) -> str:
        found = refused("translate", *arguments, "-o", out, "--quiet")
        assert not out.exists() and not links.exists()
        return found

    broken = tmp_path / "latin1"
    broken.write_bytes(b"gut\ncaf\xe9\n")
    assert f"{broken}, line 2, byte 4: not valid UTF-8" in message("decode", model, broken)
    both = ["decode", model, broken, "--alignments", links]
    assert "not valid UTF-8" in message(*both)
    assert "no such file" in message("decode", model, tmp_path / "no")
    empty = write_lines(tmp_path / "empty", [])
    assert f"{empty} is empty" in message("decode", model, empty)
    assert "beam = 0 is below 1" in message("decode", model, source, "--beam", "0")
    assert "6 translations of a sentence" in message("decode", model, source, "--n-best", "6")
    assert "0 translations of a sentence" in message("decode", model, source, "--n-best", "0")
    for alpha in ("nan", "inf", "2000"):
        assert "length_normalisation" in message(
            "decode", model, source, "--length-normalisation", alpha
        )
    same = tmp_path / "same"
    command = ["translate", "decode", str(model), str(source), "-o", str(same)]
    assert "need a file each" in refused(*command, "--alignments", str(same))
    several = ["decode", model, source, "--n-best", "2", "--format", "text"]
    assert "--format jsonl" in message(*several)
    assert "--alignments wants a file's name" in message(
        "decode", model, source, "--alignments", "-"
    )
    short = write_lines(tmp_path / "short", ["a"])
    assert "has 40 lines but" in message("align", model, source, short)
    assert "between 0 and 1" in message("align", model, source, target, "--threshold", "1.5")
