"""Problems whose gradient is known exactly, and the z-test that an estimator must pass.

A problem is q and f with every parameter on a leaf. With ``replicas`` R the leaves have one more
axis in front, R equal copies on the batch axis: ONE backward then gives R draws of the gradient.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.categorical import Categorical
from latentnlp.distributions.discrete import Latent
from latentnlp.distributions.hard_concrete import HardConcrete
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.product import Product
from latentnlp.distributions.rectified import Rectified
from latentnlp.distributions.stretched_kumaraswamy import StretchedKumaraswamy
from latentnlp.estimators import Estimate, Estimator, make, make_baseline, names, takes
from latentnlp.estimators.baselines import VarianceNormalisation

REPLICAS = 40_000
FAILURE_RATE = 1e-6  # of one test, over all of its coordinates together
CONTEXT = 3  # D

ESTIMATORS = names()
BASELINES = names("latentnlp.estimators.baselines")


def build_of(name: str, package: str = "latentnlp.estimators") -> Any:
    return importlib.import_module(f"{package}.{name}").build


def says(name: str, words: str) -> bool:
    """Does the docstring of an estimator's file or class have these words?"""
    docs = [importlib.import_module(f"latentnlp.estimators.{name}").__doc__, build_of(name).__doc__]
    return words in " ".join(" ".join(doc or "" for doc in docs).split())


BIASED = {name for name in ESTIMATORS if says(name, "BIASED")}
OF_TERMS = {name for name in ESTIMATORS if says(name, "its terms apart")}  # what f gives
TAKE_BASELINES = [name for name in ESTIMATORS if takes(name, "baselines")]
DISCRETE = {"bernoulli", "categorical", "product", "markov", "hierarchy"}
CHAINS = {"markov", "hierarchy"}
REFUSED: dict[str, set[str]] = {
    "arm": DISCRETE - {"bernoulli"},
    "chain": DISCRETE - {"bernoulli", "markov"},
    "disarm": DISCRETE - {"bernoulli"},
    "enumeration": set(),
    "gumbel_softmax": CHAINS,
    "local_expectation": CHAINS,
    "local_signals": set(),
    "muprop": CHAINS,
    "nvil": set(),
    "ppo": set(),
    "rebar": CHAINS,
    "relax": CHAINS,
    "reparameterised": DISCRETE,
    "score_function": set(),
    "straight_through": CHAINS,
    "straight_through_gumbel": CHAINS,
    "top_categories": CHAINS,
    "vimco": set(),
}
"""The discrete families that an estimator refuses with a TypeError; of a new file it is tried."""

# Settings that only some files have, for seeds other than 0.
VARIANTS = {("top_categories", 1): {"categories": 2}, ("relax", 1): {"relax_f": False}}

PAIRED = {"markov", "kumaraswamy"}  # two parameters a latent


@dataclass(frozen=True)
class Case:
    """One family, the shape of its batch [*B] and its padding."""

    family: str
    lead: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ((3,),)  # of the logits of one item
    masks: tuple[Any, ...] = (None,)


CASES = {
    "bernoulli": Case("bernoulli"),
    "one": Case("bernoulli", (1,), ((1,),)),
    "shaped": Case("bernoulli", (2, 3), ((1,),)),
    "padded": Case("bernoulli", (3,), masks=([[1, 1, 1], [1, 1, 0], [0, 0, 0]],)),
    "categorical": Case("categorical", shapes=((2, 3),)),
    "padded categorical": Case("categorical", (2,), ((2, 3),), ([[1, 0], [1, 1]],)),
    "product": Case("product", (2,), ((2,), (1, 3)), ([[1, 1], [1, 0]], None)),
    "markov": Case("markov", (2,), ((3, 2),), ([[1, 1, 1], [1, 0, 0]],)),
    "hierarchy": Case("hierarchy", shapes=((2,), (1, 3))),
    "hard concrete": Case("hard concrete", (2,), ((2,),), ([[1, 1], [1, 0]],)),
    "kumaraswamy": Case("kumaraswamy", shapes=((2, 2),)),
}
PADDED = [name for name, case in CASES.items() if any(case.masks)]


@functools.cache
def accepts(name: str, case: str) -> bool:
    family = CASES[case].family
    if family not in DISCRETE:
        return name == "reparameterised"
    if name in REFUSED:
        return family not in REFUSED[name]
    try:
        on = problem(case, replicas=2)
        run(estimator(name, on), name, on)
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class Problem:
    """q, f and what they are made of."""

    q: Any
    logits: list[Tensor]  # [*B, …], one tensor a factor or layer
    masks: list[Tensor | None]
    link: Tensor | None  # [*B, N, N', V]: what a layer does to the next one
    weights: list[Tensor]  # of f, of the shapes of z's parts
    offsets: Tensor  # of f, [*B, N]
    context: Tensor  # [*B, D]
    scale: float
    calls: list[int] = field(default_factory=list)  # the evaluations of f

    @property
    def leaves(self) -> list[Tensor]:
        own = [*self.logits, *self.weights, self.offsets]
        return own if self.link is None else [*own, self.link]

    @property
    def size(self) -> int:
        """How many numbers an item's z has."""
        return sum(weight.flatten(len(self.q.batch_shape)).shape[-1] for weight in self.weights)

    def terms(self, z: Latent) -> Tensor:
        """f_n = g_n² + cos g_n, [S, *B, N], g_n = u_n + u_{n−1} + a_n, u_n = z_nᵀ(w_n + l_n / 5).

        f reads q's logits too, as the −log q of a bound does, and is smooth in z.
        """
        parts = z if isinstance(z, tuple) else (z,)
        self.calls.append(parts[0].shape[0])
        axes = len(self.q.batch_shape) + 2
        features = []
        for part, weight, logits in zip(parts, self.weights, self.logits, strict=True):
            logits = logits[..., 0] if logits.dim() > weight.dim() else logits
            u = part * (weight + logits / 5)
            features.append(u if u.dim() == axes else u.sum(-1))
        u = torch.cat(features, -1)
        g = u + self.offsets
        g = g + torch.cat([torch.zeros_like(u[..., :1]), u[..., :-1]], -1)
        return self.scale * (g.square() + g.cos())

    def f(self, z: Latent) -> Tensor:
        return self.terms(z).sum(-1)


def problem(
    case: str,
    seed: int = 0,
    replicas: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    padding: float | None = None,
    scale: float = 1.0,
    spread: float = 0.0,
) -> Problem:
    """The problem of a case and a seed.

    padding: the logits there; scale: f is that much smaller; spread: how far replicas differ.
    """
    about = CASES[case]
    generator = torch.Generator().manual_seed(1000 + seed)
    copies = () if replicas is None else (replicas,)

    def leaf(*shape: int) -> Tensor:
        return torch.randn(*about.lead, *shape, generator=generator, dtype=torch.float64)

    def ready(base: Tensor) -> Tensor:
        leaf = base.expand(*copies, *base.shape).clone()
        if spread:
            leaf += spread * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        return leaf.to(dtype).to(device).requires_grad_()

    masks = [None if mask is None else torch.tensor(mask, dtype=torch.bool) for mask in about.masks]
    masks += [None] * (len(about.shapes) - len(masks))
    logits = [leaf(*shape) for shape in about.shapes]
    if padding is not None:
        for own, mask in zip(logits, masks, strict=True):
            if mask is not None:
                own[~mask] = padding
    of_z = [shape[:-1] if about.family in PAIRED else shape for shape in about.shapes]
    weights = [leaf(*shape) for shape in of_z]
    latents = sum(shape[0] for shape in of_z)
    offsets = leaf(latents) + 1
    link = leaf(*about.shapes[0], *about.shapes[1]) if about.family == "hierarchy" else None
    context = torch.randn(*copies, *about.lead, CONTEXT, generator=generator, dtype=torch.float64)

    logits = [ready(own) for own in logits]
    link = None if link is None else ready(link)
    copied = [
        None if mask is None else mask.expand(*copies, *mask.shape).to(device) for mask in masks
    ]
    return Problem(
        q=distribution(about.family, logits, copied, link),
        logits=logits,
        masks=copied,
        link=link,
        weights=[ready(weight) for weight in weights],
        offsets=ready(offsets),
        context=context.to(dtype).to(device).requires_grad_(),
        scale=scale,
    )


def distribution(
    family: str, logits: list[Tensor], masks: list[Tensor | None], link: Tensor | None
) -> Any:
    if family == "bernoulli":
        return Bernoulli(logits[0], masks[0])
    if family == "categorical":
        return Categorical(logits[0], masks[0])
    if family == "markov":
        return MarkovBernoulli(logits[0], masks[0])
    if family == "hard concrete":
        return HardConcrete(logits[0], masks[0])
    if family == "kumaraswamy":
        return StretchedKumaraswamy(*logits[0].exp().unbind(-1), masks[0])
    if family == "product":
        return Product([Bernoulli(logits[0], masks[0]), Categorical(logits[1], masks[1])])
    assert family == "hierarchy" and link is not None

    def below(z: Tensor) -> Categorical:
        return Categorical(logits[1] + (z[..., None, None] * link).sum(-3))

    return Hierarchy(Bernoulli(logits[0], masks[0]), [below])


def reshaped(of: Problem, case: str, lead: tuple[int, ...]) -> Problem:
    """The same items, with ``lead`` in place of the first axis of the batch."""

    def again(leaf: Tensor) -> Tensor:
        return leaf.detach().reshape(*lead, *leaf.shape[1:]).clone().requires_grad_()

    logits = [again(own) for own in of.logits]
    masks = [None if m is None else m.reshape(*lead, *m.shape[1:]) for m in of.masks]
    link = None if of.link is None else again(of.link)
    return dataclasses.replace(
        of,
        q=distribution(CASES[case].family, logits, masks, link),
        logits=logits,
        masks=masks,
        link=link,
        weights=[again(weight) for weight in of.weights],
        offsets=again(of.offsets),
        context=again(of.context),
    )


# Estimators and baselines, by the names of their files: "score_function+neural+leave_one_out".


def settings(build: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Those of the offered settings that the file's `build` has."""
    known = inspect.signature(build).parameters
    return {name: value for name, value in offered.items() if name in known}


def estimator(spec: str, for_: Problem, seed: int = 0) -> Any:
    """With ``seed`` + 1 samples, or one more where these are too few; baselines after a "+".

    Its parameters are not those of the start, at which many a control variate is silent.
    """
    name, *baselines = spec.split("+")
    offered: dict[str, Any] = {"latents": for_.size, "context_size": CONTEXT, "hidden": 8}
    if baselines:
        offered["baselines"] = [baseline(one, for_) for one in baselines]
    own = settings(build_of(name), offered) | VARIANTS.get((name, seed), {})
    samples = settings(build_of(name), {"samples": seed + 1 + (name == "vimco")})
    return trained(make(name, **own, **samples), for_, seed)


def baseline(name: str, for_: Problem) -> Any:
    """optimal_coefficient has one b* for all latents, "optimal_coefficient:each" one for each."""
    name, _, each = name.partition(":")
    offered = {"context_size": CONTEXT, "hidden": 8}
    offered |= {"latents": for_.offsets.shape[-1]} if each else {}
    build = build_of(name, "latentnlp.estimators.baselines")
    return make_baseline(name, **settings(build, offered))


ALL_BASELINES = [*BASELINES, "optimal_coefficient:each"]
REFUSED_BASELINES = {"muprop+variance_normalisation", "ppo+optimal_coefficient:each"}
WITH_BASELINES = [
    f"{name}+{one}"
    for name in TAKE_BASELINES
    for one in ALL_BASELINES
    if f"{name}+{one}" not in REFUSED_BASELINES
]


def trained(module: nn.Module, for_: Problem, seed: int = 0) -> Any:
    """Of the problem's type and device, with parameters moved away from the start."""
    generator = torch.Generator().manual_seed(2000 + seed)
    module = module.to(for_.offsets.device, for_.offsets.dtype)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += 0.3 * noise.to(parameter)
    return module


def warmed(spec: str, case: str, seed: int = 0, **of: Any) -> Any:
    """The estimator, with a state made of past values."""
    built = estimator(spec, problem(case, seed, **of), seed)
    for step in range(3):
        run(built, spec, problem(case, seed, replicas=16, **of), 100 * seed + step)
    return built


def run(estimator: Estimator, spec: str, on: Problem, seed: int = 0) -> Estimate:
    on_host = on.offsets.device.type == "cpu"
    generator = torch.Generator().manual_seed(seed) if on_host else None
    f = on.terms if spec.split("+")[0] in OF_TERMS else on.f
    return estimator(on.q, f, on.context, generator)


# The truth.


@dataclass(frozen=True)
class Truth:
    """E_q f, its gradient through q alone, and that through f alone, with respect to the leaves."""

    value: Tensor
    score: list[Tensor]
    path: list[Tensor]

    def gradient(self, step: float = 1.0) -> list[Tensor]:
        """``step``: what an estimator multiplies the gradient through q with."""
        return [step * score + path for score, path in zip(self.score, self.path, strict=True)]


def gradients(output: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """∂ Σ output / ∂ leaf, 0 where there is no way."""
    if not leaves or not output.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(
        output.sum(), list(leaves), retain_graph=True, materialize_grads=True
    )
    return list(found)


@functools.cache
def truth(case: str, seed: int, scale: float = 1.0) -> Truth:
    """Σ_z q(z) f(z) and its gradient."""
    of = problem(case, seed, scale=scale)
    z, log_q = support(of)
    return _truth(of, log_q, of.f(z))


def support(of: Problem) -> tuple[Latent, Tensor]:
    """Every z and log q(z); of a rectified q, both atoms and a quadrature of what is between."""
    if not isinstance(of.q, Rectified):
        return of.q.enumerate_support()
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(32))
    points = torch.cat([torch.tensor([0.0, 1.0]), (nodes + 1) / 2])
    log_w = torch.cat([torch.zeros(2), (weights / 2).log()])
    *batch, n = of.q.shape
    grid = torch.tensor(list(itertools.product(range(len(points)), repeat=n)))  # [M, N]
    grid = grid.reshape(-1, *[1] * len(batch), n).expand(-1, *batch, n)
    z, log_w = points[grid], log_w[grid].sum(-1)
    if of.q.mask is not None:  # padding is 0
        log_w = log_w.masked_fill(((z > 0) & ~of.q.mask).any(-1), float("-inf"))
    return z, of.q.log_prob(z) + log_w


@functools.cache
def truth_of_bound(case: str, seed: int, samples: int) -> Truth:
    """L_K = Σ_{z_1 … z_K} Π_k q(z_k) log 1/K Σ_k exp f(z_k), by enumeration of the K-tuples."""
    of = problem(case, seed)
    z, log_q = of.q.enumerate_support()
    log_w = of.f(z)
    tuples = torch.tensor(list(itertools.product(range(len(log_w)), repeat=samples)))  # [M^K, K]
    bound = log_w[tuples].logsumexp(1) - math.log(samples)
    return _truth(of, log_q[tuples].sum(1), bound)


def _truth(of: Problem, log_q: Tensor, f_z: Tensor) -> Truth:
    score = gradients((log_q.exp() * f_z.detach()).sum(0), of.leaves)
    path = gradients((log_q.exp().detach() * f_z).sum(0), of.leaves)
    return Truth((log_q.exp() * f_z).sum(0).detach(), score, path)


def step_length(estimator: nn.Module) -> float:
    """1 / max(1, σ): what variance normalisation makes of the gradient through q."""
    step = 1.0
    for module in estimator.modules():
        if isinstance(module, VarianceNormalisation):
            step /= module.scale(torch.zeros((), dtype=torch.float64)).item()
    return step


# The test.


@dataclass(frozen=True)
class ZTest:
    """|z| of every coordinate of a mean over replicas against the truth.

    z is standard normal for the right mean. ``passed`` wrongly says no at `FAILURE_RATE` a test
    (Bonferroni over the coordinates).
    """

    z: Tensor

    @property
    def critical(self) -> float:
        tail = torch.tensor(FAILURE_RATE / 2 / max(self.z.numel(), 1), dtype=torch.float64)
        return -torch.special.ndtri(tail).item()

    @property
    def worst(self) -> float:
        return self.z.max().item()

    @property
    def passed(self) -> bool:
        return self.worst < self.critical  # NaN is no pass


def z_test(draws: Sequence[Tensor], exact: Sequence[Tensor]) -> ZTest:
    """draws: [R, …], independent; exact: […]."""
    found = []
    for draw, mean in zip(draws, exact, strict=True):
        error = (draw.mean(0) - mean).abs()
        # What has no variance must be equal, but for rounding.
        error = (error - 1e-9 * (1 + mean.abs())).clamp(min=0)
        deviation = draw.std(0) / math.sqrt(draw.shape[0])
        found.append((error / deviation.clamp(min=1e-12)).flatten())
    return ZTest(torch.cat(found))


def z_test_of(built: Estimator, spec: str, case: str, seed: int, scale: float = 1.0) -> ZTest:
    """Every coordinate of the gradients of q and of f, and the value, at R replicas."""
    on = problem(case, seed, REPLICAS, scale=scale)
    if spec == "vimco":
        known = truth_of_bound(case, seed, built.samples)
    else:
        known = truth(case, seed, scale)
    step = step_length(built)  # of the state before the call
    estimate = run(built, spec, on, 10 + seed)
    draws = gradients(estimate.surrogate, on.leaves)
    return z_test([*draws, estimate.value], [*known.gradient(step), known.value])
