"""Translate a part of the corpus:  decode.py out/multi30k_en_de [--part test] [--beam 5]

Writes RUN/translations.PART, and RUN/translations.PART.pharaoh: where each word comes from.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from latentnlp.cli import run as run_command
from latentnlp.data.links import write_links
from latentnlp.data.textfiles import write_atomically
from latentnlp.run import pick_device, use_threads
from latentnlp.tasks.translation import translate
from latentnlp.tasks.translation_commands import (
    corpus_text,
    load_model,
    read_config,
    searching,
)


def main() -> None:
    options = parse()
    use_threads(options.threads)
    text = corpus_text(read_config(options.run), options.part)
    system = load_model(options.run, options.device)
    how = searching(
        system.search, beam=options.beam, length_normalisation=options.length_normalisation
    )
    sentences = [source for source, _ in text]
    started = time.perf_counter()
    device = pick_device(options.device)
    found = [one[0] for one in translate(system, sentences, device, how, links=True, progress=True)]
    seconds = time.perf_counter() - started
    path = options.run / f"translations.{options.part}"
    with write_atomically(path) as stream:
        stream.writelines(" ".join(one.words) + "\n" for one in found)
    links = [one.alignment.links if one.alignment else frozenset() for one in found]
    write_links(f"{path}.pharaoh", links)
    print(f"{len(found)} translations in {path}, {seconds:.1f} seconds", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--beam", type=int, help="hypotheses (default: the configuration's)")
    parser.add_argument("--length-normalisation", type=float, help="default: the configuration's")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
