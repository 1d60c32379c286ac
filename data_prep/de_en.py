"""German - English: Europarl gold, training text of WMT 2015.

Gold:   GitHub bicici/SMTData, German-English_WordAlignment.zip: 100 Europarl pairs, sure links
        only ("may be used for training and testing"); one link outside its sentence dropped.
Train:  GitHub OpenNMT/OpenNMT, data/src-* and tgt-* (MIT repository; WMT15: Europarl, news
        commentary, web crawl), lower case; some pairs are noisy.
--raw:  train.de train.en test.de test.en test.gold (each may be .gz), or a folder that holds them
        in de-en-europarl/. Gold: Pharaoh i-j, 0-based; i in German.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="de_en",
    folder="de-en-europarl",
    languages=("de", "en"),
    source={
        "gold": "German-English_WordAlignment, GitHub bicici/SMTData",
        "train": "WMT15 sample, GitHub OpenNMT/OpenNMT",
    },
    licence="gold: free for training and testing; training text: MIT repository",
    stems={"train": "train", "test": "test"},
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
