"""Settings under which a translator learns `toy_corpus` in seconds, and what it is measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# Said by hand so that no default matters.
TINY = (
    "text.subwords=0",
    "model.network.embedding=16",
    "model.network.states=16",
    "model.network.keys=8",
    "model.network.dropout=0.0",
    "learning.learner.learning_rate=0.01",
    "learning.learner.warmup=10",
    "learning.dev_translations=5",
    "batches.sentences=20",
)
LEARNS = (*TINY, "learning.epochs=12")
ONCE = (*TINY, "learning.epochs=1")


def options(*settings: str) -> list[str]:
    return [part for one in settings for part in ("--set", one)]


def same_words(outputs: Sequence[str], references: Sequence[str]) -> float:
    """F1 of the words of each line, whatever their order (a toy corpus's order is half chance)."""
    found = right = wanted = 0
    for output, reference in zip(outputs, references, strict=True):
        ours, theirs = Counter(output.split()), Counter(reference.split())
        found, wanted = found + ours.total(), wanted + theirs.total()
        right += (ours & theirs).total()
    return 2 * right / (found + wanted)
