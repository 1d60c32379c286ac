"""OPUS-100: English and any of 99 languages, up to a million pairs each. No gold.

From:   the Hugging Face hub, Helsinki-NLP/opus-100 (one configuration a pair; most have train,
        validation and test), read as a stream, with the extra latentnlp[hub]; its text is not
        tokenised and goes through sacrebleu's 13a tokeniser, which cannot segment languages
        written without spaces (Chinese, Japanese, Thai ...). Licence: that of each OPUS source.
--raw:  train.<src> train.<tgt> and, if there are any, dev.* and test.* (each may be .gz), one
        sentence a line. They are taken as they are; --tokenize treats them like hub text.
"""

from __future__ import annotations

from _common import run
from _hub import HubSet, prepare_hub

HUB = HubSet(
    name="opus100",
    hub_id="Helsinki-NLP/opus-100",
    configurations=True,
    licence="unknown; see the sources of OPUS",
    source="OPUS-100 (Zhang et al. 2020)",
)

if __name__ == "__main__":
    run(lambda: prepare_hub(__doc__, HUB))
