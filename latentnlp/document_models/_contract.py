r"""What every model of documents answers.

    p(x, z) = p(z) Π_n p(w_n | z)        x: a bag of words, z: the document's latent code

The words of a document are drawn one by one, so there is no multinomial coefficient: log p(x) is
that of the words in the order in which they stand.

Letters: S samples, B documents of a batch, V words, K numbers of a code. Samples come first. z is
what the model's own q draws: a tensor [S, B, …] or a tuple of such, one a layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from latentnlp.data.bags import BagBatch
from latentnlp.distributions.discrete import Latent


class Posterior(Protocol):
    """q(z | x): all that scoring a model needs of it. (Learners may ask for more.)"""

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Latent: ...

    def log_prob(self, z: Latent) -> Tensor:
        """log q(z | x), [S, B]."""
        ...


@dataclass(frozen=True, eq=False)
class Topics:
    """The units of one layer (topics of LDA, bits of a belief network) as users look at them.

    A unit that is on in most documents speaks by being off, and one whose sign means nothing (of a
    Gaussian code) by its rarer side: ``on`` is False where that is so, and ``words``, ``relevance``
    and ``share`` are those of the side that speaks.
    """

    layer: int  # 1: the one next to the words
    words: Tensor  # [K, V] probability of each word given the topic
    relevance: Tensor  # [K, V] by how much a word speaks for the topic
    share: Tensor  # [K] share of the documents (LDA: of the words) that have it
    on: Tensor  # [K] bool
    top: Tensor  # [K, n] int64, the words to show, the best first
    shown: Tensor  # int64, the topics in the order in which they are to be shown; may be fewer

    @classmethod
    def of(
        cls,
        layer: int,
        words: Tensor,
        relevance: Tensor,
        share: Tensor,
        on: Tensor | None = None,
        alive: Tensor | None = None,
        count: int = 50,
    ) -> Topics:
        """With the words by their relevance, and the topics by their share.

        on: [K], all unless given; alive: [K] bool, False for a unit that tells no two documents
        apart and is not to be shown.
        """
        order = share.argsort(descending=True, stable=True)
        return cls(
            layer,
            words,
            relevance,
            share,
            torch.ones_like(share, dtype=torch.bool) if on is None else on,
            relevance.argsort(dim=1, descending=True, stable=True)[:, :count],
            order if alive is None else order[alive[order]],
        )

    def cpu(self) -> Topics:
        tensors = (self.words, self.relevance, self.share, self.on, self.top, self.shown)
        return Topics(self.layer, *(one.cpu() for one in tensors))


class DocumentModel(nn.Module):
    """p(x, z) and q(z | x) over bags of words."""

    vocabulary_size: int
    """V."""

    def posterior(self, batch: BagBatch) -> Posterior:
        """q(z | x), a proposal for the true posterior. An empty document has one too."""
        raise NotImplementedError

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        """log p(x, z), [S, B]; an empty document has log p(z)."""
        raise NotImplementedError

    def log_words(self, z: Latent) -> Tensor:
        """log p(w | z) of every word, [S, B, V]."""
        raise NotImplementedError

    def codes(self, batch: BagBatch) -> Tensor:
        """One code a document, [B, K], without randomness: what ``transform`` gives."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """log p(w | code), [B, V]: what ``inverse_transform`` gives."""
        raise NotImplementedError

    def topics(self, batches: Iterable[BagBatch]) -> list[Topics]:
        """The topics of every layer, the one next to the words first; ``batches``: of training."""
        raise NotImplementedError


def log_unigram(frequencies: np.ndarray) -> Tensor:
    """log p(w) of words that training has so often, [V]: half once where it never has one."""
    seen = np.maximum(frequencies, 0.5)
    return torch.from_numpy(np.log(seen / seen.sum())).float()


def log_weights(
    model: DocumentModel,
    batch: BagBatch,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""log w_s = log p(x, z_s) − log q(z_s | x), z_s ~ q(z | x), [S, B].

    Their mean estimates the ELBO, log 1/S Σ_s w_s the importance-weighted bound (Burda, Grosse and
    Salakhutdinov 2016).
    """
    q = model.posterior(batch)
    z = q.sample(samples, generator)
    return model.log_joint(batch, z) - q.log_prob(z)
