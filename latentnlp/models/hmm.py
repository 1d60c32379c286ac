r"""The HMM aligner (Vogel, Ney and Tillmann 1996): a link depends on where the last one was.

    p(a_j = i | m, x) = (1 - p₀) s(i - m) v(x_i) / Σ_{i' ≤ I} s(i' - m) v(x_i'),  p(a_j = NULL) = p₀

m is the last source position that was linked (NULL keeps it), or the start of the sentence, which
has scores of its own. Jumps longer than W share the score of ±W. v(x) is the pull of a source word:
below 1 for words that the other language often leaves out, above 1 for words that it says with
several. A Gamma prior with mode 1 keeps rare words from pulling: κ (log v - v) in the M-step. With
``word_dim`` > 0 the scores also look at the source word that is left:

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

_STEP = 0.5  # of iterative scaling: one over the factors of a jump
_UNSEEN = 0.1  # departures of a pretended sentence, so that no jump becomes impossible


@dataclass(frozen=True)
class Config:
    null_probability: float = 0.1  # p₀ at the start
    width: int = 30  # W: the longest jump with a score of its own
    decay: float = 0.5  # log s(d) = -decay · |d - 1| at the start
    pull_strength: float = 60.0  # κ: expected links that the prior of v weighs as much as
    word_dim: int = 0  # dimension of r(x): 0 for jumps that do not look at the word

    def __post_init__(self) -> None:
        between(self, 0, 1, "null_probability")
        between(self, 0, float("inf"), "pull_strength")
        at_least(self, width=1, word_dim=0, decay=0)


class JumpPositions(PositionModel):
    pretended: Tensor  # [3W+1]  jumps that the M-step adds to those it is given

    def __init__(self, config: Config, source: Vocabulary) -> None:
        super().__init__(config.null_probability)
        self.width, self.pull_strength = config.width, config.pull_strength
        jumps = torch.arange(-config.width, config.width + 1)
        self.jump_logits = nn.Parameter(-config.decay * (jumps - 1).abs().float())  # [2W+1]
        self.start_logits = nn.Parameter(
            self.jump_logits[config.width + 1 :].detach().clone()
        )  # [W]
        pretended = self._distributions().detach().clamp_min(1e-9) * _UNSEEN
        self.register_buffer("pretended", pretended, persistent=False)
        self.words_pull = nn.Parameter(torch.zeros(len(source)))  # [|X|]  log v
        self.leaving_words = nn.Embedding(len(source), config.word_dim) if config.word_dim else None
        if self.leaving_words is not None:  # r = 0: at first no word differs from another
            nn.init.zeros_(self.leaving_words.weight)
            self.jump_vectors = nn.Parameter(torch.randn(len(jumps), config.word_dim) * 0.1)

    def forward(self, batch: Batch, log_emission: Tensor, log_null: Tensor) -> HiddenMarkov:
        pull = self._log_pull(batch)
        scores = self._log_scores(batch.source.shape[1])  # [I+1, I]
        if self.leaving_words is None:
            # One matrix for the whole batch: only the normaliser knows the sentence.
            normaliser = _reach(pull, scores).log()  # [B, I+1]
        else:
            scores = scores + self._word_scores(batch.source)  # [B, I+1, I]
            scores = scores.masked_fill(~batch.source_mask.unsqueeze(1), LOG_ZERO)
            normaliser = (scores + pull.unsqueeze(1)).logsumexp(-1)
        return HiddenMarkov(
            log_emission + pull.unsqueeze(1),  # v goes with the word that is reached
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

    def _log_pull(self, batch: Batch) -> Tensor:
        """log v(x_i), [B, I]; nothing pulls to padding."""
        return self.words_pull[batch.source].masked_fill(~batch.source_mask, LOG_ZERO)

    def _word_scores(self, source: Tensor) -> Tensor:
        """r(x_m) · u(i - m), [B, I+1, I]; the start has no word."""
        assert self.leaving_words is not None
        by_jump = self.leaving_words(source) @ self.jump_vectors.t()  # [B, I, 2W+1]
        bucket = self._buckets(source.shape[1])[1:] - self.width  # [I, I]
        scores = by_jump.gather(2, bucket.expand(source.shape[0], -1, -1))
        return torch.nn.functional.pad(scores, (0, 0, 1, 0))

    def statistics(self, batch: Batch, posteriors: Posteriors) -> dict[str, Tensor]:
        """jumps [3W+1] and links [|X|]: expected uses of each score and of each word; each beside
        what the model itself expects of the same departures."""
        assert isinstance(posteriors, ChainPosteriors)
        counts = super().statistics(batch, posteriors)
        transition = posteriors.transition
        transition = transition.sum(0) if transition.dim() == 3 else transition
        log_scores, log_pull = self._log_scores(batch.source.shape[1]), self._log_pull(batch)
        scores, pull = log_scores.exp(), log_pull.exp()  # [I+1, I], [B, I]
        rate = posteriors.leave / _reach(log_pull, log_scores)  # [B, I+1]
        bucket = self._buckets(batch.source.shape[1]).flatten()
        source = batch.source.flatten()

        def add(size: int, place: Tensor, value: Tensor) -> Tensor:
            return value.new_zeros(size).index_add_(0, place, value.flatten())

        n_scores, n_words = len(self.pretended), len(self.words_pull)
        counts["jumps"] = add(n_scores, bucket, transition)
        counts["expected_jumps"] = add(n_scores, bucket, (rate.t() @ pull) * scores)
        counts["links"] = add(n_words, source, posteriors.emission.sum(1))
        counts["expected_links"] = add(n_words, source, (rate @ scores) * pull)
        return counts

    def maximise(self, statistics: dict[str, Tensor]) -> None:
        r"""Maximise Σ_d C(d) log s(d) + Σ_x C(x) log v(x) - Σ n log Σ_{i ≤ I} s(i - m) v(x_i).

        A jump has two factors, s and v, so this is generalised iterative scaling with two features
        an event (Darroch and Ratcliff 1972): with E what the model expects where C was counted,

            log s(d) ← log s(d) + ½ log(C(d) / E(d)),    log v(x) the same

        never lowers it. C and E include a pretended sentence, long enough for every jump, which
        leaves its start and one word by the jumps that the model began with: jumps beyond the
        corpus keep their shape. The prior adds κ to C(x) and κ v(x) to E(x).
        """
        super().maximise(statistics)
        kappa = self.pull_strength
        log_scores = torch.cat([self.start_logits.log_softmax(0), self.jump_logits.log_softmax(0)])
        counted = statistics["jumps"] + self.pretended
        expected = statistics["expected_jumps"] + _UNSEEN * log_scores.exp()
        log_scores += _STEP * (counted / expected).log()
        self.start_logits.copy_(log_scores[: self.width])
        self.jump_logits.copy_(log_scores[self.width :])
        expected = statistics["expected_links"] + kappa * self.words_pull.exp()
        self.words_pull.add_(_STEP * ((statistics["links"] + kappa) / expected).log())


def _reach(log_pull: Tensor, log_scores: Tensor) -> Tensor:
    """Σ_i s(i - m) v(x_i), [B, I+1], of log v [B, I] and log s [I+1, I]."""
    reach = log_pull.exp() @ log_scores.exp().t()
    return reach.clamp_min(torch.finfo(reach.dtype).tiny)


def build(config: Config, source: Vocabulary) -> JumpPositions:
    return JumpPositions(config, source)
