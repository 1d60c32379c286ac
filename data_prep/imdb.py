"""IMDB (Maas et al. 2011): long film reviews, positive or negative. No rationales.

From:   the Hugging Face hub, stanfordnlp/imdb, with the extra latentnlp[hub]: 25,000 reviews to
        train on and 25,000 to test on, about 270 tokens each. Licence: none stated; Maas et al.
        ask to be cited.
Dev:    the tenth of train with the lowest sha256 of --seed and the review's words, so copies of a
        review stay together. Each file is in the order of that hash; the hub's is sorted by label.
Text:   line breaks <br /> are spaces; tokenised, case kept, sentences found.
--raw:  the unpacked archive aclImdb/ (train/pos train/neg test/pos test/neg, one text a file), or
        the folder that holds it.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from _common import already_complete, arguments, run, write_corpus
from _documents import DocumentCorpus, hash_share, text_hash
from _hub import hub_errors, hub_streams

from latentnlp.data.documents import Document, documents_from_rows
from latentnlp.data.textfiles import read_lines
from latentnlp.errors import UserError

HUB_ID = "stanfordnlp/imdb"
CLASSES = ("neg", "pos")  # the hub's 0 and 1
DEV_SHARE = 0.1
OFFLINE = "Without a network: pass --raw DIR with the unpacked archive aclImdb/"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of dev (default 0)")
    parser.add_argument(
        "--hub-id", default=HUB_ID, help="hub name, or a local folder with such a set"
    )
    args = parser.parse_args()
    request = {"seed": args.seed}
    if already_complete(args.out, "imdb", request):
        return
    streams = hub_rows(args.hub_id) if args.raw is None else raw_rows(args.raw)
    documents = {split: to_documents(split, rows) for split, rows in streams.items()}
    source: dict[str, Any] = {"text": "Large Movie Review Dataset (Maas et al. 2011)"}
    source |= {"hub_id": args.hub_id} if args.raw is None else {"raw": "aclImdb"}
    corpus = DocumentCorpus(
        name="imdb",
        languages=("en",),
        source=source,
        licence="none stated; cite Maas et al. 2011",
        splits=split(documents["train"], documents["test"], args.seed),
        request=request,
        notes={"rationale": "none", "dev": f"a tenth of train, seed {args.seed}"},
    )
    write_corpus(args.out, corpus)


Text = tuple[str, str, str]  # id, review, class


def hub_rows(hub_id: str) -> dict[str, Iterator[Text]]:
    streams = hub_streams(hub_id, None, OFFLINE)
    if "test" not in streams:
        raise UserError(f"{hub_id}: holds the splits {sorted(streams)} but no test; {OFFLINE}")
    return {split: labelled(streams[split], split, hub_id) for split in ("train", "test")}


def labelled(rows: Iterable[dict[str, Any]], split: str, hub_id: str) -> Iterator[Text]:
    with hub_errors(hub_id, OFFLINE):
        for number, row in enumerate(rows):
            if not isinstance(row.get("text"), str) or row.get("label") not in (0, 1):
                raise UserError(
                    f"{hub_id}: row {number} of {split} has no text, or a label that is neither 0 "
                    "nor 1"
                )
            yield f"imdb_{split}_{number:05}", row["text"], CLASSES[row["label"]]


def raw_rows(raw: Path) -> dict[str, Iterator[Text]]:
    place = raw / "aclImdb" if (raw / "aclImdb").is_dir() else raw
    for folder in ("train/neg", "train/pos", "test/neg", "test/pos"):
        if not (place / folder).is_dir():
            raise UserError(f"{place}: holds no folder {folder}; is it the unpacked aclImdb/?")
    return {split: texts(place, split) for split in ("train", "test")}


def texts(place: Path, split: str) -> Iterator[Text]:
    for label in CLASSES:
        for path in sorted((place / split / label).glob("*.txt")):
            text = " ".join(line for _, line in read_lines(path))
            yield f"imdb_{split}_{label}_{path.stem}", text, label


def to_documents(split: str, rows: Iterable[Text]) -> list[Document]:
    return documents_from_rows(
        (f"{split}, {name}", {"id": name, "text": plain(text), "label": label})
        for name, text, label in rows
    )


def plain(text: str) -> str:
    return html.unescape(re.sub(r"<br\s*/?>", " ", text))


def split(train: list[Document], test: list[Document], seed: int) -> dict[str, list[Document]]:
    """Carves dev out of train; each part in the order of the hash."""
    parts: dict[str, list[tuple[str, Document]]] = {"train": [], "dev": [], "test": []}
    for document in train:
        digest = seeded_hash(document, seed)
        parts["dev" if hash_share(digest) < DEV_SHARE else "train"].append((digest, document))
    parts["test"] = [(seeded_hash(document, seed), document) for document in test]
    return {
        name: [document for _, document in sorted(part, key=lambda pair: (pair[0], pair[1].id))]
        for name, part in parts.items()
    }


def seeded_hash(document: Document, seed: int) -> str:
    return hashlib.sha256(f"{seed} {text_hash(document.tokens)}".encode()).hexdigest()


if __name__ == "__main__":
    run(main)
