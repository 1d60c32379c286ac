"""What the command line and the recipes do about translation, around `tasks.translation`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Literal, TextIO

from latentnlp import config as configuration
from latentnlp import distributed, search
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.corpora import Lines, ParallelText, open_parallel
from latentnlp.data.links import FORMATS, format_pharaoh, write_links
from latentnlp.data.textfiles import STDIN, check_writable, split_words, write_atomically
from latentnlp.data.translation_text import Part, Swapped
from latentnlp.errors import UserError
from latentnlp.run import (
    RunDirectory,
    check_run_folder,
    pick_device,
    saved_config,
    seed_everything,
    use_threads,
)
from latentnlp.tasks.translation import Translation, TranslationConfig, align, train, translate
from latentnlp.tasks.translation_model import MODEL, TranslationSystem

_MOST_HELD_OUT = 1000  # pairs that become the dev set where none is given


# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TrainOptions:
    """The command line of ``latentnlp translate train`` and of the recipe."""

    out: Path
    source: str = ""  # files of a text; else the config says
    target: str = ""
    dev_source: str = ""
    dev_target: str = ""
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def train_command(options: TrainOptions) -> TranslationSystem:
    """Train a model and keep it in the run directory ``out``, going on where one stopped."""
    use_threads(options.threads)
    config = configuration.load(TranslationConfig, options.config, options.overrides)
    if bool(options.dev_source) != bool(options.dev_target):
        raise UserError("--dev-source and --dev-target go together: name both, or neither")
    if options.source:
        data = replace(
            config.data,
            corpus="",
            source=options.source,
            target=options.target,
            dev_source=options.dev_source,
            dev_target=options.dev_target,
        )
        config = replace(config, data=data)
    text, dev = training_texts(config)
    if distributed.is_main():  # it is also the one that will make it
        check_run_folder(options.out)
    device = pick_device(options.device)
    distributed.setup(device)
    seed_everything(config.seed)
    run = RunDirectory.create(options.out, config, seed=config.seed, tensorboard=config.tensorboard)
    if dev is None:
        text, dev = hold_out(text)
        some = f"the last {len(dev)} of {len(text) + len(dev)} pairs are it" if dev else "too few"
        run.log(f"no dev set was given: {some}", echo=options.progress)
    system = train(config, text, dev, run, device, options.progress)
    if distributed.is_main():
        system.save(options.out / MODEL)
        run.log(f"model saved in {options.out / MODEL}", echo=options.progress)
    run.close()
    distributed.shutdown()
    return system


def training_texts(config: TranslationConfig) -> tuple[ParallelText, ParallelText | None]:
    """(training, dev); dev is None where none is named. Raises UserError: nothing to read."""
    data = config.data
    if not data.corpus and not data.source:
        raise UserError("nothing to train on: name two files, or data.corpus in a TOML")
    if data.corpus:
        corpus = CanonicalCorpus(data.corpus)
        text = corpus.text("train", data.train_pairs)
        dev = corpus.text("dev") if corpus.has("dev") else None
    else:
        text = open_parallel(data.source, data.target)
        if data.train_pairs is not None:
            text = Part(text, range(min(data.train_pairs, len(text))))
        dev = open_parallel(data.dev_source, data.dev_target) if data.dev_source else None
    if data.reversed:
        return Swapped(text), None if dev is None else Swapped(dev)
    return text, dev


def hold_out(text: ParallelText) -> tuple[ParallelText, ParallelText | None]:
    """(the rest, the last tenth of the pairs): at most 1000, and None where that is none."""
    held = min(len(text) // 10, _MOST_HELD_OUT)
    if not held:
        return text, None
    rest = len(text) - held
    return Part(text, range(rest)), Part(text, range(rest, len(text)))


def corpus_text(config: TranslationConfig, part: str) -> ParallelText:
    """One part of the corpus of a recipe's run, in the run's direction."""
    if not config.data.corpus:
        raise UserError("this run was trained on single files: it has no corpus with parts")
    text = CanonicalCorpus(config.data.corpus).text(part)
    return Swapped(text) if config.data.reversed else text


# ------------------------------------------------------------------------------------ translating


@dataclass(frozen=True)
class DecodeOptions:
    """The command line of ``latentnlp translate decode``."""

    model: Path
    source: str = STDIN
    output: str = STDIN
    format: Literal["text", "jsonl"] | None = None  # None: JSON lines of several translations
    beam: int | None = None  # None: as the model was configured
    length_normalisation: float | None = None
    best: int = 1
    alignments: str | None = None
    replace_unknown: bool = True
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def decode_command(options: DecodeOptions) -> None:
    """Translate a file line by line. Nothing is written where a line cannot be read."""
    form = options.format or ("text" if options.best == 1 else "jsonl")
    if form == "text" and options.best > 1:
        raise UserError("several translations of a line are JSON lines: --format jsonl")
    if options.alignments is not None and _same_file(options.alignments, options.output):
        raise UserError(f"{options.output}: --output and --alignments need a file each")
    if options.alignments == STDIN:
        raise UserError(f"{STDIN} is for --output: --alignments wants a file's name")
    for where in (options.output, options.alignments):
        if where is not None and where != STDIN:
            check_writable(where)
    use_threads(options.threads)
    device = pick_device(options.device)
    system = load_model(options.model, options.device)
    how = searching(
        system.search,
        beam=options.beam,
        length_normalisation=options.length_normalisation,
        best=options.best,
    )
    lines = Lines(options.source)
    if not len(lines):
        raise UserError(f"{lines.name} is empty: there is no sentence to translate")
    found = translate(
        system,
        Sentences(lines),
        device,
        how,
        options.best,
        links=form == "jsonl" or options.alignments is not None,
        replace_unknown=options.replace_unknown,
        progress=options.progress,
    )
    with ExitStack() as files:
        stream = files.enter_context(_stream(options.output))
        aside = None
        if options.alignments is not None:
            aside = files.enter_context(write_atomically(options.alignments))
        for number, translations in enumerate(found):
            record = _record(number, translations) if form == "jsonl" else _text(translations)
            stream.write(record + "\n")
            if aside is not None:
                first = translations[0].alignment
                aside.write(format_pharaoh(first.links if first else ()) + "\n")


def _same_file(one: str, other: str) -> bool:
    return STDIN not in (one, other) and Path(one).resolve() == Path(other).resolve()


def searching(
    config: search.Config,
    *,
    beam: int | None = None,
    length_normalisation: float | None = None,
    best: int = 1,
) -> search.Config:
    """How to search: as ``config`` says, and instead of it what is asked for. Raises UserError:
    a setting that cannot be, or more translations than the beam holds."""
    asked = {"beam": beam, "length_normalisation": length_normalisation}
    try:
        how = replace(config, **{name: one for name, one in asked.items() if one is not None})
    except ValueError as error:
        raise UserError(f"how to search: {error}") from None
    if not 1 <= best <= how.beam:
        raise UserError(
            f"{best} translations of a sentence: the beam holds 1 to {how.beam} (set by --beam)"
        )
    return how


class Sentences:
    """The lines of a file as lists of words, read as they are needed."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[list[str]]:
        return map(split_words, self._lines)


def _stream(where: str) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if where == STDIN else write_atomically(where)


def _text(translations: Sequence[Translation]) -> str:
    return " ".join(translations[0].words)


def _record(number: int, translations: Sequence[Translation]) -> str:
    """One object a line; its "translations" hold text, score, log_prob, links, scores, unknown."""
    rows = []
    for one in translations:
        scores = one.alignment.scores if one.alignment else {}
        links = sorted(scores)
        rows.append(
            {
                "text": " ".join(one.words),
                "score": float(f"{one.score:.6g}"),
                "log_prob": float(f"{one.log_prob:.6g}"),
                "links": [list(link) for link in links],
                "scores": [float(f"{scores[link]:.4g}") for link in links],
                "unknown": list(one.unknown),
            }
        )
    return json.dumps({"id": number, "translations": rows}, ensure_ascii=False)


# --------------------------------------------------------------------------------------- aligning


@dataclass(frozen=True)
class AlignOptions:
    """The command line of ``latentnlp translate align``."""

    model: Path
    source: str
    target: str
    output: str = STDIN
    format: str = "pharaoh"
    reverse: Path | None = None  # a model of the other direction
    threshold: float | None = None
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def align_command(options: AlignOptions) -> None:
    """Write the links of given translations, from the posteriors of one model or of two."""
    if options.format not in FORMATS:
        raise UserError(f"unknown format {options.format!r}: take {', '.join(FORMATS)}")
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise UserError(f"--threshold {options.threshold}: between 0 and 1")
    if options.output != STDIN:
        check_writable(options.output)
    use_threads(options.threads)
    device = pick_device(options.device)
    system = load_model(options.model, options.device)
    reverse = None if options.reverse is None else load_model(options.reverse, options.device)
    text = open_parallel(options.source, options.target)
    found = align(system, text, device, reverse, options.threshold, options.progress)
    scores = None
    if options.format != "pharaoh":
        found, again = tee(found)
        scores = (alignment.scores for alignment in again)
    links = (alignment.links for alignment in found)
    write_links(options.output, links, options.format, scores)


# -------------------------------------------------------------------------------------- a model


def load_model(folder: Path, device: str = "auto") -> TranslationSystem:
    """The model of a run directory, or the folder that `Translator.save` wrote."""
    where = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (where / "state.json").exists():
        raise UserError(
            f"{folder}: holds no translation model: train one with `latentnlp translate train`"
        )
    return TranslationSystem.load(where, pick_device(device))


def read_config(folder: Path) -> TranslationConfig:
    """The configuration that a run directory was trained with."""
    return saved_config(TranslationConfig, folder)
