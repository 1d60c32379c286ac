"""`latentnlp align` learns: what is learnt, with which model, kept where, and the same twice."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from command import Command
from toy_corpus import FAST, ToyCorpus, parse, toy_corpus, write_lines

from latentnlp.data.links import Gold
from latentnlp.evaluation.alignment import score

Trained = tuple[Path, list[str]]
SMALL = (
    "model.counts.neural.dim=16",
    "model.type_based.dim=16",
    "model.type_based.ngrams=[]",  # the words are made up: their spelling says nothing
    "model.contextual.types.ngrams=[]",
    "model.contextual.types.dim=16",
    "model.contextual.states=8",
    "lexicon.rounds=1",
    "lexicon.first_epochs=10",
    "lexicon.learner.learning_rate=0.05",
    "lexicon.em_epochs=1",
    "marginal.epochs=5",
    "batches.sentences=10",
    "marginal.learner.learning_rate=0.03",
)


def test_the_defaults_learn_a_dictionary_and_not_noise(
    latentnlp: Command, corpus: ToyCorpus, tmp_path: Path
) -> None:
    done = latentnlp("align", *corpus.write(tmp_path), "--quiet")
    assert done.err == ""
    assert corpus.accuracy(done.lines) > 0.95

    # Negative control: the same sentences, but not with their translations.
    order = list(range(len(corpus)))
    random.Random(2).shuffle(order)
    shuffled = replace(corpus, target=[corpus.target[n] for n in order])
    done = latentnlp("align", *shuffled.write(tmp_path, "shuffled"), "--quiet")
    assert len(done.lines) == len(corpus)
    assert corpus.accuracy(done.lines) < 0.4


@pytest.mark.parametrize("positions", ["ibm1", "ibm2", "hmm"])
@pytest.mark.parametrize(
    "emission",
    ["counts uniform", "counts unigram", "counts neural", "type_based", "contextual"],
)
def test_every_model_trains(
    latentnlp: Command, tmp_path: Path, positions: str, emission: str
) -> None:
    corpus = toy_corpus(60, words=12)
    name, _, mean = emission.partition(" ")
    settings = [f"model.positions={positions}", f"model.emission={name}", *SMALL]
    if mean:
        settings.append(f"model.counts.mean={mean}")
    options = [part for setting in settings for part in ("--set", setting)]
    files = corpus.write(tmp_path)
    model = tmp_path / "model"
    done = latentnlp("align", *files, "--quiet", "--model", model, *FAST[:4], *options)
    assert done.code == 0
    assert corpus.accuracy(done.lines) > 0.5
    assert latentnlp("align", *files, "--quiet", "--model", model).lines == done.lines


def test_subwords_give_links_of_words(latentnlp: Command, tmp_path: Path) -> None:
    corpus = toy_corpus(100, words=15)
    files, model = corpus.write(tmp_path), tmp_path / "model"
    options = [*FAST, "--model", model, "--format", "pharaoh-scores", "--quiet"]
    aside = ["--forward-links", tmp_path / "forward", "--reverse-links", tmp_path / "reverse"]
    done = latentnlp("align", *files, *options, *aside, "--set", "text.subwords=60")
    assert done.code == 0
    assert corpus.accuracy(done.lines) > 0.7
    for path in (tmp_path / "forward", tmp_path / "reverse"):
        assert corpus.accuracy(path.read_text().splitlines()) > 0.5
    again = latentnlp("align", *files, "--model", model, "--format", "pharaoh-scores", "--quiet")
    assert again.lines == done.lines


def test_a_model_is_trained_once(
    latentnlp: Command, corpus: ToyCorpus, tmp_path: Path, trained: Trained
) -> None:
    model = tmp_path / "deep" / "model"
    align = ["align", *corpus.write(tmp_path), "--model", model]
    first = latentnlp(*align, *FAST)
    assert first.code == 0 and "ibm1 epoch 1" in first.err
    assert sorted(path.name for path in model.iterdir()) == [
        "checkpoints", "config.json", "data.json", "environment.json", "metrics.jsonl", "model",
        "train.log",
    ]  # fmt: skip
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert latentnlp(*align, *FAST).lines == first.lines  # the same command again
    second = latentnlp(*align)
    assert second.lines == first.lines
    assert "epoch" not in second.err
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before

    # A few of the same lines, in another order, as new text.
    lines = [7, 3, 100, 3]
    new = [
        write_lines(tmp_path / "s", [corpus.source[n] for n in lines]),
        write_lines(tmp_path / "t", [corpus.target[n] for n in lines]),
    ]
    links = latentnlp("align", *new, "--model", model, "--quiet").lines
    assert links == [first.lines[n] for n in lines]
    # Nothing but the text, the settings and the seed matters.
    assert first.lines == trained[1]


def test_a_model_does_what_it_was_trained_to_do(
    latentnlp: Command, corpus: ToyCorpus, tmp_path: Path
) -> None:
    """How a run decodes is kept with it; the command line may say otherwise."""
    model = tmp_path / "model"
    align = ["align", *corpus.write(tmp_path), "--quiet", "--model", model]
    blunt = ("--set", "decoding.sharpness=0.5")  # or this easy text has one answer
    first = latentnlp(*align, *FAST, "--decode", "union", *blunt)
    assert latentnlp(*align).lines == first.lines
    fewer = latentnlp(*align, "--decode", "intersection").lines
    assert all(parse(one) <= parse(all_) for one, all_ in zip(fewer, first.lines, strict=True))
    assert fewer != first.lines


def test_seeds(latentnlp: Command, corpus: ToyCorpus, tmp_path: Path) -> None:
    text = corpus.part(0, 40).write(tmp_path)
    align = ["align", *text, "--quiet", "--format", "pharaoh-scores"]
    align += ["--set", "model.emission=type_based", *(p for s in SMALL for p in ("--set", s))]
    align += FAST[:4]
    first = latentnlp(*align, "--seed", "3").out
    assert latentnlp(*align, "--seed", "3").out == first
    assert latentnlp(*align, "--seed", "4").out != first
    assert latentnlp(*align, "--set", "seed=3").out == first


def test_settings_come_from_a_file_too(
    latentnlp: Command, corpus: ToyCorpus, tmp_path: Path
) -> None:
    config = tmp_path / "fast.toml"
    config.write_text(
        "[em]\nibm1_epochs = 0\nepochs = 1\n"
        "[model]\npositions = 'ibm1'\n[model.counts]\nmean = 'unigram'\n"
    )
    align = ["align", *corpus.write(tmp_path), "--config", config, "--model", tmp_path / "m"]
    done = latentnlp(*align, "--set", "em.epochs=3")
    assert done.code == 0
    metrics = (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == 3 and "ibm1 epoch" not in done.err


def test_evaluation_agrees_with_the_links(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    """From text to a score with the command alone, against the same score in Python."""
    _, links = trained
    gold = write_lines(
        tmp_path / "gold", [" ".join(f"{i}-{j}" for i, j in one) for one in corpus.gold]
    )
    predicted = write_lines(tmp_path / "links", links)
    done = latentnlp("evaluate", "alignment", predicted, gold, "--text", *corpus.write(tmp_path))
    expected = score([parse(one) for one in links], [Gold(one, one) for one in corpus.gold])
    assert done.out == expected.format() + "\n"
    assert 1 - expected.aer == pytest.approx(corpus.accuracy(links))
