"""What a rationale is worth: the predictor on it, without it, on all, and on as much at random.

task score     of the rationale only / the complement only / the full text / a random rationale
               with as many units in every document
faithfulness   comprehensiveness, sufficiency and AOPC, of the class predicted from the full text
mask probe     can the label be told from *where* was selected, without the words? Then the
               selector writes the answer into the mask (and the predictor reads it there).
agreement      with people, where the documents have human rationales
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.documents import Document, Rationale
from latentnlp.data.eraser import Faithfulness, write_eraser
from latentnlp.errors import UserError
from latentnlp.evaluation import rationale as scores
from latentnlp.evaluation.rationale import (
    AOPC_SHARES,
    AgreementScore,
    ClassificationScore,
    FaithfulnessScore,
    RegressionScore,
    SelectionScore,
)
from latentnlp.tasks.rationale import (
    encode_all,
    extract,
    inference_batches,
    predict,
    shorten,
)
from latentnlp.tasks.rationale_model import RationaleModel

TaskScore = ClassificationScore | RegressionScore
_PROBE_BINS = 10
_PROBE_STEPS = 200


@dataclass(frozen=True)
class Evaluation:
    """Everything that `evaluate` measures; None where the documents do not allow it."""

    selection: SelectionScore
    task: Mapping[str, TaskScore]  # by what the predictor sees
    faithfulness: FaithfulnessScore | None  # of classes only
    agreement: AgreementScore | None  # of documents with human rationales only
    probe: Probe | None  # of classes only
    found: Sequence[Rationale]
    probabilities: Mapping[str, np.ndarray]  # [N, C] by what the predictor sees

    def lines(self) -> list[str]:
        """One line a score."""
        lines = [f"{name:16} {score.format()}" for name, score in self.task.items()]
        lines.append(f"{'selection':16} {self.selection.format()}")
        if self.faithfulness is not None:
            lines.append(f"{'faithfulness':16} {self.faithfulness.format()}")
        if self.agreement is not None:
            lines.append(f"{'agreement':16} {self.agreement.format()}")
        if self.probe is not None:
            lines.append(f"{'mask probe':16} {self.probe.format()}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        return {
            "task": {name: score.to_dict() for name, score in self.task.items()},
            "selection": self.selection.to_dict(),
            "faithfulness": self.faithfulness and self.faithfulness.to_dict(),
            "agreement": self.agreement and self.agreement.to_dict(),
            "mask_probe": self.probe and vars(self.probe),
        }

    def write_eraser(self, folder: Path, split: str, documents: Sequence[Document]) -> None:
        """ERASER's files: its program then finds these very scores. Of classes only.

        There, the prediction is the one made from the full text.
        """
        names = list(self.found[0].probabilities or ())
        if not names:
            raise UserError("ERASER's form holds classes, but this model predicts amounts")

        def row(view: str, number: int) -> dict[str, float]:
            return dict(zip(names, self.probabilities[view][number].tolist(), strict=True))

        predictions, faithfulness = [], []
        for number, (short, document) in enumerate(zip(self.found, documents, strict=True)):
            one, full = whole(short, document), row("full text", number)
            best = max(full, key=full.__getitem__)
            predictions.append(replace(one, prediction=best, probabilities=full))
            bins = {
                share: (row(f"without {share}", number), row(f"only {share}", number))
                for share in AOPC_SHARES
            }
            without, only = row("complement only", number), row("rationale only", number)
            faithfulness.append(Faithfulness(without, only, bins))
        write_eraser(folder, split, documents, predictions, faithfulness)


@dataclass(frozen=True)
class Probe:
    """Accuracy of a classifier that sees where was selected, against always the same answer."""

    accuracy: float
    count: float  # … that sees only how much was selected
    runs: float  # … only in how many pieces
    place: float  # … only in which tenths of the text, and not how much
    majority: float

    def format(self) -> str:
        return (
            f"accuracy {100 * self.accuracy:.2f}  count {100 * self.count:.2f}  "
            f"runs {100 * self.runs:.2f}  place {100 * self.place:.2f}  "
            f"majority {100 * self.majority:.2f}  "
            f"mask-probe|bins:{_PROBE_BINS}|logistic"
        )


def evaluate(
    model: RationaleModel,
    documents: Sequence[Document],
    probe_training: Sequence[Document] = (),
    found: Sequence[Rationale] | None = None,
    seed: int = 1,
) -> Evaluation:
    """Score the model on labelled documents, or what another one ``found`` in them.

    ``probe_training``: other documents, for the probe.
    """
    found = list(extract(model, documents)) if found is None else found
    read = [shorten(doc, len(one.tokens)) for one, doc in zip(found, documents, strict=True)]
    outputs = _outputs(model, read, found, seed)
    labels = [document.label for document in documents]
    classes = model.labels.classes
    views = ("rationale only", "complement only", "full text", "random rationale")
    task: dict[str, TaskScore] = {}
    for view in views:
        if classes:
            answers = [classes[number] for number in outputs[view].argmax(-1)]
            task[view] = scores.classification(answers, labels)
        else:
            amounts = outputs[view][:, 0] * model.labels.deviation + model.labels.mean
            task[view] = scores.regression(amounts.tolist(), [float(y or 0) for y in labels])
    return Evaluation(
        scores.selection([one.spans for one in found], [len(one.tokens) for one in found]),
        task,
        _faithfulness(outputs) if classes else None,
        agreement(found, documents),
        probe(model, probe_training, documents, found) if classes and probe_training else None,
        found,
        outputs,
    )


def agreement(found: Sequence[Rationale], documents: Sequence[Document]) -> AgreementScore | None:
    """With the human rationales of those documents that have some annotation."""
    pairs = [
        (whole(one, document), document.rationale)
        for one, document in zip(found, documents, strict=True)
        if document.rationale is not None
    ]
    if not pairs:
        return None
    return scores.agreement(
        [one.spans for one, _ in pairs],
        [gold for _, gold in pairs],
        [len(one.tokens) for one, _ in pairs],
        [one.scores for one, _ in pairs],
    )


def whole(one: Rationale, document: Document) -> Rationale:
    """Of all words: a model that reads only the beginning of a text says nothing of the rest."""
    rest = len(document.tokens) - len(one.scores)
    return replace(one, tokens=document.tokens, scores=(*one.scores, *[0.0] * rest))


def _outputs(
    model: RationaleModel, documents: Sequence[Document], found: Sequence[Rationale], seed: int
) -> dict[str, np.ndarray]:
    """Probabilities of classes, or scaled amounts, [N, C], by what the predictor sees."""
    encoded = encode_all(model, documents)
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[Tensor]] = {}
    places: list[int] = []
    for batch in inference_batches(model, encoded):
        here = batch.index.tolist()
        chosen = _stack(
            [_unit_mask(found[n], encoded.texts[n].spans) for n in here], batch.unit_mask
        )
        order = _stack(
            [_unit_scores(found[n], encoded.texts[n].spans) for n in here], batch.unit_mask
        )
        everything = batch.unit_mask.float()
        shuffle = torch.rand(chosen.shape, generator=generator).to(chosen.device)
        masks = {
            "full text": everything,
            "rationale only": chosen,
            "complement only": everything - chosen,
            "random rationale": _best(shuffle, chosen.sum(-1), batch.unit_mask),
        }
        for share in AOPC_SHARES:
            count = (share * everything.sum(-1)).ceil()
            best = _best(order, count, batch.unit_mask)
            masks[f"only {share}"], masks[f"without {share}"] = best, everything - best
        # One view at a time: of long documents, all at once would not fit.
        outputs = torch.cat([predict(model, batch, mask[None]) for mask in masks.values()])
        outputs = outputs.exp() if model.labels.classes else outputs
        for name, one in zip(masks, outputs.cpu(), strict=True):
            rows.setdefault(name, []).append(one)
        places += here
    back = np.argsort(places)
    return {name: torch.cat(parts).double().numpy()[back] for name, parts in rows.items()}


def _faithfulness(outputs: Mapping[str, np.ndarray]) -> FaithfulnessScore:
    aopc = {share: (outputs[f"without {share}"], outputs[f"only {share}"]) for share in AOPC_SHARES}
    return scores.faithfulness(
        outputs["full text"], outputs["rationale only"], outputs["complement only"], aopc
    )


def _unit_mask(one: Rationale, units: Sequence[tuple[int, int]]) -> list[float]:
    words = scores.token_mask(one.spans, len(one.tokens))
    return [float(words[start]) for start, _ in units]


def _unit_scores(one: Rationale, units: Sequence[tuple[int, int]]) -> list[float]:
    return [one.scores[start] for start, _ in units]


def _stack(rows: Sequence[Sequence[float]], mask: Tensor) -> Tensor:
    """Rows of different lengths as [B, U] with 0 at padding."""
    stacked = torch.zeros(mask.shape)
    for number, row in enumerate(rows):
        stacked[number, : len(row)] = torch.tensor(row)
    return stacked.to(mask.device)


def _best(order: Tensor, count: Tensor, mask: Tensor) -> Tensor:
    """The ``count`` [B] units of highest ``order``, [B, U] of 0 and 1."""
    ranked = order.masked_fill(~mask, float("-inf")).argsort(dim=-1, descending=True, stable=True)
    first = torch.arange(mask.shape[1], device=mask.device) < count[:, None]
    return torch.zeros_like(order).scatter(-1, ranked, first.to(order.dtype)) * mask


# -------------------------------------------------------------------------------------- mask probe


def probe(
    model: RationaleModel,
    training: Sequence[Document],
    documents: Sequence[Document],
    found: Sequence[Rationale],
) -> Probe:
    """Logistic regressions from the mask alone, trained on other documents of the same model."""
    learnt = list(extract(model, training))
    y = torch.tensor([int(model.labels.encode(document)) for document in training])
    test_y = torch.tensor([int(model.labels.encode(document)) for document in documents])
    classes = len(model.labels.classes)

    def accuracy(features: Callable[[Rationale], list[float]]) -> float:
        x, test_x = (
            torch.tensor([features(one) for one in some]).float() for some in (learnt, found)
        )
        return float((_logistic(x, y, classes)(test_x).argmax(-1) == test_y).float().mean())

    majority = float(torch.bincount(test_y, minlength=classes).max()) / len(test_y)
    return Probe(
        accuracy(lambda one: [*place_features(one), count(one), runs(one)]),
        accuracy(lambda one: [count(one)]),
        accuracy(lambda one: [runs(one)]),
        accuracy(lambda one: place_features(one, of_selected=True)),
        majority,
    )


def _logistic(x: Tensor, y: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    """What tells the logits of y [N, C] from rows of features, learnt from x [M, F]."""
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-6)
    weights = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)

    def logits(features: Tensor) -> Tensor:
        return (features - mean) / deviation @ weights[1:] + weights[0]

    optimizer = torch.optim.LBFGS([weights], max_iter=_PROBE_STEPS)

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = 1e-3 * weights[1:].square().sum()
        loss = torch.nn.functional.cross_entropy(logits(x), y) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return logits


def count(one: Rationale) -> float:
    """The share of the words that was selected; length itself may tell the label without any."""
    return sum(end - start for start, end in one.spans) / len(one.tokens)


def runs(one: Rationale) -> float:
    """Pieces of the rationale per word of the text."""
    return len(one.spans) / len(one.tokens)


def place_features(one: Rationale, of_selected: bool = False) -> list[float]:
    """Where was selected, and nothing of the words: the share of every tenth of the text, the ends.

    ``of_selected``: how what was selected is spread over the tenths, so that they sum to 1.
    """
    mask = scores.token_mask(one.spans, len(one.tokens)).astype(float)
    tenths = np.array_split(mask, _PROBE_BINS)
    if of_selected:
        return [float(part.sum() / max(mask.sum(), 1)) for part in tenths]
    shares = [float(part.mean()) if len(part) else 0.0 for part in tenths]
    return [*shares, mask[0], mask[-1]]
