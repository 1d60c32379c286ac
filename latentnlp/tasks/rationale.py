"""Rationale extraction: from labelled documents to a trained extractor, and from it to rationales.

    documents → vocabulary, labels → encoded texts → batches
         → stage "predictor"  a predictor that can read thinned texts
         → stage "rationale"  selector and predictor together, at the rate asked for
           or models/evidence.py, if model.selection is "evidence": scores of words
         → RationaleModel     → `extract`: one Rationale a document, in order

Each stage is one call of `loop.fit` with one learner; dev, if there is one, says which epoch stays.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.data.documents import Document, Rationale
from latentnlp.data.texts import EncodedText, EncodedTexts, TextBatch, Texts, encode, unit_spans
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError
from latentnlp.learners import rationale as joint
from latentnlp.learners import thinned_predictor
from latentnlp.loop import fit
from latentnlp.models import evidence
from latentnlp.models import rationale as models
from latentnlp.models.evidence import Evidence
from latentnlp.run import RunDirectory
from latentnlp.tasks.rationale_model import (
    DecodingConfig,
    Labels,
    RationaleModel,
    TextConfig,
    indexer,
    start_vectors,
)

_WINDOW = 1024  # documents that are read, and held, at a time


@dataclass(frozen=True)
class DataConfig:
    """Where the documents come from: a folder of data_prep/, or files of the user's own."""

    corpus: str = ""  # a folder with train.jsonl and perhaps dev.jsonl, test.jsonl
    train: str = ""  # instead of ``corpus``: a file of documents
    dev: str = ""
    extra: str = ""  # more labelled texts (phrases, say), for the predictor alone
    extra_per_epoch: int = 40_000

    def __post_init__(self) -> None:
        at_least(self, extra_per_epoch=0)


@dataclass(frozen=True)
class PredictorStage:
    epochs: int | None = None  # None: as many as make `steps` steps, and 3 at least
    steps: int = 1000
    documents: int = 32  # of a batch
    learner: thinned_predictor.Config = field(default_factory=thinned_predictor.Config)

    def __post_init__(self) -> None:
        at_least(self, epochs=0, steps=1, documents=1)


@dataclass(frozen=True)
class RationaleStage:
    epochs: int | None = None  # None: as many as make `steps` steps, and 3 at least
    steps: int = 1000
    documents: int = 32  # of a batch
    patience: int | None = None  # epochs without a better dev score; None: run them all
    learner: joint.Config = field(default_factory=joint.Config)

    def __post_init__(self) -> None:
        at_least(self, epochs=0, steps=1, documents=1, patience=1)


@dataclass(frozen=True)
class RationaleConfig:
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: models.Config = field(default_factory=models.Config)
    predictor: PredictorStage = field(default_factory=PredictorStage)
    rationale: RationaleStage = field(default_factory=RationaleStage)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        at_least(self, seed=0)
        pathwise = self.rationale.learner.estimator.name == "reparameterised"
        if pathwise != (self.model.selection == "kumaraswamy"):
            raise ValueError(
                'model.selection = "kumaraswamy" and rationale.learner.estimator.name = '
                '"reparameterised" go together, and with nothing else'
            )


def train(
    config: RationaleConfig,
    documents: Sequence[Document],
    run: RunDirectory,
    device: torch.device,
    dev: Sequence[Document] = (),
    extra: Sequence[Document] = (),
    progress: bool = True,
    start: Mapping[str, Tensor] | None = None,
) -> RationaleModel:
    """Learn an extractor. Call `seed_everything(config.seed)` first.

    ``start``: the network's state to begin from, of a model that learnt from the same documents.

    Raises: UserError for documents without a label, or with labels that leave nothing to learn.
    """
    documents = cut(documents, config.text, run)
    dev = cut(dev, config.text, run)
    vocabulary = build_vocabulary([*documents, *extra], config.text)
    labels = Labels.of([_label(one) for one in documents], [_label(one) for one in extra])
    if config.model.selection == "evidence" and not labels.classes:
        raise UserError('model.selection = "evidence" tells classes apart; the labels are amounts')
    run.check_data(fingerprint([documents, dev, extra]))
    table = start_vectors(config.model, vocabulary)
    rate = config.rationale.learner.rate
    network = models.build_network(config.model, table, labels.log_prior(), rate).to(device)
    if start is not None:
        network.load_state_dict(start)
    model = RationaleModel(
        config.text, config.model, config.decoding, vocabulary, labels, network, rate
    )
    training = _Training(config, model, run, device, progress)
    training.predictor(documents, dev, extra)
    if config.model.selection == "evidence":
        return training.evidence(documents, dev)
    return training.rationale(documents, dev)


@dataclass(frozen=True)
class _Training:
    config: RationaleConfig
    model: RationaleModel
    run: RunDirectory
    device: torch.device
    progress: bool

    def texts(
        self,
        documents: Sequence[Document],
        size: int,
        extra: Sequence[Document] = (),
        extra_per_epoch: int = 0,
    ) -> Texts:
        every = [*documents, *extra]
        return Texts(
            encode_all(self.model, every),
            [self.model.labels.encode(document) for document in every],
            size,
            classes=bool(self.model.labels.classes),
            extra=len(extra),
            extra_per_epoch=extra_per_epoch,
            seed=self.config.seed,
            shuffle=True,
            rank=distributed.rank(),
            world=distributed.world_size(),
        )

    def predictor(
        self, documents: Sequence[Document], dev: Sequence[Document], extra: Sequence[Document]
    ) -> None:
        """The warm start; the network then holds its averaged weights."""
        stage = self.config.predictor
        if stage.epochs == 0:
            return
        per_epoch = self.config.data.extra_per_epoch
        batches = self.texts(documents, stage.documents, extra, per_epoch)
        epochs = epochs_of(stage, batches)
        steps = epochs * len(batches)
        learner = thinned_predictor.ThinnedPredictor(
            stage.learner, self.model.network, steps, self.device
        )
        encoded = encode_all(self.model, dev)

        def validate() -> Mapping[str, float]:
            whole = replace(self.model, network=learner.average.model)
            return {"dev_error": whole_text_error(whole, dev, encoded)}

        fit(
            learner,
            batches,
            run=self.run,
            stage="predictor",
            epochs=epochs,
            validate=validate if dev else None,
            checkpoint_seconds=self.config.checkpoint_seconds,
            progress=self.progress,
        )
        self.model.network.load_state_dict(learner.average.model.state_dict())
        # The selector starts from the reading that the predictor has learnt.
        network = self.model.network
        same = self.model.config.selector == self.model.config.predictor
        for name in ("embedding", "encoder") if same else ("embedding",):
            learnt = getattr(network.predictor, name).state_dict()
            getattr(network.selector, name).load_state_dict(learnt)

    def rationale(self, documents: Sequence[Document], dev: Sequence[Document]) -> RationaleModel:
        stage = self.config.rationale
        batches = self.texts(documents, stage.documents)
        epochs = epochs_of(stage, batches)
        steps = epochs * len(batches)
        learner = joint.Rationale(stage.learner, self.model.network, steps, self.device)
        judged = dev or documents
        encoded = encode_all(self.model, judged)

        def current() -> tuple[RationaleModel, list[Rationale]]:
            model = replace(self.model, network=learner.average.model)
            return _decided(model, judged, encoded)

        def validate() -> Mapping[str, float]:
            model, found = current()
            return {"dev_error": error(model, found, dev), "dev_selected": share_selected(found)}

        if epochs > 0:
            fit(
                learner,
                batches,
                run=self.run,
                stage="rationale",
                epochs=epochs,
                validate=validate if dev else None,
                select_on="dev_error" if dev else None,
                patience=stage.patience if dev else None,
                checkpoint_seconds=self.config.checkpoint_seconds,
                progress=self.progress,
            )
        model, found = current()
        self._say_how_it_ended(found)
        self.model.network.load_state_dict(model.network.state_dict())
        return replace(model, network=self.model.network.eval())

    def evidence(self, documents: Sequence[Document], dev: Sequence[Document]) -> RationaleModel:
        """Instead of the stage "rationale": scores of words, and θ for the rate asked for."""
        labels = self.model.labels
        learnt = evidence.fit(
            documents,
            [int(labels.encode(document)) for document in documents],
            len(labels.classes),
            self.config.model.evidence,
            self.config.seed,
            lambda message: self.run.log(f"evidence: {message}", echo=self.progress),
        )
        judged = dev or documents
        encoded = encode_all(self.model, judged)
        model = replace(self.model, network=self.model.network.eval(), evidence=learnt)
        share = torch.tensor(threshold_of(model, read(model, judged, encoded)), dtype=torch.float64)
        model = replace(model, evidence=replace(learnt, offset=float(share.logit(eps=1e-12))))
        model, found = _decided(model, judged, encoded)
        self._say_how_it_ended(found)
        return model

    def _say_how_it_ended(self, found: Sequence[Rationale]) -> None:
        """A selector that takes all or nothing has learnt nothing: the user must be told."""
        share = share_selected(found)
        self.run.log(f"selected {100 * share:.1f} % of the words", echo=self.progress)
        scores = [score for one in found for score in one.scores]
        if min(share, 1 - share) < 0.01 or max(scores) - min(scores) < 1e-3:
            self.run.log(
                "warning: the selector has collapsed (it takes everything, nothing, or tells no "
                "two words apart): try another seed, rationale.epochs or a longer warm start",
                echo=True,
            )


def epochs_of(stage: PredictorStage | RationaleStage, batches: Sized) -> int:
    """The epochs of a stage; a small corpus needs more of them."""
    if stage.epochs is not None:
        return stage.epochs
    return max(3, round(stage.steps / max(len(batches), 1)))


# ------------------------------------------------------------------------------------------ reading


def cut(documents: Sequence[Document], text: TextConfig, run: RunDirectory) -> list[Document]:
    """Documents of at most ``max_length`` words; what is cut is said."""
    if text.max_length is None:
        return list(documents)
    short = [shorten(document, text.max_length) for document in documents]
    lost = sum(len(a.tokens) != len(b.tokens) for a, b in zip(documents, short, strict=True))
    if lost:
        run.log(f"{lost} of {len(short)} documents were cut to {text.max_length} words")
    return short


def shorten(document: Document, most: int) -> Document:
    """The first ``most`` words, with the spans that begin there."""
    if len(document.tokens) <= most:
        return document
    spans, starts, aspect = document.rationale, document.sentence_starts, document.aspect
    if spans is not None:
        spans = tuple((start, min(end, most)) for start, end in spans if start < most)
    if starts is not None:
        starts = tuple(start for start in starts if start < most)
    if aspect is not None:
        aspect = (aspect[0], min(aspect[1], most)) if aspect[0] < most else None
    return replace(
        document,
        tokens=document.tokens[:most],
        rationale=spans,
        sentence_starts=starts,
        aspect=aspect,
    )


def build_vocabulary(documents: Iterable[Document], text: TextConfig) -> Vocabulary:
    counter: Counter[str] = Counter()
    for document in documents:
        counter.update(token.lower() if text.lowercase else token for token in document.tokens)
    return Vocabulary.build(counter, text.min_count, text.max_size)


def encode_all(model: RationaleModel, documents: Iterable[Document]) -> EncodedTexts:
    words = indexer(model.config, model.text, model.vocabulary)
    text = model.text
    return EncodedTexts(
        [encode(document, words, text.unit, text.block) for document in documents], words
    )


def fingerprint(parts: Iterable[Iterable[Document]]) -> str:
    """SHA-256 of everything that is learnt from or selected on."""
    digest = hashlib.sha256()
    for part in parts:
        for document in part:
            told = (document.tokens, document.label, document.aspect, document.sentence_starts)
            digest.update(repr(told).encode())
        digest.update(b"\x00")
    return digest.hexdigest()


def _label(document: Document) -> str | float:
    if document.label is None:
        raise UserError(f"document {document.id!r} has no label to learn from")
    return document.label


# --------------------------------------------------------------------------------------- extracting


def extract(model: RationaleModel, documents: Iterable[Document]) -> Iterator[Rationale]:
    """One rationale a document, in order. A document longer than ``max_length`` is cut."""
    window: list[Document] = []
    for document in documents:
        window.append(document)
        if len(window) == _WINDOW:
            yield from _extract(model, window)
            window = []
    if window:
        yield from _extract(model, window)


def _extract(model: RationaleModel, documents: Sequence[Document]) -> Iterator[Rationale]:
    limit = model.text.max_length
    documents = [shorten(one, limit) if limit else one for one in documents]
    encoded = encode_all(model, documents)
    return _rationales(model, documents, encoded, read(model, documents, encoded))


Read = tuple[TextBatch, Tensor]  # some texts, and the probabilities of their units


def read(
    model: RationaleModel, documents: Sequence[Document], encoded: EncodedTexts
) -> Iterator[Read]:
    """All documents as the selector reads them."""
    for batch in inference_batches(model, encoded):
        yield batch, unit_probabilities(model, batch, documents)


def _decided(
    model: RationaleModel, documents: Sequence[Document], encoded: EncodedTexts
) -> tuple[RationaleModel, list[Rationale]]:
    """The model with the threshold for these documents, and its rationales of them."""
    batches = list(read(model, documents, encoded))
    model = replace(model, threshold=threshold_of(model, batches))
    return model, list(_rationales(model, documents, encoded, batches))


def _rationales(
    model: RationaleModel,
    documents: Sequence[Document],
    encoded: EncodedTexts,
    batches: Iterable[Read],
) -> Iterator[Rationale]:
    """Of the documents, in order."""
    found: list[Rationale | None] = [None] * len(documents)
    for batch, probabilities in batches:
        z = select(model, batch, probabilities)
        outputs = predict(model, batch, z[None])[0]
        for row, place in enumerate(batch.index.tolist()):
            found[place] = _rationale(
                model,
                documents[place],
                encoded.texts[place],
                probabilities[row],
                z[row],
                outputs[row],
            )
    return (one for one in found if one is not None)


def inference_batches(
    model: RationaleModel, encoded: EncodedTexts, size: int = 64, pieces: int = 16_384
) -> Iterator[TextBatch]:
    """Batches of texts of like lengths, on the model's device; ``index`` says whose rows.

    At most ``size`` texts, and ``pieces`` with their padding (one text may have more).
    """
    device = next(model.network.parameters()).device
    texts = encoded.texts
    order = sorted(range(len(texts)), key=lambda place: len(texts[place].words))
    start = 0
    while start < len(order):
        end = start + 1
        while end < min(len(order), start + size):
            if (end + 1 - start) * len(texts[order[end]].words) > pieces:
                break
            end += 1
        here = order[start:end]
        some = EncodedTexts([texts[place] for place in here], encoded.indexer)
        (batch,) = Texts(some, [0.0] * len(here), len(here))
        yield replace(batch.to(device), index=torch.tensor(here))
        start = end


@torch.no_grad()
def unit_probabilities(
    model: RationaleModel, batch: TextBatch, documents: Sequence[Document]
) -> Tensor:
    """q(z_u = 1 | x), [B, U]; 0 at padding. The batch is of some of the documents."""
    if model.evidence is not None:
        return _evident(model, model.evidence, batch, documents)
    model.network.eval()
    return model.network.selector(batch).marginals()


def _evident(
    model: RationaleModel, learnt: Evidence, batch: TextBatch, documents: Sequence[Document]
) -> Tensor:
    """As `unit_probabilities`; a unit's score is its words' mean."""
    rows = torch.zeros(batch.unit_mask.shape, dtype=torch.float64)  # in float32, σ has ties
    for row, place in enumerate(batch.index.tolist()):
        units = unit_spans(documents[place], model.text.unit, model.text.block)
        scores = learnt.scores(documents[place])
        means = np.add.reduceat(scores, [a for a, _ in units]) / [b - a for a, b in units]
        rows[row, : len(units)] = torch.from_numpy(means - learnt.offset).sigmoid()
    return rows.to(batch.types.device)


def select(model: RationaleModel, batch: TextBatch, probabilities: Tensor) -> Tensor:
    """The units that are taken, [B, U] of 0 and 1."""
    if model.decoding.method == "top":
        chosen = top_units(probabilities, batch.unit_sizes, model.rate)
    else:
        least = 0.5 if model.decoding.method == "half" else model.threshold
        chosen = (probabilities > least) | _best_units(probabilities)
    return (chosen & batch.unit_mask).float()


def _best_units(probabilities: Tensor) -> Tensor:
    """The most probable unit of every text, [B, U] bool: no text has nothing selected."""
    best = probabilities.argmax(-1, keepdim=True)
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, best, True)


def top_units(probabilities: Tensor, sizes: Tensor, rate: float) -> Tensor:
    """Of every text its most probable units, as long as at most half of the last one exceeds
    ``rate`` of the words; one at least. [B, U] bool."""
    order = probabilities.argsort(dim=-1, descending=True, stable=True)
    size = sizes.gather(-1, order)
    before = size.cumsum(-1) - size
    within = before + size / 2 <= rate * sizes.sum(-1, keepdim=True)
    within[:, 0] = True
    return torch.zeros_like(within).scatter(-1, order, within)


@torch.no_grad()
def predict(model: RationaleModel, batch: TextBatch, z: Tensor) -> Tensor:
    """What the predictor says of the units in z [S, B, U]: logarithms or amounts, [S, B, C]."""
    model.network.eval()
    return model.network.predictor(batch, z)


def threshold_of(model: RationaleModel, batches: Iterable[Read]) -> float:
    """The threshold above which the share asked for of these texts' words lies."""
    values, sizes = [], []
    for batch, probabilities in batches:
        # The best unit of a text is selected anyway: it comes before all others.
        probabilities = probabilities + 2 * _best_units(probabilities)
        values.append(probabilities[batch.unit_mask].cpu())
        sizes.append(batch.unit_sizes[batch.unit_mask].cpu())
    value, order = torch.cat(values).double().sort(descending=True)
    taken = torch.cat(sizes)[order].double().cumsum(0)
    number = int((taken <= model.rate * taken[-1]).sum())  # so many units are selected
    certain = int((value >= 2).sum())
    if number <= certain:  # these alone are as many as were asked for
        return 1.0
    after = value[min(number, len(value) - 1)]
    return float((value[number - 1] + after) / 2)


def _rationale(
    model: RationaleModel,
    document: Document,
    text: EncodedText,
    probabilities: Tensor,
    z: Tensor,
    output: Tensor,
) -> Rationale:
    units = text.spans
    scores, chosen = probabilities[: len(units)].tolist(), z[: len(units)].tolist()
    if model.labels.classes:
        shares = output.exp().tolist()
        prediction: str | float = model.labels.classes[int(output.argmax())]
        by_class = dict(zip(model.labels.classes, shares, strict=True))
    else:
        prediction, by_class = float(output) * model.labels.deviation + model.labels.mean, None
    return Rationale(
        id=document.id,
        tokens=document.tokens,
        spans=_runs(units, chosen),
        scores=tuple(
            score
            for (start, end), score in zip(units, scores, strict=True)
            for _ in range(start, end)
        ),
        prediction=prediction,
        probabilities=by_class,
        units=None if model.text.unit == "word" else units,
    )


def _runs(units: Sequence[tuple[int, int]], chosen: Sequence[float]) -> tuple[tuple[int, int], ...]:
    """Neighbouring chosen units become one span."""
    spans: list[tuple[int, int]] = []
    for (start, end), on in zip(units, chosen, strict=True):
        if not on:
            continue
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)


# ------------------------------------------------------------------------------------------ judging


def whole_text_error(
    model: RationaleModel, documents: Sequence[Document], encoded: EncodedTexts
) -> float:
    """`error`, of the predictor on whole texts."""
    total = 0.0
    for batch in inference_batches(model, encoded):
        outputs = predict(model, batch, batch.unit_mask[None].float())[0]
        targets = [model.labels.encode(documents[place]) for place in batch.index.tolist()]
        target = torch.tensor(targets, device=outputs.device)
        if model.labels.classes:
            total += float((outputs.argmax(-1) != target).sum())
        else:
            total += float((outputs.squeeze(-1) - target).square().sum())
    return total / max(len(documents), 1)


def error(
    model: RationaleModel, found: Sequence[Rationale], documents: Sequence[Document]
) -> float:
    """Share of wrong classes, or the squared error in units of the labels' variance."""
    pairs = list(zip(found, documents, strict=True))
    if model.labels.classes:
        return sum(one.prediction != document.label for one, document in pairs) / len(pairs)
    scaled = [
        (float(one.prediction) - float(document.label or 0)) / model.labels.deviation
        for one, document in pairs
    ]
    return sum(value**2 for value in scaled) / len(scaled)


def share_selected(found: Sequence[Rationale]) -> float:
    """Of all words."""
    words = sum(len(one.tokens) for one in found)
    return sum(end - start for one in found for start, end in one.spans) / max(words, 1)
