"""report.html of a run of rationales: scores, comparisons, training curves, highlighted texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentnlp.data.documents import Document
from latentnlp.evaluation.rationale import RegressionScore
from latentnlp.report.chart import Point
from latentnlp.report.rationale import Table, choose_examples, write_rationale_report
from latentnlp.run import RunDirectory
from latentnlp.tasks.rationale_commands import read_config
from latentnlp.tasks.rationale_evaluation import Evaluation, TaskScore, whole

_EXAMPLES = 12
_SELECTED = "words selected, %"
_CURVES = {  # of a record of metrics.jsonl: chart, line (its stage if empty), factor
    "log_likelihood_per_document": ("log-likelihood of the label", "", 1),
    "dev_error": ("error on dev", "", 1),
    "selected_per_document": (_SELECTED, "training", 100),
    "dev_selected": (_SELECTED, "dev", 100),
    "multiplier_per_document": ("λ of the selection rate", "", 1),
}


def write_report(
    run: Path,
    page: Path,
    title: str,
    documents: Sequence[Document],
    evaluations: Mapping[str, Evaluation],
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write ``page`` about documents that were evaluated.

    ``evaluations``: by decoding, first that of the scores and texts to be shown. ``others``: what
    evaluate.py has saved of other runs, by their folders, to be compared with.
    """
    shown = next(iter(evaluations.values()))
    found = [whole(one, document) for one, document in zip(shown.found, documents, strict=True)]
    tables = {"What the predictor sees": views(evaluations)}
    charts = curves(run)
    if others:
        ours = {name: one.to_dict() for name, one in evaluations.items()}
        everyone = {str(run): ours, **others}
        tables["Runs compared"] = comparison(everyone)
        charts |= reward_curves([Path(name) for name in everyone])
    write_rationale_report(
        page,
        title,
        examples=choose_examples(_EXAMPLES, documents, found),
        scores=shown.lines(),
        tables=tables,
        curves=charts,
    )


def views(evaluations: Mapping[str, Evaluation]) -> Table:
    """The task score of every view of the text, a column for each decoding."""
    first = next(iter(evaluations.values()))
    rows = [
        [view, *(_figure(one.task[view]) for one in evaluations.values())] for view in first.task
    ]
    rows.append(["words selected", *(one.selection.rate_micro for one in evaluations.values())])
    unit = "MSE" if isinstance(first.task["full text"], RegressionScore) else "accuracy"
    return ["", *(f"{unit}, decoding by {name}" for name in evaluations)], rows


def _figure(score: TaskScore) -> float:
    return score.mse if isinstance(score, RegressionScore) else score.accuracy


def comparison(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a run: how it estimated the gradient, what it reached, how long it trained."""
    rows = []
    for name, scores in runs.items():
        estimator = read_config(Path(name)).rationale.learner.estimator
        first = next(iter(scores.values()))
        task, agreement = first["task"], first["agreement"] or {}
        rows.append(
            [
                name,
                estimator.name,
                " + ".join(estimator.baselines) or "none",
                *(_saved_figure(task[view]) for view in ("rationale only", "full text")),
                first["selection"]["rate_micro"],
                agreement.get("f1"),
                agreement.get("average_precision"),
                round(
                    sum(record.get("seconds", 0) for record in RunDirectory(Path(name)).records())
                ),
            ]
        )
    header = ["run", "estimator", "baselines", "rationale only", "full text", "selected"]
    return [*header, "token F1", "average precision", "seconds of training"], rows


def _saved_figure(score: Mapping[str, Any]) -> float:
    return score["mse"] if "mse" in score else score["accuracy"]


def curves(run: Path) -> dict[str, dict[str, list[Point]]]:
    """Over the epochs of all stages: the reward, the dev error, the share selected, λ."""
    charts: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for number, record in enumerate(RunDirectory(run).records(), start=1):
        for key, (chart, line, factor) in _CURVES.items():
            if key in record:
                charts[chart][line or record["stage"]].append((number, factor * record[key]))
    if _SELECTED in charts:
        epochs = [number for line in charts[_SELECTED].values() for number, _ in line]
        rate = 100 * read_config(run).rationale.learner.rate
        charts[_SELECTED]["asked for"] = [(min(epochs), rate), (max(epochs), rate)]
    return {chart: dict(lines) for chart, lines in charts.items()}


def reward_curves(runs: Sequence[Path]) -> dict[str, dict[str, list[Point]]]:
    """The log-likelihood of the label given the rationale, a line for each run."""
    key = "log_likelihood_per_document"
    lines = {
        str(run): [
            (float(record["epoch"]), float(record[key]))
            for record in RunDirectory(run).records()
            if "selected_per_document" in record
        ]
        for run in runs
    }
    return {"log-likelihood of the label given the rationale, by run": lines}
