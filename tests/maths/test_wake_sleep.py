"""The gradients of the learners of documents against enumeration.

Each test draws a learner's gradient many times and compares its mean with the exact one: z-scores
of all parameters, Bonferroni at one in a million. A wrong rule must fail by far.
"""

import math
from typing import Any

import pytest
import torch
from tiny_documents import bags, batch, every_code, every_document, network
from torch import Tensor, nn

from latentnlp.data.bags import BagBatch, BagBatches
from latentnlp.document_models.belief_network import BeliefNetwork
from latentnlp.errors import UserError
from latentnlp.learners import reweighted_wake_sleep, variational, wake_sleep
from latentnlp.learners._ascent import AscentConfig, Climb, Objective

DOCUMENTS = [[0, 1, 1], [3]]  # of different lengths
REPLICAS, CHUNKS = 200, 300
LIMIT = 5.9  # of |z|, for some 60 parameters: one run in a million is above it


def gradients(model: nn.Module, objective: Tensor) -> Tensor:
    """∇ objective by all of the model's parameters, flat; 0 for those that play no part."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(objective, parameters, allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def drawn(objective: Objective[Any]) -> Tensor:
    """The mean gradient of each chunk, [CHUNKS, parameters]."""
    torch.manual_seed(5)
    many = batch(DOCUMENTS * REPLICAS)
    return torch.stack(
        [
            gradients(objective.model, objective(many).objective.sum()) / REPLICAS
            for _ in range(CHUNKS)
        ]
    )


def greatest_z(draws: Tensor, exact: Tensor) -> float:
    error = draws.std(0) / math.sqrt(len(draws))
    difference = (draws.mean(0) - exact).abs()
    return float((difference / error.clamp(min=1e-6)).max())


def log_p_and_q(model: BeliefNetwork, documents: BagBatch) -> tuple[Tensor, Tensor]:
    z, log_q = every_code(model, documents)
    return model.log_joint(documents, z), log_q  # [M, B]


def wake(model: BeliefNetwork) -> Tensor:
    """Σ_d E_q log p(x, z), with its gradient in θ."""
    log_p, log_q = log_p_and_q(model, batch(DOCUMENTS))
    return (log_q.exp().detach() * log_p).sum()


def sleep(model: BeliefNetwork) -> Tensor:
    """Σ_d E_p log q(z | x̃) over all dreams of each document's length, with its gradient in λ."""
    total = torch.zeros(())
    for document in DOCUMENTS:
        log_p, log_q = log_p_and_q(model, batch(every_document(len(document))))
        total = total + (log_p.exp().detach() * log_q).sum()
    return total


def reweighted(model: BeliefNetwork, samples: int, wake_weight: float) -> Tensor:
    """Σ_d E_{z_1 … z_K} Σ_k w̃_k (log p + wake · log q)."""
    log_p, log_q = log_p_and_q(model, batch(DOCUMENTS))
    count = len(log_p)
    index = torch.cartesian_prod(*[torch.arange(count)] * samples).reshape(-1, samples)
    chosen_p, chosen_q = log_p[index], log_q[index]  # [M^K, K, B]
    probability = chosen_q.sum(1).exp().detach()
    weights = (chosen_p - chosen_q).detach().softmax(1)
    return (probability[:, None] * weights * (chosen_p + wake_weight * chosen_q)).sum()


def test_wake_sleep_follows_both_phases() -> None:
    model = network((2, 2))
    exact = gradients(model, wake(model) + sleep(model))
    draws = drawn(wake_sleep.WakeSleep(model))
    assert greatest_z(draws, exact) < LIMIT
    # Neither phase alone, nor the gradient of the ELBO, would pass.
    assert greatest_z(draws, gradients(model, wake(model))) > 20
    assert greatest_z(draws, gradients(model, sleep(model))) > 20


@pytest.mark.parametrize(("samples", "wake_λ", "sleep_λ"), [(1, 1, 0), (2, 0.5, 0.5), (3, 0, 1)])
def test_reweighted_wake_sleep_follows_its_equation(samples, wake_λ, sleep_λ) -> None:
    model = network((2, 1))
    config = reweighted_wake_sleep.Config(samples=samples, wake=wake_λ, sleep=sleep_λ)
    objective = reweighted_wake_sleep.ReweightedWakeSleep(config, model)
    equation = reweighted(model, samples, wake_λ) + sleep_λ * sleep(model)
    assert greatest_z(drawn(objective), gradients(model, equation)) < LIMIT


class OneWeightForAll(Objective[BeliefNetwork]):
    """The defect of which there is a published example: one weight a sample for the whole batch."""

    def forward(self, batch: BagBatch) -> Climb:
        q = self.model.posterior(batch)
        z = q.sample(2)
        log_p, log_q = self.model.log_joint(batch, z), q.log_prob(z)
        weights = (log_p - log_q).detach().sum(1).softmax(0)
        climbed = (weights[:, None] * (log_p + log_q)).sum(0)
        return Climb(climbed, climbed)


def test_a_weight_for_the_whole_batch_would_fail() -> None:
    model = network((2, 1))
    exact = gradients(model, reweighted(model, 2, 1.0))
    assert greatest_z(drawn(OneWeightForAll(model)), exact) > 20


def test_one_sample_and_sleep_alone_are_wake_sleep() -> None:
    """The same draws in the same order: the same number."""
    model, documents = network((2, 2)), batch(DOCUMENTS)
    config = reweighted_wake_sleep.Config(samples=1, wake=0, sleep=1)
    torch.manual_seed(1)
    one = reweighted_wake_sleep.ReweightedWakeSleep(config, model)(documents)
    torch.manual_seed(1)
    other = wake_sleep.WakeSleep(model)(documents)
    torch.testing.assert_close(
        gradients(model, one.objective.sum()), gradients(model, other.objective.sum())
    )
    torch.testing.assert_close(one.log_likelihood, other.log_likelihood)


UNIGRAM = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()


def elbo(model: BeliefNetwork) -> Tensor:
    log_p, log_q = log_p_and_q(model, batch(DOCUMENTS))
    return (log_q.exp() * (log_p - log_q)).sum()


def bound_of_two(model: BeliefNetwork) -> Tensor:
    log_p, log_q = log_p_and_q(model, batch(DOCUMENTS))
    index = torch.cartesian_prod(torch.arange(len(log_p)), torch.arange(len(log_p)))
    bound = (log_p - log_q)[index].logsumexp(1) - math.log(2)
    return (log_q[index].sum(1).exp() * bound).sum()


@pytest.mark.parametrize(
    ("estimator", "layers", "equation"),
    [
        ("score_function", (2, 1), elbo),
        ("disarm", (3,), elbo),
        ("vimco", (2, 1), bound_of_two),
    ],
)
def test_the_variational_bound_is_climbed_by_its_gradient(estimator, layers, equation) -> None:
    model = network(layers)
    config = variational.Config(estimator=estimator, samples=2)
    objective = variational.Variational(config, model, UNIGRAM)
    assert greatest_z(drawn(objective), gradients(model, equation(model))) < LIMIT


def test_enumeration_gives_the_gradient_itself() -> None:
    model = network((2, 1))
    objective = variational.Variational(variational.Config("enumeration"), model, UNIGRAM)
    found = gradients(model, objective(batch(DOCUMENTS)).objective.sum())
    torch.testing.assert_close(found, gradients(model, elbo(model)), atol=1e-5, rtol=1e-4)


def test_a_learnt_baseline_keeps_the_gradient() -> None:
    model = network((2, 1))
    config = variational.Config("score_function", 2, ("neural", "leave_one_out"))
    objective = variational.Variational(config, model, UNIGRAM)
    for parameter in objective.estimator.parameters():
        nn.init.normal_(parameter)  # any b(x) will do
    assert greatest_z(drawn(objective), gradients(model, elbo(model))) < LIMIT


def test_an_unknown_estimator_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'vimco'"):
        variational.Variational(variational.Config(estimator="vimca"), network(), UNIGRAM)


def test_an_estimator_that_cannot_take_layers_says_so() -> None:
    config, cpu = variational.Config(estimator="disarm"), torch.device("cpu")
    with pytest.raises(UserError, match="disarm needs a product of independent latents"):
        variational.build(config, network((2, 1)), UNIGRAM, 9, cpu)


def builders(model: BeliefNetwork, steps: int) -> dict:
    cpu, fast = torch.device("cpu"), AscentConfig(learning_rate=0.03, averaging=0.5)
    ws, rws = wake_sleep.Config(fast), reweighted_wake_sleep.Config(ascent=fast)
    estimators = {
        name: variational.Config(name, 4, baselines, fast)
        for name, baselines in (
            ("nvil", ()),
            ("vimco", ()),
            ("score_function", ("leave_one_out",)),
        )
    }
    return {
        "wake_sleep": lambda: wake_sleep.build(ws, model, steps, cpu),
        "reweighted_wake_sleep": lambda: reweighted_wake_sleep.build(rws, model, steps, cpu),
    } | {
        name: lambda config=config: variational.build(config, model, UNIGRAM, steps, cpu)
        for name, config in estimators.items()
    }


RULES = ["wake_sleep", "reweighted_wake_sleep", "nvil", "vimco", "score_function"]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_learns_what_words_go_together(rule: str) -> None:
    """Documents of two kinds: a unigram has log p = −log 4 a word, the truth nearly −log 2."""
    torch.manual_seed(0)
    half = torch.randint(0, 2, (400, 8))
    texts = [(row + 2 * (n % 2)).tolist() for n, row in enumerate(half)]
    batches = BagBatches(bags(texts), 40, shuffle=True)
    model = network((4, 2), scale=0.5, recognition_hidden=8)
    learner = builders(model, 60 * len(batches))[rule]()
    for epoch in range(60):
        sums = [learner.step(one) for one in batches.epoch(epoch)]
    total = sum(float(one["log_likelihood"]) for one in sums)
    words = sum(float(one["weight"]) for one in sums)
    assert words == 400 * 8
    assert total / words > -(math.log(2) + math.log(4)) / 2


@pytest.mark.parametrize("α", [0.0, 1.0])
def test_documents_count_by_their_length(α: float) -> None:
    """The first step of Adam has the gradient's sign; so look at the gradient itself."""
    model, documents = network((2,)), batch(DOCUMENTS)
    cpu, steady = torch.device("cpu"), AscentConfig(length_weight=α)
    learner = variational.build(
        variational.Config("enumeration", ascent=steady), model, UNIGRAM, 9, cpu
    )
    log_p, log_q = log_p_and_q(model, documents)
    per_document = (log_q.exp() * (log_p - log_q)).sum(0)
    weights = torch.tensor([3.0, 1.0]) ** -α
    exact = gradients(model, (weights * per_document).sum() / weights.sum())
    learner.step(documents)
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(-found, exact, atol=1e-5, rtol=1e-4)


def test_matrices_decay_and_biases_do_not() -> None:
    """A batch without a word has no gradient: only the decay is left."""
    model = network((2,))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = wake_sleep.Config(AscentConfig(learning_rate=0.1, weight_decay=0.5, warm_up=0))
    learner = wake_sleep.build(config, model, 4, torch.device("cpu"))
    learner.step(batch([[]]))
    # The first step's rate is half of the peak: it rises for one step at the least.
    for name, p in model.named_parameters():
        factor = 1 - 0.05 * 0.5 if p.dim() > 1 else 1.0
        torch.testing.assert_close(p.detach(), before[name] * factor)


def test_the_averaged_weights_follow_the_model() -> None:
    model = network((2,), scale=0.1)
    learner = builders(model, 10)["wake_sleep"]()
    start = model.generator.words.detach().clone()
    for _ in range(10):
        learner.step(batch(DOCUMENTS))
    now, mean = model.generator.words, learner.averaged.generator.words
    assert not torch.equal(now, start)
    assert 0 < (mean - start).norm() < (now - start).norm()
