r"""What every emission model answers, and the normaliser that the neural ones share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch

# Logits held at once while a normaliser is computed: 16 M floats are 64 MB.
_LOGITS_AT_ONCE = 16 * 2**20


class Emission(nn.Module):
    """p(y_j | x_i): how likely each target word is, given each source word or NULL."""

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p(y_j | x, i), [B, J, I], and log p(y_j | NULL), [B, J]. Values at padding are
        finite and meaningless: position models mask them."""
        raise NotImplementedError


def log_normaliser(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r"""log Σ_v exp(h_r · w_v + b_v) for rows r, without holding [R, V].

    The vocabulary is visited in chunks, twice: once for the sum, once for its gradient, the
    softmax. Shapes: hidden [R, d], weight [V, d], bias [V] → [R]. Under autocast the products run
    in its dtype; the sum is float32.
    """
    result: Any = _LogNormaliser.apply(hidden, weight, bias)
    return result


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        device = hidden.device.type
        ctx.product = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        )
        parts = [logits.logsumexp(-1) for _, logits in _chunks(hidden, weight, bias, ctx.product)]
        log_z = torch.stack(parts).logsumexp(0)
        ctx.save_for_backward(hidden, weight, bias, log_z)
        return log_z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, weight, bias, log_z = ctx.saved_tensors
        grad = gradients[0].unsqueeze(-1)  # [R, 1]
        grad_hidden = torch.zeros_like(hidden)
        grad_weight, grad_bias = torch.empty_like(weight), torch.empty_like(bias)
        for chunk, logits in _chunks(hidden, weight, bias, ctx.product):
            softmax = logits.sub_(log_z.unsqueeze(-1)).exp_().mul_(grad)  # [R, C]
            grad_bias[chunk] = softmax.sum(0).to(bias.dtype)
            product = softmax.to(ctx.product or hidden.dtype)
            grad_hidden += (product @ weight[chunk].to(product.dtype)).to(hidden.dtype)
            grad_weight[chunk] = (product.t() @ hidden.to(product.dtype)).to(weight.dtype)
        return grad_hidden, grad_weight, grad_bias


def _chunks(hidden: Tensor, weight: Tensor, bias: Tensor, product: torch.dtype | None):
    """(slice of the vocabulary, its logits [R, C]) one after the other."""
    with torch.autocast(hidden.device.type, enabled=False):
        size = max(1, _LOGITS_AT_ONCE // max(1, hidden.shape[0]))
        left = hidden if product is None else hidden.to(product)
        for start in range(0, weight.shape[0], size):
            chunk = slice(start, start + size)
            right = weight[chunk].t().to(left.dtype)
            logits = left @ right
            at_least_float = torch.promote_types(bias.dtype, torch.float32)
            yield chunk, logits.to(at_least_float).add_(bias[chunk])
