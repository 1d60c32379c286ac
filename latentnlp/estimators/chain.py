r"""No estimate: the exact expectation along a chain, where f is a sum over neighbours.

    E_q[Σ_t f_t(z_{t−1}, z_t)] = Σ_t Σ_{k,v} q(z_{t−1} = k, z_t = v) f_t(k, v)

The pair marginals come from a forward pass (`MarkovBernoulli.edge_marginals`), f_t(k, v) from f
itself: the sequences 000…, 111…, 0101…, 1010… show every neighbourhood (k, v) at every t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.discrete import Discrete, masked
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.estimators._contract import Estimate, Estimator, Objective


class Chain(Estimator):
    """Exact. 4 evaluations of f, which gives its terms apart: [S, *B, N], the t-th reading only
    z_{t−1} and z_t (z_0 = 0). q is a `MarkovBernoulli` or a `Bernoulli`; TypeError otherwise."""

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        chain = as_chain(q)
        n, mask = chain.length, chain.mask
        odd = torch.arange(n, device=chain.logits.device) % 2  # 0101…
        rows = torch.stack([torch.zeros_like(odd), torch.ones_like(odd), odd, 1 - odd])  # [4, N]
        z = rows.to(chain.logits.dtype).reshape(4, *[1] * len(chain.batch_shape), n)
        z = masked(z.expand(4, *chain.batch_shape, n), mask)
        terms = f(z)  # [4, *B, N]
        if terms.shape != z.shape:
            raise ValueError(f"chain needs f's terms apart, {tuple(z.shape)}, not {terms.shape}")
        zeros, ones, first, second = terms
        # Of 0101… and 1010…, which has (z_{t−1}, z_t) = (0, 1)? The t-th bit of `odd` says.
        rising = torch.where(odd.bool(), first, second)
        falling = torch.where(odd.bool(), second, first)
        table = torch.stack(
            [torch.stack([zeros, rising], -1), torch.stack([falling, ones], -1)], -2
        )  # [*B, N, 2, 2]: f_t(k, v)
        edges = chain.edge_marginals()
        surrogate = (edges * table).sum((-1, -2)).sum(-1)
        return Estimate(surrogate, surrogate.detach(), torch.zeros_like(surrogate.detach()))


def as_chain(q: Discrete) -> MarkovBernoulli:
    """q as a chain: independent bits are one whose columns are equal. TypeError otherwise."""
    if isinstance(q, MarkovBernoulli):
        return q
    if isinstance(q, Bernoulli):
        return MarkovBernoulli(torch.stack([q.logits, q.logits], -1), q.mask)
    raise TypeError(f"a chain of bits is needed, not {type(q).__name__}")


build = Chain
