r"""p(y_j = v | x_i, y_<j): what a source word, and the translation so far, say about the next word.

    product   p(v | i, j) ∝ exp(E_v · u_i + E_v · w_j + b_v)        u_i = A h_i,  w_j = B s_j
    joint     p(v | i, j) ∝ exp(E_v · tanh(u_i + w_j) + b_v)

The sum over v is needed for every pair (j, i), and [B, J, I, V] is never held. In the product each
term is a source factor times a target factor, so all sums are one product of matrices,

    Z_ji = Σ_v exp(E_v · w_j + b_v) exp(E_v · u_i),

at about the price of a softmax at I + J places instead of I · J. The joint lexicon (that of Wang et
al. 2018, section 4.2) pays for I · J places; it takes the words v in chunks. With ``recompute``
a chunk is forgotten after use and made again on the way back (gradient checkpointing, Chen et al.
2016): then no more than one chunk is held at a time, for a third more work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentnlp.config import at_least
from latentnlp.translation_models._contract import State
from latentnlp.translation_models._network import Output


@dataclass(frozen=True)
class Config:
    kind: Literal["product", "joint"] = "product"
    chunk: int = 0  # target words normalised at a time; 0: all
    recompute: bool = False  # a chunk once more on the way back, instead of keeping it

    def __post_init__(self) -> None:
        at_least(self, chunk=0)


class Lexicon(nn.Module):
    def __init__(self, config: Config, source_size: int, target_size: int, dim: int) -> None:
        super().__init__()
        self.of_source = nn.Linear(source_size, dim, bias=False)
        self.of_target = nn.Linear(target_size, dim)
        self.config = config

    def forward(
        self, source_states: Tensor, states: Tensor, words: Tensor, output: Output
    ) -> Tensor:
        """log p(y_j | x_i, y_<j) [B, J, I] of words [B, J], from h [B, I, ·] and s [B, J, ·]."""
        u, w = self.of_source(source_states), self.of_target(states)
        return self._logits_of(u, w, output.of(words)) - self._log_normaliser(u, w, output)

    def remember(self, source_states: Tensor, output: Output) -> State:
        """What `log_mixture` needs of the source words of B sentences."""
        return {"u": self.of_source(source_states)}

    def log_mixture(
        self, memory: State, states: Tensor, log_weights: Tensor, output: Output
    ) -> tuple[Tensor, Tensor]:
        """log Σ_i π_ki p(v | x_i, y_<j) [B, K, V] for weights π [B, K, I], and log Z_ki."""
        raise NotImplementedError

    def log_prob(
        self, memory: State, states: Tensor, words: Tensor, log_z: Tensor, output: Output
    ) -> Tensor:
        """log p(v | x_i, y_<j) [B, K, I] of ``words`` [B, K], once log Z_ki is known."""
        w = self.of_target(states)
        return self._logits_of(memory["u"], w, output.of(words)) - log_z

    def _log_normaliser(self, u: Tensor, w: Tensor, output: Output) -> Tensor:
        """log Z_ji [B, J, I]."""
        size = self.config.chunk or len(output.bias)
        chunks = zip(output.weight.split(size), output.bias.split(size), strict=True)
        if self.config.recompute and torch.is_grad_enabled():
            parts = [checkpoint(self._log_sum, u, w, *c, use_reentrant=False) for c in chunks]
        else:
            parts = [self._log_sum(u, w, *chunk) for chunk in chunks]
        return parts[0] if len(parts) == 1 else torch.stack(parts).logsumexp(0)

    def _logits_of(self, u: Tensor, w: Tensor, output: Output) -> Tensor:
        """The logits [B, J, I] of one word at each j: E_v [B, J, D] and b_v [B, J]."""
        raise NotImplementedError

    def _log_sum(self, u: Tensor, w: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """log Σ_v exp(logit of v) [B, J, I] over a chunk of the words."""
        raise NotImplementedError


class ProductLexicon(Lexicon):
    def remember(self, source_states: Tensor, output: Output) -> State:
        u = self.of_source(source_states)
        factors, top = _scaled(u @ output.weight.T)
        return {"u": u, "factors": factors, "top": top.squeeze(2)}  # [B, I, V], [B, I]

    def log_mixture(
        self, memory: State, states: Tensor, log_weights: Tensor, output: Output
    ) -> tuple[Tensor, Tensor]:
        logits = output.logits(self.of_target(states))  # [B, K, V]
        target, top_target = _scaled(logits)
        top_source = memory["top"].unsqueeze(1)  # [B, 1, I]
        log_z = _log(target @ memory["factors"].mT) + top_target + top_source
        weight, top = _scaled(log_weights - log_z + top_source)
        return logits + _log(weight @ memory["factors"]) + top, log_z

    def _logits_of(self, u: Tensor, w: Tensor, output: Output) -> Tensor:
        # As in the normaliser, so that in bfloat16 both are rounded alike; the bias is float32.
        of_target = (output.weight.unsqueeze(2) @ w.unsqueeze(3)).squeeze(3)  # [B, J, 1]
        return output.weight @ u.mT + (of_target + output.bias.unsqueeze(2))

    def _log_sum(self, u: Tensor, w: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        source, top_source = _scaled(u @ weight.T)
        target, top_target = _scaled(w @ weight.T + bias)
        with torch.autocast(u.device.type, enabled=False):
            total = target @ source.mT  # small, and a sum: not in bfloat16
        return _log(total) + top_target + top_source.mT


class JointLexicon(Lexicon):
    def log_mixture(
        self, memory: State, states: Tensor, log_weights: Tensor, output: Output
    ) -> tuple[Tensor, Tensor]:
        u, w = memory["u"], self.of_target(states)
        log_z = self._log_normaliser(u, w, output)
        weights = log_weights - log_z
        mixed = w.new_full((*w.shape[:2], len(output.bias)), -torch.inf)
        for i in range(u.shape[1]):  # one source word at a time: [B, K, V], not [B, K, I, V]
            logits = output.logits(torch.tanh(u[:, i : i + 1] + w))
            mixed = torch.logaddexp(mixed, logits + weights[..., i : i + 1])
        return mixed, log_z

    def _logits_of(self, u: Tensor, w: Tensor, output: Output) -> Tensor:
        hidden = torch.tanh(u.unsqueeze(1) + w.unsqueeze(2))  # [B, J, I, D]
        return (hidden @ output.weight.unsqueeze(-1)).squeeze(-1) + output.bias.unsqueeze(2)

    def _log_sum(self, u: Tensor, w: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        hidden = torch.tanh(u.unsqueeze(1) + w.unsqueeze(2))
        return (hidden @ weight.T + bias).logsumexp(-1)


def build(config: Config, source_size: int, target_size: int, dim: int) -> Lexicon:
    kind = ProductLexicon if config.kind == "product" else JointLexicon
    return kind(config, source_size, target_size, dim)


def _scaled(logits: Tensor) -> tuple[Tensor, Tensor]:
    """exp(logits - top), and top, the largest of the last axis; float32 even under autocast."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    top = logits.detach().amax(-1, keepdim=True)
    top = torch.where(top == -torch.inf, 0.0, top)
    return (logits - top).exp(), top


def _log(x: Tensor) -> Tensor:
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()
