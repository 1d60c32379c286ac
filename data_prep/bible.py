"""Greek New Testament - English, with a manual word alignment: the default corpus.

Text:    SBL Greek New Testament (CC BY 4.0) and the Berean Standard Bible (public domain).
Gold:    SBLGNT-BSB-manual, Biblica / Clear Bible (CC BY 4.0): every verse, sure links only.
From:    the data files inside the Python package bible-alignments 0.4.2. The wheel is downloaded
         with pip and read as a zip; it is not installed.
Offline: --raw takes that wheel, or a folder that holds it or its unpacked content.

A sentence is a verse: Greek (grc) is the source, English (en) the target. English words stand
with the Greek verse that they translate (column source_verse). Tokens that the package excludes
from alignment, which is all punctuation, are left out. Verses whose links reach into another
verse are dropped. A link is every pair of one record's source x target words.

Split: of the verses that have gold links, the 500 with the smallest sha256 of their verse id
(BBCCCVVV) are test, the next 250 dev; the rest is train, together with the few verses that
nobody aligned. Each file is in Bible order.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from _common import (
    Corpus,
    Pair,
    already_complete,
    arguments,
    pip_download,
    run,
    sha256,
    write_corpus,
)

from latentnlp.data.textfiles import split_words
from latentnlp.errors import UserError

REQUIREMENT = "bible-alignments==0.4.2"
OFFLINE = (
    "fetch that wheel on another machine with `pip download --no-deps --ignore-requires-python "
    f"{REQUIREMENT}` and pass it here with --raw WHEEL_OR_FOLDER"
)
GREEK = "data/sources/SBLGNT.tsv"
ENGLISH = "data/eng/targets/BSB/nt_BSB.tsv"
ALIGNMENT = "data/eng/alignments/BSB/SBLGNT-BSB-manual.json"
TEST, DEV = 500, 250

Verses = dict[str, dict[str, str]]  # verse id -> {token id: text}, in order


def main() -> None:
    args = arguments(__doc__).parse_args()
    if already_complete(args.out, "bible", {}):
        return
    with tempfile.TemporaryDirectory() as folder:
        place = args.raw or pip_download(REQUIREMENT, Path(folder), OFFLINE)
        raw, origin = read_raw(place)
    write_corpus(args.out, build(raw, origin))


def read_raw(place: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """The text of the three files, and the manifest's account of where they came from."""
    if place.is_dir() and not (place / GREEK).is_file():
        wheels = sorted(place.glob("bible_alignments-*.whl"))
        if not wheels:
            raise UserError(
                f"{place}: holds neither bible_alignments-0.4.2-py3-none-any.whl nor {GREEK}; "
                f"{OFFLINE}"
            )
        place = wheels[-1]
    if place.is_dir():
        content = {name: read_file(place / name) for name in (GREEK, ENGLISH, ALIGNMENT)}
        wheel = None
    else:
        content = read_wheel(place)
        wheel = {"file": place.name, "sha256": sha256(place)}
    origin = {
        "package": REQUIREMENT,
        "wheel": wheel,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        "url": "https://github.com/Clear-Bible/Alignments",
    }
    return {name: decode(data, name) for name, data in content.items()}, origin


def read_file(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path}: no such file; {OFFLINE}")
    return path.read_bytes()


def read_wheel(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; {OFFLINE}")
    try:
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in (GREEK, ENGLISH, ALIGNMENT)}
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise UserError(f"{path}: not the bible-alignments wheel ({error}); {OFFLINE}") from None


def decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}:{line}: not UTF-8 (byte {error.start} of the file)") from None


def build(raw: dict[str, str], origin: dict[str, Any]) -> Corpus:
    """Group the tokens into verses, drop what crosses, split."""
    greek, english, excluded = read_verses(raw)
    links, crossing = read_links(raw[ALIGNMENT], greek, english, excluded)
    paired = [verse for verse in greek if greek[verse] and english.get(verse)]
    usable = [verse for verse in paired if verse not in crossing]
    splits = split(usable, links)
    return Corpus(
        name="bible",
        languages=("grc", "en"),
        source=origin,
        licence="SBLGNT and alignment: CC BY 4.0; Berean Standard Bible: public domain",
        splits={name: pairs(name, splits[name], greek, english, links) for name in splits},
        notes={
            "text": "Unicode NFKC (as the package's own reader), case kept",
            "excluded": f"{len(excluded):,} English tokens marked exclude (all the punctuation; "
            "no gold link touches them) are left out",
            "verses": "ids are BBCCCVVV: book (40 = Matthew), chapter, verse",
            "dropped_text_on_one_side_only": sorted(set(greek) ^ set(english)),
            "dropped_links_cross_into_another_verse": sorted(crossing & set(paired)),
            "in_train_without_gold": [verse for verse in usable if not links[verse]],
        },
    )


def read_verses(raw: dict[str, str]) -> tuple[Verses, Verses, set[str]]:
    """Tokens of both sides by verse, and the ids of the excluded English tokens."""
    greek: Verses = defaultdict(dict)
    english: Verses = defaultdict(dict)
    excluded: set[str] = set()
    for row in rows(raw[GREEK], GREEK, ("id", "text")):
        greek[verse_of(row["id"])][row["id"]] = token(row["text"], row["id"])
    for row in rows(raw[ENGLISH], ENGLISH, ("id", "text", "source_verse", "exclude")):
        if row["exclude"]:
            excluded.add(row["id"])
        else:
            english[row["source_verse"]][row["id"]] = token(row["text"], row["id"])
    return greek, english, excluded


def rows(text: str, name: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of an unquoted TSV with a heading line."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    heading = lines[0].split("\t")
    missing = [column for column in columns if column not in heading]
    if missing:
        raise UserError(f"{name}:1: column {missing[0]!r} is missing; is this version 0.4.2?")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(heading):
            raise UserError(f"{name}:{number}: {len(cells)} columns, expected {len(heading)}")
        yield dict(zip(heading, cells, strict=True))


def verse_of(greek_id: str) -> str:
    """``n40001001001`` (New Testament, book 40, chapter 1, verse 1, word 1) -> ``40001001``."""
    return greek_id[1:9]


def token(text: str, where: str) -> str:
    """One token, normalised; it must survive being joined by spaces and split again."""
    text = unicodedata.normalize("NFKC", text)
    if split_words(text) != [text]:
        raise UserError(f"token {where}: {text!r} is empty or contains a space")
    return text


def read_links(
    text: str, greek: Verses, english: Verses, excluded: set[str]
) -> tuple[dict[str, set[tuple[int, int]]], set[str]]:
    """Links of each verse as 0-based positions, and the verses touched by a crossing link."""
    try:
        records = json.loads(text)["records"]
        ids = [(record["source"], record["target"]) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{ALIGNMENT}: not an alignment file ({error!r})") from None
    source_at, target_at = positions(greek), positions(english)
    links: dict[str, set[tuple[int, int]]] = defaultdict(set)
    crossing: set[str] = set()
    for sources, targets in ids:
        known(sources, source_at, excluded)
        known(targets, target_at, excluded)
        kept = [target for target in targets if target not in excluded]
        verses = {source_at[i][0] for i in sources} | {target_at[j][0] for j in kept}
        if len(verses) > 1:
            crossing |= verses
            continue
        for i in sources:
            verse, position = source_at[i]
            links[verse].update((position, target_at[j][1]) for j in kept)
    return links, crossing


def positions(verses: Verses) -> dict[str, tuple[str, int]]:
    """Token id -> (verse, 0-based position among the tokens that are kept)."""
    return {
        identifier: (verse, position)
        for verse, tokens in verses.items()
        for position, identifier in enumerate(tokens)
    }


def known(ids: Iterable[str], at: dict[str, tuple[str, int]], excluded: set[str]) -> None:
    for identifier in ids:
        if identifier not in at and identifier not in excluded:
            raise UserError(f"{ALIGNMENT}: token {identifier} is not in the text")


def split(usable: list[str], links: dict[str, set[tuple[int, int]]]) -> dict[str, list[str]]:
    """500 / 250 / rest by the sha256 of the verse id, among verses with gold; Bible order."""
    gold = [verse for verse in usable if links[verse]]
    if len(gold) <= TEST + DEV:
        raise UserError(f"{ALIGNMENT}: only {len(gold)} aligned verses; {TEST + DEV} are held out")
    drawn = sorted(gold, key=lambda verse: hashlib.sha256(verse.encode()).hexdigest())
    test, dev = set(drawn[:TEST]), set(drawn[TEST : TEST + DEV])
    return {
        "train": [verse for verse in usable if verse not in test | dev],
        "dev": [verse for verse in usable if verse in dev],
        "test": [verse for verse in usable if verse in test],
    }


def pairs(
    name: str, verses: list[str], greek: Verses, english: Verses, links: dict[str, set]
) -> Iterator[Pair]:
    for verse in verses:
        gold = " ".join(f"{i}-{j}" for i, j in sorted(links[verse]))
        source, target = list(greek[verse].values()), list(english[verse].values())
        yield source, target, None if name == "train" else gold


if __name__ == "__main__":
    run(main)
