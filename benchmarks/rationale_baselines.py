r"""The score function's baselines on one corpus: variance at a fixed point, then what they train.

    python benchmarks/rationale_baselines.py --corpus data/sst2 [--json FILE]

One warm start is shared by all: the network that recipes/rationale/sst2.toml (with a shorter stage
"predictor") has when the stage "rationale" begins.

    variance     trace of the covariance, over draws of z, of the gradient of the mean over a batch
                 with respect to the selector's parameters. Taken after one stage "rationale" by
                 leave-one-out K=4, without dropout, averaged over batches, relative to no baseline
                 with S=1. Baselines that learn are first trained at the fixed point.
    at equal z   the same × evaluations of the predictor: as if all had the same number of them
    accuracy     on dev, of the rationale only, at the rate asked for, after a stage "rationale" of
                 equal settings; the best epoch on dev, as in every run
    CPU s        of that stage

Straight-through Gumbel is biased, and the predictor never reads an unselected word: its gradient
says nothing of words that were not drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentnlp import config as configuration
from latentnlp.cli import run as run_command
from latentnlp.data.documents import Document, spread
from latentnlp.data.texts import TextBatch, Texts
from latentnlp.learners.rationale import EstimatorConfig, Objective
from latentnlp.models.rationale import RationaleNetwork
from latentnlp.run import RunDirectory, seed_everything, use_threads
from latentnlp.tasks.rationale import RationaleConfig, encode_all, extract, train
from latentnlp.tasks.rationale_commands import read_training
from latentnlp.tasks.rationale_evaluation import evaluate
from latentnlp.tasks.rationale_model import RationaleModel

ROOT = Path(__file__).resolve().parent.parent
SHORTER = ("data.extra_per_epoch=20000", "predictor.epochs=3", "rationale.epochs=3")
CPU = torch.device("cpu")
BATCHES, DRAWS = 4, 60  # of the gradient's variance
PASSES, BASELINE_RATE = 2, 1e-2  # over the corpus, of a baseline that learns at the fixed point

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Entry:
    name: str
    estimator: EstimatorConfig
    evaluations: int  # of the predictor, a step


def score(name: str, samples: int, *baselines: str) -> Entry:
    extra = "self_critical" in baselines
    return Entry(name, EstimatorConfig("score_function", samples, baselines), samples + extra)


ENTRIES = (
    score("none", 1),
    score("moving average", 1, "moving_average"),
    score("b(x)", 1, "neural"),
    score("self-critical", 1, "self_critical"),
    score("leave-one-out K=2", 2, "leave_one_out"),
    score("leave-one-out K=4", 4, "leave_one_out"),
    score("b(x) + leave-one-out K=4", 4, "neural", "leave_one_out"),
    Entry("straight-through Gumbel", EstimatorConfig("straight_through_gumbel", 1, ()), 1),
)
BEST = ENTRIES[5]


def main() -> None:
    options = parse()
    use_threads(1)
    corpus = Corpus.read(options)
    start = corpus.warm_start()
    warm = evaluate(corpus.train(without_training(corpus.config), start), corpus.dev)
    for view in ("full text", "random rationale"):
        print(f"the warm start on dev, {view}: {warm.task[view].to_dict()['accuracy']:.3f}\n")
    fixed = corpus.train(training_by(corpus.config, BEST), start)
    batches = batches_of(fixed, corpus)
    rows: dict[str, dict[str, float]] = {}
    for entry in ENTRIES:
        rows[entry.name] = {"variance": variance(entry, fixed.network, batches, corpus.config)}
        rows[entry.name] |= result(entry, corpus, start)
        print(f"{entry.name}: {rows[entry.name]}", file=sys.stderr, flush=True)
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2))


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    unit = rows[ENTRIES[0].name]["variance"]
    lines = ["| baseline | variance | at equal z | accuracy | selected | CPU s |"]
    lines.append("| --- |" + " ---: |" * 5)
    for entry in ENTRIES:
        row = rows[entry.name]
        relative = row["variance"] / unit
        lines.append(
            f"| {entry.name} | {relative:.3f} | {relative * entry.evaluations:.3f} | "
            f"{row['accuracy']:.3f} | {100 * row['selected']:.1f} % | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def result(entry: Entry, corpus: Corpus, start: State) -> dict[str, float]:
    """What the stage "rationale" makes of the warm start."""
    before = time.process_time()
    model = corpus.train(training_by(corpus.config, entry), start)
    seconds = time.process_time() - before
    found = list(extract(model, corpus.dev))
    right = sum(one.prediction == two.label for one, two in zip(found, corpus.dev, strict=True))
    words = sum(len(one.tokens) for one in found)
    selected = sum(b - a for one in found for a, b in one.spans)
    return {"accuracy": right / len(found), "selected": selected / words, "seconds": seconds}


# ------------------------------------------------------------------------------------- the variance


def variance(
    entry: Entry,
    network: RationaleNetwork,
    batches: Sequence[TextBatch],
    config: RationaleConfig,
) -> float:
    """The trace of the covariance of the selector's gradient, mean over the first batches."""
    learner = replace(config.rationale.learner, estimator=entry.estimator)
    torch.manual_seed(config.seed)
    objective = Objective(learner, network).eval()
    settle(objective, batches)
    return sum(trace(objective, batch) for batch in batches[:BATCHES]) / BATCHES


def trace(objective: Objective, batch: TextBatch) -> float:
    """Σ_i Var g_i over draws of z: (Σ_r |g_r|² − |Σ_r g_r|² / R) / (R − 1)."""
    parameters = list(objective.network.selector.parameters())
    squares, total = 0.0, torch.zeros((), dtype=torch.float64)
    for _ in range(DRAWS):
        surrogate = objective(batch)[0] / len(batch)
        gradients = torch.autograd.grad(surrogate, parameters, allow_unused=True)
        draw = torch.cat([g.flatten() for g in gradients if g is not None]).double()
        squares, total = squares + float(draw @ draw), total + draw
    return (squares - float(total @ total) / DRAWS) / (DRAWS - 1)


def settle(objective: Objective, batches: Sequence[TextBatch]) -> None:
    """Train the baselines where the network stands, then freeze them."""
    learnt = list(objective.estimator.parameters())
    if not learnt and not list(objective.estimator.buffers()):
        return
    objective.estimator.train()
    optimizer = torch.optim.Adam(learnt, lr=BASELINE_RATE) if learnt else None
    for batch in [*batches] * PASSES:
        baseline_loss = objective(batch)[2] / len(batch)
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            baseline_loss.backward()
            optimizer.step()
    objective.eval()
    objective.zero_grad(set_to_none=True)


# ------------------------------------------------------------------ shared with rationale_recovery


@dataclass(frozen=True)
class Corpus:
    config: RationaleConfig
    documents: list[Document]
    dev: list[Document]
    extra: list[Document]

    @classmethod
    def read(cls, options: argparse.Namespace, *settings: str) -> Corpus:
        named = (f'data.corpus="{options.corpus}"', f"seed={options.seed}")
        settings = (*SHORTER, *named, *settings, *options.set)
        config = configuration.load(RationaleConfig, options.recipe, settings)
        parts = (spread(part, options.limit) for part in read_training(config))
        return cls(config, *parts)

    def train(self, config: RationaleConfig, start: State | None = None) -> RationaleModel:
        """One run, of which nothing stays on the disk."""
        seed_everything(config.seed)
        with tempfile.TemporaryDirectory() as folder:
            run = RunDirectory.create(Path(folder), config, seed=config.seed, temporary=True)
            documents, dev, extra = self.documents, self.dev, self.extra
            model = train(config, documents, run, CPU, dev, extra, progress=False, start=start)
            run.close()
        return model

    def warm_start(self, start: State | None = None) -> State:
        """The network when the stage "rationale" begins."""
        config = self.config
        none = replace(config, rationale=replace(config.rationale, epochs=0))
        return self.train(none, start).network.state_dict()


def without_training(config: RationaleConfig) -> RationaleConfig:
    """The network that a run starts from, with the threshold that belongs to it."""
    return replace(
        config,
        predictor=replace(config.predictor, epochs=0),
        rationale=replace(config.rationale, epochs=0),
    )


def training_by(config: RationaleConfig, entry: Entry, **settings: Any) -> RationaleConfig:
    """The stage "rationale" alone, by this estimator; ``settings`` of its learner."""
    learner = replace(config.rationale.learner, estimator=entry.estimator, **settings)
    return replace(
        config,
        predictor=replace(config.predictor, epochs=0),
        rationale=replace(config.rationale, learner=learner),
    )


def batches_of(model: RationaleModel, corpus: Corpus) -> list[TextBatch]:
    """One epoch of the stage "rationale"."""
    labels = [model.labels.encode(document) for document in corpus.documents]
    texts = encode_all(model, corpus.documents)
    stage, seed = corpus.config.rationale, corpus.config.seed
    return list(Texts(texts, labels, stage.documents, seed=seed, shuffle=True).epoch(0))


def parse(description: str | None = __doc__) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=Path("data/sst2"))
    recipe = ROOT / "recipes" / "rationale" / "sst2.toml"
    parser.add_argument("--recipe", type=Path, default=recipe)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--limit", type=int, help="documents of each part, for a trial")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
