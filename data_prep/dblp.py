"""DBLP: 54,595 titles of papers from four fields, lemmatised, 1,513 words, about 5 tokens a title.

From:     GitHub MIND-Lab/OCTIS (8f9a0ac), preprocessed_datasets/DBLP; stop words are out. The
          splits are OCTIS's own; 78 of the test titles stand in train too.
Licence:  MIT, of OCTIS.
--raw:    train.jsonl dev.jsonl test.jsonl with the keys id, tokens, label, and vocab.txt (each may
          be .gz); or a folder that holds them in dblp/.
"""

from __future__ import annotations

from _bags import RawTopics, prepare_topics
from _common import run

DBLP = RawTopics(
    name="dblp",
    folder="dblp",
    source="GitHub MIND-Lab/OCTIS (8f9a0ac), preprocessed_datasets/DBLP",
    licence="MIT (OCTIS)",
    files={part: (f"{part}.jsonl",) for part in ("train", "dev", "test")},
    keys=("id", "tokens", "label"),
)

if __name__ == "__main__":
    run(lambda: prepare_topics(__doc__, DBLP))
