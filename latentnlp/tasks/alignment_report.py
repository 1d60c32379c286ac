"""report.html of an alignment run: score line, training curves, grids of sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from latentnlp import decoding
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.corpora import ListText
from latentnlp.data.links import Gold, Links
from latentnlp.evaluation.alignment import score
from latentnlp.report.alignment import (
    CHOICE_RULE,
    AlignmentExample,
    choose_examples,
    write_alignment_report,
)
from latentnlp.run import RunDirectory
from latentnlp.tasks.alignment import align
from latentnlp.tasks.alignment_commands import MODEL, read_config
from latentnlp.tasks.alignment_model import AlignmentModel

_EXAMPLES = 8


def write_report(
    run: Path,
    page: Path,
    part: str,
    links: Sequence[Links],
    gold: Sequence[Gold],
    device: torch.device,
) -> None:
    """Write ``page`` for the links of one part of the run's corpus."""
    config = read_config(run)
    corpus = CanonicalCorpus(config.data.corpus)
    pairs = list(corpus.text(part))
    sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
    chosen = choose_examples(_EXAMPLES, sources, targets, links, gold)
    lines = [one.index for one in chosen]
    model = AlignmentModel.load(run / MODEL, device)
    text = ListText([sources[n] for n in lines], [targets[n] for n in lines])
    found = align(model, text, device, details=True)
    examples = [
        AlignmentExample(
            source=sources[one.index],
            target=targets[one.index],
            predicted=links[one.index],
            posterior=alignment.posterior,
            gold=gold[one.index],
            label=f"{part}: {one.label}",
        )
        for one, alignment in zip(chosen, found, strict=True)
    ]
    write_alignment_report(
        page,
        title=f"Word alignment: {corpus.name} ({corpus.source}-{corpus.target})",
        score_lines=[score(links, gold).format()],
        summary={
            "corpus": f"{corpus.name}, {part}: {len(pairs)} sentence pairs",
            "model": f"{config.model.positions} positions, {config.model.emission} emission",
            "decoding": _how(config.decoding),
            "seed": str(config.seed),
        },
        curves=_curves(run),
        examples=examples,
        note=CHOICE_RULE,
    )


def _how(config: decoding.Config) -> str:
    """How the links were chosen, in words."""
    threshold = "" if config.method == "viterbi" else f", threshold {config.threshold}"
    merged = "" if config.method == "agreement" else f", {config.symmetrization}"
    return config.method + threshold + merged


def _curves(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Log-likelihood per word and dev AER over the epochs, a line for each stage."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    epochs: dict[str, int] = {"aligner": 0, "lexicon": 0}
    for record in RunDirectory(run).records():
        kind = "lexicon" if record["stage"].startswith("lexicon") else "aligner"
        epochs[kind] += 1
        likelihood = record["log_likelihood_per_token"]
        chart = "log-likelihood per word" + (", lexicon" if kind == "lexicon" else "")
        curves[f"{chart} | {record['stage']}"].append((epochs[kind], likelihood))
        if "dev_aer" in record:
            point = (epochs[kind], 100 * record["dev_aer"])
            curves[f"AER on dev, % | {record['stage']}"].append(point)
    return dict(curves)
