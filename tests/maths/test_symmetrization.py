"""Symmetrisation against grids worked out by hand and a literal reading of atools.

In the grids a row is a source word and a column a target word: `F` a link of the forward aligner
only, `R` of the reverse one only, `B` of both, `.` of neither; in the outcome `x` is a link.
"""

from __future__ import annotations

import random

import pytest

from latentnlp.symmetrization import (
    NAMES,
    grow_diag,
    grow_diag_final,
    grow_diag_final_and,
    intersection,
    symmetrize,
    union,
)

Links = set[tuple[int, int]]


def read_grid(grid: str, marks: str) -> Links:
    rows = grid.split()
    return {(i, j) for i, row in enumerate(rows) for j, mark in enumerate(row) if mark in marks}


# name: (input grid, outcome of grow-diag, of grow-diag-final, of grow-diag-final-and)
HAND_MADE = {
    "nothing at all": ("..  ..", "..  ..", "..  ..", "..  .."),
    "one word each": ("B", "x", "x", "x"),
    # The diagonal is accepted; 0-1 and 2-1 lie beside it but all their words are covered.
    "no free word": ("BF. .B. .RB", "x.. .x. ..x", "x.. .x. ..x", "x.. .x. ..x"),
    # 1-1 is accepted after 0-0 touches it, 2-2 after 1-1: one chain, diagonally.
    "diagonal chain": ("B.. .F. ..R", "x.. .x. ..x", "x.. .x. ..x", "x.. .x. ..x"),
    # 0-3 is tried first and touches nothing yet; 1-2 touches 2-3; 0-3 follows in a second pass.
    "backwards chain": ("...F ..R. ...B", "...x ..x. ...x", "...x ..x. ...x", "...x ..x. ...x"),
    # 0-0 and 0-1 both touch 1-1. 0-0 comes first and covers row 0, column 0; 0-1 then finds no
    # free word. symal would take both.
    "atools, not symal": ("FR .B", "x. .x", "x. .x", "x. .x"),
    # 0-3 is far away and both its words are free: every `final` takes it, grow-diag does not.
    "far, both free": ("...F B... ....", ".... x... ....", "...x x... ....", "...x x... ...."),
    # 0-2 is far from 0-0 and row 0 is covered: `final` takes it (column 2 is free), `and` not.
    "far, one free": ("B.F ...", "x.. ...", "x.x ...", "x.. ..."),
    # No intersection: growing has nowhere to start. Forward first: 0-1, then of the reverse
    # aligner 0-0 (only column 0 is free) and 1-0 (row 1 is free; without 0-0, column 0 too).
    "disjoint, forward first": ("RF R.", ".. ..", "xx x.", ".x x."),
    # 0-0, then 0-1 (only column 1 is free), 1-0 (only row 1 is free); 1-1 is left with no free word
    # in `final`, and with two in `and`, which took neither 0-1 nor 1-0.
    "disjoint, crossing": ("FR RR", ".. ..", "xx x.", "x. .x"),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_grids(name: str) -> None:
    grid, grown, final, final_and = HAND_MADE[name]
    forward, reverse = read_grid(grid, "FB"), read_grid(grid, "RB")
    assert intersection(forward, reverse) == read_grid(grid, "B")
    assert union(forward, reverse) == read_grid(grid, "FRB")
    assert grow_diag(forward, reverse) == read_grid(grown, "x")
    assert grow_diag_final(forward, reverse) == read_grid(final, "x")
    assert grow_diag_final_and(forward, reverse) == read_grid(final_and, "x")


def test_order_of_the_two_aligners_matters_in_final() -> None:
    one, other = {(0, 0)}, {(0, 1), (1, 0)}
    assert grow_diag_final_and(one, other) == {(0, 0)}
    assert grow_diag_final_and(other, one) == {(0, 1), (1, 0)}


def literal_atools(name: str, forward: Links, reverse: Links, rows: int, columns: int) -> Links:
    """The loops of atools over dense grids, by its rules and in its order."""
    aligned = [
        [(i, j) in forward and (i, j) in reverse for j in range(columns)] for i in range(rows)
    ]

    def row_free(i: int) -> bool:
        return not any(aligned[i])

    def column_free(j: int) -> bool:
        return not any(row[j] for row in aligned)

    def touches(i: int, j: int) -> bool:
        return any(
            aligned[k][n]
            for k in range(max(i - 1, 0), min(i + 2, rows))
            for n in range(max(j - 1, 0), min(j + 2, columns))
            if (k, n) != (i, j)
        )

    cells = [(i, j) for i in range(rows) for j in range(columns)]
    growing = True
    while growing:
        growing = False
        for i, j in cells:
            eligible = (i, j) in forward or (i, j) in reverse
            free = row_free(i) or column_free(j)
            if eligible and not aligned[i][j] and free and touches(i, j):
                aligned[i][j] = growing = True
    for links in (forward, reverse) if name != "grow-diag" else ():
        for i, j in cells:
            either = row_free(i) or column_free(j)
            both = row_free(i) and column_free(j)
            if (i, j) in links and (both if name == "grow-diag-final-and" else either):
                aligned[i][j] = True
    return {(i, j) for i, j in cells if aligned[i][j]}


def random_pairs(count: int, seed: int) -> list[tuple[Links, Links, int, int]]:
    draw = random.Random(seed)
    pairs = []
    for _ in range(count):
        rows, columns = draw.randint(1, 8), draw.randint(1, 8)
        density = draw.choice([0.05, 0.15, 0.3, 0.6])
        cells = [(i, j) for i in range(rows) for j in range(columns) if draw.random() < density]
        forward = {cell for cell in cells if draw.random() < 0.7}
        reverse = {cell for cell in cells if draw.random() < 0.7}
        pairs.append((forward, reverse, rows, columns))
    return pairs


@pytest.mark.parametrize("name", ["grow-diag", "grow-diag-final", "grow-diag-final-and"])
def test_random_grids_against_literal_atools(name: str) -> None:
    for forward, reverse, rows, columns in random_pairs(1500, seed=11):
        expected = literal_atools(name, forward, reverse, rows, columns)
        assert symmetrize(name, forward, reverse) == expected, (forward, reverse)


def test_methods_are_nested() -> None:
    for forward, reverse, _, _ in random_pairs(1500, seed=12):
        outcome = {name: symmetrize(name, forward, reverse) for name in NAMES}
        assert outcome["intersection"] <= outcome["grow-diag"]
        assert outcome["grow-diag"] <= outcome["grow-diag-final"] <= outcome["union"]
        assert outcome["grow-diag"] <= outcome["grow-diag-final-and"] <= outcome["union"]


def test_final_leaves_no_linked_word_uncovered() -> None:
    for forward, reverse, _, _ in random_pairs(500, seed=13):
        final, everything = grow_diag_final(forward, reverse), union(forward, reverse)
        assert {i for i, _ in final} == {i for i, _ in everything}
        assert {j for _, j in final} == {j for _, j in everything}


@pytest.mark.parametrize("name", NAMES)
def test_equal_inputs_come_back_unchanged_and_untouched(name: str) -> None:
    forward, reverse = {(0, 0), (0, 1), (3, 2)}, {(0, 0), (0, 1), (3, 2)}
    assert symmetrize(name, forward, reverse) == {(0, 0), (0, 1), (3, 2)}
    assert forward == reverse == {(0, 0), (0, 1), (3, 2)}
    assert symmetrize(name, iter([(1, 1)]), iter([(1, 1)])) == {(1, 1)}


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="grow-diag-final-and"):
        symmetrize("grow", set(), set())
