"""latentnlp's estimators beside the same ones of storchastic 0.3.7 and pyro-ppl 1.9.2.

    pip install storchastic==0.3.7 pyro-ppl==1.9.2

Same f (the same code), same logits, same number of evaluations of f, batches of 64 items; what can
be trained is trained for the same number of steps. The items of a batch are shuffled anew for every
step, as minibatches are: Pyro's decaying average holds one number a *place* in the batch.

    storchastic   cost = f(z) under `storch.deterministic`, the items a plate, `storch.backward()`
    Pyro          guide z ~ q; model z ~ prior and `pyro.factor`, log p(x | z); where f is no ELBO,
                  z is drawn from q in the model too and the factor is f. `loss_and_grads` as SVI

They have no mask: padding has the logit −30. Importing storchastic patches torch.Tensor for the
whole process (le, gt, to), so this comes last; both sides are timed with the patches on, in turns.
"""

from __future__ import annotations

import gc
import importlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from estimators import Moments, Problem

BATCH, ROUNDS, REPEATS = 64, 100, 30
TRAINED, RATE = 150, 0.03  # warming up, as in estimators.py
AVERAGED = 600  # ours: 60; their running means start at 0 and are not corrected for it

Step = Callable[["Problem", Tensor], None]
"""One step of a peer on a problem whose items are the batch; the gradient of Σ f goes to logits."""


@dataclass
class Pair:
    """One estimator in two libraries."""

    problem: str
    estimator: str  # latentnlp's name of it
    peer: str
    variance: float
    peer_variance: float
    error: float  # of the variances: standard error of their difference
    z: float  # greatest |z| of the mean against the exact one
    peer_z: float
    milliseconds: float
    peer_milliseconds: float
    failure: str = ""


Ours = Callable[[str, "Problem"], "tuple[Moments, Callable[[], object]]"]


def compare(problem: Problem, ours: Ours, moments_of: Callable, excess: Callable) -> list[Pair]:
    """One pair for every estimator that a peer that is installed has too."""
    pairs = []
    reference = ours("enumeration" if problem.latents <= 8 else "local_expectation", problem)[0]
    for peer, estimator, build in _cases(problem):
        found, own_step = ours(estimator, problem)
        pair = Pair(
            problem.name, estimator, peer, found.trace, float("nan"), float("nan"),
            excess(found, reference, problem)[1], float("nan"), float("nan"), float("nan"),
        )  # fmt: skip
        pairs.append(pair)
        try:
            step = build()
            theirs = moments_of(_draws(problem, step))
            own, other = _in_turns(own_step, _learning_step(problem, step))
        except Exception as error:  # whatever a peer raises is its result
            pair.failure = f"{type(error).__name__}: {error}".splitlines()[0][:90]
            continue
        pair.peer_variance, pair.peer_z = theirs.trace, excess(theirs, reference, problem)[1]
        pair.error = (found.error**2 + theirs.error**2) ** 0.5
        pair.milliseconds, pair.peer_milliseconds = own, other
        print(f"{problem.name}: {peer}: {other:.2f} ms, ours {own:.2f}", file=sys.stderr)
    return pairs


def table(pairs: Sequence[Pair]) -> str:
    lines = [
        "### beside storchastic and Pyro\n",
        "| problem | estimator | peer | variance | peer's | CPU ms | peer's | peer's z | |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for p in pairs:
        cells = [p.problem, p.estimator, p.peer, f"{p.variance:.3g}"]
        if p.failure:
            cells += ["", "", "", "", f"fails: {p.failure}"]
        else:
            cells += [f"{p.peer_variance:.3g}", f"{p.milliseconds:.2f}"]
            cells += [f"{p.peer_milliseconds:.2f}", f"{p.peer_z:.1f}", verdict(p)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def verdict(pair: Pair) -> str:
    """What is wrong, if anything is."""
    said = []
    if pair.peer_z > 5 and "gumbel" not in pair.estimator:  # those are, on purpose
        said.append("peer biased")
    if pair.variance > pair.peer_variance + 3 * pair.error:
        said.append("ours noisier")
    if pair.milliseconds > pair.peer_milliseconds:
        said.append("ours slower")
    return ", ".join(said)


def _cases(problem: Problem) -> Iterator[tuple[str, str, Callable[[], Step]]]:
    """(peer's call, our name, what builds the peer's step), of the peers that are installed."""
    problem = padded(problem)
    # storchastic imports Pyro: with one missing both may be.
    for module, cases in (("pyro", _pyro_cases), ("storch", _storch_cases)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
        except ImportError as error:
            print(f"{module} is not installed: left out ({error})", file=sys.stderr)
            continue
        yield from cases(problem)


def padded(problem: Problem) -> Problem:
    if problem.mask is None:
        return problem
    return replace(problem, logits=problem.logits.masked_fill(~problem.mask, -30.0), mask=None)


# --- drawing and timing -------------------------------------------------------------------------


def _shuffled(problem: Problem) -> tuple[Problem, Tensor]:
    """A batch of 64 of the problem's items, each as often, in random order; where each one is."""
    count = len(problem.logits)
    order = torch.randperm(BATCH)
    return problem.items(order % count), order.argsort()


def _draws(problem: Problem, step: Step) -> Tensor:
    """Gradients [R, D, N]; 0 at padding."""
    count = len(problem.logits)
    mask, problem = problem.mask, padded(problem)
    parts = []
    for _ in range(ROUNDS):
        batch, places = _shuffled(problem)
        logits = batch.logits.clone().requires_grad_()
        step(batch, logits)
        gradient = logits.grad
        assert gradient is not None
        parts.append(gradient.detach()[places].reshape(BATCH // count, count, -1))
        logits.grad = None  # storchastic's graphs hold it in a cycle
    draws = torch.cat(parts)
    return draws if mask is None else draws * mask


def _learning_step(problem: Problem, step: Step) -> Callable[[], object]:
    weights = tuple(w.detach().requires_grad_() for w in problem.weights)
    problem = replace(padded(problem), weights=weights)
    batch, _ = _shuffled(problem)

    def run() -> None:
        step(batch, batch.logits.clone().requires_grad_())
        for weight in weights:
            weight.grad = None

    return run


def _in_turns(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median CPU milliseconds of each, taken in turns, so that both see the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    for _ in range(5 + REPEATS):
        for run, found in zip((one, other), times, strict=True):
            start = time.process_time()
            run()
            found.append(1000 * (time.process_time() - start))
    return statistics.median(times[0][5:]), statistics.median(times[1][5:])


def _warm_up(problem: Problem, step: Step, parameters: Sequence[nn.Parameter], steps: int) -> None:
    adam = torch.optim.Adam(parameters, lr=RATE) if parameters else None
    for number in range(steps):
        batch, _ = _shuffled(problem)
        if adam:
            for group in adam.param_groups:
                group["lr"] *= 1 if number < steps // 2 else 0.97
            adam.zero_grad()
        step(batch, batch.logits.clone().requires_grad_())
        if adam:
            adam.step()


# --- storchastic --------------------------------------------------------------------------------


def _storch_cases(problem: Problem) -> Iterator[tuple[str, str, Callable[[], Step]]]:
    method = importlib.import_module("storch.method")
    monte_carlo = importlib.import_module("storch.sampling").MonteCarlo

    def case(name: str, ours: str, build: Callable[[], Any], train: bool = False) -> Any:
        return f"storchastic {name}", ours, lambda: _storch_step(problem, build(), train)

    def averaged(samples: int) -> Any:
        draws = monte_carlo("z", samples)
        return method.ScoreFunction("z", draws, baseline_factory="batch_average")

    def relaxed(straight: bool) -> Any:
        settings = {"initial_temperature": 0.5, "annealing_rate": 0.0}
        return method.GumbelSoftmax("z", straight_through=straight, **settings)

    def rebar() -> Any:
        estimator = method.REBAR("z")
        estimator.temperature.data.fill_(0.5)
        return estimator

    for samples in (1, 4):
        ours = f"score_function, no baseline, S={samples}"
        yield case("ScoreFunction", ours, lambda s=samples: method.ScoreFunction("z", n_samples=s))
    yield case(
        "ScoreFunction moving_average",
        "score_function, moving average, S=1",
        # 0.99 as ours here; its default of 0.95 makes a noisier mean
        lambda: method.ScoreFunction(
            "z", baseline_factory="moving_average", exponential_decay=0.99
        ),
        True,
    )
    for samples in (2, 4):
        ours = f"score_function, leave-one-out, S={samples}"
        yield case("ScoreFunction batch_average", ours, lambda s=samples: averaged(s))
    yield case("ARM", "arm", lambda: method.ARM("z"))
    yield case("DisARM", "disarm", lambda: method.DisARM("z"))
    yield case("REBAR", "rebar", rebar, True)
    yield case("REBAR, η = 1", "rebar", rebar)
    yield case(
        "RELAX",
        "relax, f a black box",
        lambda: method.RELAX("z", in_dim=problem.latents),
        True,
    )
    yield case("GumbelSoftmax", "gumbel_softmax", lambda: relaxed(False))
    yield case("GumbelSoftmax straight-through", "straight_through_gumbel", lambda: relaxed(True))
    if problem.latents <= 8:
        yield case("Expect", "enumeration", lambda: method.Expect("z"))


def _storch_step(problem: Problem, estimator: Any, train: bool) -> Step:
    storch = importlib.import_module("storch")

    def step(batch: Problem, logits: Tensor) -> None:
        f = batch.f([logits])
        items = storch.denote_independent(logits, 0, "items")
        z = estimator(torch.distributions.Bernoulli(logits=items))
        try:
            storch.add_cost(storch.deterministic(lambda z: f(z.float()))(z), "f")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                storch.backward()
        except Exception:
            storch.inference._cost_tensors.clear()
            storch.reset()
            raise
        if logits.grad is not None:
            logits.grad = logits.grad.detach() * len(logits)  # it averages over the items

    if train:
        parameters = getattr(estimator, "control_params", [])
        _warm_up(problem, step, parameters, TRAINED if parameters else AVERAGED)
    return step


# --- Pyro ---------------------------------------------------------------------------------------


def _pyro_cases(problem: Problem) -> Iterator[tuple[str, str, Callable[[], Step]]]:
    infer = importlib.import_module("pyro.infer")

    def case(name: str, ours: str, *settings: Any, **more: Any) -> Any:
        return f"Pyro {name}", ours, lambda: _pyro_step(problem, *settings, **more)

    for samples in (1, 4):
        many = {"num_particles": samples, "vectorize_particles": samples > 1}
        yield case(
            "Trace_ELBO",
            f"score_function, no baseline, S={samples}",
            infer.Trace_ELBO(max_plate_nesting=1, **many),
        )
    graph = infer.TraceGraph_ELBO(max_plate_nesting=1)
    yield case(
        "TraceGraph_ELBO decaying average",
        "score_function, moving average, S=1",
        graph,
        # 0.99 as ours; its default is 0.9
        {"use_decaying_avg_baseline": True, "baseline_beta": 0.99},
    )
    hidden = nn.Linear(problem.context.shape[-1], 64), nn.Linear(64, 1)
    net = nn.Sequential(hidden[0], nn.ReLU(), hidden[1], nn.Flatten(0))
    nn.init.zeros_(hidden[1].weight)
    nn.init.zeros_(hidden[1].bias)
    yield case(
        "TraceGraph_ELBO decaying average + nn_baseline",
        "score_function, moving average + neural, S=1",
        graph,
        {"use_decaying_avg_baseline": True, "baseline_beta": 0.99, "nn_baseline": net},
        net=net,
    )
    if hasattr(problem, "log_ratio"):
        yield case(
            "TraceGraph_ELBO, a plate of latents",
            "local_signals, no baseline, S=1",
            infer.TraceGraph_ELBO(max_plate_nesting=2),
            local=True,
        )


def _pyro_step(
    problem: Problem,
    elbo: Any,
    baseline: dict[str, Any] | None = None,
    net: nn.Module | None = None,
    local: bool = False,
) -> Step:
    pyro = importlib.import_module("pyro")
    bernoulli = importlib.import_module("pyro.distributions").Bernoulli
    pyro.clear_param_store()
    zero = torch.zeros(())

    def step(batch: Problem, logits: Tensor) -> None:
        elbo_like = hasattr(batch, "log_ratio")
        prior = batch.weights[0].expand_as(logits) if elbo_like else logits.detach()
        f = getattr(batch, "log_likelihood") if elbo_like else batch.f([logits])  # noqa: B009
        options = dict(baseline or {})
        if net is not None:
            options["nn_baseline_input"] = batch.context
        data = pyro.plate("items", len(logits), dim=-2 if local else -1)
        latents = pyro.plate("latents", logits.shape[-1], dim=-1)

        def draw(parameter: Tensor, **infer: Any) -> Tensor:
            if local:
                with data, latents:
                    return pyro.sample("z", bernoulli(logits=parameter), infer=infer)
            with data:
                return pyro.sample("z", bernoulli(logits=parameter).to_event(1), infer=infer)

        def guide() -> None:
            pyro.param("none", zero)  # without a parameter Trace_ELBO takes no gradient
            draw(logits, **({"baseline": options} if options else {}))

        def model() -> None:
            z = draw(prior)
            with data:
                value = f(z)
                pyro.factor("f", value[..., None] if local else value)

        elbo.loss_and_grads(model, guide)
        if logits.grad is not None:
            logits.grad.neg_()  # of a loss

    if baseline:
        _warm_up(problem, step, [], AVERAGED)
        if net:  # after the average: a net that chased its way up from 0 would have it to unlearn
            _warm_up(problem, step, list(net.parameters()), TRAINED)
    return step
