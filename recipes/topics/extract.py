"""Write the codes of a part of the corpus, and the topics:  extract.py out/new_testament

Writes RUN/codes/PART.jsonl (or .npz) and RUN/topics.tsv: of each unit that is shown its layer, the
share of the documents that have it, and its words.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentnlp.checkpoint import write_text
from latentnlp.cli import run as run_command
from latentnlp.report.topics import tsv_lines
from latentnlp.tasks.topics_commands import (
    InferOptions,
    corpus_of,
    infer_command,
    load_model,
    read_config,
    topic_table,
)


def main() -> None:
    options = parse()
    part = corpus_of(read_config(options.run)).path(options.part)
    codes = options.run / "codes" / f"{options.part}.{options.format}"
    infer_command(
        InferOptions(
            model=options.run,
            documents=str(part),
            output=str(codes),
            device=options.device,
            threads=options.threads,
        )
    )
    print(f"codes in {codes}", file=sys.stderr)
    model = load_model(options.run, options.device)
    tables = [topic_table(model, layer) for layer in model.topics]
    write_text(options.run / "topics.tsv", "".join(f"{line}\n" for line in tsv_lines(tables)))
    print(f"topics in {options.run / 'topics.tsv'}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--format", choices=("jsonl", "npz"), default="jsonl")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
