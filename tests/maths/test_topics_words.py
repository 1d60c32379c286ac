"""The rule by which words and topics are chosen to be shown."""

import numpy as np
import pytest
import torch
from tiny_documents import bags

from latentnlp.document_models._contract import Topics
from latentnlp.evaluation.topics import coherence
from latentnlp.tasks import topics_words
from latentnlp.tasks.topics_words import pairwise_npmi, readable

# Words 0-9 stand together, 10-19 too; 20-29 stand alone; 30 stands everywhere.
PLANTED = [[*range(10), 30]] * 9 + [[*range(10, 20), 30]] * 9 + [[n, 30] for n in range(20, 30)]


def planted() -> Topics:
    """Topic 0 and 2 are of 0-9, with words that stand alone before them; 1 of 10-19."""
    relevance = torch.zeros(3, 200)
    relevance[:, 20:30] = torch.linspace(9, 8, 10)
    relevance[0, :10] = relevance[2, :10] = torch.linspace(5, 4, 10)
    relevance[1, 10:20] = torch.linspace(5, 4, 10)
    share = torch.tensor([0.1, 0.2, 0.3])
    return Topics.of(1, relevance.softmax(1), relevance, share)


def test_pairwise_npmi_is_that_of_the_coherence_score() -> None:
    random = np.random.default_rng(1)
    texts = [random.integers(0, 12, random.integers(0, 9)).tolist() for _ in range(300)]
    corpus = bags(texts, 12)
    npmi = pairwise_npmi(corpus, torch.arange(12), caution=0)
    for a, b in [(0, 1), (3, 11), (5, 2)]:
        score = coherence(np.array([[a, b]]), corpus, 2)
        assert npmi[a, b].item() == pytest.approx(score.npmi, abs=1e-5)
        assert npmi[a, b] == npmi[b, a]
    assert npmi.diagonal().eq(0).all()


def test_words_that_never_and_always_stand_together() -> None:
    corpus = bags([[0, 1, 2], [0, 1], [0, 1, 3]])
    npmi = pairwise_npmi(corpus, torch.arange(4), caution=0)
    assert npmi[0, 1] == 0  # in every document: independent
    assert npmi[2, 3] == -1
    assert torch.isfinite(npmi).all()


def test_words_that_met_once_are_no_pair() -> None:
    """Of 100 documents: 0 and 1 meet in one and nowhere else are; 2 and 3 meet in 25."""
    corpus = bags([[0, 1]] + [[2, 3]] * 25 + [[]] * 74)
    npmi = pairwise_npmi(corpus, torch.arange(4))
    assert npmi[0, 1] == -1 and pairwise_npmi(corpus, torch.arange(4), caution=0)[0, 1] == 1
    fewer = 25 - 2 * 5  # two deviations below
    expected = np.log(fewer * 100 / 25**2) / -np.log(fewer / 100)
    assert npmi[2, 3].item() == pytest.approx(expected, abs=1e-5)


def test_words_that_stand_together_come_before_more_relevant_ones_that_do_not() -> None:
    found = readable(planted(), bags(PLANTED, 200))
    assert set(found.top[0].tolist()) == set(range(10))
    assert set(found.top[1].tolist()) == set(range(10, 20))
    assert planted().top[0, :10].tolist() == list(range(20, 30))  # by relevance alone


def test_a_topic_that_repeats_another_is_not_shown() -> None:
    found = readable(planted(), bags(PLANTED, 200))
    assert len(found.shown) == 2 and 1 in found.shown
    assert found.top.shape == (3, topics_words.COUNT)


def test_a_unit_that_tells_nothing_apart_is_not_shown() -> None:
    topics = planted()
    dead = Topics.of(
        1, topics.words, topics.relevance, topics.share, alive=torch.tensor([True, False, False])
    )
    assert readable(dead, bags(PLANTED, 200)).shown.tolist() == [0]


def test_a_vocabulary_smaller_than_a_topic() -> None:
    topics = Topics.of(1, torch.ones(2, 3) / 3, torch.randn(2, 3), torch.ones(2))
    found = readable(topics, bags([[0, 1], [2]], 3))
    assert sorted(found.top[0].tolist()) == [0, 1, 2]


def test_many_documents_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_words, "_DOCUMENTS", 4000)
    corpus = bags([[0, 1], [0], [1], []] * 5000)
    few = pairwise_npmi(corpus, torch.tensor([0, 1]), seed=3, caution=0)
    # p(0) = p(1) = 1/2 and p(0, 1) = 1/4: 0, within 4 deviations of 4,000 documents.
    assert abs(few[0, 1]) < 0.05 and few[0, 1] != 0
