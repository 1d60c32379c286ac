"""Models of documents side by side: prediction, topics, codes, time, memory.

    python benchmarks/document_peers.py --corpus data/miao2000 [--corpus …] --json peers.json

Every system gets the same bags of a corpus folder's train (dev only to choose an epoch; an empty
document is not learnt from) and is fitted in a process of its own. Its model is then scored on test
here, by the same code for all. 50 topics or numbers a code, but for latentnlp's belief network.

    tomotopy       LDA by Gibbs sampling, 1000 iterations, one worker; its defaults
    gensim         `LdaModel`, online variational Bayes, as in its tutorial: 20 passes, 400
                   iterations, alpha and eta "auto" (its one pass by default is for streams)
    gensim-batch   the same with all documents in one update: better on dev of 20 Newsgroups
    scikit-learn   `LatentDirichletAllocation`, batch variational Bayes; its defaults (10 passes)
    pyro-nvdm, pyro-prodlda   in Pyro: see `_neural_documents.py`
    latentnlp      recipes/topics/NAME.toml of the corpus if there is one, its defaults else
    latentnlp-wake_sleep, -vimco, -disarm, -rloo, -nvil   the same network, learnt by another rule
                   (DisARM of one layer: its units must be independent); -one_layer: its control
    latentnlp-nvdm, latentnlp-lda, unigram         other models of latentnlp
                   by NAME_vimco.toml and so on if there is one; --set changes all of latentnlp's

What is scored is written out in `latentnlp.evaluation.topics`; perplexities are per document / per
corpus. ELBO and IW: `bounds`, of --samples samples. q(θ | x) of the LDA peers is the Dirichlet that
latentnlp's LDA finds, given their topics (E β) and their α: a proposal, whoever learnt the topics.
Completion: from a half of the words to the other, 100 samples (or --samples if fewer); the halves
are the published ones of the corpus, else random.
NPMI of ten words a topic by documents of test and of train, diversity of the same ten. Words of a
peer's topic: its most probable (LDA), its greatest weights (Pyro); of latentnlp's by the rule of
`tasks.topics_words`, of the first 50 topics shown of the layer next to the words. Codes: E θ by the
package's own inference, μ or softmax(μ), `transform`. p@: precision of retrieving train by test's
documents at .02 % of them and at 10; centred: less the mean code of train, as latentnlp's are
anyway. Probe: accuracy.
CPU seconds are those of fitting; peak memory is that of the process, its imports and data included.

The peers come with ``pip install 'latentnlp[peers]'``; a system that is not installed is left out
with a word. ``--json`` is written after every run and may be merged into later ones:

    python benchmarks/document_peers.py --merge peers.json --corpus data/miao2000 \\
        --rows latentnlp --seeds 1 2 3 --json all.json --out table.md
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import _measure
import numpy as np
import torch
from _document_peers import LDA, PARTS
from _neural_documents import load as load_neural
from _results import distinct, letter, load, mean, save
from numpy.typing import NDArray
from torch import Tensor

from latentnlp import config as configuration
from latentnlp.data.bag_corpora import BagFolder
from latentnlp.data.bags import BagBatches, Bags
from latentnlp.document_models._contract import DocumentModel
from latentnlp.document_models.lda import Config as LdaConfig
from latentnlp.document_models.lda import LatentDirichletAllocation
from latentnlp.errors import UserError
from latentnlp.evaluation.topics import (
    coherence,
    diversity,
    linear_probe,
    perplexity,
    retrieval,
    top_words,
)
from latentnlp.run import use_threads
from latentnlp.tasks.topics import TopicsConfig, fingerprint
from latentnlp.tasks.topics_evaluation import bounds, completion_score
from latentnlp.tasks.topics_model import TopicsModel

RECIPES = Path(__file__).resolve().parent.parent / "recipes" / "topics"
SHOWN, WORDS = 50, 10  # topics, and words of each
SEED = 1  # of all draws of the scoring
COMPLETION = 100  # samples at most

# name: (of the scores that make its cell, digits)
COLUMNS = {
    "ELBO": (("elbo", "elbo_corpus"), 1),
    "IW": (("iw", "iw_corpus"), 1),
    "completion": (("completion", "completion_corpus"), 1),
    "NPMI test": (("npmi_test",), 3),
    "NPMI train": (("npmi_train",), 3),
    "diversity": (("diversity",), 3),
    "topics": (("topics",), 0),
    "p@.02 %": (("precision_at_share",), 3),
    "p@10": (("precision_at_10",), 3),
    "p@10 centred": (("centred_precision_at_10",), 3),
    "probe": (("probe",), 3),
}


# --- systems --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    module: str  # what must be importable for it to be there
    packages: tuple[str, ...]  # whose versions belong into the table
    settings: tuple[str, ...] = ()  # of latentnlp
    random: bool = True  # do seeds differ?


def _latentnlp(*settings: str, random: bool = True) -> System:
    return System("latentnlp", ("latentnlp", "torch"), settings, random)


def _variational(estimator: str, *settings: str) -> System:
    rule = ('learning.rule="variational"', f'learning.variational.estimator="{estimator}"')
    return _latentnlp(*rule, *settings)


def _other(kind: str, rule: str, *settings: str, random: bool = True) -> System:
    return _latentnlp(f'model.kind="{kind}"', f'learning.rule="{rule}"', *settings, random=random)


_PYRO = System("pyro", ("pyro-ppl", "torch"))

SYSTEMS = {
    "latentnlp": _latentnlp(),
    "latentnlp-wake_sleep": _latentnlp('learning.rule="wake_sleep"'),
    "latentnlp-one_layer": _latentnlp("model.belief_network.layers=[250]"),
    "latentnlp-vimco": _variational("vimco"),
    "latentnlp-disarm": _variational("disarm", "model.belief_network.layers=[250]"),
    "latentnlp-rloo": _variational(
        "score_function", 'learning.variational.baselines=["leave_one_out"]'
    ),
    "latentnlp-nvil": _variational("nvil"),
    "latentnlp-nvdm": _other(
        "nvdm", "variational", 'learning.variational.estimator="reparameterised"'
    ),
    "latentnlp-lda": _other("lda", "coordinate_ascent"),
    "unigram": _other("unigram", "none", random=False),
    "tomotopy": System("tomotopy", ("tomotopy",)),
    "gensim": System("gensim", ("gensim",)),
    "gensim-batch": System("gensim", ("gensim",)),
    "scikit-learn": System("sklearn", ("scikit-learn",)),
    "pyro-nvdm": _PYRO,
    "pyro-prodlda": _PYRO,
}
ROWS = (
    "latentnlp",
    "tomotopy",
    "gensim",
    "gensim-batch",
    "scikit-learn",
    "pyro-nvdm",
    "pyro-prodlda",
)


def installed(name: str) -> bool:
    return importlib.util.find_spec(SYSTEMS[name].module) is not None


def versions(name: str) -> str:
    return ", ".join(f"{package} {_version(package)}" for package in SYSTEMS[name].packages)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(sources)"  # a checkout that was not installed


# --- corpora --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    folder: Path
    name: str
    recipe: Path | None  # latentnlp's for it
    parts: dict[str, Bags]
    halves: tuple[Bags, Bags] | None  # of test, as published
    words: tuple[str, ...]  # [V]
    text: str  # names the content: start of a SHA-256

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """Raises UserError: not a corpus folder, or one without test documents."""
        files = BagFolder(folder)
        recipes = (RECIPES / f"{name}.toml" for name in (files.name, folder.resolve().name))
        recipe = next((path for path in recipes if path.exists()), None)
        text = configuration.load(TopicsConfig, recipe).text
        train = files.open("train", text)

        def read(part: str) -> Bags:
            return files.open(part, text, train.vocabulary).bags

        parts = {"train": train.bags}
        for part in ("dev", "test"):
            if part == "test" or files.has(part):
                parts[part] = read(part)
        parts.setdefault("dev", train.bags.select(np.arange(0)))
        digest = fingerprint(list(parts.values()))[:12]
        names = files.halves("test")
        halves = None if names is None else (read(names[0]), read(names[1]))
        return cls(folder, files.name, recipe, parts, halves, train.words(), digest)

    def recipe_of(self, system: str) -> str:
        """The one with the last part of the system's name, the corpus's, or "-": none."""
        if self.recipe is None:
            return "-"
        own = self.recipe.with_stem(f"{self.recipe.stem}_{system.rpartition('-')[2]}")
        return str(own if own.exists() else self.recipe)

    def write(self, folder: Path) -> None:
        """What `_document_peers.py` reads."""
        for part in PARTS:
            bags = self.parts[part]
            arrays = {name: getattr(bags, name) for name in ("offsets", "words", "counts")}
            np.savez(folder / f"{part}.npz", size=bags.vocabulary_size, **arrays)


# --- one fitted model -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """What is scored of a system."""

    model: DocumentModel
    top: dict[str, NDArray[np.int64]]  # by layer, the words of its topics [T, WORDS]
    codes: dict[str, NDArray[np.float64]]  # by part, [D, K]


def lda(words: NDArray[np.float64], alpha: NDArray[np.float64]) -> LatentDirichletAllocation:
    """latentnlp's LDA with these topics [K, V] (rows are normalised) and prior α [K]."""
    model = LatentDirichletAllocation(LdaConfig(topics=len(words)), torch.ones(words.shape[1]))
    beta = words / words.sum(1, keepdims=True)
    # E β of a Dirichlet is its normalised concentration; nothing else of q(β) is used in scoring.
    model.concentration.copy_(torch.from_numpy(np.maximum(beta, 1e-30)))
    model.prior_topic.copy_(torch.from_numpy(alpha))
    return model.eval()


def fitted(name: str, corpus: Corpus, folder: Path) -> Fitted:
    """What the process left in its folder."""
    if name in LDA:
        with np.load(folder / "lda.npz") as found:
            model = lda(found["words"].astype(np.float64), found["alpha"].astype(np.float64))
            top = top_words(model.word_probabilities(), WORDS)
            return Fitted(model, {"layer 1": top}, {part: found[part] for part in PARTS})
    if name.startswith("pyro-"):
        model = load_neural(name, folder)
        codes = {part: _codes(model, bags) for part, bags in corpus.parts.items()}
        return Fitted(model, {"layer 1": top_words(model.decoder.weight.T, WORDS)}, codes)
    ours = TopicsModel.load(folder / "model", torch.device("cpu"))
    if ours.words != corpus.words:
        raise UserError(f"{name}: its recipe reads the text in another way than the corpus's does")
    top = {
        f"layer {one.layer}": one.top[one.shown[:SHOWN], :WORDS].numpy()
        for one in ours.topics
        if len(one.shown)
    }
    codes = {part: ours.transform(bags).double().numpy() for part, bags in corpus.parts.items()}
    return Fitted(ours.network, top, codes)


@torch.no_grad()
def _codes(model: DocumentModel, bags: Bags) -> NDArray[np.float64]:
    found: list[Tensor] = [model.codes(batch) for batch in BagBatches(bags, 200)]
    return torch.cat(found).double().numpy() if found else np.zeros((0, 1))


# --- scores ---------------------------------------------------------------------------------------


def scored(found: Fitted, corpus: Corpus, samples: int) -> tuple[dict[str, float], dict[str, str]]:
    """Numbers by name, and the signatures that say what they are."""
    scores: dict[str, float] = {}
    signatures: dict[str, str] = {}

    def add(name: str, score: Any, **values: float) -> None:
        signatures[name] = score.signature
        scores.update(values)

    parts = corpus.parts
    test = parts["test"]
    lengths = test.lengths()
    elbo, bound = bounds(found.model, test, samples, SEED)
    few = min(samples, COMPLETION)
    completed = completion_score(found.model, test, corpus.halves, few, SEED)
    for name, score in (
        ("elbo", perplexity(elbo, lengths, "elbo", samples)),
        ("iw", perplexity(bound, lengths, "iw", samples)),
        ("completion", completed),
    ):
        if score is not None:
            add(name, score, **{name: score.per_document, f"{name}_corpus": score.per_corpus})
    for layer, top in found.top.items():
        end = "" if layer == "layer 1" else f" {layer}"
        for part in ("test", "train"):
            npmi = coherence(top, parts[part], WORDS)
            add(f"npmi_{part}{end}", npmi, **{f"npmi_{part}{end}": npmi.npmi})
        distinct = diversity(top, WORDS)
        add(f"diversity{end}", distinct, **{f"diversity{end}": distinct.diversity})
        scores[f"topics{end}"] = float(len(top))
    if test.labels and parts["train"].labels and found.codes["test"].shape[1]:
        _score_codes(add, found.codes, {part: bags.labels for part, bags in parts.items()})
    return scores, signatures


def _score_codes(add: Any, codes: dict[str, NDArray[np.float64]], labels: dict[str, Any]) -> None:
    centre = codes["train"].mean(0)
    for prefix, shift in (("", 0 * centre), ("centred_", centre)):
        near = retrieval(
            codes["test"] - shift, labels["test"], codes["train"] - shift, labels["train"]
        )
        add(
            f"{prefix}retrieval",
            near,
            **{
                f"{prefix}precision_at_share": near.precisions[0],
                f"{prefix}precision_at_10": near.precision_at_best,
            },
        )
    dev = (codes["dev"], labels["dev"]) if labels["dev"] else None
    probe = linear_probe((codes["train"], labels["train"]), (codes["test"], labels["test"]), dev)
    add("probe", probe, probe=probe.accuracy, probe_macro_f1=probe.macro_f1)


# --- one run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One run of one system on one corpus."""

    corpus: str
    documents: dict[str, int]  # of train, dev, test
    vocabulary: int
    text: str
    system: str
    settings: list[str]  # of --set
    seed: int
    samples: int
    versions: str
    scores: dict[str, float]
    signatures: dict[str, str]
    cpu_seconds: float
    peak_mib: float
    threads: int
    machine: str
    date: str
    topics: dict[str, list[str]]  # by layer, the words that were scored

    @property
    def group(self) -> tuple[str, str, int]:
        """Rows with the same group had the same bags and samples and may be compared."""
        return self.corpus, self.text, self.samples

    @property
    def name(self) -> str:
        return " ".join([self.system, *self.settings])

    @property
    def key(self) -> tuple[object, ...]:
        return *self.group, self.name, self.seed


def measure(corpus: Corpus, name: str, seed: int, options: argparse.Namespace, folder: Path) -> Row:
    """Fit one system and score it.

    Raises:
        UserError: it failed.
    """
    corpus.write(folder)
    program = Path(__file__).with_name("_document_peers.py")
    ours = SYSTEMS[name].module == "latentnlp"
    extra = options.set if ours else []
    command = [sys.executable, str(program), name, str(folder), str(seed)]
    if ours:
        command += [str(corpus.folder), corpus.recipe_of(name), *extra, *SYSTEMS[name].settings]
    usage = _measure.run(command, folder / "log", options.threads)
    if usage.exit_status:
        log = (folder / "log").read_text(encoding="utf-8", errors="replace")
        last = log.strip().rsplit("\n", 1)[-1]
        raise UserError(f"{name} ended with status {usage.exit_status}: {last}")
    cost = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    found = fitted(name, corpus, folder)
    scores, signatures = scored(found, corpus, options.samples)
    return Row(
        corpus=corpus.name,
        documents={part: len(bags) for part, bags in corpus.parts.items()},
        vocabulary=corpus.parts["train"].vocabulary_size,
        text=corpus.text,
        system=name,
        settings=list(extra),
        seed=seed,
        samples=options.samples,
        versions=versions(name),
        scores={key: round(value, 4) for key, value in scores.items()},
        signatures=signatures,
        cpu_seconds=round(cost["cpu_seconds"], 2),
        peak_mib=round(usage.peak_mib, 1),
        threads=options.threads,
        machine=_measure.machine(),
        date=datetime.date.today().isoformat(),
        topics={
            layer: [" ".join(corpus.words[word] for word in topic) for topic in top]
            for layer, top in found.top.items()
        },
    )


# --- results --------------------------------------------------------------------------------------


def table(rows: Iterable[Row]) -> str:
    """One Markdown table a corpus, its systems in the order of SYSTEMS, then the machines."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    machines = list(dict.fromkeys(row.machine for group in groups.values() for row in group))
    parts = [_corpus_table(group, machines) for group in groups.values()]
    parts += [f"- machine {letter(k)}: {machine}\n" for k, machine in enumerate(machines)]
    return "\n".join(parts)


def _corpus_table(rows: list[Row], machines: list[str]) -> str:
    head = ("system", "n", *COLUMNS, "CPU s", "peak MiB", "threads", "machine", "date")
    sizes = " + ".join(f"{rows[0].documents[part]:,}" for part in PARTS)
    lines = [
        f"### {rows[0].corpus}: {sizes} documents, {rows[0].vocabulary:,} words, "
        f"{rows[0].samples} samples (text {rows[0].text})\n",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" + " ---: |" * (len(head) - 3) + " :-: | --- |",
    ]
    names = dict.fromkeys(row.name for row in rows)
    for system in SYSTEMS:
        for name in names:
            runs = [row for row in rows if row.system == system and row.name == name]
            if runs:
                lines.append("| " + " | ".join(_cells(name, runs, machines)) + " |")
    return "\n".join(lines) + "\n"


def _cells(name: str, runs: list[Row], machines: list[str]) -> list[str]:
    cells = [
        f"{name} ({'; '.join(distinct(row.versions for row in runs))})",
        str(len(runs)),
    ]
    for keys, digits in COLUMNS.values():
        known = [key for key in keys if all(key in row.scores for row in runs)]
        cells.append(" / ".join(mean([row.scores[key] for row in runs], digits) for key in known))
    cells.append(mean([row.cpu_seconds for row in runs], 0))
    cells.append(f"{max(row.peak_mib for row in runs):.0f}")
    cells.append(", ".join(distinct(str(row.threads) for row in runs)))
    cells.append(", ".join(distinct(letter(machines.index(row.machine)) for row in runs)))
    cells.append(", ".join(distinct(row.date for row in runs)))
    return cells


# --- command line ---------------------------------------------------------------------------------


def main() -> None:
    options = _parser().parse_args()
    use_threads(options.threads)
    rows = load(Row, options.merge)
    names = _installed(options.rows) if options.corpus else []
    for folder in options.corpus:
        for row in _runs(Corpus.read(folder), names, options):
            rows[row.key] = row
            if options.json:
                save(options.json, rows.values())
    if options.json:
        save(options.json, rows.values())
    text = table(rows.values())
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def _installed(names: list[str]) -> list[str]:
    """Those of the systems that are there; says which are not."""
    for name in names:
        if not installed(name):
            print(f"{name} is not installed (pip install '.[peers]'): left out", file=sys.stderr)
    return [name for name in names if installed(name)]


def _runs(corpus: Corpus, names: list[str], options: argparse.Namespace) -> Iterator[Row]:
    for name in names:
        for seed in options.seeds if SYSTEMS[name].random else options.seeds[:1]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row = measure(corpus, name, seed, options, Path(folder))
                except UserError as error:
                    print(f"{corpus.name}: {error}; left out", file=sys.stderr, flush=True)
                    continue
            print(
                f"{corpus.name}: {name} seed {seed}: IW {row.scores['iw']:.1f}, "
                f"{row.cpu_seconds:.0f} CPU s, {row.peak_mib:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )
            yield row


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SYSTEMS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SYSTEMS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", type=Path, action="append", default=[], help="canonical folder; repeatable")
    add("--rows", type=_names, default=list(ROWS), help=f"default: {','.join(ROWS)}")
    add("--seeds", type=int, nargs="+", default=[1], help="one run of a random system for each")
    add("--samples", type=int, default=1000, help="of the bounds (default 1000)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="for latentnlp's rows")
    add("--threads", type=int, default=1, help="OMP_NUM_THREADS of every system (default 1)")
    add("--merge", type=Path, nargs="+", default=[], help="result files to start from")
    add("--json", type=Path, help="write all results here, after every run")
    add("--out", type=Path, help="write the table here too")
    return parser


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"document_peers: error: {error}", file=sys.stderr)
        sys.exit(2)
