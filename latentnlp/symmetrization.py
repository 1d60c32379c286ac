"""Merge the links of two directional aligners into one set (Och and Ney 2003, section 2.4).

With F the links of source → target and R those of target → source, both as (i, j) = (source
position, target position):

    intersection         F ∩ R
    union                F ∪ R
    grow-diag            start from F ∩ R; as long as something changes, add a link of F ∪ R that
                         touches an accepted link (8 neighbours) and covers a word that is free
    grow-diag-final      then add the links of F, then those of R, that cover a free word
    grow-diag-final-and  then add the links of F, then those of R, whose two words are both free

The links come out as from ``atools -c NAME -i F -j R`` of fast_align (clab/fast_align,
src/atools.cc). The rules are those of Koehn et al. (2003) but the outcome depends on the order in
which links are tried, and there Moses' ``symal`` differs:

- growing: atools tries the links of F ∪ R in the order of (i, j), again and again; symal walks
  over the accepted links and, for each, over its neighbours: first the 4 beside, then the 4
  diagonal ones, in an order where the target position counts first;
- final: atools takes the links of its first file (F), then those of its second; symal takes those
  found only by the inverse aligner, then those found only by the direct one, target position first;
- symal reads GIZA++ alignments, in which a direction gives a word at most one link; atools, and we,
  take any links.

So the two may part where several links compete for a free word: with F ∩ R = {1-1} and 0-0, 0-1 in
F ∪ R, atools takes 0-0 and then has no free word for 0-1; symal takes 0-1 first and then 0-0 too.
Nor do F and R commute in the two `final` methods, and swapping source and target may change the
links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from latentnlp.data.links import Link, Links


def intersection(forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """F ∩ R."""
    return frozenset(forward) & frozenset(reverse)


def union(forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """F ∪ R."""
    return frozenset(forward) | frozenset(reverse)


def grow_diag(forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """Grow F ∩ R into F ∪ R along the 8 neighbours."""
    links, _, _ = _grow(frozenset(forward), frozenset(reverse))
    return frozenset(links)


def grow_diag_final(forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """grow-diag, then the links of F and of R that cover at least one free word."""
    return _grow_and_finish(forward, reverse, both_free=False)


def grow_diag_final_and(forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """grow-diag, then the links of F and of R between two free words."""
    return _grow_and_finish(forward, reverse, both_free=True)


def _grow_and_finish(forward: Iterable[Link], reverse: Iterable[Link], *, both_free: bool) -> Links:
    forward, reverse = frozenset(forward), frozenset(reverse)
    links, sources, targets = _grow(forward, reverse)
    for i, j in [*sorted(forward - links), *sorted(reverse - links)]:
        free = (i not in sources) + (j not in targets)
        if free == 2 or (free == 1 and not both_free):
            links.add((i, j))
            sources.add(i)
            targets.add(j)
    return frozenset(links)


def _grow(forward: Links, reverse: Links) -> tuple[set[Link], set[int], set[int]]:
    """The links of grow-diag, and the source and the target positions that they cover."""
    links = set(forward & reverse)
    sources = {i for i, _ in links}
    targets = {j for _, j in links}
    waiting = sorted((forward | reverse) - links)
    growing = bool(links)
    while growing:
        growing = False
        tried, waiting = waiting, []
        for i, j in tried:
            if i in sources and j in targets:
                continue  # covered words stay covered: no later pass can take this link
            if _touches(links, i, j):
                links.add((i, j))
                sources.add(i)
                targets.add(j)
                growing = True
            else:
                waiting.append((i, j))
    return links, sources, targets


def _touches(links: set[Link], i: int, j: int) -> bool:
    return (
        (i - 1, j - 1) in links
        or (i + 1, j + 1) in links
        or (i - 1, j) in links
        or (i + 1, j) in links
        or (i, j - 1) in links
        or (i, j + 1) in links
        or (i - 1, j + 1) in links
        or (i + 1, j - 1) in links
    )


_METHODS: dict[str, Callable[[Iterable[Link], Iterable[Link]], Links]] = {
    "intersection": intersection,
    "union": union,
    "grow-diag": grow_diag,
    "grow-diag-final": grow_diag_final,
    "grow-diag-final-and": grow_diag_final_and,
}
NAMES: tuple[str, ...] = tuple(_METHODS)


def symmetrize(name: str, forward: Iterable[Link], reverse: Iterable[Link]) -> Links:
    """The links of `forward` and `reverse`, both (source, target), merged by the method `name`.

    Raises ValueError if `name` is not one of `NAMES` (the command line offers only these).
    """
    if name not in _METHODS:
        raise ValueError(f"unknown symmetrisation {name!r}; choose one of {', '.join(NAMES)}")
    return _METHODS[name](forward, reverse)
