"""The mask probe on masks of which it is known what they tell."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from latentnlp.data.documents import Document, Rationale
from latentnlp.tasks import rationale_evaluation as tested
from latentnlp.tasks.rationale_model import Labels, RationaleModel

WORDS = 20


class OnlyLabels:
    labels = Labels(("a", "b"), (1, 1))


def masks(spans: Callable[[str, random.Random], Sequence[tuple[int, int]]], seed: int) -> list[Any]:
    """200 documents and rationales; ``spans``: what is selected in a text of a class."""
    draw, pairs = random.Random(seed), []
    for number in range(200):
        label, tokens = "ab"[number % 2], ("w",) * WORDS
        one = Rationale("", tokens, tuple(spans(label, draw)), (0.0,) * WORDS, label, None)
        pairs.append((Document("", tokens, label), one))
    return pairs


def anywhere(label: str, draw: random.Random) -> list[tuple[int, int]]:
    start = draw.randrange(WORDS - 1)
    return [(start, start + 1)]


def counted(label: str, draw: random.Random) -> list[tuple[int, int]]:
    ((start, end),) = anywhere(label, draw)
    return [(start, end + (label == "b"))]


def in_pieces(label: str, draw: random.Random) -> list[tuple[int, int]]:
    start = draw.randrange(WORDS - 3)
    return [(start, start + 2)] if label == "b" else [(start, start + 1), (start + 2, start + 3)]


def placed(label: str, draw: random.Random) -> list[tuple[int, int]]:
    start = draw.randrange(WORDS // 2) + (WORDS // 2 if label == "b" else 0)
    return [(start, start + 1)]


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        (anywhere, ()),
        (counted, ("accuracy", "count")),
        (in_pieces, ("accuracy", "runs")),
        (placed, ("accuracy", "place")),
    ],
)
def test_the_probe_says_what_tells_the_label(
    monkeypatch: pytest.MonkeyPatch, spans: Any, told: Sequence[str]
) -> None:
    training, test = masks(spans, 1), masks(spans, 2)
    monkeypatch.setattr(tested, "extract", lambda model, documents: (one for _, one in training))
    model = cast(RationaleModel, OnlyLabels())
    found = tested.probe(
        model, [d for d, _ in training], [d for d, _ in test], [one for _, one in test]
    )
    assert found.majority == 0.5
    for name in ("accuracy", "count", "runs", "place"):
        value = getattr(found, name)
        assert value > 0.9 if name in told else abs(value - 0.5) < 0.12, (name, value)
