"""Rationale scores in ERASER's definitions (DeYoung et al. 2020, section 4, and its metrics.py).

Agreement with people. Of document d, S is the set of selected tokens and H that of human ones:

    precision = |S ∩ H| / |S|      recall = |S ∩ H| / |H|      F1 = 2 P R / (P + R)

each averaged over documents ("macro": the mean of the F1s, not the F1 of the means), or taken once
over the pooled tokens ("micro"). 0 / 0 is 0, and a document with neither S nor H is left out.

    IOU        a predicted span counts if some human span has |∩| / |∪| ≥ threshold. Its precision
               is averaged over documents with a predicted span, its recall over those with a human
               one, and F1 is taken of the two means. Two predictions may count for one human span,
               so that a recall, even an F1, may exceed 1: ERASER has it so.
    AUPRC      area under the precision-recall curve of the scores, by trapezoids from (recall 0,
               precision 1). Long ties inflate it: where all scores are equal it is
               (1 + share of human tokens) / 2.
    AP, ROC    average precision Σ (R_k - R_{k-1}) P_k, which ties do not inflate, and area under
               the ROC curve, over the documents that have human tokens and others.
    F1@human   F1 of the |H| best tokens, where precision = recall. The earlier of two equals wins.

A document without a human token has no precision-recall curve and is left out of AUPRC; what ERASER
makes of it depends on its version of scikit-learn (NaN or .5).

Faithfulness. With p(c) the probability of the predicted class c,

    comprehensiveness = p(c | x) - p(c | x without the rationale)        high: the rationale matters
    sufficiency       = p(c | x) - p(c | rationale alone)                low: the rationale suffices

and AOPC is their mean over rationales of the best 1, 5, 10, 20 and 50 % of the tokens.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentnlp.errors import UserError
from latentnlp.evaluation._scores import Score, interval, percent, resampled_sums, signature

Spans = Sequence[tuple[int, int]]
"""Token spans [start, end) of one document; they may touch, overlap and repeat."""

AOPC_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)


# --- selections -----------------------------------------------------------------------------------


def token_mask(spans: Spans, length: int) -> NDArray[np.bool_]:
    """The union of `spans`: [T]. Raises UserError if one lies outside a text of `length` tokens."""
    mask = np.zeros(length, dtype=np.bool_)
    for start, end in spans:
        if not 0 <= start <= end <= length:
            raise UserError(
                f"the span [{start}, {end}) is outside its text of {length} tokens: spans count "
                "tokens from 0 and leave out their end"
            )
        mask[start:end] = True
    return mask


def spans_of(mask: ArrayLike) -> list[tuple[int, int]]:
    """The longest runs of selected tokens of `mask` [T], in order."""
    padded = np.concatenate([[False], np.asarray(mask, dtype=np.bool_), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def top_tokens(scores: ArrayLike, count: int) -> NDArray[np.bool_]:
    """The `count` tokens of the highest scores [T]; of two equal ones the earlier wins."""
    values = np.asarray(scores, dtype=np.float64)
    mask = np.zeros(len(values), dtype=np.bool_)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


def top_share(scores: ArrayLike, share: float) -> NDArray[np.bool_]:
    """The best ⌈share · T⌉ tokens: [T]; for AOPC, and for a rule that selects a fixed share."""
    length = len(np.asarray(scores))
    return top_tokens(scores, math.ceil(share * length - 1e-9))  # .07 · 100 is 7.000000000000001


@dataclass(frozen=True)
class SelectionScore(Score):
    """How much was selected and in how many pieces; a piece is a longest run of selected tokens."""

    documents: int
    rate: float  # mean over documents of the share selected
    rate_micro: float  # over the pooled tokens
    spans: float  # pieces a document
    span_length: float  # tokens a piece
    none: float  # share of documents with nothing selected
    all: float  # share of documents with every token selected

    @property
    def signature(self) -> str:
        return signature("selection", f"docs:{self.documents}", "rate:macro", "spans:runs")

    def format(self) -> str:
        """One line, shares in per cent, the signature last."""
        return (
            f"selected {percent(self.rate)} (pooled {percent(self.rate_micro)})  "
            f"spans {self.spans:.2f} of {self.span_length:.2f} tokens  "
            f"none {percent(self.none)}  all {percent(self.all)}  {self.signature}"
        )


def selection(predicted: Sequence[Spans], lengths: Sequence[int]) -> SelectionScore:
    """Selection rate and contiguity of the selected spans of each document.

    Raises UserError for a span outside its text or unequal numbers of documents.
    """
    _check_equal(len(lengths), len(predicted), "selections")
    rows = np.zeros((len(lengths), 6))
    for n, length in enumerate(lengths):
        mask = _mask_of(n, predicted[n], length, "selected")
        size = int(mask.sum())
        rate = size / length if length else 0.0
        rows[n] = (length, size, rate, len(spans_of(mask)), size == 0, 0 < size == length)
    tokens, selected, rate, pieces, none, full = rows.sum(axis=0)
    n = len(rows)
    return SelectionScore(
        documents=n,
        rate=float(_ratio(rate, n)),
        rate_micro=float(_ratio(selected, tokens)),
        spans=float(_ratio(pieces, n)),
        span_length=float(_ratio(selected, pieces)),
        none=float(_ratio(none, n)),
        all=float(_ratio(full, n)),
    )


def _mask_of(n: int, spans: Spans, length: int, name: str) -> NDArray[np.bool_]:
    try:
        return token_mask(spans, length)
    except UserError as error:
        raise UserError(f"{name} spans of document {n + 1}: {error}") from None


def _check_equal(documents: int, other: int, name: str) -> None:
    if documents != other:
        raise UserError(
            f"{documents} documents but {other} {name}: give one entry for each document"
        )


def _ratio(part: ArrayLike, whole: ArrayLike, empty: float = 0.0) -> NDArray[np.float64]:
    """part / whole, and `empty` where whole is 0."""
    part, whole = np.broadcast_arrays(
        np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    )
    return np.divide(part, whole, out=np.full(part.shape, empty), where=whole > 0)


def _f1(precision: ArrayLike, recall: ArrayLike) -> NDArray[np.float64]:
    precision, recall = np.asarray(precision), np.asarray(recall)
    return _ratio(2 * precision * recall, precision + recall)


# --- scores of a ranking --------------------------------------------------------------------------


def _steps(scores: ArrayLike, human: ArrayLike) -> tuple[NDArray, NDArray]:
    """Human and other tokens that score at least t, for each distinct t from high to low: [K]."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    changes = np.append(ranked[1:] != ranked[:-1], len(ranked) > 0)
    last = np.flatnonzero(changes)  # of each group of equals
    hits = np.cumsum(np.asarray(human, dtype=np.bool_)[order])[last]
    return hits, last + 1 - hits


def auprc(scores: ArrayLike, human: ArrayLike) -> float:
    """Σ_k (R_k - R_{k-1}) (P_k + P_{k-1}) / 2 with R_0 = 0, P_0 = 1, of one document [T].

    k runs over the distinct scores. NaN without a human token.
    """
    hits, others = _steps(scores, human)
    if not len(hits) or not hits[-1]:
        return math.nan
    recall = np.append(0.0, hits / hits[-1])
    precision = np.append(1.0, hits / (hits + others))
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1])) / 2)


def average_precision(scores: ArrayLike, human: ArrayLike) -> float:
    """Σ_k (R_k - R_{k-1}) P_k of one document [T]. NaN without a human token."""
    hits, others = _steps(scores, human)
    if not len(hits) or not hits[-1]:
        return math.nan
    return float(np.diff(hits, prepend=0) @ (hits / (hits + others)) / hits[-1])


def roc_auc(scores: ArrayLike, human: ArrayLike) -> float:
    """P(score of a human token > that of another) + P(equal) / 2 of one document [T].

    NaN unless there are both.
    """
    hits, others = _steps(scores, human)
    if not len(hits) or not hits[-1] or not others[-1]:
        return math.nan
    middle = (hits + np.append(0, hits[:-1])) / 2
    return float(np.diff(others, prepend=0) @ middle / (hits[-1] * others[-1]))


# --- agreement with people ------------------------------------------------------------------------


@dataclass(frozen=True)
class AgreementScore(Score):
    """Selected against human tokens and spans; `None` where there was no score to rank by."""

    documents: int
    tokens: int
    selected: int
    human: int
    spans_selected: int  # distinct ones, as given
    spans_human: int
    iou_threshold: float
    precision: float  # of tokens, mean over documents
    recall: float
    f1: float
    precision_micro: float  # of tokens, pooled
    recall_micro: float
    f1_micro: float
    iou_precision: float
    iou_recall: float
    iou_f1: float  # of the mean precision and the mean recall
    iou_precision_micro: float
    iou_recall_micro: float
    iou_f1_micro: float
    auprc: float | None
    average_precision: float | None
    roc_auc: float | None
    f1_at_human: float | None
    distinct_scores: float | None  # distinct scores / tokens, mean over documents; 1: no ties

    @property
    def signature(self) -> str:
        return signature(
            "ERASER",
            f"docs:{self.documents}",
            f"tokens:{self.tokens}",
            f"human:{self.human}",
            "avg:macro",
            f"iou:{self.iou_threshold:g}",
            "auprc:trapezoid",
            "ties:earlier",
        )

    def format(self) -> str:
        """One line in per cent, the signature last."""
        ranked = (
            f"AUPRC {percent(self.auprc)}  AP {percent(self.average_precision)}  "
            f"F1@human {percent(self.f1_at_human)}  distinct scores "
            f"{percent(self.distinct_scores)}  "
        )
        return (
            f"token F1 {percent(self.f1)}  precision {percent(self.precision)}  "
            f"recall {percent(self.recall)}  IOU F1 {percent(self.iou_f1)}  "
            f"{'' if self.distinct_scores is None else ranked}{self.signature}"
        )


class _Row(NamedTuple):
    """What one document adds: every agreement score is a ratio of sums of these."""

    tokens: Any
    selected: Any
    human: Any
    hits: Any
    judged: Any  # 1 if anything is selected or human
    precision: Any
    recall: Any
    f1: Any
    spans_selected: Any
    spans_human: Any
    spans_matched: Any
    with_selected_span: Any  # 1 if there is one
    with_human_span: Any
    iou_precision: Any
    iou_recall: Any
    scored: Any = 0.0  # 1 if it has scores
    distinct_scores: Any = 0.0
    with_human_token: Any = 0.0  # 1 if it has scores and a human token
    auprc: Any = 0.0
    f1_at_human: Any = 0.0
    mixed: Any = 0.0  # 1 if it has scores, human tokens and others
    average_precision: Any = 0.0
    roc_auc: Any = 0.0


def agreement(
    predicted: Sequence[Spans],
    gold: Sequence[Spans],
    lengths: Sequence[int],
    scores: Sequence[ArrayLike] | None = None,
    *,
    iou_threshold: float = 0.5,
) -> AgreementScore:
    """ERASER's agreement of `predicted` with `gold` spans; one entry each for every document.

    `scores`: one number a token, the higher the likelier selected; AUPRC, AP, ROC and F1@human need
    them. Human spans count one by one for IOU (do not merge them) and as their union for tokens.
    Raises UserError for a span outside its text, a document whose scores are not one a token or are
    NaN, and unequal numbers of documents.
    """
    table = _table(predicted, gold, lengths, scores, iou_threshold)
    sums = _Row(*table.sum(axis=0))
    found = {name: float(value) for name, value in _metrics(sums).items()}
    return AgreementScore(
        documents=len(table),
        tokens=int(sums.tokens),
        selected=int(sums.selected),
        human=int(sums.human),
        spans_selected=int(sums.spans_selected),
        spans_human=int(sums.spans_human),
        iou_threshold=iou_threshold,
        **{name: None if math.isnan(value) else value for name, value in found.items()},  # type: ignore[arg-type]
    )


def bootstrap_intervals(
    predicted: Sequence[Spans],
    gold: Sequence[Spans],
    lengths: Sequence[int],
    scores: Sequence[ArrayLike] | None = None,
    *,
    iou_threshold: float = 0.5,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The 95 % interval (low, high) of each score of `agreement`, by its name.

    Percentile bootstrap over the N documents. Raises UserError as `agreement` does.
    """
    table = _table(predicted, gold, lengths, scores, iou_threshold)  # [N, C]
    metrics = _metrics(_Row(*resampled_sums(table, samples, seed).T))
    return {
        name: interval(values) for name, values in metrics.items() if not np.isnan(values).all()
    }


def bootstrap_mean(values: ArrayLike, *, samples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` [N], one a document (1 if right, a difference, …).

    Percentile bootstrap over the N documents; (0, 0) without any.
    """
    table = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    return interval(_ratio(resampled_sums(table, samples, seed), len(table)))


def _metrics(sums: _Row) -> dict[str, NDArray[np.float64]]:
    """The scores of summed rows, of one sum or of many at once; NaN where nothing was ranked."""
    precision_micro = _ratio(sums.hits, sums.selected)
    recall_micro = _ratio(sums.hits, sums.human)
    iou_precision = _ratio(sums.iou_precision, sums.with_selected_span)
    iou_recall = _ratio(sums.iou_recall, sums.with_human_span)
    iou_precision_micro = _ratio(sums.spans_matched, sums.spans_selected)
    iou_recall_micro = _ratio(sums.spans_matched, sums.spans_human)
    return {
        "precision": _ratio(sums.precision, sums.judged),
        "recall": _ratio(sums.recall, sums.judged),
        "f1": _ratio(sums.f1, sums.judged),
        "precision_micro": precision_micro,
        "recall_micro": recall_micro,
        "f1_micro": _f1(precision_micro, recall_micro),
        "iou_precision": iou_precision,
        "iou_recall": iou_recall,
        "iou_f1": _f1(iou_precision, iou_recall),
        "iou_precision_micro": iou_precision_micro,
        "iou_recall_micro": iou_recall_micro,
        "iou_f1_micro": _f1(iou_precision_micro, iou_recall_micro),
        "auprc": _ratio(sums.auprc, sums.with_human_token, math.nan),
        "average_precision": _ratio(sums.average_precision, sums.mixed, math.nan),
        "roc_auc": _ratio(sums.roc_auc, sums.mixed, math.nan),
        "f1_at_human": _ratio(sums.f1_at_human, sums.with_human_token, math.nan),
        "distinct_scores": _ratio(sums.distinct_scores, sums.scored, math.nan),
    }


def _table(
    predicted: Sequence[Spans],
    gold: Sequence[Spans],
    lengths: Sequence[int],
    scores: Sequence[ArrayLike] | None,
    iou_threshold: float,
) -> NDArray[np.float64]:
    """A _Row of each document: [N, C]."""
    _check_equal(len(lengths), len(predicted), "selections")
    _check_equal(len(lengths), len(gold), "human rationales")
    if scores is not None:
        _check_equal(len(lengths), len(scores), "lists of scores")
    rows = np.zeros((len(lengths), len(_Row._fields)))
    for n, length in enumerate(lengths):
        chosen = _mask_of(n, predicted[n], length, "selected")
        human = _mask_of(n, gold[n], length, "human")
        row = _hard_row(chosen, human, predicted[n], gold[n], iou_threshold)
        if scores is not None:
            row = _add_ranking(row, _scores_of(n, scores[n], length), human)
        rows[n] = row
    return rows


def _hard_row(
    chosen: NDArray[np.bool_],
    human: NDArray[np.bool_],
    predicted: Spans,
    gold: Spans,
    iou_threshold: float,
) -> _Row:
    selected, people, hits = int(chosen.sum()), int(human.sum()), int((chosen & human).sum())
    precision, recall = _ratio(hits, selected), _ratio(hits, people)
    ours, theirs = set(predicted), set(gold)
    matched = _matched_spans(sorted(ours), sorted(theirs), iou_threshold)
    return _Row(
        tokens=len(human),
        selected=selected,
        human=people,
        hits=hits,
        judged=selected + people > 0,
        precision=precision,
        recall=recall,
        f1=_f1(precision, recall),
        spans_selected=len(ours),
        spans_human=len(theirs),
        spans_matched=matched,
        with_selected_span=bool(ours),
        with_human_span=bool(theirs),
        iou_precision=_ratio(matched, len(ours)),
        iou_recall=_ratio(matched, len(theirs)),
    )


def _matched_spans(predicted: Spans, gold: Spans, threshold: float) -> int:
    """How many predicted spans have |∩| / |∪| ≥ threshold with some human span."""
    ours = np.array(predicted, dtype=np.int64).reshape(-1, 1, 2)  # [P, 1, 2]
    theirs = np.array(gold, dtype=np.int64).reshape(1, -1, 2)  # [1, G, 2]
    common = np.minimum(ours[..., 1], theirs[..., 1]) - np.maximum(ours[..., 0], theirs[..., 0])
    common = np.maximum(common, 0)  # [P, G]
    union = ours[..., 1] - ours[..., 0] + theirs[..., 1] - theirs[..., 0] - common
    best = _ratio(common, union).max(axis=1, initial=0.0)
    return int((best >= threshold).sum())


def _scores_of(n: int, scores: ArrayLike, length: int) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (length,):
        raise UserError(
            f"document {n + 1} has {length} tokens but {values.size} scores: give one a token"
        )
    if np.isnan(values).any():
        raise UserError(f"a score of document {n + 1} is NaN: give a number for each token")
    return values


def _add_ranking(row: _Row, scores: NDArray[np.float64], human: NDArray[np.bool_]) -> _Row:
    length, people = len(human), int(human.sum())
    row = row._replace(scored=length > 0, distinct_scores=_ratio(len(np.unique(scores)), length))
    if people:
        hits = (top_tokens(scores, people) & human).sum()
        row = row._replace(
            with_human_token=1, auprc=auprc(scores, human), f1_at_human=hits / people
        )
    if 0 < people < length:
        row = row._replace(
            mixed=1,
            average_precision=average_precision(scores, human),
            roc_auc=roc_auc(scores, human),
        )
    return row


# --- faithfulness ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FaithfulnessScore(Score):
    """Differences of the predicted class's probability, means over documents.

    `shares` and the points are empty, and the AOPC scores None, if AOPC was not asked for.
    """

    documents: int
    comprehensiveness: float
    sufficiency: float
    shares: tuple[float, ...]
    comprehensiveness_points: tuple[float, ...]  # one a share
    sufficiency_points: tuple[float, ...]
    comprehensiveness_aopc: float | None  # means of the points
    sufficiency_aopc: float | None

    @property
    def signature(self) -> str:
        shares = ",".join(f"{share:g}" for share in self.shares) or "none"
        return signature(
            "ERASER-faithfulness", f"docs:{self.documents}", "class:predicted", f"aopc:{shares}"
        )

    def format(self) -> str:
        """One line, differences of probabilities, the signature last."""
        line = f"comprehensiveness {self.comprehensiveness:z.4f}  "
        line += f"sufficiency {self.sufficiency:z.4f}  "
        if self.comprehensiveness_aopc is not None and self.sufficiency_aopc is not None:
            line += f"AOPC {self.comprehensiveness_aopc:z.4f} / {self.sufficiency_aopc:z.4f}  "
        return line + self.signature


def faithfulness(
    full: ArrayLike,
    rationale: ArrayLike,
    complement: ArrayLike,
    aopc: Mapping[float, tuple[ArrayLike, ArrayLike]] | None = None,
    predicted: ArrayLike | None = None,
) -> FaithfulnessScore:
    """Comprehensiveness, sufficiency and AOPC from class probabilities, all [N, C].

    `full` is p(· | x), `rationale` p(· | rationale alone) and `complement` p(· | the rest). `aopc`
    gives for each share (complement, rationale) of a rationale of that many of the best tokens (see
    `top_share`). `predicted` [N] are the class indices to look at, by default argmax of `full`.
    Raises ValueError for shapes that differ or numbers that are not probabilities.
    """
    whole = _probabilities(full, "full")
    classes = whole.argmax(axis=1) if predicted is None else np.asarray(predicted, dtype=np.int64)
    if classes.shape != whole.shape[:1]:
        raise ValueError(f"{len(whole)} documents but predicted classes of {classes.shape}")

    def drop(probabilities: ArrayLike, name: str) -> float:
        rest = _probabilities(probabilities, name)
        if rest.shape != whole.shape:
            raise ValueError(f"{name} probabilities are {rest.shape}, full ones {whole.shape}")
        rows = np.arange(len(whole))
        return float(_ratio((whole - rest)[rows, classes].sum(), len(whole)))

    bins = sorted((aopc or {}).items())
    shares = tuple(share for share, _ in bins)
    points = [
        (drop(rest, f"AOPC {share:g} complement"), drop(best, f"AOPC {share:g} rationale"))
        for share, (rest, best) in bins
    ]
    without, alone = zip(*points, strict=True) if points else ((), ())
    return FaithfulnessScore(
        documents=len(whole),
        comprehensiveness=drop(complement, "complement"),
        sufficiency=drop(rationale, "rationale"),
        shares=shares,
        comprehensiveness_points=without,
        sufficiency_points=alone,
        comprehensiveness_aopc=statistics.fmean(without) if without else None,
        sufficiency_aopc=statistics.fmean(alone) if alone else None,
    )


def _probabilities(values: ArrayLike, name: str) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not ((table >= 0) & (table <= 1 + 1e-6)).all():
        raise ValueError(f"{name}: expected probabilities [documents, classes] in [0, 1]")
    return table


# --- the task itself ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassificationScore(Score):
    """Right answers, beside what the most frequent class alone would reach."""

    documents: int
    classes: int
    accuracy: float
    macro_f1: float  # mean over the classes that occur in gold or prediction
    majority: float  # share of the most frequent gold class: accuracy of always saying it
    majority_predicted: float  # share of the most frequent answer; 1: it always says the same

    @property
    def signature(self) -> str:
        return signature("accuracy", f"docs:{self.documents}", f"classes:{self.classes}")

    def format(self) -> str:
        """One line in per cent, the signature last."""
        return (
            f"accuracy {percent(self.accuracy)}  macro F1 {percent(self.macro_f1)}  "
            f"majority {percent(self.majority)}  commonest answer "
            f"{percent(self.majority_predicted)}  {self.signature}"
        )


def classification(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> ClassificationScore:
    """Accuracy and macro F1 (0 / 0 is 0). Raises UserError for unequal numbers of documents."""
    _check_equal(len(gold), len(predicted), "predicted labels")
    said, true = Counter(predicted), Counter(gold)
    right = Counter(y for y, guess in zip(gold, predicted, strict=True) if y == guess)
    classes = [*dict.fromkeys([*true, *said])]
    # F1 of a class is 2 right / (said + true).
    f1 = [2 * right[label] / (said[label] + true[label]) for label in classes]
    n = len(gold)
    return ClassificationScore(
        documents=n,
        classes=len(classes),
        accuracy=float(_ratio(right.total(), n)),
        macro_f1=float(_ratio(sum(f1), len(f1))),
        majority=float(_ratio(max(true.values(), default=0), n)),
        majority_predicted=float(_ratio(max(said.values(), default=0), n)),
    )


@dataclass(frozen=True)
class RegressionScore(Score):
    """Squared error and correlations; a correlation with a constant is None."""

    documents: int
    mse: float
    variance: float  # of gold: the MSE of always saying its mean
    pearson: float | None
    spearman: float | None  # Pearson of the ranks, equals sharing their mean rank

    @property
    def signature(self) -> str:
        return signature("MSE", f"docs:{self.documents}", "ranks:mean")

    def format(self) -> str:
        """One line, the signature last."""
        pearson, spearman = (
            "-" if value is None else f"{value:z.4f}" for value in (self.pearson, self.spearman)
        )
        return (
            f"MSE {self.mse:.5f}  variance {self.variance:.5f}  Pearson {pearson}  "
            f"Spearman {spearman}  {self.signature}"
        )


def regression(predicted: Sequence[float], gold: Sequence[float]) -> RegressionScore:
    """MSE, Pearson and Spearman correlation. Raises UserError for unequal numbers of documents."""
    _check_equal(len(gold), len(predicted), "predicted values")
    said, true = np.asarray(predicted, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    n = len(true)
    return RegressionScore(
        documents=n,
        mse=float(_ratio(((said - true) ** 2).sum(), n)),
        variance=float(true.var()) if n else 0.0,
        pearson=_correlation(said, true),
        spearman=_correlation(_ranks(said), _ranks(true)),
    )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    # Not by variance == 0: the mean of equal floats may differ from them in the last bit.
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equals share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


# --- several seeds --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """A score over several seeds: mean and standard deviation (n - 1; 0 for a single seed)."""

    mean: float
    deviation: float
    count: int

    def format(self, digits: int = 3) -> str:
        """`0.423 ± 0.011 (3 seeds)`."""
        return f"{self.mean:.{digits}f} ± {self.deviation:.{digits}f} ({self.count} seeds)"


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of one score over seeds. Raises ValueError without any."""
    if not values:
        raise ValueError("no values to average")
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), deviation, len(values))
