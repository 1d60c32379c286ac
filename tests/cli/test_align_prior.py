"""`latentnlp align --prior`: a model learns on, a dictionary turns a link, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command, Refused
from toy_corpus import FAST, ToyCorpus, toy_corpus, write_lines

from latentnlp import Aligner, checkpoint
from latentnlp.emissions import counts
from latentnlp.tasks.alignment import AlignmentConfig, EMStages
from latentnlp.tasks.alignment_model import ModelConfig

NO_EM = ("--set", "em.ibm1_epochs=0", "--set", "em.epochs=0", *FAST[4:])


IBM1 = ("--set", "model.positions=ibm1")  # knows nothing but words
A = 60  # the first of the text


@pytest.fixture(scope="module")
def text() -> ToyCorpus:
    """80 pairs; four of the 16 words of the first ``A`` stand in none of the rest."""
    drawn = toy_corpus(400, words=16, seed=3)
    known = set(sorted({word for line in drawn.source for word in line.split()})[:12])
    without = [n for n in range(len(drawn)) if set(drawn.source[n].split()) <= known]
    others = [n for n in range(len(drawn)) if n not in without]
    chosen = others[:A] + without[:20]
    return ToyCorpus(*([column[n] for n in chosen] for column in vars(drawn).values()))


def weights(folder: Path) -> dict[str, Any]:
    return checkpoint.load(folder / "model")["weights"]


def table(folder: Path, name: str) -> dict[tuple[str, str], float]:
    """The counts of one direction by the words themselves."""
    state = checkpoint.load(folder / "model")
    sides = [["<pad>", "<unk>", *state[side]["words"]] for side in ("source", "target")]
    emission = {key: state["weights"][f"{name}.emission.{key}"] for key in ("pairs", "counts")}
    rows = zip(emission["pairs"].tolist(), emission["counts"].tolist(), strict=True)
    size = len(sides[1])
    return {(sides[0][key // size], sides[1][key % size]): n for key, n in rows if key}


def test_without_a_step_the_prior_is_the_model(
    latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    """The counts, their totals and the positions of a model of A, on the words of A and B."""
    first, second = (tmp_path / name for name in ("first", "second"))
    a, b = text.part(0, A).write(tmp_path, "a"), toy_corpus(10, 9, seed=9).write(tmp_path, "b")
    assert latentnlp("align", *a, "--model", first, "--quiet", *FAST).code == 0
    done = latentnlp("align", *b, "--prior", first, "--model", second, "--quiet", *NO_EM)
    assert (done.code, done.err) == (0, "")
    before, after = weights(first), weights(second)
    for name in ("source_to_target", "target_to_source"):
        assert table(second, name) == table(first, name) != {}
        for total in ("totals", "null_counts"):
            values = [one[f"{name}.emission.{total}"] for one in (before, after)]
            first_words, all_words = (one[one > 0].sort().values for one in values)
            assert len(first_words) >= 16 and torch.equal(first_words, all_words)
        for part in ("null_logit", "jump_logits", "start_logits"):
            key = f"{name}.positions.{part}"
            assert torch.equal(before[key], after[key])
        for part in ("words_left", "words_reached"):  # of the first text's words
            values = [one[f"{name}.positions.{part}"] for one in (before, after)]
            first_words, all_words = (one[one != 0].sort().values for one in values)
            assert len(first_words) >= 16 and torch.equal(first_words, all_words)
    # A half of it, where only that is asked for.
    half = ["--set", "model.counts.prior_weight=0.5", "--model", tmp_path / "half"]
    latentnlp("align", *b, "--prior", first, "--quiet", *NO_EM, *half)
    found = table(tmp_path / "half", "source_to_target")
    for pair, count in table(first, "source_to_target").items():
        assert found.get(pair, 0.0) == pytest.approx(count / 2, abs=1e-3)


def test_training_goes_on(latentnlp: Command, text: ToyCorpus, tmp_path: Path) -> None:
    """Words that only the first text has are known to a model trained further on the second."""
    old, new = tmp_path / "old", tmp_path / "new"
    a, b = text.part(0, A), text.part(A)
    gone = {word for line in a.source for word in line.split()}
    gone -= {word for line in b.source for word in line.split()}
    assert len(gone) == 4
    latentnlp("align", *a.write(tmp_path, "a"), "--model", old, "--quiet", *FAST, *IBM1)
    align = ["align", *b.write(tmp_path, "b"), "--quiet", *FAST, *IBM1]
    assert latentnlp(*align, "--prior", old, "--model", new).code == 0
    assert latentnlp(*align, "--model", tmp_path / "alone").code == 0

    held = a.write(tmp_path, "held")
    links = latentnlp("align", *held, "--model", new, "--quiet").lines
    alone = latentnlp("align", *held, "--model", tmp_path / "alone", "--quiet").lines
    assert a.accuracy(links) > 0.95 > 0.8 > a.accuracy(alone)
    # And what the second text says is counted too: n + π.
    before, after = table(old, "source_to_target"), table(new, "source_to_target")
    assert sum(after.values()) > sum(before.values()) + 20
    assert all(after.get(pair, 0.0) > count - 2e-3 for pair, count in before.items())
    # The same command again aligns.
    first = latentnlp(*align, "--prior", old, "--model", new).lines
    assert first == latentnlp("align", *b.write(tmp_path, "b"), "--model", new, "--quiet").lines


@pytest.mark.parametrize(
    "settings",
    [
        ("model.counts.mean=neural", "model.counts.neural.dim=8", "lexicon.first_epochs=1"),
        ("model.emission=type_based", "model.type_based.dim=8", "marginal.epochs=1"),
        ("text.subwords=40",),
        ("model.positions=ibm2",),
    ],
)
def test_every_model_may_have_a_prior(
    latentnlp: Command, text: ToyCorpus, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    old = tmp_path / "old"
    pieces = [part for one in settings if "subwords" in one for part in ("--set", one)]
    latentnlp(
        "align", *text.part(0, A).write(tmp_path, "a"), "--model", old, "--quiet", *FAST, *pieces
    )
    options = [part for one in settings for part in ("--set", one)]
    align = ["align", *text.part(A).write(tmp_path, "b"), "--quiet", *FAST, *options]
    done = latentnlp(*align, "--prior", old)
    assert done.code == 0
    assert text.part(A).accuracy(done.lines) > 0.6
    assert latentnlp(*align, "--prior", old).lines == done.lines


@pytest.mark.parametrize("form", ["{}\t{}\t{}", "LEX\t{}\t{}\t{}"])
def test_a_dictionary_turns_a_link(latentnlp: Command, tmp_path: Path, form: str) -> None:
    """Both words stand beside both words: the text alone does not say which is which."""
    source, target = (
        write_lines(tmp_path / "s", ["a b"] * 4),
        write_lines(tmp_path / "t", ["u v"] * 4),
    )
    align = ["align", source, target, "--quiet", *FAST, *IBM1, "--threshold", "0.6"]
    assert set(latentnlp(*align).lines) == {""}
    for pairs, expected in (("au bv", "0-0 1-1"), ("av bu", "0-1 1-0"), ("av", "0-1 1-0")):
        lines = [form.format(*pair, 20) for pair in pairs.split()]
        dictionary = write_lines(tmp_path / "dictionary", lines)
        assert set(latentnlp(*align, "--prior", dictionary).lines) == {expected}
    nothing = ["--prior", dictionary, "--set", "model.counts.prior_weight=0"]
    assert set(latentnlp(*align, *nothing).lines) == {""}


def test_words_of_a_dictionary_that_the_text_has_not(
    latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    dictionary = write_lines(tmp_path / "d", ["new\tneu\t20", "HMMF\t1\t3", "HMMF\t2\t3"])
    files, model = text.write(tmp_path), tmp_path / "model"
    done = latentnlp("align", *files, "--prior", dictionary, "--model", model, *FAST, *IBM1)
    assert done.err.count(f"{dictionary}: lines that are not used: 2 HMMF\n") == 1
    new = [write_lines(tmp_path / "x", ["new " + text.source[0]])]
    new.append(write_lines(tmp_path / "y", [text.target[0] + " neu"]))
    (links,) = latentnlp("align", *new, "--model", model, "--quiet").lines
    assert f"0-{len(text.target[0].split())}" in links.split()


def test_in_python(text: ToyCorpus, tmp_path: Path) -> None:
    model = ModelConfig("ibm1", counts=counts.Config(mean="unigram"))
    config = AlignmentConfig(em=EMStages(ibm1_epochs=2, epochs=2), model=model)
    old = Aligner(config, device="cpu").fit(text.source[:A], text.target[:A])
    old.save(tmp_path / "old")
    new = Aligner(config, device="cpu")
    new.fit(text.source[A:], text.target[A:], prior=tmp_path / "old")
    first = text.part(0, A)
    assert first.accuracy(new.align(first.source, first.target)) > 0.95


# --- what is refused ------------------------------------------------------------------------------


def test_what_is_no_prior(
    refused: Refused, trained: tuple[Path, list[str]], text: ToyCorpus, tmp_path: Path
) -> None:
    align = ["align", *text.write(tmp_path), "--quiet", *FAST, "--prior"]
    (tmp_path / "folder").mkdir()
    message = refused(*align, tmp_path / "folder")
    assert message.startswith(f"{tmp_path / 'folder'}: a prior is a trained model or a dictionary")
    assert refused(*align, tmp_path / "no") == f"{tmp_path / 'no'}: no such file"
    image = tmp_path / "cat.jpg"
    image.write_bytes(b"\xff\xd8\xff")
    assert refused(*align, image).startswith(f"{image}, line 1, byte 1: not valid UTF-8")
    pairs = write_lines(tmp_path / "pairs", ["a\tb", "a ||| b"])
    assert refused(*align, pairs).startswith(f"{pairs}, line 2: expected source, tab, target")
    empty = write_lines(tmp_path / "empty", ["", "HMMF\t1\t2"])
    assert refused(*align, empty).startswith(f"{empty}: a dictionary without a word pair")
    pieces = refused(*align, pairs, "--set", "text.subwords=40")
    assert pieces.startswith(f"{pairs}: a dictionary is of words")
    weight = refused(*align, pairs, "--set", "model.counts.prior_weight=-1")
    assert "prior_weight = -1.0 is below 0" in weight

    model, _ = trained
    for setting in ("text.lowercase=false", "text.subwords=60"):
        message = refused(*align, model, "--set", setting)
        assert message.startswith(f"{model}: a prior that was trained with text.")
    assert "give --set text.subwords=0" in message


def test_a_neural_model_is_no_prior(
    refused: Refused, latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    settings = ("model.emission=type_based", "model.type_based.dim=4", "marginal.epochs=1")
    options = [part for one in settings for part in ("--set", one)]
    align = ["align", *text.write(tmp_path), "--quiet", *FAST]
    assert latentnlp(*align, *options, "--model", model).code == 0
    message = refused(*align, "--prior", model)
    assert message == f"{model}: type_based emissions have no counts to be a prior"


def test_a_model_that_had_another_prior(
    refused: Refused, latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    model, dictionary = tmp_path / "model", write_lines(tmp_path / "d", ["a\tb"])
    align = ["align", *text.write(tmp_path), "--quiet", *FAST, "--model", model]
    assert latentnlp(*align).code == 0
    message = refused(*align, "--prior", dictionary)
    assert message.startswith(f"{model}: holds a model that was not trained with this --prior")
    assert "not trained with this --prior" in refused(*align, "--prior", model)


def test_the_prior_of_an_unfinished_run_has_changed(
    refused: Refused, latentnlp: Command, text: ToyCorpus, tmp_path: Path
) -> None:
    model, dictionary = tmp_path / "model", write_lines(tmp_path / "d", ["a\tb"])
    align = ["align", *text.write(tmp_path), "--quiet", *FAST, "--model", model]
    assert latentnlp(*align, "--prior", dictionary).code == 0
    shutil.rmtree(model / "model")
    write_lines(Path(dictionary), ["a\tb\t2"])
    assert str(model) in refused(*align, "--prior", dictionary)
