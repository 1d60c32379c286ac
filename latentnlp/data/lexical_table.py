"""Word translation tables of linked text, in the form of Moses (``lex.f2e`` and ``lex.e2f``).

    p(y | x) = c(x, y) / c(x)

c(x, y) counts the links between the words x and y, and c(x) all links of x. A word that is not
linked counts as linked once to NULL. With f the source and e the target, the lines are

    PREFIX.f2e    e f p(e | f)        PREFIX.e2f    f e p(f | e)

as in ``get_lexical`` of Moses' train-model.perl (Koehn et al. 2007), which writes them unsorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from latentnlp.data.links import Link
from latentnlp.data.textfiles import write_atomically

NULL = "NULL"
Counts = Counter[tuple[str, str]]


def count_links(
    pairs: Iterable[tuple[Sequence[str], Sequence[str], Collection[Link]]],
) -> Counts:
    """c(x, y) over (source words, target words, links) of all sentence pairs."""
    counts: Counts = Counter()
    for source, target, links in pairs:
        counts.update((source[i], target[j]) for i, j in links)
        linked = {i for i, _ in links}, {j for _, j in links}
        counts.update((word, NULL) for i, word in enumerate(source) if i not in linked[0])
        counts.update((NULL, word) for j, word in enumerate(target) if j not in linked[1])
    return counts


def write_lexical_tables(prefix: str | Path, counts: Counts) -> None:
    """``prefix``.f2e and ``prefix``.e2f, sorted by the word that is given and then by the other.

    Raises UserError: a file cannot be written.
    """
    with (
        write_atomically(f"{prefix}.f2e") as f2e,
        write_atomically(f"{prefix}.e2f") as e2f,
    ):
        f2e.writelines(_lines(counts))
        e2f.writelines(_lines({(y, x): count for (x, y), count in counts.items()}))


def _lines(counts: dict[tuple[str, str], int]) -> Iterable[str]:
    totals: Counter[str] = Counter()
    for (given, _), count in counts.items():
        totals[given] += count
    for given, word in sorted(counts):
        yield f"{word} {given} {counts[given, word] / totals[given]:.7f}\n"
