"""Moses' word translation tables: an example by hand, Moses' own way to count, the command."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest
from toy_corpus import write_lines

from latentnlp.cli import main
from latentnlp.data.lexical_table import count_links, write_lexical_tables

SOURCE = ["das Haus", "das", ""]
TARGET = ["the house", "the the", "oh"]
LINKS = ["0-0 1-1", "0-0", ""]
# das: linked to "the" twice; Haus to house once; "the" and "oh" once to nothing.
F2E = ["house Haus 1.0000000", "oh NULL 0.5000000", "the NULL 0.5000000", "the das 1.0000000"]
E2F = ["Haus house 1.0000000", "NULL oh 1.0000000", "NULL the 0.3333333", "das the 0.6666667"]


def lexicon(folder: Path, *options: str, links: list[str] = LINKS) -> int:
    text = [write_lines(folder / "s", SOURCE), write_lines(folder / "t", TARGET)]
    linked = write_lines(folder / "links", links)
    return main(["lexicon", *text, linked, "--out", str(folder / "deep" / "lex"), *options])


def written(prefix: Path) -> tuple[list[str], list[str]]:
    one, other = (prefix.with_name(f"{prefix.name}.{name}") for name in ("f2e", "e2f"))
    return one.read_text("utf-8").splitlines(), other.read_text("utf-8").splitlines()


def test_by_hand(tmp_path: Path) -> None:
    assert lexicon(tmp_path) == 0
    assert written(tmp_path / "deep" / "lex") == (F2E, E2F)
    from_one = ["1-1 2-2", "1-1:0.5", ""]
    assert lexicon(tmp_path, "--base", "1", links=from_one) == 0
    assert written(tmp_path / "deep" / "lex") == (F2E, E2F)


def as_moses(
    source: list[list[str]], target: list[list[str]], links: list[list[tuple[int, int]]]
) -> tuple[list[str], list[str]]:
    """Both files after `get_lexical` of Moses, step by step; their lines sorted."""
    translation: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    total_f: dict[str, int] = defaultdict(int)
    total_e: dict[str, int] = defaultdict(int)
    for f, e, points in zip(source, target, links, strict=True):
        f_aligned: set[int] = set()
        e_aligned: set[int] = set()
        for i, j in points:
            f_aligned.add(i)
            e_aligned.add(j)
            translation[f[i]][e[j]] += 1
            total_f[f[i]] += 1
            total_e[e[j]] += 1
        for j in range(len(e)):
            if j not in e_aligned:
                translation["NULL"][e[j]] += 1
                total_e[e[j]] += 1
                total_f["NULL"] += 1
        for i in range(len(f)):
            if i not in f_aligned:
                translation[f[i]]["NULL"] += 1
                total_f[f[i]] += 1
                total_e["NULL"] += 1
    f2e, e2f = [], []
    for f_word, row in translation.items():
        for e_word, count in row.items():
            f2e.append(f"{e_word} {f_word} {count / total_f[f_word]:.7f}")
            e2f.append(f"{f_word} {e_word} {count / total_e[e_word]:.7f}")
    return sorted(f2e), sorted(e2f)


@pytest.mark.parametrize("seed", range(8))
def test_as_moses_counts(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    pairs = []
    for _ in range(draw.choice([1, 40])):
        sides = [[f"{x}{draw.randrange(6)}" for _ in range(draw.randrange(7))] for x in "fe"]
        cells = [(i, j) for i in range(len(sides[0])) for j in range(len(sides[1]))]
        pairs.append((*sides, draw.sample(cells, min(len(cells), draw.randrange(6)))))
    write_lexical_tables(tmp_path / "lex", count_links(pairs))
    found = written(tmp_path / "lex")
    assert (sorted(found[0]), sorted(found[1])) == as_moses(*map(list, zip(*pairs, strict=True)))
    for lines in found:  # what is given stands together, and its probabilities sum to 1
        rows = [line.split() for line in lines]
        assert [row[1::-1] for row in rows] == sorted(row[1::-1] for row in rows)
        sums: dict[str, float] = defaultdict(float)
        for _, given, p in rows:
            sums[given] += float(p)
        assert all(total == pytest.approx(1, abs=1e-5) for total in sums.values())
    write_lexical_tables(tmp_path / "again", count_links(pairs[::-1]))
    assert written(tmp_path / "again") == found


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (LINKS[:2], "links has 2 lines but the text has 3 sentence pairs"),
        ([*LINKS, "", "7-7"], "links has 5 lines but the text has 3 sentence pairs"),
        (["0-2", "", ""], "links, line 1: link '0-2' is out of range; the target"),
        (["", "0:0", ""], "links, line 2: '0:0' is not a link"),
    ],
)
def test_links_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], links: list[str], expected: str
) -> None:
    assert lexicon(tmp_path) == 0
    assert lexicon(tmp_path, links=links) == 2
    error = capsys.readouterr().err
    assert f"latentnlp: error: {tmp_path}" in error and expected in error
    assert error.count("\n") == 1
    # What was there before is there still, and nothing beside it.
    assert written(tmp_path / "deep" / "lex") == (F2E, E2F)
    assert len(list((tmp_path / "deep").iterdir())) == 2


def test_sides_of_unequal_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = write_lines(tmp_path / "s", SOURCE), write_lines(tmp_path / "t", TARGET[:2])
    links = write_lines(tmp_path / "l", LINKS)
    assert main(["lexicon", source, target, links, "--out", str(tmp_path / "lex")]) == 2
    assert f"{source} has 3 lines but {target} has 2" in capsys.readouterr().err
    assert main(["lexicon", source, source, links, "--out", f"{source}/lex"]) == 2
    assert "lex.f2e: cannot be written" in capsys.readouterr().err
