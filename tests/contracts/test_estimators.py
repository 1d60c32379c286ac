"""What every file of estimators/ and estimators/baselines/ promises.

A z-test wrongly fails at `FAILURE_RATE` = 1e-6; there are about 400 of them.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import math
from typing import Any

import pytest
import torch
from device_placement import Misplaced, placement_check
from estimator_cases import (
    ALL_BASELINES,
    BASELINES,
    BIASED,
    CASES,
    DISCRETE,
    ESTIMATORS,
    OF_TERMS,
    PADDED,
    REFUSED,
    REPLICAS,
    TAKE_BASELINES,
    WITH_BASELINES,
    Problem,
    accepts,
    estimator,
    gradients,
    problem,
    reshaped,
    run,
    step_length,
    support,
    truth,
    warmed,
    z_test,
    z_test_of,
)
from torch import Tensor

from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.errors import UserError
from latentnlp.estimators import Estimate, Estimator, Objective, make, make_baseline
from latentnlp.estimators.baselines import Baseline, Constant, Draw, LeaveOneOut
from latentnlp.estimators.local_signals import LocalSignals
from latentnlp.estimators.ppo import PPO, Rollout
from latentnlp.estimators.score_function import ScoreFunction

ALONE = [(name, case) for name in ESTIMATORS for case in CASES if accepts(name, case)]
BY_BASELINE = [(spec, "padded") for spec in WITH_BASELINES]
FIRST = {name: next(case for case in CASES if accepts(name, case)) for name in ESTIMATORS}
ONE_EACH = [*FIRST.items(), *BY_BASELINE]
DETERMINISTIC = {"chain", "enumeration"}


# The register.

MODULES = [f"latentnlp.estimators.{name}" for name in ESTIMATORS]
MODULES += [f"latentnlp.estimators.baselines.{name}" for name in BASELINES]


def test_the_register_is_not_empty() -> None:
    assert set(REFUSED) <= set(ESTIMATORS)
    assert {"constant", "leave_one_out", "moving_average", "neural"} <= set(BASELINES)
    assert {"straight_through", "gumbel_softmax", "straight_through_gumbel"} <= BIASED
    assert {"chain", "local_signals"} <= OF_TERMS
    assert {"local_signals", "muprop", "ppo", "score_function"} <= set(TAKE_BASELINES)


@pytest.mark.parametrize("module", MODULES)
def test_docstring_has_the_equation(module: str) -> None:
    file = importlib.import_module(module)
    assert any(sign in (inspect.getdoc(file) or "") for sign in ("=", "∇", "f(", "σ"))
    assert file.build.__module__ == module and file.build.__doc__


BAD_SETTINGS: list[tuple[Any, str, dict[str, Any], str]] = [
    (make, "score_funktion", {}, r"no estimator 'score_funktion'.*did you mean 'score_function'"),
    (make, "_contract", {}, "no estimator"),
    (make, "muprop", {"sample": 2}, r"'muprop' has no setting 'sample'.*did you mean 'samples'"),
    (make, "score_function", {"samples": 0}, "score_function needs at least 1 samples, not 0"),
    (make, "vimco", {"samples": 1}, "vimco needs at least 2 samples, not 1"),
    (make, "gumbel_softmax", {"temperature": 0.0}, "temperature must be above 0"),
    (make, "ppo", {"clip": 0.0}, "clip must be above 0"),
    (make, "relax", {}, "relax needs latents=N"),
    (make, "nvil", {}, "needs context_size=D"),
    (make, "top_categories", {"categories": 0}, "at least 1 category"),
    (make_baseline, "moving_averge", {}, "no baseline.*did you mean 'moving_average'"),
    (make_baseline, "moving_average", {"decay": 1.0}, "decay must be at least 0 and below 1"),
    (make_baseline, "neural", {}, "needs context_size=D"),
]


@pytest.mark.parametrize("build, name, settings, message", BAD_SETTINGS)
def test_bad_settings(build: Any, name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, **settings)


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_a_family_with_a_type_error_that_names_it(name: str) -> None:
    for family in sorted(DISCRETE):
        on = problem(family, replicas=2)
        built = estimator(name, on)
        if family in REFUSED[name]:
            named = "Product|Categorical" if family == "product" else type(on.q).__name__
            with pytest.raises(TypeError, match=named):
                run(built, name, on)
        else:
            run(built, name, on)


@pytest.mark.parametrize("name", TAKE_BASELINES)
def test_refuses_a_second_leave_one_out(name: str) -> None:
    """What the first leaves of the other samples depends on this one: the z-test finds it."""
    with pytest.raises(UserError, match="leave_one_out once"):
        estimator(f"{name}+leave_one_out+constant+leave_one_out", problem("bernoulli"))


def test_muprop_refuses_variance_normalisation() -> None:
    with pytest.raises(UserError, match="turn its direction"):
        estimator("muprop+variance_normalisation", problem("bernoulli"))


def test_bad_calls() -> None:
    on = problem("bernoulli", replicas=2)
    with pytest.raises(ValueError, match="needs at least 2 samples"):
        run(estimator("score_function+leave_one_out", on), "score_function", on)
    with pytest.raises(ValueError, match="needs a context"):
        estimator("score_function+neural", on)(on.q, on.f)
    with pytest.raises(ValueError, match="one advantage a sample"):
        run(estimator("ppo+optimal_coefficient:each", on), "ppo", on)
    for name in ("chain", "local_signals"):
        with pytest.raises(ValueError, match="terms apart"):
            estimator(name, on)(on.q, on.f)


# Unbiased: the mean of 40,000 gradients is the exact one.


def brute_force(case: str, of: Problem) -> Tensor:
    """E_q f, [*B], from the definition: Σ over all tuples of values of their chance times f."""
    shapes, lead, family = CASES[case].shapes, CASES[case].lead, CASES[case].family
    hot = [weight.dim() > len(lead) + 1 for weight in of.weights]
    places = [(part, n) for part, shape in enumerate(shapes) for n in range(shape[0])]
    sizes = [shapes[part][-1] if hot[part] else 2 for part, _ in places]
    expected = torch.zeros(lead, dtype=torch.float64)
    for state in itertools.product(*map(range, sizes)):
        chance, z = torch.ones_like(expected), [torch.zeros_like(w) for w in of.weights]
        for i, ((part, n), value) in enumerate(zip(places, state, strict=True)):
            logits, mask = of.logits[part].detach(), of.masks[part]
            row = logits[..., n, :] if logits.dim() > len(lead) + 1 else logits[..., n, None]
            if family == "markov":  # the column of the bit before it
                row = row[..., [state[i - 1] if n else 0]]
            if of.link is not None and part == 1:
                links = of.link.detach()[..., n, :]  # [*B, N, V]
                row = row + sum(bit * links[..., m, :] for m, bit in enumerate(state[:2]))
            if not hot[part]:
                row = torch.cat([torch.zeros_like(row), row], -1)
            here = torch.ones(lead, dtype=torch.bool) if mask is None else mask[..., n]
            own = row[..., value].exp() / row.exp().sum(-1)
            chance = chance * torch.where(here, own, float(value == 0))
            place = z[part][..., n, value] if hot[part] else z[part][..., n]
            place.copy_(here * (1 if hot[part] else value))
        f_z = of.f(tuple(part[None] for part in z) if len(z) > 1 else z[0][None])[0]
        expected += chance * f_z.detach()
    return expected


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].family in DISCRETE])
def test_enumeration_is_brute_force(case: str) -> None:
    """And its gradient the slope of brute force."""
    of = problem(case)
    estimate = run(estimator("enumeration", of), "enumeration", of)
    torch.testing.assert_close(estimate.value, brute_force(case, of), rtol=1e-12, atol=0)
    for leaf, gradient in zip(of.leaves, gradients(estimate.surrogate, of.leaves), strict=True):
        ahead = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(1)).double()
        here = leaf.detach().clone()
        values = []
        for step in (1e-5, -1e-5):
            leaf.data.copy_(here + step * ahead)
            values.append(brute_force(case, of).sum().item())
        leaf.data.copy_(here)
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((gradient * ahead).sum().item(), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].family not in DISCRETE])
def test_the_quadrature_is_one(case: str) -> None:
    _, log_q = support(problem(case))
    total = log_q.exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name, case", [pair for pair in ALONE if pair[0] not in BIASED])
def test_unbiased(name: str, case: str, seed: int) -> None:
    """The gradients of q and f and the value, with S = 1 and 2 (VIMCO: 2 and 3)."""
    found = z_test_of(warmed(name, case, seed), name, case, seed)
    assert found.passed, found.worst


@pytest.mark.parametrize("name, case", [pair for pair in ALONE if pair[0] in BIASED])
def test_the_biased_ones_fail(name: str, case: str) -> None:
    found = z_test_of(warmed(name, case), name, case, seed=0)
    assert found.worst > 1.5 * found.critical


@pytest.mark.parametrize("one", ALL_BASELINES)
@pytest.mark.parametrize("case", ["padded categorical", "product", "markov", "hierarchy"])
def test_unbiased_with_a_baseline(case: str, one: str) -> None:
    spec = f"score_function+{one}"
    found = z_test_of(warmed(spec, case, seed=1), spec, case, seed=1)
    assert found.passed, found.worst


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("spec", WITH_BASELINES)
def test_baselines_in_every_estimator_that_takes_them(spec: str, seed: int) -> None:
    found = z_test_of(warmed(spec, "padded", seed), spec, "padded", seed)
    assert found.passed, found.worst


PAIRS = [
    f"score_function+{one}+{other}"
    for one, other in itertools.product(ALL_BASELINES, ALL_BASELINES)
    if not one == other == "leave_one_out"  # refused
]


@pytest.mark.parametrize("spec", PAIRS)
def test_pairs_of_baselines(spec: str) -> None:
    found = z_test_of(warmed(spec, "bernoulli", seed=1), spec, "bernoulli", seed=1)
    assert found.passed, found.worst


def test_nvil_shortens_its_step_where_the_deviation_is_above_1() -> None:
    """The gradient of q is the true one times 1 / max(1, σ); f's own is untouched."""
    wide, narrow = warmed("nvil", "padded"), warmed("nvil", "padded", scale=0.1)
    assert step_length(wide) < 0.8 and step_length(narrow) == 1
    assert z_test_of(narrow, "nvil", "padded", 0, scale=0.1).passed
    on, known = problem("padded", 0, REPLICAS), truth("padded", 0)
    draws = gradients(run(wide.eval(), "nvil", on).surrogate, on.leaves)
    assert z_test(draws, known.gradient(step_length(wide))).passed
    assert not z_test(draws, known.gradient()).passed
    assert z_test(draws[1:], known.gradient()[1:]).passed  # f's parameters


# Controls: what others get wrong fails the tests that these files pass.


class RunningMeanWithThePresent(Baseline):
    """A running mean, one for every item, that holds the current signal."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        return signal - (0.9 * 5.0 + 0.1 * signal.mean(0)), None


class MeanWithItself(Baseline):
    """The mean of the K samples, the sample itself among them."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        return signal - signal.mean(0), None


class CoefficientOfTheSameSamples(Baseline):
    """b* = Cov(f ∇log q, ∇log q) / Var(∇log q) of the samples that it is used on."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        square = draw.q.squared_score(draw.z).sum(-1)  # [S, *B]
        return signal - (signal * square).sum(0) / square.sum(0), None


class TwiceLeftOut(Baseline):
    """Leave-one-out of what leave-one-out has left."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        once = LeaveOneOut()
        return once(once(signal, draw)[0], draw)


CONTROLS = [RunningMeanWithThePresent, MeanWithItself, CoefficientOfTheSameSamples, TwiceLeftOut]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("control", CONTROLS)
def test_baselines_that_see_their_own_sample_fail(control: type[Baseline], seed: int) -> None:
    samples = 1 if control is RunningMeanWithThePresent else 4
    found = z_test_of(ScoreFunction(samples, [control()]), "score_function", "bernoulli", seed)
    assert found.worst > 1.5 * found.critical


def own_slope(built: Baseline) -> Tensor:
    """∂ left / ∂ signal of one sample of four, at eight random signals: [8] or [8, N]."""
    generator = torch.Generator().manual_seed(7)
    on = problem("bernoulli", replicas=1)
    draw = Draw(on.q, on.f, on.q.sample(4, generator), on.context.detach())
    more = torch.zeros(4, 1, dtype=torch.float64)
    more[1, 0] = 0.5
    slopes = []
    for _ in range(8):
        signal = 3 * torch.randn(4, 1, generator=generator, dtype=torch.float64)
        left = [copy.deepcopy(built)(s, draw)[0][1, 0] for s in (signal, signal + more)]
        slopes.append((left[1] - left[0]) / 0.5)
    return torch.stack(slopes)


@pytest.mark.parametrize("name", ALL_BASELINES)
def test_no_baseline_depends_on_its_own_sample(name: str) -> None:
    """Exactly, with one item in the batch and in training mode: what it takes is no function of it.

    40,000 items share a running mean, which hides from the z-test that it holds the present one.
    """
    built = warmed(f"score_function+{name}", "bernoulli", seed=1).baselines[0]
    slope = own_slope(built)
    expected = torch.full_like(slope, step_length(built))
    torch.testing.assert_close(slope, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_slope_finds_those_that_do(control: type[Baseline]) -> None:
    assert (own_slope(control()) - 1).abs().max() > 0.01


# The items of a batch.


class NormalisedOverTheBatch(Estimator):
    """Weighs particles over samples and items, as Pyro 1.9.2's ReweightedWakeSleep does."""

    def forward(
        self,
        q: Discrete,
        f: Objective,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Estimate:
        z = q.sample(3, generator)
        f_z = f(z).detach()
        weights = f_z.flatten().softmax(0).reshape(f_z.shape)
        value = f_z.mean(0)
        return Estimate((weights * q.log_prob(z)).sum(0), value, torch.zeros_like(value))


def seen_of_the_first_item(built: Any, spec: str, case: str, others: int) -> list[Tensor]:
    """Its estimate and its rows of the gradient, where the other two items come of a seed."""
    on = problem(case, replicas=3, spread=0.5)
    other = problem(case, seed=others, replicas=3, spread=0.5)
    for leaf, new in zip([*on.leaves, on.context], [*other.leaves, other.context], strict=True):
        leaf.data[1:] = new.data[1:]
    estimate = run(copy.deepcopy(built), spec, on, 3)
    parts = [estimate.surrogate[0], estimate.value[0], estimate.baseline_loss[0]]
    alone = gradients(estimate.surrogate[0], on.leaves)  # its own surrogate's, of all rows
    within = [gradient[0] for gradient in gradients(estimate.surrogate, on.leaves)]
    return [part.detach() for part in parts] + alone + within


def depends_on_other_items(built: Any, spec: str, case: str) -> bool:
    one, two = (seen_of_the_first_item(built, spec, case, others) for others in (0, 1))
    alone = one[3 : 3 + (len(one) - 3) // 2]
    return any(gradient[1:].any() for gradient in alone) or not all(
        torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("spec, case", [*ALONE, *BY_BASELINE])
def test_the_gradient_of_a_batch_is_the_sum_over_its_items(spec: str, case: str) -> None:
    assert not depends_on_other_items(warmed(spec, case, seed=1), spec, case)


def test_particles_weighed_over_the_batch_fail() -> None:
    assert depends_on_other_items(NormalisedOverTheBatch(), "score_function", "bernoulli")


@pytest.mark.parametrize("spec, case", [*ALONE, *BY_BASELINE])
def test_leading_shapes(spec: str, case: str) -> None:
    """[6, …] and [2, 3, …] are the same items, and so are [1, …] and […]."""
    built = warmed(spec, case, seed=1)
    for count, lead in ((6, (2, 3)), (1, ())):
        one = problem(case, replicas=count, spread=0.5)
        two = reshaped(one, case, lead)
        batch = torch.Size((*lead, *CASES[case].lead))
        first, second = (run(copy.deepcopy(built), spec, on, 4) for on in (one, two))
        for name in ("surrogate", "value", "baseline_loss"):
            assert getattr(second, name).shape == batch
            torch.testing.assert_close(
                getattr(first, name).reshape(batch), getattr(second, name), rtol=1e-9, atol=1e-9
            )
        rows = gradients(first.surrogate, one.leaves)
        again = gradients(second.surrogate, two.leaves)
        for row, gradient in zip(rows, again, strict=True):
            torch.testing.assert_close(row.reshape(gradient.shape), gradient, rtol=1e-9, atol=1e-9)


# Padding.


@pytest.mark.parametrize("garbage", [1e4, -1e4])
@pytest.mark.parametrize("spec, case", [p for p in [*ALONE, *BY_BASELINE] if p[1] in PADDED])
def test_padding_gets_no_gradient_and_changes_nothing(spec: str, case: str, garbage: float) -> None:
    built, found = warmed(spec, case, seed=1), []
    for padding in (0.5, garbage):
        on = problem(case, replicas=20, padding=padding)
        own = copy.deepcopy(built)
        estimate = run(own, spec, on, 5)
        draws = gradients(estimate.surrogate, on.leaves)
        for gradient, mask in zip(draws, on.masks, strict=False):  # those of q come first
            assert mask is None or not gradient[~mask].any()
        parameters = [parameter for parameter in own.parameters() if parameter.requires_grad]
        draws += gradients(estimate.baseline_loss, parameters)
        found.append([estimate.value, estimate.baseline_loss.detach(), *draws])
    assert all(part.isfinite().all() for part in found[1])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec, case", [p for p in ALONE if CASES[p[1]].family in DISCRETE])
def test_nearly_certain_latents(spec: str, case: str) -> None:
    """Probabilities of 1e-30 and less in float32: every gradient is a number."""
    built = warmed(spec, case, seed=1, dtype=torch.float32)
    on = problem(case, replicas=20, spread=0.5, dtype=torch.float32)
    for logits in on.logits:
        logits.data *= 70
    estimate = run(built, spec, on, 5)
    own = [parameter for parameter in built.parameters() if parameter.requires_grad]
    found = gradients(estimate.surrogate, on.leaves) + gradients(estimate.baseline_loss, own)
    assert all(part.isfinite().all() for part in found)


# Types, devices, randomness.


@pytest.mark.parametrize("spec, case", [*ALONE, *BY_BASELINE])
def test_float32_and_float64_agree(spec: str, case: str) -> None:
    """For the same generator; and the surrogate's value is the estimate's."""
    built, found = warmed(spec, case, seed=1), []
    for dtype in (torch.float64, torch.float32):
        on = problem(case, replicas=50, spread=0.5, dtype=dtype)
        estimate = run(copy.deepcopy(built).to(dtype), spec, on, 6)
        assert torch.equal(estimate.surrogate.detach(), estimate.value)
        assert not estimate.value.requires_grad
        parts = [estimate.value, estimate.baseline_loss.detach()]
        parts += gradients(estimate.surrogate, on.leaves)
        assert all(part.dtype == dtype for part in parts)
        found.append([part.double() for part in parts])
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spec, case", ONE_EACH)
def test_a_generator_fixes_all_noise(spec: str, case: str) -> None:
    built = warmed(spec, case, seed=1).eval()
    on = problem(case, replicas=20)
    before = torch.get_rng_state()
    once, again, other = (bits(run(built, spec, on, seed), on) for seed in (8, 8, 9))
    assert torch.equal(before, torch.get_rng_state())
    assert once == again
    assert (once == other) == (spec in DETERMINISTIC)


def bits(estimate: Estimate, on: Problem) -> list[Any]:
    """All that can be seen of an estimate, to be compared bit for bit."""
    parts = [estimate.surrogate.detach(), estimate.value, estimate.baseline_loss.detach()]
    return [part.tolist() for part in parts + gradients(estimate.surrogate, on.leaves)]


def step_on_meta(built: Estimator, spec: str, case: str) -> None:
    on = problem(case, replicas=3, device="meta")
    with placement_check():
        estimate = run(built, spec, on)
        (estimate.surrogate.mean() + estimate.baseline_loss.mean()).backward()
    assert estimate.value.device == estimate.baseline_loss.device == torch.device("meta")


@pytest.mark.parametrize("spec, case", [*ALONE, *BY_BASELINE])
def test_device_placement(spec: str, case: str) -> None:
    step_on_meta(estimator(spec, problem(case, device="meta"), 1), spec, case)


class Forgetful(Baseline):
    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        return signal - torch.zeros(signal.shape), None  # made on the host


def test_a_forgotten_constant_is_caught() -> None:
    with pytest.raises(Misplaced, match=r"cpu.*meta"):
        step_on_meta(ScoreFunction(1, [Forgetful()]), "score_function", "bernoulli")


# What reaches what.


@pytest.mark.parametrize("spec, case", ONE_EACH)
def test_no_gradient_leaks(spec: str, case: str) -> None:
    """The surrogate trains q and f; ``baseline_loss`` trains baselines and control variates."""
    built, on = warmed(spec, case, seed=1), problem(case, replicas=5, spread=0.5)
    own = [parameter for parameter in built.parameters() if parameter.requires_grad]
    estimate = run(built, spec, on, 7)
    assert not any(gradient.any() for gradient in gradients(estimate.surrogate, own))
    others = [*on.leaves, on.context]
    assert not any(gradient.any() for gradient in gradients(estimate.baseline_loss, others))
    assert all(gradient.any() for gradient in gradients(estimate.baseline_loss, own))
    # In one backward, as it is used: the same gradients.
    apart = gradients(estimate.surrogate, on.leaves) + gradients(estimate.baseline_loss, own)
    together = gradients(estimate.surrogate + estimate.baseline_loss, [*on.leaves, *own])
    torch.testing.assert_close(together, apart, rtol=0, atol=0)


# State.


@pytest.mark.parametrize("spec, case", ONE_EACH)
def test_state(spec: str, case: str) -> None:
    """Saved and loaded, it goes on with the same bits; `eval` leaves it as it is."""
    built, on = warmed(spec, case, seed=1), problem(case, replicas=5)
    state = copy.deepcopy(built.state_dict())
    loaded = estimator(spec, problem(case), seed=1)
    for parameter in loaded.parameters():
        parameter.data += 1
    loaded.load_state_dict(state)
    for seed in (1, 2):
        assert bits(run(built, spec, on, seed), on) == bits(run(loaded, spec, on, seed), on)
    moved = {name for name, value in built.state_dict().items() if not value.equal(state[name])}
    assert moved == {name for name, _ in built.named_buffers()}
    state = copy.deepcopy(built.state_dict())
    run(built.eval(), spec, on)
    assert all(value.equal(state[name]) for name, value in built.state_dict().items())


# How often f is looked at, as the docstrings say: here 2 samples of 2 latents of 3 values, where
# the estimator takes these.

EVALUATIONS = {
    "arm": 2 * 2,
    "chain": 4,
    "disarm": 2 * 2,
    "enumeration": 3**2,
    "gumbel_softmax": 2,
    "local_expectation": 2 * 3 * 2,
    "local_signals": 2,
    "muprop": 2 + 1,
    "nvil": 2,
    "ppo": 2,
    "rebar": 3 * 2,
    "relax": 2,  # relax_f=False
    "reparameterised": 2,
    "score_function": 2,
    "score_function+self_critical": 2 + 1,
    "straight_through": 2,
    "straight_through_gumbel": 2,
    "top_categories": 2 * (2 + 1) * 2,  # k = 2
    "vimco": 3,
}


@pytest.mark.parametrize("spec", EVALUATIONS)
def test_evaluations_of_f(spec: str) -> None:
    name = spec.split("+")[0]
    on = problem("categorical" if accepts(name, "categorical") else FIRST[name])
    run(estimator(spec, on, seed=1), spec, on)
    assert sum(on.calls) == EVALUATIONS[spec]


# PPO.


@pytest.mark.parametrize(
    "old, advantage, slope",
    [
        (0.4, 1.0, 0.0),  # r = 1.5, clipped at 1.2
        (0.4, -1.0, -1.5 * 0.4),  # the worse of both is the unclipped
        (0.9, 1.0, 0.6 / 0.9 * 0.4),  # r = 2/3, below 0.8
        (0.9, -1.0, 0.0),
        (0.55, 2.0, 0.6 / 0.55 * 2 * 0.4),  # inside
        (0.55, -2.0, -0.6 / 0.55 * 2 * 0.4),
    ],
)
def test_ppo_clips(old: float, advantage: float, slope: float) -> None:
    """z = 1 was drawn with probability ``old`` and has 0.6 now: ∇ log q(z) = 1 − 0.6; ε = 0.2."""
    logits = torch.tensor([math.log(0.6 / 0.4)], dtype=torch.float64, requires_grad=True)
    value = torch.tensor(3.0, dtype=torch.float64)
    rollout = Rollout(
        z=torch.ones(1, 1, dtype=torch.float64),
        log_q=torch.tensor([math.log(old)], dtype=torch.float64),
        advantage=torch.tensor([advantage], dtype=torch.float64),
        value=value,
        baseline_loss=torch.zeros_like(value),
    )
    estimate = PPO(clip=0.2).surrogate(Bernoulli(logits), rollout)
    assert gradients(estimate.surrogate, [logits])[0].item() == pytest.approx(slope, abs=1e-12)
    assert estimate.surrogate.item() == estimate.value.item() == 3


def test_ppo_takes_several_steps_on_the_same_samples() -> None:
    """The first is the score function's; they all climb, and clipping holds them near."""
    weights = torch.tensor([1.0, -2.0, 0.5])
    away = []
    for clip in (0.1, 1e9):
        ppo = PPO(4, [Constant()], clip)
        logits = torch.zeros(3, requires_grad=True)
        q = Bernoulli(logits.expand(500, 3))
        rollout = ppo.draw(q, lambda z: z @ weights, generator=torch.Generator().manual_seed(1))
        plain = ScoreFunction(4, ppo.baselines)
        known = plain(q, lambda z: z @ weights, None, torch.Generator().manual_seed(1))
        first = gradients(ppo.surrogate(q, rollout).surrogate, [logits])
        torch.testing.assert_close(first, gradients(known.surrogate, [logits]))
        rollout.baseline_loss.mean().backward()  # once
        assert ppo.baselines[0].constant.grad
        for _ in range(20):
            estimate = ppo.surrogate(Bernoulli(logits.expand(500, 3)), rollout)
            logits.grad = None
            (-estimate.surrogate.mean() + estimate.baseline_loss.mean()).backward()
            assert logits.grad is not None
            logits.data -= logits.grad
        assert torch.equal(logits.sign(), weights.sign())
        away.append(logits.detach().norm().item())
    assert away[0] < 0.5 * away[1]


# Local signals.


def test_local_signals_with_a_dependence_of_ones_own() -> None:
    """Two terms of three latents: unbiased with the true table, biased with a hole in it."""
    of, on = problem("bernoulli", 1), problem("bernoulli", 1, REPLICAS)

    def terms(problem: Problem, z: Latent) -> Tensor:
        assert isinstance(z, Tensor)
        u = z * problem.weights[0] + problem.offsets
        return torch.stack([(u[..., 0] + u[..., 2]).square(), u[..., 1].exp()], -1)

    z, log_q = of.q.enumerate_support()
    exact = gradients((log_q.exp() * terms(of, z).sum(-1)).sum(0), of.leaves)
    table = torch.tensor([[True, False], [False, True], [True, False]])
    hole = table & torch.tensor([[True], [True], [False]])
    spread = {}
    for depends in (table, hole, torch.ones_like(table)):
        built = LocalSignals(depends=depends)
        estimate = built(on.q, lambda z: terms(on, z), None, torch.Generator().manual_seed(1))
        draws = gradients(estimate.surrogate, on.leaves)
        assert z_test(draws, exact).passed == (depends is not hole)
        spread[depends.sum().item()] = draws[0].var(0).sum()
    assert spread[3] < 0.8 * spread[6]  # and it is what lowers the variance
