r"""Hidden Markov chains over source positions, with NULL: every sum over alignments, exactly.

An alignment a = a_1 … a_J gives each target position j a source position a_j ∈ {1 … I} or NULL.
The chain remembers the last source position, m_0 = 0 at the start of the sentence, then m_j = a_j,
or m_j = m_{j-1} where a_j is NULL (Och and Ney 2003, section 2.1.1: NULL remembers the last
position). With potentials ≥ 0,

    p(a) ∝  Π_{a_j ≠ NULL} d(m_{j-1}) T(m_{j-1}, a_j) e_j(a_j)  ·  Π_{a_j = NULL} n_j  ·  ω(m_J)

Och and Ney's 2I states share I + 1 memories, so a step of the recursion is one matrix product:

    α_j(i) = e_j(i) Σ_m α_{j-1}(m) d(m) T(m, i)  +  n_j α_{j-1}(i)
    β_{j-1}(m) = d(m) Σ_i T(m, i) e_j(i) β_j(i)  +  n_j β_j(m)

The row factor d lets sentences of any length share one matrix: a jump model has
T(m, i) = s(i - m) for all, and d(m) = 1 / Σ_{i ≤ I} s(i - m) for a sentence of length I.

∂ log Z / ∂ (a log-potential) is the expected number of times that a uses it, so the gradient needs
no autograd through the recursion: it is the posterior (Eisner 2016, "Inside-outside and
forward-backward algorithms are just backprop").
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from latentnlp.distributions.alignment import LOG_ZERO, NULL, Posteriors


@dataclass(frozen=True)
class ChainPosteriors(Posteriors):
    """The posteriors of a chain: the expected number of uses of each potential, in its shape."""

    transition: Tensor  # [I+1, I] summed over the batch, or [B, I+1, I], or [B, J, I+1, I]
    leave: Tensor  # [B, I+1]  jumps out of each memory
    final: Tensor  # [B, I+1]  p(m_J)


@dataclass(frozen=True)
class HiddenMarkov:
    """A batch of chains. All potentials are logarithms; ``-inf`` forbids.

    Attributes:
        log_emission: log e_j(i), [B, J, I]; ``-inf`` at source padding.
        log_transition: log T(m, i), [I+1, I] shared by the batch, or [B, I+1, I], or another one
            at each step, log T_j(m, i) [B, J, I+1, I]. Row 0 is the start of the sentence, row
            i + 1 is source position i.
        target_mask: True at words, False at padding, [B, J]; None for no padding.
        log_null: log n_j, [B, J]; None for a chain without NULL.
        log_leave: log d(m), [B, I+1]; None for 0.
        log_final: log ω(m), [B, I+1]; None for 0.

    The sums run in linear space, each step scaled by its own sum. A step in which every path still
    alive loses more than e^-80 (float32; e^-700 in float64) against the best emission of that step
    counts as impossible: log Z = -inf and zero gradients, never NaN. Transition potentials are not
    rescaled and must stay below e^80.
    """

    log_emission: Tensor
    log_transition: Tensor
    target_mask: Tensor | None = None
    log_null: Tensor | None = None
    log_leave: Tensor | None = None
    log_final: Tensor | None = None

    def log_partition(self) -> Tensor:
        """log Z = log Σ_a Π potentials, [B], differentiable once in every potential."""
        result: Any = _LogPartition.apply(*self._potentials())
        return result

    def posteriors(self) -> ChainPosteriors:
        """Expected counts of every potential (no autograd)."""
        with torch.no_grad():
            log_z, trace = _forward(*self._potentials())
            return _backward(trace, log_z)

    def log_prob(self, alignment: Tensor) -> Tensor:
        """log p(a), [..., B], of alignments [..., B, J]."""
        return self.log_potential(alignment) - self.log_partition()

    def log_potential(self, alignment: Tensor) -> Tensor:
        """Sum of the log-potentials that alignments [..., B, J] use, [..., B]."""
        emission, transition, _, _, leave, final = self._potentials()
        mask, null = self._mask_and_null()
        n_batch, n_target, _ = emission.shape
        row = torch.arange(n_batch, device=emission.device)
        total = emission.new_zeros(alignment.shape[:-1])
        memory = torch.zeros_like(alignment[..., 0])
        for j in range(n_target):
            a = alignment[..., j]
            i = a.clamp_min(0)
            matrix = transition[:, j] if transition.dim() == 4 else transition
            jump = matrix[row, memory, i] if matrix.dim() == 3 else matrix[memory, i]
            if leave is not None:
                jump = jump + leave[row, memory]
            step = torch.where(a == NULL, null[:, j], jump + emission[row, j, i])
            total = total + torch.where(mask[:, j], step, 0.0)
            memory = torch.where((a == NULL) | ~mask[:, j], memory, i + 1)
        return total if final is None else total + final[row, memory]

    def mode(self) -> Tensor:
        """The best alignment argmax_a p(a) by Viterbi, [B, J]; NULL at padding."""
        with torch.no_grad():
            return self._viterbi()

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws a ~ p(a) by forward filtering, backward sampling: [S, B, J]."""
        with torch.no_grad():
            return self._sample(samples, generator)

    def enumerate_support(self) -> Tensor:
        """Every alignment, [(I+1)^J, 1, J]: the oracle of the tests, for small chains only."""
        _, n_target, n_source = self.log_emission.shape
        states = range(NULL, n_source)
        everything = list(itertools.product(states, repeat=n_target))
        return torch.tensor(everything, device=self.log_emission.device).unsqueeze(1)

    def _potentials(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Any, Any]:
        return (
            self.log_emission,
            self.log_transition,
            self.target_mask,
            self.log_null,
            self.log_leave,
            self.log_final,
        )

    def _mask_and_null(self) -> tuple[Tensor, Tensor]:
        """The mask and NULL potentials, spelt out where they were left to the defaults."""
        shape = self.log_emission.shape[:2]
        mask, null = self.target_mask, self.log_null
        if mask is None:
            mask = torch.ones(shape, dtype=torch.bool, device=self.log_emission.device)
        if null is None:
            null = self.log_emission.new_full(shape, LOG_ZERO)
        return mask, null

    def _log_jumps(self) -> Sequence[Tensor]:
        """log d(m) T_j(m, i), J times [1 or B, I+1, I]."""
        jump = self.log_transition
        if jump.dim() == 2:
            jump = jump.unsqueeze(0)
        if self.log_leave is not None:
            leave = self.log_leave.unsqueeze(-1)
            jump = jump + (leave.unsqueeze(1) if jump.dim() == 4 else leave)
        return _steps(_by_step(jump), self.log_emission.shape[1])

    def _viterbi(self) -> Tensor:
        mask, null = self._mask_and_null()
        null = torch.where(mask, null, 0.0)  # padding is a NULL that costs nothing
        jumps = self._log_jumps()
        n_batch, n_target, n_source = self.log_emission.shape
        best = self.log_emission.new_full((n_batch, n_source + 1), LOG_ZERO)
        best[:, 0] = 0.0  # [B, M]
        pointers: list[Tensor] = []  # memory before a jump into i; at [:, 0] there is none
        jumped: list[Tensor] = []
        for j in range(n_target):
            stay = best + null[:, j, None]
            score, pointer = (best.unsqueeze(-1) + jumps[j]).max(dim=1)  # [B, I]
            score = score + torch.where(mask[:, j, None], self.log_emission[:, j], LOG_ZERO)
            score, pointer = pad(score, (1, 0), value=LOG_ZERO), pad(pointer, (1, 0))
            jumped.append(score > stay)
            best = torch.maximum(score, stay)
            pointers.append(pointer)
        if self.log_final is not None:
            best = best + self.log_final
        memory = best.argmax(dim=1, keepdim=True)  # [B, 1]
        path: list[Tensor] = []
        for j in reversed(range(n_target)):
            moved = jumped[j].gather(1, memory)
            path.append(torch.where(moved, memory - 1, NULL))
            memory = torch.where(moved, pointers[j].gather(1, memory), memory)
        return torch.cat(path[::-1], dim=1)

    def _sample(self, samples: int, generator: torch.Generator | None) -> Tensor:
        _, trace = _forward(*self._potentials())
        n_target, n_batch, _n_memory = trace.alpha.shape
        row = torch.arange(n_batch, device=trace.alpha.device)
        weights = (trace.alpha[-1] * trace.final).expand(samples, -1, -1)  # [S, B, M]

        def draw(p: Tensor) -> Tensor:
            cumulative = p.cumsum(-1)
            uniform = torch.rand(
                (*p.shape[:-1], 1), generator=generator, device=p.device, dtype=p.dtype
            )
            index = (cumulative <= uniform * cumulative[..., -1:]).sum(-1)
            return index.clamp_max(p.shape[-1] - 1)

        memory = draw(weights)  # [S, B]
        path: list[Tensor] = []
        jumps = _steps(trace.transition, n_target)
        for j in reversed(range(n_target)):
            before = trace.before[j]  # [B, M]
            stay = before[row, memory] * (0.0 if trace.null is None else trace.null[j, :, 0])
            into = before if trace.leave is None else before * trace.leave
            jump = jumps[j].mT.expand(n_batch, -1, -1)
            column = jump[row, memory]  # [S, B, M]
            arrive = into * column * trace.emission[j, row, memory].unsqueeze(-1)
            choice = draw(torch.cat([stay.unsqueeze(-1), arrive], dim=-1))
            path.append(torch.where(choice == 0, NULL, memory - 1))
            memory = torch.where(choice == 0, memory, choice - 1)
        return torch.stack(path[::-1], dim=-1)


@dataclass(frozen=True)
class _Trace:
    """What the forward pass leaves behind, in linear space; M = I + 1 memories."""

    alphas: Tensor  # [J+1, B, M]  α_0 … α_J, scaled so that each row sums to one
    predicted: Tensor  # [J, B, M]  Σ_m α_{j-1}(m) d(m) T(m, i)
    scale: Tensor  # [J, B, 1]
    emission: Tensor  # [J, B, M]  column 0, the start, is 0
    null: Tensor | None  # [J, B, 1]  1 at padding: a NULL that costs nothing
    transition: Tensor  # [M, M], [B, M, M] or [J, B, M, M]  column 0 is 0
    leave: Tensor | None  # [B, M]
    final: Tensor  # [B, M]
    mask: Tensor | None  # [J, B, 1]

    @property
    def alpha(self) -> Tensor:
        """α_j, [J, B, M]."""
        return self.alphas[1:]

    @property
    def before(self) -> Tensor:
        """α_{j-1}, [J, B, M]."""
        return self.alphas[:-1]


def _forward(
    log_emission: Tensor,
    log_transition: Tensor,
    mask: Tensor | None,
    log_null: Tensor | None,
    log_leave: Tensor | None,
    log_final: Tensor | None,
) -> tuple[Tensor, _Trace]:
    """The forward recursion: log Z [B] and its trace."""
    n_batch, n_target, n_source = log_emission.shape
    shape = (n_target, n_batch, n_source + 1)
    tiny = torch.finfo(log_emission.dtype).tiny

    # Each step is scaled by its best emission, so that exp() cannot overflow.
    shift = log_emission.amax(-1)  # [B, J]
    if log_null is not None:
        shift = torch.maximum(shift, log_null)
    shift = torch.where(shift == LOG_ZERO, 0.0, shift)
    if mask is not None:
        shift = torch.where(mask, shift, 0.0)
    emission = log_emission.new_full(shape, LOG_ZERO)
    torch.sub(log_emission.transpose(0, 1), shift.t().unsqueeze(-1), out=emission[..., 1:])
    emission.exp_()
    null = None
    if log_null is not None:
        null = (log_null - shift).exp().t().unsqueeze(-1).contiguous()
    mask_steps = None if mask is None else mask.t().unsqueeze(-1)  # [J, B, 1]
    if mask_steps is not None:
        emission *= mask_steps
        null = torch.where(mask_steps, 0.0 if null is None else null, 1.0).to(emission)
    transition = _by_step(pad(log_transition.exp(), (1, 0)))  # [M, M], [B, M, M], [J, B, M, M]
    leave = None if log_leave is None else log_leave.exp()

    alphas = log_emission.new_empty(n_target + 1, *shape[1:])  # α_0 … α_J
    alphas[0] = 0.0
    alphas[0, :, 0] = 1.0
    predictions = torch.empty_like(emission)
    scales = log_emission.new_empty(n_target, n_batch, 1)
    alpha, weighted = alphas[0], torch.empty_like(alphas[0])
    nulls = [None] * n_target if null is None else null.unbind()
    # Column by column, a batch of small matrices is multiplied in half the time.
    by_column = transition.mT.contiguous().mT if transition.dim() == 3 else transition
    jumps = _steps(by_column, n_target)
    steps = zip(emission, nulls, jumps, predictions, alphas[1:], scales, strict=True)
    for e, n, jump, predicted, after, scale in steps:
        source = alpha if leave is None else torch.mul(alpha, leave, out=weighted)
        _vector_matrix(source, jump, predicted)
        torch.mul(predicted, e, out=after)
        if n is not None:
            after.addcmul_(alpha, n)
        torch.sum(after, -1, keepdim=True, out=scale)
        after.div_(scale.clamp_min_(tiny))
        alpha = after

    log_z = shift.sum(-1) + scales.log().sum(0).squeeze(-1)
    final = torch.ones_like(alpha)
    if log_final is not None:
        top = log_final.amax(-1)
        top = torch.where(top == LOG_ZERO, 0.0, top)
        final = (log_final - top.unsqueeze(-1)).exp()
        log_z = log_z + top + (alpha * final).sum(-1).log()
    log_z = torch.where((scales > tiny).all(0).squeeze(-1), log_z, LOG_ZERO)
    return log_z, _Trace(
        alphas, predictions, scales, emission, null, transition, leave, final, mask_steps
    )


def _backward(trace: _Trace, log_z: Tensor, weight: Tensor | None = None) -> ChainPosteriors:
    """The backward recursion: expected counts, each sentence weighted by ``weight`` [B]."""
    n_target = trace.alpha.shape[0]
    # What no path reaches (α = 0) is left out: its β may grow past all bounds, and 0 · ∞ is NaN.
    inverse_scale = trace.alpha.sign().div_(trace.scale)  # [J, B, M]
    emission = trace.emission * inverse_scale  # e_j(i) / c_j
    null = None if trace.null is None else trace.null * inverse_scale
    backward = _steps(trace.transition.mT, n_target)

    # β is scaled so that Σ_i α_j(i) β_j(i) is 1, or the sentence's weight: all that follows is
    # linear in it. A sentence of probability 0 gets weight 0.
    alive = (log_z > LOG_ZERO).to(log_z.dtype)
    total = torch.where(log_z > LOG_ZERO, (trace.alpha[-1] * trace.final).sum(-1), 1.0)
    start = (alive if weight is None else alive * weight) / total
    beta = trace.final * start.unsqueeze(-1)  # [B, M]
    final = trace.alpha[-1] * beta

    # In place: e_j β_j / c_j, the mass that arrives at j by a jump, and n_j β_j / c_j, that stays.
    arriving, stays, leaving = emission, null, torch.empty_like(emission)
    nothing = [None] * n_target
    staying = nothing if stays is None else stays.unbind()
    steps = zip(arriving.unbind(), leaving.unbind(), backward, staying, strict=True)
    for arrive, depart, jump_back, stay in reversed(list(steps)):
        arrive.mul_(beta)
        _vector_matrix(arrive, jump_back, depart)
        if trace.leave is not None:
            depart.mul_(trace.leave)
        beta = depart if stay is None else depart + stay.mul_(beta)

    before = trace.before
    gamma = (trace.predicted * arriving)[..., 1:].transpose(0, 1)  # [B, J, I]
    null_count = emission.new_zeros(emission.shape[:2])  # [J, B]
    if stays is not None:
        null_count = torch.linalg.vecdot(before, stays)
    if trace.mask is not None:
        null_count = null_count * trace.mask.squeeze(-1)
    leave_count = (before * leaving).sum(0)  # [B, M]
    weighted = before if trace.leave is None else before * trace.leave
    if trace.transition.dim() == 4:
        pairs = weighted.unsqueeze(3) * arriving.unsqueeze(2)  # [J, B, M, M]
    elif trace.transition.dim() == 3:
        pairs = torch.einsum("jbm,jbi->bmi", weighted, arriving)
    else:
        n_memory = weighted.shape[-1]
        pairs = weighted.reshape(-1, n_memory).t() @ arriving.reshape(-1, n_memory)
    transition = _by_step((pairs * trace.transition)[..., 1:])
    return ChainPosteriors(gamma, null_count.t(), log_z, transition, leave_count, final)


def _by_step(transition: Tensor) -> Tensor:
    """[B, J, M, ·] as [J, B, M, ·], or back; what all steps share stays as it is."""
    return transition.transpose(0, 1) if transition.dim() == 4 else transition


def _steps(transition: Tensor, n_target: int) -> Sequence[Tensor]:
    """The matrix [M, ·] or [B, M, ·] of each step."""
    return transition.unbind() if transition.dim() == 4 else [transition] * n_target


def _vector_matrix(vectors: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
    """[B, M] × ([M, M] or [B, M, M]) → [B, M]."""
    if matrix.dim() == 2:
        return torch.mm(vectors, matrix, out=out)
    torch.bmm(vectors.unsqueeze(1), matrix, out=out.unsqueeze(1))
    return out


class _LogPartition(torch.autograd.Function):
    """log Z whose gradient is the posterior. float32 (or float64) even under autocast."""

    @staticmethod
    def forward(ctx: Any, *potentials: Tensor | None) -> Tensor:
        emission = potentials[0]
        assert emission is not None
        dtype = torch.promote_types(emission.dtype, torch.float32)
        ctx.dtypes = [None if p is None else p.dtype for p in potentials]
        inputs = [
            p if p is None or p.dtype == torch.bool else p.detach().to(dtype) for p in potentials
        ]
        with torch.autocast(emission.device.type, enabled=False):
            log_z, trace = _forward(*inputs)  # type: ignore[arg-type]
        ctx.trace, ctx.log_z = trace, log_z
        return log_z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = gradients
        counts = _backward(ctx.trace, ctx.log_z, weight.to(ctx.log_z.dtype))
        ordered = (
            counts.emission,
            counts.transition,
            None,
            counts.null,
            counts.leave,
            counts.final,
        )
        return tuple(
            None if not needed or dtype is None or count is None else count.to(dtype)
            for count, dtype, needed in zip(ordered, ctx.dtypes, ctx.needs_input_grad, strict=True)
        )
