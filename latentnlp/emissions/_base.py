r"""What every emission model answers, and the normaliser that the neural ones share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch

# Logits held at once while a normaliser is computed: 16 M floats are 64 MB.
_LOGITS_AT_ONCE = 16 * 2**20
_ROWS_AT_ONCE = 512  # of a sampled normaliser: few enough for the cache
_LEAST_SUM = 1e-6  # relative to the greatest part: what differences of float32 can tell from 0


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


@dataclass(frozen=True)
class Sample:
    """Words for a normaliser: the ``frequent`` first ones of the vocabulary, which is sorted by
    falling count, and of the others every ``step``-th, from ``offset`` < step on."""

    frequent: int
    step: int
    offset: int = 0

    @classmethod
    def of(cls, frequent: int, others: int, vocabulary_size: int) -> Sample:
        """About ``others`` of the words that are not among the ``frequent``."""
        step = max(1, -(-(vocabulary_size - frequent) // others))
        return cls(frequent, step, step // 2)

    def words(self, vocabulary_size: int, device: torch.device) -> Tensor:
        first = torch.arange(min(self.frequent, vocabulary_size), device=device)
        start = min(self.frequent + self.offset, vocabulary_size)
        return torch.cat([first, torch.arange(start, vocabulary_size, self.step, device=device)])

    def weight(self, words: Tensor) -> Tensor:
        """How often a word [N] is in the sum: 0, 1, or (of the sampled others) ``step``."""
        other = words - self.frequent
        drawn = torch.where((other - self.offset) % self.step == 0, self.step, 0)
        return torch.where(other < 0, 1, drawn)


# Places among the rows, words, and scores of pairs, [N] each.
Partners = tuple[Tensor, Tensor, Tensor]


def sampled_log_normaliser(
    hidden: Tensor,
    few: Tensor,
    bias: Tensor,
    partners: Callable[[], Iterable[Partners]],
    sample: Sample,
) -> Tensor:
    r"""An estimate of `log_normaliser` [R] from few words of the vocabulary:

        Z(x) ≈ Σ_{v known} exp(s(x, v)) + step · Σ_{v sampled, not known} exp(s(x, v))

    (complementary sum sampling: Botev, Zheng and Barber 2017). ``few`` [C, d] are the weights of
    the words of the ``sample``, ``bias`` [V] is that of all. Known of row r are the frequent words
    and the partners of its own pairs n: place_n = r, target_n, with their scores s(x, target).
    Over a random offset the sum has no bias; its logarithm has little, because almost all that a
    word is translated by stands among its own pairs. Each pair must be there once. The pairs may
    come in parts, and are gone through twice.
    """
    words = sample.words(len(bias), hidden.device)  # [C]
    shift = bias[words] + sample.weight(words).to(bias.dtype).log()
    parts = hidden.split(_ROWS_AT_ONCE)
    log_sums = torch.cat([torch.addmm(shift, rows, few.t()).logsumexp(1) for rows in parts])  # [R]
    peak = log_sums.detach()
    for place, _, scores in partners():
        peak = peak.scatter_reduce(0, place, scores.detach(), "amax")
    total = (log_sums - peak).exp()
    for place, target, scores in partners():
        # A partner stands in the sum ``weight`` times; once is right.
        own = (1 - sample.weight(target)) * (scores - peak[place]).exp()
        total = total.index_add(0, place, own)
    return total.clamp_min(_LEAST_SUM).log() + peak


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
