"""Film review sentences rated by people, on any machine with pip: the default for rationales.

Text:   the film review snippets of VADER (Hutto and Gilbert, ICWSM 2014): 10,605 sentences of
        Rotten Tomatoes, each with the mean of 15 to 29 human ratings from -4 to +4. MIT.
From:   additional_resources/hutto_ICWSM_2014.tar.gz in the source distribution of the Python
        package vaderSentiment 0.5, downloaded with pip and read where it lies, not installed.
Offline: --raw takes that source distribution or that archive, or a folder that holds one of them.

Label:  --task classification: positive (mean >= 0.5) or negative (mean <= -0.5); the sentences
        between are left out. --task regression: the mean, all sentences.
Silver rationale: the words that VADER's lexicon gives a valence of at least 1 in size (0 to 4, the
        mean of ten human ratings of the word on its own, out of context). No one marked these
        words in these sentences. A sentence without such a word counts as not annotated.
Split:  by the sha256 of the sentence's words, 80 / 10 / 10: copies stay together, and a sentence's
        place depends on nothing but itself. The archive does not say which snippets come from one
        review. The sentences are those of movie_reviews.py and sst.py too, split otherwise: what
        was trained there must not be tested here.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import io
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import already_complete, arguments, pip_download, run, sha256, write_corpus
from _documents import DocumentCorpus, hash_share, text_hash

from latentnlp.data.documents import Document, Span, tokenise
from latentnlp.errors import UserError

REQUIREMENT = "vaderSentiment==0.5"
SDIST = "vaderSentiment-0.5.zip"
ARCHIVE = "hutto_ICWSM_2014.tar.gz"
INSIDE = f"vaderSentiment-0.5/additional_resources/{ARCHIVE}"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
LEXICON = "hutto_ICWSM_2014/vader_sentiment_lexicon.txt"
OFFLINE = (
    "fetch it on another machine with `pip download --no-deps --no-binary vaderSentiment "
    f"{REQUIREMENT}` and pass {SDIST} here with --raw FILE_OR_FOLDER"
)
MARGIN = 0.5
VALENCE = 1.0
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    KeyError,
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--task", choices=("classification", "regression"), default="classification"
    )
    args = parser.parse_args()
    request = {"task": args.task}
    if already_complete(args.out, "vader_reviews", request):
        return
    with tempfile.TemporaryDirectory() as folder:
        place = args.raw or pip_download(REQUIREMENT, Path(folder), OFFLINE, source=True)
        raw, origin = read_raw(place)
    valences = read_lexicon(raw[LEXICON])
    documents = list(read_snippets(raw[SNIPPETS], args.task, valences))
    corpus = DocumentCorpus(
        name="vader_reviews",
        languages=("en",),
        source=origin,
        licence="MIT",
        splits=split(documents),
        request=request,
        notes={
            "rationale": f"silver: words of VADER's lexicon with |valence| >= {VALENCE:g}, judged "
            "out of context; nobody marked words in these texts",
            "label": f"|mean rating| >= {MARGIN:g}, by its sign"
            if args.task == "classification"
            else "mean rating, -4 to 4",
            "overlap": "the sentences of movie_reviews and sst, split otherwise",
        },
    )
    write_corpus(args.out, corpus)


# --- the files in the archive in the source distribution ----------------------------------------


def read_raw(place: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The two files, and the manifest's account of where they came from."""
    if place.is_dir():
        candidates = [place / SDIST, place / ARCHIVE]
        found = [path for path in candidates if path.is_file()]
        if not found:
            raise UserError(f"{place}: holds neither {SDIST} nor {ARCHIVE}; {OFFLINE}")
        place = found[0]
    if not place.is_file():
        raise UserError(f"{place}: no such file or folder; {OFFLINE}")
    try:
        archive = place.read_bytes()
        if zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as sdist:
                archive = sdist.read(INSIDE)
        content = unpack(archive)
    except DAMAGE as error:
        raise UserError(
            f"{place}: not the source distribution of {REQUIREMENT} ({error}); {OFFLINE}"
        ) from None
    origin = {
        "package": REQUIREMENT,
        "file": {"name": place.name, "sha256": sha256(place)},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        "url": "https://github.com/cjhutto/vaderSentiment",
        "cite": "Hutto and Gilbert 2014: VADER, a parsimonious rule-based model for sentiment "
        "analysis of social media text (ICWSM)",
    }
    return content, origin


def unpack(archive: bytes) -> dict[str, bytes]:
    """The two files, read in memory: nothing of the archive is written to the disk, so no path or
    link in it can lead anywhere."""
    content: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for name in (SNIPPETS, LEXICON):
            member = tar.getmember(name)
            file = tar.extractfile(member) if member.isreg() else None
            if file is None:
                raise tarfile.TarError(f"{name} is not a plain file")
            content[name] = file.read()
    return content


def table(data: bytes, name: str, encoding: str, columns: int) -> Iterator[tuple[int, list[str]]]:
    """The numbered rows of a TSV without heading, with at least so many columns."""
    for line, raw in enumerate(data.splitlines(), start=1):
        try:
            cells = raw.decode(encoding).split("\t")
        except UnicodeDecodeError:
            raise UserError(f"{name}:{line}: not UTF-8") from None
        if len(cells) < columns:
            raise UserError(f"{name}:{line}: {len(cells)} columns, expected {columns}")
        yield line, cells


def number(text: str, name: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -4 <= value <= 4:
        raise UserError(f"{name}:{line}: {text!r} is not a rating from -4 to 4")
    return value


# --- documents ----------------------------------------------------------------------------------


def read_lexicon(data: bytes) -> dict[str, float]:
    """Valence by word. Two of the words are emoticons with a letter in Latin-1."""
    return {
        word: number(valence, LEXICON, line)
        for line, (word, valence, *_) in table(data, LEXICON, "latin-1", 2)
    }


def read_snippets(data: bytes, task: str, valences: dict[str, float]) -> Iterator[Document]:
    for line, (identifier, rating, text, *_) in table(data, SNIPPETS, "utf-8", 3):
        mean = number(rating, SNIPPETS, line)
        tokens = tokenise(html.unescape(text))
        if not tokens:
            raise UserError(f"{SNIPPETS}:{line}: the snippet has no text")
        label: str | float = mean
        if task == "classification":
            if abs(mean) < MARGIN:
                continue
            label = "positive" if mean > 0 else "negative"
        spans = silver(tokens, valences)
        yield Document(f"vader_{identifier}", tuple(tokens), label, spans or None)


def silver(tokens: list[str], valences: dict[str, float]) -> tuple[Span, ...]:
    """The longest runs of words with a strong valence."""
    spans: list[Span] = []
    for position, token in enumerate(tokens):
        if abs(valences.get(token.lower(), 0.0)) < VALENCE:
            continue
        start = spans.pop()[0] if spans and spans[-1][1] == position else position
        spans.append((start, position + 1))
    return tuple(spans)


def split(documents: list[Document]) -> dict[str, list[Document]]:
    """80 / 10 / 10 by the hash of the text, each in the archive's order."""
    splits: dict[str, list[Document]] = {"train": [], "dev": [], "test": []}
    for document in documents:
        share = hash_share(text_hash(document.tokens))
        splits["test" if share < 0.1 else "dev" if share < 0.2 else "train"].append(document)
    return splits


if __name__ == "__main__":
    run(main)
