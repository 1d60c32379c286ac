"""model.selection = "evidence" from training to rationales, where one sentence decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_documents import SMALL, planted

from latentnlp import checkpoint
from latentnlp import config as configuration
from latentnlp.data.documents import Document, Rationale
from latentnlp.errors import UserError
from latentnlp.run import RunDirectory, seed_everything
from latentnlp.tasks.rationale import RationaleConfig, extract, share_selected, train
from latentnlp.tasks.rationale_model import DecodingConfig, RationaleModel

CPU = torch.device("cpu")
OVERRIDES = (
    "model.selection=evidence",
    "model.evidence.windows=[5]",
    "model.evidence.share=0.15",
    "rationale.learner.rate=0.1",
    "predictor.epochs=2",
)
CONFIG = configuration.load(RationaleConfig, None, [*SMALL, *OVERRIDES])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    folder = RunDirectory.create(tmp_path_factory.mktemp("evidence") / "run", CONFIG)
    yield folder
    folder.close()


@pytest.fixture(scope="module")
def model(run: RunDirectory) -> RationaleModel:
    seed_everything(1)
    return train(CONFIG, planted(150), run, CPU, planted(60, seed=2), progress=False)


def hits(found: list[Rationale], documents: list[Document]) -> float:
    """The share of documents whose best word is in the sentence that decides."""
    best = [one.scores.index(max(one.scores)) for one in found]
    marks = [(document.rationale or ((0, 0),))[0] for document in documents]
    return sum(a <= word < b for word, (a, b) in zip(best, marks, strict=True)) / len(documents)


def test_finds_the_deciding_sentence_at_the_rate_asked_for(model: RationaleModel) -> None:
    new = planted(60, seed=3)
    found = list(extract(model, new))
    assert hits(found, new) > 0.9
    assert share_selected(list(extract(model, planted(60, seed=2)))) == pytest.approx(
        model.rate, abs=0.02
    )
    right = sum(one.prediction == d.label for one, d in zip(found, new, strict=True))
    assert right > 50  # of 60


def test_theta_puts_the_rate_at_one_half(model: RationaleModel) -> None:
    assert model.threshold == pytest.approx(0.5, abs=0.01)
    half = replace(model, decoding=DecodingConfig("half"))
    dev = planted(60, seed=2)
    assert share_selected(list(extract(half, dev))) == pytest.approx(model.rate, abs=0.02)


def test_larger_units_have_one_score_each(model: RationaleModel) -> None:
    blocks = replace(model, text=replace(model.text, unit="block", block=2))
    for one in extract(blocks, planted(5, seed=3)):
        assert one.units is not None and one.units[:2] == ((0, 2), (2, 4))
        assert one.scores[0] == one.scores[1] != one.scores[2] == one.scores[3]


def test_saved_and_loaded_model_selects_the_same(model: RationaleModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    weights = checkpoint.load(tmp_path / "model")["weights"]
    assert {name.split(".")[0] for name in weights} == {"predictor"}
    again = RationaleModel.load(tmp_path / "model", CPU)
    new = planted(20, seed=3)
    assert list(extract(again, new)) == list(extract(model, new))


def test_amounts_are_refused(run: RunDirectory) -> None:
    amounts = [replace(d, label=float(n)) for n, d in enumerate(planted(20))]
    with pytest.raises(UserError, match="amounts"):
        train(CONFIG, amounts, run, CPU, progress=False)
