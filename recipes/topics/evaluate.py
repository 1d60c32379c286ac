"""Score a trained model of documents:  evaluate.py out/new_testament [--part test] [--json]

Prints perplexity (ELBO, importance-weighted bound, completion of halves), NPMI and diversity of the
topics, active units and, where there are labels, retrieval and a linear probe. Writes
RUN/scores.PART.json and RUN/report.html. Test is read here and by extract.py only.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from latentnlp.checkpoint import write_text
from latentnlp.cli import run as run_command
from latentnlp.errors import UserError
from latentnlp.run import use_threads
from latentnlp.tasks.topics_commands import (
    ReadOptions,
    corpus_of,
    load_model,
    read_config,
    read_halves,
    read_new,
)
from latentnlp.tasks.topics_evaluation import evaluate
from latentnlp.tasks.topics_report import write_report


def main() -> None:
    options = parse()
    if options.samples < 1:
        raise UserError(f"--samples {options.samples}: at least 1")
    use_threads(options.threads)
    corpus = corpus_of(read_config(options.run))
    model = load_model(options.run, options.device)

    def read(part: str):
        return read_new(model, corpus.folder, ReadOptions(), part)

    bags, training = read(options.part), read("train")
    dev = read("dev") if corpus.has("dev") and options.part == "test" else None
    found = evaluate(
        model,
        bags,
        training,
        dev,
        samples=options.samples,
        seed=options.seed,
        published=read_halves(model, corpus, ReadOptions(), options.part),
    )
    record = json.dumps(found.to_dict())
    write_text(options.run / f"scores.{options.part}.json", record + "\n")
    name = f"{corpus.name}, {options.part}"
    report = options.run / "report.html"
    write_report(options.run, report, f"Topics: {name}", model, bags, found)
    if options.json:
        print(record)
    else:
        print(f"{name}, {len(bags)} documents:", *found.lines(), f"report: {report}", sep="\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--samples", type=int, default=1000, help="of the bound (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the samples (default: 1)")
    parser.add_argument("--json", action="store_true", help="the scores as one line of JSON")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
