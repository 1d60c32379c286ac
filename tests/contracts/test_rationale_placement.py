"""The steps of both rationale learners, checked for misplaced tensors and for waiting."""

from __future__ import annotations

import pytest
import torch
from device_placement import placement_check

from latentnlp.data.documents import Document
from latentnlp.data.texts import EncodedTexts, TextBatch, Texts, WordIndexer, encode
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.learners import rationale as joint
from latentnlp.learners.thinned_predictor import Config, ThinnedPredictor
from latentnlp.models import rationale as models

META = torch.device("meta")


def batch() -> TextBatch:
    indexer = WordIndexer(Vocabulary([("a", 3), ("b", 2)]), True, (3,), 50)
    texts = [Document(str(n), ("a", "b", "new") * (n + 1)) for n in range(3)]
    encoded = EncodedTexts([encode(text, indexer, "block", 2) for text in texts], indexer)
    (one,) = Texts(encoded, [0, 1, 1], 3)
    return one.to(META)


def network(**settings) -> models.RationaleNetwork:
    prior = torch.tensor([[0.5, 0.5]] * 2).log()
    config = models.Config(embedding=6, buckets=50, **settings)
    return models.build_network(config, torch.randn(4, 6), prior, 0.3).to(META)


@pytest.mark.parametrize("encoder", ["bag", "cnn", "gru", "lstm", "rcnn"])
def test_the_thinned_predictor(encoder: str) -> None:
    learner = ThinnedPredictor(Config(), network(predictor=encoder), 10, META)
    here = batch()
    with placement_check():
        learner.module(here, learner.thinned(here))[0].sum().backward()


@pytest.mark.parametrize("selection", ["independent", "first_order", "kumaraswamy"])
def test_selector_and_predictor_together(selection: str) -> None:
    name = "reparameterised" if selection == "kumaraswamy" else "score_function"
    baselines = () if selection == "kumaraswamy" else ("moving_average", "neural", "leave_one_out")
    estimator = joint.EstimatorConfig(name, 2, baselines)
    learner = joint.Rationale(
        joint.Config(estimator=estimator), network(selection=selection), 10, META
    )
    here = batch()
    with placement_check():
        surrogate, _, loss, selected, changes = learner.module(here)
        multiplier = learner.controller.multiplier()
        (loss - surrogate + multiplier * selected + changes).backward()
        learner.controller.update(selected.detach() / here.unit_sizes.sum())
