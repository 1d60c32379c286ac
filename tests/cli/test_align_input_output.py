"""`latentnlp align`: one line of links a line of text, in order, whatever the text looks like."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from command import Command
from toy_corpus import FAST, ToyCorpus, parse, write_lines

from latentnlp.symmetrization import NAMES

Trained = tuple[Path, list[str]]

# The toy corpus is easy: so little is made of its words that the two directions disagree.
BLUNT = ("--set", "decoding.sharpness=0.5")


def both_sides(corpus: ToyCorpus, separator: str) -> list[str]:
    return [separator.join(pair) for pair in zip(corpus.source, corpus.target, strict=True)]


def test_lines_without_links_keep_their_place(
    latentnlp: Command, corpus: ToyCorpus, tmp_path: Path
) -> None:
    """Blank on one side, blank on both, too long, at both ends: an empty line in that place."""
    source, target = list(corpus.source), list(corpus.target)
    long = " ".join(f"w{n}" for n in range(13))
    holes = {
        0: ("", ""),
        5: ("", target[5]),
        6: (" \t ", "x y"),
        9: (source[9], ""),
        20: (long, "x"),
    }
    holes |= {21: ("x", long), len(source) - 1: ("", "")}
    for line, (one, other) in holes.items():
        source[line], target[line] = one, other
    files = [write_lines(tmp_path / "s", source), write_lines(tmp_path / "t", target)]
    done = latentnlp("align", *files, *FAST, "--set", "text.max_length=12")
    assert done.code == 0
    assert len(done.lines) == len(source)
    assert [n for n, line in enumerate(done.lines) if not line] == sorted(holes)
    assert "5 pairs with an empty side and 2 longer than 12 words get no links" in done.err
    kept = [n for n in range(len(source)) if n not in holes]
    right = [set(parse(done.lines[n])) & corpus.gold[n] for n in kept]
    assert sum(map(len, right)) > 0.8 * sum(len(corpus.gold[n]) for n in kept)


def test_every_input_format_gives_the_same_links(
    latentnlp: Command,
    corpus: ToyCorpus,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, links = trained
    bars = write_lines(tmp_path / "bars", both_sides(corpus, " ||| "))
    tsv = write_lines(tmp_path / "pairs.tsv", both_sides(corpus, "\t"))
    other = write_lines(tmp_path / "tabs.txt", both_sides(corpus, "\t"))
    crlf = [
        write_lines(tmp_path / "crlf.s", corpus.source, "\r\n"),
        write_lines(tmp_path / "crlf.t", corpus.target, "\r\n"),
    ]
    packed = []
    for name, lines in (("s.gz", corpus.source), ("t.gz", corpus.target)):
        with gzip.open(tmp_path / name, "wt", newline="") as file:
            file.write("\n".join(lines))  # and no end of the last line
        packed.append(tmp_path / name)
    inputs: list[list[str | Path]] = [
        [bars],
        [tsv],
        [other, "--input-format", "tsv"],
        [*crlf],
        [*packed],
    ]
    for one in inputs:
        assert latentnlp("align", *one, "--model", model, "--quiet").lines == links, one

    content = Path(bars).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert latentnlp("align", "-", "--model", model, "--quiet").lines == links


def test_output_formats(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    model, links = trained
    text = corpus.write(tmp_path)
    expected = [sorted(parse(line)) for line in links]

    def align(fmt: str) -> list[str]:
        done = latentnlp("align", *text, "--model", model, "--format", fmt)
        assert done.code == 0
        return done.lines

    assert align("pharaoh") == links

    scored = align("pharaoh-scores")
    assert [sorted(parse(line)) for line in scored] == expected
    values = [float(item.partition(":")[2]) for line in scored for item in line.split()]
    assert all(0 < value <= 1.0001 for value in values) and min(values) < max(values)

    jsonl = [json.loads(line) for line in align("jsonl")]
    assert [record["id"] for record in jsonl] == list(range(len(corpus)))
    assert [[tuple(link) for link in record["links"]] for record in jsonl] == expected
    assert [value for record in jsonl for value in record["scores"]] == values
    assert all(0 < record["confidence"] <= 1 for record in jsonl)

    naacl = [line.split() for line in align("naacl")]
    flat = [(n, i, j) for n, row in enumerate(expected) for i, j in row]
    assert [(int(n) - 1, int(i) - 1, int(j) - 1) for n, i, j, _, _ in naacl] == flat
    assert {row[3] for row in naacl} == {"S"}
    assert [float(row[4]) for row in naacl] == values


def test_confidence_tells_pairs_that_do_not_belong_together(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    """The same sentences, and each with the translation of the one before."""
    model, links = trained
    source, target = corpus.source, corpus.target
    mixed = ToyCorpus([*source, *source, ""], [*target, *target[-1:], *target[:-1], "x"], [])
    align = ["align", *mixed.write(tmp_path), "--model", model, "--quiet"]
    done = latentnlp(*align, "--confidence", tmp_path / "confidence")
    assert done.lines[: len(corpus)] == links
    values = [float(line) for line in (tmp_path / "confidence").read_text().splitlines()]
    assert len(values) == 2 * len(corpus) + 1 and values[-1] == 0.0
    good, bad = values[: len(corpus)], values[len(corpus) : -1]
    wins = [one > other for one in good for other in bad]
    assert sum(wins) / len(wins) > 0.95  # the area under the curve
    jsonl = latentnlp(*align, "--format", "jsonl").lines
    assert [json.loads(line)["confidence"] for line in jsonl] == values


def test_links_of_each_direction(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    model, _ = trained
    text = corpus.write(tmp_path)
    one, other = tmp_path / "forward", tmp_path / "reverse"
    align = ["align", *text, "--model", model, "--quiet", *BLUNT]
    done = latentnlp(
        *align, "--decode", "intersection", "--forward-links", one, "--reverse-links", other
    )
    forward, reverse = (
        [parse(line) for line in path.read_text().splitlines()] for path in (one, other)
    )
    # Each target word has one source word or none, and the other way round.
    assert all(len({j for _, j in links}) == len(links) for links in forward)
    assert all(len({i for i, _ in links}) == len(links) for links in reverse)
    assert forward != reverse
    both = [f & r for f, r in zip(forward, reverse, strict=True)]
    assert [parse(line) for line in done.lines] == both
    assert latentnlp(*align, "--decode", "intersection").lines == done.lines


def test_ways_to_decode(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    model, links = trained
    align = ["align", *corpus.write(tmp_path), "--model", model, "--quiet"]

    def found(*options: str) -> list[frozenset[tuple[int, int]]]:
        done = latentnlp(*align, *options)
        assert done.code == 0 and len(done.lines) == len(corpus)
        return [parse(line) for line in done.lines]

    def within(small: list, large: list) -> bool:
        return all(one <= other for one, other in zip(small, large, strict=True))

    ways = {name: found("--decode", name, *BLUNT) for name in NAMES}
    assert set(ways) == {
        "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
    }  # fmt: skip
    assert all(within(ways["intersection"], links) for links in ways.values())
    assert all(within(links, ways["union"]) for links in ways.values())
    assert ways["intersection"] != ways["union"]
    assert within(ways["grow-diag"], ways["grow-diag-final"])

    assert found("--decode", "agreement") == [parse(line) for line in links]
    some = [found("--threshold", value) for value in ("0.05", "0.5", "0.95")]
    assert within(some[2], some[1]) and within(some[1], some[0]) and some[0] != some[2]
    # Whatever is decoded, the scores lie above the threshold of the agreement.
    done = latentnlp(*align, "--threshold", "0.95", "--format", "pharaoh-scores")
    assert all(float(x.partition(":")[2]) >= 0.95 for x in done.out.split())


def test_unknown_words(
    latentnlp: Command, corpus: ToyCorpus, trained: Trained, tmp_path: Path
) -> None:
    """New text may have words that the model never saw; a known word beside them still counts."""
    model, _ = trained
    source = ["qqq " + corpus.source[0], "qqq", "", "qqq rrr sss"]
    target = ["zzz " + corpus.target[0], "zzz", "zzz", "zzz"]
    files = [write_lines(tmp_path / "s", source), write_lines(tmp_path / "t", target)]
    done = latentnlp("align", *files, "--model", model)
    assert done.code == 0 and len(done.lines) == 4 and done.lines[2] == ""
    shifted = {(i + 1, j + 1) for i, j in corpus.gold[0]}
    assert len(parse(done.lines[0]) & shifted) >= len(shifted) - 1
