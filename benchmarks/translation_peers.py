"""The neural HMM, latent alignment and attention side by side, as a Markdown table and as JSON.

    python benchmarks/translation_peers.py recipes/translation/multi30k_en_de.toml \\
        --runs out/peers --json peers.json --out table.md
    python benchmarks/translation_peers.py --merge peers.json more.json          # only the table

All three have the same network, and so, but for the scores of jumps, equally many parameters; they
read the same text with the same settings, those of the TOML, and differ in ``model.kind`` alone.
Each is trained by recipes/translation/train.py and translates the test text by decode.py, with a
beam of 5, in processes of their own; its translations are scored here, the same code for all.

    train min     steps alone, without dev;  CPU s: the whole training process, with dev
    tokens/s      target pieces in a second of training, end marks counted
    peak MiB      of the training process
    sent/s        translated in a second of decode.py, its links included, start-up left out
    dev ppl       per target piece, of the epoch that was kept
    BLEU none     of the words as the corpus has them
    BLEU 13a, chrF2, TER    of running text: words put together by Moses' rules
    p             how often chance alone makes such a difference of BLEU none from attention's
                  (same seed): paired bootstrap

A run that was stopped goes on with the same command: ``--runs`` keeps what has been trained and
``--json`` what has been measured. CPU seconds and memory of a training that was stopped are those
of its last part, and are left out. It is one system at a time, on ``--threads`` cores.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import _measure
from _results import distinct, letter, load, mean, save

import latentnlp
from latentnlp import config as configuration
from latentnlp.data.canonical import CanonicalCorpus
from latentnlp.data.textfiles import read_lines
from latentnlp.errors import UserError
from latentnlp.evaluation.translation import Settings, TranslationScores, score
from latentnlp.tasks.translation import TranslationConfig
from latentnlp.tasks.translation_commands import corpus_text, load_model, read_config

RECIPES = Path(__file__).parent.parent / "recipes" / "translation"
CONTROL = "attention"
SYSTEMS = (CONTROL, "latent_alignment", "neural_hmm")  # the control first: p is against it
SCORES = ("BLEU none", "BLEU 13a", "chrF2", "TER")
BEAM = 5


# --- one run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One system trained with one seed on one corpus."""

    corpus: str
    text: str  # names the content: start of the SHA-256 of the manifest
    settings: str  # names the settings: start of the SHA-256 of all but kind and seed
    direction: str
    system: str
    seed: int
    parameters: int
    epochs: int
    train_minutes: float
    cpu_seconds: float | None  # None: the training was stopped in between
    tokens_per_second: float
    peak_mib: float | None
    sentences_per_second: float
    dev_perplexity: float | None
    scores: dict[str, float]
    margins: dict[str, float]  # of 95 % intervals
    p_value: float | None  # None: of the control, or without one
    signatures: dict[str, str]
    versions: str
    threads: int
    machine: str
    date: str

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Rows with the same group had the same text and settings and may be compared."""
        return self.corpus, self.direction, self.text, self.settings

    @property
    def key(self) -> tuple[object, ...]:
        return *self.group, self.system, self.seed


@dataclass(frozen=True)
class Task:
    """What is to be trained: a row without its figures."""

    recipe: Path
    config: TranslationConfig
    overrides: tuple[str, ...]
    folder: Path  # of the run
    control: Path  # of the control's run with the same seed
    threads: int

    @property
    def group(self) -> tuple[str, str, str, str]:
        corpus = CanonicalCorpus(self.config.data.corpus)
        manifest = (corpus.folder / "manifest.json").read_bytes()
        settings = configuration.to_dict(self.config)
        settings["data"].pop("corpus")  # a path: the manifest says what it is
        settings["model"].pop("kind")
        settings.pop("seed")
        direction = [corpus.source, corpus.target]
        if self.config.data.reversed:
            direction.reverse()
        return corpus.name, "-".join(direction), _digest(manifest), _digest(_json(settings))

    @property
    def key(self) -> tuple[object, ...]:
        return *self.group, self.config.model.kind, self.config.seed


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """What the command line asks for, in order. Raises UserError: a bad recipe or setting."""
    for seed in options.seeds:
        for system in (name for name in SYSTEMS if name in options.systems):
            overrides = (*options.set, f"model.kind={system}", f"seed={seed}")
            config = configuration.load(TranslationConfig, options.recipe, overrides)
            if not config.data.corpus:
                raise UserError(f"{options.recipe}: says no data.corpus to train on")
            yield Task(
                recipe=options.recipe,
                config=config,
                overrides=overrides,
                folder=options.runs / f"{system}-{seed}",
                control=options.runs / f"{CONTROL}-{seed}",
                threads=options.threads,
            )


def measure(task: Task) -> Row:
    """Train and translate, unless that has been done, and score.

    Raises:
        UserError: a part of it failed; its log says how.
    """
    folder, group = task.folder, task.group
    folder.parent.mkdir(parents=True, exist_ok=True)
    settings = [part for one in task.overrides for part in ("--set", one)]
    begun = (folder / "config.json").exists()
    train = ["train.py", str(task.recipe), "--out", str(folder), *settings, "--quiet"]
    usage = _once(task, "train", train, measured=not begun)
    if read_config(folder) != task.config:
        raise UserError(f"{folder}: trained with other settings: name another folder with --runs")
    decode = ["decode.py", str(folder), "--part", "test", "--beam", str(BEAM)]
    _once(task, "decode", decode)

    corpus, direction, text, digest = group
    epochs = _epochs(folder)
    seconds = sum(one["seconds"] for one in epochs)
    tokens = sum(one["seconds"] * one["tokens_per_second"] for one in epochs)
    perplexities = [one["dev_perplexity"] for one in epochs if "dev_perplexity" in one]
    found = _scores(folder, task.control)
    network = load_model(folder, "cpu").network
    return Row(
        corpus=corpus,
        text=text,
        settings=digest,
        direction=direction,
        system=task.config.model.kind,
        seed=task.config.seed,
        parameters=sum(one.numel() for one in network.parameters()),
        epochs=len(epochs),
        train_minutes=round(seconds / 60, 2),
        cpu_seconds=usage.get("cpu_seconds"),
        tokens_per_second=round(tokens / max(seconds, 1e-9), 1),
        peak_mib=usage.get("peak_mib"),
        sentences_per_second=round(_decoding_speed(folder), 2),
        dev_perplexity=min(perplexities, default=None),
        scores={name: round(one.score, 3) for name, one in found.items()},
        margins={name: round(one.margin, 3) for name, one in found.items()},
        p_value=found["BLEU none"].p_value,
        signatures={name: one.signature for name, one in found.items()},
        versions=_versions(),
        threads=task.threads,
        machine=_measure.machine(),
        date=datetime.date.today().isoformat(),
    )


def _once(task: Task, name: str, command: list[str], measured: bool = True) -> dict[str, Any]:
    """Run a script of the recipe, unless that has been done; what it cost, if it was measured."""
    done, log = _beside(task.folder, f"{name}.json"), _beside(task.folder, f"{name}.log")
    if not done.exists():
        script, *arguments = command
        arguments += ["--threads", str(task.threads)]
        start = [sys.executable, str(RECIPES / script), *arguments]
        usage = _measure.run(start, log, task.threads)
        if usage.exit_status:
            last = log.read_text(encoding="utf-8", errors="replace").strip().rsplit("\n", 1)[-1]
            raise UserError(f"{task.folder}: {script} ended with {usage.exit_status}: {last}")
        cost = {name: round(value, 2) for name, value in asdict(usage).items()}
        done.write_text(json.dumps(cost if measured else {}) + "\n", encoding="utf-8")
    return json.loads(done.read_text(encoding="utf-8"))


def _beside(folder: Path, name: str) -> Path:
    """train.py does not take a folder that others have written to."""
    return folder.with_name(f"{folder.name}.{name}")


def _epochs(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if "tokens_per_second" in record]


def _decoding_speed(folder: Path) -> float:
    """Sentences a second, by what decode.py says at its end."""
    log = _beside(folder, "decode.log")
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"(\d+) translations in .*, ([\d.]+) seconds", text)
    if not found:
        raise UserError(f"{log}: says no time; remove {_beside(folder, 'decode.json')}")
    sentences, seconds = found[-1]
    return int(sentences) / max(float(seconds), 1e-9)


def _scores(folder: Path, control: Path) -> dict[str, Any]:
    """The `TranslationScore` of each of SCORES; BLEU none beside the control's."""
    config = read_config(folder)
    text = corpus_text(config, "test")
    references = [" ".join(words) for _, words in text]
    corpus = CanonicalCorpus(config.data.corpus)
    language = corpus.source if config.data.reversed else corpus.target
    lines, other = _translations(folder), None
    if control != folder and (control / "translations.test").exists():
        other = _translations(control)
    lowercase = config.text.lowercase
    cut = score(lines, [references], Settings("none", lowercase=lowercase), other)
    whole: TranslationScores = score(
        lines, [references], Settings(detokenize=language, lowercase=lowercase)
    )
    return {
        "BLEU none": cut.system["BLEU"],
        "BLEU 13a": whole.system["BLEU"],
        "chrF2": whole.system["chrF2"],
        "TER": whole.system["TER"],
    }


def _translations(folder: Path) -> list[str]:
    return [line for _, line in read_lines(folder / "translations.test")]


def _versions() -> str:
    others = (f"{name} {metadata.version(name)}" for name in ("torch", "sacrebleu", "sacremoses"))
    return ", ".join([f"latentnlp {latentnlp.__version__}", *others])


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


# --- results --------------------------------------------------------------------------------------


def table(rows: Iterable[Row]) -> str:
    """One Markdown table for each text and settings, then the fine print."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    every = [row for group in groups.values() for row in group]
    machines = distinct(row.machine for row in every)
    parts = [_group_table(group, machines) for group in groups.values()]
    if any(row.cpu_seconds is None for row in every):
        parts.append("CPU s and peak MiB are missing where a training was stopped in between.\n")
    parts.append(
        "BLEU with the margin of its 95 % interval (of the first seed); several seeds: mean ± "
        "standard deviation of the scores. What the columns are: docstring of translation_peers.\n"
    )
    notes = distinct(one for row in every for one in row.signatures.values())
    notes += distinct(row.versions for row in every)
    notes += [f"machine {letter(k)}: {machine}" for k, machine in enumerate(machines)]
    parts.append("".join(f"- {note}\n" for note in notes))
    return "\n".join(parts)


def _group_table(rows: list[Row], machines: list[str]) -> str:
    speed = ("train min", "CPU s", "tokens/s", "peak MiB", "sent/s", "dev ppl")
    head = ("system", "seeds", "parameters", "epochs", *speed, *SCORES, "p", "threads", "machine")
    first = rows[0]
    lines = [
        f"### {first.corpus}, {first.direction} (text {first.text}, settings {first.settings})\n",
        "| " + " | ".join((*head, "date")) + " |",
        "|" + " --- |" + " ---: |" * (len(head) - 2) + " :-: | --- |",
    ]
    for name in SYSTEMS:
        runs = sorted((row for row in rows if row.system == name), key=lambda row: row.seed)
        if runs:
            lines.append("| " + " | ".join(_cells(name, runs, machines)) + " |")
    return "\n".join(lines) + "\n"


def _cells(name: str, runs: list[Row], machines: list[str]) -> list[str]:
    def column(values: Iterable[float | None], digits: int) -> str:
        known = [value for value in values if value is not None]
        return mean(known, digits) if known else ""

    cells = [
        name,
        " ".join(str(row.seed) for row in runs),
        ", ".join(distinct(f"{row.parameters:,}" for row in runs)),
        ", ".join(distinct(str(row.epochs) for row in runs)),
        column((row.train_minutes for row in runs), 1),
        column((row.cpu_seconds for row in runs), 0),
        column((row.tokens_per_second for row in runs), 0),
        column((row.peak_mib for row in runs), 0),
        column((row.sentences_per_second for row in runs), 1),
        column((row.dev_perplexity for row in runs), 2),
    ]
    for one in SCORES:
        text = column((row.scores[one] for row in runs), 2)
        alone = len(runs) == 1 and one.startswith("BLEU")
        cells.append(f"{text} (± {runs[0].margins[one]:.2f})" if alone else text)
    cells.append(" ".join(f"{row.p_value:.3f}" for row in runs if row.p_value is not None))
    cells.append(", ".join(distinct(str(row.threads) for row in runs)))
    cells.append(", ".join(distinct(letter(machines.index(row.machine)) for row in runs)))
    cells.append(", ".join(distinct(row.date for row in runs)))
    return cells


# --- command line ---------------------------------------------------------------------------------


def main() -> None:
    options = _parser().parse_args()
    kept = [options.json] if options.json and options.json.exists() else []
    rows = load(Row, [*options.merge, *kept])
    for task in tasks(options) if options.recipe else ():
        name = f"{task.folder.name} on {task.config.data.corpus}"
        if task.key in rows:
            print(f"{name}: measured already", file=sys.stderr, flush=True)
            continue
        row = measure(task)
        rows[row.key] = row
        if options.json:
            save(options.json, rows.values())
        print(
            f"{name}: BLEU {row.scores['BLEU none']:.2f}, {row.train_minutes:.1f} minutes, "
            f"{row.tokens_per_second:.0f} tokens/s",
            file=sys.stderr,
            flush=True,
        )
    if options.json:
        save(options.json, rows.values())
    text = table(rows.values())
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("recipe", type=Path, nargs="?", help="a TOML of recipes/translation")
    add("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    add("--seeds", type=int, nargs="+", default=[1], help="a training for each (default: 1)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of every training")
    add("--runs", type=Path, default=Path("out/translation_peers"), help="folder of the trainings")
    add("--threads", type=int, default=1, help="OMP_NUM_THREADS of every process (default 1)")
    add("--merge", type=Path, nargs="+", default=[], help="result files to start from")
    add("--json", type=Path, help="write all results here, after every run; go on with them")
    add("--out", type=Path, help="write the table here too")
    return parser


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"translation_peers: error: {error}", file=sys.stderr)
        sys.exit(2)
