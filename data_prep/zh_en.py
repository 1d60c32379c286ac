"""Chinese - English: news gold of Tsinghua, everyday sentences to train on.

Gold:   Tsinghua set, 450 news sentences, sure and possible links, from the zhen example of GitHub
        neulab/awesome-align.
Train:  Tatoeba pairs (manythings.org/anki, GitHub YC-Coder-Chen/English-Chinese-Translator; CC BY
        2.0 FR), simplified characters, segmented with jieba, English in lower case. Out of
        domain.
--raw:  train.zh train.en test.zh test.en test.gold (each may be .gz), or a folder that holds them
        in zh-en-tsinghua/. Gold: Pharaoh i-j and ipj, 0-based; i in Chinese.
"""

from __future__ import annotations

from _common import RawSet, prepare_raw, run

RAW = RawSet(
    name="zh_en",
    folder="zh-en-tsinghua",
    languages=("zh", "en"),
    source={
        "gold": "Tsinghua word alignment set, through GitHub neulab/awesome-align",
        "train": "Tatoeba, through GitHub YC-Coder-Chen/English-Chinese-Translator",
    },
    licence="gold: none stated; training text: CC BY 2.0 FR",
    stems={"train": "train", "test": "test"},
)

if __name__ == "__main__":
    run(lambda: prepare_raw(__doc__, RAW))
