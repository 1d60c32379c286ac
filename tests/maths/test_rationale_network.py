"""Selector, predictor, their batches and their learners, against what they must never do."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from latentnlp.data.documents import Document
from latentnlp.data.texts import EncodedTexts, TextBatch, Texts, WordIndexer, encode, unit_spans
from latentnlp.data.vocabulary import UNK, Vocabulary
from latentnlp.learners import rationale as joint
from latentnlp.learners import thinned_predictor
from latentnlp.models import rationale as models
from latentnlp.models.rationale import Config, RationaleNetwork, build_network, compact

WORDS = [f"w{number}" for number in range(20)]
CPU = torch.device("cpu")
NETS = ["bag", "cnn", "gru", "lstm", "rcnn"]


def network(classes: int | None = 3, **settings) -> RationaleNetwork:
    torch.manual_seed(0)
    config = Config(**{"embedding": 6, "buckets": 50, **settings})
    prior = None if classes is None else torch.full((2, classes), 1 / classes).log()
    return build_network(config, torch.randn(22, 6), prior, rate=0.3).eval()


def batch_of(
    documents: list[Document], unit: str = "word", labels: list[float] | None = None, **kw
) -> TextBatch:
    indexer = WordIndexer(Vocabulary((word, 1) for word in WORDS), True, (3,), 50)
    encoded = [encode(document, indexer, unit, 3) for document in documents]  # type: ignore[arg-type]
    labels = [0.0] * len(documents) if labels is None else labels
    (batch,) = Texts(EncodedTexts(encoded, indexer), labels, len(documents), **kw)
    return batch


def document(words: str, **kw) -> Document:
    return Document("d", tuple(words.split()), **kw)


# ------------------------------------------------------------------------------- nothing leaks


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("encoder", NETS)
def test_an_unselected_word_is_never_read(encoder: str, pool: str) -> None:
    net = network(predictor=encoder, pool=pool)
    one, other = batch_of([document("w0 w1 w2 w3 w4")]), batch_of([document("w9 w1 new w3 w8")])
    z = torch.tensor([[[0.0, 1, 0, 1, 0]]])
    torch.testing.assert_close(net.predictor(one, z), net.predictor(other, z), rtol=0, atol=0)
    everything = torch.ones_like(z)
    assert not torch.equal(net.predictor(one, everything), net.predictor(other, everything))


@pytest.mark.parametrize("encoder", NETS)
def test_neither_gaps_nor_length_are_read(encoder: str) -> None:
    net = network(predictor=encoder)
    near = net.predictor(batch_of([document("w1 w2 w3")]), torch.tensor([[[1.0, 1, 0]]]))
    far = net.predictor(
        batch_of([document("w5 w1 w6 w6 w7 w2 w8 w9")]),
        torch.tensor([[[0.0, 1, 0, 0, 0, 1, 0, 0]]]),
    )
    torch.testing.assert_close(near, far)


def test_a_prediction_does_not_depend_on_the_rest_of_the_batch() -> None:
    texts = [document("w1 w2"), document("w3 w4 w5 w6 w7"), document("w8")]
    for unit in ("word", "block"):
        net = network(selector="cnn")
        together = batch_of(texts, unit)
        q = net.selector(together).marginals()
        z = (q > 0.29).float()
        outputs = net.predictor(together, z[None])[0]
        for row, text in enumerate(texts):
            alone = batch_of([text], unit)
            units = alone.unit_mask.shape[1]
            torch.testing.assert_close(net.selector(alone).marginals()[0], q[row, :units])
            mine = net.predictor(alone, z[None, row : row + 1, :units])[0, 0]
            torch.testing.assert_close(mine, outputs[row])


def test_an_empty_selection_is_an_answer() -> None:
    net = network()
    batch = batch_of([document("w1 w2"), document("w3")])
    outputs = net.predictor(batch, torch.zeros(1, 2, 2))
    assert torch.isfinite(outputs).all()
    torch.testing.assert_close(outputs[0, 0], outputs[0, 1])


def test_compact_moves_the_kept_to_the_left_in_order() -> None:
    keep = torch.tensor([[False, True, False, True], [True, False, False, False]])
    kept, order = compact(keep)
    assert kept.tolist() == [[True, True], [True, False]]
    assert order[0].tolist() == [1, 3]
    assert order[1, 0] == 0


# ------------------------------------------------------------------------------- units, words


def test_units_are_words_blocks_and_sentences() -> None:
    text = document("a b c d e f g", sentence_starts=(0, 2, 5))
    assert unit_spans(text, "block", 3) == ((0, 3), (3, 6), (6, 7))
    assert unit_spans(text, "sentence") == ((0, 2), (2, 5), (5, 7))
    assert len(unit_spans(text, "word")) == 7


def test_selecting_a_unit_selects_its_words() -> None:
    net = network()
    words, blocks = (batch_of([document("w1 w2 w3 w4 w5")], unit) for unit in ("word", "block"))
    by_block = net.predictor(blocks, torch.tensor([[[0.0, 1.0]]]))
    by_word = net.predictor(words, torch.tensor([[[0.0, 0, 0, 1, 1]]]))
    torch.testing.assert_close(by_block, by_word)
    assert blocks.unit_sizes.tolist() == [[3, 2]]


def test_a_new_word_is_told_from_others_by_its_spelling() -> None:
    batch = batch_of([document("unseen other w1")])
    rows = batch.types[batch.places[0]].tolist()
    assert rows[:2] == [UNK, UNK] != rows[2:]
    vectors = network().predictor.embedding(batch)[0]
    assert not torch.equal(vectors[0], vectors[1])
    plain = network(ngrams=()).predictor.embedding(batch)[0]
    assert torch.equal(plain[0], plain[1])


def test_the_selector_knows_where_the_aspect_is() -> None:
    net = network(selector="bag")
    with torch.no_grad():
        net.selector.near.weight.normal_()
    first, second = (
        net.selector(batch_of([document("w1 w1 w1 w1", aspect=span)])).marginals()
        for span in ((0, 1), (2, 3))
    )
    assert not torch.allclose(first, second)
    assert batch_of([document("a b c d e", aspect=(1, 3))]).distance.tolist() == [[-1, 0, 0, 1, 2]]


def test_batches_of_an_epoch_are_a_function_of_seed_and_epoch() -> None:
    texts = [document(" ".join(["w1"] * (1 + n % 7))) for n in range(50)]
    indexer = WordIndexer(Vocabulary([("w1", 1)]))
    encoded = EncodedTexts([encode(text, indexer, "word") for text in texts], indexer)

    def order(seed: int, epoch: int, start: int = 0, **kw) -> list[list[int]]:
        batches = Texts(encoded, [0.0] * 50, 8, seed=seed, shuffle=True, **kw)
        return [batch.index.tolist() for batch in batches.epoch(epoch, start)]

    assert order(1, 0) == order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(itertools.chain(*order(1, 3))) == list(range(50))
    assert order(1, 2)[3:] == order(1, 2, start=3)
    halves = zip(order(1, 2, rank=0, world=2), order(1, 2, rank=1, world=2), strict=True)
    assert [sorted(a + b) for a, b in halves] == [sorted(one) for one in order(1, 2)]
    drawn = list(itertools.chain(*order(1, 0, extra=30, extra_per_epoch=10)))
    assert len(drawn) == len(set(drawn)) == 30
    assert set(range(20)) <= set(drawn)


# ------------------------------------------------------------------------------- the objective


def test_the_balanced_reward_takes_the_class_shares_out() -> None:
    net = network(classes=2)
    net.predictor.log_prior.copy_(torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log())
    batch = batch_of([document("w1 w2")] * 2, labels=[0, 1])
    proper, balanced = (one.detach().exp()[0] for one in net(batch, torch.ones(1, 2, 2)))
    assert proper.sum() == pytest.approx(1) and balanced.sum() == pytest.approx(1)
    # p ∝ p̃ · prior
    expected = balanced * torch.tensor([0.9, 0.1])
    torch.testing.assert_close(proper, expected / expected.sum())


def test_an_amount_is_scored_by_its_square() -> None:
    net = network(classes=None)
    batch = batch_of([document("w1 w2")], labels=[2.0], classes=False)
    z = torch.ones(1, 1, 2)
    proper, balanced = net(batch, z)
    error = 2.0 - net.predictor(batch, z).squeeze()
    assert proper.item() == pytest.approx(-0.5 * error.item() ** 2) == balanced.item()


@pytest.mark.parametrize("selection", ["independent", "first_order"])
def test_the_sampled_gradient_is_that_of_the_enumerated_objective(selection: str) -> None:
    """4,000 steps of the score function against one by enumeration: a z-test of the selector's
    bias gradient, |z| < 5 (a false alarm in 1.7 million)."""
    net = network(selector="cnn", selection=selection, predictor_dropout=0, selector_dropout=0)
    net.train()
    for half in (net.selector, net.predictor):
        half.embedding.unknown = 0.0
    copies = 2000
    batch = batch_of([document("w1 w2 w3 w4")] * copies, labels=[1.0] * copies)
    few = batch_of([document("w1 w2 w3 w4")], labels=[1.0])

    def gradients(name: str, samples: int, baselines: tuple[str, ...], batch: TextBatch) -> Tensor:
        config = joint.EstimatorConfig(name, samples, baselines)
        objective = joint.Objective(joint.Config(estimator=config), net)
        surrogate = objective(batch)[0] / len(batch)
        (gradient,) = torch.autograd.grad(surrogate, net.selector.head.bias)
        return gradient

    exact = gradients("enumeration", 1, (), few)
    torch.manual_seed(1)
    draws = torch.stack(
        [gradients("score_function", 2, ("leave_one_out",), batch) for _ in range(40)]
    )
    error = (draws.mean(0) - exact) / (draws.std(0) / len(draws) ** 0.5)
    assert exact.abs().max() > 10 * draws.std(0).max() / len(draws) ** 0.5  # there is a signal
    assert (error.abs() < 5).all(), error


def test_the_controller_brings_the_rate_to_the_target() -> None:
    """A selector of one logit, moved by λ alone, with a reward for selecting."""
    config = joint.Config(rate=0.2)
    controller = joint.RateController(config)
    logit = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=1.0)
    rates = []
    for _ in range(2000):
        rate = logit.sigmoid()
        loss = -0.5 * rate + controller.multiplier() * rate
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        controller.update(rate.detach())
        rates.append(rate.item())
    assert rates[-1] == pytest.approx(0.2, abs=0.005)
    assert max(abs(rate - 0.2) for rate in rates[-500:]) < 0.01


def test_a_fixed_penalty_is_not_moved() -> None:
    controller = joint.RateController(joint.Config(penalty=0.7))
    controller.update(torch.tensor(0.9))
    assert controller.multiplier().item() == pytest.approx(0.7)


@pytest.mark.parametrize("selection", ["independent", "first_order", "kumaraswamy"])
def test_the_selector_starts_at_the_rate(selection: str) -> None:
    net = network(selection=selection, selector="cnn")
    q = net.selector(batch_of([document("w1 w2 w3 w4 w5 w6")])).marginals()
    assert q.mean().item() == pytest.approx(0.3, abs=0.03)


def test_thinning_keeps_whole_units_and_all_of_short_texts() -> None:
    net = network()
    learner = thinned_predictor.ThinnedPredictor(
        thinned_predictor.Config(whole=0.0, least_kept=0.5), net, 10, CPU
    )
    long = batch_of([document(" ".join(["w1"] * 40))] * 200 + [document("w1 w2")])
    torch.manual_seed(0)
    z = learner.thinned(long)[0]
    kept = z.sum(1) / long.unit_mask.sum(1)
    assert kept[-1] == 1
    assert 0.2 < kept[:-1].min() < 0.6 and kept[:-1].mean().item() == pytest.approx(0.75, abs=0.05)
    assert set(z.unique().tolist()) == {0.0, 1.0}


def test_a_frozen_predictor_is_left_as_it_is_and_a_trained_one_is_not() -> None:
    batch = batch_of([document("w1 w2 w3")] * 4, labels=[0, 1, 2, 1])
    for rate, moved in ((0.0, False), (1e-2, True)):
        net = network()
        before = net.predictor.head.weight.detach().clone()
        start = net.selector.head.weight.detach().clone()
        config = joint.Config(predictor_learning_rate=rate)
        learner = joint.Rationale(config, net, 10, CPU)
        learner.step(batch)
        assert torch.equal(net.predictor.head.weight, before) != moved
        assert not torch.equal(net.selector.head.weight, start)
        mean = start.lerp(net.selector.head.weight, 1 - config.averaging)
        torch.testing.assert_close(learner.average.model.selector.head.weight, mean)


def test_hardkuma_trains_the_selector_through_the_words() -> None:
    net = network(selection="kumaraswamy", selector="cnn")
    net.train()
    config = joint.EstimatorConfig("reparameterised", 1, ())
    objective = joint.Objective(joint.Config(estimator=config), net)
    torch.manual_seed(0)
    objective(batch_of([document("w1 w2 w3 w4")] * 20, labels=[1.0] * 20))[0].backward()
    gradient = net.selector.head.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_a_transformer_is_both_or_neither() -> None:
    with pytest.raises(ValueError, match="both encoders"):
        models.Config(selector="transformer")
