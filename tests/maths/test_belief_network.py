"""The belief network against enumeration: probabilities that sum to one, draws, its start."""

import math

import pytest
import torch
from tiny_documents import V, batch, every_code, every_document, network
from torch.distributions import Bernoulli

from latentnlp.data.bags import BagBatch
from latentnlp.document_models._contract import log_weights
from latentnlp.document_models._normaliser import log_normaliser
from latentnlp.document_models.belief_network import BeliefNetwork

LAYERS = [(3,), (2, 2), (2, 3, 1)]


@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("layers", LAYERS)
def test_the_joint_probabilities_of_all_codes_and_documents_sum_to_one(layers, hidden) -> None:
    model = network(layers, generator_hidden=hidden)
    documents = batch(every_document(2))
    z, _ = every_code(model, documents)
    total = model.log_joint(documents, z).logsumexp((0, 1))
    assert total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_the_posterior_sums_to_one_for_every_document(layers) -> None:
    model = network(layers)
    _, log_q = every_code(model, batch([[0, 1, 1], [], [3]]))
    torch.testing.assert_close(log_q.logsumexp(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_the_joint_is_that_of_its_equation() -> None:
    model = network((2, 3))
    documents, g = batch([[0, 1, 1], [2]]), model.generator
    z1 = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    z2 = torch.tensor([[[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
    top = Bernoulli(logits=g.top).log_prob(z2).sum(-1)
    below = Bernoulli(logits=g.between[0](z2)).log_prob(z1).sum(-1)
    h = torch.tanh(z1 @ g.hidden.weight.T + g.hidden.bias)
    words = (h @ g.words.T + g.bias).log_softmax(-1)  # [1, 2, V]
    expected = top + below
    expected[0, 0] += words[0, 0, 0] + 2 * words[0, 0, 1]
    expected[0, 1] += words[0, 1, 2]
    torch.testing.assert_close(model.log_joint(documents, (z1, z2)), expected)
    torch.testing.assert_close(model.log_words((z1, z2)), words)


def test_a_network_without_weights_gives_the_unigram() -> None:
    model = network((5, 3), scale=0.0)
    unigram = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    z = model.posterior(batch([[0]])).sample(7)
    torch.testing.assert_close(model.log_words(z), unigram.expand(7, 1, V))


def test_at_the_start_the_mean_word_logits_are_the_unigrams() -> None:
    model = network((4000,), scale=0.05, active=0.1, generator_hidden=0)
    z = torch.bernoulli(torch.full((50, 1, 4000), 0.1))
    words = model.generator.logits(z).mean((0, 1))
    unigram = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    # A logit has the standard deviation 0.05 √(4000 · 0.09) = 0.95, over 50 draws 0.13.
    assert (words - unigram).abs().max() < 0.6


def test_at_the_start_the_mean_code_gives_the_unigram() -> None:
    model = network((20, 3), scale=1.0, active=0.3)
    words = model.decode(torch.full((1, 20), 0.3))
    torch.testing.assert_close(words, torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log())


def test_documents_of_a_batch_do_not_touch_each_other() -> None:
    model, texts = network((2, 2)), [[0, 1, 1], [], [3, 2]]
    together = batch(texts)
    z, log_q = every_code(model, together)
    joint = model.log_joint(together, z)
    for number, text in enumerate(texts):
        alone = batch([text])
        mine = tuple(layer[:, number : number + 1] for layer in z)
        torch.testing.assert_close(model.log_joint(alone, mine)[:, 0], joint[:, number])
        torch.testing.assert_close(every_code(model, alone)[1][:, 0], log_q[:, number])


def test_an_empty_document_has_the_prior_of_its_code() -> None:
    model, empty = network((2, 2)), batch([[]])
    z, _ = every_code(model, empty)
    torch.testing.assert_close(model.log_joint(empty, z), model.generator.log_prior(z))
    assert torch.isfinite(model.codes(empty)).all()


def test_weights_of_many_samples_find_the_marginal() -> None:
    model, documents = network((2, 2)), batch([[0, 1, 1], [3]])
    z, log_q = every_code(model, documents)
    joint = model.log_joint(documents, z)
    exact = joint.logsumexp(0)
    elbo = (log_q.exp() * (joint - log_q)).sum(0)
    log_w = log_weights(model, documents, 200_000, torch.Generator().manual_seed(1)).detach()
    found = log_w.logsumexp(0) - math.log(len(log_w))
    error = (log_w - found).exp().std(0) / math.sqrt(len(log_w))
    assert ((found - exact).abs() / error < 5).all()  # fails by chance once in a million
    assert ((log_w.mean(0) - elbo).abs() * math.sqrt(len(log_w)) / log_w.std(0) < 5).all()
    assert (elbo < exact).all()


def test_dreams_have_the_models_frequencies() -> None:
    """χ² of (x, z_1) against the enumerated joint; 4^2 · 2^2 − 1 = 63 degrees of freedom."""
    model, count = network((2, 2)), 40_000
    torch.manual_seed(3)
    x, z = model.dream(torch.full((count,), 2.0), 2 * count)
    assert x.lengths.eq(2).all() and x.tokens == 2 * count
    dense = x.dense()
    assert dense.sum(1).eq(2).all()
    key = (dense @ torch.tensor([1.0, 3, 9, 27])).long() * 4 + (
        z[0][0] @ torch.tensor([1.0, 2])
    ).long()
    documents = batch(every_document(2))
    codes, _ = every_code(model, documents)
    joint = model.log_joint(documents, codes).exp()  # [16, 16]
    cells = documents.dense() @ torch.tensor([1.0, 3, 9, 27])
    keys = (cells.long() * 4 + (codes[0] @ torch.tensor([1.0, 2])).long()).flatten()
    expected = torch.zeros(400).index_add(0, keys, joint.flatten()) * count
    observed = torch.bincount(key, minlength=400).float()
    possible = expected > 0
    chi2 = ((observed - expected)[possible].square() / expected[possible]).sum()
    degrees = int(possible.sum()) - 1
    assert observed[~possible].sum() == 0
    assert chi2 < degrees + 6 * math.sqrt(2 * degrees)
    other = network((2, 2), seed=9).log_joint(documents, codes).exp()
    wrong = torch.zeros(400).index_add(0, keys, other.flatten())[possible] * count
    assert ((observed[possible] - wrong).square() / wrong).sum() > 20 * degrees


def test_a_dream_is_the_batch_of_its_words() -> None:
    """Repeated words are one entry; those left over have count 0."""
    model = network((2,))
    lengths = torch.tensor([5.0, 0.0, 9.0, 1.0])
    torch.manual_seed(2)
    x, _ = model.dream(lengths, 15)
    assert x.dense().sum(1).tolist() == lengths.tolist()
    real = x.counts > 0
    pairs = list(zip(x.rows[real].tolist(), x.words[real].tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    vectors = torch.randn(V, 3)
    torch.testing.assert_close(x.weighted_sum(vectors), x.dense() @ vectors)
    torch.testing.assert_close(
        x.weighted_sum(vectors, x.counts.log1p()), x.dense().log1p() @ vectors
    )


def test_the_normaliser_and_its_gradient() -> None:
    torch.manual_seed(0)
    h, words, bias = torch.randn(2, 3, 4), torch.randn(6, 4), torch.randn(6)
    found = log_normaliser(h, words, bias)
    torch.testing.assert_close(found, (h @ words.T + bias).logsumexp(-1))
    wanted = [one.double().requires_grad_() for one in (h, words, bias)]
    assert torch.autograd.gradcheck(log_normaliser, wanted)


def planted() -> tuple[BeliefNetwork, BagBatch]:
    """Unit 0 raises words 0 and 1 and is seldom on; unit 1, often on, raises 2 and 3; unit 2 is
    never on."""
    model = network((3, 2), generator_hidden=0, scale=0.0)
    with torch.no_grad():
        model.generator.words[:2, 0] = 3.0
        model.generator.words[2:, 1] = 3.0
        first = model.recognition.layers[0]
        first.weight.zero_()
        first.bias.copy_(torch.tensor([-3.0, 3.0, -40.0]))
        model.recognition.length.bias.fill_(1.0)
        model.recognition.words.zero_()
        model.recognition.words[0] = 1.0
        first.weight[0] = 0.3  # word 0 speaks for unit 0
        first.weight[1] = -0.3  # and against unit 1
    return model, batch([[0, 0], [1, 2], [3], []])


def test_a_units_topic_is_the_side_that_is_rare() -> None:
    model, documents = planted()
    torch.manual_seed(1)
    topics = model.topics([documents, documents])[0]
    on = model.codes(documents)
    assert topics.on.tolist() == [True, False, True]
    torch.testing.assert_close(topics.share, torch.where(topics.on, on, 1 - on).mean(0))
    # On, unit 0 raises 0 and 1; off, unit 1 no longer raises 2 and 3.
    assert set(topics.top[0, :2].tolist()) == {0, 1}
    assert set(topics.top[1, :2].tolist()) == {0, 1}
    assert 2 not in topics.shown and {0, 1} <= set(topics.shown.tolist())
    torch.testing.assert_close(topics.words.sum(1), torch.ones(3))


def test_the_words_of_a_topic_are_the_average_over_its_documents() -> None:
    """Enumerated: Σ_d q_d0 Σ_z q(z | d) p(w | z with unit 0 on) / Σ_d q_d0."""
    model, documents = planted()
    torch.manual_seed(1)
    found = model.topics([documents] * 500)[0].words[0]
    z, log_q = every_code(model, documents)
    layer = z[0].clone()
    layer[..., 0] = 1.0
    words = (log_q.exp()[..., None] * model.generator.logits(layer).softmax(-1)).sum(0)  # [B, V]
    on = model.codes(documents)[:, 0]
    torch.testing.assert_close(found, (on @ words) / on.sum(), atol=0.01, rtol=0)


def test_topics_of_the_layer_above_speak_through_the_layer_below() -> None:
    model, documents = planted()
    with torch.no_grad():
        above = model.generator.between[0]
        above.weight.zero_()
        above.bias.fill_(-4.0)
        above.weight[0, 1] = 8.0  # unit 1 of layer 2 turns unit 0 of layer 1 on
    torch.manual_seed(1)
    topics = model.topics([documents] * 300)[1]
    assert topics.layer == 2 and topics.words.shape == (2, V)
    toward = topics.words if topics.on[1] else 1 - topics.words
    assert toward[1, :2].sum() > toward[0, :2].sum() + 0.1
