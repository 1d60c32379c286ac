r"""log Σ_w exp(W h + b)_w, and its gradient, with one table [..., V] in memory instead of four.

    ∂/∂h = Wᵀ p,   ∂/∂W = p hᵀ,   ∂/∂b = p,    p = softmax(W h + b)

Most of a step of a document model is spent here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def log_normaliser(h: Tensor, words: Tensor, bias: Tensor) -> Tensor:
    """[..., H], [V, H], [V] → [...]."""
    flat = h.reshape(-1, h.shape[-1])
    return _LogNormaliser.apply(flat, words, bias).view(h.shape[:-1])  # type: ignore[no-any-return]


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, words: Tensor, bias: Tensor) -> Tensor:
        table = torch.addmm(bias, h, words.T)  # [N, V]
        top = table.amax(1, keepdim=True)
        total = table.sub_(top).exp_().sum(1, keepdim=True)
        ctx.save_for_backward(h, words, table, total)
        return (top + total.log()).squeeze(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        h, words, table, total = ctx.saved_tensors
        p = table * (grad_outputs[0][:, None] / total)
        return p @ words, p.T @ h, p.sum(0)
