"""English - Czech: CzEnAli 1.0, gold without training text.

Gold:   CzEnAli 1.0 (Mareček; CC BY-SA 4.0): 2,500 sentences of news, law and fiction, through
        GitHub loganbrenningmeyer/binaryalign, which kept only the sure links; 500 dev and 2,000
        test, drawn at random.
Train:  none. No train files are written: let an aligner learn from the text of test.en and
        test.cs (it must not see the gold), or bring text of your own.
--raw:  dev.en dev.cs dev.gold test.en test.cs test.gold (each may be .gz), or a folder that holds
        them in en-cs-czenali/. Gold: Pharaoh i-j, 0-based; i in English.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="en_cs",
    folder="en-cs-czenali",
    languages=("en", "cs"),
    source={
        "gold": "CzEnAli 1.0 (Mareček), through GitHub loganbrenningmeyer/binaryalign",
    },
    licence="CC BY-SA 4.0",
    stems={"dev": "dev", "test": "test"},
    notes={
        "train": "there is no training text; align the test text itself, without its gold",
        "gold": "sure links only",
    },
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
