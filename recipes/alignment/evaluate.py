"""Score the links of extract.py and draw them:  evaluate.py out/bible [--part test]

Prints AER, precision and recall of the links, of each direction and of each symmetrisation, and
writes RUN/report.html and RUN/scores.PART.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from latentnlp import checkpoint
from latentnlp.cli import run as run_command
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.links import Links, read_links
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import AlignmentScore, bootstrap_interval, score
from latentnlp.run import pick_device, use_threads
from latentnlp.symmetrization import NAMES, symmetrize
from latentnlp.tasks.alignment_commands import read_config
from latentnlp.tasks.alignment_report import write_report


def main() -> None:
    options = parse()
    use_threads(options.threads)
    config = read_config(options.run)
    corpus = CanonicalCorpus(config.data.corpus)
    gold = corpus.gold(options.part)
    forward, reverse, links = (
        read(options.run, f"{options.part}.{name}")
        for name in ("forward.pharaoh", "reverse.pharaoh", "pharaoh")
    )
    scores = {"source → target": score(forward, gold), "target → source": score(reverse, gold)}
    for name in NAMES:
        merged = [symmetrize(name, f, r) for f, r in zip(forward, reverse, strict=True)]
        scores[name] = score(merged, gold)
    chosen = f"links ({config.decoding.method})"
    scores[chosen] = score(links, gold)
    low, high = bootstrap_interval(links, gold)
    report = options.run / "report.html"
    write_report(options.run, report, options.part, links, gold, pick_device(options.device))

    print(table(scores))
    print(f"\n{corpus.name} {options.part}: {scores[chosen].format()}")
    print(
        f"95 % interval of this AER, bootstrap over sentences: {100 * low:.1f} to {100 * high:.1f}"
    )
    print(f"alignment grids: {report}")
    record = {name: result.to_dict() for name, result in scores.items()}
    checkpoint.write_text(options.run / f"scores.{options.part}.json", json.dumps(record, indent=2))


def read(run: Path, name: str) -> list[Links]:
    path = run / "links" / name
    if not path.exists():
        raise UserError(f"{path}: no such file: run extract.py first")
    return [one.possible for one in read_links(path)]


def table(scores: dict[str, AlignmentScore]) -> str:
    lines = [f"{'':22}  {'AER':>5} {'precision':>9} {'recall':>6} {'links':>7}"]
    for name, one in scores.items():
        lines.append(
            f"{name:22}  {100 * one.aer:5.1f} {100 * one.precision:9.1f} {100 * one.recall:6.1f} "
            f"{one.predicted:7}"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
