"""The tasks in Python, in the spirit of scikit-learn.

    aligner = Aligner(seed=1).fit(source, target)     # lists of tokenised sentences
    aligner.links_[0]                                 # frozenset({(0, 0), (1, 2)})
    aligner.save("out/model");  Aligner.load("out/model").align(new_source, new_target)

    extractor = RationaleExtractor(rate=0.2).fit(texts, labels)
    extractor.extract(["A fine film, if too long."])[0].spans     # ((1, 2),)

    network = DocumentBeliefNetwork(layers=(200, 50)).fit(texts)
    network.transform(texts);  network.topic_words(layer=1);  network.sample(3)

    translator = Translator().fit(source, target)
    translator.translate(["a dog runs ."])            # ["ein hund rennt ."]

Parameters are set in the constructor; what is learnt ends in ``_``.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from latentnlp import config as configuration
from latentnlp.data.bag_corpora import TextConfig, bags_from_rows
from latentnlp.data.bags import Bags
from latentnlp.data.corpora import ListText, check_equal_counts
from latentnlp.data.documents import Document, Rationale, document_record, documents_from_rows
from latentnlp.data.ldac import MAX_COUNT
from latentnlp.data.links import Gold, Link, Links
from latentnlp.data.textfiles import split_words
from latentnlp.data.vocabulary import SPECIALS, Vocabulary
from latentnlp.decoding import Alignment
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import AlignmentScore, score
from latentnlp.evaluation.rationale import (
    ClassificationScore,
    RegressionScore,
    classification,
    regression,
)
from latentnlp.evaluation.topics import PerplexityScore, perplexity
from latentnlp.evaluation.translation import Settings, TranslationScores
from latentnlp.evaluation.translation import score as score_translations
from latentnlp.run import RunDirectory, pick_device
from latentnlp.tasks import rationale, topics, topics_commands, translation, translation_commands
from latentnlp.tasks.alignment import AlignmentConfig, align, train
from latentnlp.tasks.alignment_model import AlignmentModel
from latentnlp.tasks.rationale import RationaleConfig
from latentnlp.tasks.rationale_commands import load_model, with_dev
from latentnlp.tasks.rationale_model import Labels, RationaleModel
from latentnlp.tasks.topics import TopicsConfig
from latentnlp.tasks.topics_evaluation import bounds
from latentnlp.tasks.topics_model import TopicsModel
from latentnlp.tasks.translation import Translation, TranslationConfig
from latentnlp.tasks.translation_model import TranslationSystem

Sentences = Sequence[str] | Sequence[Sequence[str]]
Texts = Sequence[str] | Sequence[Sequence[str]] | Sequence[Document]
Targets = Sequence[str] | Sequence[int] | Sequence[float]
Counted = Sequence[str] | Sequence[Sequence[str]] | np.ndarray | Any
"""Texts, lists of tokens, or counts [D, V]: an array, or anything sparse that has ``tocsr``."""


class _Parameters:
    """The arguments of a constructor as `clone` and the searches of scikit-learn ask for them."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by their names. ``deep`` is not looked at: none of them is an estimator."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Self:
        """Other arguments, for the next `fit`. Raises UserError: there is none of that name."""
        known = self.get_params()
        for name in settings:
            if name not in known:
                raise UserError(
                    f"{type(self).__name__} has no parameter {name!r}; there are: "
                    f"{', '.join(known)}"
                )
        vars(self).update(settings)
        return self


class Aligner(_Parameters):
    """Unsupervised word alignment in both directions.

    A sentence is a string of words separated by spaces, or a sequence of words.

    Args:
        config: all settings of the training; None for the defaults.
        seed: instead of the configuration's.
        device: "auto", "cpu" or "cuda".
        progress: show progress on stderr.

    Attributes:
        model_: the trained `AlignmentModel`.
        links_: of each sentence pair given to `fit`, the links (source position, target position).
    """

    def __init__(
        self,
        config: AlignmentConfig | None = None,
        *,
        seed: int | None = None,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        self.config, self.seed = config, seed
        self.device, self.progress = device, progress
        self.model_: AlignmentModel | None = None
        self.links_: list[Links] = []

    def fit(
        self,
        source: Sentences,
        target: Sentences,
        run: str | Path | None = None,
        *,
        prior: str | Path | None = None,
    ) -> Aligner:
        """Learn from a parallel text and align it. ``run`` is a run directory to keep (and to go
        on from, if it was interrupted). ``prior`` is a saved model, which learns on, or a
        dictionary (see `tasks.alignment_prior`). Raises UserError: unequal or unusable text, no
        usable prior."""
        text, config = _text(source, target), self._settings()
        device = pick_device(self.device)
        if prior is not None:
            config = replace(config, data=replace(config.data, prior=str(prior)))
        with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
            directory = RunDirectory.create(
                Path(run or folder), config, seed=config.seed, temporary=run is None
            )
            with torch.random.fork_rng():  # your own random numbers go on as if nothing happened
                torch.manual_seed(config.seed)
                self.model_ = train(config, text, directory, device, progress=self.progress)
        self.links_ = self.align(source, target)
        return self

    def align(self, source: Sentences, target: Sentences) -> list[Links]:
        """The links of each sentence pair, in order; empty where a side is empty or too long."""
        return [alignment.links for alignment in self.alignments(source, target)]

    def alignments(
        self, source: Sentences, target: Sentences, details: bool = False
    ) -> list[Alignment]:
        """Links with their scores, and the confidence in each pair; with ``details`` also each
        direction's links and all posteriors, not calibrated."""
        text, device = _text(source, target), pick_device(self.device)
        return list(align(self._fitted(), text, device, details=details, progress=self.progress))

    def score(
        self, source: Sentences, target: Sentences, gold: Sequence[Gold | set[Link] | Links]
    ) -> AlignmentScore:
        """AER, precision and recall of `align` against manual links."""
        manual = [
            one if isinstance(one, Gold) else Gold(frozenset(one), frozenset(one)) for one in gold
        ]
        return score(self.align(source, target), manual)

    def save(self, folder: str | Path) -> None:
        """Write the trained model; an existing one is replaced in one step."""
        self._fitted().save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", progress: bool = False) -> Aligner:
        """A model saved by `save` or by ``latentnlp align --model DIR`` (there, ``DIR/model``).

        Raises UserError: not a model, damaged, or from a newer version.
        """
        folder = Path(folder)
        if (folder / "model").is_dir():
            folder = folder / "model"
        model = AlignmentModel.load(folder, pick_device(device))
        aligner = cls(
            AlignmentConfig(text=model.text, model=model.config, decoding=model.decoding),
            device=device,
            progress=progress,
        )
        aligner.model_ = model
        return aligner

    def _settings(self) -> AlignmentConfig:
        config = self.config or AlignmentConfig()
        return config if self.seed is None else replace(config, seed=self.seed)

    def _fitted(self) -> AlignmentModel:
        if self.model_ is None:
            raise UserError("this Aligner is not trained yet: call fit() or load() first")
        return self.model_


def _text(source: Sentences, target: Sentences) -> ListText:
    if isinstance(source, str) or isinstance(target, str):
        raise UserError("a list of sentences is needed, not one string: put it in brackets")
    check_equal_counts("source", len(source), "target", len(target))
    return ListText([_words(one) for one in source], [_words(one) for one in target])


def _words(sentence: str | Sequence[str]) -> list[str]:
    return split_words(sentence) if isinstance(sentence, str) else list(sentence)


class RationaleExtractor(_Parameters):
    """Selects the words of a text that decide its label, and predicts from these alone.

    A text is a string, which is tokenised, a sequence of tokens, or a `Document` (which may say
    where its sentences begin and what aspect the label is about). Human rationales are not used.

    Args:
        rate: the share of the words to be selected.
        unit: what is selected or not: "word", "block" (of ten words) or "sentence".
        selection: "independent" words, "first_order" (each given the one before), or "kumaraswamy"
            (HardKuma, trained pathwise instead of with the score function).
        encoder: the name of a file in latentnlp/encoders/, for the selector and the predictor.
        seed: of the training.
        device: "auto", "cpu" or "cuda".
        config: all other settings of the training; None for the defaults. Those of the arguments
            above that are not None replace what it says.
        progress: show progress on stderr.

    Attributes:
        model_: the trained `RationaleModel`.
        classes_: the names of the classes; empty where amounts are predicted.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        unit: str | None = None,
        selection: str | None = None,
        encoder: str | None = None,
        seed: int | None = None,
        device: str = "auto",
        config: RationaleConfig | None = None,
        progress: bool = False,
    ) -> None:
        self.rate, self.unit, self.selection, self.encoder = rate, unit, selection, encoder
        self.seed, self.device, self.config, self.progress = seed, device, config, progress
        self.model_: RationaleModel | None = None
        self.classes_: tuple[str, ...] = ()

    def fit(
        self,
        texts: Texts,
        labels: Targets,
        *,
        dev: tuple[Texts, Targets] | None = None,
        run: str | Path | None = None,
    ) -> RationaleExtractor:
        """Learn from labelled texts: names, and few whole numbers, are classes, others amounts.

        ``dev``: texts and labels that choose among epochs; None: a tenth of the texts. ``run`` is a
        run directory to keep (and to go on from, if it was interrupted). Raises UserError: texts or
        labels that cannot be used (with their place), settings that cannot be.
        """
        config, device = self._settings(), pick_device(self.device)
        documents = _documents(texts, labels)
        known = Labels.of([one.label for one in documents if one.label is not None])
        held = [] if dev is None else _documents(*dev, known)
        with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
            directory = RunDirectory.create(
                Path(run or folder), config, seed=config.seed, temporary=run is None
            )
            documents, held = with_dev(documents, held, config.seed, directory, self.progress)
            with torch.random.fork_rng():  # your own random numbers go on as if nothing happened
                torch.manual_seed(config.seed)
                self.model_ = rationale.train(
                    config, documents, directory, device, held, progress=self.progress
                )
        self.classes_ = self.model_.labels.classes
        return self

    def extract(self, texts: Texts) -> list[Rationale]:
        """What is selected in each text, the score of every word, and what is predicted."""
        return list(rationale.extract(self._fitted(), _documents(texts)))

    def predict(self, texts: Texts) -> list[str] | list[float]:
        """The label of each text, from its rationale alone: the name of a class, or an amount."""
        return [one.prediction for one in self.extract(texts)]  # type: ignore[return-value]

    def score(self, texts: Texts, labels: Targets) -> ClassificationScore | RegressionScore:
        """Accuracy and macro F1, or squared error and correlations, of `predict`."""
        documents = _documents(texts, labels, self._fitted().labels)
        gold, said = [one.label for one in documents], self.predict(documents)
        if self.classes_:
            return classification(said, gold)
        return regression([float(one) for one in said], [float(one or 0) for one in gold])

    def save(self, folder: str | Path) -> None:
        """Write the trained model; an existing one is replaced in one step."""
        self._fitted().save(Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "auto", progress: bool = False
    ) -> RationaleExtractor:
        """A model saved by `save` or by ``latentnlp rationale train --out DIR``.

        Raises UserError: not a model, damaged, or from a newer version.
        """
        model = load_model(Path(folder), device)
        extractor = cls(
            rate=model.rate,
            unit=model.text.unit,
            selection=model.config.selection,
            device=device,
            progress=progress,
        )
        extractor.model_, extractor.classes_ = model, model.labels.classes
        return extractor

    def _settings(self) -> RationaleConfig:
        """The configuration with the arguments of the constructor in it."""
        values = configuration.to_dict(self.config or RationaleConfig())
        learner, estimator = values["rationale"]["learner"], RationaleConfig().rationale.learner
        given: tuple[tuple[dict[str, Any], str, Any], ...] = (
            (values, "seed", self.seed),
            (learner, "rate", self.rate),
            (values["text"], "unit", self.unit),
            (values["model"], "selection", self.selection),
            (values["model"], "selector", self.encoder),
            (values["model"], "predictor", self.encoder),
        )
        for table, key, value in given:
            if value is not None:
                table[key] = value
        pathwise = values["model"]["selection"] == "kumaraswamy"
        if pathwise != (learner["estimator"]["name"] == "reparameterised"):
            learner["estimator"] = (
                {"name": "reparameterised", "samples": 1, "baselines": []}
                if pathwise
                else configuration.to_dict(estimator.estimator)
            )
        return configuration.from_dict(RationaleConfig, values, "RationaleExtractor")

    def _fitted(self) -> RationaleModel:
        if self.model_ is None:
            raise UserError("this RationaleExtractor is not trained yet: call fit() or load()")
        return self.model_


def _documents(
    texts: Texts, labels: Targets | None = None, known: Labels | None = None
) -> list[Document]:
    """The texts as documents; ``known``: the labels of the training."""
    if isinstance(texts, str):
        raise UserError("a list of texts is needed, not one string: put it in brackets")
    rows = [(f"texts[{n}]", _row(text)) for n, text in enumerate(texts)]
    if labels is not None:
        if len(labels) != len(rows):
            raise UserError(f"{len(rows)} texts but {len(labels)} labels: give one a text")
        for (_, row), label in zip(rows, labels, strict=True):
            row["label"] = getattr(label, "item", lambda label=label: label)()  # of numpy's scalars
    return documents_from_rows(
        rows,
        require_label=labels is not None,
        task="auto" if known is None else "classification" if known.classes else "regression",
        classes=None if known is None else known.classes or None,
    )


def _row(text: str | Sequence[str] | Document) -> dict[str, Any]:
    if isinstance(text, Document):
        return {**document_record(text), "label": None}
    return {"text": text} if isinstance(text, str) else {"tokens": list(text)}


class DocumentBeliefNetwork(_Parameters):
    """Codes of documents in layers of bits above their words, and what the bits are about.

    A text is a string, which is split as `TextConfig` says, or a sequence of tokens. Instead of
    texts each method takes counts, an array [D, V] or a sparse matrix; then ``vocabulary`` names
    the columns.

    Args:
        layers: units of each layer, the one next to the words first.
        rule: "wake_sleep", "reweighted_wake_sleep" or "variational".
        vocabulary: the words; None: chosen from the texts as ``config.text`` says.
        min_documents, max_share, max_size, stop_words: of the vocabulary, instead of what
            ``config.text`` says; see `TextConfig`.
        seed: of the training.
        device: "auto", "cpu" or "cuda".
        config: all other settings of the training; None for the defaults. Those of the arguments
            above that are not None replace what it says.
        progress: show progress on stderr.

    Attributes:
        model_: the trained `TopicsModel`.
        vocabulary_: the words, [V].
    """

    def __init__(
        self,
        *,
        layers: Sequence[int] | int | None = None,
        rule: str | None = None,
        vocabulary: Sequence[str] | None = None,
        min_documents: int | None = None,
        max_share: float | None = None,
        max_size: int | None = None,
        stop_words: str | None = None,
        seed: int | None = None,
        device: str = "auto",
        config: TopicsConfig | None = None,
        progress: bool = False,
    ) -> None:
        self.layers, self.rule, self.vocabulary = layers, rule, vocabulary
        self.min_documents, self.max_share = min_documents, max_share
        self.max_size, self.stop_words = max_size, stop_words
        self.seed, self.device, self.config, self.progress = seed, device, config, progress
        self.model_: TopicsModel | None = None
        self.vocabulary_: tuple[str, ...] = ()

    def fit(
        self,
        texts: Counted,
        labels: object = None,
        *,
        dev: Counted | None = None,
        run: str | Path | None = None,
    ) -> DocumentBeliefNetwork:
        """Learn from documents. ``labels`` are not looked at: pipelines of scikit-learn pass them.

        ``dev``: documents that choose among epochs; None: a tenth of the texts. ``run`` is a run
        directory to keep (and to go on from, if it was interrupted). Raises UserError: texts or
        counts that cannot be used (with their place), settings that cannot be.
        """
        config, device = self._settings(), pick_device(self.device)
        topics_commands.check_seed("seed", config.seed)
        bags, vocabulary = self._first(texts, config)
        held = None if dev is None else _bags(dev, config.text, vocabulary, "dev")
        if held is not None and not held.lengths().any():
            raise UserError("dev: no document has a word of the vocabulary")
        with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
            directory = RunDirectory.create(
                Path(run or folder), config, seed=config.seed, temporary=run is None
            )
            if held is None:
                rest, tenth = topics_commands.hold_out(bags, config.seed)
                said = topics_commands.no_dev(len(rest), len(tenth), config.seed)
                directory.log(said, echo=self.progress)
                held = bags.select(tenth) if len(tenth) else None
                bags = bags.select(rest)
            with torch.random.fork_rng():  # your own random numbers go on as if nothing happened
                torch.manual_seed(config.seed)
                self.model_ = topics.train(
                    config, bags, vocabulary, directory, device, held, self.progress
                )
        self.vocabulary_ = self.model_.words
        return self

    def transform(self, texts: Counted) -> np.ndarray:
        """The code of each text, [D, K] float32: q(z_1k = 1 | x) less its mean in training."""
        model = self._fitted()
        return model.transform(self._bags(texts)).float().numpy()

    def fit_transform(self, texts: Counted, labels: object = None) -> np.ndarray:
        """`fit`, then `transform` of the same texts."""
        return self.fit(texts, labels).transform(texts)

    def inverse_transform(self, codes: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """p(word | code) of codes as `transform` gives them, [D, K] → [D, V]."""
        model = self._fitted()
        try:
            table = torch.as_tensor(np.asarray(codes, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise UserError(f"codes are numbers [documents, K]: {error}") from None
        if table.ndim != 2 or table.shape[1] != len(model.centre) or not table.isfinite().all():
            raise UserError(
                f"codes are finite numbers [documents, {len(model.centre)}], found an array "
                f"{list(table.shape)}"
            )
        return model.inverse_transform(table).numpy()

    def score(self, texts: Counted, *, samples: int = 100, seed: int = 1) -> PerplexityScore:
        """Perplexity of the importance-weighted bound (smaller is better); see `PerplexityScore`.

        The mean of log p(x) per word that it comes from is −log(score.per_corpus). Raises
        UserError: no document with a word of the vocabulary.
        """
        if samples < 1:
            raise UserError(f"samples = {samples} is below 1")
        topics_commands.check_seed("seed", seed)
        bags = self._bags(texts)
        if not len(bags):
            raise UserError("texts: holds no document")
        _, bound = bounds(self._fitted().network, bags, samples, seed)
        return perplexity(bound, bags.lengths(), "iw", samples)

    def sample(self, n: int = 1, seed: int = 1) -> list[list[str]]:
        """Documents drawn from the model, as lists of tokens without an order of their own."""
        found = topics_commands.dream(self._fitted(), n, seed)
        return [[word for word, times in one.words for _ in range(times)] for one in found]

    def topic_words(self, layer: int = 1, count: int = 10) -> list[list[str]]:
        """The words that speak most for each unit; of layer 1, unit k is column k of the codes.

        Of a unit that is on in most documents they are those of its being off: where
        ``model_.topics[layer - 1].on`` is False.
        """
        model = self._fitted()
        found = topics_commands.layer_of(model, layer)
        return [
            [word for word, _ in topics_commands.topic_words(model, found, unit, count)]
            for unit in range(len(found.relevance))
        ]

    def save(self, folder: str | Path) -> None:
        """Write the trained model; an existing one is replaced in one step."""
        self._fitted().save(Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "auto", progress: bool = False
    ) -> DocumentBeliefNetwork:
        """A model saved by `save` or by ``latentnlp topics train --out DIR``.

        Raises UserError: not a belief network, damaged, or from a newer version.
        """
        model = topics_commands.load_model(Path(folder), device)
        if model.config.kind != "belief_network":
            raise UserError(f"{folder}: holds a model of kind {model.config.kind!r}")
        config = TopicsConfig(text=model.text, model=model.config)
        network = cls(
            layers=model.config.belief_network.layers,
            vocabulary=model.words,
            device=device,
            config=config,
            progress=progress,
        )
        network.model_, network.vocabulary_ = model, model.words
        return network

    def _settings(self) -> TopicsConfig:
        """The configuration with the arguments of the constructor in it."""
        values = configuration.to_dict(self.config or TopicsConfig())
        # numpy's numbers too, as a search over settings gives them
        layers = None if self.layers is None else np.atleast_1d(np.array(self.layers)).tolist()
        given: tuple[tuple[dict[str, Any], str, Any], ...] = (
            (values, "seed", self.seed),
            (values["learning"], "rule", self.rule),
            (values["model"], "kind", "belief_network"),
            (values["model"]["belief_network"], "layers", layers),
            *(
                (values["text"], name, getattr(self, name))
                for name in ("min_documents", "max_share", "max_size", "stop_words")
            ),
        )
        for table, key, value in given:
            if value is not None:
                table[key] = value
        return configuration.from_dict(TopicsConfig, values, "DocumentBeliefNetwork")

    def _first(self, texts: Counted, config: TopicsConfig) -> tuple[Bags, Vocabulary]:
        """What is learnt from, and the words."""
        words = None if self.vocabulary is None else _distinct(self.vocabulary)
        if not _is_table(texts):
            rows = _bag_rows(texts, "texts")
            found = bags_from_rows(rows, config.text, words, name="texts")
            return found.bags, found.vocabulary
        if words is None:
            raise UserError("counts have no words: name them, DocumentBeliefNetwork(vocabulary=…)")
        bags = _counts(texts, len(words), "texts")
        counts = bags.frequencies().astype(np.int64).tolist()
        return bags, Vocabulary(zip(words, counts, strict=True))

    def _bags(self, texts: Counted) -> Bags:
        model = self._fitted()
        return _bags(texts, model.text, model.vocabulary, "texts")

    def _fitted(self) -> TopicsModel:
        if self.model_ is None:
            raise UserError("this DocumentBeliefNetwork is not trained yet: call fit() or load()")
        return self.model_


def _bags(texts: Counted, text: TextConfig, vocabulary: Vocabulary, name: str) -> Bags:
    """Documents in the words of a model."""
    size = len(vocabulary) - len(SPECIALS)
    if _is_table(texts):
        return _counts(texts, size, name)
    rows = _bag_rows(texts, name)
    if not rows:
        return _counts(np.zeros((0, size)), size, name)
    return bags_from_rows(rows, text, vocabulary, name=name).bags


def _bag_rows(texts: Any, name: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(texts, str):
        raise UserError("a list of texts is needed, not one string: put it in brackets")
    table = isinstance(texts, Mapping) or hasattr(texts, "columns")  # its items are names
    if table or not isinstance(texts, Iterable):
        raise UserError(
            f"{name}: found a {type(texts).__name__}; expected a list of texts or of lists of "
            "tokens, or counts; of a table pass one column"
        )
    rows = []
    for number, text in enumerate(texts):
        given = isinstance(text, str | bytes) or not hasattr(text, "__iter__")
        row = {"text": text} if given else {"tokens": list(text)}
        rows.append((f"{name}[{number}]", row))
    return rows


def _is_table(texts: Any) -> bool:
    dense = isinstance(texts, np.ndarray) and texts.ndim == 2 and texts.dtype.kind not in "OSU"
    return dense or hasattr(texts, "tocsr")


def _counts(table: Any, size: int, name: str) -> Bags:
    """The rows of a matrix of counts. Raises UserError: other columns, or what is no count."""
    if table.shape[1] != size:
        raise UserError(f"{name}: {table.shape[1]} columns, but the vocabulary has {size} words")
    if hasattr(table, "tocsr"):
        sparse = table.tocsr(copy=True)
        sparse.sum_duplicates()
        rows = np.repeat(np.arange(table.shape[0]), np.diff(sparse.indptr))
        words, counts = sparse.indices, sparse.data
    else:
        rows, words = np.nonzero(table)
        counts = table[rows, words]
    if counts.dtype.kind not in "biuf":
        raise UserError(f"{name}: counts are whole numbers, found {counts.dtype}")
    good = (counts >= 0) & (counts <= MAX_COUNT) & (counts == np.floor(counts))
    if not good.all():
        place = int(np.argmin(good))
        raise UserError(
            f"{name}[{rows[place]}], column {words[place]}: {counts[place]} is not a count: a "
            f"whole number from 0 to {MAX_COUNT}; weights such as tf-idf are not counts"
        )
    there = counts > 0
    ends = np.bincount(rows[there], minlength=table.shape[0]).cumsum()
    return Bags(
        np.concatenate([[0], ends]).astype(np.int64),
        words[there].astype(np.int32),
        counts[there].astype(np.int32),
        size,
    )


def _distinct(vocabulary: Sequence[str]) -> list[str]:
    """Raises UserError: not a list of words, each once."""
    words = [vocabulary] if isinstance(vocabulary, str) else list(vocabulary)
    good = all(isinstance(word, str) and word and word not in SPECIALS for word in words)
    if isinstance(vocabulary, str) or not words or not good or len(set(words)) < len(words):
        raise UserError("vocabulary: a list of words is needed, each of them once")
    return [str(word) for word in words]  # of numpy's strings


class Translator(_Parameters):
    """Translation by a latent alignment, which also says where each word comes from.

    A sentence is a string of words separated by spaces, or a sequence of words.

    Args:
        kind: "neural_hmm" (default), "latent_alignment" or "attention".
        seed: of the training.
        device: "auto", "cpu" or "cuda".
        config: all other settings of the training; None for the defaults. Those of the arguments
            above that are not None replace what it says.
        progress: show progress on stderr.

    Attributes:
        model_: the trained `TranslationSystem`.
    """

    def __init__(
        self,
        *,
        kind: str | None = None,
        seed: int | None = None,
        device: str = "auto",
        config: TranslationConfig | None = None,
        progress: bool = False,
    ) -> None:
        self.kind, self.seed = kind, seed
        self.device, self.config, self.progress = device, config, progress
        self.model_: TranslationSystem | None = None

    def fit(
        self,
        source: Sentences,
        target: Sentences,
        *,
        dev: tuple[Sentences, Sentences] | None = None,
        run: str | Path | None = None,
    ) -> Translator:
        """Learn from a parallel text. ``dev``: pairs that choose among epochs; None: the last tenth
        of the text, at most 1000 pairs. ``run`` is a run directory to keep (and to go on from, if
        it was interrupted). Raises UserError: unequal or unusable text."""
        text, config = _text(source, target), self._settings()
        device = pick_device(self.device)
        training, held = text, None if dev is None else _text(*dev)
        if held is None:
            training, held = translation_commands.hold_out(text)
        with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
            directory = RunDirectory.create(
                Path(run or folder), config, seed=config.seed, temporary=run is None
            )
            with torch.random.fork_rng():  # your own random numbers go on as if nothing happened
                torch.manual_seed(config.seed)
                self.model_ = translation.train(
                    config, training, held, directory, device, self.progress
                )
        return self

    def translate(self, sentences: Sentences, *, beam: int | None = None) -> list[str]:
        """The best translation of each sentence, its words separated by spaces; in order."""
        return [" ".join(one[0].words) for one in self._translations(sentences, 1, beam, False)]

    def translations(
        self, sentences: Sentences, best: int = 1, *, beam: int | None = None
    ) -> list[list[Translation]]:
        """The ``best`` translations of each sentence with their scores and alignments. Raises
        UserError: more of them than the beam holds."""
        return self._translations(sentences, best, beam, True)

    def align(
        self,
        source: Sentences,
        target: Sentences,
        reverse: Translator | None = None,
        *,
        threshold: float | None = None,
    ) -> list[Alignment]:
        """Where the words of given translations come from. ``reverse`` is a translator of the other
        direction: then the links on which both agree (see `tasks.translation.align`)."""
        text, device = _text(source, target), pick_device(self.device)
        other = None if reverse is None else reverse._fitted()
        found = translation.align(
            self._fitted(), text, device, other, threshold, progress=self.progress
        )
        return list(found)

    def score(
        self, source: Sentences, target: Sentences, settings: Settings | None = None
    ) -> TranslationScores:
        """BLEU, chrF and TER of `translate` against ``target``; by default of words as they are."""
        references = [" ".join(words) for _, words in _text(source, target)]
        how = settings or Settings(tokenize="none", lowercase=self._fitted().text.lowercase)
        return score_translations(self.translate(source), [references], how)

    def save(self, folder: str | Path) -> None:
        """Write the trained model; an existing one is replaced in one step."""
        self._fitted().save(Path(folder))

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "auto", progress: bool = False
    ) -> Translator:
        """A model saved by `save` or by ``latentnlp translate train --out DIR``.

        Raises UserError: not a model, damaged, or from another version.
        """
        model = translation_commands.load_model(Path(folder), device)
        config = TranslationConfig(text=model.text, model=model.config, search=model.search)
        translator = cls(device=device, config=config, progress=progress)
        translator.model_ = model
        return translator

    def _translations(
        self, sentences: Sentences, best: int, beam: int | None, links: bool
    ) -> list[list[Translation]]:
        if isinstance(sentences, str):
            raise UserError("a list of sentences is needed, not one string: put it in brackets")
        model = self._fitted()
        found = translation.translate(
            model,
            [_words(one) for one in sentences],
            pick_device(self.device),
            translation_commands.searching(model.search, beam=beam, best=best),
            best,
            links=links,
            progress=self.progress,
        )
        return list(found)

    def _settings(self) -> TranslationConfig:
        config = self.config or TranslationConfig()
        values = configuration.to_dict(config)
        if self.seed is not None:
            values["seed"] = self.seed
        if self.kind is not None:
            values["model"]["kind"] = self.kind
        return configuration.from_dict(TranslationConfig, values, "Translator")

    def _fitted(self) -> TranslationSystem:
        if self.model_ is None:
            raise UserError("this Translator is not trained yet: call fit() or load() first")
        return self.model_
