r"""The HMM aligner (Vogel, Ney and Tillmann 1996): a link depends on where the last one was.

    p(a_j = i | m, I) = (1 - p₀) s(i - m) / Σ_{i' ≤ I} s(i' - m),    p(a_j = NULL) = p₀

m is the last source position that was linked (NULL keeps it), or the start of the sentence, which
has scores of its own. Jumps longer than W share the score of ±W. With ``word_dim`` > 0 the scores
also look at the source word that is left:

    log s_m(d) = log s(d) + r(x_m) · u(d)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from latentnlp.config import at_least, between
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.distributions.alignment import LOG_ZERO, Posteriors
from latentnlp.distributions.hidden_markov import ChainPosteriors, HiddenMarkov
from latentnlp.models._positions import PositionModel

_UNSEEN = 0.1  # departures of a pretended sentence, so that no jump becomes impossible
_SWEEPS = 5  # of the M-step's inner iteration


@dataclass(frozen=True)
class Config:
    null_probability: float = 0.1  # p₀ at the start
    width: int = 30  # W: the longest jump with a score of its own
    decay: float = 0.5  # log s(d) = -decay · |d - 1| at the start
    word_dim: int = 0  # dimension of r(x): 0 for jumps that do not look at the word

    def __post_init__(self) -> None:
        between(self, 0, 1, "null_probability")
        at_least(self, width=1, word_dim=0, decay=0)


class JumpPositions(PositionModel):
    pretended: Tensor  # [3W+1]  jumps that the M-step adds to those it is given

    def __init__(self, config: Config, source: Vocabulary) -> None:
        super().__init__(config.null_probability)
        self.width = config.width
        jumps = torch.arange(-config.width, config.width + 1)
        self.jump_logits = nn.Parameter(-config.decay * (jumps - 1).abs().float())  # [2W+1]
        self.start_logits = nn.Parameter(
            self.jump_logits[config.width + 1 :].detach().clone()
        )  # [W]
        pretended = self._distributions().detach().clamp_min(1e-9) * _UNSEEN
        self.register_buffer("pretended", pretended, persistent=False)
        self.leaving_words = nn.Embedding(len(source), config.word_dim) if config.word_dim else None
        if self.leaving_words is not None:  # r = 0: at first no word differs from another
            nn.init.zeros_(self.leaving_words.weight)
            self.jump_vectors = nn.Parameter(torch.randn(len(jumps), config.word_dim) * 0.1)

    def forward(self, batch: Batch, log_emission: Tensor, log_null: Tensor) -> HiddenMarkov:
        log_emission = log_emission.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
        scores = self._log_scores(batch.source.shape[1])  # [I+1, I]
        if self.leaving_words is None:
            # One matrix for the whole batch: only the normaliser knows the sentence's length.
            to_length = scores.logcumsumexp(1).t()  # [I, I+1]
            normaliser = to_length[batch.source_lengths - 1]  # [B, I+1]
        else:
            scores = scores + self._word_scores(batch.source)  # [B, I+1, I]
            scores = scores.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
            normaliser = scores.logsumexp(-1)
        return HiddenMarkov(
            log_emission,
            scores,
            target_mask=batch.target_mask,
            log_null=log_null + logsigmoid(self.null_logit),
            log_leave=logsigmoid(-self.null_logit) - normaliser,
        )

    def _distributions(self) -> Tensor:
        """s as two distributions, of start scores and of jump scores, [3W+1]."""
        return torch.cat([self.start_logits.softmax(0), self.jump_logits.softmax(0)])

    def _log_scores(self, n_source: int) -> Tensor:
        """log s(i - m), [I+1, I]; row 0 is the start."""
        return torch.cat([self.start_logits, self.jump_logits])[self._buckets(n_source)]

    def _buckets(self, n_source: int) -> Tensor:
        """Which of [start scores, jump scores] a jump uses, [I+1, I]."""
        position = torch.arange(n_source, device=self.jump_logits.device)
        start = position.clamp_max(self.width - 1)
        jump = (position[None, :] - position[:, None]).clamp(-self.width, self.width)
        return torch.cat([start[None, :], jump + 2 * self.width])

    def _word_scores(self, source: Tensor) -> Tensor:
        """r(x_m) · u(i - m), [B, I+1, I]; the start has no word."""
        assert self.leaving_words is not None
        by_jump = self.leaving_words(source) @ self.jump_vectors.t()  # [B, I, 2W+1]
        bucket = self._buckets(source.shape[1])[1:] - self.width  # [I, I]
        scores = by_jump.gather(2, bucket.expand(source.shape[0], -1, -1))
        return torch.nn.functional.pad(scores, (0, 0, 1, 0))

    def statistics(self, batch: Batch, posteriors: Posteriors) -> dict[str, Tensor]:
        """jumps [3W+1]: expected uses of each score. departures [L+1, L+1]: expected jumps out of
        memory m in sentences of length I, where L grows with the longest sentence."""
        assert isinstance(posteriors, ChainPosteriors)
        counts = super().statistics(batch, posteriors)
        transition = posteriors.transition
        transition = transition.sum(0) if transition.dim() == 3 else transition
        bucket = self._buckets(batch.source.shape[1])
        jumps = transition.new_zeros(3 * self.width + 1)
        counts["jumps"] = jumps.index_add_(0, bucket.flatten(), transition.flatten())
        n_memory = posteriors.leave.shape[1]
        departures = transition.new_zeros(n_memory, n_memory)
        counts["departures"] = departures.index_add_(0, batch.source_lengths, posteriors.leave)
        return counts

    def maximise(self, statistics: dict[str, Tensor]) -> None:
        r"""Maximise Σ_d C(d) log s(d) - Σ_{I,m} n(I, m) log Σ_{i ≤ I} s(i - m).

        The sums over truncated ranges have no closed form; -log Z lies above its tangent, so

            s(d) ← C(d) / Σ_{I,m} n(I, m) #{i ≤ I : i - m = d} / Z_I(m)

        climbs at every sweep (Hunter 2004, "MM algorithms for generalized Bradley-Terry models").
        C and n include a pretended sentence, long enough for every jump, which leaves its start and
        one word by the jumps that the model began with: jumps beyond the corpus keep their shape.
        """
        super().maximise(statistics)
        departures = statistics["departures"]  # [I, M]
        n_source = departures.shape[0] - 1
        bucket = self._buckets(n_source)
        used = statistics["jumps"] + self.pretended
        for _ in range(_SWEEPS):
            scores = self._distributions()  # only ratios matter
            to_length = scores[bucket].cumsum(1).t()  # [I, M]
            rate = departures[1:] / to_length.to(departures.dtype)
            reach = rate.flip(0).cumsum(0).flip(0).t()  # [M, i]: sentences with I ≥ i
            available = torch.zeros_like(used).index_add_(0, bucket.flatten(), reach.flatten())
            log_scores = (used / (available + _UNSEEN)).log()
            self.start_logits.copy_(log_scores[: self.width])
            self.jump_logits.copy_(log_scores[self.width :])


def build(config: Config, source: Vocabulary) -> JumpPositions:
    return JumpPositions(config, source)
