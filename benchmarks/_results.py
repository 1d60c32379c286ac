"""What the benchmarks of peers do with their rows: keep them, merge them, print them."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from latentnlp.errors import UserError

Row = TypeVar("Row", bound=Any)  # a dataclass with a ``key``


def load(kind: type[Row], paths: Iterable[Path]) -> dict[tuple[object, ...], Row]:
    """Rows of result files; a later row replaces an earlier one of the same key."""
    rows: dict[tuple[object, ...], Row] = {}
    for path in paths:
        try:
            found = [kind(**one) for one in json.loads(path.read_text(encoding="utf-8"))["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a result file of this benchmark: {error}") from error
        rows |= {row.key: row for row in found}
    return rows


def save(path: Path, rows: Iterable[Any]) -> None:
    text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)


def mean(values: list[float], digits: int) -> str:
    """The mean, and the standard deviation of several."""
    middle = f"{statistics.mean(values):.{digits}f}"
    return f"{middle} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else middle


def distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def letter(number: int) -> str:
    """The name of a machine in a table."""
    return chr(ord("A") + number)
