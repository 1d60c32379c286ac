r"""What every encoder of a text answers.

    h = encoder(x, m)    x [R, T, D] embedded words, m [R, T] which are there → h [R, T, H]

h_t is the hidden state of word t. A position that m leaves out, be it padding or a word that was
not selected, has h_t = 0 and adds nothing to any other state: what stands there is never read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """A hidden state for every word that is there, from the words that are there."""

    size: int
    """H."""

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """h [R, T, H] of ``embedded`` [R, T, D] where ``mask`` [R, T] is True, 0 elsewhere.

        Any R >= 0 and T >= 1; True may stand anywhere in a row, or nowhere.
        """
        raise NotImplementedError


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x [R, T, ·], and 0 where the mask [R, T] is False (a NaN that stands there is gone, too)."""
    return torch.where(mask.unsqueeze(-1), x, 0.0)


def compact(x: Tensor, mask: Tensor) -> Tensor:
    """The True positions of each row moved to its left, in their order: [R, N, D]; then zeros.

    N is T, or less where it costs nothing to know that no row needs as many.
    """
    order = mask.logical_not().argsort(dim=1, stable=True)[:, : _longest(mask)]  # [R, N]
    return _pick(masked(x, mask), order)


def restore(states: Tensor, mask: Tensor) -> Tensor:
    """The inverse of `compact`: states [R, N, H] back in their places, [R, T, H]; elsewhere 0."""
    place = (mask.cumsum(1) - 1).clamp_min(0)  # [R, T]
    return masked(_pick(states, place), mask)


def _longest(mask: Tensor) -> int:
    """The most True positions of a row. A GPU would have to be waited for: there, all of them."""
    if mask.device.type != "cpu" or not len(mask):
        return mask.shape[1]
    return max(1, int(mask.sum(1).max()))


def _pick(x: Tensor, places: Tensor) -> Tensor:
    """x [R, T, D] at places [R, N] of each row: [R, N, D]. (`gather` is several times slower.)"""
    first = torch.arange(0, x.shape[0] * x.shape[1], x.shape[1], device=x.device)  # [R]
    rows = (first.unsqueeze(1) + places).flatten()
    return x.flatten(0, 1).index_select(0, rows).unflatten(0, places.shape)
