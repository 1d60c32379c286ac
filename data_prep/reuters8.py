"""Reuters-21578 R8: 7,674 short news of eight subjects, as text.

From:     GitHub Maryam-ask/NLP_PFAI_Assignment (22b8635), the "all terms" version of
          Cardoso-Cachopo: lower case, digits and punctuation already removed, about 102 tokens.
Dev:      a tenth of train, drawn by a fixed seed (see the manifest).
Licence:  none stated there.
--raw:    train.jsonl test.jsonl (each may be .gz) with the keys id, label, text; or a folder that
          holds them in r8/.
"""

from __future__ import annotations

from _bags import RawTopics, prepare_topics
from _common import run

R8 = RawTopics(
    name="reuters8",
    folder="r8",
    source="Reuters-21578 R8 all terms, through GitHub Maryam-ask/NLP_PFAI_Assignment (22b8635)",
    licence="none stated",
    files={part: (f"{part}.jsonl",) for part in ("train", "test")},
    vocabulary=False,
    keys=("id", "label", "text"),
)

if __name__ == "__main__":
    run(lambda: prepare_topics(__doc__, R8))
