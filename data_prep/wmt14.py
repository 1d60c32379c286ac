"""WMT 2014: English and German, French, Czech, Russian or Hindi; 4.5 million pairs of German.

From:   the Hugging Face hub, wmt/wmt14 (train, validation: newstest2013, test: newstest2014), read
        as a stream, with the extra latentnlp[hub]; its text is not tokenised and goes through
        sacrebleu's 13a tokeniser. Licence: that of each source (Europarl, Common Crawl, News
        Commentary).
--raw:  train.<src> train.<tgt> and, if there are any, dev.* and test.* (each may be .gz), one
        sentence a line. They are taken as they are; --tokenize treats them like hub text.
"""

from __future__ import annotations

from _common import run
from _hub import HubSet, prepare_hub

HUB = HubSet(
    name="wmt14",
    hub_id="wmt/wmt14",
    configurations=True,
    licence="unknown; see the sources of WMT 2014",
    source="WMT 2014, news (Bojar et al. 2014)",
    english_last=True,
)

if __name__ == "__main__":
    run(lambda: prepare_hub(__doc__, HUB))
