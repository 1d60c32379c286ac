"""Noise for sampling: float32 whatever the parameters are, so that bfloat16 parameters do not make
coarse draws and float64 ones make the same draws as float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """u ~ Uniform on the open interval (0, 1), on the device of ``like``, in its type or float32.

    A draw is a multiple of 2⁻²⁴, moved by 2⁻²⁵: log u and log(1 − u) are finite.
    """
    u = torch.rand(tuple(shape), device=like.device, dtype=torch.float32, generator=generator)
    u = (u * (1 - 2**-23) + 2**-25) if like.dtype != torch.float64 else u.double() + 2**-25
    return u


def gumbel(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """−log(−log u): logits + gumbel has its greatest entry at a draw of the categorical."""
    return -(-uniform(shape, like, generator).log()).log()
