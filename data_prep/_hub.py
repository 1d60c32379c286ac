"""What the scripts share that read sets without gold from the Hugging Face hub, as a stream."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from _common import (
    Corpus,
    Pair,
    add_pairs,
    already_complete,
    arguments,
    find_raw,
    plain_file,
    raw_sums,
    read_pairs,
    write_corpus,
)

from latentnlp.errors import UserError

HUB_SPLITS = {"train": "train", "validation": "dev", "test": "test"}
# Written without spaces between words: the tokeniser below would leave whole clauses as one word.
UNSPACED = {"zh", "ja", "th", "km", "lo", "my", "bo", "dz"}


@dataclass(frozen=True)
class HubSet:
    """A corpus without gold on the Hugging Face hub.

    Rows are ``{"translation": {"en": ..., "fr": ...}}`` or ``{"en": ..., "de": ...}``. With
    ``configurations`` the set has one configuration a language pair, named "de-en" in
    alphabetical order, or, with ``english_last``, "fr-en".
    """

    name: str
    hub_id: str
    configurations: bool
    licence: str
    source: str
    subfolder: str = ""  # where --raw may hold the files one level down
    english_last: bool = False
    revision: str | None = None  # of the set, where the newest is not one that loads

    def configuration(self, languages: tuple[str, str]) -> str | None:
        """The name of a pair's configuration."""
        if not self.configurations:
            return None
        return "-".join(sorted(languages, key=lambda one: (self.english_last and one == "en", one)))


def prepare_hub(description: str | None, hub_set: HubSet) -> None:
    """The whole of a script that reads a hub set, or the same text from plain files (--raw)."""
    parser = arguments(description)
    parser.add_argument("--pair", type=language_pair, required=True, help="such as en-fr")
    add_pairs(parser)
    parser.add_argument(
        "--tokenize",
        action="store_true",
        help="tokenise the --raw files like hub text; otherwise they are taken as they are",
    )
    parser.add_argument(
        "--hub-id", default=hub_set.hub_id, help="hub name, or a local folder with such a set"
    )
    args = parser.parse_args()
    name = f"{hub_set.name}-{'-'.join(args.pair)}"
    request = {"pairs": args.pairs, "tokenize": args.tokenize or args.raw is None}
    if already_complete(args.out, name, request):
        return
    if request["tokenize"]:
        refuse_unspaced(args.pair)
    source: dict[str, Any] = {"text": hub_set.source}
    if args.raw is None:
        source |= {"hub_id": args.hub_id}
        splits = hub_splits(hub_set, args.hub_id, args.pair)
    else:
        files = find_plain(args.raw, hub_set.subfolder, args.pair)
        source |= {"raw": raw_sums(files)}
        splits = {split: plain_pairs(paths, args.tokenize) for split, paths in files.items()}
    splits["train"] = islice(splits["train"], args.pairs)
    notes = {"tokenisation": "sacrebleu 13a, case kept" if request["tokenize"] else "as it came"}
    write_corpus(args.out, Corpus(name, args.pair, source, hub_set.licence, splits, request, notes))


def language_pair(text: str) -> tuple[str, str]:
    languages = text.split("-")
    if len(languages) != 2 or not all(languages) or languages[0] == languages[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a language pair such as en-fr")
    return languages[0], languages[1]


def refuse_unspaced(languages: tuple[str, str]) -> None:
    for language in languages:
        if language in UNSPACED:
            raise UserError(
                f"{language} is written without spaces and the tokeniser here cannot segment it; "
                f"segment the text with a tool of your choice and pass it with --raw DIR "
                f"({plain_files(languages)})"
            )


def plain_files(languages: tuple[str, str]) -> str:
    source, target = languages
    return (
        f"files train.{source} and train.{target}, one sentence a line, line n of both belonging "
        "together; dev.* and test.* likewise if there are any; each may be .gz"
    )


def find_plain(raw: Path, subfolder: str, languages: tuple[str, str]) -> dict[str, list[Path]]:
    """``train`` and, where both sides are there, ``dev`` and ``test``."""
    folder = raw / subfolder if subfolder and (raw / subfolder).is_dir() else raw
    files: dict[str, list[Path]] = {}
    for split in HUB_SPLITS.values():
        names = [f"{split}.{language}" for language in languages]
        there = all(plain_file(folder, name) for name in names)
        if split == "train" or there:
            files |= find_raw(folder, "", {split: names})
    return files


def hub_splits(
    hub_set: HubSet, hub_id: str, languages: tuple[str, str]
) -> dict[str, Iterator[Pair]]:
    """Streams of tokenised pairs, none of them read yet.

    Raises:
        UserError: `datasets` is missing, the set cannot be had, or holds no training split.
    """
    offline = f"Without a network: pass --raw DIR with {plain_files(languages)}"
    revision = hub_set.revision if hub_id == hub_set.hub_id else None
    streams = hub_streams(hub_id, hub_set.configuration(languages), offline, revision)
    return {
        ours: hub_pairs(streams[theirs], languages, hub_id, offline)
        for theirs, ours in HUB_SPLITS.items()
        if theirs in streams
    }


def hub_streams(
    hub_id: str, configuration: str | None, offline: str, revision: str | None = None
) -> Mapping[str, Any]:
    """The splits of a set, "train" among them, as streams of rows.

    Raises:
        UserError: `datasets` is missing, the set cannot be had, or holds no training split.
    """
    try:
        # an extra, and two seconds of import
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "the package `datasets` is not installed: pip install 'latentnlp[hub]'. " + offline
        ) from None
    print(f"reading {hub_id} {configuration or ''}", flush=True)
    with hub_errors(hub_id, offline):
        if Path(hub_id).is_dir() and configuration not in datasets.get_dataset_config_names(hub_id):
            configuration = None  # a plain folder of data files knows one nameless configuration
        streams = datasets.load_dataset(hub_id, configuration, streaming=True, revision=revision)
    if "train" not in streams:
        raise UserError(f"{hub_id}: holds the splits {sorted(streams)} but no train; {offline}")
    return streams


@contextmanager
def hub_errors(hub_id: str, offline: str) -> Iterator[None]:
    """Whatever the hub's client raises (its kinds change with every release) -> UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{hub_id}: could not be read from the hub: {told}. {offline}") from error


def hub_pairs(
    rows: Iterable[Mapping[str, Any]], languages: tuple[str, str], hub_id: str, offline: str
) -> Iterator[Pair]:
    with hub_errors(hub_id, offline):
        for row in rows:
            columns = row.get("translation", row)
            missing = [language for language in languages if language not in columns]
            if missing:
                raise UserError(
                    f"{hub_id}: has no {missing[0]!r} text, only {sorted(columns)}. {offline}"
                )
            source, target = (tokenize(columns[language]) for language in languages)
            yield source, target, None


def plain_pairs(paths: list[Path], retokenize: bool) -> Iterator[Pair]:
    for source, target, gold in read_pairs(*paths):
        if retokenize:
            source, target = tokenize(" ".join(source)), tokenize(" ".join(target))
        yield source, target, gold


def tokenize(text: str) -> list[str]:
    """WMT's 13a tokenisation as in sacrebleu: punctuation apart, numbers and words whole."""
    return _tokenizer()(text).split()


@cache
def _tokenizer() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()
