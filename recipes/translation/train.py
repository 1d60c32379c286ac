"""Train a model of translation on a corpus of data_prep/:  train.py multi30k_en_de.toml [--set K=V]

The run directory keeps everything: config, metrics, checkpoints, the model. The same command again
goes on where an interrupted run stopped. Under torchrun it trains on several processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentnlp.cli import run as run_command
from latentnlp.tasks.translation_commands import TrainOptions, train_command


def main() -> None:
    options = parse()
    train_command(
        TrainOptions(
            out=options.out or Path("out") / options.config.stem,
            config=options.config,
            overrides=tuple(options.set),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="a TOML file")
    parser.add_argument(
        "--out", type=Path, help="run directory (default: out/ and the TOML's name)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
