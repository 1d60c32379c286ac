"""Movie review sentences (Pang and Lee 2005): positive or negative, short. No rationales.

Text:   sentence_polarity of nltk_data (CC BY 4.0), 10,662 sentences of Rotten Tomatoes reviews,
        tokenised, lower case. There is no official split: that of the raw files is a seeded
        shuffle, 80 / 10 / 10.
--raw:  train.jsonl dev.jsonl test.jsonl (each may be .gz) with the keys id, tokens and label, or a
        folder that holds them in mr/.
"""

from __future__ import annotations

from _common import already_complete, arguments, find_raw, raw_sums, run, write_corpus
from _documents import JSONL_SPLITS, DocumentCorpus

from latentnlp.data.documents import read_documents

CLASSES = {"negative", "positive"}


def main() -> None:
    args = arguments(__doc__).parse_args()
    if already_complete(args.out, "movie_reviews", {}):
        return
    files = find_raw(args.raw, "mr", JSONL_SPLITS)
    write_corpus(
        args.out,
        DocumentCorpus(
            name="movie_reviews",
            languages=("en",),
            source={"text": "sentence_polarity of nltk_data", "raw": raw_sums(files)},
            licence="CC BY 4.0",
            splits={
                split: read_documents(*paths, classes=CLASSES) for split, paths in files.items()
            },
            notes={"rationale": "none"},
        ),
    )


if __name__ == "__main__":
    run(main)
