"""What the command line and the recipes do about word alignment, around `tasks.alignment`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import tee, zip_longest
from operator import attrgetter
from pathlib import Path
from typing import TextIO

import torch

from latentnlp import config as configuration
from latentnlp import decoding, distributed
from latentnlp.data.corpora import ParallelText, open_parallel
from latentnlp.data.lexical_table import count_links, write_lexical_tables
from latentnlp.data.links import (
    FORMATS,
    Gold,
    format_pharaoh,
    read_gold,
    read_links,
    read_scores,
    stream_links,
    write_links,
)
from latentnlp.data.textfiles import STDIN, check_writable, write_atomically
from latentnlp.decoding import Alignment
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import (
    CalibrationBin,
    calibration,
    expected_calibration_error,
    read_annotated,
    score,
)
from latentnlp.run import RunDirectory, pick_device, saved_config, seed_everything, use_threads
from latentnlp.tasks.alignment import AlignmentConfig, DataConfig, align, train
from latentnlp.tasks.alignment_model import MODEL, AlignmentModel, model_folder


@dataclass(frozen=True)
class AlignOptions:
    """The command line of ``latentnlp align``."""

    source: str
    target: str | None = None
    input_format: str = "auto"
    output: str = "-"
    output_format: str = "pharaoh"
    forward_links: str | None = None
    reverse_links: str | None = None
    confidence: str | None = None
    model: Path | None = None
    prior: Path | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def align_command(options: AlignOptions) -> None:
    """Train on the text unless there is a model already; write the links of the text."""
    if options.output_format not in FORMATS:
        raise UserError(f"unknown format {options.output_format!r}: take {', '.join(FORMATS)}")
    aside = (options.forward_links, options.reverse_links, options.confidence)
    if STDIN in aside:
        raise UserError(f"{STDIN} is for --output: --forward-links and the like want a file's name")
    for where in (options.output, *aside):
        if where is not None and where != STDIN:
            check_writable(where)
    use_threads(options.threads)
    device = pick_device(options.device)
    distributed.setup(device)
    text = open_parallel(options.source, options.target, options.input_format)
    saved = None if options.model is None else model_folder(options.model)
    if options.model is not None and saved is not None:
        model = AlignmentModel.load(saved, device)
        how = _decoding(model, options.model, options)
    else:
        config = configuration.load(AlignmentConfig, options.config, options.overrides)
        prior = config.data.prior if options.prior is None else str(options.prior)
        data = DataConfig(source=options.source, target=options.target or "", prior=prior)
        config = replace(config, data=data)
        how = None
        with ExitStack() as stack:
            folder = options.model
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="latentnlp-")))
            elif distributed.is_main():  # it is also the one that will make it
                _check_run_folder(folder)
            seed_everything(config.seed)
            run = RunDirectory.create(
                folder,
                config,
                seed=config.seed,
                tensorboard=config.tensorboard,
                temporary=options.model is None,
            )
            model = train(config, text, run, device, progress=options.progress)
            if distributed.is_main():
                model.save(folder / MODEL)
    if distributed.is_main():
        _write(model, text, device, how, options)
    distributed.shutdown()


def _write(
    model: AlignmentModel,
    text: ParallelText,
    device: torch.device,
    how: decoding.Config | None,
    options: AlignOptions,
) -> None:
    """Align the text and write up to four files of it, line by line."""
    details = options.forward_links is not None or options.reverse_links is not None
    found = align(model, text, device, how, details, progress=options.progress)
    with ExitStack() as files:
        for where, record in (
            (options.forward_links, lambda one: format_pharaoh(one.forward or ())),
            (options.reverse_links, lambda one: format_pharaoh(one.reverse or ())),
            (options.confidence, lambda one: f"{one.confidence:.4g}"),
        ):
            if where is not None:
                stream = files.enter_context(write_atomically(where))
                found = _copying(found, record, stream)
        scores = confidences = None
        if options.output_format != "pharaoh":
            found, again, once_more = tee(found, 3)
            scores = (alignment.scores for alignment in again)
            confidences = (alignment.confidence for alignment in once_more)
        links = (alignment.links for alignment in found)
        write_links(options.output, links, options.output_format, scores, confidences=confidences)


def _copying(
    found: Iterator[Alignment], record: Callable[[Alignment], str], stream: TextIO
) -> Iterator[Alignment]:
    """The same alignments; a line about each goes to ``stream`` as it passes."""
    for alignment in found:
        stream.write(record(alignment) + "\n")
        yield alignment


def _decoding(model: AlignmentModel, folder: Path, options: AlignOptions) -> decoding.Config:
    """The model's own way to choose links, with what the command line says on top.

    The command that trained a model may be given again. Raises UserError where the command line
    asks for a training that is not the model's.
    """
    saved = read_config(folder) if (folder / "config.json").exists() else AlignmentConfig()
    if options.prior is not None and str(options.prior) != saved.data.prior:
        raise UserError(
            f"{folder}: holds a model that was not trained with this --prior; name another --model "
            "directory to train a new one"
        )
    asked = configuration.load(AlignmentConfig, options.config, options.overrides)
    keys = [override.partition("=")[0].strip() for override in options.overrides]
    training = [key for key in keys if key != "seed" and not f"{key}.".startswith("decoding.")]
    if options.config is not None:
        training = ["text", "model", "batches", "em", "lexicon", "marginal"]
    for key in training:
        if attrgetter(key)(asked) != attrgetter(key)(saved):
            raise UserError(
                f"{folder}: holds a model that was trained with another {key!r}; name another "
                "--model directory to train a new one"
            )
    if options.config is not None:
        return asked.decoding
    names = [key.removeprefix("decoding.") for key in keys if key.startswith("decoding.")]
    return replace(model.decoding, **{name: getattr(asked.decoding, name) for name in names})


def read_config(folder: Path) -> AlignmentConfig:
    """The configuration that a run directory was trained with."""
    return saved_config(AlignmentConfig, folder)


def _check_run_folder(folder: Path) -> None:
    """A folder that is neither new nor a run is somebody's something else."""
    if folder.is_file():
        raise UserError(f"{folder}: is a file, not a model directory")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise UserError(
            f"{folder}: is not a model directory (it has no {MODEL}/ and no config.json); name a "
            "new directory to train a model"
        )


def lexicon_command(source: str, target: str, links: str, out: str, base: int = 0) -> None:
    """Write the word translation tables of a linked text as Moses has them."""
    for name in ("f2e", "e2f"):
        check_writable(f"{out}.{name}")
    text = open_parallel(source, target)
    gold = stream_links(links, base, *lengths(text))
    # The longest, for it is the links that see at their end whether both have as many lines.
    pairs = zip_longest(gold, text)
    linked = ((pair[0], pair[1], one.possible) for one, pair in pairs if pair)
    write_lexical_tables(out, count_links(linked))


def evaluate_command(
    links: str,
    gold: str,
    gold_format: str = "auto",
    gold_base: int = 0,
    base: int = 0,
    text: Sequence[str] | None = None,
    annotated: str | None = None,
    as_json: bool = False,
    calibrated: bool = False,
) -> None:
    """Print the score of a file of links against a file of gold links; or, where ``calibrated`` is
    asked for, how far the scores of the links themselves can be believed."""
    source_lengths = target_lengths = None
    if text is not None:
        source_lengths, target_lengths = lengths(open_parallel(text[0], text[1]))

    def manual(sentences: int) -> list[Gold]:
        return read_gold(gold, gold_format, gold_base, sentences, source_lengths, target_lengths)

    if calibrated:
        if annotated is not None:
            raise UserError("--calibration is of all links: it does not go with --annotated")
        scores = read_scores(links, base)
        _print_calibration(calibration(scores, manual(len(scores))), as_json)
        return
    predicted = read_links(links, base, source_lengths, target_lengths)
    result = score(
        [one.possible for one in predicted],
        manual(len(predicted)),
        None if annotated is None else read_annotated(annotated),
    )
    sys.stdout.write((json.dumps(result.to_dict()) if as_json else result.format()) + "\n")


def _print_calibration(bins: Sequence[CalibrationBin], as_json: bool) -> None:
    error = expected_calibration_error(bins)
    if as_json:
        rows = [asdict(one) for one in bins]
        sys.stdout.write(json.dumps({"expected_calibration_error": error, "bins": rows}) + "\n")
        return
    sys.stdout.write("score      links  mean score  right\n")
    for one in bins:
        shares = f"{one.mean_score:10.3f}  {one.precision:5.3f}"
        sys.stdout.write(f"{one.low:.1f}-{one.high:.1f}  {one.count:7}  {shares}\n")
    sys.stdout.write(f"expected calibration error {error:.3f}\n")


def lengths(text: ParallelText) -> tuple[list[int], list[int]]:
    """The numbers of words of all sentences of a text, (source, target)."""
    pairs = [(len(source), len(target)) for source, target in text]
    return [source for source, _ in pairs], [target for _, target in pairs]
