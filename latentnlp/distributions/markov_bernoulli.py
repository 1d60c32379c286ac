r"""A chain of Bernoullis: whether a word is chosen depends on whether the one before it was.

    q(z) = Π_t q(z_t | z_{t−1}),   q(z_t = 1 | z_{t−1} = k) = σ(l_tk),   z_0 = 0

(Lei, Barzilay and Jaakkola 2016, section 3, "recurrent"; here the memory is the last bit, so that
the marginals, the mode and additive expectations are exact dynamic programs.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from latentnlp.distributions._noise import precise, uniform
from latentnlp.distributions.bernoulli import bit_strings, drop_repetitions
from latentnlp.distributions.discrete import Latent, check_states, masked, masked_table, tensor_of


class MarkovBernoulli:
    """z ∈ {0, 1}^N with first-order dependence."""

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        """logits: l [*B, N, 2], the last axis being z_{t−1}; mask: [*B, N], False at padding.

        Raises ValueError on other shapes.
        """
        if logits.dim() < 2 or logits.shape[-1] != 2:
            raise ValueError(f"logits {tuple(logits.shape)} are not [*B, N, 2]")
        if mask is not None and mask.shape != logits.shape[:-1]:
            raise ValueError(f"mask {tuple(mask.shape)} and logits {tuple(logits.shape)} differ")
        # At once: whatever stands at padding, NaN too, must not meet the gradient.
        self.logits = masked(logits, None if mask is None else mask[..., None])
        self.mask = mask

    @property
    def batch_shape(self) -> torch.Size:
        return self.logits.shape[:-2]

    @property
    def length(self) -> int:
        return self.logits.shape[-2]

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        logits = self.logits.detach()
        u = uniform((samples, *logits.shape[:-1]), logits, generator)
        chosen = u[..., None] < precise(logits).sigmoid()  # [S, *B, N, 2]: what z_t would be
        if self.mask is not None:
            chosen = chosen & self.mask[..., None]
        before = torch.zeros_like(chosen[..., 0, 0])
        bits = []
        for t in range(self.length):
            before = torch.where(before, chosen[..., t, 1], chosen[..., t, 0])
            bits.append(before)
        return torch.stack(bits, -1).to(logits.dtype)

    def conditional_logits(self, z: Tensor) -> Tensor:
        """l_t,z_{t−1}, [S, *B, N]."""
        before = torch.cat([torch.zeros_like(z[..., :1]), z[..., :-1]], -1) > 0.5
        return torch.where(before, self.logits[..., 1], self.logits[..., 0])

    def log_prob_terms(self, z: Latent) -> Tensor:
        z = tensor_of(z)
        logits = self.conditional_logits(z)
        return masked(torch.where(z > 0.5, logsigmoid(logits), logsigmoid(-logits)), self.mask)

    def log_prob(self, z: Latent) -> Tensor:
        return self.log_prob_terms(z).sum(-1)

    def squared_score(self, z: Latent) -> Tensor:
        z = tensor_of(z)
        score = z - self.conditional_logits(z.detach()).sigmoid()
        return masked(score, self.mask).detach().square()

    def marginals(self) -> Tensor:
        """q(z_t = 1), [*B, N]: m_t = (1 − m_{t−1}) σ(l_t0) + m_{t−1} σ(l_t1)."""
        p = masked(self.logits.sigmoid(), None if self.mask is None else self.mask[..., None])
        m = torch.zeros_like(p[..., 0, 0])
        chain = []
        for t in range(self.length):
            m = (1 - m) * p[..., t, 0] + m * p[..., t, 1]
            chain.append(m)
        return torch.stack(chain, -1)

    def edge_marginals(self) -> Tensor:
        """q(z_{t−1} = k, z_t = v), [*B, N, 2, 2]; z_t = 0 at padding."""
        m = self.marginals()
        before = torch.cat([torch.zeros_like(m[..., :1]), m[..., :-1]], -1)
        before = torch.stack([1 - before, before], -1)  # [*B, N, 2]
        p = masked(self.logits.sigmoid(), None if self.mask is None else self.mask[..., None])
        return before[..., None] * torch.stack([1 - p, p], -1)

    def expected_changes(self) -> Tensor:
        """E Σ_{t≥2} 1[z_t ≠ z_{t−1}], [*B], without the padding: the fused lasso, exactly."""
        edges = self.edge_marginals()[..., 1:, :, :]
        changes = edges[..., 0, 1] + edges[..., 1, 0]
        mask = None if self.mask is None else self.mask[..., 1:] & self.mask[..., :-1]
        return masked(changes, mask).sum(-1)

    def mode(self) -> Tensor:
        """Viterbi."""
        table = torch.stack([logsigmoid(-self.logits), logsigmoid(self.logits)], -1).detach()
        mask = None if self.mask is None else self.mask[..., None]
        table = masked_table(table, mask)  # [*B, N, 2, 2]
        best = torch.stack([table.new_zeros(()), table.new_full((), float("-inf"))])
        best = best.expand(*self.batch_shape, 2)
        back = []
        for t in range(self.length):
            best, from_ = (best[..., None] + table[..., t, :, :]).max(-2)  # [*B, 2]
            back.append(from_)
        state = best.argmax(-1, keepdim=True)
        bits = []
        for from_ in reversed(back):
            bits.append(state.squeeze(-1))
            state = from_.gather(-1, state)
        return torch.stack(bits[::-1], -1).to(self.logits.dtype)

    def entropy(self) -> Tensor:
        r"""Chain rule: Σ_t Σ_k q(z_{t−1} = k) H(z_t | z_{t−1} = k)."""
        certain = self.logits.isinf()
        logits = torch.where(certain, torch.zeros_like(self.logits), self.logits)
        p = logits.sigmoid()
        h = -p * logsigmoid(logits) - (1 - p) * logsigmoid(-logits)
        h = torch.where(certain, torch.zeros_like(h), h)
        before = self.edge_marginals().sum(-1)  # [*B, N, 2]
        return masked((before * h).sum(-1), self.mask).sum(-1)

    def enumerate_support(self) -> tuple[Tensor, Tensor]:
        n = self.length
        check_states(2**n)
        states = bit_strings(n, self.logits).reshape(2**n, *[1] * len(self.batch_shape), n)
        z = states.expand(2**n, *self.logits.shape[:-1])
        z, kept = drop_repetitions(z, z.new_zeros(z.shape[:-1]), self.mask)
        return z, self.log_prob(z) + kept
