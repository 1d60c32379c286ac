"""20 Newsgroups (by date) from the Hugging Face hub: 11,314 + 7,532 posts of 20 discussion groups.

From:     SetFit/20_newsgroups, with the extra latentnlp[hub]: scikit-learn's text without headers,
          signatures and quotes; some posts are empty and stay so. Licence: none stated there.
Dev:      a tenth of train, drawn by a fixed seed (see the manifest).
--raw:    train.jsonl test.jsonl (each may be .gz) with the keys text, label_text, as the hub's own
          repository holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from _bags import TextCorpus, with_dev
from _common import already_complete, arguments, find_raw, raw_sums, run, write_corpus
from _hub import hub_errors, hub_streams

from latentnlp.data.documents import Row, read_rows
from latentnlp.errors import UserError

HUB_ID = "SetFit/20_newsgroups"
PARTS = ("train", "test")
OFFLINE = "Without a network: pass --raw DIR with its files train.jsonl and test.jsonl"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--hub-id", default=HUB_ID, help="hub name, or a local folder with such a set"
    )
    args = parser.parse_args()
    if already_complete(args.out, "20ng_hub", {}):
        return
    source, rows = from_hub(args.hub_id) if args.raw is None else from_files(args.raw)
    splits, note = with_dev({part: list(posts(part, found)) for part, found in rows.items()})
    corpus = TextCorpus(
        name="20ng_hub",
        languages=("en",),
        source={"text": "20 Newsgroups by date, without headers, signatures, quotes"} | source,
        licence="none stated",
        splits=splits,
        notes={"dev": note},
    )
    write_corpus(args.out, corpus)


def from_hub(hub_id: str) -> tuple[dict[str, Any], dict[str, Iterator[Row]]]:
    streams = hub_streams(hub_id, None, OFFLINE)
    if "test" not in streams:
        raise UserError(f"{hub_id}: holds the splits {sorted(streams)} but no test; {OFFLINE}")
    return {"hub_id": hub_id}, {part: numbered(streams[part], part, hub_id) for part in PARTS}


def numbered(stream: Iterable[dict[str, Any]], part: str, hub_id: str) -> Iterator[Row]:
    with hub_errors(hub_id, OFFLINE):
        for number, row in enumerate(stream):
            yield f"{hub_id}, row {number} of {part}", row


def from_files(raw: Path) -> tuple[dict[str, Any], dict[str, Iterator[Row]]]:
    files = find_raw(raw, "20ng_hub", {part: [f"{part}.jsonl"] for part in PARTS})
    return {"raw": raw_sums(files)}, {part: read_rows(paths[0]) for part, paths in files.items()}


def posts(part: str, rows: Iterable[Row]) -> Iterator[dict[str, str]]:
    for number, (where, row) in enumerate(rows):
        text, label = row.get("text"), row.get("label_text")
        if not isinstance(text, str) or not isinstance(label, str):
            raise UserError(f"{where}: has no text, or no label_text; is it {HUB_ID}?")
        yield {"id": f"20ng_{part}_{number:05}", "text": text, "label": label}


if __name__ == "__main__":
    run(main)
