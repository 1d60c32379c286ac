"""A trained model of documents as a user holds it: network, words, topics, how text is read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from latentnlp import checkpoint
from latentnlp import config as configuration
from latentnlp.data.bag_corpora import TextConfig
from latentnlp.data.bags import BagBatch, BagBatches, Bags
from latentnlp.data.vocabulary import SPECIALS, UNK, Vocabulary
from latentnlp.document_models import belief_network, lda, nvdm, unigram
from latentnlp.document_models._contract import DocumentModel, Topics
from latentnlp.errors import UserError

FORMAT_VERSION = 1
KIND = "latentnlp topics model"
_BATCH = 200  # documents that are coded at a time


@dataclass(frozen=True)
class ModelConfig:
    """``kind`` is the name of a file in document_models/; each has a table."""

    kind: Literal["belief_network", "lda", "nvdm", "unigram"] = "belief_network"
    belief_network: belief_network.Config = field(default_factory=belief_network.Config)
    lda: lda.Config = field(default_factory=lda.Config)
    nvdm: nvdm.Config = field(default_factory=nvdm.Config)
    unigram: unigram.Config = field(default_factory=unigram.Config)


def build_network(config: ModelConfig, frequencies: np.ndarray) -> DocumentModel:
    """An untrained model; frequencies: [V], how often training has each word."""
    module = importlib.import_module(f"latentnlp.document_models.{config.kind}")
    return module.build(getattr(config, config.kind), frequencies)


@dataclass(frozen=True)
class TopicsModel:
    text: TextConfig
    config: ModelConfig
    vocabulary: Vocabulary
    network: DocumentModel
    frequencies: Tensor  # [V] float64, of training
    centre: Tensor  # [K], the mean code of the training documents
    lengths: Tensor  # [100] int64, of training documents: percentiles
    topics: list[Topics]  # on the CPU

    @property
    def words(self) -> tuple[str, ...]:
        """The word of each id of a bag."""
        return self.vocabulary.words[len(SPECIALS) :]

    @torch.no_grad()
    def codes(self, bags: Bags) -> Iterator[tuple[BagBatch, Tensor]]:
        """Batches of documents in order, and their centred codes [B, K], on the CPU.

        A code counts from the mean of the training documents: a unit that is on in all of them
        says nothing about one.
        """
        device = self.centre.device
        for batch in BagBatches(bags, _BATCH):
            yield batch, (self.network.codes(batch.to(device)) - self.centre).cpu()

    def transform(self, bags: Bags) -> Tensor:
        """The centred codes of all documents, [D, K]."""
        codes = [codes for _, codes in self.codes(bags)]
        return torch.cat(codes) if codes else self.centre.new_zeros(0, len(self.centre)).cpu()

    @torch.no_grad()
    def inverse_transform(self, codes: Tensor) -> Tensor:
        """p(w | code) of centred codes [D, K], [D, V]."""
        return self.network.decode(codes.to(self.centre) + self.centre).exp().cpu()

    def save(self, folder: Path) -> None:
        """Write the model, in one step: a killed save leaves what was there before."""
        checkpoint.save(
            folder,
            {
                "kind": KIND,
                "model_version": FORMAT_VERSION,
                "text": configuration.to_dict(self.text),
                "model": configuration.to_dict(self.config),
                "words": list(self.words),
                "counts": torch.tensor(self.vocabulary.counts[len(SPECIALS) :]),
                "unknown": self.vocabulary.counts[UNK],
                "weights": self.network.state_dict(),
                "frequencies": self.frequencies,
                "centre": self.centre,
                "lengths": self.lengths,
                "topics": [vars(one) for one in self.topics],
            },
        )

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> TopicsModel:
        """Raises UserError: not a model, damaged, or written by a newer version."""
        state = checkpoint.load(folder)
        if not isinstance(state, dict) or state.get("kind") != KIND:
            raise UserError(f"{folder}: not a topics model")
        if state["model_version"] > FORMAT_VERSION:
            raise UserError(f"{folder}: written by a newer latentnlp: upgrade latentnlp")
        try:
            return cls._from(state, f"{folder}/state.json", device)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{folder}: damaged topics model ({reason})") from error

    @classmethod
    def _from(cls, state: dict[str, Any], where: str, device: torch.device) -> TopicsModel:
        config = configuration.from_dict(ModelConfig, state["model"], where)
        words = zip(state["words"], state["counts"].tolist(), strict=True)
        network = build_network(config, state["frequencies"].numpy())
        network.load_state_dict(state["weights"])
        return cls(
            configuration.from_dict(TextConfig, state["text"], where),
            config,
            Vocabulary(words, state["unknown"]),
            network.to(device).eval(),
            state["frequencies"],
            state["centre"].to(device),
            state["lengths"],
            [Topics(**one) for one in state["topics"]],
        )
