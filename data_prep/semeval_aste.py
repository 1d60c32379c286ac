"""SemEval 2014-16 reviews of laptops and restaurants: sentiment of an aspect, and why.

Text:   ASTE-Data-V2 (Xu et al. 2020) through GitHub xuuuluuu/SemEval-Triplet-data. Licence: none
        stated; the data of SemEval's ABSA tasks are for research.
A document is a sentence and one aspect term in it. Its label is the sentiment of that aspect
(positive, negative, neutral), `aspect` the span of the term, which a model has to be told (a
sentence with two aspects stands there twice), `rationale` the opinion words that people marked.
Domain: 14lap 14res 15res 16res, one a folder: 258 of the 322 test sentences of 15res are training
        sentences of 16res.
--raw:  train.jsonl dev.jsonl test.jsonl (each may be .gz) of all domains with the keys id, domain,
        tokens, aspect, label and rationale, or a folder that holds them in semeval_aste/.
"""

from __future__ import annotations

from pathlib import Path

from _common import already_complete, arguments, find_raw, raw_sums, run, write_corpus
from _documents import JSONL_SPLITS, DocumentCorpus

from latentnlp.data.documents import Document, documents_from_rows, read_rows
from latentnlp.errors import UserError

DOMAINS = ("14lap", "14res", "15res", "16res")
CLASSES = {"negative", "neutral", "positive"}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--domain", choices=DOMAINS, required=True)
    args = parser.parse_args()
    name = f"semeval_aste-{args.domain}"
    if already_complete(args.out, name, {}):
        return
    files = find_raw(args.raw, "semeval_aste", JSONL_SPLITS)
    write_corpus(
        args.out,
        DocumentCorpus(
            name=name,
            languages=("en",),
            source={
                "text": "ASTE-Data-V2, through GitHub xuuuluuu/SemEval-Triplet-data",
                "raw": raw_sums(files),
            },
            licence="none stated; SemEval ABSA data are for research",
            splits={split: of_domain(args.domain, *paths) for split, paths in files.items()},
            notes={
                "rationale": "human: the opinion words of the aspect",
                "aspect": "the label is the sentiment of the words of this span",
            },
        ),
    )


def of_domain(domain: str, path: Path) -> list[Document]:
    rows = [(where, row) for where, row in read_rows(path) if row.get("domain") == domain]
    for where, row in rows:
        if row.get("aspect") is None:
            raise UserError(f"{where}: has no 'aspect', the span that the label is about")
    return documents_from_rows(rows, classes=CLASSES)


if __name__ == "__main__":
    run(main)
