"""ERASER movies: long film reviews, positive or negative, with the reasons that people marked.

Text:   polarity data 2.0 (Pang and Lee 2004), tokenised, lower case; 1600 / 200 / 199 reviews of
        775 tokens on average, labels POS and NEG.
Marks:  train and dev by Zaidan, Eisner and Piatko (2007): some of the reasons, 9 % and 7 % of the
        tokens. Test: ERASER's own, which was to be complete (DeYoung et al. 2020), 31 %. Never
        choose a selection rate on the marks of dev.
Licence: none stated in the release; the review data are for research.
--raw:  the release of ERASER (docs/ and train.jsonl val.jsonl test.jsonl), or the canonical form
        (train.jsonl dev.jsonl test.jsonl, each may be .gz); or a folder that holds one of them in
        movies/ or eraser_movies/. Evidences of no words (20 in test) are dropped.
"""

from __future__ import annotations

from pathlib import Path

from _common import already_complete, arguments, find_raw, raw_sums, run, write_corpus
from _documents import JSONL_SPLITS, DocumentCorpus

from latentnlp.data.documents import read_documents

CLASSES = {"NEG", "POS"}
RELEASE_SPLITS = JSONL_SPLITS | {"dev": ["val.jsonl"]}


def main() -> None:
    args = arguments(__doc__).parse_args()
    if already_complete(args.out, "eraser_movies", {}):
        return
    files = raw_files(args.raw)
    write_corpus(
        args.out,
        DocumentCorpus(
            name="eraser_movies",
            languages=("en",),
            source={
                "text": "movies of the ERASER release",
                "url": "https://www.eraserbenchmark.com",
                "raw": raw_sums(files),
            },
            licence="none stated; the review data are for research",
            splits={
                split: read_documents(*paths, classes=CLASSES) for split, paths in files.items()
            },
            notes={
                "rationale": "human: the single evidences as they were marked (they may touch or "
                "overlap); those of test by other people and to another end than those of train "
                "and dev",
            },
        ),
    )


def raw_files(raw: Path | None) -> dict[str, list[Path]]:
    folder = "movies" if raw is not None and (raw / "movies").is_dir() else "eraser_movies"
    place = raw / folder if raw is not None and (raw / folder).is_dir() else raw
    released = place is not None and (place / "docs").is_dir()
    return find_raw(raw, folder, RELEASE_SPLITS if released else JSONL_SPLITS)


if __name__ == "__main__":
    run(main)
