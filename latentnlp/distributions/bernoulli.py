r"""Independent Bernoullis, as vectors and as masked sequences.

    q(z) = Π_n σ(l_n)^{z_n} (1 − σ(l_n))^{1 − z_n}

The concrete relaxation and its coupling: Maddison, Mnih and Teh (2017), appendix B; Tucker et al.
(2017), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from latentnlp.distributions._noise import precise, uniform
from latentnlp.distributions.discrete import (
    Latent,
    check_states,
    finite,
    masked,
    masked_table,
    tensor_of,
)


class Bernoulli:
    """z ∈ {0, 1}^N, of the logits' floating type. ``logits`` may be ±inf (z_n is then certain)."""

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        """logits: l [*B, N]; mask: [*B, N], False at padding. Raises ValueError on other shapes."""
        if logits.dim() < 1:
            raise ValueError("logits () are not [*B, N]")
        if mask is not None and mask.shape != logits.shape:
            raise ValueError(f"mask {tuple(mask.shape)} and logits {tuple(logits.shape)} differ")
        # At once: whatever stands at padding, NaN too, must not meet the gradient.
        self.logits, self.mask = masked(logits, mask), mask

    @property
    def batch_shape(self) -> torch.Size:
        return self.logits.shape[:-1]

    @property
    def factors(self) -> tuple[Bernoulli, ...]:
        return (self,)

    def join(self, parts: Sequence[Tensor]) -> Latent:
        return parts[0]

    def split(self, z: Latent) -> tuple[Tensor, ...]:
        return (tensor_of(z),)

    def with_logits(self, logits: Tensor) -> Bernoulli:
        return Bernoulli(logits, self.mask)

    def mean(self) -> Tensor:
        return masked(self.logits.sigmoid(), self.mask)

    def marginals(self) -> Tensor:
        """q(z_n = 1), [*B, N]; 0 at padding."""
        return self.mean()

    def expected_changes(self) -> Tensor:
        """E Σ_n 1[z_n ≠ z_{n−1}], [*B], without the padding: the fused lasso, exactly."""
        return independent_changes(self.mean(), self.mask)

    def mode(self) -> Tensor:
        return masked((self.logits > 0).to(self.logits.dtype), self.mask)

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        logits = self.logits.detach()
        u = uniform((samples, *logits.shape), logits, generator)
        return masked((u < precise(logits).sigmoid()).to(logits.dtype), self.mask)

    def log_prob_terms(self, z: Latent) -> Tensor:
        z = tensor_of(z)
        # A choice, not z·l − softplus(l): that is NaN where l is infinite.
        terms = torch.where(z > 0.5, logsigmoid(self.logits), logsigmoid(-self.logits))
        return masked(terms, self.mask)

    def log_prob(self, z: Latent) -> Tensor:
        return self.log_prob_terms(z).sum(-1)

    def score(self, z: Tensor) -> Tensor:
        return masked(z - self.logits.sigmoid(), self.mask)

    def squared_score(self, z: Latent) -> Tensor:
        return self.score(tensor_of(z)).detach().square()

    def entropy(self) -> Tensor:
        p = self.logits.sigmoid()
        # p log p and (1 − p) log(1 − p) at ±inf are 0 times inf: their limit is 0.
        certain = self.logits.isinf()
        logits = torch.where(certain, torch.zeros_like(self.logits), self.logits)
        terms = -p * logsigmoid(logits) - (1 - p) * logsigmoid(-logits)
        return masked(torch.where(certain, torch.zeros_like(terms), terms), self.mask).sum(-1)

    def table(self) -> Tensor:
        table = torch.stack([logsigmoid(-self.logits), logsigmoid(self.logits)], -1)
        return masked_table(table, self.mask)

    def one_changed(self, z: Tensor) -> Tensor:
        n = z.shape[-1]
        here = torch.eye(n, dtype=torch.bool, device=z.device)  # [N, N]
        here = here.reshape(n, 1, *[1] * (z.dim() - 1), n)  # [N, 1, 1, …, N]
        value = torch.arange(2, device=z.device, dtype=z.dtype)
        value = value.reshape(1, 2, *[1] * z.dim())
        return masked(torch.where(here, value, z), self.mask)

    def enumerate_support(self) -> tuple[Tensor, Tensor]:
        n = self.logits.shape[-1]
        check_states(2**n)
        states = bit_strings(n, self.logits).reshape(2**n, *[1] * len(self.batch_shape), n)
        z = states.expand(2**n, *self.logits.shape)  # [M, *B, N]
        return drop_repetitions(z, self.log_prob(z), self.mask)

    def relaxed(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        logistic = self.logits + _logit(
            uniform((samples, *self.logits.shape), self.logits, generator)
        )
        return self._harden(logistic), self._soften(logistic, temperature)

    def coupled_relaxation(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, shape = precise(self.logits), (samples, *self.logits.shape)
        logistic = logits + _logit(uniform(shape, logits, generator))
        z = self._harden(logistic)
        v = uniform(shape, logits, generator)
        # u' ~ Uniform given z: above 1 − p where z = 1, below where z = 0.
        p, q = logits.sigmoid(), (-logits).sigmoid()
        again = torch.where(z > 0.5, q + v * p, v * q)
        # Not log u' − log(1 − u'): 1 − u' = (1 − v) p where z = 1 must not be rounded to 0.
        rest = torch.where(z > 0.5, (1 - v) * p, p + (1 - v) * q)
        given = logits + again.log() - rest.log()
        return z, self._soften(logistic, temperature), self._soften(given, temperature)

    def _harden(self, logistic: Tensor) -> Tensor:
        return masked((logistic.detach() > 0).to(self.logits.dtype), self.mask)

    def _soften(self, logistic: Tensor, temperature: Tensor | float) -> Tensor:
        return masked((finite(logistic) / temperature).sigmoid(), self.mask)


def independent_changes(p: Tensor, mask: Tensor | None) -> Tensor:
    """E Σ_n 1[exactly one of two neighbours is on], [*B], where each is on with p, [*B, N]."""
    changes = p[..., 1:] * (1 - p[..., :-1]) + p[..., :-1] * (1 - p[..., 1:])
    return masked(changes, None if mask is None else mask[..., 1:] & mask[..., :-1]).sum(-1)


def bit_strings(n: int, like: Tensor) -> Tensor:
    """All of them, 0…0 first, [2^n, n]; of the device and type of ``like``."""
    numbers, places = (torch.arange(size, device=like.device) for size in (2**n, n))
    return (numbers[:, None] >> places.flip(0) & 1).to(like.dtype)


def drop_repetitions(z: Tensor, log_prob: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """0 for z's padding; a state that only differs there from an earlier one gets log q = −inf."""
    if mask is None:
        return z, log_prob
    repeated = ((z > 0.5) & ~mask).any(-1)
    return masked(z, mask), log_prob.masked_fill(repeated, float("-inf"))


def _logit(u: Tensor) -> Tensor:
    return u.log() - (-u).log1p()
