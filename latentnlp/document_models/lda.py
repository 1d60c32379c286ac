r"""Latent Dirichlet allocation: a document mixes K topics, a topic is a distribution over words.

    β_k ~ Dirichlet(η),   θ ~ Dirichlet(α),   p(w | θ, β) = Σ_k θ_k β_kw

Blei, Ng and Jordan (2003), with the variational Bayes for topics of Hoffman, Blei and Bach (2010):
q(β_k) = Dirichlet(λ_k). The topic of each single word is summed out, exactly, wherever a document
is scored; θ is what is left of the latents.

Learning (``expect``, for `learners/coordinate_ascent.py`) has all of q(β). To score, code and draw
documents the topics are their mean β = E_q β; p(x, θ) and q(θ | x) then speak of the same β.

θ is handled as z = log θ, [S, B, K]: for a small α most of θ underflows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch
from latentnlp.distributions.dirichlet import Dirichlet, log_gamma
from latentnlp.distributions.discrete import Latent, tensor_of
from latentnlp.document_models._contract import DocumentModel, Topics

_CHECK_EVERY = 5  # local iterations between two questions which documents have settled
_TINY = 1e-30


@dataclass(frozen=True)
class Config:
    topics: int = 50
    prior_topic: float | None = None  # α of every topic; none: 1 / topics
    prior_word: float | None = None  # η of every word; none: 1 / topics
    local_iterations: int = 100  # at most, for the γ of a document
    local_tolerance: float = 1e-3  # γ has settled when its entries move less than this on average
    sharpness: float = 0.5  # 1: the mean field's own q(θ | x); below, a wider one (see `posterior`)

    def __post_init__(self) -> None:
        at_least(self, topics=1, local_iterations=1, local_tolerance=0)
        for name in ("prior_topic", "prior_word", "sharpness"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} = {value} is not above 0")


@dataclass(frozen=True, eq=False)
class Expected:
    """What one pass over a batch gives the learner."""

    q: Dirichlet  # q(θ | x) [B, K]
    bound: Tensor  # [B] float64, E_q log p(x, θ | β) − log q(θ) with β ~ q(β), topics summed out
    counts: Tensor  # [K, V] how many tokens of each word each topic is expected to have


class LatentDirichletAllocation(DocumentModel):
    """Its parameters are tables that no gradient moves."""

    concentration: Tensor  # λ [K, V]
    prior_topic: Tensor  # α [K]
    tokens: Tensor  # [] how many the corpus has

    def __init__(self, config: Config, frequencies: Tensor) -> None:
        """frequencies: [V], how often training has each word."""
        super().__init__()
        k, v = config.topics, len(frequencies)
        self.config, self.vocabulary_size = config, v
        alpha, eta = config.prior_topic, config.prior_word
        self.prior_word = 1 / k if eta is None else eta
        # The usual start, by torch's global generator: 1 ± 0.1.
        start = log_gamma(torch.full((k, v), 100.0)).exp() / 100
        self.register_buffer("concentration", start)
        self.register_buffer("prior_topic", torch.full((k,), 1 / k if alpha is None else alpha))
        self.register_buffer("tokens", frequencies.sum().float())

    # ---------------------------------------------------------------------------- the topics

    def word_probabilities(self) -> Tensor:
        """β = E_q β, [K, V]."""
        return Dirichlet(self.concentration).mean()

    def topic_divergence(self) -> Tensor:
        """Σ_k KL(q(β_k) ‖ p(β_k)), [] float64: what the bound of a corpus has once."""
        prior = torch.full_like(self.concentration[0], self.prior_word)
        return Dirichlet(self.concentration).divergence(Dirichlet(prior)).sum()

    # ------------------------------------------------------------------------ learning's E-step

    def expect(self, batch: BagBatch) -> Expected:
        """q(θ | x) under q(β), its bound, and the topics' expected counts."""
        scores = Dirichlet(self.concentration).mean_log()  # E log β
        words, scale = _scaled(scores)
        gamma = self._ascend(batch, words)
        q = Dirichlet(gamma)
        log_theta = q.mean_log()
        top = log_theta.amax(1)
        factors = (log_theta - top[:, None]).exp()
        mass = _products(batch, _places(batch, words), factors, words)
        log_words = batch.counts * (mass.log() + scale[batch.words] + top[batch.rows])
        bound = batch.sum_by_document(log_words.double()) - q.divergence(
            Dirichlet(self.prior_topic)
        )
        shares = factors[batch.rows] * (batch.counts / mass)[:, None]  # [N, K]
        counts = torch.zeros_like(words).index_add_(0, batch.words, shares).mul_(words)
        return Expected(q, bound, counts.T)

    def _gamma(self, batch: BagBatch) -> Tensor:
        """γ [B, K] for the β that documents are scored with."""
        words, _ = _scaled(self.word_probabilities().log())
        return self._ascend(batch, words)

    def _ascend(self, batch: BagBatch, words: Tensor) -> Tensor:
        """γ [B, K] of q(θ | x), by coordinate ascent (Blei, Ng and Jordan 2003, figure 6):

            γ_k ← α_k + Σ_n c_n φ_nk,   φ_nk ∝ exp(ψ(γ_k)) words[w_n, k]

        from γ_k = α_k + N / K on, until each document's own γ has settled. Settled documents leave
        the batch: what a document gets does not depend on its company. To see who has, the
        device is waited for every few iterations.
        """
        config, alpha = self.config, self.prior_topic
        settled = alpha + batch.lengths[:, None].to(alpha) / len(alpha)
        gamma, open_rows, places = settled, None, _places(batch, words)
        for iteration in range(1, config.local_iterations + 1):
            log_factors = gamma.digamma()
            factors = (log_factors - log_factors.amax(1, keepdim=True)).exp()
            weights = batch.counts / _products(batch, places, factors, words)
            before, gamma = gamma, alpha + factors * batch.weighted_sum(words, weights)
            if iteration % _CHECK_EVERY and iteration < config.local_iterations:
                continue
            settled = _put(settled, open_rows, gamma)
            moving = (gamma - before).abs().mean(1) > config.local_tolerance
            still = moving.nonzero().squeeze(1)
            if len(still) == 0:
                break
            if len(still) < len(batch):
                batch, gamma = _only(batch, moving), gamma[still]
                places = _places(batch, words)
                open_rows = still if open_rows is None else open_rows[still]
        return settled

    # ------------------------------------------------------------------------------ the contract

    def posterior(self, batch: BagBatch) -> Dirichlet:
        """Dirichlet(α + sharpness (γ − α)), wider than the mean field's Dirichlet(γ).

        γ counts the words as if their topics were seen, so mean field is too sure of θ. Here the
        topics are summed out, and a wider q lifts both bounds.
        """
        gamma, alpha = self._gamma(batch), self.prior_topic
        return Dirichlet(alpha + self.config.sharpness * (gamma - alpha))

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        """log Dir(θ; α) + Σ_n c_n log Σ_k θ_k β_kw_n, [S, B]; z = log θ."""
        log_theta = tensor_of(z)
        theta = log_theta.exp()
        beta = self.word_probabilities().T.contiguous()
        places = _places(batch, beta)
        log_words = torch.stack(
            [_products(batch, places, one, beta).log() for one in theta]
        )  # [S, N]
        log_document = batch.sum_by_document(batch.counts * log_words)
        return Dirichlet(self.prior_topic).log_prob(log_theta) + log_document

    def log_words(self, z: Latent) -> Tensor:
        return (tensor_of(z).exp() @ self.word_probabilities()).log()

    def codes(self, batch: BagBatch) -> Tensor:
        """E θ = γ / Σ_k γ_k of the mean field."""
        return Dirichlet(self._gamma(batch)).mean()

    def decode(self, codes: Tensor) -> Tensor:
        return (codes @ self.word_probabilities()).log()

    def topics(self, batches: Iterable[BagBatch]) -> list[Topics]:
        """One layer. A word speaks for a topic by Sievert and Shirley's (2014) relevance,

            0.6 log β_kw + 0.4 log (β_kw / p(w)),   p(w) = Σ_k share_k β_kw;

        the topics are shown by their share of the words of ``batches``, the largest first.
        """
        share = self.prior_topic / self.prior_topic.sum() * _TINY  # the prior's, without a word
        for batch in batches:
            here = batch.to(share.device)
            share = share + here.lengths.to(share) @ self.codes(here)
        share = share / share.sum()
        beta = self.word_probabilities()
        relevance = beta.log() - 0.4 * (share @ beta).log()
        return [Topics.of(1, beta, relevance, share)]


def build(config: Config, frequencies: np.ndarray) -> LatentDirichletAllocation:
    """frequencies: [V], how often training has each word."""
    return LatentDirichletAllocation(config, torch.from_numpy(frequencies))


def _scaled(scores: Tensor) -> tuple[Tensor, Tensor]:
    """exp(scores − their greatest of each word) [V, K], and that greatest [V]; scores [K, V].

    A word's own factor does not matter to φ, and without it nothing underflows.
    """
    scale = scores.amax(0)
    return (scores - scale).exp().T.contiguous(), scale


def _places(batch: BagBatch, words: Tensor) -> Tensor | None:
    """Where the batch has entries: a sparse [B, V] of the type of ``words``.

    None where it has more of them than places, as the leftovers of drawn documents can make it.
    """
    if len(batch.words) > len(batch) * len(words):
        return None
    size, values = (len(batch), len(words)), batch.counts.to(words)
    with warnings.catch_warnings():  # "Sparse CSR tensor support is in beta state"
        warnings.filterwarnings("ignore", message="Sparse CSR")
        return torch.sparse_csr_tensor(
            batch.starts, batch.words, values, size, check_invariants=False
        )


def _products(batch: BagBatch, places: Tensor | None, factors: Tensor, words: Tensor) -> Tensor:
    """Σ_k factors[d, k] words[w, k] of every entry, [N]; factors [B, K], words [V, K].

    The product of two matrices, at the places of a sparse one only: on the CPU about four times as
    fast as gathering rows, and without the memory of [N, K].
    """
    if places is None:
        found = (factors[batch.rows] * words[batch.words]).sum(1)
    else:
        found = torch.sparse.sampled_addmm(places, factors, words.T, beta=0.0).values()
    return found.clamp_min(_TINY)


def _only(batch: BagBatch, kept: Tensor) -> BagBatch:
    """The documents where ``kept`` [B] is true."""
    entries = kept[batch.rows]
    sizes = (batch.starts[1:] - batch.starts[:-1])[kept]
    return replace(
        batch,
        index=batch.index[kept.to(batch.index.device)],
        words=batch.words[entries],
        counts=batch.counts[entries],
        rows=(kept.cumsum(0) - 1)[batch.rows[entries]],
        starts=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
        lengths=batch.lengths[kept],
    )


def _put(whole: Tensor, rows: Tensor | None, part: Tensor) -> Tensor:
    """``part`` in place of these rows of ``whole``; None: of all."""
    return part if rows is None else whole.index_copy(0, rows, part)
