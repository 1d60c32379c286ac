"""A belief network and bags so small that every code, and every document, can be written down."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.bags import BagBatch, Bags, batch_of
from latentnlp.distributions.discrete import Latent
from latentnlp.document_models.belief_network import BeliefNetwork, Config

V = 4  # words


def network(layers: tuple[int, ...] = (2, 2), seed: int = 0, **settings) -> BeliefNetwork:
    """A network whose weights are large enough to matter (unless ``scale`` is given)."""
    torch.manual_seed(seed)
    small = {
        "generator_hidden": 3,
        "recognition_hidden": 3,
        "scale": 1.0,
        "active": 0.4,
        "dropout": 0,
    }
    config = Config(layers=layers, **(small | settings))
    model = BeliefNetwork(config, torch.tensor([0.4, 0.3, 0.2, 0.1]).log())
    if "scale" not in settings:
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.7)
    return model


def bags(documents: list[list[int]], size: int = V) -> Bags:
    """Documents given as lists of words."""
    distinct = [sorted(set(document)) for document in documents]
    counts = [
        [d.count(word) for word in words] for d, words in zip(documents, distinct, strict=True)
    ]
    return Bags(
        np.cumsum([0, *map(len, distinct)]),
        np.array([word for words in distinct for word in words], dtype=np.int32),
        np.array([count for one in counts for count in one], dtype=np.int32),
        size,
    )


def batch(documents: list[list[int]], size: int = V) -> BagBatch:
    return batch_of(bags(documents, size), np.arange(len(documents)))


def every_document(length: int) -> list[list[int]]:
    """All sequences of so many words."""
    return [list(words) for words in itertools.product(range(V), repeat=length)]


def every_code(model: BeliefNetwork, documents: BagBatch) -> tuple[Latent, Tensor]:
    """All codes z [M, B, …] and log q(z | x) [M, B], with its gradient."""
    return model.posterior(documents).enumerate_support()
