"""What the command line and the recipes do about rationales, around `tasks.rationale`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from latentnlp import config as configuration
from latentnlp import distributed
from latentnlp.data.documents import (
    Document,
    Rationale,
    Task,
    hold_out,
    read_documents,
    read_rationales,
    write_rationales,
)
from latentnlp.data.eraser import write_eraser
from latentnlp.data.textfiles import STDIN, check_writable
from latentnlp.errors import UserError
from latentnlp.evaluation.rationale import classification, regression, selection
from latentnlp.report.rationale import highlight_terminal, wants_colour
from latentnlp.run import (
    RunDirectory,
    check_run_folder,
    pick_device,
    saved_config,
    seed_everything,
    use_threads,
)
from latentnlp.tasks.rationale import RationaleConfig, extract, shorten, train
from latentnlp.tasks.rationale_evaluation import agreement, evaluate, whole
from latentnlp.tasks.rationale_model import Labels, RationaleModel

MODEL = "model"  # the folder of a run directory that holds the trained model
Decoding = Literal["rate", "top", "half"]


@dataclass(frozen=True)
class ReadOptions:
    """How a user's file of documents is read."""

    format: str = "auto"
    text_column: str | None = None
    label_column: str | None = None
    rationale_column: str = "rationale"
    task: Task = "auto"

    def read(
        self, path: str | Path, labels: Labels | None = None, require_label: bool = True
    ) -> list[Document]:
        """The documents of a file; ``labels``: those of the training, which no other may be."""
        task, classes = self.task, None
        if labels is not None:
            task = "classification" if labels.classes else "regression"
            classes = labels.classes or None
        return read_documents(
            path,
            fmt=self.format,
            text_column=self.text_column,
            label_column=self.label_column,
            rationale_column=self.rationale_column,
            task=task,
            require_label=require_label,
            classes=classes,
        )


# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TrainOptions:
    """The command line of ``latentnlp rationale train`` and of the recipe."""

    out: Path
    train: str = ""  # a file of documents, or a folder of data_prep/; else the config says
    dev: str = ""
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def train_command(options: TrainOptions) -> RationaleModel:
    """Train an extractor and keep it in the run directory ``out``, going on where one stopped."""
    use_threads(options.threads)
    config = configuration.load(RationaleConfig, options.config, options.overrides)
    if options.train:
        folder = Path(options.train).is_dir()
        named = {"corpus": options.train, "train": ""} if folder else {"train": options.train}
        data = replace(config.data, **({"corpus": "", "dev": options.dev} | named))
        config = replace(config, data=data)
    if distributed.is_main():  # it is also the one that will make it
        check_run_folder(options.out)
    device = pick_device(options.device)
    distributed.setup(device)
    documents, dev, extra = read_training(config, options.reading)
    seed_everything(config.seed)
    run = RunDirectory.create(options.out, config, seed=config.seed, tensorboard=config.tensorboard)
    documents, dev = with_dev(documents, dev, config.seed, run, options.progress)
    model = train(config, documents, run, device, dev, extra, options.progress)
    if distributed.is_main():
        model.save(options.out / MODEL)
        run.log(f"model saved in {options.out / MODEL}", echo=options.progress)
    run.close()
    distributed.shutdown()
    return model


def read_training(
    config: RationaleConfig, reading: ReadOptions | None = None
) -> tuple[list[Document], list[Document], list[Document]]:
    """Training, dev (perhaps none) and extra documents.

    Raises UserError where the config names none, and for labels that the training text has not.
    """
    data, reading = config.data, reading or ReadOptions()
    if not data.corpus and not data.train:
        raise UserError("nothing to train on: name a file of documents, or data.corpus in a TOML")
    train_path = str(part_path(config, "train")) if data.corpus else data.train
    documents = reading.read(train_path)
    dev_path = data.dev
    if data.corpus and not dev_path and (Path(data.corpus) / "dev.jsonl").exists():
        dev_path = str(part_path(config, "dev"))
    try:
        labels = Labels.of([one.label for one in documents if one.label is not None])
    except UserError as error:
        raise UserError(f"{train_path}: {error}") from None
    dev = reading.read(dev_path, labels) if dev_path else []
    extra = reading.read(Path(data.corpus) / data.extra, labels) if data.extra else []
    return documents, dev, extra


def with_dev(
    documents: list[Document],
    dev: list[Document],
    seed: int,
    run: RunDirectory,
    progress: bool = True,
) -> tuple[list[Document], list[Document]]:
    """(training, dev); where there is no dev, a tenth of the training documents becomes it."""
    if dev:
        return documents, dev
    rest, held = hold_out(documents, seed)
    count = f"{len(held)} of {len(documents)} training documents"
    how = f"{count}, drawn by seed {seed}, are the dev set" if held else "there are too few for one"
    run.log(f"no dev set was given: {how}", echo=progress)
    return rest, held


def part_path(config: RationaleConfig, part: str) -> Path:
    """The file of one part of a corpus of data_prep/. Raises UserError where it is absent."""
    if not config.data.corpus:
        raise UserError("this run was trained on single files: it has no corpus with parts")
    path = Path(config.data.corpus) / f"{part}.jsonl"
    if not path.exists():
        raise UserError(f"{path}: no such file: make the corpus with its data_prep script first")
    return path


# ------------------------------------------------------------------------------------- extracting


@dataclass(frozen=True)
class ExtractOptions:
    """The command line of ``latentnlp rationale extract``."""

    model: Path
    documents: str
    output: str = STDIN
    format: Literal["jsonl", "eraser"] = "jsonl"
    decode: Decoding | None = None
    show: int = 0  # so many texts, highlighted, on the terminal
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1


def extract_command(options: ExtractOptions) -> None:
    """Select in every document, and predict from what was selected."""
    use_threads(options.threads)
    eraser = options.format == "eraser"
    if eraser and options.output == STDIN:
        raise UserError("ERASER's form is a folder: say where with -o FOLDER")
    if not eraser and options.output != STDIN:
        check_writable(options.output)
    model = load_model(options.model, options.device)
    if options.decode is not None:
        model = decoding_by(model, options.decode)
    documents = options.reading.read(options.documents, model.labels, require_label=eraser)
    limit = model.text.max_length
    if limit and (long := sum(len(one.tokens) > limit for one in documents)):
        said = (
            f"{long} of {len(documents)} documents are read only up to word {limit}, as in training"
        )
        print(f"latentnlp: {said}", file=sys.stderr)
    shown: list[Rationale] = []

    def passing() -> Iterator[Rationale]:
        for one in extract(model, documents):
            if len(shown) < options.show:
                shown.append(one)
            yield one

    if eraser:
        found = [whole(one, document) for one, document in zip(passing(), documents, strict=True)]
        write_eraser(options.output, "test", documents, found)
    else:
        write_rationales(options.output, passing())
    _show(shown, documents, sys.stderr if options.output == STDIN else sys.stdout)


def _show(found: Sequence[Rationale], documents: Sequence[Document], stream: Any) -> None:
    """The first texts with what was selected, for a reader at the terminal."""
    width = shutil.get_terminal_size().columns
    for one, document in zip(found, documents, strict=False):
        human = shorten(document, len(one.tokens)).rationale
        text = highlight_terminal(one, human, colour=wants_colour(stream), width=width)
        stream.write(text + "\n")


def decoding_by(model: RationaleModel, method: Decoding) -> RationaleModel:
    """The same model with another way to decide what is selected."""
    return replace(model, decoding=replace(model.decoding, method=method))


def load_model(folder: Path, device: str = "auto") -> RationaleModel:
    """The model of a run directory, or the folder that `RationaleExtractor.save` wrote."""
    where = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (where / "state.json").exists():
        raise UserError(f"{folder}: holds no rationale model: train one with `rationale train`")
    return RationaleModel.load(where, pick_device(device))


def read_config(folder: Path) -> RationaleConfig:
    """The configuration that a run directory was trained with."""
    return saved_config(RationaleConfig, folder)


# ---------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class EvaluateOptions:
    """The command line of ``latentnlp evaluate rationale``."""

    predicted: str
    gold: str
    model: Path | None = None
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1
    as_json: bool = False


def evaluate_command(options: EvaluateOptions) -> None:
    """Score a file of rationales against labelled documents; with a model, faithfulness too."""
    use_threads(options.threads)
    found = read_rationales(options.predicted)
    if options.model is None:
        documents = options.reading.read(options.gold, labels_of(found))
        check_same(found, documents, options.predicted, options.gold)
        scores = compare(found, documents)
        lines = [f"{name:16} {score.format()}" for name, score in scores.items()]
        record = {name: score.to_dict() for name, score in scores.items()}
    else:
        model = load_model(options.model, options.device)
        documents = options.reading.read(options.gold, model.labels)
        check_same(found, documents, options.predicted, options.gold)
        evaluation = evaluate(model, documents, found=found)
        lines, record = evaluation.lines(), evaluation.to_dict()
    sys.stdout.write((json.dumps(record) if options.as_json else "\n".join(lines)) + "\n")


def labels_of(found: Sequence[Rationale]) -> Labels | None:
    """The labels that a file of rationales knows of; None if it says only its best classes."""
    if isinstance(found[0].prediction, str):
        known = tuple(found[0].probabilities or ())
        return Labels(known) if known else None
    return Labels()


def compare(found: Sequence[Rationale], documents: Sequence[Document]) -> dict[str, Any]:
    """Scores that need no model, by their names; agreement only with human rationales."""
    answers, labels = [one.prediction for one in found], [one.label for one in documents]
    if isinstance(answers[0], str):
        task: Any = classification(answers, [str(label) for label in labels])
    else:
        task = regression([float(one) for one in answers], [float(one or 0) for one in labels])
    scores = {
        "task": task,
        "selection": selection([one.spans for one in found], [len(one.tokens) for one in found]),
        "agreement": agreement(found, documents),
    }
    return {name: score for name, score in scores.items() if score is not None}


def check_same(
    found: Sequence[Rationale], documents: Sequence[Document], predicted: str, gold: str
) -> None:
    """Raises UserError unless both files speak of the same documents in the same order.

    A model that reads only the beginning of a text says nothing of the rest.
    """
    if len(found) != len(documents):
        raise UserError(
            f"{predicted} has {len(found)} documents but {gold} has {len(documents)}: they must be "
            "the same, in the same order"
        )
    for number, (one, document) in enumerate(zip(found, documents, strict=True), start=1):
        if one.tokens != document.tokens[: len(one.tokens)]:
            raise UserError(
                f"{predicted}, document {number} ({one.id}): its tokens are not those of document "
                f"{number} ({document.id}) of {gold}"
            )
