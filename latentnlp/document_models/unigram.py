r"""The floor: every document's words are drawn from one distribution, and nothing is latent.

    p(w) = (n_w + ε) / (N + ε V)        n_w: how often training has w; N = Σ_w n_w

`build` has learned it already: there is no learner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.bags import BagBatch
from latentnlp.distributions.discrete import Latent, tensor_of
from latentnlp.document_models._contract import DocumentModel, Topics


@dataclass(frozen=True)
class Config:
    smoothing: float = 0.01  # ε, added to the count of every word

    def __post_init__(self) -> None:
        if self.smoothing <= 0:
            raise ValueError(f"smoothing = {self.smoothing} is not above 0: a word may be new")


class Nothing:
    """q(z | x) of no latent at all: z is [S, B, 0], with probability 1."""

    def __init__(self, like: Tensor) -> None:
        self.like = like  # [B]

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        return self.like.new_zeros(samples, len(self.like), 0)

    def log_prob(self, z: Latent) -> Tensor:
        return tensor_of(z).sum(-1)  # [S, B] zeros


class Unigram(DocumentModel):
    """A code has no column: [B, 0]."""

    log_word: Tensor  # [V]

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        """frequencies: [V], of training."""
        super().__init__()
        self.vocabulary_size = len(frequencies)
        counts = frequencies.double() + config.smoothing
        self.register_buffer("log_word", (counts.log() - counts.sum().log()).float())

    def posterior(self, batch: BagBatch) -> Nothing:
        return Nothing(batch.lengths.to(self.log_word))

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        log_words = batch.sum_by_document(batch.counts * self.log_word[batch.words])
        return log_words.expand(len(tensor_of(z)), -1)

    def log_words(self, z: Latent) -> Tensor:
        return self.log_word.expand(*tensor_of(z).shape[:2], -1)

    def codes(self, batch: BagBatch) -> Tensor:
        return self.log_word.new_zeros(len(batch), 0)

    def decode(self, codes: Tensor) -> Tensor:
        return self.log_word.expand(len(codes), -1)

    def topics(self, batches: Iterable[BagBatch]) -> list[Topics]:
        """None."""
        return []


def build(config: Config, frequencies: np.ndarray) -> Unigram:
    """frequencies: [V], how often training has each word."""
    return Unigram(config, torch.from_numpy(frequencies))
