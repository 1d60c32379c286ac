"""Small discrete distributions, each with an oracle that lists its states by itertools."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product

State = tuple[int, ...]
"""z of one item, flattened; a tuple's parts one after the other."""

Item = list[Any]
"""One item's parameters, or its masks, as nested lists."""

Build = Callable[[Sequence[Tensor], Sequence[Tensor | None]], Discrete]


@dataclass(frozen=True, eq=False)
class Family:
    """Three latents, of which the parameters take those of ``latents``."""

    name: str
    shapes: tuple[tuple[int, ...], ...]  # of one item's parameters
    latents: tuple[slice, ...]
    build: Build
    oracle: Callable[[Item, Item], dict[State, float]]  # what is possible at all, and q of it

    def masks(self, mask: Tensor | None) -> list[Tensor | None]:
        return [None if mask is None else mask[..., where] for where in self.latents]


@dataclass(frozen=True)
class Case:
    family: Family
    parameters: list[Tensor]
    mask: Tensor | None
    batch_shape: tuple[int, ...]

    @property
    def q(self) -> Discrete:
        return self.family.build(self.parameters, self.family.masks(self.mask))

    def items(self) -> Iterator[tuple[tuple[int, ...], dict[State, float]]]:
        """Every item's index, and what the oracle says of it."""
        mask = torch.ones(*self.batch_shape, 3).bool() if self.mask is None else self.mask
        for item in product(*map(range, self.batch_shape)):
            parameters = [parameter[item].tolist() for parameter in self.parameters]
            masks = [mask[item][where].tolist() for where in self.family.latents]
            yield item, self.family.oracle(parameters, masks)

    def with_parameters(self, parameters: Sequence[Tensor]) -> Case:
        return Case(self.family, list(parameters), self.mask, self.batch_shape)

    def leaves(self) -> Case:
        return self.with_parameters([p.detach().clone().requires_grad_() for p in self.parameters])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_case(
    family: Family,
    batch_shape: tuple[int, ...] = (2, 3),
    padded: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """With padding: holes as well as ends, and one item of a batch of several is all padding."""
    generator = seeded(seed)
    parameters = [
        1.5 * torch.randn(*batch_shape, *shape, generator=generator, dtype=dtype)
        for shape in family.shapes
    ]
    mask = torch.rand(*batch_shape, 3, generator=generator) < 0.6
    if math.prod(batch_shape) > 1:
        mask.view(-1, 3)[0] = False
    mask.view(-1, 3)[-1] = torch.tensor([True, False, True])
    return Case(family, parameters, mask if padded else None, batch_shape)


def flat(q: Discrete, z: Latent) -> Tensor:
    """[M, *B, …] → [M, *B, D], of a tuple's parts one after the other."""
    parts = z if isinstance(z, tuple) else (z,)
    return torch.cat([part.flatten(1 + len(q.batch_shape)) for part in parts], -1)


def states(q: Discrete, z: Latent, item: tuple[int, ...]) -> list[State]:
    return [tuple(row) for row in flat(q, z)[(slice(None), *item)].int().tolist()]


# The oracles.


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softmax(logits: Sequence[float]) -> list[float]:
    weights = [math.exp(x - max(logits)) for x in logits]
    return [weight / sum(weights) for weight in weights]


def bits(mask: Sequence[bool]) -> Iterator[State]:
    return product(*[(0, 1) if here else (0,) for here in mask])


def one_hot(value: int | None, size: int) -> State:
    """All 0 at padding."""
    return tuple(int(v == value) for v in range(size))


def of_bernoulli(parameters: Item, masks: Item) -> dict[State, float]:
    (logits,), (mask,) = parameters, masks
    return {
        z: math.prod(
            sigmoid(x if bit else -x) for x, bit, here in zip(logits, z, mask, strict=True) if here
        )
        for z in bits(mask)
    }


def of_categorical(parameters: Item, masks: Item) -> dict[State, float]:
    (logits,), (mask,) = parameters, masks
    q, size = [softmax(row) for row in logits], len(logits[0])
    return {
        sum((one_hot(v, size) for v in values), ()): math.prod(
            row[v] for row, v in zip(q, values, strict=True) if v is not None
        )
        for values in product(*[range(size) if here else (None,) for here in mask])
    }


def of_markov(parameters: Item, masks: Item) -> dict[State, float]:
    (logits,), (mask,) = parameters, masks
    found = {}
    for z in bits(mask):
        q, before = 1.0, 0
        for row, bit, here in zip(logits, z, mask, strict=True):
            q *= sigmoid(row[before] if bit else -row[before]) if here else 1.0
            before = bit
        found[z] = q
    return found


def of_product(parameters: Item, masks: Item) -> dict[State, float]:
    first = of_bernoulli(parameters[:1], masks[:1])
    second = of_categorical(parameters[1:], masks[1:])
    return {z + w: p * q for z, p in first.items() for w, q in second.items()}


SECOND, THIRD = 2.0, ((1.0, -1.0, 0.0), (0.0, 2.0, -1.0))  # how layers depend on those before


def of_hierarchy(parameters: Item, masks: Item) -> dict[State, float]:
    found = {}
    for (a,), p in of_bernoulli(parameters[:1], masks[:1]).items():
        logits = [parameters[1][0] + SECOND * a]
        for (b,), q in of_bernoulli([logits], masks[1:2]).items():
            row = [c + a * x + b * y for c, x, y in zip(parameters[2][0], *THIRD, strict=True)]
            for w, r in of_categorical([[row]], masks[2:]).items():
                found[(a, b, *w)] = p * q * r
    return found


# What the oracles are for.


def hierarchy(parameters: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Hierarchy:
    def mask(n: int, z: Tensor) -> Tensor | None:
        own = masks[n]
        return None if own is None else own.expand(z.shape)

    def second(a: Tensor) -> Bernoulli:
        return Bernoulli(parameters[1] + SECOND * a, mask(1, a))

    def third(a: Tensor, b: Tensor) -> Categorical:
        of_a, of_b = (a.new_tensor(row) for row in THIRD)
        logits = parameters[2] + a[..., None] * of_a + b[..., None] * of_b
        return Categorical(logits, mask(2, a))

    return Hierarchy(Bernoulli(parameters[0], masks[0]), [second, third])


def pair(parameters: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Product:
    return Product(
        [Bernoulli(parameters[0], masks[0]), Categorical(parameters[1], masks[1])],
    )


ALL = (slice(0, 3),)
BERNOULLI = Family("bernoulli", ((3,),), ALL, lambda p, m: Bernoulli(p[0], m[0]), of_bernoulli)
CATEGORICAL = Family(
    "categorical", ((3, 3),), ALL, lambda p, m: Categorical(p[0], m[0]), of_categorical
)
MARKOV = Family("markov", ((3, 2),), ALL, lambda p, m: MarkovBernoulli(p[0], m[0]), of_markov)
PRODUCT = Family("product", ((2,), (1, 3)), (slice(0, 2), slice(2, 3)), pair, of_product)
HIERARCHY = Family(
    "hierarchy",
    ((1,), (1,), (1, 3)),
    (slice(0, 1), slice(1, 2), slice(2, 3)),
    hierarchy,
    of_hierarchy,
)
FAMILIES = (BERNOULLI, CATEGORICAL, MARKOV, PRODUCT, HIERARCHY)


# Tests of samples.


def normal_quantile(rate: float) -> float:
    """x with P(|N(0, 1)| > x) = rate."""
    low, high = 0.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erfc(middle / 2**0.5) > rate else (low, middle)
    return high


def check_frequencies(
    observed: dict[State, int], expected: dict[State, float], rate: float
) -> None:
    """Pearson's chi-square; a right sampler fails with a probability of about ``rate``.

    States of fewer than 10 expected draws are counted as one; of the impossible none may come.
    """
    samples = sum(observed.values())
    possible = {state for state, p in expected.items() if p > 0}
    assert set(observed) <= possible, "an impossible state was drawn"
    cells: dict[Any, list[float]] = {}
    for state in possible:
        cell = cells.setdefault(state if samples * expected[state] >= 10 else "rare", [0.0, 0.0])
        cell[0] += observed.get(state, 0)
        cell[1] += samples * expected[state]
    chi2 = sum((o - e) ** 2 / e for o, e in cells.values())
    degrees = len(cells) - 1
    if degrees == 0:
        return
    # Wilson and Hilferty (1931): the cube root of chi²/degrees is close to normal.
    cube_root, spread = (chi2 / degrees) ** (1 / 3), 2 / (9 * degrees)
    z = (cube_root - (1 - spread)) / spread**0.5
    assert z < normal_quantile(2 * rate), f"chi² {chi2:.1f} of {degrees} degrees of freedom"


def check_z(mean: float, expected: float, standard_error: float, rate: float) -> None:
    z = (mean - expected) / standard_error
    assert abs(z) < normal_quantile(rate), f"{mean} is not {expected}: z = {z:.1f}"


def check_same_distribution(x: Any, y: Any, rate: float) -> None:
    """Kolmogorov and Smirnov's test of two independent samples, which fails at about ``rate``."""
    x, y = np.sort(np.asarray(x)), np.sort(np.asarray(y))
    both = np.concatenate([x, y])
    below = [np.searchsorted(sample, both, side="right") / len(sample) for sample in (x, y)]
    distance = np.abs(below[0] - below[1]).max()
    critical = math.sqrt(-math.log(rate / 2) / 2 * (1 / len(x) + 1 / len(y)))
    assert distance < critical, f"distance {distance:.4f}, critical {critical:.4f}"
