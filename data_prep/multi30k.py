"""Multi30K: image captions in English and German, French or Czech. No alignment gold.

From:   the Hugging Face hub, bentrevett/multi30k (English and German only), with the extra
        latentnlp[hub]; its text is not tokenised and goes through sacrebleu's 13a tokeniser.
        train 29,000, dev 1,014, test 1,000 (2016 Flickr). For French and Czech: --raw with
        data/task1/tok of GitHub multi30k/dataset. Research use; derived from Flickr30k.
--raw:  train.<src> train.<tgt> and, if there are any, dev.* and test.* (each may be .gz), one
        sentence a line. They are taken as they are; --tokenize treats them like hub text. A folder
        that holds them in multi30k-en-de-fr-cs/ will do.
"""

from __future__ import annotations

from _common import run
from _hub import HubSet, prepare_hub

HUB = HubSet(
    name="multi30k",
    hub_id="bentrevett/multi30k",
    configurations=False,
    licence="research use; the captions derive from Flickr30k",
    source="Multi30K, task 1 (Elliott et al. 2016)",
    subfolder="multi30k-en-de-fr-cs",
)

if __name__ == "__main__":
    run(lambda: prepare_hub(__doc__, HUB))
