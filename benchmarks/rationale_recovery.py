r"""Does joint training come back from a start at which selector and predictor have gone astray?

    python benchmarks/rationale_recovery.py --corpus data/sst2 [--json FILE]

    normal             the recipe: the predictor learns to read thinned texts, then both learn.
                       Only the selector is another, a GRU: at every word it reads the whole text,
                       or it could not know y there
    skewed selector    it selects the first word iff y = 1 (z₁ = y, all others at the rate asked
                       for): a predictor can read the label from the mask
    skewed predictor   it has only learnt to read the first 5 words

(Yu et al. 2021 and Liu et al. 2022 start their selectors and predictors so.) A row with a warm
start goes through the recipe's stage "predictor"; one without it ("both from nothing", and what
stands below it) has only the stage "rationale", in which the predictor then learns at the
selector's rate. Scores are of dev, "at first" before the stage "rationale". The mask probe tells
the label from where was selected, without the words: chance is the majority's share. --json also
keeps in how many texts of each class the first word is selected.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from rationale_baselines import (
    BEST,
    CPU,
    Corpus,
    State,
    batches_of,
    parse,
    training_by,
    without_training,
)
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from latentnlp.cli import run as run_command
from latentnlp.data.documents import spread
from latentnlp.data.texts import TextBatch
from latentnlp.learners.thinned_predictor import ThinnedPredictor
from latentnlp.run import seed_everything, use_threads
from latentnlp.tasks.rationale_evaluation import Evaluation, evaluate
from latentnlp.tasks.rationale_model import RationaleModel

FIRST = 5  # words that the skewed predictor has read
PASSES = 5  # over the corpus, in which a half is skewed
WHOLE = 'model.selector="gru"'  # it reads the whole text, so that it could tell y by any word
PROBED = 2000  # training documents, at most, from which the mask probe learns
SCORES = ("rationale only", "random rationale", "full text")


def main() -> None:
    options = parse(__doc__)
    use_threads(1)
    corpus = Corpus.read(options, WHOLE)
    rows: dict[str, dict[str, Any]] = {}

    def record(name: str, start: State, **learner: float) -> None:
        rows[name] = outcome(corpus, start, **learner)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)

    warm = corpus.warm_start()
    nothing = corpus.train(without_training(corpus.config)).network.state_dict()
    alone = {"predictor_learning_rate": corpus.config.rationale.learner.learning_rate}
    record("normal", warm)
    record("skewed selector", skewed_selector(corpus, warm))
    astray = skewed_predictor(corpus, nothing)
    record("skewed predictor, then warm start", corpus.warm_start(astray))
    record("both from nothing", nothing, **alone)
    record("… skewed selector", skewed_selector(corpus, nothing), **alone)
    record("… skewed predictor", astray, **alone)
    print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    chance = rows["normal"]["after"]["majority"]
    head = ("rationale", "probe", "rationale", "random", "full text", "probe", "selected", "CPU s")
    lines = [f"| start (chance {chance:.3f}) | " + " | ".join(head) + " |"]
    lines[0] = lines[0].replace("| rationale | probe", "| at first: rationale | probe", 1)
    lines[0] = lines[0].replace("| rationale | random", "| after: rationale | random", 1)
    lines.append("| --- |" + " ---: |" * len(head))
    for name, row in rows.items():
        first, after = row["at first"], row["after"]
        values = [first["rationale only"], first["probe"], *(after[view] for view in SCORES)]
        cells = [f"{value:.3f}" for value in (*values, after["probe"])]
        cells += [f"{100 * after['selected']:.1f} %", f"{row['seconds']:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outcome(corpus: Corpus, start: State, **learner: float) -> dict[str, Any]:
    """Scores at the start, and what the stage "rationale" makes of it."""
    first = scores(corpus.train(without_training(corpus.config), start), corpus)
    before = time.process_time()
    model = corpus.train(training_by(corpus.config, BEST, **learner), start)
    seconds = time.process_time() - before
    return {"at first": first, "after": scores(model, corpus), "seconds": seconds}


def scores(model: RationaleModel, corpus: Corpus) -> dict[str, float]:
    found = evaluate(model, corpus.dev, spread(corpus.documents, PROBED))
    assert found.probe is not None
    accuracy = {view: found.task[view].to_dict()["accuracy"] for view in SCORES}
    probe = {"probe": found.probe.accuracy, "majority": found.probe.majority}
    return accuracy | probe | first_word(found, corpus) | {"selected": found.selection.rate_micro}


def first_word(found: Evaluation, corpus: Corpus) -> dict[str, float]:
    """In how many texts of each class the first word is selected."""
    taken: dict[str, list[bool]] = {}
    for one, document in zip(found.found, corpus.dev, strict=True):
        taken.setdefault(str(document.label), []).append(one.spans[0][0] == 0)
    return {f"first word, {name}": sum(some) / len(some) for name, some in sorted(taken.items())}


# ------------------------------------------------------------------------------------ going astray


def skewed_selector(corpus: Corpus, start: State) -> State:
    """z₁ = y, and every other word at the rate asked for."""
    model = corpus.train(without_training(corpus.config), start)
    rate = corpus.config.rationale.learner.rate
    selector = model.network.selector.train()
    seed_everything(corpus.config.seed)
    optimizer = torch.optim.Adam(
        selector.parameters(), corpus.config.rationale.learner.learning_rate
    )
    for batch in batches_of(model, corpus) * PASSES:
        logits = selector(batch).logits
        loss = binary_cross_entropy_with_logits(logits[:, 0], batch.labels.float())
        others = torch.full_like(logits[:, 1:], rate)
        weight = batch.unit_mask[:, 1:].float()
        loss = loss + binary_cross_entropy_with_logits(logits[:, 1:], others, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.network.state_dict()


def skewed_predictor(corpus: Corpus, start: State) -> State:
    """It has read the first words only, and the selector starts from its vectors of them."""
    model = corpus.train(without_training(corpus.config), start)
    batches = batches_of(model, corpus) * PASSES
    seed_everything(corpus.config.seed)
    learner = FirstWords(corpus.config.predictor.learner, model.network.train(), len(batches), CPU)
    for batch in batches:
        learner.step(batch)
    model.network.load_state_dict(learner.average.model.state_dict())
    selector, predictor = model.network.selector, model.network.predictor
    selector.embedding.load_state_dict(predictor.embedding.state_dict())
    return model.network.state_dict()


class FirstWords(ThinnedPredictor):
    def thinned(self, batch: TextBatch) -> Tensor:
        first = torch.arange(batch.unit_mask.shape[1]) < FIRST
        return (first & batch.unit_mask)[None].float()


if __name__ == "__main__":
    sys.exit(run_command(main))
