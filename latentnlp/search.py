r"""Beam search: translations y of large log p(y | x), built from left to right.

    score(y) = log p(y_1 … y_J | x) / J^α        y_J the end mark, which is counted

Each step lengthens the K best unfinished hypotheses by every word and ranks what comes out. Of the
2K best, those that end are finished if they are among the first K, and the K best of the others go
on: a finished hypothesis takes no place from an unfinished one. K = 1 follows the best word until
that is the end mark; with K not below the number of all hypotheses the search is exhaustive.

A sentence is done when K hypotheses have finished (as in Bahdanau, Cho and Bengio 2015), or before,
when no unfinished one can overtake (Huang, Zhao and Ma 2017): one of L words at most, its end
included, has log p ≤ s for good, and so a score of at most s / L^α. Of α = 0 the second rule
comes soon; of α = 1 it is weak, and the first one decides.

A translation may be empty: the end mark alone, of score log p(y_1 = end | x). A model finds that
improbable, and α = 1 compares it with what the others have *per word*. With α = 0 every further
word costs, and with a wide beam the empty translation does win (Stahlberg and Byrne 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from latentnlp.config import at_least
from latentnlp.data.batches import Side
from latentnlp.translation_models._contract import State, TranslationModel, pick


@dataclass(frozen=True)
class Config:
    beam: int = 5  # K; 1: the best word at each place
    length_normalisation: float = 1.0  # α; 0: none
    longest: float = 2.0  # a translation has at most longest · I + extra words, ends not counted
    extra: int = 20  # in the translation; the end of the source is one of its I words

    def __post_init__(self) -> None:
        at_least(self, beam=1, length_normalisation=0, longest=0, extra=1)
        for name, most in (("length_normalisation", 10), ("longest", 1000)):
            if not getattr(self, name) <= most:  # nan is not, either
                raise ValueError(f"{name} = {getattr(self, name)} is above {most}")


@dataclass(frozen=True)
class Hypothesis:
    """A translation, without its end mark."""

    words: tuple[int, ...]
    log_prob: float  # log p(y | x), the end mark included
    score: float


class _Beams(NamedTuple):
    """Of B sentences: the K unfinished hypotheses of j words, and the N best finished ones.

    A log-probability of -inf stands for no hypothesis.
    """

    number: Tensor  # [B] which sentence of the batch
    limit: Tensor  # [B] the most words
    log_prob: Tensor  # [B, K]
    words: Tensor  # [B, K, j]
    finished: Tensor  # [B] how many so far
    best_log_prob: Tensor  # [B, N]
    best_score: Tensor  # [B, N], falling
    best_words: Tensor  # [B, N, j], 0 after the end


class _Choice(NamedTuple):
    """Candidates, the most probable first: unfinished hypothesis ``parents``, and ``words``."""

    log_prob: Tensor  # [B, C]
    parents: Tensor  # [B, C]
    words: Tensor  # [B, C]


@torch.no_grad()
def search(
    model: TranslationModel, source: Side, end: int, config: Config, best: int = 1
) -> list[list[Hypothesis]]:
    """The ``best`` best translations of each sentence, the best first; on the source's device.

    ``end`` is the id of the end mark, of which each sentence of ``source`` has one. The unknown
    word may come out, padding never. Fewer than ``best`` come out only where a model allows no
    more. `model.eval()` is the caller's. Waits for the device once a word.

    Raises ValueError if ``best`` is not between 1 and the beam.
    """
    if not 1 <= best <= config.beam:
        raise ValueError(f"{best=} hypotheses of a beam of {config.beam}")
    found: list[list[Hypothesis]] = [[] for _ in range(len(source.words))]
    memory = model.encode(source)
    state = model.start(memory)
    beams = _begin(source, config, best)
    while len(beams.number):
        log_p, step = model.predict(memory, state)
        choice = _candidates(beams, log_p, end, config.beam)
        going = _unfinished(choice, end, config.beam)
        beams = _advance(beams, choice, going, end, config)
        done = _is_done(beams, config)
        beams = beams._replace(log_prob=beams.log_prob.masked_fill(done.unsqueeze(1), -torch.inf))
        state = model.extend(memory, step, going.parents, going.words)
        # What a sentence remembers may be large: it is moved for a quarter of them at least.
        if 4 * int(done.sum()) >= len(done):
            _collect(beams, done, found)
            rows = (~done).nonzero().squeeze(1)
            beams = _Beams(*(tensor[rows] for tensor in beams))
            memory, state = _rows(memory, rows), _rows(state, rows)
    return found


def _begin(source: Side, config: Config, best: int) -> _Beams:
    sentences, device = len(source.words), source.words.device
    none = torch.full((sentences, best), -torch.inf, device=device)
    return _Beams(
        number=torch.arange(sentences, device=device),
        limit=(config.longest * source.lengths).long() + config.extra,
        log_prob=torch.zeros(sentences, 1, device=device),
        words=source.words.new_zeros(sentences, 1, 0),
        finished=source.words.new_zeros(sentences),
        best_log_prob=none,
        best_score=none,
        best_words=source.words.new_zeros(sentences, best, 0),
    )


def _candidates(beams: _Beams, log_p: Tensor, end: int, beam: int) -> _Choice:
    """The 2K most probable continuations. At the limit there is one of a hypothesis: its end."""
    width = min(2 * beam, log_p.shape[2])  # no hypothesis has more of them
    top, words = log_p.topk(width)  # [B, K, width]
    full = (beams.words.shape[2] >= beams.limit)[:, None, None]
    first = torch.arange(width, device=top.device) == 0
    only_end = torch.where(first, log_p[..., end : end + 1], -torch.inf)
    top, words = torch.where(full, only_end, top), torch.where(full, end, words)
    # Where there is no hypothesis, a model may say anything, even NaN.
    there = (beams.log_prob > -torch.inf).unsqueeze(2)
    total = torch.where(there, beams.log_prob.unsqueeze(2) + top, -torch.inf).flatten(1)
    log_prob, place = total.topk(min(2 * beam, total.shape[1]))  # [B, C]
    return _Choice(log_prob, place // width, words.flatten(1).gather(1, place))


def _unfinished(choice: _Choice, end: int, beam: int) -> _Choice:
    """The K most probable ones that do not end, [B, K]."""
    going = choice.log_prob.masked_fill(choice.words == end, -torch.inf)
    log_prob, place = going.topk(min(beam, going.shape[1]))
    words = choice.words.gather(1, place)
    # No padding, not even of a hypothesis that is none: a model may have no state for it.
    words = torch.where(log_prob > -torch.inf, words, end)
    return _Choice(log_prob, choice.parents.gather(1, place), words)


def _advance(beams: _Beams, choice: _Choice, going: _Choice, end: int, config: Config) -> _Beams:
    """One word further: candidates that end join the best finished ones, ``going`` go on."""
    ends = (choice.words == end) & (choice.log_prob > -torch.inf)
    ends[:, config.beam :] = False
    log_prob = torch.where(ends, choice.log_prob, -torch.inf)
    score = log_prob / (beams.words.shape[2] + 1) ** config.length_normalisation
    finished_words = pick(beams.words, choice.parents)  # [B, C, j]

    scores = torch.cat([beams.best_score, score], 1)
    best_score, place = scores.topk(beams.best_score.shape[1])
    best_words = pick(torch.cat([beams.best_words, finished_words], 1), place)
    return beams._replace(
        log_prob=going.log_prob,
        words=torch.cat([pick(beams.words, going.parents), going.words.unsqueeze(2)], 2),
        finished=beams.finished + ends.sum(1),
        best_log_prob=torch.cat([beams.best_log_prob, log_prob], 1).gather(1, place),
        best_score=best_score,
        best_words=pad(best_words, (0, 1)),
    )


def _is_done(beams: _Beams, config: Config) -> Tensor:
    """[B] bool: as many as the beam is wide have finished, or none can still get among the best."""
    longest = (beams.limit + 1) ** config.length_normalisation
    attainable = beams.log_prob.amax(1) / longest
    return (beams.finished >= config.beam) | (beams.best_score[:, -1] >= attainable)


def _collect(beams: _Beams, done: Tensor, found: list[list[Hypothesis]]) -> None:
    """What the sentences that are ``done`` [B] have found."""
    tensors = beams.number, beams.best_words, beams.best_log_prob, beams.best_score
    for number, *hypotheses in zip(*(one[done].tolist() for one in tensors), strict=True):
        found[number] = [
            Hypothesis(tuple(word for word in words if word), log_prob, score)
            for words, log_prob, score in zip(*hypotheses, strict=True)
            if score > -torch.inf
        ]


def _rows(state: State, rows: Tensor) -> State:
    return {name: tensor[rows] for name, tensor in state.items()}
