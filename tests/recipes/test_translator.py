"""`latentnlp.Translator`: fit, translate, align, score, save and load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_corpus import ToyCorpus, toy_corpus
from toy_translation import LEARNS, ONCE, same_words

from latentnlp import Translator, UserError
from latentnlp import config as configuration
from latentnlp.cli import main
from latentnlp.tasks.translation import TranslationConfig

SMALL = configuration.load(TranslationConfig, None, LEARNS)
BRIEF = configuration.load(TranslationConfig, None, ONCE)


@pytest.fixture(scope="module")
def corpus() -> ToyCorpus:
    return toy_corpus(280, words=20)


@pytest.fixture(scope="module")
def translator(corpus: ToyCorpus) -> Translator:
    text = corpus.part(0, 250)
    return Translator(config=SMALL, device="cpu").fit(text.source, text.target)


def test_it_learns(translator: Translator, corpus: ToyCorpus) -> None:
    new = corpus.part(250)
    found = translator.translate([*new.source, ""])
    assert found[-1] == "" and same_words(found[:-1], new.target) > 0.85
    assert found[:3] == translator.translate([line.split() for line in new.source[:3]])
    assert new.accuracy([one.links for one in translator.align(new.source, new.target)]) > 0.8
    scores = translator.score(new.source, new.target)
    assert scores.system["BLEU"].score > 30 and "tok:none" in scores.system["BLEU"].signature


def test_translations_have_scores_and_links(translator: Translator, corpus: ToyCorpus) -> None:
    (found,) = translator.translations(corpus.source[250:251], 3, beam=4)
    assert len(found) == 3 and found[0].score >= found[1].score >= found[2].score
    for one in found:
        assert one.alignment is not None and one.alignment.posterior is not None
        size = (len(corpus.source[250].split()), len(one.words))
        assert one.alignment.posterior.shape == size
        assert all(i < size[0] and j < size[1] for i, j in one.alignment.links)
    with pytest.raises(UserError, match="6 translations of a sentence: the beam holds 1 to 5"):
        translator.translations(["a"], 6)


def test_a_saved_one_translates_alike(
    translator: Translator, corpus: ToyCorpus, tmp_path: Path
) -> None:
    translator.save(tmp_path / "model")
    again = Translator.load(tmp_path / "model", device="cpu")
    assert again.translate(corpus.source[250:]) == translator.translate(corpus.source[250:])
    assert again.model_ is not None and translator.model_ is not None
    assert again.model_.text == translator.model_.text and again.config is not None
    first, second = translator.model_.network.state_dict(), again.model_.network.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert again.model_.source.vocabulary == translator.model_.source.vocabulary


@pytest.mark.parametrize("joint", ["true", "false"])
def test_pieces_are_saved(joint: str, corpus: ToyCorpus, tmp_path: Path) -> None:
    settings = [*ONCE, "text.subwords=70", f"text.joint={joint}", "text.kind=unigram"]
    config = configuration.load(TranslationConfig, None, settings)
    part = corpus.part(0, 50)
    fitted = Translator(config=config, device="cpu").fit(part.source, part.target)
    fitted.save(tmp_path / "model")
    again = Translator.load(tmp_path / "model", device="cpu")
    assert fitted.model_ is not None and again.model_ is not None
    for name in ("source", "target"):
        theirs, ours = getattr(fitted.model_, name), getattr(again.model_, name)
        assert ours.encode(part.source[0].split()) == theirs.encode(part.source[0].split())
    same = again.model_.source.segmenter.subwords is again.model_.target.segmenter.subwords
    assert same == (joint == "true")


def test_a_run_is_kept_and_read_by_the_command(
    corpus: ToyCorpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, dev = corpus.part(0, 50), corpus.part(50, 60)
    state = torch.random.get_rng_state()
    brief = Translator(config=BRIEF, device="cpu", kind="attention", seed=3)
    brief.fit(part.source, part.target, dev=(dev.source, dev.target), run=tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert brief.model_ is not None and brief.model_.config.kind == "attention"
    text = (tmp_path / "run" / "config.json").read_text()
    assert '"seed": 3' in text and "dev_perplexity" in (tmp_path / "run/metrics.jsonl").read_text()
    brief.save(tmp_path / "model")
    source = corpus.part(50, 55).write(tmp_path)[0]
    assert main(["translate", "decode", str(tmp_path / "model"), source, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines() == brief.translate(corpus.source[50:55])


def test_two_directions_agree(translator: Translator, corpus: ToyCorpus) -> None:
    text, new = corpus.part(0, 250), corpus.part(250)
    back = Translator(config=SMALL, device="cpu").fit(text.target, text.source)
    found = translator.align(new.source, new.target, back)
    assert new.accuracy([one.links for one in found]) > 0.8
    few = translator.align(new.source, new.target, back, threshold=0.7)
    assert all(one.links <= other.links for one, other in zip(few, found, strict=True))


def test_what_is_refused(corpus: ToyCorpus, tmp_path: Path) -> None:
    empty = Translator()
    with pytest.raises(UserError, match="not trained yet"):
        empty.translate(["a"])
    with pytest.raises(UserError, match="put it in brackets"):
        empty.fit("a b", "c d")
    with pytest.raises(UserError, match="source has 2 lines but target has 1"):
        empty.fit(["a", "b"], ["c"])
    with pytest.raises(UserError, match=r"'model\.kind' must be one of"):
        Translator(kind="hmm").fit(["a"], ["b"])
    with pytest.raises(UserError, match="holds no translation model"):
        Translator.load(tmp_path)
