r"""Alignments whose positions are independent given the words: IBM 1 and IBM 2.

    p(a, y | x) = Π_j p(a_j | j, I, J) p(y_j | x_{a_j})
    log Σ_a p(a, y | x) = Σ_j log ( Σ_i p(i | j) p(y_j | x_i) + p(NULL) p(y_j | NULL) )

Brown et al. (1993), sections 4.1 and 4.2: the sum over (I+1)^J alignments is a product of sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentnlp.distributions.alignment import LOG_ZERO, NULL, Posteriors


@dataclass(frozen=True)
class IndependentPositions:
    """log p(a_j = i) + log p(y_j | x_i), [B, J, I] (``-inf`` at source padding), and the same for
    NULL, [B, J]; ``target_mask`` [B, J] is True at words."""

    log_joint: Tensor
    log_null: Tensor
    target_mask: Tensor

    def log_partition(self) -> Tensor:
        """[B], differentiable."""
        states = self._states()
        possible = (states > LOG_ZERO).any(-1)
        # A logsumexp over nothing but -inf has a NaN gradient; here it has none.
        total = torch.where(possible.unsqueeze(-1), states, 0.0).logsumexp(-1)
        total = torch.where(possible, total, LOG_ZERO)
        return torch.where(self.target_mask, total, 0.0).sum(-1)

    def posteriors(self) -> Posteriors:
        with torch.no_grad():
            states = self._states()
            total = states.logsumexp(-1)  # [B, J]
            possible = self.target_mask & (total > LOG_ZERO)
            log_z = torch.where(self.target_mask, total, 0.0).sum(-1)
            # softmax would take longer, and make NaN of nothing but -inf.
            normaliser = torch.where(possible, total, float("inf")).unsqueeze(-1)
            posterior = (states - normaliser).exp_()
            return Posteriors(posterior[..., :-1], posterior[..., -1], log_z)

    def log_potential(self, alignment: Tensor) -> Tensor:
        states = self._states().expand(*alignment.shape, -1)
        index = torch.where(alignment == NULL, states.shape[-1] - 1, alignment)
        chosen = states.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return torch.where(self.target_mask, chosen, 0.0).sum(-1)

    def mode(self) -> Tensor:
        return self._from_state(self._states().argmax(-1))

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        weights = self._states().softmax(-1)
        flat = weights.reshape(-1, weights.shape[-1])
        drawn = torch.multinomial(flat, samples, replacement=True, generator=generator)
        return self._from_state(drawn.t().reshape(samples, *weights.shape[:-1]))

    def _states(self) -> Tensor:
        """[B, J, I+1], NULL last."""
        return torch.cat([self.log_joint, self.log_null.unsqueeze(-1)], dim=-1)

    def _from_state(self, state: Tensor) -> Tensor:
        is_null = (state == self.log_joint.shape[-1]) | ~self.target_mask
        return torch.where(is_null, NULL, state)
