"""Write the links of a part of the corpus:  extract.py out/bible [--part test]

Writes into RUN/links/: PART.pharaoh (the links), PART.scores.jsonl (with scores), and each
direction alone, PART.forward.pharaoh and PART.reverse.pharaoh (Viterbi paths, or the links above
the threshold where the run decodes by "posterior").
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from latentnlp.cli import run as run_command
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.links import write_links
from latentnlp.run import pick_device, use_threads
from latentnlp.tasks.alignment import align
from latentnlp.tasks.alignment_commands import MODEL, read_config
from latentnlp.tasks.alignment_model import AlignmentModel


def main() -> None:
    options = parse()
    use_threads(options.threads)
    config, device = read_config(options.run), pick_device(options.device)
    model = AlignmentModel.load(options.run / MODEL, device)
    text = CanonicalCorpus(config.data.corpus).text(options.part)
    found = list(align(model, text, device, details=True, progress=True))
    folder = options.run / "links"
    folder.mkdir(exist_ok=True)
    links = [alignment.links for alignment in found]
    scores = [alignment.scores for alignment in found]
    write_links(folder / f"{options.part}.pharaoh", links)
    write_links(folder / f"{options.part}.scores.jsonl", links, "jsonl", scores)
    for direction in ("forward", "reverse"):
        alone = [getattr(alignment, direction) or frozenset() for alignment in found]
        write_links(folder / f"{options.part}.{direction}.pharaoh", alone)
    print(f"{len(links)} lines of links in {folder}/{options.part}.*", file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
