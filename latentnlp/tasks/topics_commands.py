"""What the command line and the recipes do about topics of documents, around `tasks.topics`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from latentnlp import config as configuration
from latentnlp import distributed
from latentnlp.checkpoint import saving
from latentnlp.data.bag_corpora import BagCorpus, BagFolder, Read, open_bags
from latentnlp.data.bag_files import BagWriter, load_bags
from latentnlp.data.bag_text import TextConfig
from latentnlp.data.bags import Bags
from latentnlp.data.documents import json_line
from latentnlp.data.textfiles import (
    STDIN,
    check_writable,
    write_atomically,
    write_atomically_bytes,
)
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.document_models._contract import Topics
from latentnlp.document_models.belief_network import BeliefNetwork, as_layers
from latentnlp.errors import UserError
from latentnlp.report.topics import (
    Dream,
    Topic,
    TopicTable,
    dream_lines,
    terminal_lines,
    tsv_lines,
)
from latentnlp.run import (
    RunDirectory,
    check_run_folder,
    pick_device,
    saved_config,
    seed_everything,
    use_threads,
)
from latentnlp.tasks.topics import RULES, TopicsConfig, train
from latentnlp.tasks.topics_evaluation import evaluate
from latentnlp.tasks.topics_model import TopicsModel

MODEL = "model"  # the folder of a run directory that holds the trained model
_BAGS = "documents"  # the folder of a run directory that holds the encoded text, while it is needed
_DIGITS = 6  # of a code


@dataclass(frozen=True)
class ReadOptions:
    """How a user's files of documents are read."""

    format: str = "auto"
    text_column: str | None = None
    label_column: str | None = None
    vocabulary: str | None = None  # a file with one word a line

    def read(
        self,
        path: str | Path,
        text: TextConfig | None = None,
        vocabulary: Vocabulary | None = None,
        *,
        part: str = "test",
        folder: Path | None = None,
    ) -> BagCorpus:
        """The documents of a file, or of one part of a folder of data_prep/.

        ``vocabulary``: of a model or of the training, whose words and no others are counted.
        ``folder``: where the encoded text lies; it has to stay as long as it is used.
        """
        words, given = self.vocabulary, str(path)
        if Path(path).is_dir():
            corpus = BagFolder(path)
            path = corpus.path(part)
            words = words or corpus.vocabulary_file
        return open_bags(
            path,
            text,
            vocabulary,
            fmt=self.format if str(path) == given else "auto",
            text_column=self.text_column,
            label_column=self.label_column,
            vocabulary_file=words,
            folder=folder,
        )


# --------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class TrainOptions:
    """The command line of ``latentnlp topics train`` and of the recipe."""

    out: Path
    train: str = ""  # a file of documents, or a folder of data_prep/; else the config says
    dev: str = ""
    config: Path | None = None
    overrides: tuple[str, ...] = ()
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1
    progress: bool = True


def kind_overrides(
    kind: str | None, rule: str | None, layers: str | None, topics: int | None = None
) -> list[str]:
    """The settings that the command line has names for; a kind that one rule alone can teach
    brings it along. Raises UserError for layers that are not whole numbers, and for layers or
    topics of another kind."""
    found = []
    if layers is not None and kind not in (None, "belief_network"):
        raise UserError(f"--layers are of a belief network; a model of kind {kind!r} has none")
    if kind is not None:
        found.append(f"model.kind={kind}")
        if rule is None and kind != "belief_network":
            (rule,) = RULES[kind]
        if kind == "nvdm":
            found.append("learning.variational.estimator=reparameterised")
    if rule is not None:
        found.append(f"learning.rule={rule}")
    if layers is not None:
        sizes = [size.strip() for size in layers.split(",")]
        if not all(size.isascii() and size.isdigit() and int(size) for size in sizes):
            raise UserError(
                f"--layers {layers}: expected whole numbers above 0, for example --layers 200,50"
            )
        found.append(f"model.belief_network.layers=[{', '.join(sizes)}]")
    if topics is not None:
        if kind not in ("lda", "nvdm"):
            raise UserError(
                f"--topics {topics} goes with --kind lda or nvdm; a belief network has layers of "
                "units: --layers 200,50, or --set model.belief_network.layers=[200,50]"
            )
        found.append(f"model.{kind}.topics={topics}")
    return found


def check_seed(name: str, seed: int) -> None:
    """Raises UserError: torch takes no such seed."""
    if seed >= 2**63:
        raise UserError(f"{name} {seed} is too large: it has to be below 2^63")


class Training(NamedTuple):
    """What a model is learnt from, mapped."""

    bags: Bags
    dev: Bags | None
    vocabulary: Vocabulary


def train_command(options: TrainOptions) -> TopicsModel:
    """Train a model and keep it in the run directory ``out``, going on where one stopped."""
    use_threads(options.threads)
    config = configuration.load(TopicsConfig, options.config, options.overrides)
    check_seed("seed", config.seed)
    if options.train:
        folder = Path(options.train).is_dir()
        named = {"corpus": options.train, "train": ""} if folder else {"train": options.train}
        data = replace(config.data, **({"corpus": "", "dev": options.dev} | named))
        config = replace(config, data=data)
    files = training_files(config)
    if distributed.is_main():  # it is also the one that will make it
        check_run_folder(options.out)
    device = pick_device(options.device)
    distributed.setup(device)
    run = RunDirectory.create(options.out, config, seed=config.seed, tensorboard=config.tensorboard)
    with _encoded(config, files, options.reading, run, options.progress) as documents:
        seed_everything(config.seed)
        model = train(
            config,
            documents.bags,
            documents.vocabulary,
            run,
            device,
            documents.dev,
            options.progress,
        )
    if distributed.is_main():
        model.save(options.out / MODEL)
        run.log(f"model saved in {options.out / MODEL}", echo=options.progress)
    run.close()
    distributed.shutdown()
    return model


def training_files(config: TopicsConfig) -> dict[str, Path]:
    """The files of "train" and, where there is one, of "dev".

    A folder stands for its part of that name. Raises UserError where the config names none, or one
    that is not there.
    """
    data = config.data
    if not data.corpus and not data.train:
        raise UserError("nothing to train on: name a file of documents, or data.corpus in a TOML")
    files = {
        part: str(BagFolder(name).path(part)) if name and Path(name).is_dir() else name
        for part, name in (("train", data.train), ("dev", data.dev))
    }
    if data.corpus:
        corpus = BagFolder(data.corpus)
        files["train"] = str(corpus.path("train"))
        if not data.dev and corpus.has("dev"):
            files["dev"] = str(corpus.files["dev"])
    for name in files.values():
        if name and name != STDIN and not Path(name).exists():
            raise UserError(f"{name}: no such file")
    return {part: Path(name) for part, name in files.items() if name}


@contextmanager
def _encoded(
    config: TopicsConfig,
    files: dict[str, Path],
    reading: ReadOptions,
    run: RunDirectory,
    progress: bool,
) -> Iterator[Training]:
    """The documents, encoded once into the run directory: the main process reads, all map them."""
    place = run.path / _BAGS
    if config.data.corpus and reading.vocabulary is None:
        words = BagFolder(config.data.corpus).vocabulary_file
        reading = replace(reading, vocabulary=None if words is None else str(words))
    try:
        problem: UserError | None = None
        if distributed.is_main():
            try:
                _encode(config, files, reading, run, place, progress)
            except UserError as error:
                problem = error
        failed = distributed.gather(torch.tensor([float(problem is not None)]))[0]
        if problem is not None:
            raise problem
        if failed:  # the main process says why
            raise UserError("the documents could not be read")
        dev = load_bags(place / "dev") if (place / "dev").is_dir() else None
        vocabulary = Vocabulary.load(place / "vocabulary.tsv")
        found = Training(load_bags(place / "train"), dev, vocabulary)
        distributed.barrier()  # or the main process might be done, and delete them, before that
        yield found
    finally:
        if distributed.is_main():
            shutil.rmtree(place, ignore_errors=True)


def _encode(
    config: TopicsConfig,
    files: dict[str, Path],
    reading: ReadOptions,
    run: RunDirectory,
    place: Path,
    progress: bool,
) -> None:
    shutil.rmtree(place, ignore_errors=True)  # what a killed process has left
    train = reading.read(files["train"], config.text, folder=place / "all")
    run.log(f"{files['train']}: {said(train.read)}", echo=progress)
    if "dev" in files:
        (place / "all").rename(place / "train")
        dev = reading.read(files["dev"], config.text, train.vocabulary, folder=place / "dev")
        run.log(f"{files['dev']}: {said(dev.read)}", echo=progress)
        if dev.read.tokens == dev.read.outside:
            raise UserError(f"{files['dev']}: no document has a word of the vocabulary")
    else:
        rest, held = hold_out(train.bags, config.seed)
        _copy(train.bags, rest, place / "train")
        if len(held):
            _copy(train.bags, held, place / "dev")
        run.log(no_dev(len(rest), len(held), config.seed), echo=progress)
    train.vocabulary.save(place / "vocabulary.tsv")


def hold_out(bags: Bags, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of (the rest, a tenth of those with a word), both in order; drawn by ``seed``."""
    filled = np.flatnonzero(bags.offsets[1:] > bags.offsets[:-1])
    held = np.random.default_rng(seed).permutation(filled)[: len(filled) // 10]
    return np.setdiff1d(np.arange(len(bags)), held), np.sort(held)


def no_dev(rest: int, held: int, seed: int) -> str:
    """What is said where no dev set was given."""
    count = f"{held} of {rest + held} training documents, drawn by seed {seed}, are the dev set"
    return f"no dev set was given: {count if held else 'there are too few for one'}"


def _copy(bags: Bags, rows: np.ndarray, folder: Path) -> None:
    """Write these documents, one at a time: `Bags.select` would hold them all."""
    with saving(folder), BagWriter(folder, bags.vocabulary_size) as writer:
        for row in rows.tolist():
            start, end = bags.offsets[row], bags.offsets[row + 1]
            writer.add(
                bags.words[start:end].tolist(),
                bags.counts[start:end].tolist(),
                bags.id(row),
                None if bags.labels is None else bags.labels[row],
            )


def said(read: Read) -> str:
    """What was found in a file, and what was left out of it."""
    parts = [f"{read.documents} documents", f"{read.tokens} words"]
    if read.outside:
        parts.append(f"{read.outside} of them outside the vocabulary")
    if read.empty:
        parts.append(f"{read.empty} documents without a word of it")
    return ", ".join(parts)


# -------------------------------------------------------------------------------------- a model


def load_model(folder: Path, device: str = "auto") -> TopicsModel:
    """The model of a run directory, or the folder that `DocumentBeliefNetwork.save` wrote."""
    where = folder / MODEL if (folder / MODEL).is_dir() else folder
    if not (where / "state.json").exists():
        raise UserError(f"{folder}: holds no topics model: train one with `latentnlp topics train`")
    return TopicsModel.load(where, pick_device(device))


def read_config(folder: Path) -> TopicsConfig:
    """The configuration that a run directory was trained with."""
    return saved_config(TopicsConfig, folder)


def corpus_of(config: TopicsConfig) -> BagFolder:
    """The corpus of data_prep/ that a run was trained on. Raises UserError where it has none."""
    if not config.data.corpus:
        raise UserError("this run was trained on single files: it has no corpus with parts")
    return BagFolder(config.data.corpus)


def read_new(
    model: TopicsModel, path: str | Path, reading: ReadOptions, part: str = "test"
) -> Bags:
    """Documents in a model's words; what is left out of them is said on stderr."""
    found = reading.read(path, model.text, model.vocabulary, part=part)
    if found.read.outside or found.read.empty:
        print(f"latentnlp: {path}: {said(found.read)}", file=sys.stderr)
    return found.bags


def read_halves(
    model: TopicsModel, corpus: BagFolder, reading: ReadOptions, part: str = "test"
) -> tuple[Bags, Bags] | None:
    """The published halves of a part's documents; None: the corpus has none."""
    names = corpus.halves(part)
    if names is None:
        return None
    first, second = (read_new(model, corpus.folder, reading, name) for name in names)
    return first, second


@dataclass(frozen=True)
class InferOptions:
    """The command line of ``latentnlp topics infer``."""

    model: Path
    documents: str
    output: str = STDIN
    format: Literal["jsonl", "npz"] | None = None  # None: by the name of the output
    raw: bool = False  # codes not centred
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1


def infer_command(options: InferOptions) -> None:
    """The code of every document, in order; centred unless ``raw``."""
    use_threads(options.threads)
    as_npz = (options.format or Path(options.output).suffix) in ("npz", ".npz")
    if as_npz and options.output == STDIN:
        raise UserError("an .npz is no text: say where with -o FILE.npz")
    if options.output != STDIN:
        check_writable(options.output)
    model = load_model(options.model, options.device)
    if options.raw:
        model = replace(model, centre=torch.zeros_like(model.centre))
    bags = read_new(model, options.documents, options.reading)
    if as_npz:
        write_npz(Path(options.output), model, bags)
    elif options.output == STDIN:
        sys.stdout.writelines(map(json_line, code_records(model, bags)))
    else:
        with write_atomically(options.output) as stream:
            stream.writelines(map(json_line, code_records(model, bags)))


def code_records(model: TopicsModel, bags: Bags) -> Iterator[dict[str, Any]]:
    """id, label where there is one, code; of a belief network also the units of z_1 that are on,
    q(z_1k = 1 | x) > ½, by their place in the code."""
    bits = model.config.kind == "belief_network"
    centre = model.centre.cpu()
    for batch, codes in model.codes(bags):
        on = (codes + centre > 0.5) if bits else None
        for place, number in enumerate(batch.index.tolist()):
            record: dict[str, Any] = {"id": bags.id(number)}
            if bags.labels is not None and bags.labels[number] is not None:
                record["label"] = bags.labels[number]
            record["code"] = [round(value, _DIGITS) for value in codes[place].tolist()]
            if on is not None:
                record["on"] = on[place].nonzero().flatten().tolist()
            yield record


def write_npz(path: Path, model: TopicsModel, bags: Bags) -> None:
    """Arrays codes [D, K] float32, ids [D] and labels [D] of text, a missing label as ""; they
    load with allow_pickle=False."""
    codes = model.transform(bags).float().numpy()
    labels = [] if bags.labels is None else [label or "" for label in bags.labels]
    with write_atomically_bytes(path) as stream:
        np.savez(
            stream,
            codes=codes,
            ids=np.array([bags.id(n) for n in range(len(bags))], dtype=np.str_),
            labels=np.array(labels or [""] * len(bags), dtype=np.str_),
        )


# ------------------------------------------------------------------------------ what it has found


def topic_table(
    model: TopicsModel, layer: Topics, count: int | None = None, words: int = 10
) -> TopicTable:
    """A layer's units in the order in which they are shown; count None: all of those."""
    topics = [topic_of(model, layer, unit, words) for unit in layer.shown.tolist()[:count]]
    return TopicTable(layer.layer, len(layer.relevance), topics)


def topic_of(model: TopicsModel, layer: Topics, unit: int, words: int = 10) -> Topic:
    on, share = bool(layer.on[unit]), float(layer.share[unit])
    return Topic(unit, on, share, topic_words(model, layer, unit, words))


def topic_words(
    model: TopicsModel, layer: Topics, unit: int, words: int
) -> list[tuple[str, float]]:
    """The words to show of a unit, the best first, with their probabilities."""
    chosen = layer.top[unit].tolist()[:words]
    if len(chosen) < words:  # no choice was made of so many
        order = layer.relevance[unit].argsort(descending=True, stable=True).tolist()
        chosen += [word for word in order[: words + len(chosen)] if word not in chosen]
    return [(model.words[word], float(layer.words[unit, word])) for word in chosen[:words]]


def layer_of(model: TopicsModel, number: int) -> Topics:
    """Raises UserError: there is no such layer."""
    for layer in model.topics:
        if layer.layer == number:
            return layer
    if not model.topics:
        raise UserError(f"a model of kind {model.config.kind!r} has no topics")
    raise UserError(f"the model has no layer {number}: it has 1 to {len(model.topics)}")


def dream(model: TopicsModel, count: int, seed: int = 1) -> list[Dream]:
    """Documents drawn from the generator, as long as those of the training were.

    Raises: UserError for a model that is no belief network, or a seed that is too large.
    """
    check_seed("seed", seed)
    network = model.network
    if not isinstance(network, BeliefNetwork):
        raise UserError(
            f"a model of kind {model.config.kind!r} does not dream: a belief network does"
        )
    if count < 1:
        return []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        drawn = model.lengths.clamp(min=1)[torch.randint(len(model.lengths), (count,))]
        batch, z = network.dream(drawn.to(model.centre.device).float(), int(drawn.sum()))
    layers = [layer[0].cpu() for layer in as_layers(z)]
    found: list[dict[str, int]] = [{} for _ in range(count)]
    entries = zip(batch.rows.tolist(), batch.words.tolist(), batch.counts.tolist(), strict=True)
    for row, word, times in entries:
        if times > 0:
            found[row][model.words[word]] = int(times)
    return [
        Dream(
            sorted(words.items(), key=lambda pair: -pair[1]),
            [layer[row].nonzero().flatten().tolist() for layer in layers],
        )
        for row, words in enumerate(found)
    ]


@dataclass(frozen=True)
class ShowOptions:
    """The command line of ``latentnlp topics show``."""

    model: Path
    layer: int | None = None  # None: all
    count: int = 20  # topics of a layer; 0: all
    words: int = 10
    tsv: bool = False
    dreams: int = 0  # instead of topics
    seed: int = 1


def show_command(options: ShowOptions) -> None:
    """Topics, or dreams, on the terminal."""
    for name, least in (("count", 0), ("words", 1), ("dreams", 0), ("seed", 0)):
        if (value := getattr(options, name)) < least:
            raise UserError(f"--{name} {value} is below {least}")
    model = load_model(options.model, "cpu")
    if options.dreams:
        width = shutil.get_terminal_size().columns
        lines = dream_lines(dream(model, options.dreams, options.seed), width)
    else:
        first = layer_of(model, 1 if options.layer is None else options.layer)
        layers = model.topics if options.layer is None else [first]
        tables = [topic_table(model, one, options.count or None, options.words) for one in layers]
        width = shutil.get_terminal_size().columns
        lines = tsv_lines(tables) if options.tsv else terminal_lines(tables, width)
    sys.stdout.writelines(line + "\n" for line in lines)


# ----------------------------------------------------------------------------------- for pyLDAvis


@dataclass(frozen=True)
class ExportOptions:
    """The command line of ``latentnlp topics export``."""

    model: Path
    documents: str
    output: str = STDIN
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1


def export_command(options: ExportOptions) -> None:
    """The arguments of pyLDAvis.prepare() as one JSON object."""
    use_threads(options.threads)
    if options.output != STDIN:
        check_writable(options.output)
    model = load_model(options.model, options.device)
    if model.config.kind not in ("belief_network", "lda"):
        raise UserError(
            f"a model of kind {model.config.kind!r} cannot be exported: its codes are not shares "
            "of topics"
        )
    parts = _vis_parts(model, read_new(model, options.documents, options.reading))
    if options.output == STDIN:
        sys.stdout.writelines(parts)
    else:
        with write_atomically(options.output) as stream:
            stream.writelines(parts)


def _vis_parts(model: TopicsModel, bags: Bags) -> Iterator[str]:
    """JSON, a row at a time. A document's topics are its code, q(z_k = 1 | x) of a belief network
    (of a unit that speaks by being off q(z_k = 0 | x)), made to add up to 1. Documents
    and words without an occurrence are left out: pyLDAvis divides by their counts."""
    layer = layer_of(model, 1)
    frequencies = bags.frequencies()
    seen = np.flatnonzero(frequencies)
    if not len(seen):
        raise UserError("no document has a word of the vocabulary: there is nothing to export")
    topics = layer.words[:, torch.from_numpy(seen)].double()
    lengths = bags.lengths()
    yield '{"topic_term_dists": ['
    yield from _rows(topics / topics.sum(1, keepdim=True), True)
    yield '],\n"doc_topic_dists": ['
    first = True
    for batch, codes in model.codes(bags):
        filled = torch.from_numpy(lengths[batch.index.numpy()] > 0)
        means = (codes + model.centre.cpu())[filled].double()
        means = torch.where(layer.on, means, 1 - means).clamp(min=1e-12)
        yield from _rows(means / means.sum(1, keepdim=True), first)
        first = first and not len(means)
    rest = {
        "doc_lengths": lengths[lengths > 0].tolist(),
        "vocab": [model.words[word] for word in seen.tolist()],
        "term_frequency": frequencies[seen].astype(np.int64).tolist(),
    }
    yield "],\n" + json.dumps(rest, ensure_ascii=False)[1:] + "\n"


def _rows(table: torch.Tensor, first: bool) -> Iterator[str]:
    for row in table.tolist():
        yield ("" if first else ",") + "\n[" + ",".join(f"{value:.6g}" for value in row) + "]"
        first = False


# ---------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class EvaluateOptions:
    """The command line of ``latentnlp evaluate topics``."""

    model: Path
    test: str
    train: str = ""
    dev: str = ""
    reference: str = ""
    samples: int = 1000
    seed: int = 1
    reading: ReadOptions = ReadOptions()
    device: str = "auto"
    threads: int = 1
    as_json: bool = False


def evaluate_command(options: EvaluateOptions) -> None:
    """Score a model on documents; a folder of data_prep/ stands for its test part, and for its
    train and dev parts where these are not named."""
    use_threads(options.threads)
    if options.samples < 1 or options.seed < 0:
        raise UserError("--samples must be at least 1, --seed at least 0")
    check_seed("--seed", options.seed)
    files = {"train": options.train, "dev": options.dev, "reference": options.reference}
    corpus = BagFolder(options.test) if Path(options.test).is_dir() else None
    if corpus is not None:
        for part in ("train", "dev"):
            if not files[part] and corpus.has(part):
                files[part] = options.test
    model = load_model(options.model, options.device)
    test = read_new(model, options.test, options.reading)
    others: dict[str, Bags | None] = {}
    for part, path in files.items():
        in_folder = "test" if part == "reference" else part
        others[part] = read_new(model, path, options.reading, in_folder) if path else None
    found = evaluate(
        model,
        test,
        others["train"],
        others["dev"],
        others["reference"],
        options.samples,
        options.seed,
        None if corpus is None else read_halves(model, corpus, options.reading),
    )
    text = json.dumps(found.to_dict()) if options.as_json else "\n".join(found.lines())
    sys.stdout.write(text + "\n")
