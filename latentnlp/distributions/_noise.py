"""Noise for sampling: float32 whatever the parameters are, so that bfloat16 parameters do not make
coarse draws and float64 ones make the same draws as float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """u ~ Uniform on the open interval (0, 1), on the device of ``like``, in float64 or float32.

    2⁻²⁵ ≤ u ≤ 1 − 2⁻²⁴: log u and log(1 − u) are finite. Both types have the very same values.
    """
    u = torch.rand(tuple(shape), device=like.device, dtype=torch.float32, generator=generator)
    u = u.clamp(min=2**-25)
    return u.double() if like.dtype == torch.float64 else u


def precise(x: Tensor) -> Tensor:
    """x in at least float32: a probability near 1 rounded to bfloat16 would be 1."""
    return x if x.dtype == torch.float64 else x.float()


def gumbel(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """−log(−log u): logits + gumbel has its greatest entry at a draw of the categorical."""
    return -(-uniform(shape, like, generator).log()).log()
