"""Train a word aligner on a corpus of data_prep/:  train.py bible.toml [--set em.epochs=8]

The run directory keeps everything: config, metrics, checkpoints, the model. The same command again
goes on where an interrupted run stopped. Under torchrun it trains on several processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentnlp import config as configuration
from latentnlp import distributed
from latentnlp.cli import run as run_command
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.errors import UserError
from latentnlp.run import RunDirectory, pick_device, seed_everything, use_threads
from latentnlp.tasks.alignment import AlignmentConfig, Dev, train
from latentnlp.tasks.alignment_commands import MODEL


def main() -> None:
    options = parse()
    use_threads(options.threads)
    config = configuration.load(AlignmentConfig, options.config, options.set)
    if not config.data.corpus:
        raise UserError(f"{options.config}: says no data.corpus to train on")
    corpus = CanonicalCorpus(config.data.corpus)
    text, dev_lines = corpus.training_text(config.data.parts, config.data.train_pairs)
    dev = Dev(dev_lines, corpus.gold("dev")) if dev_lines and corpus.has_gold("dev") else None

    device = pick_device(options.device)
    distributed.setup(device)
    folder = options.out or Path("out") / options.config.stem
    seed_everything(config.seed)
    run = RunDirectory.create(folder, config, seed=config.seed, tensorboard=config.tensorboard)
    model = train(config, text, run, device, dev)
    if distributed.is_main():
        model.save(folder / MODEL)
        run.log(f"model saved in {folder / MODEL}")
    run.close()
    distributed.shutdown()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="a TOML file")
    parser.add_argument(
        "--out", type=Path, help="run directory (default: out/ and the TOML's name)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
