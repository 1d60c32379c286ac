"""Variance of the gradient and cost per step of every estimator of latentnlp.estimators.

    python benchmarks/estimators.py --documents DIR --sentences DIR --out FOLDER [--peers]

    toy         ∇ E[(z − 0.499)²], one Bernoulli: the toy of REBAR and RELAX
    belief      a sigmoid belief network on documents, one layer of 32 latents, softmax over words
    belief-2    the same with a second layer of 16 latents, q(z₁ | x) q(z₂ | z₁)
    rationale   a selector of words (CNN, one Bernoulli a word) and a predictor that reads no others
    six         a net of six latents; its trace list, and the bias of wake-φ

The second and third need ``--documents`` (a folder with train.ldac or train.ldac.gz and vocab.txt),
the fourth ``--sentences`` (train.jsonl or train.jsonl.gz); without it they are left out. The models
are trained here, by leave-one-out on four samples, and looked at at the start, the middle and the
end of that: D items are held fixed and each is replicated R times on the batch axis, so that one
backward gives R draws of the gradient of every item.

    variance    trace of the covariance of the gradient with respect to q's logits (of the second
                layer: its biases), averaged over the items
    CPU ms      median of one step on 64 items: draw, f, surrogate, backward to q's logits and to
                f's parameters, the baseline's own backward; process time, one thread. The network
                that makes the logits is the same for all and is not in it.
    bias²       |mean gradient − that of local_expectation|², less what noise explains

State (baselines, η, λ, critics) is first trained at the fixed point, then frozen. ``--peers`` adds
storchastic 0.3.7 and pyro-ppl 1.9.2 where they have the same estimator; see _estimator_peers.py.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import _estimator_peers as peers
import _measure
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from latentnlp.data.documents import Document, read_documents
from latentnlp.data.textfiles import read_lines
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.discrete import Discrete, masked, tensor_of
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.errors import UserError
from latentnlp.estimators import Estimate, Objective, make, make_baseline
from latentnlp.estimators._contract import with_gradient
from latentnlp.estimators.baselines import LeaveOneOut, VarianceNormalisation
from latentnlp.estimators.score_function import ScoreFunction
from latentnlp.estimators.vimco import log_mean_exp
from latentnlp.report.page import escape

ITEMS = 8  # D, held fixed
STEP_ITEMS = 64  # of a timed step and of a step of warming up
AVERAGED, TRAINED, RATE = 60, 150, 0.03  # steps of running means, of Adam on the own loss; rate
REPEATS = 30
DUST = 1e-11  # a variance that float32's rounding alone may make
POINTS = ("start", "middle", "late")


# --- problems -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """q(z) and f(z) at one point of training, for D items. f takes z [S, *B, D, N]."""

    logits: Tensor  # [D, N]
    context: Tensor  # [D, C], what a neural baseline reads
    weights: tuple[Tensor, ...] = ()  # f's own parameters
    mask: Tensor | None = None  # [D, N]
    name: str = ""
    point: str = ""
    chunk: int = 16384  # evaluations of f at a time, so that they fit the cache
    per_item: ClassVar[tuple[str, ...]] = ("logits", "context", "mask")

    @property
    def latents(self) -> int:
        return self.logits.shape[-1]

    @property
    def factored(self) -> bool:
        return True

    def items(self, index: Tensor) -> Problem:
        """The problem of other (or repeated) items."""
        taken = {name: getattr(self, name) for name in self.per_item}
        return replace(self, **{k: v[index] for k, v in taken.items() if v is not None})

    def leaves(self, replicas: int) -> list[Tensor]:
        """Copies of q's logits, one a replica: [R, D, N]."""
        return [self.logits.expand(replicas, *self.logits.shape).clone().requires_grad_()]

    def q(self, leaves: Sequence[Tensor]) -> Discrete:
        logits = leaves[0]
        return Bernoulli(logits, None if self.mask is None else self.mask.expand_as(logits))

    def f(self, leaves: Sequence[Tensor]) -> Objective:
        """What is estimated; log q in it is a number, since E ∇log q = 0."""
        raise NotImplementedError

    def terms(self, leaves: Sequence[Tensor]) -> Objective:
        """f's terms apart, [S, *B, D, M], for local signals."""
        raise NotImplementedError

    def depends(self) -> Tensor:
        """Which latent [N] which term [M] depends on."""
        raise NotImplementedError

    def bound(self, leaves: Sequence[Tensor]) -> Objective:
        """log w of the multi-sample bound, where log q is differentiated too."""
        return self.f(leaves)


class Toy(Problem):
    def f(self, leaves: Sequence[Tensor]) -> Objective:
        return lambda z: (z - 0.499).square().sum(-1)  # type: ignore[union-attr,operator]

    def terms(self, leaves: Sequence[Tensor]) -> Objective:
        return lambda z: (z - 0.499).square()  # type: ignore[union-attr,operator]

    def depends(self) -> Tensor:
        return torch.ones(1, 1, dtype=torch.bool)


@dataclass(frozen=True)
class Elbo(Problem):
    """f = log p(x | z) + log p(z) − log q(z), z independent under prior and q."""

    x: Tensor = field(default_factory=lambda: torch.zeros(0))  # [D, V]
    per_item: ClassVar[tuple[str, ...]] = ("logits", "context", "mask", "x")

    def log_likelihood(self, z: Tensor) -> Tensor:
        """log p(x | z), [S, *B, D], but for what does not depend on z."""
        raise NotImplementedError

    def log_ratio(self, z: Tensor, logits: Tensor) -> Tensor:
        """log p(z_n) − log q(z_n); linear in z, so defined for relaxed z."""
        prior = self.weights[0]
        return z * (prior - logits) - softplus(prior) + softplus(logits)

    def f(self, leaves: Sequence[Tensor]) -> Objective:
        logits = leaves[0].detach()
        return lambda z: self.log_likelihood(z) + self.log_ratio(z, logits).sum(-1)  # type: ignore[arg-type]

    def bound(self, leaves: Sequence[Tensor]) -> Objective:
        return lambda z: self.log_likelihood(z) + self.log_ratio(z, leaves[0]).sum(-1)  # type: ignore[arg-type]

    def terms(self, leaves: Sequence[Tensor]) -> Objective:
        logits = leaves[0].detach()

        def terms(z: Any) -> Tensor:
            return torch.cat([self.log_likelihood(z)[..., None], self.log_ratio(z, logits)], -1)

        return terms

    def depends(self) -> Tensor:
        n = self.latents
        return torch.cat([torch.ones(n, 1), torch.eye(n)], -1).bool()


class Six(Elbo):
    """p(x | z) = Π_d Bernoulli(x_d; σ(W z + b)_d)."""

    def log_likelihood(self, z: Tensor) -> Tensor:
        _, weight, bias = self.weights
        scores = z @ weight + bias
        return (self.x * scores - softplus(scores)).sum(-1)


class Belief(Elbo):
    """log p(x | z) = Σ_v x_v log softmax(W z + b)_v."""

    def log_likelihood(self, z: Tensor) -> Tensor:
        return words(self.x, z, *self.weights[1:3])


def words(x: Tensor, z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x · log softmax(z W + b); x · (z W) is (x Wᵀ) · z, which is cheaper."""
    seen = (z * (x @ weight.T)).sum(-1) + x @ bias
    return seen - x.sum(-1) * (z @ weight + bias).logsumexp(-1)


@dataclass(frozen=True)
class Belief2(Elbo):
    """Two layers: p(z₂) p(z₁ | z₂) p(x | z₁), q(z₁ | x) q(z₂ | z₁). ``context``: [D, C]."""

    upper: tuple[Tensor, Tensor] = (torch.zeros(0), torch.zeros(0))  # A, a of q(z₂ | z₁)

    @property
    def latents(self) -> int:
        return self.logits.shape[-1] + self.upper[1].shape[-1]

    @property
    def factored(self) -> bool:
        return False

    def leaves(self, replicas: int) -> list[Tensor]:
        bias = self.upper[1].expand(replicas, self.logits.shape[0], -1)
        return [*super().leaves(replicas), bias.clone().requires_grad_()]

    def q(self, leaves: Sequence[Tensor]) -> Discrete:
        return Hierarchy(Bernoulli(leaves[0]), [lambda z: Bernoulli(z @ self.upper[0] + leaves[1])])

    def f(self, leaves: Sequence[Tensor]) -> Objective:
        terms = self.terms(leaves)
        return lambda z: terms(z).sum(-1)

    def bound(self, leaves: Sequence[Tensor]) -> Objective:
        terms = self._terms(*leaves)
        return lambda z: terms(z).sum(-1)

    def terms(self, leaves: Sequence[Tensor]) -> Objective:
        return self._terms(*(leaf.detach() for leaf in leaves))

    def _terms(self, first: Tensor, second: Tensor) -> Objective:
        """log p(x | z₁); −log q(z₁ₙ | x); log p(z₁ₙ | z₂); log p(z₂ₘ) − log q(z₂ₘ | z₁)."""

        def terms(z: Any) -> Tensor:
            lower, upper = z
            prior, weight, bias, down, own = self.weights
            given = upper @ down + own
            likelihood = words(self.x, lower, weight, bias)[..., None]
            entropy = softplus(first) - lower * first
            between = lower * given - softplus(given)
            above = lower @ self.upper[0] + second
            top = upper * (prior - above) - softplus(prior) + softplus(above)
            return torch.cat([likelihood, entropy.expand_as(lower), between, top], -1)

        return terms

    def depends(self) -> Tensor:
        n, m = self.logits.shape[-1], self.latents - self.logits.shape[-1]
        one = torch.ones
        lower = torch.cat([one(n, 1), torch.eye(n), one(n, n), one(n, m)], -1)
        upper = torch.cat([torch.zeros(m, 1 + n), one(m, n), torch.eye(m)], -1)
        return torch.cat([lower, upper]).bool()


@dataclass(frozen=True)
class Rationale(Problem):
    """f = log p(y | x, z) − 0.002 Σ_t (z_t + |z_t − z_{t−1}|); y from the selected words' sum."""

    tokens: Tensor = field(default_factory=lambda: torch.zeros(0))  # [D, T]
    label: Tensor = field(default_factory=lambda: torch.zeros(0))  # [D]
    per_item: ClassVar[tuple[str, ...]] = ("logits", "context", "mask", "tokens", "label")

    def log_likelihood(self, z: Tensor) -> Tensor:
        table, weight, bias, out, last = self.weights
        seen = torch.einsum("...dt,dth->...dh", z, table[self.tokens])
        scores = ((seen @ weight + bias).tanh() @ out + last).log_softmax(-1)
        index = self.label.expand(scores.shape[:-1])[..., None]
        return scores.gather(-1, index).squeeze(-1)

    def f(self, leaves: Sequence[Tensor]) -> Objective:
        def f(z: Any) -> Tensor:
            turns = (z[..., 1:] - z[..., :-1]).abs().sum(-1)
            return self.log_likelihood(z) - 0.002 * (z.sum(-1) + turns)

        return f

    def terms(self, leaves: Sequence[Tensor]) -> Objective:
        def terms(z: Any) -> Tensor:
            turns = (z[..., 1:] - z[..., :-1]).abs()
            return torch.cat([self.log_likelihood(z)[..., None], -0.002 * z, -0.002 * turns], -1)

        return terms

    def depends(self) -> Tensor:
        n = self.latents
        turns = torch.eye(n)[:, 1:] + torch.eye(n)[:, :-1]
        return torch.cat([torch.ones(n, 1), torch.eye(n), turns], -1).bool()


# --- training the problems ----------------------------------------------------------------------


def toy(generator: torch.Generator) -> Iterator[Problem]:
    """By the exact gradient: E f falls as the logit does."""
    logits = torch.zeros(1, 1, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.02)
    for step in range(201):
        problem = Toy(logits.detach().clone(), torch.ones(1, 1), name="toy")
        if step in (0, 75, 200):
            yield replace(problem, point=POINTS[(0, 75, 200).index(step)])
        leaf = [logits]
        adam.zero_grad()
        make("enumeration")(problem.q(leaf), problem.f(leaf)).surrogate.sum().backward()
        adam.step()


class Network(nn.Module):
    """What makes a problem of a minibatch; `weights` are those of f."""

    def problem(self, *batch: Tensor) -> Problem:
        raise NotImplementedError


class BeliefNetwork(Network):
    def __init__(self, frequency: Tensor, lower: int = 32, upper: int = 0) -> None:
        super().__init__()
        self.encoder, self.first = nn.Linear(len(frequency), 64), nn.Linear(64, lower)
        self.decoder = nn.Linear(lower, len(frequency))
        self.decoder.bias.data = frequency.log()
        self.prior = nn.Parameter(torch.zeros(upper or lower))
        self.up = nn.Linear(lower, upper) if upper else None
        self.down = nn.Linear(upper, lower) if upper else None

    def problem(self, *batch: Tensor) -> Problem:
        (x,) = batch
        hidden = self.encoder((1 + x).log()).tanh()
        logits, weights = self.first(hidden), (self.prior, self.decoder.weight.T, self.decoder.bias)
        if self.up is None or self.down is None:
            return Belief(logits, hidden.detach(), weights, name="belief", chunk=4096, x=x)
        weights = (*weights, self.down.weight.T, self.down.bias)
        upper = (self.up.weight.T, self.up.bias)
        return Belief2(
            logits, hidden.detach(), weights, name="belief-2", chunk=4096, x=x, upper=upper
        )


class Extractor(Network):
    def __init__(self, words: int, classes: int, size: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, size)
        self.convolution, self.select = nn.Conv1d(size, size, 3, padding=1), nn.Linear(size, 1)
        self.words = nn.Embedding(words, size)
        self.hidden, self.out = nn.Linear(size, size), nn.Linear(size, classes)

    def problem(self, *batch: Tensor) -> Problem:
        tokens, label = batch
        mask = tokens > 0
        hidden = self.embedding(tokens).transpose(1, 2)
        hidden = masked(self.convolution(hidden).relu().transpose(1, 2), mask[..., None])
        mean = hidden.sum(1) / mask.sum(1, keepdim=True)
        weights = (self.words.weight, self.hidden.weight.T, self.hidden.bias)
        weights = (*weights, self.out.weight.T, self.out.bias)
        logits = self.select(hidden).squeeze(-1)
        return Rationale(
            logits, mean.detach(), weights, mask, "rationale", tokens=tokens, label=label
        )


def train(
    network: Network,
    data: Sequence[Tensor],
    shown: Tensor,
    points: Sequence[int],
    generator: torch.Generator,
) -> Iterator[Problem]:
    """Yields the problem of the items ``shown`` after so many steps of leave-one-out, S = 4."""
    estimator = ScoreFunction(4, [LeaveOneOut()])
    adam = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(points[-1] + 1):
        if step in points:
            with torch.no_grad():
                problem = copy.deepcopy(network).problem(*(part[shown] for part in data))
            yield replace(problem, point=POINTS[points.index(step)])
        index = torch.randint(len(data[0]), (64,), generator=generator)
        problem = network.problem(*(part[index] for part in data))
        leaves = [problem.logits]
        if isinstance(problem, Belief2):
            leaves.append(problem.upper[1])
        # Here log q must be differentiable in nothing but the score: f holds it as a number.
        estimate = estimator(problem.q(leaves), problem.f(leaves), generator=generator)
        adam.zero_grad()
        (-estimate.surrogate.mean()).backward()
        adam.step()


def belief(folder: Path, upper: int, generator: torch.Generator) -> Iterator[Problem]:
    x = read_ldac(folder)
    x = x[(x.sum(-1) >= 20) & (x.sum(-1) <= 200)][:6000]
    network = BeliefNetwork((x.sum(0) + 1) / (x.sum() + x.shape[1]), upper=upper)
    shown = torch.randperm(len(x), generator=generator)[:ITEMS]
    return train(network, [x], shown, (0, 100, 400), generator)


def rationale(folder: Path, generator: torch.Generator) -> Iterator[Problem]:
    documents = [d for d in read_documents(_either(folder, "train.jsonl")) if len(d.tokens) <= 30]
    tokens, labels = numbered(documents)
    network = Extractor(int(tokens.max()) + 1, int(labels.max()) + 1)
    shown = torch.randperm(len(tokens), generator=generator)[:ITEMS]
    return train(network, [tokens, labels], shown, (0, 200, 800), generator)


def six(generator: torch.Generator) -> Six:
    """D = 1; ten visible bits x ~ Bernoulli(½); W ~ N(0, 9); b, l and λ ~ N(0, 1)."""

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    weights = (normal(6), normal(6, 10, scale=3.0), normal(10))
    x = torch.rand((1, 10), generator=generator).round()
    return Six(normal(1, 6), torch.ones(1, 1), weights, name="six", point="fixed", x=x)


def read_ldac(folder: Path) -> Tensor:
    """Word counts [documents, vocabulary] of train.ldac: lines of "types id:count id:count …"."""
    path = _either(folder, "train.ldac")
    size = sum(1 for _ in read_lines(folder / "vocab.txt"))
    rows, columns, counts = [], [], []
    for number, text in read_lines(path):
        try:
            pairs = [tuple(map(int, pair.split(":"))) for pair in text.split()[1:]]
            for word, count in pairs:
                rows.append(number - 1)
                columns.append(word)
                counts.append(float(count))
            if any(not 0 <= word < size for word, _ in pairs):
                raise ValueError(f"word numbers must be below {size}, the lines of vocab.txt")
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not LDA-C ({error})") from None
    if not rows:
        raise UserError(f"{path}: holds no document")
    x = torch.zeros(rows[-1] + 1, size)
    x[torch.tensor(rows), torch.tensor(columns)] = torch.tensor(counts)
    return x


def numbered(documents: Sequence[Document], least: int = 2) -> tuple[Tensor, Tensor]:
    """Tokens [D, T] (0 padding, 1 a rare word) and labels [D]."""
    counts = Counter(token.lower() for d in documents for token in d.tokens)
    known = {w: n for n, w in enumerate((w for w, c in counts.items() if c >= least), start=2)}
    rows = [torch.tensor([known.get(t.lower(), 1) for t in d.tokens]) for d in documents]
    names = sorted({str(d.label) for d in documents})
    labels = torch.tensor([names.index(str(d.label)) for d in documents])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), labels


def _either(folder: Path, name: str) -> Path:
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


# --- estimators ---------------------------------------------------------------------------------


Build = Callable[[Problem], nn.Module]


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    name: str
    family: str
    evaluations: Callable[[int], int]  # of f a step and item, given N
    build: Build
    target: str = "f"  # the method of Problem that gives the objective
    needs_factors: bool = True
    most_latents: int = 10**6


class BoundScore(nn.Module):
    """∇ L_K = E[L̂ Σ_k ∇ log q(z_k) + ∇L̂]: the plain score function on VIMCO's objective."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(
        self, q: Discrete, f: Objective, context: Tensor, generator: torch.Generator
    ) -> Estimate:
        z = q.sample(self.samples, generator)
        bound = log_mean_exp(f(z))
        score = (bound.detach() * q.log_prob(z)).sum(0)
        zero = torch.zeros_like(bound.detach())
        return Estimate(with_gradient(bound, score), bound.detach(), zero)


def entries() -> list[Entry]:
    """Every estimator; score_function with every baseline and 1, 2 and 4 samples."""

    def score(name: str, count: int, build: Build, target: str = "f") -> Entry:
        return Entry(name, "score", lambda n: count, build, target, needs_factors=False)

    def bound(name: str, k: int, build: Build) -> Entry:
        return Entry(f"bound of {k}: {name}", "bound", lambda n: k, build, "bound", False)

    def factors(name: str, family: str, count: int, estimator: str = "", **settings: Any) -> Entry:
        return Entry(name, family, lambda n: count, lambda p: make(estimator or name, **settings))

    def summed(name: str, count: Callable[[int], int], most: int = 10**6) -> Entry:
        return Entry(name, "summed", count, lambda p: make(name), most_latents=most)

    def relax(name: str, count: int, relax_f: bool) -> Entry:
        def build(p: Problem) -> nn.Module:
            return make("relax", latents=p.latents, relax_f=relax_f)

        return Entry(name, "relaxed", lambda n: count, build)

    def local(samples: int, p: Problem, *baselines: nn.Module) -> nn.Module:
        settings = {"baselines": baselines, "depends": p.depends()}
        return make("local_signals", samples=samples, **settings)

    def averaged_muprop(p: Problem) -> nn.Module:
        return make("muprop", baselines=[_average()])

    def nvil(p: Problem) -> nn.Module:
        return make("nvil", context_size=p.context.shape[-1], decay=0.99)

    return [
        *_score_functions(score),
        score("nvil", 1, nvil),
        score("local_signals, no baseline, S=1", 1, lambda p: local(1, p), "terms"),
        score("local_signals, b* a latent, S=1", 1, lambda p: local(1, p, _optimal(p)), "terms"),
        score(
            "local_signals, leave-one-out, S=4", 4, lambda p: local(4, p, LeaveOneOut()), "terms"
        ),
        score("ppo, fresh", 1, lambda p: make("ppo")),
        factors("muprop", "relaxed", 2),
        Entry("muprop, moving average", "relaxed", lambda n: 2, averaged_muprop),
        factors("rebar", "relaxed", 3),
        relax("relax", 3, True),
        relax("relax, f a black box", 1, False),
        factors("arm", "pairs", 2),
        factors("disarm", "pairs", 2),
        factors("disarm, 2 pairs", "pairs", 4, "disarm", samples=2),
        summed("local_expectation", lambda n: 2 * n),
        summed("top_categories", lambda n: 2 * n),
        summed("enumeration", lambda n: 2**n, most=8),
        factors("straight_through", "biased", 1),
        factors("gumbel_softmax", "biased", 1),
        factors("straight_through_gumbel", "biased", 1),
        bound("score_function", 2, lambda p: BoundScore(2)),
        bound("score_function", 4, lambda p: BoundScore(4)),
        bound("vimco", 2, lambda p: make("vimco", samples=2)),
        bound("vimco", 4, lambda p: make("vimco", samples=4)),
    ]


def _score_functions(score: Callable[[str, int, Build], Entry]) -> Iterator[Entry]:
    def neural(p: Problem) -> nn.Module:
        return make_baseline("neural", context_size=p.context.shape[-1])

    baselines: dict[str, Callable[[Problem], list[nn.Module]]] = {
        "no baseline": lambda p: [],
        "moving average": lambda p: [_average()],
        "constant": lambda p: [make_baseline("constant")],
        "moving average + neural": lambda p: [_average(), neural(p)],
        "self-critical": lambda p: [make_baseline("self_critical")],
        "b*": lambda p: [make_baseline("optimal_coefficient")],
        "b* a latent": lambda p: [_optimal(p)],
        "leave-one-out": lambda p: [LeaveOneOut()],
    }
    for name, build in baselines.items():
        for samples in (1, 2, 4)[name == "leave-one-out" :]:

            def made(p: Problem, build: Any = build, samples: int = samples) -> nn.Module:
                return make("score_function", samples=samples, baselines=build(p))

            count = samples + (name == "self-critical")
            yield score(f"score_function, {name}, S={samples}", count, made)


def _average() -> nn.Module:
    return make_baseline("moving_average", decay=0.99)


def _optimal(problem: Problem) -> nn.Module:
    return make_baseline("optimal_coefficient", latents=problem.latents)


# --- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moments:
    """Of R draws of the gradient of D items with respect to N logits."""

    mean: Tensor  # [D, N]
    variance: Tensor  # [D, N], of one draw
    draws: int
    error: float  # standard error of the trace

    @property
    def trace(self) -> float:
        return float(self.variance.sum(-1).mean())


def estimate(
    entry: Entry, estimator: nn.Module, problem: Problem, replicas: int, noise: torch.Generator
) -> tuple[list[Tensor], Estimate]:
    leaves = problem.leaves(replicas)
    f = getattr(problem, entry.target)(leaves)
    context = problem.context.expand(replicas, *problem.context.shape)
    return leaves, estimator(problem.q(leaves), f, context=context, generator=noise)


def warm_up(
    entry: Entry, estimator: nn.Module, problem: Problem, noise: torch.Generator
) -> nn.Module:
    """Train the estimator's state at the fixed point, then freeze it."""
    trained = list(estimator.parameters())
    if trained or list(estimator.buffers()):
        replicas = max(1, STEP_ITEMS // len(problem.logits))
        _, first = estimate(entry, estimator, problem, replicas, noise)
        scale = max(1.0, float(first.value.abs().mean()))  # a constant has f's unit
        units = [p for name, p in estimator.named_parameters() if name.endswith("constant")]
        others = [p for name, p in estimator.named_parameters() if not name.endswith("constant")]
        groups = [{"params": units, "lr": RATE * scale}, {"params": others, "lr": RATE}]
        adam = torch.optim.Adam([g for g in groups if g["params"]]) if trained else None
        steps = TRAINED if trained else AVERAGED
        for step in range(steps):
            _, one = estimate(entry, estimator, problem, replicas, noise)
            if adam:
                for group in adam.param_groups:  # the rate falls to 0 in the second half
                    group["lr"] *= 1 if step < steps // 2 else 0.97
                adam.zero_grad()
                one.baseline_loss.mean().backward()
                adam.step()
    return estimator.eval()


def moments(
    entry: Entry, estimator: nn.Module, problem: Problem, replicas: int, noise: torch.Generator
) -> Moments:
    items = len(problem.logits) * entry.evaluations(problem.latents)
    step = min(replicas, max(1, problem.chunk // items))
    parts = []
    for _ in range(-(-replicas // step)):
        leaves, one = estimate(entry, estimator, problem, step, noise)
        gradients = torch.autograd.grad(one.surrogate.sum(), leaves)
        parts.append(torch.cat(gradients, -1))
    return moments_of(torch.cat(parts) * _unscaled(estimator))


def moments_of(draws: Tensor) -> Moments:
    """draws: [R, D, N]."""
    draws = draws.double()
    mean = draws.mean(0)
    squares = (draws - mean).square() * (len(draws) / (len(draws) - 1))
    error = float(squares.sum(-1).mean(-1).std()) / len(draws) ** 0.5
    return Moments(mean, squares.mean(0), len(draws), error)


def _unscaled(estimator: nn.Module) -> float:
    """NVIL divides the gradient by max(1, σ): undone, or its variance could not be compared."""
    scale = 1.0
    for module in estimator.modules():
        if isinstance(module, VarianceNormalisation):
            scale *= float(module.scale(torch.ones(())))
    return scale


def milliseconds(step: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU time of one call, of 30 after 5 to warm up; of fewer where one takes long."""
    times: list[float] = []
    for _ in range(5):
        step()
    while len(times) < 5 or (len(times) < repeats and sum(times) < 1.0):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def learning_step(
    entry: Entry, estimator: nn.Module, problem: Problem, noise: torch.Generator
) -> Callable[[], object]:
    """A whole step on 64 items, with gradients of f's parameters and of the baselines."""
    estimator.train()
    weights = tuple(w.detach().requires_grad_() for w in problem.weights)
    problem = replace(problem, weights=weights)
    replicas = max(1, STEP_ITEMS // len(problem.logits))

    def step() -> None:
        _, one = estimate(entry, estimator, problem, replicas, noise)
        (one.baseline_loss.mean() - one.surrogate.mean()).backward()

    return step


def excess(found: Moments, reference: Moments, problem: Problem) -> tuple[float, float]:
    """bias² less what noise explains; the greatest |z| of a latent.

    Not of one that is all but certain: where neither side drew its rare value, both find a variance
    that is far too small, and z means nothing.
    """
    noise = found.variance / found.draws + reference.variance / reference.draws
    gap = found.mean - reference.mean
    z = gap.abs() / noise.sqrt().clamp(min=1e-6)  # below that float32 rounds
    p = problem.logits.sigmoid()
    z = z[p * (1 - p) > 0.02]
    return float((gap.square() - noise).sum(-1).mean()), float(z.max()) if z.numel() else 0.0


@dataclass
class Row:
    problem: str
    name: str
    family: str
    evaluations: int
    milliseconds: float
    variance: dict[str, float] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)  # standard error of the variance
    bias2: dict[str, float] = field(default_factory=dict)
    z: dict[str, float] = field(default_factory=dict)

    @property
    def biased(self) -> bool:
        return self.family == "biased"


def measure(problems: Sequence[Problem], replicas: int, seed: int) -> list[Row]:
    """One row an estimator that applies; the time is taken at the last point."""
    rows = []
    listed = entries()
    exact = next(e for e in listed if e.name == "local_expectation")
    references: dict[str, Moments] = {}
    if problems[0].factored:
        for p in problems:
            noise = torch.Generator().manual_seed(seed + 1)
            draws = replicas  # fewer miss rare values, and then understate their own noise
            references[p.point] = moments(exact, exact.build(p), p, draws, noise)
    for entry in listed:
        if entry.needs_factors and not problems[0].factored:
            continue
        if problems[0].latents > entry.most_latents:
            continue
        evaluations = entry.evaluations(problems[0].latents)
        row = Row(problems[0].name, entry.name, entry.family, evaluations, 0.0)
        for problem in problems:
            noise = torch.Generator().manual_seed(seed)
            torch.manual_seed(seed)  # the nets of baselines and critics
            estimator = warm_up(entry, entry.build(problem), problem, noise)
            draws = max(64, replicas // evaluations)
            found = moments(entry, estimator, problem, draws, noise)
            row.variance[problem.point], row.error[problem.point] = found.trace, found.error
            if entry.target != "bound" and problem.point in references:
                both = excess(found, references[problem.point], problem)
                row.bias2[problem.point], row.z[problem.point] = both
            if problem is problems[-1]:
                row.milliseconds = milliseconds(learning_step(entry, estimator, problem, noise))
        rows.append(row)
        print(f"{row.problem}: {row.name}: {row.milliseconds:.2f} ms", file=sys.stderr, flush=True)
    return rows


# --- the net of six latents ---------------------------------------------------------------------

TRACES = {  # in the order in which the traces of another net were given: see EXPECTED
    "REINFORCE": "score_function, no baseline, S=1",
    "self-critical": "score_function, self-critical, S=1",
    "ARM": "arm",
    "leave-one-out K=2": "score_function, leave-one-out, S=2",
    "b = E f": "score_function, moving average, S=1",
    "MuProp": "muprop, moving average",
    "DisARM": "disarm",
    "b* a latent": "score_function, b* a latent, S=1",
    "REBAR": "rebar",
    "leave-one-out K=4": "score_function, leave-one-out, S=4",
    "local expectation": "local_expectation",
    "bound of 2, plain": "bound of 2: score_function",
    "bound of 2, VIMCO": "bound of 2: vimco",
}


EXPECTED = (1215, 50, 26.8, 25.8, 24.7, 23.7, 21.8, 19.4, 15.7, 8.4, 1.1, 2306, 40.8)


def six_traces(problem: Problem, draws: int, seed: int) -> dict[str, tuple[float, float]]:
    """Trace and greatest |z| against enumeration, of every name."""
    listed = {entry.name: entry for entry in entries()}
    exact = moments(listed["enumeration"], make("enumeration"), problem, 2, torch.Generator())
    found = {}
    for name, key in TRACES.items():
        noise = torch.Generator().manual_seed(seed)
        estimator = warm_up(listed[key], listed[key].build(problem), problem, noise)
        one = moments(listed[key], estimator, problem, draws, noise)
        found[name] = (
            one.trace,
            excess(one, exact, problem)[1] if "bound" not in name else float("nan"),
        )
    return found


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, of sequences without ties."""
    ranks = torch.stack([torch.tensor(x).argsort().argsort().double() for x in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1])


def wake_phi(problem: Elbo, draws: int, seed: int) -> dict[int, float]:
    """χ²₆ of the mean of Σ_k w̃_k ∇log q(z_k), z_k ~ q, against E_{p(z|x)} ∇log q(z)."""
    noise = torch.Generator().manual_seed(seed)
    q = Bernoulli(problem.logits)
    states, log_q = q.enumerate_support()
    log_w = problem.f([problem.logits])(states) + log_q  # [M, 1]
    exact = (log_w.softmax(0)[..., None] * q.score(states)).sum(0)
    found = {}
    for k in (2, 10, 100):
        parts = []
        for _ in range(100):  # in pieces, for the memory
            leaves = problem.leaves(draws // 100)
            z = tensor_of(problem.q(leaves).sample(k, noise))
            weight = problem.f(leaves)(z).softmax(0)[..., None]
            parts.append((weight * q.score(z)).sum(0))
        gap = (torch.cat(parts).double() - exact).flatten(1)  # [R, 6]
        mean = gap.mean(0)
        found[k] = float(len(gap) * mean @ torch.linalg.solve(gap.T.cov(), mean))
    return found


# --- results ------------------------------------------------------------------------------------


def summary(rows: Sequence[Row], point: str = "late") -> str:
    """One Markdown table of all: variance and CPU ms of every problem."""
    names = list(dict.fromkeys(row.problem for row in rows))
    head = " | ".join(f"{name} | ms" for name in names)
    lines = [
        f"### {point}, all problems\n",
        f"| estimator | {head} |",
        "| --- |" + " ---: | ---: |" * len(names),
    ]
    for estimator in dict.fromkeys(row.name for row in rows):
        found = {row.problem: row for row in rows if row.name == estimator}
        cells = [
            f"{_variance(found[n], point)} | {found[n].milliseconds:.2f}" if n in found else " | "
            for n in names
        ]
        lines.append(f"| {estimator} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> str:
    """One Markdown table a problem: every point."""
    parts = []
    for name in dict.fromkeys(row.problem for row in rows):
        own = [row for row in rows if row.problem == name]
        points = list(own[0].variance)
        lines = [
            f"### {name}\n",
            "| estimator | f | CPU ms | " + " | ".join(points) + " |",
            "| --- | ---: | ---: |" + " ---: |" * len(points),
        ]
        for row in own:
            cells = [_variance(row, point) for point in points]
            head = f"| {row.name} | {row.evaluations} | {row.milliseconds:.2f} | "
            lines.append(head + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _variance(row: Row, point: str) -> str:
    bias = f" + {max(0.0, row.bias2[point]):.2g}" if row.biased else ""
    return f"{row.variance[point]:.3g}{bias}"


def six_table(nets: Sequence[dict[str, tuple[float, float]]], wake: dict[int, float]) -> str:
    lines = [
        "### six\n",
        "| estimator | another net | trace | greatest z |",
        "| --- | ---: | ---: | ---: |",
    ]
    for (name, (trace, z)), expected in zip(nets[0].items(), EXPECTED, strict=True):
        lines.append(f"| {name} | {expected:g} | {trace:.4g} | {'' if z != z else f'{z:.1f}'} |")
    same = [f"{rank_correlation([t for t, _ in net.values()], EXPECTED):.2f}" for net in nets]
    lines += ["", f"Spearman's correlation with the other net, nets 0, 1, …: {', '.join(same)}"]
    lines += ["", "| wake-φ, K | χ²₆ |", "| ---: | ---: |"]
    lines += [f"| {k} | {value:,.0f} |" for k, value in wake.items()]
    return "\n".join(lines) + "\n"


COLOURS = {
    "score": "#1f6fb4",
    "pairs": "#2a9d4a",
    "relaxed": "#b3499c",
    "summed": "#7a5a00",
    "biased": "#c8442c",
    "bound": "#777777",
}


def picture(rows: Sequence[Row], point: str = "late") -> str:
    """Variance over CPU time, both logarithmic, one panel a problem, as SVG."""
    names = list(dict.fromkeys(row.problem for row in rows))
    width, height = 620, 460
    total = 24 + height * ((len(names) + 1) // 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {total}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{2 * width}" height="{total}" fill="#fff"/>'
    ]
    for k, (family, colour) in enumerate(COLOURS.items()):
        x = 60 + 110 * k
        parts.append(f'<circle cx="{x}" cy="14" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 8}" y="18">{family}</text>')
    for k, name in enumerate(names):
        own = [r for r in rows if r.problem == name and r.variance[point] > DUST]
        x, y = width * (k % 2), 24 + height * (k // 2)
        parts.append(f'<g transform="translate({x} {y})">{_panel(name, own, point)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, rows: Sequence[Row], point: str) -> str:
    left, top, width, height = 60, 30, 530, 380
    xs = _decades([row.milliseconds for row in rows])
    ys = _decades([row.variance[point] for row in rows])

    def place(value: float, marks: list[float], start: float, length: float) -> float:
        low, high = (torch.tensor(m).log10().item() for m in (marks[0], marks[-1]))
        return round(start + length * (torch.tensor(value).log10().item() - low) / (high - low), 1)

    parts = [f'<text x="{left}" y="20" font-size="14">{escape(name)}, {point}</text>']
    for mark in xs:
        x = place(mark, xs, left, width)
        parts.append(f'<path d="M{x} {top}v{height}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{top + height + 16}" text-anchor="middle">{mark:g}</text>')
    for mark in ys:
        y = place(mark, ys, top + height, -height)
        parts.append(f'<path d="M{left} {y}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{mark:g}</text>')
    middle = left + width / 2
    parts.append(
        f'<text x="{middle}" y="{top + height + 32}" text-anchor="middle">CPU ms a step</text>'
        f'<text transform="translate(12 {top + height / 2}) rotate(-90)" text-anchor="middle">'
        "variance of the gradient</text>"
    )
    taken: list[tuple[float, float]] = []
    for row in rows:
        x = place(row.milliseconds, xs, left, width)
        y = place(row.variance[point], ys, top + height, -height)
        said = escape(f"{row.name}: {row.variance[point]:.3g}, {row.milliseconds:.2f} ms")
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="3.5" fill="{COLOURS[row.family]}">'
            f"<title>{said}</title></circle>"
        )
        # A label that would lie on another one is left out: pointing at the dot says it.
        if all(abs(x - a) > 110 or abs(y - b) > 8 for a, b in taken):
            taken.append((x, y))
            label = escape(row.name.replace("score_function, ", ""))
            parts.append(f'<text x="{x + 5}" y="{y + 3}" font-size="8">{label}</text>')
    return "".join(parts)


def _decades(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10, … around the values where they are close, powers of ten where they are far."""
    logs = torch.tensor(values).log10()
    low, high = int(logs.min().floor()), int(logs.max().ceil())
    marks = [m * 10.0**e for e in range(low, max(high, low + 1)) for m in (1, 2, 5)]
    marks.append(10.0 ** max(high, low + 1))
    if len(marks) > 10:
        return marks[::3]
    first = max(k for k, m in enumerate(marks) if m <= min(values))
    last = min(k for k, m in enumerate(marks) if m >= max(values))
    return marks[first : max(last, first + 1) + 1]


# --- command line -------------------------------------------------------------------------------


def problems(options: argparse.Namespace) -> Iterator[list[Problem]]:
    """The problems for which there is data, each at its points; says which are left out."""

    def noise() -> torch.Generator:
        torch.manual_seed(options.seed)  # the initial weights
        return torch.Generator().manual_seed(options.seed)

    yield list(toy(noise()))
    if options.documents:
        yield list(belief(options.documents, 0, noise()))
        yield list(belief(options.documents, 16, noise()))
    else:
        print("belief, belief-2: left out; they need --documents DIR", file=sys.stderr)
    if options.sentences:
        yield list(rationale(options.sentences, noise()))
    else:
        print("rationale: left out; it needs --sentences DIR", file=sys.stderr)


def check(problem: Problem) -> None:
    """f must be the sum of its terms."""
    leaves = problem.leaves(1)
    z = problem.q(leaves).sample(4)
    whole, apart = problem.f(leaves)(z), problem.terms(leaves)(z).sum(-1)
    torch.testing.assert_close(whole, apart, rtol=1e-4, atol=1e-4)


def main() -> None:
    options = _parser().parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    found = Results(options)
    late: list[Problem] = []
    for points in problems(options):
        check(points[-1])
        found.rows += measure(points, options.replicas, options.seed)
        late.append(points[-1])
        found.write()
    nets = [six(torch.Generator().manual_seed(options.seed + k)) for k in range(6)]
    for k, net in enumerate(nets):
        draws = (10 if k else 100) * options.replicas
        found.nets.append(six_traces(net, draws, options.seed))
    found.wake = wake_phi(nets[0], 100 * options.replicas, options.seed)
    found.write()
    # Last: storchastic patches torch.Tensor for the whole process when it is imported.
    for problem in [nets[0], *late] if options.peers else []:
        if problem.factored:
            found.pairs += peers.compare(problem, _ours(options), moments_of, excess)
            found.write()
    print(found.text())


@dataclass
class Results:
    """What there is so far; written after every problem."""

    options: argparse.Namespace
    rows: list[Row] = field(default_factory=list)
    nets: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    wake: dict[int, float] = field(default_factory=dict)
    pairs: list[peers.Pair] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def text(self) -> str:
        parts = [summary(self.rows), table(self.rows)]
        parts += [six_table(self.nets, self.wake)] if self.nets else []
        parts += [peers.table(self.pairs)] if self.pairs else []
        seconds = time.perf_counter() - self.start
        cost = f"{time.process_time():.0f} CPU s, {seconds:.0f} s in all"
        return "\n".join([*parts, f"{_fine_print(self.rows, self.options)}, {cost}\n"])

    def write(self) -> None:
        """estimators.json, .md and .svg."""
        found = {
            "rows": [asdict(row) for row in self.rows],
            "six": [{k: {"trace": t, "z": z} for k, (t, z) in net.items()} for net in self.nets],
            "wake_phi": self.wake,
            "peers": [asdict(pair) for pair in self.pairs],
            "seed": self.options.seed,
            "machine": _measure.machine(),
            "date": datetime.date.today().isoformat(),
        }
        texts = {"json": json.dumps(found, indent=1) + "\n", "md": self.text()}
        texts["svg"] = picture(self.rows)
        for kind, text in texts.items():
            (self.options.out / f"estimators.{kind}").write_text(text, encoding="utf-8")


def _ours(options: argparse.Namespace) -> peers.Ours:
    """How latentnlp's side of a comparison is measured."""
    listed = {entry.name: entry for entry in entries()}

    def ours(name: str, problem: Problem) -> tuple[Moments, Callable[[], object]]:
        entry, noise = listed[name], torch.Generator().manual_seed(options.seed)
        estimator = warm_up(entry, entry.build(problem), problem, noise)
        draws = max(64, options.replicas // entry.evaluations(problem.latents))
        if entry.family == "summed":  # the reference of all means
            draws = max(draws, options.replicas)
        draws = draws * 8 // len(problem.logits)
        found = moments(entry, estimator, problem, draws, noise)
        return found, learning_step(entry, estimator, problem, noise)

    return ours


def _fine_print(rows: Sequence[Row], options: argparse.Namespace) -> str:
    worst = max((z for row in rows if not row.biased for z in row.z.values()), default=0.0)
    error = max(
        (row.error[p] / v for row in rows for p, v in row.variance.items() if v > DUST),
        default=0.0,
    )
    return (
        f"f: evaluations of f a step and item. Variances of biased estimators: + bias². Standard "
        f"errors of the variances: at most {100 * error:.0f} %. Means of the unbiased against "
        f"local_expectation: greatest |z| {worst:.1f}. Seed {options.seed}, torch "
        f"{torch.__version__}, one thread, {_measure.machine()}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--documents", type=Path, help="folder with train.ldac[.gz] and vocab.txt")
    add("--sentences", type=Path, help="folder with train.jsonl[.gz]")
    add("--out", type=Path, required=True, help="folder of estimators.md, .json and .svg")
    add("--peers", action="store_true", help="beside storchastic and Pyro, where installed")
    add("--replicas", type=int, default=1000, help="evaluations of f an item (default 1000)")
    add("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"estimators: error: {error}", file=sys.stderr)
        sys.exit(2)
