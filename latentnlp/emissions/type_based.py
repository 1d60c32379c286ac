r"""Neural emissions that look at the source word alone.

    p(y | x) = exp(h(x) · w(y) + b(y)) / Σ_v exp(h(x) · w(v) + b(v)),    h(x) = v(x) + tanh(A v(x))
    p(y | NULL) = softmax(c)(y)

The distribution depends on the source *type*: one normaliser per unique source word of the batch
serves all its tokens, and no [tokens × V] tensor is made. With ``ngrams`` the words on both sides
are made of characters too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions._base import Emission, log_normaliser
from latentnlp.emissions._words import WordVectors

_PAIRS_AT_ONCE = 2**18  # of which both vectors are gathered


@dataclass(frozen=True)
class Config:
    dim: int = 64
    ngrams: tuple[int, ...] = (3, 4, 5)  # character n-gram lengths; [] for words as atoms

    def __post_init__(self) -> None:
        at_least(self, dim=1)


class TypeBasedEmission(Emission):
    def __init__(self, config: Config, source: Vocabulary, target: Vocabulary) -> None:
        super().__init__()
        self.source_words = WordVectors(source, config.dim, config.ngrams)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.target_words = WordVectors(target, config.dim, config.ngrams)
        unigram = log_unigram(target)
        self.target_bias = nn.Parameter(unigram.clone())
        self.null_logits = nn.Parameter(unigram.clone())

    def represent(self, words: Tensor) -> Tensor:
        """h(x), [U, d], of source words [U]."""
        vectors = self.source_words(words)
        return vectors + torch.tanh(self.hidden(vectors))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        # One normaliser per distinct word.
        types, inverse = batch.source_side.types, batch.source_side.places
        hidden = self.represent(types)  # [U, d]
        weight = self.target_words.everything()  # [V, d]
        log_z = log_normaliser(hidden, weight, self.target_bias)  # [U]
        target = torch.nn.functional.embedding(batch.target, weight)  # [B, J, d]
        scores = target @ hidden[inverse].transpose(1, 2)  # [B, J, I]
        log_emission = scores + self.target_bias[batch.target].unsqueeze(-1)
        log_emission = log_emission.to(log_z.dtype) - log_z[inverse].unsqueeze(1)
        return log_emission, self.null_logits.log_softmax(-1)[batch.target]

    def log_prob_pairs(self, types: Tensor, place: Tensor, target: Tensor) -> Tensor:
        """log p(y_n | x_n), [N], with x_n = types[place_n]; types [U], place and target [N]."""
        hidden, weight = self.represent(types), self.target_words.everything()
        log_z = log_normaliser(hidden, weight, self.target_bias)
        scores = [
            (hidden[row] * weight[y]).sum(-1)
            for row, y in zip(
                place.split(_PAIRS_AT_ONCE), target.split(_PAIRS_AT_ONCE), strict=True
            )
        ]
        return torch.cat(scores) + self.target_bias[target] - log_z[place]

    def log_prob_rows(self, words: Tensor) -> Tensor:
        """log p(· | x), [U, V], of the source words [U]: for inspection and tables."""
        scores = self.represent(words) @ self.target_words.everything().t() + self.target_bias
        return scores.log_softmax(-1)


def log_unigram(vocabulary: Vocabulary) -> Tensor:
    """log of the add-one smoothed unigram distribution; the two specials count as unseen words."""
    counts = torch.tensor(vocabulary.counts, dtype=torch.float32) + 1
    return (counts / counts.sum()).log()


def build(config: Config, source: Vocabulary, target: Vocabulary) -> TypeBasedEmission:
    return TypeBasedEmission(config, source, target)
