"""What the command line and the recipes do about word alignment, around `tasks.alignment`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import tee
from operator import attrgetter
from pathlib import Path
from typing import TextIO

import torch

from latentnlp import config as configuration
from latentnlp import decoding, distributed
from latentnlp.data.corpora import ParallelText, open_parallel
from latentnlp.data.links import FORMATS, format_pharaoh, read_gold, read_links, write_links
from latentnlp.data.textfiles import STDIN, check_writable, write_atomically
from latentnlp.decoding import Alignment
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import read_annotated, score
from latentnlp.run import RunDirectory, pick_device, saved_config, seed_everything, use_threads
from latentnlp.tasks.alignment import AlignmentConfig, DataConfig, align, train
from latentnlp.tasks.alignment_model import AlignmentModel

MODEL = "model"  # the folder of a run directory that holds the trained model


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
    model: Path | None = None
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def align_command(options: AlignOptions) -> None:
    """Train on the text unless there is a model already; write the links of the text."""
    if options.output_format not in FORMATS:
        raise UserError(f"unknown format {options.output_format!r}: take {', '.join(FORMATS)}")
    for where in (options.output, options.forward_links, options.reverse_links):
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
        data = DataConfig(source=options.source, target=options.target or "")
        config = replace(config, data=data)
        how = None
        with ExitStack() as stack:
            folder = options.model
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="latentnlp-")))
            else:
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


def model_folder(folder: Path) -> Path | None:
    """Where the model is: in a run directory, or (as `Aligner.save` writes) the folder itself."""
    if (folder / MODEL).exists():
        return folder / MODEL
    return folder if (folder / "state.json").exists() else None


def _write(
    model: AlignmentModel,
    text: ParallelText,
    device: torch.device,
    how: decoding.Config | None,
    options: AlignOptions,
) -> None:
    """Align the text and write up to three files of links, line by line."""
    details = options.forward_links is not None or options.reverse_links is not None
    found = align(model, text, device, how, details, progress=options.progress)
    with ExitStack() as files:
        for name in ("forward", "reverse"):
            where = getattr(options, f"{name}_links")
            if where is not None:
                stream = files.enter_context(write_atomically(where))
                found = _copying(found, name, stream)
        scores = None
        if options.output_format != "pharaoh":
            found, again = tee(found)
            scores = (alignment.scores for alignment in again)
        links = (alignment.links for alignment in found)
        write_links(options.output, links, options.output_format, scores)


def _copying(found: Iterator[Alignment], name: str, stream: TextIO) -> Iterator[Alignment]:
    """The same alignments; the links of one direction go to ``stream`` as they pass."""
    for alignment in found:
        stream.write(format_pharaoh(getattr(alignment, name) or ()) + "\n")
        yield alignment


def _decoding(model: AlignmentModel, folder: Path, options: AlignOptions) -> decoding.Config:
    """The model's own way to choose links, with what the command line says on top.

    The command that trained a model may be given again. Raises UserError where the command line
    asks for a training that is not the model's.
    """
    saved = read_config(folder) if (folder / "config.json").exists() else AlignmentConfig()
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


def evaluate_command(
    links: str,
    gold: str,
    gold_format: str = "auto",
    gold_base: int = 0,
    base: int = 0,
    text: Sequence[str] | None = None,
    annotated: str | None = None,
    as_json: bool = False,
) -> None:
    """Print the score of a file of links against a file of gold links."""
    source_lengths = target_lengths = None
    if text is not None:
        source_lengths, target_lengths = lengths(open_parallel(text[0], text[1]))
    predicted = read_links(links, base, source_lengths, target_lengths)
    manual = read_gold(gold, gold_format, gold_base, len(predicted), source_lengths, target_lengths)
    result = score(
        [one.possible for one in predicted],
        manual,
        None if annotated is None else read_annotated(annotated),
    )
    sys.stdout.write((json.dumps(result.to_dict()) if as_json else result.format()) + "\n")


def lengths(text: ParallelText) -> tuple[list[int], list[int]]:
    """The numbers of words of all sentences of a text, (source, target)."""
    pairs = [(len(source), len(target)) for source, target in text]
    return [source for source, _ in pairs], [target for _, target in pairs]
