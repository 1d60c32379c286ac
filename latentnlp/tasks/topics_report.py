"""report.html of a run of topics: scores, topics, hierarchy, map of documents, dreams, curves."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.bags import Bags
from latentnlp.document_models._contract import Topics
from latentnlp.document_models.belief_network import BeliefNetwork
from latentnlp.report.chart import Point
from latentnlp.report.topics import Branch, DocumentMap, write_topics_report
from latentnlp.run import RunDirectory
from latentnlp.tasks.topics_commands import dream, read_config, topic_of, topic_table, topic_words
from latentnlp.tasks.topics_evaluation import Evaluation
from latentnlp.tasks.topics_model import TopicsModel

_SHOWN = 50  # units of a layer
_BELOW = 4  # units that a unit is shown to switch on
_POINTS = 2000  # documents of the map
_DREAMS = 8
_CURVES = {  # of a record of metrics.jsonl: chart, line (its stage if empty)
    "log_likelihood_per_word": ("bound on log p(x) per word, training", ""),
    "dev_perplexity": ("perplexity per document on dev", "importance-weighted bound"),
    "dev_elbo_perplexity": ("perplexity per document on dev", "ELBO"),
}


def write_report(
    run: Path, page: Path, title: str, model: TopicsModel, bags: Bags, evaluation: Evaluation
) -> None:
    """Write ``page`` about documents that were evaluated."""
    config = read_config(run)
    dreams = isinstance(model.network, BeliefNetwork)
    write_topics_report(
        page,
        title,
        scores=evaluation.lines(),
        summary={
            "model": model.config.kind.replace("_", " "),
            "units": ", ".join(str(len(layer.relevance)) for layer in model.topics) or "none",
            "learnt by": config.learning.rule.replace("_", " "),
            "vocabulary": f"{len(model.words)} words",
            "documents": str(len(bags)),
            "seed": str(config.seed),
        },
        curves=curves(run),
        tables=[topic_table(model, layer, _SHOWN) for layer in model.topics],
        branches=branches(model),
        places=document_map(model, bags),
        dreams=dream(model, _DREAMS, config.seed) if dreams else [],
        names={
            (layer.layer, unit): name_of(model, layer, unit)
            for layer in model.topics
            for unit in range(len(layer.relevance))
        },
    )


def name_of(model: TopicsModel, layer: Topics, unit: int) -> str:
    """What it says that a unit is on, in three words."""
    words = " ".join(word for word, _ in topic_words(model, layer, unit, 3))
    return words if layer.on[unit] else f"not {words}"


def branches(model: TopicsModel) -> list[Branch]:
    """Of each unit that is shown above the first layer, what it speaks for, from the top down."""
    network = model.network
    if not isinstance(network, BeliefNetwork):
        return []
    found = []
    for number in reversed(range(len(network.generator.between))):
        weights = network.generator.between[number].weight
        assert isinstance(weights, Tensor)  # [K_below, K_above]
        below, above = model.topics[number], model.topics[number + 1]
        for topic in topic_table(model, above, _SHOWN).topics:
            column = weights[:, topic.unit].detach().cpu() * _sign(below.on)
            column = column if topic.on else -column
            strongest = column.argsort(descending=True, stable=True)[:_BELOW].tolist()
            found.append(
                Branch(
                    above.layer,
                    topic,
                    [
                        (float(column[unit]), topic_of(model, below, unit))
                        for unit in strongest
                        if column[unit] > 0
                    ],
                )
            )
    return found


def _sign(on: Tensor) -> Tensor:
    """1 of a unit that speaks by being on, −1 of the others."""
    return torch.where(on, 1.0, -1.0)


def document_map(model: TopicsModel, bags: Bags) -> DocumentMap | None:
    """The first two principal components of the codes; None of fewer than two numbers, or of
    fewer than three documents."""
    if len(bags) < 3 or len(model.centre) < 2:
        return None
    count = min(len(bags), _POINTS)
    rows = np.arange(count) * len(bags) // count
    some = bags.select(rows)
    points, explained = principal(model.transform(some))
    labels = [None] * count if some.labels is None else list(some.labels)
    titles = []
    for number, label in enumerate(labels):
        named = some.id(number) if label is None else f"{some.id(number)}, {label}"
        titles.append(f"{named}: {' '.join(telling(model, some, number)) or 'empty'}")
    return DocumentMap(points, labels, titles, explained, len(bags))


def principal(codes: Tensor) -> tuple[list[Point], tuple[float, float]]:
    """Coordinates of codes [D, K] along their first two principal components, and these' shares of
    the variance. Of each component the largest entry is positive: a sign is not chance."""
    centred = codes.double() - codes.double().mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)
    axes = directions[:, [-1, -2]]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    share = variances[[-1, -2]].clamp(min=0) / variances.sum().clamp(min=1e-300)
    points = [(float(x), float(y)) for x, y in (centred @ axes).tolist()]
    return points, (float(share[0]), float(share[1]))


def telling(model: TopicsModel, bags: Bags, number: int, count: int = 6) -> list[str]:
    """The words of a document with the largest n_w · −log p(w)."""
    start, end = bags.offsets[number], bags.offsets[number + 1]
    words = bags.words[start:end]
    seen = np.maximum(model.frequencies.numpy(), 0.5)
    weights = bags.counts[start:end] * (np.log(seen.sum()) - np.log(seen[words]))
    return [model.words[word] for word in words[np.argsort(-weights, kind="stable")[:count]]]


def curves(run: Path) -> dict[str, dict[str, list[Point]]]:
    """Over the epochs: the bound in training, and the perplexity on dev."""
    charts: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for number, record in enumerate(RunDirectory(run).records(), start=1):
        for key, (chart, line) in _CURVES.items():
            if key in record:
                charts[chart][line or record["stage"]].append((number, record[key]))
    return {chart: dict(lines) for chart, lines in charts.items()}
