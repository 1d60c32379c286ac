"""Romanian - English: news, gold of the HLT-NAACL 2003 workshop (WPT03).

Gold:   248 test sentences, sure links only, from the roen example of GitHub neulab/awesome-align
        (BSD-3 repository; data: no restriction stated).
Train:  RO-STS parallel, GitHub dumitrescustefan/RO-STS (CC BY-SA 4.0), tokenised, diacritics
        removed and spelling mapped to that of the gold text (pre-1993). It is not the training
        set of the shared task, which was three times as large.
--raw:  train.ro train.en test.ro test.en test.gold (each may be .gz), or a folder that holds them
        in ro-en-wpt/. Gold: Pharaoh i-j, 0-based; i in Romanian.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="ro_en",
    folder="ro-en-wpt",
    languages=("ro", "en"),
    source={
        "gold": "WPT03 Romanian-English, through GitHub neulab/awesome-align",
        "train": "RO-STS parallel, GitHub dumitrescustefan/RO-STS",
    },
    licence="gold: no restriction stated; training text: CC BY-SA 4.0",
    stems={"train": "train", "test": "test"},
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
