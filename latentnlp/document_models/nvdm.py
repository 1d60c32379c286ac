r"""The neural variational document model.

    p(z) = N(0, I),   p(w | z) = softmax(R z + b)_w,   q(z | x) = N(μ(h), diag σ²(h))
    h = tanh(E' φ(x) + e),   φ(x)_w = log(1 + x_w)

Miao, Yu and Blunsom (2016), section 3. Here b starts at the log frequencies of the words, so that
learning starts at the unigram model. With c the counts and N their sum,

    log p(x | z) = Σ_n c_n (R_{w_n} · z + b_{w_n}) − N log Σ_w exp(R_w · z + b_w)
                 = z · Σ_n c_n R_{w_n} + Σ_n c_n b_{w_n} − N log Σ_w exp(R_w · z + b_w)

reads a document's words once for all samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch
from latentnlp.distributions.discrete import Latent, tensor_of
from latentnlp.distributions.gaussian import Gaussian, standard_log_prob
from latentnlp.document_models._contract import DocumentModel, Topics, log_unigram
from latentnlp.document_models._normaliser import log_normaliser

_COMMON = 0.05  # λ of a topic's words: more shows the common ones, the same in every topic


@dataclass(frozen=True)
class Config:
    topics: int = 50  # K, numbers of a code
    hidden: int = 500  # units of the network of q

    def __post_init__(self) -> None:
        at_least(self, topics=1, hidden=1)


class NVDM(DocumentModel):
    """z [S, B, K]; q's own family is `Gaussian`, whose draws are differentiable."""

    def __init__(self, config: Config, frequencies: np.ndarray) -> None:
        """frequencies: [V], how often each word occurs in training."""
        super().__init__()
        self.vocabulary_size = len(frequencies)
        self.bias = nn.Parameter(log_unigram(frequencies))  # b
        self.words = nn.Parameter(0.02 * torch.randn(self.vocabulary_size, config.topics))  # R
        self.embeddings = nn.Parameter(0.05 * torch.randn(self.vocabulary_size, config.hidden))
        self.offset = nn.Parameter(torch.zeros(config.hidden))
        self.location = nn.Linear(config.hidden, config.topics)
        self.log_scale = nn.Linear(config.hidden, config.topics)
        for layer in (self.location, self.log_scale):  # q starts near p(z)
            nn.init.normal_(layer.weight, std=0.1 * config.hidden**-0.5)
            nn.init.zeros_(layer.bias)

    def posterior(self, batch: BagBatch) -> Gaussian:
        summed = batch.weighted_sum(self.embeddings, batch.counts.log1p())
        hidden = (summed + self.offset).tanh()
        return Gaussian(self.location(hidden), self.log_scale(hidden))

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        return standard_log_prob(z) + self.log_likelihood(batch, z)

    def log_likelihood(self, batch: BagBatch, z: Latent) -> Tensor:
        """log p(x | z), [S, B]; 0 for an empty document."""
        z = tensor_of(z)
        summed = batch.weighted_sum(torch.cat([self.words, self.bias[:, None]], -1))  # [B, K + 1]
        normaliser = log_normaliser(z, self.words, self.bias)
        return (z * summed[:, :-1]).sum(-1) + summed[:, -1] - batch.lengths * normaliser

    def log_words(self, z: Latent) -> Tensor:
        return self._logits(tensor_of(z)).log_softmax(-1)

    def codes(self, batch: BagBatch) -> Tensor:
        """μ, [B, K]."""
        return self.posterior(batch).mean()

    def decode(self, codes: Tensor) -> Tensor:
        return self.log_words(codes[None])[0]

    def topics(self, batches: Iterable[BagBatch]) -> list[Topics]:
        """One topic a unit: what the unit says where it stands out.

        A unit has two ends, and turning its sign changes nothing of p(x). Its topic is the end at
        which few documents lie far out (s = the sign of the skewness of μ over the documents):
        words = softmax(b + s R_k), relevance = s R_k + λ b with λ = `_COMMON`, and a document has
        the topic where s μ_k > 1, a deviation of p(z). Units that q leaves at p(z) (a variance of μ
        below 0.01: Burda et al. 2016) are not shown.
        """
        with torch.no_grad():
            device = self.bias.device
            codes = torch.cat([self.codes(batch.to(device)) for batch in batches])
            centred = codes - codes.mean(0)
            sign = torch.where(centred.pow(3).sum(0) < 0, -1.0, 1.0)
            toward = sign[:, None] * self.words.T  # [K, V]
            topics = Topics.of(
                1,
                words=(self.bias + toward).softmax(-1),
                relevance=toward + _COMMON * self.bias,
                share=(sign * codes > 1).float().mean(0),
                on=sign > 0,
                alive=centred.square().mean(0) > 0.01,
            )
        return [topics]

    def _logits(self, z: Tensor) -> Tensor:
        return torch.nn.functional.linear(z, self.words, self.bias)


build = NVDM
