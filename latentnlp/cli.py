"""The command ``latentnlp``. Thin: it parses, and calls `tasks`. torch is imported only to work."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentnlp import __version__
from latentnlp.data.links import FORMATS
from latentnlp.errors import UserError
from latentnlp.symmetrization import NAMES

if TYPE_CHECKING:
    from latentnlp.tasks.rationale_commands import ReadOptions
    from latentnlp.tasks.topics_commands import ReadOptions as BagReadOptions


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
    _add_lexicon(commands)
    _add_rationale(commands)
    _add_topics(commands)
    _add_translate(commands)
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
        "--prior",
        type=Path,
        metavar="PRIOR",
        help="what is known already: the DIR of a trained model (train it further on this text), a "
        "dictionary (lines source, tab, target, and perhaps a tab and a weight), or eflomal's "
        "priors",
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
        "--confidence",
        metavar="FILE",
        help="one number a line, from 0 to 1: how probable the words of a pair are on average, "
        "each given the other side; low for pairs that do not belong together, 0 for empty and "
        "overlong ones",
    )
    align.add_argument(
        "--decode",
        choices=("agreement", *NAMES),
        help="agreement of both directions' posteriors (default), or a way to symmetrise their "
        "Viterbi paths",
    )
    align.add_argument("--threshold", type=float, help="of the links' scores (default: 0.5)")
    _add_training(align, "em.epochs=8")
    _add_machine(align)
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
            confidence=options.confidence,
            model=options.model,
            prior=options.prior,
            config=options.config,
            overrides=tuple(overrides),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _add_lexicon(commands) -> None:
    lexicon = commands.add_parser(
        "lexicon",
        help="word translation tables of a linked text, for Moses",
        description="Count which words are linked and write p(word | word) in both directions as "
        "Moses' lex.f2e (lines 'target source p(target | source)') and lex.e2f ('source target "
        "p(source | target)'). A word without links counts as linked to NULL.",
    )
    lexicon.set_defaults(run=_lexicon)
    lexicon.add_argument("source", metavar="SRC", help="source side")
    lexicon.add_argument("target", metavar="TGT", help="target side")
    lexicon.add_argument("links", metavar="LINKS", help="Pharaoh links, one line a sentence pair")
    lexicon.add_argument(
        "--out", required=True, metavar="PREFIX", help="writes PREFIX.f2e and PREFIX.e2f"
    )
    lexicon.add_argument(
        "--base", type=int, choices=(0, 1), default=0, help="first position in the links file"
    )


def _lexicon(options: argparse.Namespace) -> None:
    from latentnlp.tasks.alignment_commands import lexicon_command

    lexicon_command(options.source, options.target, options.links, options.out, options.base)


def _add_training(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument("--config", type=Path, metavar="TOML", help="settings of the training")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"one setting, e.g. --set {example}; may be repeated",
    )
    parser.add_argument("--seed", type=int, help="of the training (default: 1)")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def _add_rationale(commands) -> None:
    rationale = commands.add_parser("rationale", help="the words that decide what a text is")
    actions = rationale.add_subparsers(metavar="ACTION", required=True)

    training = actions.add_parser(
        "train",
        help="learn from labelled documents to select words and to predict from them alone",
        description="Learn from labelled documents to select a share of the words, and to predict "
        "the label from these alone. The same command again goes on where an interrupted run "
        "stopped.",
    )
    training.set_defaults(run=_rationale_train)
    training.add_argument(
        "data",
        metavar="DATA",
        help="documents: .jsonl with 'tokens' or 'text' and 'label' (or ERASER's, with docs/ "
        "beside it), .tsv or .csv with a heading (each may be .gz), or a folder of data_prep/",
    )
    training.add_argument(
        "--dev",
        default="",
        metavar="FILE",
        help="documents to select on (default: a tenth of DATA)",
    )
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    training.add_argument(
        "--rate", type=float, help="the share of the words to be selected (default: 0.2)"
    )
    training.add_argument(
        "--unit", choices=("word", "block", "sentence"), help="what is selected (default: word)"
    )
    training.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="what the labels are (auto: names, and few whole numbers, are classes)",
    )
    _add_columns(training)
    _add_training(training, "rationale.epochs=8")
    _add_machine(training)
    training.add_argument("--quiet", action="store_true", help="no progress on stderr")

    extracting = actions.add_parser(
        "extract",
        help="select words of documents with a trained model, and predict from them",
        description="Select words of documents with a trained model, and predict from them. "
        "Writes one JSON object a document, in order: id, tokens, rationale (spans [start, end)), "
        "scores, prediction, probabilities.",
    )
    extracting.set_defaults(run=_rationale_extract)
    extracting.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    extracting.add_argument(
        "data", metavar="DATA", help="documents, with labels or without; also .txt, one a line"
    )
    extracting.add_argument(
        "-o", "--output", default="-", metavar="FILE", help="rationales (stdout); eraser: a folder"
    )
    extracting.add_argument("--format", choices=("jsonl", "eraser"), default="jsonl")
    extracting.add_argument(
        "--decode",
        choices=("rate", "top", "half"),
        help="select above the threshold that gave the share asked for on dev (rate, the default), "
        "that share of each text (top), or above one half (half)",
    )
    extracting.add_argument(
        "--show", type=int, default=0, metavar="N", help="highlight the first N texts"
    )
    _add_columns(extracting)
    _add_machine(extracting)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    _add_text_columns(parser)
    parser.add_argument(
        "--rationale-column",
        default="rationale",
        metavar="NAME",
        help="human rationales, to be compared with: they are not learnt from (default: rationale)",
    )


def _add_text_columns(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument(
        "--input-format",
        choices=("auto", "jsonl", "tsv", "csv", "txt", *formats),
        default="auto",
        help="of the documents (auto: by the file's name)",
    )
    parser.add_argument("--text-column", metavar="NAME", help="default: tokens, else text")
    parser.add_argument("--label-column", metavar="NAME", help="default: label")


def _reading(options: argparse.Namespace) -> ReadOptions:
    from latentnlp.tasks.rationale_commands import ReadOptions

    return ReadOptions(
        format=options.input_format,
        text_column=options.text_column,
        label_column=options.label_column,
        rationale_column=options.rationale_column,
        task=getattr(options, "task", "auto"),
    )


def _rationale_train(options: argparse.Namespace) -> None:
    from latentnlp.tasks.rationale_commands import TrainOptions, train_command

    overrides = list(options.set)
    for key, value in (
        ("seed", options.seed),
        ("rationale.learner.rate", options.rate),
        ("text.unit", options.unit),
    ):
        if value is not None:
            overrides.append(f"{key}={value}")
    train_command(
        TrainOptions(
            out=options.out,
            train=options.data,
            dev=options.dev,
            config=options.config,
            overrides=tuple(overrides),
            reading=_reading(options),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _rationale_extract(options: argparse.Namespace) -> None:
    from latentnlp.tasks.rationale_commands import ExtractOptions, extract_command

    extract_command(
        ExtractOptions(
            model=options.model,
            documents=options.data,
            output=options.output,
            format=options.format,
            decode=options.decode,
            show=options.show,
            reading=_reading(options),
            device=options.device,
            threads=options.threads,
        )
    )


_BAGS = (
    ".jsonl with 'tokens' or 'text', .tsv or .csv with a heading, .txt with one a line, .ldac with "
    "vocab.txt beside it (each may be .gz)"
)


def _add_topics(commands) -> None:
    topics = commands.add_parser("topics", help="codes of documents, and what they are about")
    actions = topics.add_subparsers(metavar="ACTION", required=True)

    training = actions.add_parser(
        "train",
        help="learn binary codes of documents in layers, or a topic model beside them",
        description="Learn a document belief network: layers of bits above the words of a "
        "document, trained with (reweighted) wake-sleep; or another model of documents. The same "
        "command again goes on where an interrupted run stopped.",
    )
    training.set_defaults(run=_topics_train)
    training.add_argument(
        "data", metavar="DATA", help=f"documents: {_BAGS}; or a folder of data_prep/"
    )
    training.add_argument(
        "--dev",
        default="",
        metavar="FILE",
        help="documents to select on (default: the folder's, or a tenth of DATA)",
    )
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    training.add_argument(
        "--kind",
        choices=("belief_network", "nvdm", "lda", "unigram"),
        help="of model (default: belief_network)",
    )
    training.add_argument(
        "--rule",
        choices=("wake_sleep", "reweighted_wake_sleep", "variational", "coordinate_ascent"),
        help="how it is learnt (default: reweighted_wake_sleep, or the only one that the kind "
        "allows)",
    )
    training.add_argument(
        "--layers",
        metavar="K,K,…",
        help="units of each layer of a belief network, the one next to the words first",
    )
    training.add_argument(
        "--topics", type=int, metavar="K", help="how many, of --kind lda or nvdm (default: 50)"
    )
    _add_bags(training)
    _add_training(training, "learning.epochs=30")
    _add_machine(training)
    training.add_argument("--quiet", action="store_true", help="no progress on stderr")

    inferring = actions.add_parser(
        "infer",
        help="the code of each document",
        description="The code of each document, in order: probabilities of the bits next to the "
        "words, less their means in training. JSON lines {id, label, code, on}, on: the bits that "
        "are rather on than off; or an .npz with arrays codes [D, K], ids [D], labels [D].",
    )
    inferring.set_defaults(run=_topics_infer)
    _add_model(inferring)
    inferring.add_argument("-o", "--output", default="-", metavar="FILE", help="codes (stdout)")
    inferring.add_argument(
        "--raw",
        action="store_true",
        help="codes as they are (probabilities of bits, shares of LDA's topics), not counted from "
        "their mean in training",
    )
    inferring.add_argument(
        "--format", choices=("jsonl", "npz"), help="default: by the name of FILE, else jsonl"
    )
    _add_bags(inferring)
    _add_machine(inferring)

    showing = actions.add_parser(
        "show",
        help="the words of each unit, or documents that the model dreams",
        description="The topics of a model: unit, share of the documents that have it, words.",
    )
    showing.set_defaults(run=_topics_show)
    showing.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    showing.add_argument("--layer", type=int, help="1: next to the words (default: all)")
    showing.add_argument(
        "--count", type=int, default=20, metavar="N", help="topics of a layer, 0: all (default: 20)"
    )
    showing.add_argument(
        "--words", type=int, default=10, metavar="N", help="of a topic (default: 10)"
    )
    showing.add_argument("--tsv", action="store_true", help="tab-separated, for other programs")
    showing.add_argument(
        "--dreams",
        type=int,
        default=0,
        metavar="N",
        help="instead, N documents drawn from the model",
    )
    showing.add_argument("--seed", type=int, default=1, help="of the dreams (default: 1)")

    exporting = actions.add_parser(
        "export",
        help="for pyLDAvis",
        description="Writes the arguments of pyLDAvis.prepare() as one JSON object.",
    )
    exporting.set_defaults(run=_topics_export)
    _add_model(exporting)
    exporting.add_argument("-o", "--output", default="-", metavar="FILE", help="JSON (stdout)")
    _add_bags(exporting)
    _add_machine(exporting)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    parser.add_argument(
        "data",
        metavar="DATA",
        help=f"documents: {_BAGS}; or a folder of data_prep/, for its test part",
    )


def _add_bags(parser: argparse.ArgumentParser) -> None:
    _add_text_columns(parser, "ldac")
    parser.add_argument(
        "--vocabulary",
        metavar="FILE",
        help="one word a line: of .ldac the words of its ids (default: vocab.txt beside it); of a "
        "text to train on, those to be counted (default: chosen by [text])",
    )


def _bag_reading(options: argparse.Namespace) -> BagReadOptions:
    from latentnlp.tasks.topics_commands import ReadOptions

    return ReadOptions(
        format=options.input_format,
        text_column=options.text_column,
        label_column=options.label_column,
        vocabulary=options.vocabulary,
    )


def _topics_train(options: argparse.Namespace) -> None:
    from latentnlp.tasks.topics_commands import TrainOptions, kind_overrides, train_command

    named = kind_overrides(options.kind, options.rule, options.layers, options.topics)
    overrides = [*options.set, *named]
    if options.seed is not None:
        overrides.append(f"seed={options.seed}")
    train_command(
        TrainOptions(
            out=options.out,
            train=options.data,
            dev=options.dev,
            config=options.config,
            overrides=tuple(overrides),
            reading=_bag_reading(options),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _topics_infer(options: argparse.Namespace) -> None:
    from latentnlp.tasks.topics_commands import InferOptions, infer_command

    infer_command(
        InferOptions(
            model=options.model,
            documents=options.data,
            output=options.output,
            format=options.format,
            reading=_bag_reading(options),
            device=options.device,
            threads=options.threads,
            raw=options.raw,
        )
    )


def _topics_show(options: argparse.Namespace) -> None:
    from latentnlp.tasks.topics_commands import ShowOptions, show_command

    show_command(
        ShowOptions(
            model=options.model,
            layer=options.layer,
            count=options.count,
            words=options.words,
            tsv=options.tsv,
            dreams=options.dreams,
            seed=options.seed,
        )
    )


def _topics_export(options: argparse.Namespace) -> None:
    from latentnlp.tasks.topics_commands import ExportOptions, export_command

    export_command(
        ExportOptions(
            model=options.model,
            documents=options.data,
            output=options.output,
            reading=_bag_reading(options),
            device=options.device,
            threads=options.threads,
        )
    )


def _add_translate(commands) -> None:
    translate = commands.add_parser("translate", help="translation by latent alignments")
    actions = translate.add_subparsers(metavar="ACTION", required=True)

    training = actions.add_parser(
        "train",
        help="learn to translate from a parallel text",
        description="Learn to translate from a parallel text (tokenised, one sentence a line): a "
        "neural HMM, whose alignments are summed over exactly, or another model. The same command "
        "again goes on where an interrupted run stopped.",
    )
    training.set_defaults(run=_translate_train)
    training.add_argument("source", metavar="SRC", help="source side")
    training.add_argument("target", metavar="TGT", help="target side")
    training.add_argument(
        "--dev-source",
        default="",
        metavar="FILE",
        help="pairs to select on (default: the last tenth of the text, at most 1000 pairs)",
    )
    training.add_argument("--dev-target", default="", metavar="FILE", help="their target side")
    training.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    training.add_argument(
        "--kind",
        choices=("neural_hmm", "latent_alignment", "attention"),
        help="of model (default: neural_hmm)",
    )
    _add_training(training, "learning.epochs=10")
    _add_machine(training)
    training.add_argument("--quiet", action="store_true", help="no progress on stderr")

    decoding = actions.add_parser(
        "decode",
        help="translate sentences with a trained model",
        description="Translate sentences with a trained model: tokenised, one a line, as in "
        "training. The order and the number of lines are kept; an empty line gives an empty line. "
        "A sentence longer than the model was trained on is translated in parts. JSON lines: id, "
        "translations (text, score, log_prob, links [i, j] with their scores, unknown: positions "
        "of words that the model does not know).",
    )
    decoding.set_defaults(run=_translate_decode)
    decoding.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    decoding.add_argument(
        "source", metavar="SRC", nargs="?", default="-", help="sentences (default: stdin)"
    )
    decoding.add_argument("-o", "--output", default="-", metavar="FILE", help="(stdout)")
    decoding.add_argument("--beam", type=int, metavar="K", help="hypotheses (default: 5)")
    decoding.add_argument(
        "--length-normalisation",
        type=float,
        metavar="A",
        help="log-probabilities are divided by length^A (default: 1.0)",
    )
    decoding.add_argument(
        "--n-best", type=int, default=1, metavar="N", help="so many of each, as JSON lines"
    )
    decoding.add_argument(
        "--alignments", metavar="FILE", help="where each word comes from: Pharaoh links"
    )
    decoding.add_argument(
        "--format", choices=("text", "jsonl"), help="default: text, of --n-best jsonl"
    )
    decoding.add_argument(
        "--no-unknown-replacement",
        action="store_true",
        help="leave <unk> where the model has no word, instead of the source word it comes from",
    )
    _add_machine(decoding)
    decoding.add_argument("--quiet", action="store_true", help="no progress on stderr")

    aligning = actions.add_parser(
        "align",
        help="links of given translations, from a trained model or two",
        description="Links between the words of given translations, from the posterior of a "
        "trained model: the likeliest source word of each target word, or what two models, one of "
        "each direction, agree on. The order and the number of lines are kept: a line that cannot "
        "be aligned gives an empty line.",
    )
    aligning.set_defaults(run=_translate_align)
    aligning.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    aligning.add_argument("source", metavar="SRC", help="source side")
    aligning.add_argument("target", metavar="TGT", help="target side")
    aligning.add_argument("-o", "--output", default="-", metavar="FILE", help="links (stdout)")
    aligning.add_argument(
        "--reverse", type=Path, metavar="DIR", help="a model from TGT's language into SRC's"
    )
    aligning.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="all links above it (with --reverse: of the agreement, default 0.3)",
    )
    aligning.add_argument("--format", choices=FORMATS, default="pharaoh", help="of the links")
    _add_machine(aligning)
    aligning.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _translate_train(options: argparse.Namespace) -> None:
    from latentnlp.tasks.translation_commands import TrainOptions, train_command

    overrides = list(options.set)
    for key, value in (("seed", options.seed), ("model.kind", options.kind)):
        if value is not None:
            overrides.append(f"{key}={value}")
    train_command(
        TrainOptions(
            out=options.out,
            source=options.source,
            target=options.target,
            dev_source=options.dev_source,
            dev_target=options.dev_target,
            config=options.config,
            overrides=tuple(overrides),
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _translate_decode(options: argparse.Namespace) -> None:
    from latentnlp.tasks.translation_commands import DecodeOptions, decode_command

    decode_command(
        DecodeOptions(
            model=options.model,
            source=options.source,
            output=options.output,
            format=options.format,
            beam=options.beam,
            length_normalisation=options.length_normalisation,
            best=options.n_best,
            alignments=options.alignments,
            replace_unknown=not options.no_unknown_replacement,
            device=options.device,
            threads=options.threads,
            progress=not options.quiet,
        )
    )


def _translate_align(options: argparse.Namespace) -> None:
    from latentnlp.tasks.translation_commands import AlignOptions, align_command

    align_command(
        AlignOptions(
            model=options.model,
            source=options.source,
            target=options.target,
            output=options.output,
            format=options.format,
            reverse=options.reverse,
            threshold=options.threshold,
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
    alignment.add_argument(
        "--calibration",
        action="store_true",
        help="instead: how often links are right by their scores (LINKS from align --format jsonl "
        "or pharaoh-scores)",
    )
    alignment.add_argument("--json", action="store_true", help="the score as one line of JSON")
    _add_evaluate_rationale(tasks)
    _add_evaluate_topics(tasks)
    _add_evaluate_translation(tasks)


def _add_evaluate_rationale(tasks) -> None:
    rationale = tasks.add_parser(
        "rationale",
        help="what rationales are worth: the task from them alone, agreement with people",
        description="Score rationales (the JSON lines of `latentnlp rationale extract`) against "
        "labelled documents: predictions, selection rate and, where there are human rationales, "
        "agreement with them in ERASER's definitions. With --model also the model's predictions "
        "from the rationales alone, from the rest, from the full text and from as much at random, "
        "and faithfulness.",
    )
    rationale.set_defaults(run=_evaluate_rationale)
    rationale.add_argument("predicted", metavar="PREDICTED", help="rationales, one a line")
    rationale.add_argument("gold", metavar="GOLD", help="the same documents with their labels")
    rationale.add_argument("--model", type=Path, metavar="DIR", help="run directory of a training")
    rationale.add_argument("--json", action="store_true", help="the scores as one line of JSON")
    _add_columns(rationale)
    _add_machine(rationale)


def _add_evaluate_topics(tasks) -> None:
    topics = tasks.add_parser(
        "topics",
        help="perplexity, coherence of topics, what codes retrieve and tell",
        description="Score a model of documents on new ones: perplexity of the ELBO, of the "
        "importance-weighted bound and of the second halves of documents given the first; NPMI and "
        "diversity of the topics; active units; with --train, where there are labels, retrieval "
        "and a linear probe.",
    )
    topics.set_defaults(run=_evaluate_topics)
    topics.add_argument("model", metavar="MODEL", type=Path, help="run directory of a training")
    topics.add_argument(
        "test",
        metavar="TEST",
        help=f"documents: {_BAGS}; or a folder of data_prep/: its test part, with its train and "
        "dev parts for --train and --dev",
    )
    topics.add_argument(
        "--train", default="", metavar="DATA", help="labelled, to retrieve and to learn from"
    )
    topics.add_argument(
        "--dev", default="", metavar="DATA", help="labelled, for the strength of the probe"
    )
    topics.add_argument(
        "--reference",
        default="",
        metavar="DATA",
        help="documents in which the words of a topic may stand together (default: TEST)",
    )
    topics.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="of the bound (default: 1000)"
    )
    topics.add_argument("--seed", type=int, default=1, help="of the samples (default: 1)")
    topics.add_argument("--json", action="store_true", help="the scores as one line of JSON")
    _add_bags(topics)
    _add_machine(topics)


def _add_evaluate_translation(tasks) -> None:
    translation = tasks.add_parser(
        "translation",
        help="BLEU, chrF and TER of translations, and of a baseline beside them",
        description="Score translations with sacrebleu: BLEU, chrF2, chrF2++ and TER, each with "
        "its signature and a 95 % interval (mean ± margin) from sentences drawn with replacement; "
        "with --baseline also how often chance alone would make such a difference (p).",
    )
    translation.set_defaults(run=_evaluate_translation)
    translation.add_argument("hypotheses", metavar="HYP", help="translations, one a line")
    translation.add_argument(
        "references", metavar="REF", nargs="+", help="human translations, one file each"
    )
    translation.add_argument("--baseline", metavar="HYP2", help="translations of another system")
    translation.add_argument(
        "--tokenize",
        choices=("13a", "none", "intl", "zh", "char"),
        default="13a",
        help="how BLEU finds the words of running text; none: they stand apart (default: 13a)",
    )
    translation.add_argument(
        "--detokenize",
        metavar="LANG",
        help="first put words together as running text, in all files, by Moses' rules for this "
        "language (de, en, …)",
    )
    translation.add_argument("--lowercase", action="store_true", help="for BLEU and chrF")
    translation.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="of the interval (default: 1000)"
    )
    translation.add_argument(
        "--seed", type=int, default=12345, help="of the samples (default: 12345, as sacrebleu's)"
    )
    translation.add_argument("--json", action="store_true", help="the scores as one line of JSON")


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
        calibrated=options.calibration,
    )


def _evaluate_rationale(options: argparse.Namespace) -> None:
    from latentnlp.tasks.rationale_commands import EvaluateOptions, evaluate_command

    evaluate_command(
        EvaluateOptions(
            predicted=options.predicted,
            gold=options.gold,
            model=options.model,
            reading=_reading(options),
            device=options.device,
            threads=options.threads,
            as_json=options.json,
        )
    )


def _evaluate_topics(options: argparse.Namespace) -> None:
    from latentnlp.tasks.topics_commands import EvaluateOptions, evaluate_command

    evaluate_command(
        EvaluateOptions(
            model=options.model,
            test=options.test,
            train=options.train,
            dev=options.dev,
            reference=options.reference,
            samples=options.samples,
            seed=options.seed,
            reading=_bag_reading(options),
            device=options.device,
            threads=options.threads,
            as_json=options.json,
        )
    )


def _evaluate_translation(options: argparse.Namespace) -> None:
    from latentnlp.tasks.translation_evaluation import EvaluateOptions, evaluate_command

    evaluate_command(
        EvaluateOptions(
            hypotheses=options.hypotheses,
            references=tuple(options.references),
            baseline=options.baseline,
            tokenize=options.tokenize,
            detokenize=options.detokenize,
            lowercase=options.lowercase,
            samples=options.samples,
            seed=options.seed,
            as_json=options.json,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
