r"""The HMM aligner (Vogel, Ney and Tillmann 1996): a link depends on where the last one was.

    p(a_j = i | m, x) = (1 - p₀) s(i - m) l_k(x_m) r_k(x_i) / Σ_{i' ≤ I} …,    p(a_j = NULL) = p₀

m is the last source position that was linked (NULL keeps it), or the start of the sentence, which
has scores s of its own. Jumps longer than W share the score of ±W. k is the kind of the jump:

    back, one back, none, one on, further on        or from the start

l_k(x) says how readily word x is left by such a jump, r_k(x) how readily it is reached by one:
which words are said with several, which are left out, which change places with their neighbours
(after He 2007, "Using word-dependent transition models in HMM based word alignment"). A Gamma prior
with mode 1 keeps rare words from having a will of their own: κ (log l - l) in the M-step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, logsigmoid, pad

from latentnlp.config import at_least, between
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.alignment import LOG_ZERO, AlignmentDistribution, Posteriors
from latentnlp.distributions.hidden_markov import ChainPosteriors, HiddenMarkov
from latentnlp.models._positions import PositionModel, Totals

_KINDS = 5  # jumps of at most -2, of -1, 0 and 1, of at least 2
_START = _KINDS  # the kind of the jump from the start
_STEP = 0.5  # of iterative scaling
_TINY = torch.finfo(torch.float32).tiny
_UNSEEN = 0.1  # departures of a pretended sentence, so that no jump becomes impossible


@dataclass(frozen=True)
class Config:
    null_probability: float = 0.1  # p₀ at the start
    width: int = 30  # W: the longest jump with a score of its own
    decay: float = 0.5  # log s(d) = -decay · |d - 1| at the start
    word_strength: float = 3.0  # κ: jumps that the prior of l_k(x) or r_k(x) weighs as much as

    def __post_init__(self) -> None:
        between(self, 0, 1, "null_probability")
        between(self, 0, float("inf"), "word_strength")
        at_least(self, width=1, decay=0)


class JumpPositions(PositionModel):
    by_word = ("words_left", "words_reached")
    pretended: Tensor  # [3W+1]  jumps that the M-step adds to those it is given

    def __init__(self, config: Config, source: Vocabulary) -> None:
        super().__init__(config.null_probability)
        self.width, self.word_strength = config.width, config.word_strength
        jumps = torch.arange(-config.width, config.width + 1)
        self.jump_logits = nn.Parameter(-config.decay * (jumps - 1).abs().float())  # [2W+1]
        self.start_logits = nn.Parameter(
            self.jump_logits[config.width + 1 :].detach().clone()
        )  # [W]
        pretended = self._distributions().detach().clamp_min(1e-9) * _UNSEEN
        self.register_buffer("pretended", pretended, persistent=False)
        self.words_left = nn.Parameter(torch.zeros(len(source), _KINDS))  # [|X|, 5]  log l
        self.words_reached = nn.Parameter(torch.zeros(len(source), _KINDS + 1))  # [|X|, 6]  log r

    def forward(self, batch: Batch, log_emission: Tensor, log_null: Tensor) -> HiddenMarkov:
        scores = self._log_scores(batch)  # [B, I+1, I]
        return HiddenMarkov(
            log_emission,
            scores,
            target_mask=batch.target_mask,
            log_null=log_null + logsigmoid(self.null_logit),
            # Scores are no larger than HiddenMarkov allows them to be: no logsumexp, which is slow.
            log_leave=logsigmoid(-self.null_logit) - scores.exp().sum(-1).clamp_min(_TINY).log(),
        )

    def _distributions(self) -> Tensor:
        """s as two distributions, of start scores and of jump scores, [3W+1]."""
        return torch.cat([self.start_logits.softmax(0), self.jump_logits.softmax(0)])

    def _log_scores(self, batch: Batch) -> Tensor:
        """log s + log l + log r of all jumps, [B, I+1, I]; row 0 is the start; none to padding."""
        n_source = batch.source.shape[1]
        kinds, position = self._kinds(n_source), torch.arange(n_source, device=batch.source.device)
        left = embedding(batch.source, self.words_left)  # [B, I, 5]
        reached = embedding(batch.source, self.words_reached)  # [B, I, 6]
        reached = reached.masked_fill(~batch.source_mask.unsqueeze(2), LOG_ZERO)
        scores = torch.cat([self.start_logits, self.jump_logits])[self._buckets(n_source)]
        # As columns of a matrix, which takes a quarter of the time of gather.
        column = position * reached.shape[2] + kinds  # [I+1, I]
        scores = scores + _columns(reached, column)
        column = position.unsqueeze(1) * left.shape[2] + kinds[1:]  # [I, I]
        scores[:, 1:] += _columns(left, column)
        return scores

    def _buckets(self, n_source: int) -> Tensor:
        """Which of [start scores, jump scores] a jump uses, [I+1, I]."""
        position = torch.arange(n_source, device=self.jump_logits.device)
        start = position.clamp_max(self.width - 1)
        jump = _jumps(position).clamp(-self.width, self.width)
        return torch.cat([start[None, :], jump + 2 * self.width])

    def _kinds(self, n_source: int) -> Tensor:
        """k of each jump, [I+1, I]."""
        position = torch.arange(n_source, device=self.jump_logits.device)
        return pad(_jumps(position).clamp(-2, 2) + 2, (0, 0, 1, 0), value=_START)

    def collect(
        self, totals: Totals, batch: Batch, found: AlignmentDistribution, posteriors: Posteriors
    ) -> None:
        """jumps [3W+1], left [|X|, 5] and reached [|X|, 6]: expected uses of each score, each
        beside what the model itself expects of the same departures."""
        assert isinstance(found, HiddenMarkov) and found.log_leave is not None
        assert isinstance(posteriors, ChainPosteriors)
        super().collect(totals, batch, found, posteriors)
        rate = posteriors.leave * (found.log_leave - logsigmoid(-self.null_logit)).exp()
        expected = found.log_transition.exp() * rate.unsqueeze(-1)
        self._add_uses(totals, "", batch, posteriors.transition)
        self._add_uses(totals, "expected_", batch, expected)

    def _add_uses(self, totals: Totals, prefix: str, batch: Batch, uses: Tensor) -> None:
        """Add how often jumps were used, [B, I+1, I], to the scores that they use."""
        left, reached = _by_kind(uses)
        bucket = self._buckets(batch.source.shape[1])
        for name, scores, place, value in (
            ("jumps", self.pretended, bucket, uses.sum(0)),
            ("left", self.words_left, batch.source, left),
            ("reached", self.words_reached, batch.source, reached),
        ):
            if prefix + name not in totals:
                totals[prefix + name] = value.new_zeros(scores.shape)
            value = value.reshape(-1, *scores.shape[1:])
            totals[prefix + name].index_add_(0, place.flatten(), value)

    def maximise(self, totals: Totals) -> None:
        r"""Climb Σ C(d) log s(d) + Σ C_k(x) log l_k(x) + Σ C_k(x) log r_k(x) - Σ n log Σ_{i ≤ I} ….

        Generalised iterative scaling (Darroch and Ratcliff 1972): with E what the model expects
        where C was counted,

            log s(d) ← log s(d) + ½ log(C(d) / E(d)),    log l and log r the same

        A jump has three factors, so a step of ⅓ never lowers it; ½ overrelaxes, and needs fewer
        passes over the text. C and E include a pretended sentence, long enough for every jump,
        which leaves its start and one word by the jumps that the model began with: jumps beyond the
        corpus keep their shape. The prior adds κ to C_k(x), and κ l_k(x) to E_k(x).
        """
        super().maximise(totals)
        log_scores = torch.cat([self.start_logits.log_softmax(0), self.jump_logits.log_softmax(0)])
        counted = totals["jumps"] + self.pretended
        expected = totals["expected_jumps"] + _UNSEEN * log_scores.exp()
        log_scores += _STEP * (counted / expected).log()
        self.start_logits.copy_(log_scores[: self.width])
        self.jump_logits.copy_(log_scores[self.width :])
        kappa = self.word_strength
        for name, factor in (("left", self.words_left), ("reached", self.words_reached)):
            expected = totals["expected_" + name] + kappa * factor.exp()
            factor.add_(_STEP * ((totals[name] + kappa) / expected).log())


def _by_kind(uses: Tensor) -> tuple[Tensor, Tensor]:
    """How often each word is left [B, I, 5] and reached [B, I, 6] by each kind of jump, of how
    often each jump is used [B, I+1, I]."""
    start, jumps = uses[:, 0], uses[:, 1:]
    every = jumps.new_ones(jumps.shape[1:])
    back, on = jumps * every.tril(-2), jumps * every.triu(2)  # sooner than jumps.tril(-2)
    one_back, none, one_on = (jumps.diagonal(jump, 1, 2) for jump in (-1, 0, 1))
    left = [back.sum(2), pad(one_back, (1, 0)), none, pad(one_on, (0, 1)), on.sum(2)]
    reached = [back.sum(1), pad(one_back, (0, 1)), none, pad(one_on, (1, 0)), on.sum(1), start]
    return torch.stack(left, -1), torch.stack(reached, -1)


def _columns(factors: Tensor, column: Tensor) -> Tensor:
    """factors [B, ·, ·], of which ``column`` counts both places as one → [B, *column.shape]."""
    return factors.flatten(1).index_select(1, column.flatten()).unflatten(1, column.shape)


def _jumps(position: Tensor) -> Tensor:
    """i - m, [I, I]."""
    return position[None, :] - position[:, None]


def build(config: Config, source: Vocabulary) -> JumpPositions:
    return JumpPositions(config, source)
