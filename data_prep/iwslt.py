"""IWSLT 2014: talks in German and English, 172,000 pairs.

From:   the Hugging Face hub, bbaaaa/iwslt14-de-en in the hub's own conversion to Parquet (train,
        validation, test), read as a stream, with the extra latentnlp[hub]; its text is not
        tokenised and goes through sacrebleu's 13a tokeniser. Licence: CC BY-NC-ND 4.0 (TED).
--raw:  train.<src> train.<tgt> and, if there are any, dev.* and test.* (each may be .gz), one
        sentence a line. They are taken as they are; --tokenize treats them like hub text. So
        other years and languages of IWSLT can be read, too.
"""

from __future__ import annotations

from _common import run
from _hub import HubSet, prepare_hub

HUB = HubSet(
    name="iwslt14",
    hub_id="bbaaaa/iwslt14-de-en",
    configurations=True,
    licence="CC BY-NC-ND 4.0",
    source="IWSLT 2014, TED talks (Cettolo et al. 2014)",
    revision="refs/convert/parquet",  # the set itself is a script, which no longer loads
)

if __name__ == "__main__":
    run(lambda: prepare_hub(__doc__, HUB))
