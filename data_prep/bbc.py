"""BBC News: 2,225 articles of five subjects, lemmatised, 2,949 words, about 120 tokens an article.

From:     GitHub MIND-Lab/OCTIS (8f9a0ac), preprocessed_datasets/BBC_News; stop words are out. The
          splits are OCTIS's own; 24 of the test texts stand in train too.
Licence:  MIT, of OCTIS.
--raw:    train.jsonl dev.jsonl test.jsonl with the keys id, tokens, label, and vocab.txt (each may
          be .gz); or a folder that holds them in bbc_news/.
"""

from __future__ import annotations

from _bags import RawTopics, prepare_topics
from _common import run

BBC = RawTopics(
    name="bbc_news",
    folder="bbc_news",
    source="GitHub MIND-Lab/OCTIS (8f9a0ac), preprocessed_datasets/BBC_News",
    licence="MIT (OCTIS)",
    files={part: (f"{part}.jsonl",) for part in ("train", "dev", "test")},
    keys=("id", "tokens", "label"),
)

if __name__ == "__main__":
    run(lambda: prepare_topics(__doc__, BBC))
