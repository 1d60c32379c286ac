r"""Simple rules and other packages on the same files, by the same scorer.

    pip install scikit-learn==1.9.1 pyhighlights==0.14.0
    python benchmarks/rationale_peers.py --corpus data/aste_14lap [--corpus …] [--runs RUN …]

    everything     all words
    random         as many words of each text as are asked for (the corpus's recipe says how many)
    last 20, 30 %  of each text's words: no model at all. AUPRC is that of the position
    TF-IDF         logistic regression on the labels of train; a word's score is its weight for the
                   predicted class × its tf-idf. It is selected above a threshold: the best for
                   token F1 on dev, or, to be generous, on test itself. Both read human spans
    pyhighlights   its model FR on a GRU (its defaults), at the rate asked for; of its epochs the
                   one of the smallest dev loss. Words are selected as its argmax has it, not drawn
    latentnlp      the models of --runs, if they were trained on this corpus; its CPU seconds are
                   those of training, if rationale_seeds.py trained it

No system has seen a human span of train. Only latentnlp is told which aspect a label is about: the
others have no place for it. What is not installed is left out with a line that says so, and so is
pyhighlights on texts of more than 100 words on average: its GRU would need too long without a GPU.

pyhighlights trains what its configuration classes register. Here its model, collator, losses
and Adam are called directly, with their registered values but for the number of classes, the rate,
and a selection without noise and never empty at evaluation. Its table has 10,000 words; no vectors.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentnlp import config as configuration
from latentnlp.cli import run as run_command
from latentnlp.data.documents import Document, read_documents
from latentnlp.evaluation.rationale import (
    agreement,
    classification,
    selection,
    spans_of,
    top_share,
    top_tokens,
)
from latentnlp.run import seed_everything, use_threads
from latentnlp.tasks.rationale import RationaleConfig, extract
from latentnlp.tasks.rationale_commands import load_model, read_config

RECIPES = Path(__file__).resolve().parent.parent / "recipes" / "rationale"
COLUMNS = ("f1", "precision", "recall", "iou_f1", "auprc", "average_precision", "f1_at_human")
THRESHOLDS = 100  # quantiles of the scores that are tried
LONG = 100  # words: texts longer on average are not for pyhighlights here
EPOCHS, BATCH, ROWS = 10, 32, 10_000  # of pyhighlights; ROWS: its embedding table's

Scores = Sequence[NDArray[np.float64]]  # one a word, of every text


@dataclass(frozen=True)
class Corpus:
    name: str
    train: list[Document]
    dev: list[Document]
    test: list[Document]
    rate: float  # asked for
    seed: int

    @classmethod
    def read(cls, folder: Path, seed: int, limit: int | None) -> Corpus:
        train, dev, test = (
            read_documents(folder / f"{part}.jsonl")[:limit] for part in ("train", "dev", "test")
        )
        recipe = RECIPES / f"{folder.name}.toml"
        config = configuration.load(RationaleConfig, recipe if recipe.exists() else None)
        return cls(folder.name, train, dev, test, config.rationale.learner.rate, seed)


@dataclass(frozen=True)
class Result:
    """What a system says of the test texts."""

    name: str
    masks: Sequence[NDArray[np.bool_]]
    scores: Scores
    answers: Sequence[Any] | None = None
    seconds: float | None = None  # CPU


class Skipped(Exception):
    """A system that cannot be run here, and why."""


def main() -> None:
    options = parse()
    use_threads(1)
    record: dict[str, dict[str, dict[str, Any]]] = {}
    for folder in options.corpus:
        corpus = Corpus.read(folder, options.seed, options.limit)
        rows = record[corpus.name] = {}
        print(heading(corpus), flush=True)
        for system in (rules, tfidf, pyhighlights, lambda one: models(one, options.runs)):
            try:
                for result in system(corpus):
                    rows[result.name] = scored(result, corpus.test)
                    print(line(result.name, rows[result.name]), flush=True)
            except Skipped as reason:
                print(f"left out of {corpus.name}: {reason}", file=sys.stderr)
        print()
    if options.json is not None:
        options.json.write_text(json.dumps(record, indent=2))


def heading(corpus: Corpus) -> str:
    words = [len(one.tokens) for one in corpus.test]
    human = selection([one.rationale or () for one in corpus.test], words)
    title = (
        f"{corpus.name}: {len(words)} test texts of {np.mean(words):.0f} words, "
        f"{100 * human.rate_micro:.1f} % of them human"
    )
    names = ("F1", "precision", "recall", "IOU F1", "AUPRC", "AP", "F1@human")
    head = " | ".join(("", *names, "selected", "accuracy", "CPU s", "")).strip()
    return f"{title}\n\n| system {head}\n| --- |" + " ---: |" * (len(names) + 3)


def line(name: str, row: dict[str, Any]) -> str:
    cells = [f"{row[column]:.3f}" for column in COLUMNS] + [f"{100 * row['selected']:.1f} %"]
    cells.append("" if row["accuracy"] is None else f"{row['accuracy']:.3f}")
    cells.append("" if row["seconds"] is None else f"{row['seconds']:.1f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def scored(result: Result, documents: Sequence[Document]) -> dict[str, Any]:
    spans = [spans_of(mask) for mask in result.masks]
    lengths = [len(mask) for mask in result.masks]
    judged = [n for n, one in enumerate(documents) if one.rationale is not None]
    found = agreement(
        [spans[n] for n in judged],
        [documents[n].rationale or () for n in judged],
        [lengths[n] for n in judged],
        [result.scores[n] for n in judged],
    )
    answers, labels = result.answers, [one.label for one in documents]
    return {
        **found.to_dict(),
        "selected": selection(spans, lengths).rate_micro,
        "accuracy": None if answers is None else classification(answers, labels).accuracy,
        "seconds": result.seconds,
    }


# ---------------------------------------------------------------------------------- without a model


def rules(corpus: Corpus) -> Iterator[Result]:
    lengths = [len(one.tokens) for one in corpus.test]
    noise = np.random.default_rng(corpus.seed)
    ones, random_ = [np.ones(n) for n in lengths], [noise.random(n) for n in lengths]
    place = [np.arange(n, dtype=np.float64) for n in lengths]
    yield Result("everything", [one > 0 for one in ones], ones)
    count = [max(1, round(corpus.rate * n)) for n in lengths]
    masks = [top_tokens(one, k) for one, k in zip(random_, count, strict=True)]
    yield Result(f"random {100 * corpus.rate:.0f} %", masks, random_)
    for share in (0.2, 0.3):
        yield Result(f"last {100 * share:.0f} %", [top_share(one, share) for one in place], place)


# ------------------------------------------------------------------------------------------- TF-IDF


def tfidf(corpus: Corpus) -> Iterator[Result]:
    require("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer  # pyright: ignore[reportMissingImports]
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]

    before = time.process_time()
    vectoriser = TfidfVectorizer(analyzer=lowered)  # pyright: ignore[reportArgumentType]
    model = LogisticRegression(max_iter=1000)
    model.fit(vectoriser.fit_transform(corpus.train), [one.label for one in corpus.train])
    dev, _ = word_evidence(vectoriser, model, corpus.dev)
    test, answers = word_evidence(vectoriser, model, corpus.test)
    seconds = time.process_time() - before
    for name, on, scores in (("dev", corpus.dev, dev), ("test", corpus.test, test)):
        threshold = best_threshold(scores, on)
        masks = [one > threshold for one in test]
        yield Result(f"TF-IDF, best threshold on {name}", masks, test, answers, seconds)


def lowered(document: Document) -> list[str]:
    return [token.lower() for token in document.tokens]


def word_evidence(vectoriser: Any, model: Any, documents: Sequence[Document]) -> tuple[Scores, Any]:
    """weight(word, predicted class) · tf-idf(word, text) of every word; the predicted classes."""
    x, vocabulary = vectoriser.transform(documents), vectoriser.vocabulary_
    answers = model.predict(x)
    # Of two classes scikit-learn keeps the second's weights only.
    weights = model.coef_ if len(model.classes_) > 2 else np.vstack([-model.coef_, model.coef_])
    number = {name: n for n, name in enumerate(model.classes_)}
    scores = []
    for row, (document, answer) in enumerate(zip(documents, answers, strict=True)):
        columns = [vocabulary.get(word, -1) for word in lowered(document)]
        evidence = weights[number[answer]] * x[row].toarray()[0]
        scores.append(np.append(evidence, 0.0)[columns])  # the last: words that train had not
    return scores, list(answers)


def best_threshold(scores: Scores, documents: Sequence[Document]) -> float:
    """Of the quantiles of these scores, the one of the best token F1 with people."""
    marked = [n for n, one in enumerate(documents) if one.rationale is not None]
    human = [documents[n].rationale or () for n in marked]
    lengths = [len(documents[n].tokens) for n in marked]

    def f1(threshold: float) -> float:
        return agreement([spans_of(scores[n] > threshold) for n in marked], human, lengths).f1

    quantiles = np.quantile(np.concatenate(scores), np.arange(THRESHOLDS) / THRESHOLDS)
    return max(sorted(set(quantiles.tolist())), key=f1)


# ------------------------------------------------------------------------------------- pyhighlights


def pyhighlights(corpus: Corpus) -> Iterator[Result]:
    require("pyhighlights")
    if np.mean([len(one.tokens) for one in corpus.train]) > LONG:
        raise Skipped(f"pyhighlights: the texts have more than {LONG} words on average")
    import torch

    seed_everything(corpus.seed)
    peer = Peer(corpus)  # the import, of ten seconds, is not counted
    before = time.process_time()
    peer.fit()
    masks, scores, answers = [], [], []
    with torch.no_grad():
        for batch, documents in peer.batches(corpus.test):
            found = peer.model.reported(peer.model(batch))
            chosen = found.highlight_mask > 0.5
            margin = (found.highlight_logits[..., 1] - found.highlight_logits[..., 0]).double()
            for row, document in enumerate(documents):
                masks.append(chosen[row, : len(document.tokens)].numpy())
                scores.append(margin[row, : len(document.tokens)].numpy())
            answers += [peer.classes[n] for n in found.class_logits.argmax(-1).tolist()]
    yield Result("pyhighlights FR", masks, scores, answers, time.process_time() - before)


class Peer:
    """pyhighlights' FR (Liu et al. 2022) on texts of ours."""

    def __init__(self, corpus: Corpus) -> None:
        from cinnamon.registry import Registry  # pyright: ignore[reportMissingImports]
        from pyhighlights.components.data import HighlightCollator, VocabularyTokenizer  # pyright: ignore[reportMissingImports]
        from pyhighlights.components.models.spp.base import SPPPredictor  # pyright: ignore[reportMissingImports]
        from pyhighlights.configurations.keys import GRU_FR, MLP_PREDICTOR  # pyright: ignore[reportMissingImports]

        Registry.build(directory=Path(require("pyhighlights")))
        self.corpus = corpus
        self.classes = sorted({str(one.label) for one in corpus.train})
        counts = Counter(word for one in corpus.train for word in lowered(one))
        words = [word for word, _ in counts.most_common(ROWS - 2)]
        vocabulary = {word: n for n, word in enumerate(words, start=2)}  # 0, 1: padding, unknown
        self.collate = HighlightCollator(VocabularyTokenizer(vocabulary))
        self.model = Registry.from_key(
            GRU_FR, sample_at_evaluation=False, repair_empty_selections=True
        )
        # Its configuration is of two classes and 15 %.
        self.model.predictor = Registry.from_key(
            MLP_PREDICTOR,
            expected_type=SPPPredictor,
            input_size=self.model.predictor_backbone.output_size,
            num_classes=len(self.classes),
        )
        for loss in self.model.losses:
            if loss.name == "sparsity":
                loss.loss.threshold = corpus.rate

    def fit(self) -> None:
        optimizer = self.model.configure_optimizers()
        best, kept = math.inf, None
        for epoch in range(EPOCHS):
            self.model.train()
            documents = [*self.corpus.train]
            random.Random(epoch).shuffle(documents)
            for batch, _ in self.batches(documents):
                optimizer.zero_grad()
                self.loss(batch).backward()
                optimizer.step()
            self.model.eval()
            dev = sum(
                self.loss(batch).item() * len(rows) for batch, rows in self.batches(self.corpus.dev)
            )
            if dev < best:
                best, kept = dev, copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(kept)
        self.model.eval()

    def loss(self, batch: Any) -> Any:
        return self.model.compute_loss(batch, self.model(batch))[0]

    def batches(self, documents: Sequence[Document]) -> Iterator[tuple[Any, Sequence[Document]]]:
        from pyhighlights.components.data import HighlightExample  # pyright: ignore[reportMissingImports]

        for start in range(0, len(documents), BATCH):
            rows = documents[start : start + BATCH]
            examples = [
                HighlightExample(n, one.tokens, self.classes.index(str(one.label)))
                for n, one in enumerate(lower(one) for one in rows)
            ]
            yield self.collate(examples), rows


def lower(document: Document) -> Document:
    return replace(document, tokens=tuple(lowered(document)))


# ---------------------------------------------------------------------------------------- latentnlp


def models(corpus: Corpus, runs: Sequence[Path]) -> Iterator[Result]:
    for run in runs:
        if Path(read_config(run).data.corpus).name != corpus.name:
            continue
        found = list(extract(load_model(run, "cpu"), corpus.test))
        masks = [np.zeros(len(one.tokens), dtype=np.bool_) for one in corpus.test]
        scores = [np.zeros(len(one.tokens)) for one in corpus.test]
        for mask, score, one in zip(masks, scores, found, strict=True):
            score[: len(one.scores)] = one.scores
            for start, end in one.spans:
                mask[start:end] = True
        answers = [one.prediction for one in found]
        cost = run / "cpu_seconds.json"  # by rationale_seeds.py
        seconds = json.loads(cost.read_text()) if cost.exists() else None
        yield Result(f"latentnlp, {run.name}", masks, scores, answers, seconds)


def require(package: str) -> str:
    """The package's folder."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise Skipped(f"{package} is not installed")
    return found.submodule_search_locations[0]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="a folder")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="of recipes/rationale")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="documents of each part, for a trial")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
