"""Europarl v7: proceedings of the European Parliament, any pair of 21 languages. No gold.

From:   the Hugging Face hub, Helsinki-NLP/europarl (one configuration a pair, a train split
        only), read as a stream, with the extra latentnlp[hub]; its text is not tokenised and goes
        through sacrebleu's 13a tokeniser. The hub states no licence; the makers know of no
        copyright restriction.
--raw:  train.<src> train.<tgt> and, if there are any, dev.* and test.* (each may be .gz), one
        sentence a line. They are taken as they are; --tokenize treats them like hub text.
"""

from __future__ import annotations

from _common import run
from _hub import HubSet, prepare_hub

HUB = HubSet(
    name="europarl",
    hub_id="Helsinki-NLP/europarl",
    configurations=True,
    licence="no licence stated; no known copyright restriction",
    source="Europarl v7 (Koehn 2005) through OPUS",
)

if __name__ == "__main__":
    run(lambda: prepare_hub(__doc__, HUB))
