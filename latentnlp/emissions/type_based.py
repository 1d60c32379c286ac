r"""Neural emissions that look at the source word alone.

    p(y | x) = exp(s(x, y)) / Σ_v exp(s(x, v)),    p(y | NULL) = softmax(c)(y)

    s(x, y) = h(x) · w(y) + r(x) · r(y) + b(y),    h(x) = v(x) + tanh(A v(x))

The distribution depends on the source *type*: one normaliser per unique source word of the batch
serves all its tokens, and no [tokens × V] tensor is made. With ``ngrams`` the vectors v and w are
made of characters too. r · r is about how alike the two words are spelt (`_words.SpellingVectors`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from latentnlp.config import at_least
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions._base import Emission, Sample, log_normaliser, sampled_log_normaliser
from latentnlp.emissions._words import SpellingVectors, WordVectors

_PAIRS_AT_ONCE = 2**11  # of which both vectors are gathered: few enough for the cache


@dataclass(frozen=True)
class Config:
    dim: int = 32  # of v and w
    ngrams: tuple[int, ...] = (3, 4, 5)  # character n-gram lengths; [] for words as atoms
    # γ: r · r of two equal words at the start; 0: spelling is not compared
    similarity: float = 15.0
    similarity_dim: int = 128  # with fewer, chance likenesses are larger
    similarity_ngrams: tuple[int, ...] = (2, 3, 4)

    def __post_init__(self) -> None:
        at_least(self, dim=1, similarity=0, similarity_dim=1)
        lengths = (*self.ngrams, *self.similarity_ngrams)
        if min(lengths, default=1) < 1:
            raise ValueError(f"{min(lengths)} is no length of an n-gram: at least 1")


class TypeBasedEmission(Emission):
    def __init__(self, config: Config, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.source_words = WordVectors(source, config.dim, config.ngrams)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.target_words = WordVectors(target, config.dim, config.ngrams)
        self.spelling, self.width = None, config.dim  # of h and r together
        if config.similarity:
            self.width += config.similarity_dim
            self.spelling = SpellingVectors(
                source, target, config.similarity_dim, config.similarity, config.similarity_ngrams
            )
        self.n_sources = len(source)
        unigram = log_unigram(target)
        self.target_bias = nn.Parameter(unigram.clone())
        self.null_logits = nn.Parameter(unigram.clone())

    def represent(self, words: Tensor) -> Tensor:
        """[h(x), r(x)], [U, width], of source words [U]."""
        vectors = self.source_words(words)
        hidden = vectors + torch.tanh(self.hidden(vectors))
        if self.spelling is None:
            return hidden
        return torch.cat([hidden, self.spelling.source(words)], -1)

    def targets(self, words: Tensor | None = None) -> Tensor:
        """[w(y), r(y)] of target words [U], or of all, [V, width]."""
        some = words is not None
        vectors = self.target_words(words) if some else self.target_words.everything()
        if self.spelling is None:
            return vectors
        return torch.cat([vectors, self.spelling.target(words)], -1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # One normaliser per distinct word.
        types, inverse = batch.source_side.types, batch.source_side.places
        hidden, weight = self.represent(types), self.targets()  # [U, width], [V, width]
        log_z = log_normaliser(hidden, weight, self.target_bias)  # [U]
        target = embedding(batch.target, weight)  # [B, J, width]
        scores = self._scores(batch, hidden[inverse], target).to(log_z.dtype)
        log_emission = scores - log_z[inverse].unsqueeze(1)
        return log_emission, self.null_logits.log_softmax(-1)[batch.target]

    def scores(self, batch: Batch) -> Tensor:
        """s(x_i, y_j), [B, J, I]."""
        source, target = batch.source_side, batch.target_side
        hidden, weight = self.represent(source.types), self.targets(target.types)
        return self._scores(batch, hidden[source.places], weight[target.places])

    def _scores(self, batch: Batch, hidden: Tensor, target: Tensor) -> Tensor:
        return target @ hidden.mT + self.target_bias[batch.target].unsqueeze(-1)

    def log_prob_pairs(
        self, types: Tensor, place: Tensor, target: Tensor, sample: Sample | None = None
    ) -> Tensor:
        """log p(y_n | x_n), [N], with x_n = types[place_n]; types [U], place and target [N].

        With a ``sample`` the normaliser is estimated; the pairs must then differ.
        """
        scores, log_z = self.score_pairs(types, place, target, sample)
        return scores - log_z[place]

    def score_pairs(
        self, types: Tensor, place: Tensor, target: Tensor, sample: Sample | None = None
    ) -> tuple[Tensor, Tensor]:
        """s(x_n, y_n) [N] of the same pairs, and the log-normalisers of the ``types`` [U]."""
        hidden, bias = self.represent(types), self.target_bias
        if sample is None:
            weight = self.targets()
            scores = pair_scores(hidden, weight, place, target) + bias[target]
            return scores, log_normaliser(hidden, weight, bias)
        weight, (words, sampled) = self._targets_in(target, sample.words(len(bias), bias.device))
        scores = pair_scores(hidden, weight, place, words) + bias[target]
        partners = [(place, target, scores)]
        few = weight[sampled]
        return scores, sampled_log_normaliser(hidden, few, bias, lambda: partners, sample)

    def everything(self) -> tuple[Tensor, Tensor, Tensor]:
        """What all scores s are made of: [h(x), r(x)], [w(y), r(y)] and b(y) of all words."""
        words = torch.arange(self.n_sources, device=self.target_bias.device)
        return self.represent(words), self.targets(), self.target_bias

    def _targets_in(self, *lists: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[w(y), r(y)] of the words that stand in ``lists``, and each list as rows of these."""
        if self.target_bias.device.type != "cpu":  # which would be waited for: how many are there?
            return self.targets(), list(lists)
        known = torch.zeros(len(self.target_bias), dtype=torch.bool)
        for words in lists:
            known[words] = True
        row = known.cumsum(0) - 1
        return self.targets(known.nonzero().squeeze(1)), [row[words] for words in lists]

    def log_prob_rows(self, words: Tensor) -> Tensor:
        """log p(· | x), [U, V], of the source words [U]: for inspection and tables."""
        scores = self.represent(words) @ self.targets().t() + self.target_bias
        return scores.log_softmax(-1)


def pair_scores(hidden: Tensor, weight: Tensor, place: Tensor, target: Tensor) -> Tensor:
    """hidden[place_n] · weight[target_n], [N]."""
    # In training all at once: every part would have a gradient of all rows.
    size = max(1, len(place)) if torch.is_grad_enabled() else _PAIRS_AT_ONCE
    parts = zip(place.split(size), target.split(size), strict=True)
    # Not hidden[row], which takes three times as long.
    found = [(hidden.index_select(0, x) * weight.index_select(0, y)).sum(-1) for x, y in parts]
    return torch.cat(found)


def log_unigram(vocabulary: Vocabulary) -> Tensor:
    """log of the add-one smoothed unigram distribution; the two specials count as unseen words."""
    counts = torch.tensor(vocabulary.counts, dtype=torch.float32) + 1
    return (counts / counts.sum()).log()


def build(config: Config, source: Vocabulary, target: Vocabulary) -> TypeBasedEmission:
    return TypeBasedEmission(config, source, target)
