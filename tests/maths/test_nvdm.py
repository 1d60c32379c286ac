"""The neural variational document model against dense computation and quadrature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from families import seeded
from torch import Tensor
from torch.distributions import Normal

from latentnlp.data.bags import BagBatch, Bags, batch_of
from latentnlp.document_models import nvdm
from latentnlp.document_models._contract import log_weights
from latentnlp.estimators import make

V, K = 7, 3
FREQUENCIES = np.array([40.0, 3.0, 9.0, 1.0, 20.0, 0.0, 5.0])
DOCUMENTS: list[dict[int, int]] = [{0: 3, 2: 1}, {}, {1: 1, 4: 2, 6: 5}, {3: 1}]


def bags(documents: list[dict[int, int]] = DOCUMENTS) -> Bags:
    sizes = [len(document) for document in documents]
    words = [word for document in documents for word in document]
    counts = [count for document in documents for count in document.values()]
    offsets = np.array([0, *itertools.accumulate(sizes)])
    return Bags(offsets, np.array(words, np.int32), np.array(counts, np.int32), V)


def batch(documents: list[dict[int, int]] = DOCUMENTS) -> BagBatch:
    return batch_of(bags(documents), np.arange(len(documents)))


def model(topics: int = K, seed: int = 0, spread: float = 0.6) -> nvdm.NVDM:
    """With parameters away from the start, in float64."""
    torch.manual_seed(seed)
    built = nvdm.build(nvdm.Config(topics=topics, hidden=5), FREQUENCIES).double()
    generator = seeded(seed)
    for parameter in built.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += spread * noise
    return built


def draws(samples: int = 4, topics: int = K) -> Tensor:
    return torch.randn(samples, len(DOCUMENTS), topics, generator=seeded(3), dtype=torch.float64)


def test_starts_at_the_unigram_model() -> None:
    torch.manual_seed(0)
    built = nvdm.build(nvdm.Config(), FREQUENCIES)
    unigram = torch.from_numpy(np.maximum(FREQUENCIES, 0.5))
    unigram = (unigram / unigram.sum()).float()
    torch.testing.assert_close(built.decode(torch.zeros(1, 50)).exp()[0], unigram)
    q = built.posterior(batch())
    assert q.divergence_from_standard().max() < 0.5 * 50 * 0.1  # a twentieth of a nat a unit
    drawn = built.log_words(q.sample(2000, seeded(0))).exp().mean((0, 1))
    torch.testing.assert_close(drawn, unigram, rtol=0.05, atol=0)


def test_log_joint_is_the_dense_sum() -> None:
    built, z = model(), draws()
    log_p = (z @ built.words.T + built.bias).log_softmax(-1)  # [S, B, V]
    expected = (batch().dense().double() * log_p).sum(-1) + Normal(0, 1).log_prob(z).sum(-1)
    found = built.log_joint(batch(), z)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(built.log_words(z), log_p)
    leaves = [built.words, built.bias]
    ours, theirs = (torch.autograd.grad(x.sum(), leaves) for x in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_q_reads_every_word_of_its_own_document() -> None:
    together = model().posterior(batch())
    for row, document in enumerate(DOCUMENTS):
        alone = model().posterior(batch([document]))
        torch.testing.assert_close(alone.location[0], together.location[row])
        torch.testing.assert_close(alone.log_scale[0], together.log_scale[row])
    for word in range(V):
        more = {**DOCUMENTS[0], word: DOCUMENTS[0].get(word, 0) + 1}
        changed = model().posterior(batch([more])).location[0]
        assert (changed - together.location[0]).abs().min() > 1e-6, word


def test_an_empty_document_has_its_own_code_and_only_the_prior() -> None:
    built, z = model(), draws()
    log_prior = Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(built.log_joint(batch(), z)[:, 1], log_prior[:, 1])
    hidden = built.offset.tanh()
    torch.testing.assert_close(built.codes(batch())[1], built.location(hidden))
    nothing = batch([{}, {}])
    assert built.codes(nothing).shape == (2, K) and built.codes(nothing).isfinite().all()
    none = batch([])
    assert built.log_joint(none, z[:, :0]).shape == (4, 0)


def test_bounds_are_below_the_evidence() -> None:
    """One-dimensional codes: log p(x) = log ∫ N(z; 0, 1) p(x | z) dz by quadrature."""
    built = model(topics=1, spread=0.4)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    z = grid[:, None, None].expand(-1, len(DOCUMENTS), 1)
    evidence = built.log_joint(batch(), z).logsumexp(0) + math.log((grid[1] - grid[0]).item())
    log_w = log_weights(built, batch(), 200_000, seeded(1)).detach()
    elbo = log_w.mean(0)
    ten = (log_w.reshape(-1, 10, len(DOCUMENTS)).logsumexp(1) - math.log(10)).mean(0)
    many = log_w.logsumexp(0) - math.log(len(log_w))
    assert (elbo < ten).all() and (ten < evidence).all()
    torch.testing.assert_close(many, evidence, atol=0.02, rtol=0)
    assert evidence[1].abs() < 1e-9  # an empty document is certain
    q = built.posterior(batch())  # ELBO = E log p(x | z) − KL
    drawn = built.log_likelihood(batch(), q.sample(200_000, seeded(2))).mean(0)
    torch.testing.assert_close(drawn - q.divergence_from_standard(), elbo, atol=0.03, rtol=0)


@pytest.mark.parametrize("detached", [False, True])
def test_learns_by_the_pathwise_estimator(detached: bool) -> None:
    """Two kinds of documents: the bound rises above the unigram model's log-likelihood."""
    torch.manual_seed(1)
    kinds = [{0: 6, 1: 6}, {2: 6, 3: 6}] * 8
    data = bags(kinds)
    built = nvdm.build(nvdm.Config(topics=2, hidden=8), data.frequencies())
    some, estimator = batch(kinds), make("reparameterised", samples=2)
    optimizer = torch.optim.Adam(built.parameters(), lr=0.03)
    for _ in range(150):
        q = built.posterior(some)
        q_of_f = q.detached() if detached else q
        estimate = estimator(q, lambda z, q=q_of_f: built.log_joint(some, z) - q.log_prob(z))
        optimizer.zero_grad()
        (-estimate.surrogate.mean()).backward()
        optimizer.step()
    elbo = log_weights(built, some, 100, seeded(0)).mean()
    # A document of 12 words: 12 log 4 nats by unigram, log 2 + 12 log 2 by the two kinds.
    assert elbo > -0.75 * 12 * math.log(4)
    codes = built.codes(some)
    assert codes[0].sub(codes[1]).norm() > 1
    assert codes[0].sub(codes[2]).norm() < 1e-5


def test_topics() -> None:
    """Unit 0: few documents far out at its lower end; unit 1 the same at its upper end; 2: dead."""
    built = model()
    words = torch.zeros(V, K, dtype=torch.float64)
    words[1, 0], words[2, 1], words[3, 2] = -5.0, 5.0, 5.0
    built.words.data = words
    codes = torch.zeros(10, K, dtype=torch.float64)
    codes[:, 0] = 0.2
    codes[0, 0], codes[:3, 1] = -3.0, 4.0
    built.codes = lambda batch: codes if batch == "all" else codes[batch]  # type: ignore
    (topics,) = built.topics([torch.arange(4), torch.arange(4, 10)])  # type: ignore
    assert topics.layer == 1 and topics.words.shape == topics.relevance.shape == (K, V)
    torch.testing.assert_close(topics.words.sum(-1), torch.ones(K, dtype=torch.float64))
    assert topics.relevance.argmax(-1)[:2].tolist() == [1, 2]
    torch.testing.assert_close(topics.share, torch.tensor([0.1, 0.3, 0.0]))
    assert topics.shown.tolist() == [1, 0]
    up = (built.bias - words[:, 0]).softmax(-1)
    torch.testing.assert_close(topics.words[0], up)


def test_codes_and_decode() -> None:
    built = model()
    codes = built.codes(batch())
    torch.testing.assert_close(codes, built.posterior(batch()).mean())
    torch.testing.assert_close(built.decode(codes), built.log_words(codes[None])[0])


@pytest.mark.parametrize("settings", [{"topics": 0}, {"hidden": 0}])
def test_bad_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="below 1"):
        nvdm.Config(**settings)


def test_follows_the_device_and_the_type() -> None:
    """On the meta device, which computes nothing: a tensor of another device raises."""
    built = nvdm.build(nvdm.Config(topics=K, hidden=5), FREQUENCIES).to("meta")
    there = batch().to("meta")
    q = built.posterior(there)
    z = q.rsample(2)
    for tensor in (z, q.sample(2), q.entropy(), built.log_joint(there, z), built.log_words(z)):
        assert tensor.device.type == "meta" and tensor.dtype == torch.float32
    assert model().log_joint(batch(), draws()).dtype == torch.float64
