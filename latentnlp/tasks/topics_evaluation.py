"""What a model of documents is worth: its perplexity, its topics, its codes.

perplexity    of the ELBO and of the importance-weighted bound, K samples, test documents
completion    a document's words are cut in two, as they were published or else at random; the code
              comes from the first half, the second is predicted by E_{z ~ q(z | first)} p(w | z)
topics        NPMI and diversity of the topics that are shown, and of all
codes         retrieval of training documents, a linear probe, active units
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.bags import BagBatch, Bags, batch_of, halves
from latentnlp.document_models._contract import DocumentModel, log_weights
from latentnlp.errors import UserError
from latentnlp.evaluation import topics as scores
from latentnlp.evaluation.topics import (
    CoherenceScore,
    DiversityScore,
    ImportanceWeights,
    PerplexityScore,
    ProbeScore,
    RetrievalScore,
    UnitsScore,
)
from latentnlp.tasks.topics_model import TopicsModel

_CELLS = 4_000_000  # numbers [S, B, V] that are held at a time
_SHOWN = 50  # topics
_WORDS = 10  # of a topic


@dataclass(frozen=True)
class Evaluation:
    """Everything that `evaluate` measures; None where the documents do not allow it."""

    elbo: PerplexityScore
    bound: PerplexityScore
    completion: PerplexityScore | None  # None: no document has two words
    coherence: dict[str, CoherenceScore]  # by layer, of the topics shown and of all
    diversity: dict[str, DiversityScore]
    units: UnitsScore | None
    retrieval: RetrievalScore | None  # of labelled documents only
    probe: ProbeScore | None

    def named(self) -> dict[str, Any]:
        """The scores there are, by their names."""
        found: dict[str, Any] = {
            "elbo": self.elbo,
            "bound": self.bound,
            "completion": self.completion,
            **{f"npmi {name}": score for name, score in self.coherence.items()},
            **{f"diversity {name}": score for name, score in self.diversity.items()},
            "units": self.units,
            "retrieval": self.retrieval,
            "linear probe": self.probe,
        }
        return {name: score for name, score in found.items() if score is not None}

    def lines(self) -> list[str]:
        """One line a score."""
        return [f"{name:24} {score.format()}" for name, score in self.named().items()]

    def to_dict(self) -> dict[str, Any]:
        return {name: score.to_dict() for name, score in self.named().items()}


def evaluate(
    model: TopicsModel,
    test: Bags,
    training: Bags | None = None,
    dev: Bags | None = None,
    reference: Bags | None = None,
    samples: int = 1000,
    seed: int = 1,
    published: tuple[Bags, Bags] | None = None,
) -> Evaluation:
    """Score a model on documents that it was not trained with.

    ``training`` and ``dev``: labelled documents, for retrieval and the probe; ``reference``:
    documents in which words may stand together, the test documents unless given; ``published``:
    the halves of the test documents, where the corpus has them.
    """
    elbo, bound = bounds(model.network, test, samples, seed)
    lengths = test.lengths()
    completed = completion_score(model.network, test, published, min(samples, 100), seed)
    coherence, diversity = topic_scores(model, test if reference is None else reference)
    return Evaluation(
        scores.perplexity(elbo, lengths, "elbo", samples),
        scores.perplexity(bound, lengths, "iw", samples),
        completed,
        coherence,
        diversity,
        *_code_scores(model, test, training, dev),
    )


def completion_score(
    model: DocumentModel,
    bags: Bags,
    published: tuple[Bags, Bags] | None,
    samples: int,
    seed: int,
) -> PerplexityScore | None:
    """Of the published halves, or of halves drawn by ``seed``; None: no document has two words.

    Raises: UserError where the halves are not of as many documents.
    """
    first, second = published or halves(bags, seed)
    if not len(bags) == len(first) == len(second):
        raise UserError(
            f"the published halves are {len(first)} and {len(second)} documents, but there are "
            f"{len(bags)}: make the folder again"
        )
    if not second.lengths().any():
        return None
    log_p = completion(model, first, second, samples, seed)
    kind = "completion-of-published-halves" if published else "completion"
    return scores.perplexity(log_p, second.lengths(), kind, samples)


@torch.no_grad()
def bounds(model: DocumentModel, bags: Bags, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """The ELBO and the importance-weighted bound of every document, [D] float64 each.

    Of an empty document they are those of its code alone.
    """
    elbo, bound = [], []
    generator = torch.Generator(device=device_of(model)).manual_seed(seed)
    for batch, chunks in chunked(model, bags, samples):
        weights = ImportanceWeights()
        for size in chunks:
            weights.add(log_weights(model, batch, size, generator))
        elbo.append(weights.elbo())
        bound.append(weights.bound())
    return torch.cat(elbo).cpu(), torch.cat(bound).cpu()


@torch.no_grad()
def completion(
    model: DocumentModel, first: Bags, second: Bags, samples: int, seed: int
) -> np.ndarray:
    """log p(second half | first half) of every document, [D]: words drawn from the predictive
    distribution 1/S Σ_s p(w | z_s), z_s ~ q(z | first half)."""
    found: list[Tensor] = []
    generator = torch.Generator(device=device_of(model)).manual_seed(seed)
    for batch, chunks in chunked(model, first, samples):
        total = torch.zeros((), device=batch.words.device)
        q = model.posterior(batch)
        for size in chunks:
            total = total + model.log_words(q.sample(size, generator)).exp().sum(0)  # [B, V]
        rest = batch_of(second, batch.index.numpy()).to(batch.words.device)
        log_p = (total / samples).log()[rest.rows, rest.words]
        found.append(rest.sum_by_document(rest.counts * log_p))
    return torch.cat(found).double().cpu().numpy()


def chunked(
    model: DocumentModel, bags: Bags, samples: int
) -> Iterator[tuple[BagBatch, Sequence[int]]]:
    """Batches of documents, and how many samples to take at a time: S · B · V stays bounded."""
    most = max(1, _CELLS // model.vocabulary_size)  # S · B
    size = min(len(bags), max(1, min(64, most // min(samples, 16))))
    chunk = max(1, most // size)
    chunks = [chunk] * (samples // chunk) + ([samples % chunk] if samples % chunk else [])
    for start in range(0, len(bags), size):
        rows = np.arange(start, min(start + size, len(bags)))
        yield batch_of(bags, rows).to(device_of(model)), chunks


def device_of(model: DocumentModel) -> torch.device:
    return next(iter(model.state_dict().values())).device


def topic_scores(
    model: TopicsModel, reference: Bags
) -> tuple[dict[str, CoherenceScore], dict[str, DiversityScore]]:
    """NPMI and diversity by layer, of the first topics that are shown and of all of them."""
    coherence: dict[str, CoherenceScore] = {}
    diversity: dict[str, DiversityScore] = {}
    for layer in model.topics:
        for name, chosen in (
            (f"layer {layer.layer} shown", layer.shown[:_SHOWN]),
            (f"layer {layer.layer} all", torch.arange(len(layer.top))),
        ):
            if not len(chosen):
                continue
            top = layer.top[chosen][:, :_WORDS].numpy()
            coherence[name] = scores.coherence(top, reference, _WORDS)
            diversity[name] = scores.diversity(top, _WORDS)
    return coherence, diversity


def _code_scores(
    model: TopicsModel, test: Bags, training: Bags | None, dev: Bags | None
) -> tuple[UnitsScore | None, RetrievalScore | None, ProbeScore | None]:
    codes = model.transform(test)
    if not codes.shape[1]:
        return None, None, None
    bits = model.config.kind == "belief_network"
    means = codes + model.centre.cpu()
    units = scores.active_units(means.clamp(0, 1) if bits else means, bits=bits)
    if training is None or not (test.labels and training.labels):
        return units, None, None
    others = model.transform(training)
    retrieval = scores.retrieval(codes, test.labels, others, training.labels)
    held = None
    if dev is not None and dev.labels:
        held = (model.transform(dev), dev.labels)
    probe = scores.linear_probe((others, training.labels), (codes, test.labels), held)
    return units, retrieval, probe
