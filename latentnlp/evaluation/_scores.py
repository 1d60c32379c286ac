"""What the scores of rationales and of documents share: a signature, percentages, intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentnlp import __version__


@dataclass(frozen=True)
class Score:
    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; scores as fractions."""
        return {**asdict(self), "signature": self.signature}


def signature(*fields: str) -> str:
    return "|".join([*fields, f"version:latentnlp-{__version__}"])


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def resampled_sums(table: NDArray[np.float64], samples: int, seed: int) -> NDArray[np.float64]:
    """Column sums over N rows of `table` [N, C] drawn with replacement: [samples, C]."""
    n = len(table)
    draw = np.random.default_rng(seed)
    sums = np.zeros((samples, table.shape[1]))
    for k in range(samples if n else 0):
        sums[k] = np.bincount(draw.integers(n, size=n), minlength=n) @ table
    return sums


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """From the 2.5th to the 97.5th percentile: 95 % of the values."""
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
