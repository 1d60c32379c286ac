"""Associated Press: 2,246 news articles of TREC as word counts, the set of lda-c (Blei 2003).

From:     GitHub blei-lab/lda-c (0c46575), example/ap.tgz: 10,473 words, about 194 tokens an
          article, no labels. The articles themselves are AP's and are not included.
Test:     every tenth article (index mod 10 = 9); the source has no split.
Dev:      a tenth of train, drawn by a fixed seed (see the manifest).
Licence:  LGPL-2.1 for the package that the counts come with.
--raw:    train.ldac test.ldac vocab.txt (each may be .gz); or a folder that holds them in ap/.
"""

from __future__ import annotations

from _bags import RawTopics, prepare_topics
from _common import run

AP = RawTopics(
    name="ap",
    folder="ap",
    source="GitHub blei-lab/lda-c (0c46575), example/ap.tgz",
    licence="LGPL-2.1 (the package)",
    files={part: (f"{part}.ldac",) for part in ("train", "test")},
)

if __name__ == "__main__":
    run(lambda: prepare_topics(__doc__, AP))
