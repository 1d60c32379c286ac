"""Scores of translations against figures worked out by hand and against sacrebleu's own command."""

from __future__ import annotations

import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from latentnlp.errors import UserError
from latentnlp.evaluation.translation import (
    TOKENIZERS,
    Settings,
    detokenize,
    looks_tokenised,
    score,
)

FEW = Settings(tokenize="none", samples=20)


def noisy(lines: list[str], share: float, seed: int) -> list[str]:
    """The lines without a share of their words."""
    draw = random.Random(seed)
    return [" ".join(word for word in line.split() if draw.random() >= share) for line in lines]


@pytest.fixture(scope="module")
def reference() -> list[str]:
    draw = random.Random(0)
    words = ["a", "man", "dog", "(", "runs", ",", "red", "hat", "'s", "the", "U.S.", "ball"]
    return [" ".join(draw.choices(words, k=draw.randint(4, 15))) + " ." for _ in range(80)]


def test_by_hand() -> None:
    """4-grams: a b c d e against a b c x e f. Precisions 4/5, 2/4, 1/3, 1/4 (0/2 smoothed to
    1/(2 · 2)); brevity penalty exp(1 - 6/5). TER: 2 edits (d → x, f) for 6 words."""
    found = score(["a b c d e"], [["a b c x e f"]], FEW)
    assert found.precisions == pytest.approx((80, 50, 100 / 3, 25))
    penalty = math.exp(1 - 6 / 5)
    assert found.brevity_penalty == pytest.approx(penalty)
    assert found.length_ratio == pytest.approx(5 / 6)
    expected = 100 * penalty * (0.8 * 0.5 * (1 / 3) * 0.25) ** 0.25
    assert found.system["BLEU"].score == pytest.approx(expected)
    assert found.system["TER"].score == pytest.approx(100 * 2 / 6)
    assert found.baseline is None and found.system["BLEU"].p_value is None
    # One sentence: every sample is the same.
    assert found.system["BLEU"].mean == pytest.approx(expected, rel=1e-5)
    assert found.system["BLEU"].margin == pytest.approx(0, abs=1e-5)


def test_characters_by_hand() -> None:
    """chrF2 = 5 P R / (4 P + R) of P and R, each the mean over n = 1 … 3 (the longest there is):
    abc against abd: 2/3, 1/2, 0, the same of both."""
    found = score(["abc"], [["abd"]], FEW).system["chrF2"].score
    assert found == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_the_better_of_several_references(reference: list[str]) -> None:
    translations = noisy(reference, 0.3, 1)
    one = score(translations, [reference], FEW)
    both = score(translations, [reference, translations], FEW)
    assert one.system["BLEU"].score < 90
    assert both.system["BLEU"].score == pytest.approx(100)
    assert both.system["TER"].score == 0
    assert "|nrefs:2|" in both.system["BLEU"].signature


@pytest.mark.parametrize("tokenize", TOKENIZERS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_against_sacrebleus_command(
    reference: list[str], tokenize: str, lowercase: bool, tmp_path: Path
) -> None:
    capitals = [line.capitalize() for line in reference]
    better, worse = noisy(reference, 0.25, 1), noisy(reference, 0.28, 2)
    for name, lines in (("ref", capitals), ("better", better), ("worse", worse)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = Settings(tokenize=tokenize, lowercase=lowercase, samples=200, seed=7)
    found = score(better, [capitals], settings, baseline=worse)
    # Its JSON does not work with numpy 2: this is its table.
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "worse", "better", "-f", "text"]
    command += ["-m", "bleu", "chrf", "ter", "--width", "6", "--paired-bs", "--paired-bs-n", "200"]
    command += ["--tokenize", tokenize, *(["--lowercase", "--chrf-lowercase"] if lowercase else [])]
    if tokenize == "zh":
        command += ["--ter-asian-support", "--ter-normalized"]
    environment = {**os.environ, "SACREBLEU_SEED": "7", "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=True, encoding="utf-8"
    )
    theirs = re.findall(r"([\d.]+) \(([\d.]+) ± ([\d.]+)\)", done.stdout)
    p_values = [float(one) for one in re.findall(r"p = ([\d.]+)\)", done.stdout)]
    assert found.baseline is not None and len(theirs) == 6
    names = ("BLEU", "chrF2", "TER")
    ours = [scores[name] for scores in (found.baseline, found.system) for name in names]
    for one, other in zip(ours, theirs, strict=True):
        figures = [float(figure) for figure in other]
        assert [one.score, one.mean, one.margin] == pytest.approx(figures, abs=1e-5)
    assert [one.p_value for one in ours[3:]] == pytest.approx(p_values, abs=1e-4)
    assert f"|tok:{tokenize}|" in found.system["BLEU"].signature
    assert f"|case:{'lc' if lowercase else 'mixed'}|" in found.system["BLEU"].signature


def test_what_a_comparison_says(reference: list[str]) -> None:
    better, like_it, worse = (noisy(reference, *one) for one in ((0.2, 1), (0.2, 2), (0.4, 3)))
    settings = Settings(tokenize="none", samples=300)
    far = score(better, [reference], settings, baseline=worse)
    near = score(better, [reference], settings, baseline=like_it)
    for name in far.system:
        p_far, p_near = far.system[name].p_value, near.system[name].p_value
        assert p_far is not None and p_near is not None
        assert p_far < 0.01 and p_near > 0.05, name
    assert far.baseline is not None
    assert far.baseline["BLEU"].score < far.system["BLEU"].score
    assert far.baseline["TER"].score > far.system["TER"].score
    # The scores of a system do not depend on who stands beside it.
    alone = score(worse, [reference], settings)
    assert alone.system["BLEU"].score == far.baseline["BLEU"].score
    assert alone.system["BLEU"].margin == far.baseline["BLEU"].margin


def test_the_seed_is_that_of_the_samples(
    reference: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    translations = noisy(reference, 0.3, 1)

    def mean(seed: int) -> float:
        settings = Settings(tokenize="none", samples=50, seed=seed)
        return score(translations, [reference], settings).system["BLEU"].mean

    monkeypatch.setenv("SACREBLEU_SEED", "99")
    assert mean(1) == mean(1) != mean(2)
    assert os.environ["SACREBLEU_SEED"] == "99"
    monkeypatch.delenv("SACREBLEU_SEED")
    assert mean(99) != mean(1)
    assert "SACREBLEU_SEED" not in os.environ


# ------------------------------------------------------------------------------------------- words


def test_words_put_together() -> None:
    assert detokenize(['ein mann ( links ) , der " hallo " sagt .'], "de") == [
        'ein mann (links), der "hallo" sagt.'
    ]
    assert detokenize(["it 's a saftig @-@ grün &amp; rot dog", ""], "en") == [
        "it's a saftig-grün & rot dog",
        "",
    ]
    assert detokenize(["l' homme est là ?"], "fr") == ["l'homme est là ?"]


def test_detokenised_scores_are_of_running_text() -> None:
    """13a takes the dot from `dog.`, but not from `U.S. .`: together the two lines are equal."""
    cut, whole = ["the man 's dog ."] * 3, ["the man's dog."] * 3
    as_it_is = score(cut, [whole], Settings(samples=5))
    together = score(cut, [whole], Settings(samples=5, detokenize="en"))
    assert as_it_is.system["TER"].score > 0
    assert together.system["TER"].score == 0
    assert together.system["BLEU"].score == pytest.approx(100)
    assert "|detok:en-sacremoses-" in together.system["BLEU"].signature
    assert "detok" not in as_it_is.system["BLEU"].signature


def test_what_looks_tokenised() -> None:
    assert looks_tokenised(["a dog ."] * 2 + ["a cat"] * 8)
    assert not looks_tokenised(["a dog."] * 9 + ["U.S. ."])


# --------------------------------------------------------------------------------------- bad input


def test_texts_that_do_not_belong_together() -> None:
    with pytest.raises(UserError, match="the translations: no line"):
        score([], [[]], FEW)
    with pytest.raises(UserError, match="reference 2 has 1 lines but the translations has 2"):
        score(["a", "b"], [["a", "b"], ["a"]], FEW)
    with pytest.raises(UserError, match="the baseline has 3 lines but the translations has 2"):
        score(["a", "b"], [["a", "b"]], FEW, baseline=["a", "b", "c"])


@pytest.mark.parametrize(
    "bad",
    [
        {"tokenize": "14a"},
        {"detokenize": "German"},
        {"detokenize": ""},
        {"samples": 0},
        {"seed": 0},
    ],
)
def test_settings_of_no_meaning(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Settings(**bad)
