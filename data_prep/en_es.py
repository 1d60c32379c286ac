"""English - Spanish: Europarl with gold of a university course.

Gold and train: GitHub Link-lin/CSE256-p5 (corpus.en/es, dev.en/es, dev.key), Europarl text in
        lower case; no licence stated. 200 gold pairs, sure links only, every link given; those
        pairs and 13 with an empty side were taken out of the training text.
--raw:  train.en train.es test.en test.es test.gold (each may be .gz), or a folder that holds them
        in en-es-europarl/. Gold: Pharaoh i-j, 0-based; i in English.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="en_es",
    folder="en-es-europarl",
    languages=("en", "es"),
    source={
        "gold": "Columbia / UCSD course data, through GitHub Link-lin/CSE256-p5",
        "train": "Europarl, the same repository",
    },
    licence="none stated",
    stems={"train": "train", "test": "test"},
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
