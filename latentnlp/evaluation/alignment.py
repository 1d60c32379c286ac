"""Word alignment scores (Och and Ney 2003, section 4).

With A the predicted links, S the sure and P ⊇ S the possible gold links, summed over sentences:

    precision = |A ∩ P| / |A|        recall = |A ∩ S| / |S|
    AER       = 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|)
    F1        = 2 · precision · recall / (precision + recall)

0 / 0 counts as 1 in a precision or recall (nothing wrong was said, nothing was missed), and AER is
0 when A and S are both empty. AER = 1 − F1 where every gold link is sure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latentnlp import __version__
from latentnlp.data.links import Gold, Link
from latentnlp.data.textfiles import read_lines
from latentnlp.errors import UserError

Annotated = tuple[frozenset[int], frozenset[int]]
"""The annotated source and target positions of one sentence pair."""


@dataclass(frozen=True)
class AlignmentScore:
    """AER and its companions as fractions, with the counts that they come from."""

    sentences: int
    predicted: int  # |A|
    sure: int  # |S|
    possible: int  # |P|, the sure links included
    predicted_sure: int  # |A ∩ S|
    predicted_possible: int  # |A ∩ P|
    annotated_only: bool = False

    @property
    def precision(self) -> float:
        return _ratio(self.predicted_possible, self.predicted)

    @property
    def recall(self) -> float:
        return _ratio(self.predicted_sure, self.sure)

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def aer(self) -> float:
        agreed = self.predicted_sure + self.predicted_possible
        return 1 - _ratio(agreed, self.predicted + self.sure)

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        fields = [
            "AER",
            f"sent:{self.sentences}",
            f"sure:{self.sure}",
            f"possible:{self.possible}",
            "null:dropped",
        ]
        if self.annotated_only:
            fields.append("links:annotated")
        return "|".join([*fields, f"version:latentnlp-{__version__}"])

    def format(self) -> str:
        """One line in per cent, the signature last."""
        return (
            f"AER {100 * self.aer:.2f}  precision {100 * self.precision:.2f}  "
            f"recall {100 * self.recall:.2f}  F1 {100 * self.f1:.2f}  "
            f"links {self.predicted}  {self.signature}"
        )

    def to_dict(self) -> dict[str, float | int | str | bool]:
        """Everything, ready for JSON; scores as fractions."""
        scores = {name: getattr(self, name) for name in ("aer", "precision", "recall", "f1")}
        return {**scores, **asdict(self), "signature": self.signature}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def score(
    predicted: Sequence[Collection[Link]],
    gold: Sequence[Gold],
    annotated: Sequence[Annotated] | None = None,
) -> AlignmentScore:
    """AER, precision, recall and F1 of `predicted` against `gold`, one entry a sentence pair each.

    With `annotated`, where only some words were annotated, predicted links with neither end among
    them are left out. Raises UserError if the numbers of sentence pairs differ.
    """
    counts = _count(predicted, gold, annotated).sum(axis=0).tolist()
    return AlignmentScore(len(gold), *counts, annotated_only=annotated is not None)


def _count(
    predicted: Sequence[Collection[Link]],
    gold: Sequence[Gold],
    annotated: Sequence[Annotated] | None,
) -> np.ndarray:
    """|A|, |S|, |P|, |A ∩ S|, |A ∩ P| of each sentence pair: [N, 5]."""
    _check_equal(len(gold), len(predicted), "predicted alignments")
    if annotated is not None:
        _check_equal(len(gold), len(annotated), "lines of annotated positions")
    rows = np.zeros((len(gold), 5), dtype=np.int64)
    for n, truth in enumerate(gold):
        links = set(predicted[n])
        if annotated is not None:
            sources, targets = annotated[n]
            links = {(i, j) for i, j in links if i in sources or j in targets}
        rows[n] = (
            len(links),
            len(truth.sure),
            len(truth.possible),
            len(links & truth.sure),
            len(links & truth.possible),
        )
    return rows


def _check_equal(gold: int, other: int, name: str) -> None:
    if gold != other:
        raise UserError(
            f"{gold} gold alignments but {other} {name}: give one line for each sentence pair"
        )


def bootstrap_interval(
    predicted: Sequence[Collection[Link]],
    gold: Sequence[Gold],
    annotated: Sequence[Annotated] | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of AER (low, high), by drawing sentence pairs with replacement.

    Percentile bootstrap over the N sentence pairs. Raises UserError as `score` does.
    """
    counts = _count(predicted, gold, annotated)  # [N, 5]
    n = len(counts)
    draw = np.random.default_rng(seed)
    totals = np.zeros((samples, 5), dtype=np.int64)
    for k in range(samples if n else 0):
        totals[k] = np.bincount(draw.integers(n, size=n), minlength=n) @ counts
    agreed, offered = totals[:, 3] + totals[:, 4], totals[:, 0] + totals[:, 1]
    aer = np.where(offered > 0, 1 - agreed / np.maximum(offered, 1), 0.0)
    low, high = np.quantile(aer, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class CalibrationBin:
    """Predicted links whose score lies in [low, high), the last bin in [low, 1]."""

    low: float
    high: float
    count: int
    mean_score: float
    precision: float  # share of them among the possible gold links


def calibration(
    scores: Sequence[Mapping[Link, float]], gold: Sequence[Gold], bins: int = 10
) -> list[CalibrationBin]:
    """Reliability of the scores of links: in each bin, how sure the model was and how often right.

    `scores`: for each sentence pair, the score in [0, 1] of each link offered. Bins without a
    link are left out. Raises UserError if the numbers of sentence pairs differ.
    """
    _check_equal(len(gold), len(scores), "lines of scored links")
    pairs = [
        (score, link in truth.possible)
        for links, truth in zip(scores, gold, strict=True)
        for link, score in links.items()
    ]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)  # [links, 2]
    # A score may exceed 1 by a rounding error.
    place = np.clip((table[:, 0] * bins).astype(np.int64), 0, bins - 1)
    rows = []
    for k in range(bins):
        inside = table[place == k]
        if len(inside):
            mean, precision = inside.mean(axis=0).tolist()
            rows.append(CalibrationBin(k / bins, (k + 1) / bins, len(inside), mean, precision))
    return rows


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Σ_b (n_b / n) |mean score of b − precision of b| (Naeini, Cooper and Hauskrecht 2015)."""
    total = sum(one.count for one in bins)
    gaps = (one.count * abs(one.mean_score - one.precision) for one in bins)
    return sum(gaps) / max(total, 1)


def read_annotated(path: str | Path) -> list[Annotated]:
    """Lines `source positions ||| target positions`, 0-based, separated by spaces.

    Raises UserError (file, line) for a missing file, invalid UTF-8, a line without `|||` or a
    position that is not a whole number.
    """
    return [_parse_annotated(text, f"{path}, line {number}") for number, text in read_lines(path)]


def _parse_annotated(text: str, place: str) -> Annotated:
    source, separator, target = text.partition("|||")
    words = [*source.split(), *target.split()]
    if not separator or not all(word.isascii() and word.isdigit() for word in words):
        raise UserError(
            f"{place}: expected source positions ||| target positions, counted from 0, got {text!r}"
        )
    return frozenset(map(int, source.split())), frozenset(map(int, target.split()))
