"""Score the translations of decode.py:  evaluate.py out/multi30k_en_de [--part test] [--baseline F]

Prints BLEU, chrF and TER on the words as the corpus has them, and on running text, which the rules
of Moses put together. Writes RUN/scores.PART.json and RUN/report.html.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from latentnlp.checkpoint import write_text
from latentnlp.cli import run as run_command
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.textfiles import read_lines, split_words
from latentnlp.errors import UserError
from latentnlp.evaluation.translation import Settings, score
from latentnlp.run import use_threads
from latentnlp.tasks.translation_commands import corpus_text, read_config
from latentnlp.tasks.translation_report import write_report


def main() -> None:
    options = parse()
    use_threads(options.threads)
    config = read_config(options.run)
    text = corpus_text(config, options.part)
    corpus = CanonicalCorpus(config.data.corpus)
    languages = [corpus.source, corpus.target]
    source, target = reversed(languages) if config.data.reversed else languages
    lines = translations(options.run / f"translations.{options.part}")
    references = [" ".join(words) for _, words in text]
    baseline = None if options.baseline is None else translations(options.baseline)

    lowercase = config.text.lowercase
    ways = {"as the corpus has it": Settings(tokenize="none", lowercase=lowercase)}
    if target.isascii() and target.islower() and len(target) in (2, 3):  # Moses has rules for it
        tokenize = "zh" if target == "zh" else "13a"
        ways["as running text"] = Settings(tokenize, target, lowercase)
    scores = {way: score(lines, [references], how, baseline) for way, how in ways.items()}

    name = f"{corpus.name}, {source} to {target}, {options.part}"
    page = options.run / "report.html"
    output = [split_words(line) for line in lines]
    write_report(options.run, page, name, text, output, scores, options.device)
    for way, one in scores.items():
        print(f"{name}, {way}:", *one.lines(), "", sep="\n")
    print(f"report: {page}")
    record = {way: one.to_dict() for way, one in scores.items()}
    write_text(options.run / f"scores.{options.part}.json", json.dumps(record, indent=2))


def translations(path: Path) -> list[str]:
    if not path.exists():
        raise UserError(f"{path}: no such file: run decode.py first")
    return [line for _, line in read_lines(path)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of train.py")
    parser.add_argument("--part", choices=("train", "dev", "test"), default="test")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="translations of another system, to compare"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
