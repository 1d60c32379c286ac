r"""From distributions over alignments to links.

    "agreement"   link (i, j) if its score > threshold
    "posterior"   each direction takes its links with posterior > threshold; then symmetrise
    "viterbi"     each direction takes argmax_a p(a | x, y); then symmetrise

The score of a link, whatever chose it, is the mean of its two posteriors, calibrated:

    p = ½ p(a_j = i | x, y) + ½ p(b_i = j | y, x),    score = p^β / (p^β + (1 - p)^β)

where a aligns target words to source words and b source words to target words (Liang, Taskar and
Klein 2006, section 3.3, threshold the product, which on all dev sets of the recipes does worse).
Posteriors of such models are too sure of themselves; β, a temperature (Guo et al. 2017, section
4.2), was fitted on the dev sets of bible, en-cs, en-sv and xlwa. It moves no score across ½.

All of them are of sharpened distributions, in which emissions count λ times:

    p(a | x, y) ∝ p(a | x) p(y | x, a)^λ

A lexicon of counts has seen the text, so it knows more of a link than jumps do.

The confidence in a sentence pair, from 0 to 1, is the geometric mean of the probabilities of its
words, each given the other side (one over their perplexity):

    ( p(y | x) p(x | y) ) ^ (1 / (I + J)),    p(y | x) = (Σ_a p(a | x) p(y | x, a)^λ) ^ (1 / λ)

It tells pairs that do not belong together: what a text does not translate, it does not predict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from latentnlp.config import between
from latentnlp.data.batches import Batch
from latentnlp.data.links import Link, Links
from latentnlp.distributions.alignment import NULL
from latentnlp.models.aligner import BidirectionalAligner
from latentnlp.symmetrization import symmetrize

Symmetrization = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
]

_TEMPERATURE = 0.36  # β


@dataclass(frozen=True)
class Config:
    method: Literal["agreement", "posterior", "viterbi"] = "agreement"
    threshold: float = 0.5  # of scores ("agreement") or of posteriors ("posterior")
    sharpness: float = 2.0  # λ
    symmetrization: Symmetrization = "grow-diag-final-and"  # of "posterior" and "viterbi"

    def __post_init__(self) -> None:
        between(self, 0, 1, "threshold")
        between(self, 0, float("inf"), "sharpness")


@dataclass(frozen=True)
class Alignment:
    """What is said about one sentence pair; links are (source position, target position)."""

    line: int
    links: Links
    scores: dict[Link, float]  # of ``links``
    confidence: float = 0.0  # in the pair
    forward: Links | None = None  # source → target alone, if asked for
    reverse: Links | None = None  # target → source alone, if asked for
    posterior: np.ndarray | None = None  # [I, J]: the mean, not calibrated, if asked for


@torch.no_grad()
def decode(
    aligner: BidirectionalAligner, batch: Batch, config: Config, details: bool = False
) -> Iterator[Alignment]:
    """The alignments of a batch, in its order; with ``details``, all that may be asked for."""
    there, back = aligner.distributions(batch, config.sharpness)
    forward_posteriors, reverse_posteriors = there.posteriors(), back.posteriors()
    p, q = forward_posteriors.emission.mT, reverse_posteriors.emission  # [B, I, J]
    agreement = (p + q) / 2
    log_likelihood = forward_posteriors.log_partition + reverse_posteriors.log_partition
    n_words = batch.source_lengths + batch.target_lengths
    confidence = (log_likelihood / (config.sharpness * n_words)).exp().tolist()
    forward = reverse = None
    if config.method == "posterior":
        forward, reverse = _per_sentence(p > config.threshold), _per_sentence(q > config.threshold)
    elif config.method == "viterbi" or details:
        forward = _per_sentence(_links_of_path(there.mode(), agreement.shape[1]).mT)
        reverse = _per_sentence(_links_of_path(back.mode(), agreement.shape[2]))
    posteriors = agreement.float().cpu()
    if config.method == "agreement":
        # In float64: of thresholds close to 1 float32 makes 1.
        chosen = (posteriors.double() > _uncalibrated(config.threshold)).nonzero()  # [N, 3]
    else:
        assert forward is not None and reverse is not None
        merged = zip(forward, reverse, strict=True)
        both = [symmetrize(config.symmetrization, f, r) for f, r in merged]
        places = [(row, *link) for row, links in enumerate(both) for link in links]
        chosen = torch.tensor(places, dtype=torch.long).reshape(-1, 3)
    scores = _scores(posteriors, chosen)
    source_lengths, target_lengths = batch.source_lengths.tolist(), batch.target_lengths.tolist()
    for row, line in enumerate(batch.index.tolist()):
        yield Alignment(
            line=line,
            links=frozenset(scores[row]),
            scores=scores[row],
            confidence=confidence[row],
            forward=forward[row] if details and forward else None,
            reverse=reverse[row] if details and reverse else None,
            # A copy: a view would keep the whole batch.
            posterior=posteriors[row, : source_lengths[row], : target_lengths[row]].numpy().copy()
            if details
            else None,
        )


def _scores(posteriors: Tensor, chosen: Tensor) -> list[dict[Link, float]]:
    """The scores of the ``chosen`` links (sentence, i, j) [N, 3], of each of the B sentences."""
    sentence, i, j = chosen.unbind(1)  # sentence rises
    values = calibrated(posteriors[sentence, i, j]).tolist()
    scores = zip(zip(i.tolist(), j.tolist(), strict=True), values, strict=True)
    counts = sentence.bincount(minlength=len(posteriors)).tolist()
    return [dict(islice(scores, count)) for count in counts]


def calibrated(p: Tensor) -> Tensor:
    """The scores of links with mean posteriors p, of any shape."""
    # Rounded, a mean of posteriors may be a little more than 1.
    return (_TEMPERATURE * p.clamp(0, 1).logit()).sigmoid()


def _uncalibrated(score: float) -> float:
    """The posterior that has this score."""
    return (torch.tensor(score, dtype=torch.double).logit() / _TEMPERATURE).sigmoid().item()


def _links_of_path(path: Tensor, positions: int) -> Tensor:
    """a [B, J] → [B, J, I], True where a_j = i."""
    every = torch.arange(positions, device=path.device)
    return (path.unsqueeze(-1) == every) & (path != NULL).unsqueeze(-1)


def _per_sentence(links: Tensor) -> list[Links]:
    """[B, I, J] bool → the set of (i, j) of each sentence."""
    sentence, i, j = links.cpu().nonzero(as_tuple=True)
    pairs = zip(i.tolist(), j.tolist(), strict=True)
    counts = sentence.bincount(minlength=len(links)).tolist()
    return [frozenset(islice(pairs, count)) for count in counts]
