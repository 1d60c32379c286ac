"""English - French: Canadian Hansards, gold of the HLT-NAACL 2003 workshop (WPT03).

Gold:   447 test sentences by Och and Ney, sure and possible links, NULL links dropped; test.* of
        GitHub bacor/IBMModels, the same as the enfr example of neulab/awesome-align. The task page
        states no restriction of use. The 37 trial sentences are left out: from the ninth on, that
        copy's links belong to the sentence two lines before.
Train:  Hansards of the 36th Parliament (ISI release, U. Germann) as kept in GitHub
        MaryamEbr/CSC2511_A2 (data/Training) and mhajiloo/berkeleyaligner, brought to the gold's
        tokenisation: lower case, no accents, French un-elided (l' -> le, du -> de le). No licence
        is stated ("no known licence").
--raw:  train.en train.fr test.norm.en test.norm.fr test.gold
        (each may be .gz), or a folder that holds them in en-fr-hansards/. The .norm files are the
        gold sentences in lower case without accents, to fit the training text. Gold: Pharaoh
        i-j (sure) and ipj (possible), 0-based; i in English.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="hansards",
    folder="en-fr-hansards",
    languages=("en", "fr"),
    source={
        "gold": "WPT03 English-French (Och and Ney), through GitHub bacor/IBMModels",
        "train": "Hansards of the 36th Parliament, through GitHub MaryamEbr/CSC2511_A2 and "
        "mhajiloo/berkeleyaligner",
    },
    licence="gold: no restriction stated; training text: no known licence",
    stems={"train": "train", "test": "test.norm"},
    notes={
        "text": "lower case, no accents, French un-elided, as in the shared task",
        "trial set": "left out: from sentence 9 on its links are two lines late in the raw files",
    },
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
