r"""Independent categoricals, one-hot.

    q(z) = Π_n Π_v softmax(l_n)_v^{z_nv}

The Gumbel-softmax relaxation: Maddison, Mnih and Teh (2017); Jang, Gu and Poole (2017). Its
coupling with the hard draw: Tucker et al. (2017), appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from latentnlp.distributions._noise import gumbel, precise, uniform
from latentnlp.distributions.discrete import (
    Latent,
    check_states,
    finite,
    masked,
    masked_table,
    tensor_of,
)


class Categorical:
    """z [S, *B, N, V] with one 1 among the V values of each of N latents; all 0 at padding.

    A single categorical an item is N = 1. A logit may be −inf (the value is then impossible).
    """

    def __init__(self, logits: Tensor, mask: Tensor | None = None) -> None:
        """logits: l [*B, N, V]; mask: [*B, N]. Raises ValueError on other shapes."""
        if logits.dim() < 2:
            raise ValueError(f"logits {tuple(logits.shape)} are not [*B, N, V]")
        if mask is not None and mask.shape != logits.shape[:-1]:
            raise ValueError(f"mask {tuple(mask.shape)} and logits {tuple(logits.shape)} differ")
        self.mask = mask
        # At once: whatever stands at padding, NaN too, must not meet the gradient.
        self.logits = self._masked(logits)

    @property
    def batch_shape(self) -> torch.Size:
        return self.logits.shape[:-2]

    @property
    def factors(self) -> tuple[Categorical, ...]:
        return (self,)

    def join(self, parts: Sequence[Tensor]) -> Latent:
        return parts[0]

    def split(self, z: Latent) -> tuple[Tensor, ...]:
        return (tensor_of(z),)

    def with_logits(self, logits: Tensor) -> Categorical:
        return Categorical(logits, self.mask)

    def mean(self) -> Tensor:
        return self._masked(self.logits.softmax(-1))

    def mode(self) -> Tensor:
        return self._hot(self.logits.argmax(-1))

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        logits = self.logits.detach()
        noise = gumbel((samples, *logits.shape), logits, generator)
        return self._hot((logits + noise).argmax(-1))

    def log_prob_terms(self, z: Latent) -> Tensor:
        index = tensor_of(z).argmax(-1, keepdim=True)  # [S, *B, N, 1]
        log_q = self.logits.log_softmax(-1).expand(*index.shape[:-1], -1)
        return masked(log_q.gather(-1, index).squeeze(-1), self.mask)

    def log_prob(self, z: Latent) -> Tensor:
        return self.log_prob_terms(z).sum(-1)

    def score(self, z: Tensor) -> Tensor:
        return self._masked(z - self.logits.softmax(-1))

    def squared_score(self, z: Latent) -> Tensor:
        return self.score(tensor_of(z)).detach().square().sum(-1)

    def entropy(self) -> Tensor:
        log_q = self.logits.log_softmax(-1)
        finite = torch.where(log_q.isinf(), torch.zeros_like(log_q), log_q)  # 0 log 0 = 0
        return masked(-(log_q.exp() * finite).sum(-1), self.mask).sum(-1)

    def table(self) -> Tensor:
        return masked_table(self.logits.log_softmax(-1), self.mask)

    def one_changed(self, z: Tensor) -> Tensor:
        n, v = z.shape[-2:]
        here = torch.eye(n, dtype=torch.bool, device=z.device)
        here = here.reshape(n, 1, *[1] * (z.dim() - 2), n, 1)  # [N, 1, 1, …, N, 1]
        value = torch.eye(v, dtype=z.dtype, device=z.device)
        value = value.reshape(1, v, *[1] * (z.dim() - 1), v)  # [1, V, 1, …, V]
        return self._masked(torch.where(here, value, z))

    def enumerate_support(self) -> tuple[Tensor, Tensor]:
        n, v = self.logits.shape[-2:]
        check_states(v**n)
        states = torch.cartesian_prod(*[torch.arange(v, device=self.logits.device)] * n)
        states = states.reshape(v**n, *[1] * len(self.batch_shape), n)
        index = states.expand(v**n, *self.logits.shape[:-1])  # [M, *B, N]
        log_q = self.log_prob(one_hot(index, v).to(self.logits.dtype))
        if self.mask is not None:  # of the states that differ in padding alone, keep the first
            log_q = log_q.masked_fill(((index > 0) & ~self.mask).any(-1), float("-inf"))
        return self._hot(index), log_q

    def relaxed(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        noisy = self.logits + gumbel((samples, *self.logits.shape), self.logits, generator)
        return self._hot(noisy.detach().argmax(-1)), self._soften(noisy, temperature)

    def coupled_relaxation(
        self, samples: int, temperature: Tensor | float, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = (samples, *self.logits.shape)
        log_q = precise(self.logits).log_softmax(-1)  # normalised: the greatest is then Gumbel
        noisy = log_q + gumbel(shape, log_q, generator)
        index = noisy.detach().argmax(-1, keepdim=True)
        # −log of an exponential: the chosen one's is Gumbel, the others' are truncated below it.
        e = -uniform(shape, log_q, generator).log()
        chosen = e.gather(-1, index)  # [S, *B, N, 1]
        # −log (e / q + chosen), and no NaN in the gradient where q = 0.
        truncated = -torch.logaddexp(e.log() - log_q, chosen.log())
        given = truncated.scatter(-1, index, -chosen.log())
        return (
            self._hot(index.squeeze(-1)),
            self._soften(noisy, temperature),
            self._soften(given, temperature),
        )

    def _hot(self, index: Tensor) -> Tensor:
        return self._masked(one_hot(index, self.logits.shape[-1]).to(self.logits.dtype))

    def _soften(self, noisy: Tensor, temperature: Tensor | float) -> Tensor:
        return self._masked((finite(noisy) / temperature).softmax(-1))

    def _masked(self, values: Tensor) -> Tensor:
        return masked(values, None if self.mask is None else self.mask[..., None])
