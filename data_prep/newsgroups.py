"""20 Newsgroups (by date), about 18,800 posts of 20 discussion groups, in four preprocessings.

miao2000     the 2,000 words of NVDM (Miao, Yu & Blunsom 2016), with labels: GitHub ysmiao/nvdm. Its
             test file is verbatim; train was rebuilt from the posts by the same recipe: without
             the header, lower case, runs of [a-z], the 2,000 words kept.
prodlda1994  the 1,994 words of ProdLDA (Srivastava & Sutton 2017), no labels: through GitHub
             YongfeiYan/Neural-Document-Modeling.
etm3072      the 3,072 words of the Embedded Topic Model (Dieng et al. 2020), no labels, with its
             own 100 dev documents and every test document cut in two halves: GitHub MIND-Lab/OCTIS.
raw          the posts themselves, with labels: bodies with quotes and signatures; the header is
             gone but for the subject, which stands apart in `subject`. 34 bodies are empty.

Perplexities of different vocabularies cannot be compared.
Dev:      the last tenth of each group of train by the number of the post (miao2000, raw): test is
          of later posts, and a dev drawn at random shares its threads with train, which makes
          models look better on it than they will on test. prodlda1994 has no ids: drawn by a fixed
          seed (see the manifest); etm3072 has its own.
Licence:  none stated; etm3072 MIT.
--raw:    train.ldac test.ldac vocab.txt (miao2000 also train.labels.txt test.labels.txt and, if
          there, train.ids.txt; etm3072 also valid.ldac test_half1.ldac test_half2.ldac); for raw
          train.jsonl test.jsonl with the keys id, label, subject, text. Each may be .gz; or a
          folder that holds them in 20ng_miao2000/ and so on.
"""

from __future__ import annotations

from _bags import RawTopics, write_topics
from _common import arguments, run

PARTS = ("train", "test")
TOPICS = {
    "miao2000": RawTopics(
        name="20ng_miao2000",
        folder="20ng_miao2000",
        source="GitHub ysmiao/nvdm (19bc3d6); train rebuilt from the posts",
        licence="none stated",
        files={part: (f"{part}.ldac", f"{part}.labels.txt") for part in PARTS},
        by_date=True,
    ),
    "prodlda1994": RawTopics(
        name="20ng_prodlda1994",
        folder="20ng_prodlda1994",
        source="GitHub YongfeiYan/Neural-Document-Modeling (7639724)",
        licence="none stated",
        files={part: (f"{part}.ldac",) for part in PARTS},
    ),
    "etm3072": RawTopics(
        name="20ng_etm3072",
        folder="20ng_etm3072",
        source="GitHub MIND-Lab/OCTIS (8f9a0ac)",
        licence="MIT",
        files={"train": ("train.ldac",), "dev": ("valid.ldac",)}
        | {part: (f"{part}.ldac",) for part in ("test", "test_half1", "test_half2")},
    ),
    "raw": RawTopics(
        name="20ng_raw",
        folder="20ng_raw",
        source="20 Newsgroups by date, GitHub julenminer/mlnn_P65 (7393be6)",
        licence="none stated",
        files={part: (f"{part}.jsonl",) for part in PARTS},
        vocabulary=False,
        keys=("id", "label", "subject", "text"),
        by_date=True,
    ),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--preprocessing", choices=tuple(TOPICS), default="miao2000")
    args = parser.parse_args()
    write_topics(args.out, args.raw, TOPICS[args.preprocessing])


if __name__ == "__main__":
    run(main)
