"""Models of documents: from bags of words to a trained model, its codes and its topics.

documents → vocabulary → bags (mapped) → batches
     → one model of document_models/ → one learner of learners/ → `loop.fit`, dev says which epoch
     → topics, mean code → TopicsModel
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.bag_corpora import TextConfig
from latentnlp.data.bags import BagBatches, Bags
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.document_models._contract import DocumentModel, log_unigram
from latentnlp.errors import UserError
from latentnlp.evaluation.topics import perplexity
from latentnlp.learners import coordinate_ascent, reweighted_wake_sleep, variational, wake_sleep
from latentnlp.loop import fit
from latentnlp.run import RunDirectory
from latentnlp.tasks.topics_evaluation import bounds, device_of
from latentnlp.tasks.topics_model import ModelConfig, TopicsModel, build_network
from latentnlp.tasks.topics_words import readable

_SEED = 7  # of the draws that score dev: the same in every epoch, so that epochs can be compared
_LOOKED_AT = 1000  # documents from which the topics' words are read

# Which rules can teach which model.
RULES = {
    "belief_network": ("wake_sleep", "reweighted_wake_sleep", "variational"),
    "nvdm": ("variational",),
    "lda": ("coordinate_ascent",),
    "unigram": ("none",),
}


@dataclass(frozen=True)
class DataConfig:
    """Where the documents come from: a folder of data_prep/, or files of the user's own."""

    corpus: str = ""  # a folder with train and perhaps dev, test
    train: str = ""  # instead of ``corpus``: a file of documents
    dev: str = ""

    def __post_init__(self) -> None:
        if self.corpus and self.train:
            raise ValueError("name a corpus or a training file, not both")


@dataclass(frozen=True)
class LearningConfig:
    """``rule`` is the name of a file in learners/; each has a table."""

    rule: Literal[
        "wake_sleep", "reweighted_wake_sleep", "variational", "coordinate_ascent", "none"
    ] = "reweighted_wake_sleep"
    epochs: int | None = None  # None: 60; of coordinate ascent 10
    documents: int | None = None  # of a batch; None: a fiftieth of all, and 20 to 200
    thinned: float = 0.5  # share of the documents that an epoch has in part; not of LDA
    patience: int | None = None  # epochs without a better dev score; None: run them all
    dev_samples: int = 10  # of the bound that dev is scored with
    wake_sleep: wake_sleep.Config = field(default_factory=wake_sleep.Config)
    reweighted_wake_sleep: reweighted_wake_sleep.Config = field(
        default_factory=reweighted_wake_sleep.Config
    )
    variational: variational.Config = field(default_factory=variational.Config)
    coordinate_ascent: coordinate_ascent.Config = field(default_factory=coordinate_ascent.Config)

    def __post_init__(self) -> None:
        at_least(self, epochs=0, documents=1, patience=1, dev_samples=1, thinned=0)
        if self.thinned > 1:
            raise ValueError(f"thinned = {self.thinned} is a share: at most 1")


@dataclass(frozen=True)
class TopicsConfig:
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        at_least(self, seed=0)
        known = RULES[self.model.kind]
        if self.learning.rule not in known:
            raise ValueError(
                f'model.kind = "{self.model.kind}" is not learnt by learning.rule = '
                f'"{self.learning.rule}": it takes {" or ".join(known)}'
            )
        estimator = self.learning.variational.estimator
        if self.learning.rule == "variational":
            pathwise = estimator == "reparameterised"
            if pathwise != (self.model.kind == "nvdm"):
                raise ValueError(
                    'model.kind = "nvdm" and learning.variational.estimator = "reparameterised" go '
                    "together, and with nothing else"
                )


def train(
    config: TopicsConfig,
    bags: Bags,
    vocabulary: Vocabulary,
    run: RunDirectory,
    device: torch.device,
    dev: Bags | None = None,
    progress: bool = True,
) -> TopicsModel:
    """Learn a model. Call `seed_everything(config.seed)` first.

    Raises: UserError for documents without a word of the vocabulary.
    """
    run.check_data(fingerprint([bags, *([] if dev is None else [dev])]))
    frequencies = bags.frequencies()
    if not frequencies.sum():
        raise UserError("no training document has a word of the vocabulary: nothing to learn")
    network = build_network(config.model, frequencies).to(device)
    if distributed.world_size() > 1:  # the same weights, but draws of their own
        torch.manual_seed(config.seed + 1000 * distributed.rank())
    if config.learning.rule != "none":
        network = _learn(config, network, frequencies, bags, dev, run, device, progress)
    return describe(config, network.eval(), frequencies, bags, vocabulary)


def _learn(
    config: TopicsConfig,
    network: DocumentModel,
    frequencies: np.ndarray,
    bags: Bags,
    dev: Bags | None,
    run: RunDirectory,
    device: torch.device,
    progress: bool,
) -> DocumentModel:
    """The model of the epoch that dev chose, or of the last."""
    settings, classical = config.learning, config.learning.rule == "coordinate_ascent"
    epochs = settings.epochs
    if epochs is None:
        epochs = 10 if classical else 60
    batches = BagBatches(
        bags,
        settings.documents or min(200, max(20, round(len(bags) / 50))),
        seed=config.seed,
        shuffle=True,
        thinned=0.0 if classical else settings.thinned,
        rank=distributed.rank(),
        world=distributed.world_size(),
    )
    learner: Any = _learner(settings, network, frequencies, epochs * len(batches), device)

    def validate() -> Mapping[str, float]:
        assert dev is not None
        return dev_scores(learner.averaged, dev, settings.dev_samples)

    if epochs > 0:
        fit(
            learner,
            batches,
            run=run,
            stage=settings.rule,
            epochs=epochs,
            validate=validate if dev is not None else None,
            select_on="dev_perplexity" if dev is not None else None,
            patience=settings.patience if dev is not None else None,
            checkpoint_seconds=config.checkpoint_seconds,
            progress=progress,
        )
    return learner.averaged


def _learner(
    settings: LearningConfig,
    network: DocumentModel,
    frequencies: np.ndarray,
    steps: int,
    device: torch.device,
) -> Any:
    module = importlib.import_module(f"latentnlp.learners.{settings.rule}")
    config = getattr(settings, settings.rule)
    if settings.rule == "variational":
        return module.build(config, network, log_unigram(frequencies), steps, device)
    return module.build(config, network, steps, device)


def dev_scores(model: DocumentModel, bags: Bags, samples: int) -> dict[str, float]:
    """Perplexity per document: of the importance-weighted bound, and of the ELBO."""
    elbo, bound = bounds(model, bags, samples, _SEED)
    lengths = bags.lengths()
    return {
        "dev_perplexity": perplexity(bound, lengths, "iw", samples).per_document,
        "dev_elbo_perplexity": perplexity(elbo, lengths, "elbo", samples).per_document,
    }


def fingerprint(parts: list[Bags]) -> str:
    """SHA-256 of everything that is learnt from or selected on."""
    digest = hashlib.sha256()
    for bags in parts:
        for array in (bags.offsets, bags.words, bags.counts):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def describe(
    config: TopicsConfig,
    network: DocumentModel,
    frequencies: np.ndarray,
    bags: Bags,
    vocabulary: Vocabulary,
) -> TopicsModel:
    """A trained network with what its users need beside it."""
    random = np.random.default_rng(config.seed)
    some = np.sort(random.permutation(len(bags))[:_LOOKED_AT])
    device = device_of(network)
    found = network.topics(BagBatches(bags.select(some), 200))
    topics = [readable(one.cpu(), bags, config.seed) for one in found]
    total, count = torch.zeros((), device=device), 0
    with torch.no_grad():
        for batch in BagBatches(bags, 200):
            total = total + network.codes(batch.to(device)).sum(0)
            count += len(batch)
    lengths = np.percentile(bags.lengths(), np.arange(100) + 0.5, method="nearest")
    return TopicsModel(
        config.text,
        config.model,
        vocabulary,
        network,
        torch.from_numpy(frequencies),
        total / count,
        torch.from_numpy(lengths.astype(np.int64)),
        topics,
    )
