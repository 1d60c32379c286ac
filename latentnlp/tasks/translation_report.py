"""report.html of a translation run: scores, training curves, alignment grids of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from latentnlp.data.corpora import ListText, ParallelText
from latentnlp.evaluation.translation import TranslationScores
from latentnlp.report.alignment import AlignmentExample, choose_examples, write_alignment_report
from latentnlp.report.chart import Point
from latentnlp.run import RunDirectory
from latentnlp.tasks.translation import align
from latentnlp.tasks.translation_commands import load_model, read_config

_EXAMPLES = 8
_NOTE = (
    "Outputs and where their words come from, by the posterior of the whole output. Chosen by "
    "rule, not by hand: sentences of moderate length, taken at equal steps from the first to the "
    "last."
)
_CURVES = {  # of a record of metrics.jsonl: chart, line
    "perplexity": ("perplexity per piece", "training"),
    "dev_perplexity": ("perplexity per piece", "dev"),
    "dev_bleu": ("BLEU of greedy search on dev", ""),
}


def write_report(
    run: Path,
    page: Path,
    name: str,
    text: ParallelText,
    output: Sequence[Sequence[str]],
    scores: Mapping[str, TranslationScores],
    device: str = "auto",
) -> None:
    """Write ``page`` about the translations ``output`` of a text; ``scores`` by how they count."""
    config, system = read_config(run), load_model(run, device)
    sources = [source for source, _ in text]
    where = next(system.network.parameters()).device
    found = list(align(system, ListText(sources, output), where))
    chosen = choose_examples(_EXAMPLES, sources, output, [one.links for one in found])
    parameters = sum(one.numel() for one in system.network.parameters())
    write_alignment_report(
        page,
        title=f"Translation: {name}",
        score_lines=[
            f"{metric} {one.format()}, {way} {one.signature}"
            for way, of_system in scores.items()
            for metric, one in of_system.system.items()
        ],
        summary={
            "text": f"{name}: {len(sources)} sentences",
            "model": system.config.kind.replace("_", " "),
            "parameters": f"{parameters:,}",
            "pieces": f"{len(system.source.vocabulary)} and {len(system.target.vocabulary)}",
            "seed": str(config.seed),
        },
        curves=curves(run),
        examples=[
            AlignmentExample(
                source=sources[one.index],
                target=output[one.index],
                predicted=found[one.index].links,
                posterior=found[one.index].posterior,
                label=f"{one.label}. Reference: {' '.join(text[one.index][1])}",
            )
            for one in chosen
        ],
        note=_NOTE,
    )


def curves(run: Path) -> dict[str, list[Point]]:
    """Perplexities and BLEU over the epochs."""
    found: dict[str, list[Point]] = {}
    for record in RunDirectory(run).records():
        for key, (chart, line) in _CURVES.items():
            if key in record:
                name = f"{chart} | {line}" if line else chart
                found.setdefault(name, []).append((record["epoch"], record[key]))
    return found
