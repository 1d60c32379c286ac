r"""Exact Kullback-Leibler divergences between discrete distributions.

    KL(q ‖ p) = Σ_z q(z) (log q(z) − log p(z)),   0 log 0 = 0,   +inf where q(z) > 0 = p(z)

In closed form for Bernoulli, Categorical, MarkovBernoulli and products of these; otherwise by
enumeration, which is also the oracle of the tests. Never NaN; the padding of q counts as nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Discrete, masked
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product


def kl_divergence(q: Discrete, p: Discrete) -> Tensor:
    """KL(q ‖ p), [*B], differentiable. q and p have the same latents and the same padding."""
    if isinstance(q, Bernoulli) and isinstance(p, Bernoulli):
        return _of_tables(q, p)
    if isinstance(q, Categorical) and isinstance(p, Categorical):
        return _of_tables(q, p)
    if isinstance(q, Bernoulli | MarkovBernoulli) and isinstance(p, Bernoulli | MarkovBernoulli):
        return _of_chains(_chain(q), _chain(p))
    if isinstance(q, Product) and isinstance(p, Product) and len(q.factors) == len(p.factors):
        pairs = zip(q.factors, p.factors, strict=True)
        return torch.stack([kl_divergence(one, other) for one, other in pairs]).sum(0)
    return kl_by_enumeration(q, p)


def kl_by_enumeration(q: Discrete, p: Discrete) -> Tensor:
    """KL(q ‖ p), [*B], as its definition says. Raises ValueError for more than 2^20 states."""
    z, log_q = q.enumerate_support()
    return weighted_log_ratio(log_q, p.log_prob(z)).sum(0)


def weighted_log_ratio(log_q: Tensor, log_p: Tensor) -> Tensor:
    """q (log q − log p): 0 where q = 0, +inf where only p = 0; no NaN in value or gradient."""
    impossible, forbidden = log_q == float("-inf"), log_p == float("-inf")
    zero = torch.zeros_like(log_q)
    log_q_, log_p_ = torch.where(impossible, zero, log_q), torch.where(forbidden, zero, log_p)
    terms = log_q_.exp() * (log_q_ - log_p_)
    terms = torch.where(forbidden, torch.full_like(terms, float("inf")), terms)
    return torch.where(impossible, torch.zeros_like(terms), terms)


def _of_tables(q: Bernoulli | Categorical, p: Bernoulli | Categorical) -> Tensor:
    terms = weighted_log_ratio(q.table(), p.table()).sum(-1)  # [*B, N]
    return masked(terms, q.mask).sum(-1)


def _of_chains(q: MarkovBernoulli, p: MarkovBernoulli) -> Tensor:
    r"""Σ_t Σ_k q(z_{t−1} = k) KL(q(z_t | k) ‖ p(z_t | k))."""
    tables = [Bernoulli(one.logits).table() for one in (q, p)]  # [*B, N, 2, 2]
    given = weighted_log_ratio(*tables).sum(-1)  # [*B, N, 2]
    before = q.edge_marginals().sum(-1)
    # An infinite divergence after a k that never comes counts as 0; after one that does, it must
    # not be a factor of `before`, whose gradient would be NaN.
    infinite = given == float("inf")
    terms = before * torch.where(infinite, torch.zeros_like(given), given)
    terms = torch.where(infinite & (before > 0), torch.full_like(terms, float("inf")), terms)
    return masked(terms.sum(-1), q.mask).sum(-1)


def _chain(q: Bernoulli | MarkovBernoulli) -> MarkovBernoulli:
    if isinstance(q, MarkovBernoulli):
        return q
    return MarkovBernoulli(torch.stack([q.logits, q.logits], -1), q.mask)
