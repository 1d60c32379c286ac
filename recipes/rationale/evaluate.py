"""Score a trained extractor and highlight texts:  evaluate.py out/vader [--part test]

Prints, for one threshold over all texts ("rate") and for a fixed share of each text ("top"): the
task score of the rationale only, of the rest, of the full text and of as much at random;
faithfulness; agreement with people, where they marked the documents; and whether the label can be
told from where was selected alone. Writes RUN/scores.PART.json and RUN/report.html, or with
--shuffle-sentences RUN/scores.PART.shuffled.json and RUN/report.shuffled.html.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from latentnlp.checkpoint import write_text
from latentnlp.cli import run as run_command
from latentnlp.data.documents import shuffle_sentences, spread
from latentnlp.errors import UserError
from latentnlp.run import use_threads
from latentnlp.tasks.rationale_commands import (
    ReadOptions,
    decoding_by,
    load_model,
    part_path,
    read_config,
)
from latentnlp.tasks.rationale_evaluation import evaluate
from latentnlp.tasks.rationale_report import write_report

PROBED = 2000  # training documents, at most, from which the mask probe learns


def main() -> None:
    options = parse()
    use_threads(options.threads)
    config = read_config(options.run)
    model = load_model(options.run, options.device)
    documents, training = (
        ReadOptions().read(part_path(config, part), model.labels)
        for part in (options.part, "train")
    )
    others = {str(run): saved_scores(run, options.part) for run in options.compare}
    corpus, suffix = f"{Path(config.data.corpus).name}, {options.part}", ""
    if options.shuffle_sentences:
        documents = [shuffle_sentences(one, seed) for seed, one in enumerate(documents)]
        corpus, suffix = f"{corpus}, sentences shuffled", ".shuffled"
    evaluations = {}
    # First the model's own way, which the report shows.
    for method in sorted(("rate", "top"), key=lambda method: method != model.decoding.method):
        decoder = decoding_by(model, method)
        evaluations[method] = evaluate(decoder, documents, spread(training, PROBED))
        print(f"{corpus}, {len(documents)} documents, decoding by {method}:")
        print("\n".join(evaluations[method].lines()) + "\n")
    record = {method: one.to_dict() for method, one in evaluations.items()}
    write_text(options.run / f"scores.{options.part}{suffix}.json", json.dumps(record, indent=2))
    if options.eraser is not None:
        next(iter(evaluations.values())).write_eraser(options.eraser, options.part, documents)
        print(f"ERASER's files: {options.eraser}")
    report = options.run / f"report{suffix}.html"
    write_report(options.run, report, f"Rationales: {corpus}", documents, evaluations, others)
    print(f"highlighted texts: {report}")


def saved_scores(run: Path, part: str) -> dict:
    path = run / f"scores.{part}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: run evaluate.py on {run} first") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error})") from None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument(
        "--shuffle-sentences",
        action="store_true",
        help="the texts' sentences in another order: what is lost was told by position",
    )
    parser.add_argument("--eraser", type=Path, metavar="FOLDER", help="write ERASER's files there")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="other runs, of other baselines say, that were evaluated: beside it in the report",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
