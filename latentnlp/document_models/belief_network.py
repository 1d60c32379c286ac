r"""The document belief network: layers of bits above a distribution of words.

    generator     p(z_L) Π_l p(z_l | z_{l+1}) Π_n p(w_n | z_1)
                  p(z_l = 1 | z_{l+1}) = σ(W_l z_{l+1} + b_l)
                  p(w | z_1) = softmax(W_0 h + b_0),   h = z_1    (or h = tanh(G z_1 + g))
    recognition   q(z_1 | x) Π_l q(z_{l+1} | z_l, x),   factorial Bernoullis

The generator is a sigmoid belief network (Neal 1992); the pair, a Helmholtz machine (Dayan, Hinton,
Neal and Zemel 1995). z_1 is next to the words; z_L is the top.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch, batch_of_draws
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.discrete import Discrete, Latent
from latentnlp.distributions.hierarchy import Hierarchy
from latentnlp.document_models._contract import DocumentModel, Topics, log_unigram
from latentnlp.document_models._normaliser import log_normaliser

_COMMON = 0.4  # λ of a topic's words: 1 shows the most probable, 0 the most particular
_ALIVE = 1e-4  # variance of q(z_k = 1 | x) over documents


@dataclass(frozen=True)
class Config:
    layers: tuple[int, ...] = (200, 50)  # units of z_1, z_2, …, z_L
    generator_hidden: int = 0  # size of h; 0: the words are drawn from z_1 itself
    recognition_hidden: int = 256  # deterministic units between the words and the layers of q
    active: float = 0.27  # p(z = 1) at the start
    scale: float = 0.1  # standard deviation of W_0 at the start
    dropout: float = 0.0  # of h, in training

    def __post_init__(self) -> None:
        at_least(self, generator_hidden=0, recognition_hidden=1, scale=0, dropout=0)
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers = {list(self.layers)}: one layer of one unit at the least")
        if self.dropout >= 1:
            raise ValueError(f"dropout = {self.dropout} would leave nothing: below 1")
        if not 0 < self.active < 1:
            raise ValueError(f"active = {self.active} is not between 0 and 1")


class Generator(nn.Module):
    """p(x, z): θ."""

    def __init__(self, config: Config, log_unigram: Tensor) -> None:
        """log_unigram: [V]; with W_0 = 0 every document would have these frequencies."""
        super().__init__()
        self.sizes = sizes = config.layers
        start = math.log(config.active / (1 - config.active))
        self.top = nn.Parameter(torch.full((sizes[-1],), start))
        self.between = nn.ModuleList(
            linear(above, below, start) for below, above in pairwise(sizes)
        )
        width = config.generator_hidden or sizes[0]
        self.hidden = linear(sizes[0], width, 0.0, 2.0) if config.generator_hidden else None
        self.dropout = nn.Dropout(config.dropout)
        self.words = nn.Parameter(torch.randn(len(log_unigram), width) * config.scale)  # W_0
        # At the mean code the words have their frequencies.
        mean = self.features(torch.full((sizes[0],), config.active)).detach()
        self.bias = nn.Parameter(log_unigram - self.words.detach() @ mean)  # b_0

    def features(self, z: Tensor) -> Tensor:
        """h, [..., H] of z_1 [..., K]."""
        return self.dropout(z if self.hidden is None else self.hidden(z).tanh())

    def prior(self, above: Tensor | None, layer: int) -> Bernoulli:
        """p(z_l | z_{l+1}), of ``above`` [S, B, K_{l+1}]; the top one has none."""
        return Bernoulli(self.top if above is None else self.between[layer](above))

    def log_prior(self, layers: tuple[Tensor, ...]) -> Tensor:
        """log p(z_1, …, z_L), [S, B]."""
        top = layers[-1]
        total = Bernoulli(self.top.expand(top.shape[1:])).log_prob(top)
        for number, (below, above) in enumerate(pairwise(layers)):
            # One sample of a distribution of batch shape [S, B].
            total = total + self.prior(above, number).log_prob(below[None]).squeeze(0)
        return total

    def logits(self, z: Tensor) -> Tensor:
        """W_0 h + b_0, [..., V] of z_1 [..., K]."""
        return nn.functional.linear(self.features(z), self.words, self.bias)

    def log_likelihood(self, batch: BagBatch, z: Tensor) -> Tensor:
        """Σ_n log p(w_n | z_1), [S, B]: only the normaliser is a sum over all words."""
        h = self.features(z)  # [S, B, H]
        table = torch.cat([self.words, self.bias[:, None]], 1)  # [V, H + 1]
        slope, constant = batch.weighted_sum(table).split([h.shape[-1], 1], -1)
        normaliser = log_normaliser(h, self.words, self.bias)  # [S, B]
        return (h * slope).sum(-1) + constant.squeeze(-1) - batch.lengths * normaliser

    def words_with(self, z: Tensor, layer: int, unit: int, value: bool) -> Tensor:
        """p(w | z_l with one unit set to ``value``), [B, V]; layers below l are drawn from p."""
        z = z.clone()
        z[:, unit] = float(value)
        for number in reversed(range(layer)):
            z = self.prior(z, number).sample(1).squeeze(0)
        return self.logits(z).softmax(-1)

    def dream(self, lengths: Tensor, tokens: int) -> tuple[BagBatch, Latent]:
        """(x̃, z) ~ p, documents of these lengths [B]; z as q draws it, with one sample."""
        count = len(lengths)
        layers = [Bernoulli(self.top.expand(count, -1)).sample(1)]  # [1, B, K_L]
        for number in reversed(range(len(self.between))):
            layers.append(self.prior(layers[-1], number).sample(1).squeeze(0))
        words, rows = draw_words(self.logits(layers[-1].squeeze(0)), lengths, tokens)
        batch = batch_of_draws(words, rows, lengths, len(self.bias))
        return batch, as_latent(layers[::-1])


class Recognition(nn.Module):
    """q(z | x): λ. Every layer sees the words too, through the same hidden units."""

    def __init__(self, config: Config, vocabulary_size: int) -> None:
        super().__init__()
        sizes, width = config.layers, config.recognition_hidden
        start = math.log(config.active / (1 - config.active))
        self.words = nn.Parameter(torch.randn(vocabulary_size, width) * 0.1)  # R
        self.length = nn.Linear(2, width)
        nn.init.zeros_(self.length.weight)
        nn.init.zeros_(self.length.bias)
        self.layers = nn.ModuleList(linear(width, size, start) for size in sizes)
        self.between = nn.ModuleList(linear(below, above, None) for below, above in pairwise(sizes))

    def features(self, batch: BagBatch) -> Tensor:
        """relu(Σ_w log(1 + n_w) R[w] + r(N)), [B, H]; r: a parabola in log N."""
        size = (batch.lengths.clamp(min=1).log() - 4) / 2  # between −2 and 2 for most documents
        lengths = self.length(torch.stack([size, size.square()], -1))
        return (batch.weighted_sum(self.words, batch.counts.log1p()) + lengths).relu()

    def forward(self, batch: BagBatch) -> Bernoulli | Hierarchy:
        features = self.features(batch)
        first, *above = (layer(features) for layer in self.layers)
        if not above:
            return Bernoulli(first)
        steps = zip(above, self.between, strict=True)
        return Hierarchy(Bernoulli(first), [self._next(seen, layer) for seen, layer in steps])

    @staticmethod
    def _next(seen: Tensor, layer: nn.Module) -> Callable[..., Bernoulli]:
        """q(z_{l+1} | z_l, x), of what is seen of x."""
        return lambda *below: Bernoulli(layer(below[-1]) + seen)


def linear(inputs: int, outputs: int, bias: float | None, scale: float = 0.2) -> nn.Linear:
    """A layer whose answers differ by about ``scale`` at the start; None: without a bias."""
    layer = nn.Linear(inputs, outputs, bias=bias is not None)
    nn.init.normal_(layer.weight, std=scale / math.sqrt(inputs))
    if bias is not None:
        nn.init.constant_(layer.bias, bias)
    return layer


class BeliefNetwork(DocumentModel):
    """A generator and its recognition network."""

    def __init__(self, config: Config, log_unigram: Tensor) -> None:
        """log_unigram: [V], log-probabilities of the words where every weight is 0."""
        super().__init__()
        self.vocabulary_size = len(log_unigram)
        self.generator = Generator(config, log_unigram)
        self.recognition = Recognition(config, len(log_unigram))

    def posterior(self, batch: BagBatch) -> Bernoulli | Hierarchy:
        return self.recognition(batch)

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        layers = as_layers(z)
        return self.generator.log_prior(layers) + self.generator.log_likelihood(batch, layers[0])

    def dream(self, lengths: Tensor, tokens: int) -> tuple[BagBatch, Latent]:
        """(x̃, z) ~ p for documents of these lengths (``tokens`` in all); z has one sample."""
        return self.generator.dream(lengths, tokens)

    def log_words(self, z: Latent) -> Tensor:
        return self.generator.logits(as_layers(z)[0]).log_softmax(-1)

    def codes(self, batch: BagBatch) -> Tensor:
        """q(z_1 = 1 | x)."""
        q = self.posterior(batch)
        return _mean(q.first if isinstance(q, Hierarchy) else q)

    def means(self, batch: BagBatch, below: tuple[Tensor, ...]) -> list[Tensor]:
        """q(z_l = 1 | z_{l−1}, x) of every layer, [B, K_l]; ``below``: z_1 … z_L, [B, K_l]."""
        q = self.posterior(batch)
        if isinstance(q, Bernoulli):
            return [q.mean()]
        conditionals = zip(q.conditionals, below, strict=False)
        return [self.codes(batch), *(_mean(given(z[None]))[0] for given, z in conditionals)]

    def decode(self, codes: Tensor) -> Tensor:
        return self.generator.logits(codes).log_softmax(-1)

    @torch.no_grad()
    def topics(self, batches: Iterable[BagBatch]) -> list[Topics]:
        r"""What each unit says, in the company that it keeps.

            words_k      Σ_d q_dk p(w | z_d with unit k on) / Σ_d q_dk,     z_d ~ q(z | x_d)
            relevance    λ log words_k + (1 − λ) log (words_k / the same with unit k off)

        q_dk = q(z_k = 1 | x_d), and λ = `_COMMON`. Of a unit that is on in most documents on and
        off change places. For a unit of a layer above, the layers below are drawn from p given its
        layer. A unit is alive where q_dk varies over documents.
        """
        device = self.generator.bias.device
        company = []  # of each batch, z_1 … z_L and q(z_l = 1 | …)
        for batch in batches:
            here = batch.to(device)
            layers = tuple(z[0] for z in as_layers(self.posterior(here).sample(1)))
            company.append((layers, self.means(here, layers)))
        return [self._topics(number, company) for number in range(len(self.generator.sizes))]

    def _topics(
        self, number: int, company: list[tuple[tuple[Tensor, ...], list[Tensor]]]
    ) -> Topics:
        on = torch.cat([means[number] for _, means in company])  # [D, K]
        rare_on = on.mean(0) <= 0.5
        weights = torch.where(rare_on, on, 1 - on) + 1e-12  # a dead unit speaks for all documents
        words = on.new_zeros(2, on.shape[1], self.vocabulary_size)  # the common side, the rare one
        start = 0
        for layers, _ in company:
            z = layers[number]
            weight = weights[start : start + len(z)]
            start += len(z)
            for unit, one in enumerate(rare_on.tolist()):
                for side, value in enumerate((not one, one)):
                    given = self.generator.words_with(z, number, unit, value)
                    words[side, unit] += weight[:, unit] @ given
        words = words / weights.sum(0)[None, :, None]
        relevance = words[1].log() - (1 - _COMMON) * words[0].log()
        alive = on.var(0, correction=0) > _ALIVE
        return Topics.of(number + 1, words[1], relevance, weights.mean(0), rare_on, alive)


def _mean(q: Discrete) -> Tensor:
    assert isinstance(q, Bernoulli)
    return q.mean()


def build(config: Config, frequencies: np.ndarray) -> BeliefNetwork:
    """frequencies: [V], how often training has each word."""
    return BeliefNetwork(config, log_unigram(frequencies))


def as_layers(z: Latent) -> tuple[Tensor, ...]:
    return z if isinstance(z, tuple) else (z,)


def as_latent(layers: list[Tensor]) -> Latent:
    return tuple(layers) if len(layers) > 1 else layers[0]


def draw_words(logits: Tensor, lengths: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """lengths[b] words from softmax(logits[b]): words [T] and their documents [T]."""
    numbers = torch.arange(len(lengths), device=logits.device)
    tokens_before = lengths.long().cumsum(0)
    rows = torch.searchsorted(tokens_before, torch.arange(tokens, device=logits.device), right=True)
    # One table for all documents: row b's cumulative probabilities lie between b and b + 1.
    cumulative = logits.double().softmax(-1).cumsum(-1)
    cumulative = cumulative / cumulative[:, -1:]
    table = (cumulative + numbers[:, None]).flatten()
    u = torch.rand(len(rows), dtype=torch.float64, device=logits.device)
    place = torch.searchsorted(table, rows + u, right=True)
    words = place - rows * logits.shape[1]
    return words.clamp(0, logits.shape[1] - 1), rows
