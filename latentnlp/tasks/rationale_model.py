"""A trained rationale extractor as a user holds it: network, vocabulary, labels, how it selects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from latentnlp import checkpoint
from latentnlp import config as configuration
from latentnlp.config import at_least
from latentnlp.data.documents import Document
from latentnlp.data.texts import Indexer, UnitKind, WordIndexer
from latentnlp.data.vocabulary import UNK, Vocabulary
from latentnlp.encoders.transformer import WordPieces, word_embeddings
from latentnlp.errors import UserError
from latentnlp.models import rationale
from latentnlp.models.evidence import Evidence
from latentnlp.models.rationale import RationaleNetwork

FORMAT_VERSION = 1
KIND = "latentnlp rationale model"


@dataclass(frozen=True)
class TextConfig:
    """How a text becomes words and units; saved with the model, so that new text is read alike."""

    lowercase: bool = True
    min_count: int = 1  # rarer words are one unknown word
    max_size: int | None = None  # of the vocabulary
    max_length: int | None = None  # words; of a longer text only the beginning is read. None: all
    unit: UnitKind = "word"  # what is selected or not
    block: int = 10  # words of a block

    def __post_init__(self) -> None:
        at_least(self, min_count=1, max_size=1, max_length=1, block=1)


@dataclass(frozen=True)
class DecodingConfig:
    """Which units are selected, given q(z_u = 1 | x).

    "rate": above one threshold for all texts, set so that the share asked for of the dev texts'
    words (or, without any, of the training texts') is selected. "top": in every text its most
    probable units, up to the share asked for. "half": above one half. The most probable unit of a
    text is selected in any case.
    """

    method: Literal["rate", "top", "half"] = "rate"


@dataclass(frozen=True)
class Labels:
    """The classes, or how amounts are scaled."""

    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # of each class in the training documents
    extra_counts: tuple[int, ...] = ()  # and in the extra stock
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, labels: Sequence[str | float], extra: Sequence[str | float] = ()) -> Labels:
        """Raises UserError where there is nothing to tell apart."""
        if not labels:
            raise UserError("there is no text to learn from")
        if isinstance(labels[0], str):
            classes = tuple(sorted({str(label) for label in labels}))
            if len(classes) < 2:
                raise UserError(f"all texts have the label {labels[0]!r}: nothing to learn")
            counts, others = Counter(labels), Counter(extra)
            return cls(
                classes,
                tuple(counts[name] for name in classes),
                tuple(others[name] for name in classes) if extra else (),
            )
        values = torch.tensor([float(label) for label in labels], dtype=torch.float64)
        deviation = float(values.std()) if len(values) > 1 else 0.0
        if deviation == 0:
            raise UserError(f"all texts have the label {labels[0]}: nothing to learn")
        return cls(mean=float(values.mean()), deviation=deviation)

    def log_prior(self) -> Tensor | None:
        """Of the classes in the training documents and in the extra stock, [2, C]; None: amounts.

        A class that the stock does not have counts once.
        """
        if not self.classes:
            return None
        extra = [max(count, 1) for count in self.extra_counts or self.counts]
        counts = torch.tensor([self.counts, extra], dtype=torch.float32)
        return (counts / counts.sum(1, keepdim=True)).log()

    def encode(self, document: Document) -> float:
        """The class's number, or the amount in units of its deviation.

        Raises UserError for a class that training had not, and for a label of the other kind.
        """
        label = document.label
        if self.classes:
            if label not in self.classes:
                known = ", ".join(self.classes)
                raise UserError(f"document {document.id!r}: label {label!r} is none of {known}")
            return self.classes.index(str(label))
        if not isinstance(label, int | float):
            raise UserError(f"document {document.id!r}: label {label!r} is no amount")
        return (label - self.mean) / self.deviation


@dataclass(frozen=True)
class RationaleModel:
    text: TextConfig
    config: rationale.Config
    decoding: DecodingConfig
    vocabulary: Vocabulary
    labels: Labels
    network: RationaleNetwork
    rate: float  # asked for
    threshold: float = 0.5  # of decoding "rate"
    evidence: Evidence | None = None  # what selects, if it is not the network

    def save(self, folder: Path) -> None:
        """Write the model, in one step: a killed save leaves what was there before."""
        counts = torch.tensor(self.vocabulary.counts[2:])
        checkpoint.save(
            folder,
            {
                "kind": KIND,
                "model_version": FORMAT_VERSION,
                "text": configuration.to_dict(self.text),
                "model": configuration.to_dict(self.config),
                "decoding": configuration.to_dict(self.decoding),
                "labels": configuration.to_dict(self.labels),
                "words": list(self.vocabulary.words[2:]),
                "counts": counts,
                "unknown": self.vocabulary.counts[UNK],
                "rate": self.rate,
                "threshold": self.threshold,
                "weights": self._weights(),
                "evidence": self.evidence and self.evidence.state(),
            },
        )

    def _weights(self) -> dict[str, Tensor]:
        """The network's, without a selector that nobody asks."""
        weights = self.network.state_dict()
        if self.evidence is None:
            return weights
        return {name: one for name, one in weights.items() if not name.startswith("selector.")}

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> RationaleModel:
        """Raises UserError: not a model, damaged, or written by a newer version."""
        state = checkpoint.load(folder)
        if not isinstance(state, dict) or state.get("kind") != KIND:
            raise UserError(f"{folder}: not a rationale model")
        if state["model_version"] > FORMAT_VERSION:
            raise UserError(f"{folder}: written by a newer latentnlp: upgrade latentnlp")
        try:
            where = f"{folder}/state.json"
            config = configuration.from_dict(rationale.Config, state["model"], where)
            labels = configuration.from_dict(Labels, state["labels"], where)
            words = zip(state["words"], state["counts"].tolist(), strict=True)
            vocabulary = Vocabulary(words, state["unknown"])
            weights = state["weights"]
            table = torch.zeros_like(weights["predictor.embedding.table.weight"])
            network = rationale.build_network(config, table, labels.log_prior(), state["rate"])
            evidence = state.get("evidence") and Evidence.from_state(state["evidence"], where)
            if evidence is not None:  # its selector was not saved
                weights = network.selector.state_dict(prefix="selector.") | weights
            network.load_state_dict(weights)
            return cls(
                configuration.from_dict(TextConfig, state["text"], where),
                config,
                configuration.from_dict(DecodingConfig, state["decoding"], where),
                vocabulary,
                labels,
                network.to(device).eval(),
                state["rate"],
                state["threshold"],
                evidence=evidence,
            )
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: damaged rationale model ({reason})") from error


def indexer(config: rationale.Config, text: TextConfig, vocabulary: Vocabulary) -> Indexer:
    """What turns words into ids."""
    if config.predictor == "transformer":
        return WordPieces(config.transformer)
    return WordIndexer(vocabulary, text.lowercase, config.ngrams, config.buckets)


def start_vectors(config: rationale.Config, vocabulary: Vocabulary) -> Tensor:
    """The word vectors that training starts from, [V, D]."""
    if config.predictor == "transformer":
        return word_embeddings(config.transformer)
    if not config.vectors:
        return 0.1 * torch.randn(len(vocabulary), config.embedding)
    from latentnlp.data.torchtext_adapter import read_vectors

    return read_vectors(config.vectors, vocabulary)
