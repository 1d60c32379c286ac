"""Words and their ids: 0 is padding, 1 is the unknown word, words follow by falling count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from latentnlp.data.textfiles import read_lines, write_atomically
from latentnlp.errors import UserError

PAD, UNK = 0, 1
SPECIALS = ("<pad>", "<unk>")


class Vocabulary:
    """An immutable list of words; a word's id is its place in the list.

    `words[id]` and `counts[id]` include the two specials: padding has count 0, the unknown word the
    number of tokens that it stands for (rare words that were left out). A text that spells a
    special out (``<pad>``) does not reach padding by it: both read as the unknown word.
    """

    __slots__ = ("_counts", "_ids", "_words")

    def __init__(self, counts: Iterable[tuple[str, int]], unknown: int = 0) -> None:
        """`counts`: (word, count) in the order of their ids, from id 2 on, without the specials;
        `unknown`: the count of the unknown word."""
        pairs = tuple(counts)
        self._words = (*SPECIALS, *(word for word, _ in pairs))
        self._counts = (0, unknown, *(count for _, count in pairs))
        self._ids = {word: number for number, (word, _) in enumerate(pairs, start=len(SPECIALS))}
        if len(self._ids) != len(pairs) or any(special in self._ids for special in SPECIALS):
            raise ValueError("a vocabulary lists every word once, and the specials not at all")

    @classmethod
    def build(
        cls, counter: Mapping[str, int], min_count: int = 1, max_size: int | None = None
    ) -> Vocabulary:
        """The words seen at least `min_count` times, at most `max_size` (specials apart)."""
        kept = [
            (word, count)
            for word, count in counter.items()
            if count >= min_count and word not in SPECIALS
        ]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        kept = kept[:max_size]
        return cls(kept, sum(counter.values()) - sum(count for _, count in kept))

    @property
    def words(self) -> tuple[str, ...]:
        return self._words

    @property
    def counts(self) -> tuple[int, ...]:
        return self._counts

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.words == other.words and self.counts == other.counts

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def id(self, word: str) -> int:
        return self._ids.get(word, UNK)

    def encode(self, words: Iterable[str]) -> list[int]:
        get = self._ids.get
        return [get(word, UNK) for word in words]

    def decode(self, ids: Iterable[int]) -> list[str]:
        return [self.words[number] for number in ids]

    def save(self, path: str | Path) -> None:
        """One line ``word<TAB>count`` for each id from 1 on. Raises UserError if it cannot."""
        with write_atomically(path) as stream:
            for word, count in zip(self.words[UNK:], self.counts[UNK:], strict=True):
                stream.write(f"{word}\t{count}\n")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Raises UserError (file, line) if the file is missing or was not written by `save`."""
        pairs: dict[str, int] = {}
        for line, text in read_lines(path, drop_bom=False):
            word, _, count = text.partition("\t")
            out_of_place = word == SPECIALS[PAD] or (word == SPECIALS[UNK] and line > 1)
            if not word or word in pairs or out_of_place or not _is_count(count):
                raise UserError(
                    f"{path}, line {line}: not a line of a vocabulary (expected a new word, a tab "
                    f"and a count, found {text[:60]!r}); the file is damaged"
                )
            pairs[word] = int(count)
        unknown = pairs.pop(SPECIALS[UNK], 0)
        return cls(pairs.items(), unknown)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()
