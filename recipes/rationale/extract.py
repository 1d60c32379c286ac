"""Write the rationales of a part of the corpus:  extract.py out/vader [--part test]

Writes RUN/rationales/PART.jsonl: of each document its tokens, the selected spans, a score for every
word and what is predicted from the selected ones alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentnlp.cli import run as run_command
from latentnlp.tasks.rationale_commands import (
    ExtractOptions,
    extract_command,
    part_path,
    read_config,
)


def main() -> None:
    options = parse()
    output = options.run / "rationales" / f"{options.part}.jsonl"
    extract_command(
        ExtractOptions(
            model=options.run,
            documents=str(part_path(read_config(options.run), options.part)),
            output=str(output),
            decode=options.decode,
            show=options.show,
            device=options.device,
            threads=options.threads,
        )
    )
    print(f"rationales in {output}", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--decode", choices=("rate", "top", "half"), help="default: as trained")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="highlight N texts")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
