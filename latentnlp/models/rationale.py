r"""A selector and a predictor that sees only what was selected.

    z ~ q(z | x),   y ~ p(y | x ⊙ z)

Lei, Barzilay and Jaakkola (2016), section 3. z has one bit a *unit* (a word, a block of words, a
sentence). The predictor never sees an unselected word: the selected ones are moved together before
anything mixes positions, so neither the others' content nor the gaps they leave can be read.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from latentnlp.config import at_least
from latentnlp.data.texts import NO_ASPECT, TextBatch
from latentnlp.data.vocabulary import PAD, UNK
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.distributions.markov_bernoulli import MarkovBernoulli
from latentnlp.distributions.stretched_kumaraswamy import StretchedKumaraswamy
from latentnlp.encoders import bag, cnn, gru, lstm, rcnn, transformer
from latentnlp.encoders._contract import Encoder
from latentnlp.models import evidence

Selection = Bernoulli | MarkovBernoulli | StretchedKumaraswamy

_NEAR = 8  # words: distances to the aspect beyond it are one
_LOWEST = -1e9  # below any state; where nothing is there it is all there is
_PLACES = 10  # tenths of a document that a selector of blocks or sentences can tell apart


EncoderName = Literal["bag", "cnn", "gru", "lstm", "rcnn", "transformer"]


@dataclass(frozen=True)
class Config:
    """``selector`` and ``predictor`` are file names in encoders/; each has a table."""

    selector: EncoderName = "bag"
    predictor: EncoderName = "cnn"
    embedding: int = 100  # size of the word vectors, unless they are read from a file
    vectors: str = ""  # a .vec file with word vectors to start from
    ngrams: tuple[int, ...] = (
        3,
        4,
        5,
    )  # characters; a word's vectors are added to its own. (): none
    buckets: int = 20_000  # of hashed n-grams
    # "evidence": not by the network, but by the scores of models/evidence.py (for long documents).
    selection: Literal["independent", "first_order", "kumaraswamy", "evidence"] = "independent"
    pool: Literal["max", "mean"] = "max"  # of the selected words' states
    selector_dropout: float = 0.3
    predictor_dropout: float = 0.4
    unknown: float = 0.05  # of the words are read as unknown in training: so that it is learnt
    bag: bag.Config = field(default_factory=lambda: bag.Config(None))
    cnn: cnn.Config = field(default_factory=lambda: cnn.Config((1, 3, 5), 60))
    gru: gru.Config = field(default_factory=gru.Config)
    lstm: lstm.Config = field(default_factory=lstm.Config)
    rcnn: rcnn.Config = field(default_factory=rcnn.Config)
    transformer: transformer.Config = field(default_factory=transformer.Config)
    evidence: evidence.Config = field(default_factory=evidence.Config)

    def __post_init__(self) -> None:
        at_least(self, embedding=1, buckets=1)
        if (self.selector == "transformer") != (self.predictor == "transformer"):
            raise ValueError("a transformer has pieces of its own: both encoders must be one")
        at_least(self, selector_dropout=0, predictor_dropout=0, unknown=0)


class Embedding(nn.Module):
    r"""Word vectors [B, T, D]: a row of its own, and its character n-grams.

        v(w) = E[w] + 1/√|grams(w)| Σ_{g ∈ grams(w)} G[g]

    A word that training had not has the unknown word's row, and its own n-grams; to learn that row,
    some of the batch's words are taken for unknown in training.
    """

    def __init__(self, table: Tensor, config: Config) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(table.clone(), freeze=False, padding_idx=PAD)
        self.grams: nn.EmbeddingBag | None = None
        self.unknown = config.unknown
        if config.predictor == "transformer":
            self.unknown = 0.0  # its pieces have no unknown one, and are their own spelling
        elif config.ngrams:
            self.grams = nn.EmbeddingBag(
                config.buckets, table.shape[1], mode="sum", include_last_offset=True
            )
            nn.init.normal_(self.grams.weight, std=0.1)

    @property
    def size(self) -> int:
        return self.table.embedding_dim

    def forward(self, batch: TextBatch) -> Tensor:
        types = batch.types
        if self.training and self.unknown > 0:
            hide = torch.rand(types.shape, device=types.device) < self.unknown
            types = torch.where(hide & (types != PAD), torch.full_like(types, UNK), types)
        vectors = self.table(types)  # [W, D]
        if self.grams is not None:
            count = (batch.gram_starts[1:] - batch.gram_starts[:-1]).clamp(min=1)
            spelt = self.grams(batch.grams, batch.gram_starts)
            vectors = vectors + spelt / count.sqrt()[:, None]
        return vectors[batch.places]


class Selector(nn.Module):
    """q(z | x) from a reading of the whole text."""

    def __init__(self, config: Config, embedding: Embedding, encoder: Encoder, rate: float) -> None:
        """rate: the share of units that it selects before it has learnt anything."""
        super().__init__()
        # Beside "evidence" nobody asks it.
        self.kind = "independent" if config.selection == "evidence" else config.selection
        self.embedding, self.encoder = embedding, encoder
        self.dropout = nn.Dropout(config.selector_dropout)
        self.near = nn.Embedding(2 * _NEAR + 2, embedding.size)  # to an aspect; the last: none
        self.place = nn.Embedding(_PLACES, encoder.size)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(self.place.weight)
        self.head = nn.Linear(encoder.size, 1 if self.kind == "independent" else 2)
        nn.init.normal_(self.head.weight, std=0.01)
        with torch.no_grad():
            self.head.bias.copy_(_start(self.kind, rate))

    def forward(self, batch: TextBatch) -> Selection:
        near = batch.distance.clamp(-_NEAR, _NEAR) + _NEAR
        near = torch.where(batch.distance == NO_ASPECT, 2 * _NEAR + 1, near)
        embedded = self.dropout(self.embedding(batch) + self.near(near))
        states = self.encoder(embedded, batch.mask)  # [B, T, H]
        states = self._units(states, batch)  # [B, U, H]
        return self._distribution(self.head(self.dropout(states)), batch.unit_mask)

    def context(self, batch: TextBatch) -> Tensor:
        """What a neural baseline reads of the text: the mean word vector, [B, D]."""
        words = self.embedding.table(batch.types).detach()[batch.places]
        count = batch.mask.sum(-1, keepdim=True).clamp(min=1)
        return (words * batch.mask[..., None]).sum(1) / count

    def _units(self, states: Tensor, batch: TextBatch) -> Tensor:
        """The mean state of every unit's pieces, and where in the text a larger unit stands."""
        if batch.one_to_one:
            return states
        b, u = batch.unit_mask.shape
        index = batch.units[..., None].expand_as(states)
        total = states.new_zeros(b, u, states.shape[-1]).scatter_add(1, index, states)
        pieces = states.new_zeros(b, u).scatter_add(1, batch.units, batch.mask.to(states.dtype))
        count = batch.unit_mask.sum(-1, keepdim=True).clamp(min=1)  # [B, 1]
        place = torch.arange(u, device=states.device) * _PLACES // count
        place = self.place(place.clamp(max=_PLACES - 1))
        larger = (batch.mask.sum(-1) > batch.unit_mask.sum(-1))[:, None, None]
        return total / pieces.clamp(min=1)[..., None] + torch.where(larger, place, 0.0)

    def _distribution(self, scores: Tensor, mask: Tensor) -> Selection:
        if self.kind == "independent":
            return Bernoulli(scores.squeeze(-1), mask)
        if self.kind == "first_order":
            alone, beside = scores.unbind(-1)
            return MarkovBernoulli(torch.stack([alone, alone + beside], -1), mask)
        a, b = nn.functional.softplus(scores).clamp(1e-3, 1e3).unbind(-1)
        return StretchedKumaraswamy(a, b, mask)


def _start(kind: str, rate: float) -> Tensor:
    """The biases of a head that selects at ``rate``."""
    logit = torch.tensor(rate).logit()
    if kind == "independent":
        return logit[None]
    if kind == "first_order":
        return torch.stack([logit, torch.zeros(())])
    # HardKuma with b = 1: P(z = 0) = F(1/12) = (1/12)^a = 1 − rate.
    a = torch.tensor(1 - rate).log() / torch.tensor(1 / 12).log()
    return torch.stack([a, torch.ones(())]).expm1().log()


class Predictor(nn.Module):
    """p(y | x ⊙ z): class log-probabilities, or the mean of an amount with unit variance."""

    log_prior: Tensor

    def __init__(
        self, config: Config, embedding: Embedding, encoder: Encoder, log_prior: Tensor | None
    ) -> None:
        """log_prior: of the classes in the texts and in the extra stock, [2, C]; amounts: None."""
        super().__init__()
        self.classes = log_prior is not None
        self.register_buffer("log_prior", torch.zeros(2, 1) if log_prior is None else log_prior)
        self.embedding, self.encoder, self.pool = embedding, encoder, config.pool
        self.dropout = nn.Dropout(config.predictor_dropout)
        # Stands before the selected words, so that an empty selection can be read too.
        self.nothing = nn.Parameter(torch.zeros(embedding.size))
        self.head = nn.Linear(encoder.size, self.log_prior.shape[1])

    def forward(self, batch: TextBatch, z: Tensor) -> Tensor:
        """z: [S, B, U], 0 for "not selected"; values in between scale the words' vectors.

        Returns the outputs [S, B, C]: log-probabilities of classes, or one amount (C = 1).
        """
        outputs = self.evidence(batch, z)
        if not self.classes:
            return outputs
        return (outputs + self.log_prior[batch.extra]).log_softmax(-1)

    def evidence(self, batch: TextBatch, z: Tensor) -> Tensor:
        """What the words say, [S, B, C]: the classes' logits before their shares are added.

        So the head does not learn how frequent a class is (Menon et al. 2021, section 3).
        """
        samples, b = z.shape[:2]
        z = z.gather(2, batch.units.expand(samples, -1, -1))  # [S, B, T]: a unit's pieces
        z = torch.where(batch.mask, z, torch.zeros_like(z)).flatten(0, 1)  # [S·B, T]
        kept, order = compact(z.detach() > 0)  # [R, M]
        words = self.embedding(batch)  # [B, T, D]
        row = torch.arange(samples * b, device=z.device)[:, None] % max(b, 1)
        embedded = words[row, order] * z.gather(1, order)[..., None]  # [R, M, D]
        embedded = torch.where(kept[..., None], embedded, torch.zeros_like(embedded))
        first = self.nothing.expand(len(embedded), 1, -1)
        kept = nn.functional.pad(kept, (1, 0), value=True)
        states = self.encoder(self.dropout(torch.cat([first, embedded], 1)), kept)
        outputs = self.head(self.dropout(self._pooled(states, kept)))
        return outputs.unflatten(0, (samples, b))

    def _pooled(self, states: Tensor, kept: Tensor) -> Tensor:
        if self.pool == "max":
            return states.masked_fill(~kept[..., None], _LOWEST).amax(1)
        return states.sum(1) / kept.sum(1, keepdim=True)


def compact(keep: Tensor) -> tuple[Tensor, Tensor]:
    """Where the kept positions are when moved to the left: (kept [R, M], positions [R, M]).

    M is the most that a row keeps; on a GPU it is T, because the host would have to wait for M.
    """
    order = keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    width = keep.shape[1]
    if keep.device.type == "cpu" and len(keep):
        width = int(keep.sum(1).max())
    place = torch.arange(width, device=keep.device)
    return place < keep.sum(1, keepdim=True), order[:, :width]


class RationaleNetwork(nn.Module):
    """Both halves; each has word vectors and an encoder of its own."""

    def __init__(self, selector: Selector, predictor: Predictor) -> None:
        super().__init__()
        self.selector, self.predictor = selector, predictor

    def forward(self, batch: TextBatch, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""log p(y | x ⊙ z), and the same with all classes equally likely beforehand, both [S, B].

            p̃(y | x ⊙ z) ∝ p(y | x ⊙ z) / p(y)

        The frequent class needs no words to be guessed, so that p would have nothing selected for
        it; p̃ asks for evidence. Of an amount both are −½ (y − ŷ)², in units of its deviation.
        """
        evidence = self.predictor.evidence(batch, z)
        if not self.predictor.classes:
            squares = -0.5 * (batch.labels - evidence.squeeze(-1)).square()
            return squares, squares
        labels = batch.labels.expand(evidence.shape[:-1])[..., None]
        proper = evidence + self.predictor.log_prior[batch.extra]
        proper, balanced = (
            one.log_softmax(-1).gather(-1, labels).squeeze(-1) for one in (proper, evidence)
        )
        return proper, balanced


def build_network(
    config: Config, table: Tensor, log_prior: Tensor | None, rate: float
) -> RationaleNetwork:
    """table: the word vectors to start from, [V, D]; log_prior: of the classes, [2, C] (see
    `Predictor`), None for an amount; rate: the share of units selected at first."""

    def half(name: str) -> tuple[Embedding, Encoder]:
        module = importlib.import_module(f"latentnlp.encoders.{name}")
        encoder = module.build(getattr(config, name), table.shape[1])
        return Embedding(table, config), encoder

    selector = Selector(config, *half(config.selector), rate)
    return RationaleNetwork(selector, Predictor(config, *half(config.predictor), log_prior))
