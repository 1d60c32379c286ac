"""English - Swedish: Europarl gold of Linköping, everyday sentences to train on.

Gold:   Linköping English-Swedish gold standard (Holmqvist and Ahrenberg; "no copyright
        restriction"), through GitHub loganbrenningmeyer/binaryalign, which kept only the sure
        links: AER is not comparable with published figures. 972 dev, 192 test.
Train:  Tatoeba pairs (manythings.org/anki, GitHub emilolio/translation-transformer; CC BY 2.0
        FR), tokenised. Out of domain.
--raw:  train.en train.sv dev.en dev.sv dev.gold test.en test.sv test.gold (each may be .gz), or a
        folder that holds them in en-sv-europarl/. Gold: Pharaoh i-j, 0-based; i in English.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="en_sv",
    folder="en-sv-europarl",
    languages=("en", "sv"),
    source={
        "gold": "Linköping gold standard, through GitHub loganbrenningmeyer/binaryalign",
        "train": "Tatoeba, through GitHub emilolio/translation-transformer",
    },
    licence="gold: no copyright restriction; training text: CC BY 2.0 FR",
    stems={"train": "train", "dev": "dev", "test": "test"},
    notes={
        "gold": "sure links only; AER is not comparable with published figures",
    },
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
