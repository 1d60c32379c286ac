"""Word aligners side by side: accuracy, time and memory, as a Markdown table and as JSON.

    python benchmarks/alignment_peers.py --corpus data/ro_en --corpus data/bible --out table.md

Every system gets the same two files of a corpus: the test text, then the train text (of which
``--pairs`` takes the first so many), lower-cased; never any gold link. It trains on them in both
directions and aligns them all, in a process of its own, whose time from start to end counts: what
a user waits for. Its links of the test text are scored here, by latentnlp's own symmetrisation and
AER, the same code for all.

    latentnlp   ``python -m latentnlp align SOURCE TARGET -o LINKS`` with its defaults
    eflomal     ``eflomal-align -s SOURCE -t TARGET -f FORWARD -r REVERSE`` with its defaults
                (IBM 1, HMM, fertility; 3 samplers; it cannot be seeded, so seeds only repeat it)
    fast_align, thot-*   sil-thot's models, through ``_thot.py``, which says how

forward: every target word has at most one source word; reverse: the other way round. (latentnlp's
own directions may decode otherwise.) default: the links latentnlp writes when asked for nothing.

The peers come with ``pip install 'latentnlp[peers]'``; a system that is not installed is left out
with a word. ``--json`` is written after every run and may be merged into later ones:

    python benchmarks/alignment_peers.py --merge peers.json --corpus data/ro_en \\
        --systems latentnlp --seeds 1 2 3 --json all.json --out table.md
    python benchmarks/alignment_peers.py --merge peers.json ours.json        # only the table
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.util
import json
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path

import _measure
from _results import distinct, letter, load, mean, save

from latentnlp import symmetrization
from latentnlp.data.links import Gold, Links, read_gold, read_links
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import score

COLUMNS = ("forward", "reverse", *symmetrization.NAMES, "default")


# --- systems --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Files:
    """What a system reads (text) and writes (links); `default` only if it merges by itself."""

    source: Path
    target: Path
    forward: Path
    reverse: Path
    default: Path
    log: Path


@dataclass(frozen=True)
class System:
    module: str  # what must be importable for it to be there
    packages: tuple[str, ...]  # whose versions belong into the table
    command: Callable[[Files, int], list[str]]
    random: bool  # do repetitions differ?


def _latentnlp(*settings: str) -> Callable[[Files, int], list[str]]:
    def command(files: Files, seed: int) -> list[str]:
        align = [sys.executable, "-m", "latentnlp", "align", str(files.source), str(files.target)]
        align += ["-o", str(files.default), "--seed", str(seed)]
        align += ["--forward-links", str(files.forward), "--reverse-links", str(files.reverse)]
        return [*align, *(part for one in settings for part in ("--set", one))]

    return command


def _eflomal(files: Files, seed: int) -> list[str]:
    # eflomal takes its seed from the system's random device; there is no way to give it one.
    program = Path(sysconfig.get_path("scripts")) / "eflomal-align"
    command = [sys.executable, str(program), "-s", str(files.source), "-t", str(files.target)]
    return [*command, "-f", str(files.forward), "-r", str(files.reverse)]


def _thot(model: str) -> Callable[[Files, int], list[str]]:
    def command(files: Files, seed: int) -> list[str]:
        program = Path(__file__).with_name("_thot.py")
        paths = (files.source, files.target, files.forward, files.reverse)
        return [sys.executable, str(program), model, *map(str, paths), str(seed)]

    return command


SYSTEMS = {
    "latentnlp": System("latentnlp.cli", ("latentnlp", "torch"), _latentnlp(), random=True),
    "latentnlp-counts": System(
        "latentnlp.cli", ("latentnlp", "torch"), _latentnlp("model.counts.mean=unigram"), False
    ),
    "eflomal": System("eflomal", ("eflomal",), _eflomal, random=True),
    "fast_align": System("thot", ("sil-thot",), _thot("fast_align"), random=False),
    "thot-ibm1": System("thot", ("sil-thot",), _thot("ibm1"), random=False),
    "thot-hmm": System("thot", ("sil-thot",), _thot("hmm"), random=False),
    "thot-ibm4": System("thot", ("sil-thot",), _thot("ibm4"), random=False),
    "thot-eflomal": System("thot", ("sil-thot",), _thot("eflomal"), random=True),
}


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
    name: str
    train_pairs: int
    gold: list[Gold]  # of the test pairs, which come first in the text
    text: str  # names the content: start of the SHA-256 of source, target and gold
    source: Path
    target: Path


def prepare(folder: Path, pairs: int | None, work: Path) -> Corpus:
    """Write test + train text of a canonical corpus folder, lower-cased, into `work`.

    Raises:
        UserError: not a canonical folder (see data_prep), or no test set in it.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        languages = tuple(manifest["languages"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a corpus made by data_prep: {error!r}") from error
    gold = folder / "test.gold"
    if not gold.is_file():
        raise UserError(f"{folder}: has no test.gold, so nothing can be scored")
    digest = hashlib.sha256(gold.read_bytes())
    counts = []
    for side, language in zip(("source", "target"), languages, strict=True):
        counts.append(0)
        with (work / side).open("w", encoding="utf-8", newline="\n") as out:
            for line in _lines(folder, language, pairs):
                lowered = line.lower()
                out.write(lowered)
                digest.update(lowered.encode())
                counts[-1] += 1
    if counts[0] != counts[1]:
        raise UserError(f"{folder}: the two languages have {counts[0]} and {counts[1]} lines")
    links = read_gold(gold, fmt="pharaoh")
    return Corpus(
        name=folder.resolve().name,
        train_pairs=counts[0] - len(links),
        gold=links,
        text=digest.hexdigest()[:12],
        source=work / "source",
        target=work / "target",
    )


def _lines(folder: Path, language: str, pairs: int | None) -> Iterator[str]:
    """The test text, then as many of the train lines as wanted (some corpora have none)."""
    with (folder / f"test.{language}").open(encoding="utf-8") as test:
        yield from test
    train = folder / f"train.{language}"
    if train.exists():
        with train.open(encoding="utf-8") as lines:
            yield from islice(lines, pairs)


# --- one run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One run of one system on one corpus."""

    corpus: str
    train_pairs: int
    test_pairs: int
    text: str
    system: str
    seed: int
    versions: str
    aer: dict[str, float]  # per cent
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float
    threads: int
    machine: str
    date: str

    @property
    def group(self) -> tuple[str, int, str]:
        """Rows with the same group had the same files and may be compared."""
        return self.corpus, self.train_pairs, self.text

    @property
    def key(self) -> tuple[object, ...]:
        return *self.group, self.system, self.seed


def measure(corpus: Corpus, name: str, seed: int, threads: int, work: Path) -> Row:
    """Run one system and score it.

    Raises:
        UserError: it failed, or its links do not fit the text.
    """
    paths = (work / kind for kind in ("forward", "reverse", "default", "log"))
    files = Files(corpus.source, corpus.target, *paths)
    usage = _measure.run(SYSTEMS[name].command(files, seed), files.log, threads)
    if usage.exit_status:
        last = files.log.read_text(encoding="utf-8", errors="replace").strip().rsplit("\n", 1)[-1]
        raise UserError(f"{name} ended with status {usage.exit_status}: {last}")
    return Row(
        corpus=corpus.name,
        train_pairs=corpus.train_pairs,
        test_pairs=len(corpus.gold),
        text=corpus.text,
        system=name,
        seed=seed,
        versions=versions(name),
        aer={key: round(value, 3) for key, value in _errors(corpus, files).items()},
        cpu_seconds=round(usage.cpu_seconds, 2),
        wall_seconds=round(usage.wall_seconds, 2),
        peak_mib=round(usage.peak_mib, 1),
        threads=threads,
        machine=_measure.machine(),
        date=datetime.date.today().isoformat(),
    )


def _errors(corpus: Corpus, files: Files) -> dict[str, float]:
    """AER in per cent of each direction, each symmetrisation and the system's own output."""
    forward, reverse = _test_links(files.forward, corpus), _test_links(files.reverse, corpus)
    candidates = {"forward": forward, "reverse": reverse}
    for name in symmetrization.NAMES:
        both = zip(forward, reverse, strict=True)
        candidates[name] = [symmetrization.symmetrize(name, f, r) for f, r in both]
    if files.default.exists():
        candidates["default"] = _test_links(files.default, corpus)
    return {name: 100 * score(links, corpus.gold).aer for name, links in candidates.items()}


def _test_links(path: Path, corpus: Corpus) -> list[Links]:
    """The links of the test pairs, which are the first lines; the others are only counted."""
    tested, lines = len(corpus.gold), corpus.train_pairs + len(corpus.gold)
    first = path.with_suffix(".test")
    with path.open(encoding="utf-8") as every, first.open("w", encoding="utf-8") as out:
        out.writelines(islice(every, tested))
        found = tested + sum(1 for _ in every)
    if found != lines:
        raise UserError(f"{path.name} links: {found} lines for {lines} sentence pairs")
    return [links.possible for links in read_links(first)]


# --- results --------------------------------------------------------------------------------------


def table(rows: Iterable[Row]) -> str:
    """One Markdown table a corpus, its systems in the order of SYSTEMS, then the fine print."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    machines = list(dict.fromkeys(row.machine for group in groups.values() for row in group))
    parts = [_corpus_table(group, machines) for group in groups.values()]
    parts.append(
        "AER in per cent, lower is better; in bold the best column of a system. CPU seconds "
        "(user + system), wall seconds and peak memory are those of the whole run: both "
        "directions, training and alignment. Several runs (n): mean ± standard deviation.\n"
    )
    parts += [f"- machine {letter(k)}: {machine}\n" for k, machine in enumerate(machines)]
    return "\n".join(parts)


def _corpus_table(rows: list[Row], machines: list[str]) -> str:
    head = ("system", "n", *COLUMNS, "CPU s", "wall s", "peak MiB", "threads", "machine", "date")
    lines = [
        f"### {rows[0].corpus}: {rows[0].train_pairs:,} + {rows[0].test_pairs:,} pairs "
        f"(text {rows[0].text})\n",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" + " ---: |" * (len(head) - 3) + " :-: | --- |",
    ]
    for name in SYSTEMS:
        runs = [row for row in rows if row.system == name]
        if runs:
            lines.append("| " + " | ".join(_cells(name, runs, machines)) + " |")
    return "\n".join(lines) + "\n"


def _cells(name: str, runs: list[Row], machines: list[str]) -> list[str]:
    means = {c: statistics.mean(row.aer[c] for row in runs) for c in COLUMNS if c in runs[0].aer}
    best = min(means, key=means.__getitem__)
    cells = [
        f"{name} ({'; '.join(distinct(row.versions for row in runs))})",
        str(len(runs)),
    ]
    for column in COLUMNS:
        text = mean([row.aer[column] for row in runs], 1) if column in means else ""
        cells.append(f"**{text}**" if column == best else text)
    cells.append(mean([row.cpu_seconds for row in runs], 1))
    cells.append(mean([row.wall_seconds for row in runs], 1))
    cells.append(f"{max(row.peak_mib for row in runs):.0f}")
    cells.append(", ".join(distinct(str(row.threads) for row in runs)))
    cells.append(", ".join(distinct(letter(machines.index(row.machine)) for row in runs)))
    cells.append(", ".join(distinct(row.date for row in runs)))
    return cells


# --- command line ---------------------------------------------------------------------------------


def main() -> None:
    options = _parser().parse_args()
    rows = load(Row, options.merge)
    names = _installed(options.systems) if options.corpus else []
    for folder in options.corpus:
        with tempfile.TemporaryDirectory() as work:
            corpus = prepare(folder, options.pairs, Path(work))
            for row in _runs(corpus, names, options, Path(work)):
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
            ours = name.startswith("latentnlp")
            what = "latentnlp align" if ours else f"{name} (pip install '.[peers]')"
            print(f"{what} is not installed: left out", file=sys.stderr)
    return [name for name in names if installed(name)]


def _runs(
    corpus: Corpus, names: list[str], options: argparse.Namespace, work: Path
) -> Iterator[Row]:
    for name in names:
        for seed in options.seeds if SYSTEMS[name].random else options.seeds[:1]:
            with tempfile.TemporaryDirectory(dir=work) as folder:
                try:
                    row = measure(corpus, name, seed, options.threads, Path(folder))
                except UserError as error:
                    print(f"{corpus.name}: {error}; left out", file=sys.stderr, flush=True)
                    continue
            best = min(row.aer, key=row.aer.__getitem__)
            print(
                f"{corpus.name}: {name} seed {seed}: AER {row.aer[best]:.1f} ({best}), "
                f"{row.cpu_seconds:.0f} CPU s, {row.peak_mib:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )
            yield row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--corpus", type=Path, action="append", default=[], help="canonical folder; repeatable")
    add("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    add("--pairs", type=int, help="take only the first so many train pairs")
    add("--seeds", type=int, nargs="+", default=[1], help="one run of a random system for each")
    add("--threads", type=int, default=1, help="OMP_NUM_THREADS of every system (default 1)")
    add("--merge", type=Path, nargs="+", default=[], help="result files to start from")
    add("--json", type=Path, help="write all results here, after every run")
    add("--out", type=Path, help="write the table here too")
    return parser


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        print(f"alignment_peers: error: {error}", file=sys.stderr)
        sys.exit(2)
