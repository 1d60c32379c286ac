"""Rationale scores against values worked out by hand, brute force, and the last-words rule."""

from __future__ import annotations

import gzip
import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latentnlp.errors import UserError
from latentnlp.evaluation.rationale import (
    AOPC_SHARES,
    Spans,
    agreement,
    auprc,
    average_precision,
    bootstrap_intervals,
    bootstrap_mean,
    classification,
    faithfulness,
    regression,
    roc_auc,
    selection,
    spans_of,
    spread,
    token_mask,
    top_share,
    top_tokens,
)

MOVIES = Path(__file__).parents[3] / "shared" / "data" / "rationale" / "eraser_movies"

# Document 1: S = {1, 2, 3, 7}, H = {2, 3, 4, 7, 8}, S ∩ H = {2, 3, 7}: P 3/4, R 3/5, F1 2/3.
#             [1, 4) and [2, 5) share 2 of 4 tokens, [7, 8) and [7, 9) 1 of 2: both just match.
# Document 2: S = {1, 2, 3}, H = {0, 1}, S ∩ H = {1}: P 1/3, R 1/2, F1 2/5. IOU 1/4: no match.
# Document 3: S empty, H = {0}: P, R and F1 are 0.
# Document 4: nothing selected and nothing human: left out.
PREDICTED: list[Spans] = [[(1, 4), (7, 8)], [(1, 4)], [], []]
GOLD: list[Spans] = [[(2, 5), (7, 9)], [(0, 2)], [(0, 1)], []]
LENGTHS = [10, 4, 3, 5]


def test_tokens_by_hand() -> None:
    got = agreement(PREDICTED, GOLD, LENGTHS)
    assert (got.documents, got.tokens, got.selected, got.human) == (4, 22, 7, 8)
    assert got.precision == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)
    assert got.recall == pytest.approx((3 / 5 + 1 / 2 + 0) / 3)
    # The mean of the F1s, (2/3 + 2/5 + 0)/3 = 16/45; that of the mean P and R would be .364.
    assert got.f1 == pytest.approx(16 / 45)
    assert got.precision_micro == pytest.approx(4 / 7)
    assert got.recall_micro == pytest.approx(4 / 8)
    assert got.f1_micro == pytest.approx(2 * 4 / (7 + 8))


def test_spans_by_hand() -> None:
    got = agreement(PREDICTED, GOLD, LENGTHS)
    assert (got.spans_selected, got.spans_human) == (3, 4)
    # Precision over the two documents with predicted spans, recall over the three with human ones.
    assert got.iou_precision == pytest.approx((2 / 2 + 0 / 1) / 2)
    assert got.iou_recall == pytest.approx((2 / 2 + 0 / 1 + 0 / 1) / 3)
    assert got.iou_f1 == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))  # .4, of the means
    assert got.iou_precision_micro == pytest.approx(2 / 3)
    assert got.iou_recall_micro == pytest.approx(2 / 4)
    assert got.iou_f1_micro == pytest.approx(4 / 7)
    assert agreement(PREDICTED, GOLD, LENGTHS, iou_threshold=0.25).iou_precision == 1
    assert agreement(PREDICTED, GOLD, LENGTHS, iou_threshold=0.51).iou_precision == 0


def test_a_document_without_human_tokens_counts_against_the_selection() -> None:
    # Tokens: P, R and F1 are 1 and 0. Spans: precision over two documents, recall over the first.
    got = agreement([[(0, 1)], [(0, 1)]], [[(0, 1)], []], [2, 2])
    assert (got.precision, got.recall, got.f1) == (1 / 2, 1 / 2, 1 / 2)
    assert (got.iou_precision, got.iou_recall) == (1 / 2, 1)


def test_human_spans_count_singly_for_iou_and_united_for_tokens() -> None:
    # [0, 6) has IOU 4/6 with [0, 4) and 4/6 with [2, 6): one match, of two human spans.
    got = agreement([[(0, 6)]], [[(0, 4), (2, 6), (0, 4)]], [8])
    assert (got.human, got.f1) == (6, 1)
    assert (got.iou_precision, got.iou_recall) == (1, 1 / 2)


def test_two_predictions_may_match_one_human_span() -> None:
    # [0, 2) and [2, 4) each have IOU 2/4 with [0, 4): precision 2/2, recall 2/1, as ERASER has it.
    got = agreement([[(0, 2), (2, 4)]], [[(0, 4)]], [4])
    assert (got.iou_precision, got.iou_recall) == (1, 2)
    assert got.iou_f1 == pytest.approx(4 / 3)


def test_a_span_without_tokens_matches_nothing_but_counts() -> None:
    got = agreement([[(0, 2)]], [[(0, 2), (3, 3)]], [4])
    assert (got.f1, got.iou_precision, got.iou_recall) == (1, 1, 1 / 2)
    assert agreement([[(3, 3)]], [[(3, 3)]], [4]).iou_f1 == 0


@pytest.mark.parametrize(
    ("scores", "human", "area", "average", "roc"),
    [
        # Thresholds .9, .8, .3 give (R, P) = (1/2, 1), (1, 2/3), (1, 1/2). Trapezoids:
        # 1/2 · 1 + 1/2 · (1 + 2/3)/2 = 11/12; steps: 1/2 · 1 + 1/2 · 2/3 = 5/6.
        # Of 4 pairs .9 wins 2, .8 wins 1 and draws 1: 3.5/4.
        ([0.9, 0.8, 0.8, 0.3], [1, 0, 1, 0], 11 / 12, 5 / 6, 7 / 8),
        # (R, P) = (0, 0), (1, 1/2): 1 · (0 + 1/2)/2 after a drop from 1 that has no width.
        ([2.0, 1.0], [0, 1], 1 / 4, 1 / 2, 0.0),
        # All equal: one threshold, (1, 1/4), so (1 + 1/4)/2.
        ([5.0] * 4, [0, 0, 1, 0], 5 / 8, 1 / 4, 1 / 2),
        ([math.inf, -math.inf, math.inf], [1, 0, 1], 1.0, 1.0, 1.0),
        ([0.1, 0.2], [1, 1], 1.0, 1.0, math.nan),
        ([0.1, 0.2], [0, 0], math.nan, math.nan, math.nan),
        ([], [], math.nan, math.nan, math.nan),
    ],
)
def test_rankings_by_hand(
    scores: list[float], human: list[int], area: float, average: float, roc: float
) -> None:
    assert auprc(scores, human) == pytest.approx(area, nan_ok=True)
    assert average_precision(scores, human) == pytest.approx(average, nan_ok=True)
    assert roc_auc(scores, human) == pytest.approx(roc, nan_ok=True)


def test_ranked_documents_by_hand() -> None:
    gold: list[Spans] = [[(0, 1), (2, 3)], [(1, 2)], [(0, 2)], []]
    scores = [[0.9, 0.8, 0.8, 0.3], [2.0, 1.0], [3.0, 3.0], [1.0, 2.0]]
    got = agreement([[]] * 4, gold, [4, 2, 2, 2], scores)
    # The third is all human: it has an AUPRC but no AP and ROC; the fourth has none of them.
    assert got.auprc == pytest.approx((11 / 12 + 1 / 4 + 1) / 3)
    assert got.average_precision == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert got.roc_auc == pytest.approx((7 / 8 + 0) / 2)
    # Two best of the first: tokens 0 and 1, the earlier .8, so 1 hit of 2; then 0 of 1 and 2 of 2.
    assert got.f1_at_human == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert got.distinct_scores == pytest.approx((3 / 4 + 1 + 1 / 2 + 1) / 4)


def test_without_scores_or_human_tokens_nothing_is_ranked() -> None:
    unranked = agreement(PREDICTED, GOLD, LENGTHS)
    assert (unranked.auprc, unranked.average_precision, unranked.roc_auc) == (None, None, None)
    assert (unranked.f1_at_human, unranked.distinct_scores) == (None, None)
    assert "AUPRC" not in unranked.format()
    nobody = agreement([[(0, 1)]], [[]], [2], [[0.1, 0.2]])
    assert (nobody.auprc, nobody.f1_at_human, nobody.distinct_scores, nobody.f1) == (
        None,
        None,
        1,
        0,
    )
    assert "AUPRC -  AP -  F1@human -  distinct scores 100.00" in nobody.format()


def test_no_documents() -> None:
    assert agreement([], [], []).f1 == 0
    assert bootstrap_intervals([], [], [])["f1"] == (0, 0)
    assert selection([], []).rate == 0
    assert classification([], []).accuracy == 0
    assert regression([], []).mse == 0
    assert faithfulness(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))).sufficiency == 0
    assert bootstrap_mean([]) == (0, 0)


def test_signature_format_and_dictionary() -> None:
    got = agreement(PREDICTED, GOLD, LENGTHS, [np.arange(n) for n in LENGTHS])
    expected = (
        r"ERASER\|docs:4\|tokens:22\|human:8\|avg:macro\|iou:0\.5\|auprc:trapezoid\|ties:earlier"
        r"\|version:latentnlp-\S+"
    )
    assert re.fullmatch(expected, got.signature)
    assert got.format().startswith(
        "token F1 35.56  precision 36.11  recall 36.67  IOU F1 40.00  AUPRC "
    )
    assert got.format().endswith(got.signature)
    kept = json.loads(json.dumps(got.to_dict()))
    assert kept["f1"] == got.f1 and kept["signature"] == got.signature
    assert kept["documents"] == 4 and kept["auprc"] == got.auprc


# --- properties -----------------------------------------------------------------------------------


def random_corpus(
    count: int, seed: int
) -> tuple[list[Spans], list[Spans], list[int], list[np.ndarray]]:
    """Human spans, noisy selections of them, and scores with ties."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(5, 40, size=count).tolist()
    gold = [spans_of(draw.random(n) < 0.4) for n in lengths]
    noisy = [
        token_mask(spans, n) ^ (draw.random(n) < 0.2)
        for spans, n in zip(gold, lengths, strict=True)
    ]
    scores = [mask + draw.integers(3, size=len(mask)) / 2 for mask in noisy]
    return [spans_of(mask) for mask in noisy], gold, lengths, scores


def brute_points(scores: np.ndarray, human: np.ndarray) -> list[tuple[float, float]]:
    """(recall, precision) of {score ≥ t} for each t, from (0, 1) on, by counting."""
    points = [(0.0, 1.0)]
    for t in sorted(set(scores.tolist()), reverse=True):
        taken = [bool(y) for y, s in zip(human, scores, strict=True) if s >= t]
        points.append((sum(taken) / human.sum(), sum(taken) / len(taken)))
    return points


def test_rankings_by_brute_force() -> None:
    draw = np.random.default_rng(5)
    for _ in range(100):
        n = int(draw.integers(2, 15))
        scores = draw.integers(-3, 4, size=n) / 3
        human = draw.random(n) < 0.5
        human[:2] = [True, False]
        points = brute_points(scores, human)
        steps = [(r1 - r0, p0, p1) for (r0, p0), (r1, p1) in pairwise(points)]
        area = sum(width * (p0 + p1) / 2 for width, p0, p1 in steps)
        assert auprc(scores, human) == pytest.approx(area)
        assert average_precision(scores, human) == pytest.approx(sum(w * p for w, _, p in steps))
        pairs = [(a > b) + (a == b) / 2 for a in scores[human] for b in scores[~human]]
        assert roc_auc(scores, human) == pytest.approx(np.mean(pairs))


def test_iou_by_brute_force() -> None:
    predicted, gold, lengths, _ = random_corpus(40, seed=6)
    matched = 0
    for ours, theirs in zip(predicted, gold, strict=True):
        for span in ours:
            here = set(range(*span))
            ratios = [
                len(here & set(range(*other))) / len(here | set(range(*other))) for other in theirs
            ]
            matched += max(ratios, default=0) >= 0.5
    got = agreement(predicted, gold, lengths)
    assert 0 < matched < got.spans_selected
    assert got.iou_precision_micro == pytest.approx(matched / sum(map(len, predicted)))
    assert got.iou_recall_micro == pytest.approx(matched / sum(map(len, gold)))


def test_selecting_what_people_selected_is_perfect() -> None:
    _, gold, lengths, _ = random_corpus(20, seed=7)
    masks = [token_mask(spans, n) for spans, n in zip(gold, lengths, strict=True)]
    got = agreement(gold, gold, lengths, [mask.astype(float) for mask in masks])
    for name in ("f1", "f1_micro", "iou_f1", "iou_f1_micro", "auprc", "roc_auc", "f1_at_human"):
        assert getattr(got, name) == pytest.approx(1), name


def test_only_the_order_of_scores_matters() -> None:
    predicted, gold, lengths, scores = random_corpus(20, seed=8)
    got = agreement(predicted, gold, lengths, scores)
    assert got == agreement(predicted, gold, lengths, [np.exp(s) for s in scores])
    assert got != agreement(predicted, gold, lengths, [-s for s in scores])
    turned = agreement(predicted, gold, lengths, [-s for s in scores])
    assert got.roc_auc is not None and turned.roc_auc == pytest.approx(1 - got.roc_auc)


def test_macro_scores_do_not_change_when_the_corpus_is_doubled_or_turned() -> None:
    predicted, gold, lengths, scores = random_corpus(20, seed=9)
    once = agreement(predicted, gold, lengths, scores).to_dict()
    twice = agreement(predicted * 2, gold * 2, lengths * 2, scores * 2).to_dict()
    turned = agreement(predicted[::-1], gold[::-1], lengths[::-1], scores[::-1]).to_dict()
    for name, value in once.items():
        if isinstance(value, float):
            assert twice[name] == pytest.approx(value) == turned[name], name
    assert twice["documents"] == 40


def test_constant_scores_are_seen_for_what_they_are() -> None:
    """A collapsed selector: AUPRC alone would praise it."""
    _, gold, lengths, _ = random_corpus(50, seed=10)
    share = np.mean([token_mask(g, n).mean() for g, n in zip(gold, lengths, strict=True)])
    got = agreement([[]] * 50, gold, lengths, [np.zeros(n) for n in lengths])
    assert got.auprc == pytest.approx((1 + share) / 2)
    assert got.average_precision == pytest.approx(share)
    assert got.roc_auc == 0.5
    assert got.distinct_scores == pytest.approx(np.mean([1 / n for n in lengths]))


def test_f1_at_the_human_count_is_the_f1_of_that_selection() -> None:
    _, gold, lengths, scores = random_corpus(30, seed=11)
    counts = [int(token_mask(g, n).sum()) for g, n in zip(gold, lengths, strict=True)]
    assert min(counts) > 0
    best = [spans_of(top_tokens(s, k)) for s, k in zip(scores, counts, strict=True)]
    got = agreement(best, gold, lengths, scores)
    assert got.f1_at_human == pytest.approx(got.f1)
    assert 0 < got.f1 < 1


# --- selections -----------------------------------------------------------------------------------


def test_masks_spans_and_best_tokens() -> None:
    assert token_mask([(0, 2), (1, 3), (4, 4)], 5).tolist() == [True, True, True, False, False]
    assert spans_of([True, False, True, True]) == [(0, 1), (2, 4)]
    assert spans_of([]) == [] and spans_of([False]) == []
    assert np.flatnonzero(top_tokens([1, 3, 3, 2, 3], 2)).tolist() == [1, 2]
    assert top_tokens([1.0], 5).tolist() == [True]
    assert not top_tokens([1.0], 0).any()
    # ⌈.07 · 100⌉ is 7, though .07 · 100 = 7.000000000000001; ⌈.2 · 6⌉ = ⌈1.2⌉ is 2.
    assert top_share(np.arange(100), 0.07).sum() == 7
    assert np.flatnonzero(top_share(np.arange(6), 0.2)).tolist() == [4, 5]


def test_selection_by_hand() -> None:
    # 4 of 10 tokens in two runs ([1, 3) and [3, 4) touch), 4 of 4 in one, none of 6 and of 5.
    got = selection([[(1, 3), (3, 4), (7, 8)], [(0, 4)], [], []], [10, 4, 6, 5])
    assert got.rate == pytest.approx((4 / 10 + 1 + 0 + 0) / 4)
    assert got.rate_micro == pytest.approx(8 / 25)
    assert (got.spans, got.span_length) == (3 / 4, pytest.approx(8 / 3))
    assert (got.none, got.all) == (2 / 4, 1 / 4)
    line = "selected 35.00 (pooled 32.00)  spans 0.75 of 2.67 tokens  none 50.00  all 25.00  "
    assert got.format() == line + got.signature
    assert got.signature.startswith("selection|docs:4|rate:macro|spans:runs|version:")


# --- faithfulness ---------------------------------------------------------------------------------

FULL = [[0.9, 0.1], [0.3, 0.7]]


def test_faithfulness_by_hand() -> None:
    # Predicted classes 0 and 1: (.9 - .4 + .7 - .5)/2 = .35 and (.9 - .8 + .7 - .8)/2 = 0.
    got = faithfulness(FULL, [[0.8, 0.2], [0.2, 0.8]], [[0.4, 0.6], [0.5, 0.5]])
    assert got.comprehensiveness == pytest.approx(0.35)
    assert got.sufficiency == pytest.approx(0.0)
    assert (got.shares, got.comprehensiveness_aopc, got.sufficiency_aopc) == ((), None, None)
    assert got.format() == "comprehensiveness 0.3500  sufficiency 0.0000  " + got.signature
    assert "|class:predicted|aopc:none|" in got.signature
    # For classes 1 and 1: (.1 - .6 + .7 - .5)/2 = -.15.
    other = faithfulness(FULL, FULL, [[0.4, 0.6], [0.5, 0.5]], predicted=[1, 1])
    assert other.comprehensiveness == pytest.approx(-0.15)


def test_aopc_by_hand() -> None:
    steps = {
        0.5: ([[0.2, 0.8], [0.6, 0.4]], FULL),  # (.7 + .3)/2 = .5 without them, 0 with them alone
        0.1: (FULL, [[0.6, 0.4], [0.8, 0.2]]),  # 0 without them, (.3 + .5)/2 = .4 with them alone
    }
    got = faithfulness(FULL, FULL, FULL, steps)
    assert got.shares == (0.1, 0.5)
    assert got.comprehensiveness_points == pytest.approx((0.0, 0.5))
    assert got.sufficiency_points == pytest.approx((0.4, 0.0))
    assert got.comprehensiveness_aopc == pytest.approx(0.25)
    assert got.sufficiency_aopc == pytest.approx(0.2)
    assert "  AOPC 0.2500 / 0.2000  ERASER-faithfulness|docs:2|" in got.format()
    assert "|aopc:0.1,0.5|" in got.signature
    assert json.loads(json.dumps(got.to_dict()))["shares"] == [0.1, 0.5]


def test_a_rationale_that_changes_nothing_has_neither() -> None:
    got = faithfulness(FULL, FULL, FULL, {share: (FULL, FULL) for share in AOPC_SHARES})
    assert got == replace(got, comprehensiveness=0.0, sufficiency_aopc=0.0)
    assert len(got.shares) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FULL, FULL[:1], FULL), r"rationale probabilities are \(1, 2\), full ones \(2, 2\)"),
        ((FULL, FULL, FULL, {0.1: (FULL, FULL[:1])}), r"AOPC 0\.1 rationale"),
        ((FULL, FULL, FULL, None, [0]), r"2 documents but predicted classes of \(1,\)"),
        (([[2.0, 0.5]], FULL, FULL), "full: expected probabilities"),
        (([[-0.1, 0.5]], FULL, FULL), "full: expected probabilities"),
        ((FULL, FULL, [[math.nan, 0.1]] * 2), "complement: expected probabilities"),
        (([0.9, 0.1], FULL, FULL), "full: expected probabilities"),
    ],
)
def test_faithfulness_of_no_probabilities(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        faithfulness(*arguments)


# --- the task -------------------------------------------------------------------------------------


def test_classification_by_hand() -> None:
    # Right: a, a, b. Said a 4, b 1, c 1; gold a 2, b 3, d 1. F1 of a 2·2/(4 + 2) = 2/3, of b
    # 2·1/(1 + 3) = 1/2, of c and d 0.
    got = classification(list("aaaabc"), list("aabdbb"))
    assert got.accuracy == pytest.approx(3 / 6)
    assert got.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert (got.classes, got.majority, got.majority_predicted) == (4, 3 / 6, pytest.approx(4 / 6))
    line = "accuracy 50.00  macro F1 29.17  majority 50.00  commonest answer 66.67  "
    assert got.format() == line + got.signature
    assert got.signature.startswith("accuracy|docs:6|classes:4|version:latentnlp-")


def test_regression_by_hand() -> None:
    # Errors 0, 1, 1: MSE 2/3. Gold 0, 1, 2 around 1: variance 2/3; said 0, 2, 1 around 1.
    # Pearson (1·1 + 0·1 + 1·0)/2 = 1/2; the ranks 1, 3, 2 and 1, 2, 3 give 1/2 too.
    got = regression([0, 2, 1], [0, 1, 2])
    assert (got.mse, got.variance) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (got.pearson, got.spearman) == (pytest.approx(1 / 2), pytest.approx(1 / 2))
    assert got.format().startswith("MSE 0.66667  variance 0.66667  Pearson 0.5000  Spearman 0.5000")
    # Ranks of 1, 1, 1, 5, 9 are 2, 2, 2, 4, 5, less 3: -1, -1, -1, 1, 2; with -2 … 2: 8/√(8 · 10).
    tied = regression([1, 1, 1, 5, 9], [10, 20, 90, 91, 92])
    assert tied.spearman == pytest.approx(8 / math.sqrt(80))
    # Spearman sees only the order, Pearson the distances: 1543.5/√(5 · 701520.75).
    bent = regression([1, 2, 3, 4], [1, 10, 100, 1000])
    assert bent.spearman == pytest.approx(1) and bent.pearson == pytest.approx(0.824, abs=1e-3)
    constant = regression([0.1] * 3, [1, 2, 3])
    assert (constant.pearson, constant.spearman) == (None, None)
    assert "Pearson -  Spearman -" in constant.format()


def test_spread_over_seeds() -> None:
    # 1, 2, 6: mean 3, squared deviations 4 + 1 + 9 = 14 over 2.
    got = spread([1, 2, 6])
    assert (got.mean, got.deviation, got.count) == (3, pytest.approx(math.sqrt(7)), 3)
    assert got.format() == "3.000 ± 2.646 (3 seeds)"
    assert got.format(1) == "3.0 ± 2.6 (3 seeds)"
    assert spread([0.5]).deviation == 0
    with pytest.raises(ValueError, match="no values"):
        spread([])


# --- intervals ------------------------------------------------------------------------------------


def test_bootstrap_intervals() -> None:
    corpus = random_corpus(200, seed=12)
    intervals = bootstrap_intervals(*corpus, seed=1)
    got = agreement(*corpus).to_dict()
    assert {"f1", "iou_f1", "auprc", "f1_at_human", "f1_micro"} <= set(intervals)
    for name, (low, high) in intervals.items():
        assert low < got[name] < high, name
    assert intervals == bootstrap_intervals(*corpus, seed=1)
    assert intervals != bootstrap_intervals(*corpus, seed=2)
    # The interval shrinks with 1/sqrt(N): 12 of 200 give about 4 times its width.
    few = bootstrap_intervals(*(part[:12] for part in corpus), seed=1)
    assert 2 < np.ptp(few["f1"]) / np.ptp(intervals["f1"]) < 8
    # Documents that are all alike leave nothing to vary.
    same = tuple(part[:1] * 5 for part in corpus)
    low, high = bootstrap_intervals(*same)["iou_f1"]
    assert low == pytest.approx(agreement(*same).iou_f1) == high
    assert "auprc" not in bootstrap_intervals(*corpus[:3])


def test_bootstrap_mean_has_the_normal_width() -> None:
    right = np.arange(400) % 4 == 0
    low, high = bootstrap_mean(right, samples=4000)
    # A share of 1/4 of 400 has the standard error √(.25 · .75 / 400) = .02165.
    assert high - low == pytest.approx(2 * 1.96 * 0.02165, rel=0.08)
    assert (low + high) / 2 == pytest.approx(0.25, abs=0.003)
    # And the interval of the macro recall is that of the documents' recalls.
    predicted, gold, lengths, _ = random_corpus(30, seed=14)
    assert all(gold)
    recalls = [
        agreement([p], [g], [n]).recall for p, g, n in zip(predicted, gold, lengths, strict=True)
    ]
    assert bootstrap_mean(recalls, seed=3) == pytest.approx(
        bootstrap_intervals(predicted, gold, lengths, seed=3)["recall"]
    )


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [agreement, bootstrap_intervals])
def test_bad_documents(call) -> None:
    with pytest.raises(UserError, match="4 documents but 1 selections: give one entry"):
        call(PREDICTED[:1], GOLD, LENGTHS)
    with pytest.raises(UserError, match="4 documents but 1 human rationales"):
        call(PREDICTED, GOLD[:1], LENGTHS)
    with pytest.raises(UserError, match="4 documents but 0 lists of scores"):
        call(PREDICTED, GOLD, LENGTHS, [])
    with pytest.raises(UserError, match="document 2 has 4 tokens but 3 scores"):
        call(PREDICTED, GOLD, LENGTHS, [np.zeros(10), np.zeros(3), np.zeros(3), np.zeros(5)])
    with pytest.raises(UserError, match="a score of document 3 is NaN"):
        call(PREDICTED, GOLD, LENGTHS, [np.zeros(10), np.zeros(4), [0, 0, math.nan], np.zeros(5)])


@pytest.mark.parametrize("span", [(-1, 2), (3, 2), (2, 4), (4, 5)])
def test_spans_outside_the_text(span: tuple[int, int]) -> None:
    bad: list[Spans] = [[], [(0, 1), span]]
    with pytest.raises(UserError, match=r"human spans of document 2: the span \[-?\d, \d\) is out"):
        agreement([[], []], bad, [3, 3])
    with pytest.raises(UserError, match=r"selected spans of document 2: .* text of 3 tokens"):
        selection(bad, [3, 3])


def test_unequal_answers() -> None:
    with pytest.raises(UserError, match="2 documents but 1 predicted labels"):
        classification(["a"], ["a", "b"])
    with pytest.raises(UserError, match="2 documents but 1 predicted values"):
        regression([1.0], [1.0, 2.0])
    with pytest.raises(UserError, match="2 documents but 1 selections"):
        selection([[]], [1, 2])


# --- a real corpus --------------------------------------------------------------------------------


@pytest.mark.corpora
@pytest.mark.skipif(not MOVIES.is_dir(), reason="no shared ERASER movies beside the checkout")
def test_rules_without_a_model_on_eraser_movies() -> None:
    """What the last words, everything and chance reach, as measured with ERASER's own code."""
    with gzip.open(MOVIES / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    lengths = [len(document["tokens"]) for document in documents]
    gold = [[(start, end) for start, end in document["rationale"]] for document in documents]
    late = [np.arange(n) for n in lengths]
    last = agreement([spans_of(top_share(s, 0.2)) for s in late], gold, lengths, late)
    assert last.f1 == pytest.approx(0.36970, abs=1e-5)
    assert last.iou_f1 == pytest.approx(0.0393, abs=1e-4)
    assert last.auprc == pytest.approx(0.5107, abs=1e-4)
    assert last.average_precision == pytest.approx(0.5141, abs=1e-4)
    assert last.f1_at_human == pytest.approx(0.4707, abs=1e-4)
    last = agreement([spans_of(top_share(s, 0.3)) for s in late], gold, lengths)
    assert last.f1 == pytest.approx(0.43348, abs=1e-5)
    assert agreement([[(0, n)] for n in lengths], gold, lengths).f1 == pytest.approx(
        0.453, abs=5e-4
    )
    draw = np.random.default_rng(0)
    noise = [draw.random(n) for n in lengths]
    chance = agreement([spans_of(top_share(s, 0.2)) for s in noise], gold, lengths, noise)
    assert chance.f1 == pytest.approx(0.224, abs=0.003)
    assert chance.auprc == pytest.approx(0.317, abs=0.003)
    assert chance.f1_at_human == pytest.approx(0.314, abs=0.004)
