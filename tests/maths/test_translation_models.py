"""Models of translation against enumeration of every alignment, and the search's route against
the learner's."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import make_batch, mixed_batch, randomise, vocabulary
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from latentnlp.data.batches import Batch
from latentnlp.data.vocabulary import PAD, Vocabulary
from latentnlp.translation_models import _lexicon, _network, latent_alignment, neural_hmm
from latentnlp.translation_models._contract import TranslationModel
from latentnlp.translation_models._latent import LatentTranslation
from latentnlp.translation_models.neural_hmm import NeuralHMM

LATENT = ("neural_hmm", "latent_alignment")
KINDS = (*LATENT, "attention")
LEXICONS = (
    _lexicon.Config(),
    _lexicon.Config(chunk=3),
    _lexicon.Config("joint"),
    _lexicon.Config("joint", chunk=3),
)
SIZES = _network.Config(embedding=5, states=4, keys=3, dropout=0.0)


def build(kind: str, lexicon: _lexicon.Config | None = None, words: int = 6) -> Any:
    module: Any = importlib.import_module(f"latentnlp.translation_models.{kind}")
    config = module.Config()
    if kind in LATENT and lexicon is not None:
        config = replace(config, lexicon=lexicon)
    if kind == "neural_hmm":
        config = replace(config, widest=2)
    model = module.build(config, SIZES, vocabulary(6, "haus"), vocabulary(words, "house")).double()
    randomise(model)
    return model.eval()


def log_potentials(model: LatentTranslation, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p(y_j | x_i) [B, J, I] and log p(i | m) [B, J, I + 1, I] spelt out: the softmax over all
    words for every pair, a matrix of jumps filled cell by cell."""
    network, lexicon = model.network, model.lexicon
    h, first = network.read(batch.source_side)
    s = network.follow(batch.target, first)
    n_batch, n_target, n_source = len(batch), batch.target.shape[1], batch.source.shape[1]
    emission = h.new_zeros(n_batch, n_target, n_source)
    jump = h.new_full((n_batch, n_target, n_source + 1, n_source), -torch.inf)
    bias = network.bias.clone()
    bias[PAD] = -torch.inf
    for b, j in itertools.product(range(n_batch), range(n_target)):
        length = int(batch.source_lengths[b])
        score = torch.stack([network.query(s[b, j]) @ network.key(h[b, i]) for i in range(length)])
        score = score / len(network.key(h[b, 0])) ** 0.5
        for i in range(length):
            u, w = lexicon.of_source(h[b, i]), lexicon.of_target(s[b, j])
            t = torch.tanh(u + w) if lexicon.config.kind == "joint" else u + w
            logits = network.target_embedding.weight @ t + bias
            emission[b, j, i] = logits.log_softmax(0)[batch.target[b, j]]
        for m in range(length + 1):
            row = score.clone()
            if isinstance(model, NeuralHMM):
                of_width = model.jump(s[b, j])
                for i in range(length):
                    width = max(-model.widest, min(model.widest, (i + 1) - m))
                    row[i] = row[i] + of_width[width + model.widest]
            jump[b, j, m, :length] = row.log_softmax(0)
    return emission, jump


def enumerated(model: LatentTranslation, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p(y | x) [B] and p(a_j = i | x, y) [B, J, I], by visiting every alignment."""
    emission, jump = log_potentials(model, batch)
    totals, posterior = [], torch.zeros_like(emission)
    for b in range(len(batch)):
        length, words = int(batch.source_lengths[b]), int(batch.target_lengths[b])
        paths = list(itertools.product(range(length), repeat=words))
        potentials = []
        for path in paths:
            memory, total = 0, emission.new_zeros(())
            for j, i in enumerate(path):
                total = total + jump[b, j, memory, i] + emission[b, j, i]
                memory = i + 1
            potentials.append(total)
        log_p = torch.stack(potentials)
        totals.append(log_p.logsumexp(0))
        for path, weight in zip(paths, log_p.softmax(0), strict=True):
            for j, i in enumerate(path):
                posterior[b, j, i] += weight
    return torch.stack(totals), posterior


@pytest.mark.parametrize("lexicon", LEXICONS, ids=str)
@pytest.mark.parametrize("kind", LATENT)
def test_marginal_and_posterior_against_enumeration(kind: str, lexicon: _lexicon.Config) -> None:
    model = build(kind, lexicon)
    batch = make_batch([[2, 3, 4], [5, 1]], [[2, 4, 3], [6, 5]], widths=(4, 4))
    log_p, words = model(batch)
    assert int(words) == 5
    with torch.no_grad():
        expected, posterior = enumerated(model, batch)
    torch.testing.assert_close(log_p, expected)
    torch.testing.assert_close(model.links(batch), posterior)


@pytest.mark.parametrize("kind", LATENT)
def test_the_gradient_is_that_of_the_enumeration(kind: str) -> None:
    model, batch = build(kind), make_batch([[2, 3, 4], [5, 1]], [[2, 4], [6, 5]])
    gradients = []
    for log_p in (model(batch)[0], enumerated(model, batch)[0]):
        gradients.append(torch.autograd.grad(log_p.sum(), list(model.parameters())))
    for (name, _), found, expected in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(found, expected, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lexicon", [LEXICONS[0], LEXICONS[3]], ids=str)
def test_the_search_goes_by_the_same_probabilities(kind: str, lexicon: _lexicon.Config) -> None:
    """log p(y | x) by `predict` and `extend`, word by word, is what the learner climbs; and each
    prediction is a distribution over the words, padding left out."""
    model, batch = build(kind, lexicon), mixed_batch(words=4)
    expected, _ = model(batch)
    memory = model.encode(batch.source_side)
    state, total = model.start(memory), torch.zeros(len(batch), 1, dtype=torch.float64)
    best = torch.zeros(len(batch), 1, dtype=torch.long)
    for j in range(batch.target.shape[1]):
        log_p, step = model.predict(memory, state)
        assert (log_p[..., PAD] == -torch.inf).all()
        torch.testing.assert_close(log_p.logsumexp(-1), torch.zeros_like(total))
        words = batch.target[:, j : j + 1]
        total += torch.where(words == PAD, 0.0, log_p.gather(2, words.unsqueeze(2)).squeeze(2))
        state = model.extend(memory, step, best, words.clamp_min(1))
    torch.testing.assert_close(total.squeeze(1), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_do_not_mix(kind: str) -> None:
    """Three hypotheses side by side, chosen among each other's parents, as each of them alone."""
    model = build(kind)
    memory = model.encode(mixed_batch(words=4).source_side)
    sentences = len(memory["mask"])
    root = torch.zeros(sentences, 3, dtype=torch.long)
    _, step = model.predict(memory, model.start(memory))
    words = torch.tensor([2, 4, 5]).expand(sentences, 3)
    _, step = model.predict(memory, model.extend(memory, step, root, words))
    parents, second = torch.tensor([[2, 0, 2]]).expand(sentences, 3), torch.tensor([[3, 3, 6]])
    state = model.extend(memory, step, parents, second.expand(sentences, 3))
    together, _ = model.predict(memory, state)
    for k, path in enumerate([(5, 3), (2, 3), (5, 6)]):
        state = model.start(memory)
        for word in path:
            _, step = model.predict(memory, state)
            state = model.extend(memory, step, root[:, :1], torch.full((sentences, 1), word))
        alone, _ = model.predict(memory, state)
        torch.testing.assert_close(together[:, k : k + 1], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_does_not_matter(kind: str) -> None:
    model = build(kind)
    source, target = [[2, 3, 4, 1], [5]], [[2, 4], [6, 5, 3]]
    together = make_batch(source, target, widths=(6, 5))
    log_p, _ = model(together)
    links = model.links(together)
    assert links.shape == (2, 5, 6)
    for b in range(2):
        alone = make_batch(source[b : b + 1], target[b : b + 1])
        torch.testing.assert_close(model(alone)[0], log_p[b : b + 1])
        inside = links[b : b + 1, : len(target[b]), : len(source[b])]
        torch.testing.assert_close(model.links(alone), inside)
        assert float(inside.sum()) == pytest.approx(float(links[b].sum())) == len(target[b])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_reach_every_parameter(kind: str) -> None:
    model = build(kind)
    model(mixed_batch(words=4))[0].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and (parameter.grad != 0).any(), name


@pytest.mark.parametrize("kind", ["product", "joint"])
@pytest.mark.parametrize("chunk", [0, 3])
def test_recomputing_changes_nothing(kind: Any, chunk: int) -> None:
    batch, found = mixed_batch(words=4), []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = build("neural_hmm", _lexicon.Config(kind, chunk, recompute))
        log_p = model(batch)[0]
        found.append((log_p, torch.autograd.grad(log_p.sum(), list(model.parameters()))))
    torch.testing.assert_close(found[0], found[1])


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.elements = max(self.elements, one.numel())
        return result


@pytest.mark.parametrize(
    "lexicon", [_lexicon.Config(), _lexicon.Config("joint", chunk=8, recompute=True)], ids=str
)
def test_the_product_of_all_words_and_links_is_never_held(lexicon: _lexicon.Config) -> None:
    """[B, J, I, V] would be the largest tensor by far; the joint lexicon at once makes it."""
    n_source, n_target, words = 12, 11, 400
    module = neural_hmm
    config = module.Config(lexicon=lexicon)
    source, target = vocabulary(6, "haus"), _words(words)
    batch = make_batch([[2] * n_source] * 2, [[3] * n_target] * 2)
    everything = 2 * n_source * n_target * words

    def largest(config: neural_hmm.Config) -> int:
        model = module.build(config, SIZES, source, target)
        with Largest() as seen:
            model(batch)[0].sum().backward()
        return seen.elements

    assert largest(config) < everything / 5
    assert largest(module.Config(lexicon=_lexicon.Config("joint"))) >= everything


def _words(count: int) -> Vocabulary:
    return Vocabulary((f"w{n}", count - n) for n in range(count))


def test_the_control_has_the_size_of_the_model() -> None:
    sizes = _network.Config()
    source, target = vocabulary(6, "haus"), vocabulary(6, "house")

    def parameters(model: TranslationModel) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    control = importlib.import_module("latentnlp.translation_models.attention")
    attention = parameters(control.build(control.Config(), sizes, source, target))
    zero = parameters(latent_alignment.build(latent_alignment.Config(), sizes, source, target))
    first = neural_hmm.build(neural_hmm.Config(), sizes, source, target)
    jumps = sum(p.numel() for p in first.jump.parameters())
    assert attention == zero == parameters(first) - jumps


def test_a_neural_hmm_learns_to_reverse() -> None:
    """Words said in the opposite order: only an alignment that runs backwards explains them."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    sizes = _network.Config(embedding=16, states=16, keys=8, dropout=0.0)
    model = neural_hmm.build(
        neural_hmm.Config(), sizes, vocabulary(9, "haus"), vocabulary(9, "house")
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def batch() -> Batch:
        source = torch.randint(2, 11, (32, 5), generator=generator)
        return make_batch(source.tolist(), source.flip(1).tolist())

    for _ in range(250):
        optimizer.zero_grad()
        log_p, words = model(batch())
        (-log_p.sum() / words).backward()
        optimizer.step()
    fresh = batch()
    with torch.no_grad():
        log_p, words = model(fresh)
        assert float((-log_p.sum() / words).exp()) < 1.5, "nine words: guessing has 9"
        found = model.links(fresh).argmax(-1)
    assert (found == torch.arange(4, -1, -1)).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["product", "joint"])
def test_in_bfloat16_too_the_words_sum_to_one(kind: Any) -> None:
    """Each word's probability by itself, whatever the rounding: what training climbs."""
    torch.manual_seed(0)
    lexicon = _lexicon.build(_lexicon.Config(kind), 16, 16, 32)
    output = _network.Output(torch.randn(50, 32), torch.randn(50))
    h, s = torch.randn(1, 3, 16), torch.randn(1, 1, 16).expand(1, 50, 16)
    words = torch.arange(50).unsqueeze(0)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        total = lexicon(h, s, words, output).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=2e-3, atol=0)
