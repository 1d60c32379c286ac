"""Forward + backward of a hidden Markov chain, with gradients, in three ways, on one thread.

    python benchmarks/hmm_speed.py

Each way computes log Z of B chains over I states and J steps, summed over the batch, and its
gradient in all log-potentials (emissions [B, J, I]; transitions [I+1, I], row 0 the start):

    logsumexp       α_j(i) = e_j(i) + logsumexp_m (α_{j-1}(m) + T(m, i)), autograd: what
                    pytorch-struct's LogSemiring does
    shifted matmul  α_j = e_j + c + log(exp(α_{j-1} - c) · exp T), c = max α_{j-1}, autograd
    latentnlp       distributions/hidden_markov.py: linear space, hand-written backward

Times are medians of 50 passes after 10 to warm up. CPU and wall time agree on an idle machine; on a
shared one read the CPU time. The last two columns are the largest differences of value and gradient
from the first way in float64.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentnlp.distributions.hidden_markov import HiddenMarkov

WARM_UP, PASSES = 10, 50


@dataclass(frozen=True)
class Potentials:
    """log-potentials of B chains."""

    emission: Tensor  # [B, J, I]
    transition: Tensor  # [I+1, I], row 0 is the start
    null: Tensor  # [B, J]

    def leaves(self, dtype: torch.dtype) -> Potentials:
        """Copies that collect gradients."""

        def leaf(field: Tensor) -> Tensor:
            return field.detach().to(dtype, copy=True).requires_grad_()

        return Potentials(leaf(self.emission), leaf(self.transition), leaf(self.null))


def draw(batch: int, target: int, source: int, seed: int) -> Potentials:
    generator = torch.Generator().manual_seed(seed)

    def table(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).log_softmax(-1)

    return Potentials(
        emission=table(batch, target, source),
        transition=table(source + 1, source),
        null=torch.full((batch, target), 0.1).log(),
    )


def logsumexp(p: Potentials) -> Tensor:
    alpha = p.transition[0] + p.emission[:, 0]  # [B, I]
    for emission in p.emission.unbind(1)[1:]:
        alpha = emission + torch.logsumexp(alpha.unsqueeze(2) + p.transition[1:], dim=1)
    return alpha.logsumexp(1)


def shifted_matmul(p: Potentials) -> Tensor:
    transition = p.transition[1:].exp()
    alpha = p.transition[0] + p.emission[:, 0]  # [B, I]
    for emission in p.emission.unbind(1)[1:]:
        shift = alpha.detach().amax(1, keepdim=True)
        alpha = emission + shift + ((alpha - shift).exp() @ transition).log()
    return alpha.logsumexp(1)


def hidden_markov(p: Potentials) -> Tensor:
    return HiddenMarkov(p.emission, p.transition).log_partition()


def hidden_markov_null(p: Potentials) -> Tensor:
    return HiddenMarkov(p.emission, p.transition, log_null=p.null).log_partition()


WAYS: dict[str, Callable[[Potentials], Tensor]] = {
    "logsumexp + autograd (as pytorch-struct)": logsumexp,
    "shifted matmul + autograd": shifted_matmul,
    "latentnlp hidden_markov": hidden_markov,
    "latentnlp hidden_markov with NULL": hidden_markov_null,
}


def milliseconds(
    way: Callable[[Potentials], Tensor], potentials: Potentials
) -> tuple[float, float]:
    """Median CPU and wall time of one forward and backward pass."""
    cpu, wall = [], []
    for _ in range(WARM_UP + PASSES):
        p = potentials.leaves(torch.float32)
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        way(p).sum().backward()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return 1000 * statistics.median(cpu[WARM_UP:]), 1000 * statistics.median(wall[WARM_UP:])


def value_and_gradients(
    way: Callable[[Potentials], Tensor], potentials: Potentials, dtype: torch.dtype
) -> list[Tensor]:
    p = potentials.leaves(dtype)
    value = way(p)
    value.sum().backward()
    gradients = (leaf.grad for leaf in (p.emission, p.transition))
    return [value.detach().double(), *(g.double() for g in gradients if g is not None)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64, help="B (default 64)")
    parser.add_argument("--target", type=int, default=30, help="J (default 30)")
    parser.add_argument("--source", type=int, default=30, help="I (default 30)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    potentials = draw(options.batch, options.target, options.source, options.seed)
    exact = value_and_gradients(logsumexp, potentials, torch.float64)
    print(
        f"B={options.batch} J={options.target} I={options.source}, float32, one thread, "
        f"torch {torch.__version__}, {platform.machine()}\n\n"
        "| | CPU ms | wall ms | log Z off by | gradients off by |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    for name, way in WAYS.items():
        cpu, wall = milliseconds(way, potentials)
        cells = ["", ""]  # a chain with NULL has no other way to be compared with here
        if way is not hidden_markov_null:
            found = value_and_gradients(way, potentials, torch.float32)
            off = [float((a - b).abs().max()) for a, b in zip(found, exact, strict=True)]
            cells = [f"{off[0]:.1e}", f"{max(off[1:]):.1e}"]
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
