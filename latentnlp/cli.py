"""The command ``latentnlp``. Thin: it parses, and calls `tasks`. torch is imported only to work."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from latentnlp import __version__
from latentnlp.data.links import FORMATS
from latentnlp.errors import UserError
from latentnlp.symmetrization import NAMES


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Bad input is one line on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    return run(lambda: options.run(options))


def run(command) -> int:
    """Call ``command``, and turn what may go wrong for a user into one line and an exit code."""
    try:
        command()
        sys.stdout.flush()  # or what it has to say would be said while Python ends
    except UserError as error:
        print(f"latentnlp: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone (`| head`): not our failure
        _drop_output()
        return 1
    except OSError as error:  # stdout or the folder for temporary files, with no room left
        print(f"latentnlp: error: {error}", file=sys.stderr)
        _drop_output()
        return 2
    except KeyboardInterrupt:
        print("latentnlp: interrupted", file=sys.stderr)
        return 130
    return 0


def _drop_output() -> None:
    """What is still to be written goes nowhere, so that Python can end in peace."""
    with contextlib.suppress(OSError):  # io.UnsupportedOperation: stdout is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="latentnlp", description="Discrete latent-variable models of text."
    )
    parser.add_argument("--version", action="version", version=f"latentnlp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_align(commands)
    _add_evaluate(commands)
    return parser


def _add_align(commands) -> None:
    align = commands.add_parser(
        "align",
        help="word alignment of a parallel text",
        description="Train a word aligner on a parallel text and write its links, or align new "
        "text with a saved model. Text is tokenised, one sentence a line. The order and the number "
        "of lines are kept: a line that cannot be aligned gives an empty line.",
    )
    align.set_defaults(run=_align)
    align.add_argument(
        "source", metavar="SRC", help="source side, or one file with both (-: stdin)"
    )
    align.add_argument("target", metavar="TGT", nargs="?", help="target side")
    align.add_argument("-o", "--output", default="-", metavar="FILE", help="links (stdout)")
    align.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="if DIR holds a trained model, align with it and do not train; otherwise train on the "
        "text, keep the run there and go on where an interrupted one stopped",
    )
    align.add_argument(
        "--input-format",
        choices=("auto", "|||", "tsv"),
        default="auto",
        help="of a single input file: 'source ||| target' or tab-separated",
    )
    align.add_argument("--format", choices=FORMATS, default="pharaoh", help="of the links")
    align.add_argument("--forward-links", metavar="FILE", help="links of source → target alone")
    align.add_argument("--reverse-links", metavar="FILE", help="links of target → source alone")
    align.add_argument(
        "--decode",
        choices=("agreement", *NAMES),
        help="agreement of both directions' posteriors (default), or a way to symmetrise their "
        "Viterbi paths",
    )
    align.add_argument("--threshold", type=float, help="of the agreement (default: 0.3)")
    align.add_argument("--config", type=Path, metavar="TOML", help="settings of the training")
    align.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, e.g. --set em.epochs=8; may be repeated",
    )
    align.add_argument("--seed", type=int, help="of the training (default: 1)")
    align.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    align.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    align.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _align(options: argparse.Namespace) -> None:
    from latentnlp.tasks.alignment_commands import AlignOptions, align_command

    overrides = list(options.set)
    if options.seed is not None:
        overrides.append(f"seed={options.seed}")
    if options.threshold is not None:
        overrides.append(f"decoding.threshold={options.threshold}")
    if options.decode == "agreement":
        overrides.append("decoding.method=agreement")
    elif options.decode is not None:
        overrides += ["decoding.method=viterbi", f"decoding.symmetrization={options.decode}"]
    align_command(
        AlignOptions(
            source=options.source,
            target=options.target,
            input_format=options.input_format,
            output=options.output,
            output_format=options.format,
            forward_links=options.forward_links,
            reverse_links=options.reverse_links,
            model=options.model,
            config=options.config,
            overrides=tuple(overrides),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser("evaluate", help="scores with a signature line")
    tasks = evaluate.add_subparsers(metavar="TASK", required=True)
    alignment = tasks.add_parser(
        "alignment",
        help="AER, precision, recall and F1 of links against gold links",
        description="Score links (Pharaoh, with or without scores) against manual links (Pharaoh: "
        "i-j sure, ipj or i?j possible; or NAACL: sentence i j S|P).",
    )
    alignment.set_defaults(run=_evaluate_alignment)
    alignment.add_argument("links", help="predicted links, one line a sentence pair")
    alignment.add_argument("gold", help="manual links")
    alignment.add_argument("--gold-format", choices=("auto", "pharaoh", "naacl"), default="auto")
    alignment.add_argument(
        "--gold-base", type=int, choices=(0, 1), default=0, help="first position in the gold file"
    )
    alignment.add_argument(
        "--base", type=int, choices=(0, 1), default=0, help="first position in the links file"
    )
    alignment.add_argument(
        "--text",
        nargs=2,
        metavar=("SRC", "TGT"),
        help="the sentences, to check that every link lies inside them",
    )
    alignment.add_argument(
        "--annotated", metavar="FILE", help="score only words that were annotated (PUD's lists)"
    )
    alignment.add_argument("--json", action="store_true", help="the score as one line of JSON")


def _evaluate_alignment(options: argparse.Namespace) -> None:
    from latentnlp.tasks.alignment_commands import evaluate_command

    evaluate_command(
        links=options.links,
        gold=options.gold,
        gold_format=options.gold_format,
        gold_base=options.gold_base,
        base=options.base,
        text=options.text,
        annotated=options.annotated,
        as_json=options.json,
    )


if __name__ == "__main__":
    sys.exit(main())
