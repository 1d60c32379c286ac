"""Bags of words on disk: written document by document, then mapped; memory holds none of them."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from latentnlp.data.bags import Bags
from latentnlp.data.corpora import NpyWriter, map_npy
from latentnlp.data.textfiles import write_atomically
from latentnlp.errors import UserError

_ARRAYS = {"words": "i", "counts": "i", "offsets": "q", "classes": "i", "ids": "B", "id_ends": "q"}
_RECORD = "bags.json"
Item = TypeVar("Item", covariant=True)


class BagWriter:
    """Writes a corpus into ``folder``; `load_bags` maps it once the block has ended."""

    def __init__(self, folder: Path, vocabulary_size: int | None = None) -> None:
        """``vocabulary_size`` may be set until the block ends."""
        self.folder, self.vocabulary_size = folder, vocabulary_size
        self._classes: dict[str | None, int] = {None: -1}
        self._has_ids = False

    def __enter__(self) -> BagWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        # First, so that what a killed process leaves behind is not taken for complete.
        (self.folder / _RECORD).unlink(missing_ok=True)
        with ExitStack() as files:
            self._arrays = {
                name: files.enter_context(NpyWriter(self.folder / f"{name}.npy", typecode))
                for name, typecode in _ARRAYS.items()
            }
            self._arrays["offsets"].append(0)
            self._files = files.pop_all()
        return self

    def __len__(self) -> int:
        """Documents so far."""
        return len(self._arrays["id_ends"])

    def add(
        self, words: list[int], counts: list[int], name: str | None = None, label: str | None = None
    ) -> None:
        """One document; ``words`` rise, each with a count of 1 or more."""
        arrays = self._arrays
        arrays["words"].extend(words)
        arrays["counts"].extend(counts)
        self._has_ids |= name is not None
        number = len(self)
        arrays["offsets"].append(len(arrays["words"]))
        arrays["classes"].append(self._classes.setdefault(label, len(self._classes) - 1))
        arrays["ids"].extend(list((str(number) if name is None else name).encode()))
        arrays["id_ends"].append(len(arrays["ids"]))

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)
        if error[0] is not None:
            return
        record = {
            "vocabulary_size": self.vocabulary_size,
            "classes": [name for name in self._classes if name is not None],
            "has_ids": self._has_ids,
        }
        with write_atomically(self.folder / _RECORD) as stream:
            json.dump(record, stream)


def load_bags(folder: str | Path) -> Bags:
    """The corpus that a `BagWriter` wrote, mapped: the folder has to stay as long as it is used.

    Raises:
        UserError: the folder does not hold a complete one.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        size, classes, has_ids = record["vocabulary_size"], record["classes"], record["has_ids"]
        words, counts, offsets, labels, ids, ends = (
            map_npy(folder / f"{name}.npy") for name in _ARRAYS
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no encoded documents ({error}); encode them again") from None
    whole = len(words) == len(counts) == offsets[-1]
    whole = whole and len(labels) == len(ends) == len(offsets) - 1
    if not whole or (len(ends) and ends[-1] != len(ids)):
        raise UserError(f"{folder}: its files do not belong together; encode the documents again")
    return Bags(
        offsets,
        words,
        counts,
        size,
        _Names(ids, ends) if has_ids else None,
        _Labels(labels, classes) if classes else None,
    )


def renumber(bags: Bags, table: np.ndarray, size: int, folder: Path) -> Bags:
    """The corpus with the word table[w] in place of w, of ``size`` words, written into ``folder``.

    table: [V] int32, each new word once; −1: the word is left out.
    """
    with BagWriter(folder, size) as writer:
        for number in range(len(bags)):
            start, end = bags.offsets[number], bags.offsets[number + 1]
            words = table[bags.words[start:end]]
            order = np.argsort(words)
            order = order[np.searchsorted(words[order], 0) :]
            writer.add(
                words[order].tolist(),
                bags.counts[start:end][order].tolist(),
                None if bags.ids is None else bags.ids[number],
                None if bags.labels is None else bags.labels[number],
            )
    return load_bags(folder)


def occurrences(bags: Bags) -> tuple[np.ndarray, np.ndarray]:
    """In how many documents each word occurs, and how often: int64 [V], read in pieces."""
    documents, tokens = (np.zeros(bags.vocabulary_size, dtype=np.int64) for _ in range(2))
    for start in range(0, len(bags.words), PIECE):
        words = bags.words[start : start + PIECE]
        documents += np.bincount(words, minlength=len(documents))
        counts = np.bincount(words, bags.counts[start : start + PIECE], len(tokens))
        tokens += counts.astype(np.int64)
    return documents, tokens


PIECE = 1 << 20


class _Mapped(Sequence[Item]):
    """A sequence whose items are made when they are asked for."""

    @abstractmethod
    def _at(self, number: int) -> Item: ...

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        places = range(len(self))[number]
        return [self._at(n) for n in places] if isinstance(places, range) else self._at(places)


class _Names(_Mapped[str]):
    def __init__(self, text: np.ndarray, ends: np.ndarray) -> None:
        self._text, self._ends = text, ends  # UTF-8 bytes, one name after the other; [D]

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._text[start : self._ends[number]].tobytes().decode()


class _Labels(_Mapped[str | None]):
    def __init__(self, classes: np.ndarray, names: list[str]) -> None:
        self._classes, self._names = classes, names  # [D], −1: none

    def __len__(self) -> int:
        return len(self._classes)

    def _at(self, number: int) -> str | None:
        return None if (place := self._classes[number]) < 0 else self._names[place]
