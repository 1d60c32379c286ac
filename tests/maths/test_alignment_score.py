"""Alignment scores against values worked out by hand."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from latentnlp.data.links import Gold
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import (
    AlignmentScore,
    bootstrap_interval,
    calibration,
    expected_calibration_error,
    read_annotated,
    score,
)


def gold(sure: set[tuple[int, int]], possible: set[tuple[int, int]] = frozenset()) -> Gold:  # type: ignore[assignment]
    return Gold(frozenset(sure), frozenset(sure | possible))


# Och and Ney's definitions by hand: sentence 1 has |A|=3, |S|=2, |P|=3, |A∩S|=1, |A∩P|=2;
# sentence 2 has |A|=1, |S|=2, |P|=2, |A∩S|=1, |A∩P|=1.
GOLD = [gold({(0, 0), (1, 1)}, {(1, 2)}), gold({(0, 0), (1, 0)})]
PREDICTED = [{(0, 0), (1, 2), (2, 2)}, {(1, 0)}]


def test_scores_by_hand() -> None:
    got = score(PREDICTED, GOLD)
    assert got == AlignmentScore(2, 4, 4, 5, 2, 3)
    assert got.precision == pytest.approx(3 / 4)
    assert got.recall == pytest.approx(2 / 4)
    assert got.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert got.aer == pytest.approx(1 - (2 + 3) / (4 + 4))


def test_signature_format_and_dictionary() -> None:
    got = score(PREDICTED, GOLD)
    expected = r"AER\|sent:2\|sure:4\|possible:5\|null:dropped\|version:latentnlp-\S+"
    assert re.fullmatch(expected, got.signature)
    line = "AER 37.50  precision 75.00  recall 50.00  F1 60.00  links 4  " + got.signature
    assert got.format() == line
    kept = json.loads(json.dumps(got.to_dict()))
    assert kept["aer"] == got.aer and kept["predicted_possible"] == 3
    assert kept["signature"] == got.signature


@pytest.mark.parametrize(
    ("links", "truth", "aer", "precision", "recall", "f1"),
    [
        (set(), gold(set()), 0.0, 1.0, 1.0, 1.0),
        (set(), gold({(0, 0)}), 1.0, 1.0, 0.0, 0.0),
        ({(0, 0)}, gold(set()), 1.0, 0.0, 1.0, 0.0),
        ({(0, 0)}, gold(set(), {(0, 0)}), 0.0, 1.0, 1.0, 1.0),
        ({(1, 1)}, gold({(0, 0)}), 1.0, 0.0, 0.0, 0.0),
        ({(0, 0)}, gold({(0, 0)}, {(5, 5)}), 0.0, 1.0, 1.0, 1.0),
    ],
)
def test_empty_and_extreme_sets(
    links: set[tuple[int, int]], truth: Gold, aer: float, precision: float, recall: float, f1: float
) -> None:
    got = score([links], [truth])
    assert (got.aer, got.precision, got.recall, got.f1) == (aer, precision, recall, f1)


def test_no_sentences() -> None:
    assert score([], []).aer == 0.0
    assert bootstrap_interval([], []) == (0.0, 0.0)
    assert calibration([], []) == []


def test_aer_is_one_minus_f1_when_all_links_are_sure() -> None:
    predicted, truth = random_corpus(50, seed=3)
    got = score(predicted, truth)
    assert got.aer == pytest.approx(1 - got.f1)


def test_repeated_links_count_once() -> None:
    assert score([[(0, 0), (0, 0)]], [gold({(0, 0)})]).predicted == 1


@pytest.mark.parametrize("call", [score, bootstrap_interval])
def test_unequal_counts(call) -> None:
    with pytest.raises(UserError, match="2 gold alignments but 1 predicted"):
        call(PREDICTED[:1], GOLD)
    with pytest.raises(UserError, match="2 gold alignments but 1 lines of annotated"):
        call(PREDICTED, GOLD, [(frozenset(), frozenset())])


def test_annotated_positions_drop_links_with_no_end_among_them(tmp_path: Path) -> None:
    path = tmp_path / "test.annotated"
    path.write_text("0 ||| 0 2\n ||| \n")
    annotated = read_annotated(path)
    assert annotated == [({0}, {0, 2}), (set(), set())]
    # 1-2 stays for its target, 0-0 for both, 2-2 for its target; 1-1 and sentence 2 go.
    got = score([{(0, 0), (1, 2), (2, 2), (1, 1)}, {(1, 0)}], GOLD, annotated)
    assert (got.predicted, got.predicted_sure, got.predicted_possible) == (3, 1, 2)
    assert "|links:annotated|" in got.signature


@pytest.mark.parametrize("line", ["0 1 2", "0 x ||| 1", "-1 ||| 1"])
def test_damaged_annotated_positions(tmp_path: Path, line: str) -> None:
    path = tmp_path / "test.annotated"
    path.write_text(f"0 ||| 0\n{line}\n")
    with pytest.raises(UserError, match=r"test\.annotated, line 2: expected source positions"):
        read_annotated(path)
    with pytest.raises(UserError, match="absent"):
        read_annotated(tmp_path / "absent")


def random_corpus(count: int, seed: int) -> tuple[list[set[tuple[int, int]]], list[Gold]]:
    draw = random.Random(seed)
    truth = [{(draw.randrange(9), draw.randrange(9)) for _ in range(8)} for _ in range(count)]
    predicted = [{link for link in links if draw.random() < 0.8} | {(9, 9)} for links in truth]
    return predicted, [gold(links) for links in truth]


def test_bootstrap_interval() -> None:
    predicted, truth = random_corpus(200, seed=4)
    low, high = bootstrap_interval(predicted, truth, seed=1)
    aer = score(predicted, truth).aer
    assert low < aer < high
    assert (low, high) == bootstrap_interval(predicted, truth, seed=1)
    # The interval shrinks with 1/sqrt(N): 12 of 200 give about 4 times its width.
    few_low, few_high = bootstrap_interval(predicted[:12], truth[:12], seed=1)
    assert 2 < (few_high - few_low) / (high - low) < 8
    # Sentences that are all alike leave nothing to vary.
    assert bootstrap_interval(predicted[:1] * 5, truth[:1] * 5) == pytest.approx(
        [score(predicted[:1], truth[:1]).aer] * 2
    )


def test_calibration() -> None:
    truth = [gold({(0, 0)}, {(1, 1)}), gold({(2, 2)})]
    scores = [{(0, 0): 0.95, (1, 1): 1.0000001, (2, 2): 0.1}, {(2, 2): 0.92, (0, 1): 0.12}]
    low, high = calibration(scores, truth)
    assert (low.low, low.high, low.count, low.precision) == (0.1, 0.2, 2, 0.0)
    assert low.mean_score == pytest.approx(0.11)
    assert (high.low, high.high, high.count, high.precision) == (0.9, 1.0, 3, 1.0)
    # Two links at .11 of which none is right, three at .9567 which all are.
    error = (2 * 0.11 + 3 * (1 - (0.95 + 1.0 + 0.92) / 3)) / 5
    assert expected_calibration_error([low, high]) == pytest.approx(error)
    assert expected_calibration_error([]) == 0.0
    with pytest.raises(UserError, match="scored links"):
        calibration(scores[:1], truth)
