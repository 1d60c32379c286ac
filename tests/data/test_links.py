"""Every link format read and written, and every bad link named."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest

from latentnlp.data.links import (
    FORMATS,
    Gold,
    format_pharaoh,
    read_gold,
    read_links,
    read_naacl,
    read_scores,
    write_links,
)
from latentnlp.errors import UserError


def write(folder: Path, text: str) -> Path:
    (folder / "gold").write_text(text, encoding="utf-8", newline="")
    return folder / "gold"


def gold(sure: set, possible: set = frozenset()) -> Gold:  # type: ignore[assignment]
    return Gold(frozenset(sure), frozenset(sure | possible))


# --- reading --------------------------------------------------------------------------------------


def test_pharaoh_sure_and_possible(tmp_path: Path) -> None:
    path = write(tmp_path, "0-0 1p2 3?4\n\n2-1 2p1 2-1\r\n  5-6\t7-8:0.93 1-1:1e-05")
    assert read_links(path) == [
        gold({(0, 0)}, {(1, 2), (3, 4)}),
        gold(set()),
        gold({(2, 1)}),
        gold({(5, 6), (7, 8), (1, 1)}),
    ]


def test_pharaoh_from_one(tmp_path: Path) -> None:
    assert read_links(write(tmp_path, "1-2 3p1\n"), base=1) == [gold({(0, 1)}, {(2, 0)})]
    with pytest.raises(UserError, match=r"gold, line 2: link '0-1' is below 1.*check the base"):
        read_links(write(tmp_path, "1-1\n0-1\n"), base=1)


NOT_LINKS = "1 1- -1 1--2 1-2-3 1_2 1P2 a-b -1-2 1-2: 1-2:x 1,2 １-２ 1.0-2 9999999999-1"


@pytest.mark.parametrize("item", NOT_LINKS.split())
def test_what_is_not_a_link(tmp_path: Path, item: str) -> None:
    with pytest.raises(UserError, match=r"gold, line 2: '.*' is not a link; expected i-j") as error:
        read_links(write(tmp_path, f"0-0\n0-0 {item} 1-1\n"))
    assert repr(item) in str(error.value)


def test_a_link_outside_its_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, "1-2\n0-0 2p1\n")
    assert read_links(path, source_lengths=[2, 3], target_lengths=[3, 2])
    with pytest.raises(
        UserError, match=r"line 2: link '2p1' is out of range; the source sentence 2 has 2 words"
    ):
        read_links(path, source_lengths=[2, 2])
    with pytest.raises(
        UserError, match=r"line 1: link '1-2' is out of range; the target sentence 1 has 2 words"
    ):
        read_links(path, target_lengths=[2, 2])
    with pytest.raises(UserError, match="out of range; the source sentence 1 has 1 words"):
        read_links(write(tmp_path, "2-1\n"), base=1, source_lengths=[1], target_lengths=[1])


@pytest.mark.parametrize("lengths", [[9], [9, 9, 9]])
def test_another_number_of_lines(tmp_path: Path, lengths: list[int]) -> None:
    path = write(tmp_path, "0-0\n1-1\n")
    message = f"gold has 2 lines but the text has {len(lengths)} sentence pairs"
    with pytest.raises(UserError, match=message):
        read_links(path, source_lengths=lengths)
    with pytest.raises(UserError, match=message):
        read_links(path, target_lengths=lengths)
    with pytest.raises(UserError, match=message):
        read_gold(path, sentences=len(lengths))


NAACL = "3 1 2 S\n1 1 1\n1 2 3 P 0.5\n1 2 2 P\n1 2 2 S\n0003 4 1 0.25\n2 0 3 S\n2 1 0 P\n"
NAACL_GOLD = [gold({(0, 0), (1, 1)}, {(1, 2)}), gold(set()), gold({(0, 1), (3, 0)})]


def test_naacl_in_any_order(tmp_path: Path) -> None:
    lines, path = NAACL.splitlines(keepends=True), tmp_path / "gold"
    for seed in range(10):
        random.Random(seed).shuffle(lines)
        path = write(tmp_path, "".join(lines) + "\n")
        assert read_naacl(path) == NAACL_GOLD
        assert read_naacl(path, sentences=5) == [*NAACL_GOLD, gold(set()), gold(set())]
    assert read_naacl(path, None, [2, 1, 4], [3, 3, 2]) == NAACL_GOLD
    assert read_naacl(write(tmp_path, "")) == []


@pytest.mark.parametrize(
    "line", ["1 1", "1 1 1 X", "1 1 1 S S", "1 1 1 S 0.5 0.5", "1 1 x", "1 -1 1", "1-1", "1 1 1 s"]
)
def test_what_is_not_a_naacl_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(
        UserError, match=r"gold, line 2: '.*' is not a link; expected 'sentence i j"
    ):
        read_naacl(write(tmp_path, f"1 1 1\n{line}\n"))


def test_naacl_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path, "1 1 1 S\n2 3 1 P\n")
    with pytest.raises(UserError, match=r"line 2: sentence 2 of link .* is out of range.*1$"):
        read_naacl(path, sentences=1)
    with pytest.raises(UserError, match="line 1: sentence 0 of link"):
        read_naacl(write(tmp_path, "0 1 1\n"))
    path = write(tmp_path, "1 1 1 S\n2 3 1 P\n")
    with pytest.raises(
        UserError, match="line 2: link '2 3 1 P' is out of range; the source sentence 2 has 2 words"
    ):
        read_naacl(path, source_lengths=[1, 2])
    with pytest.raises(UserError, match="line 2: sentence 2 of link"):
        read_naacl(path, target_lengths=[1])


def test_auto_tells_the_formats_apart(tmp_path: Path) -> None:
    for first in ("1 1 1", "1 1 1 S", "1 1 1 P 0.3", "1 1 1 0.3", "\n1 1 1"):
        assert read_gold(write(tmp_path, first + "\n"))[0].possible == {(0, 0)}
    for first in ("0-0", "\n0-0", "0p0 1-1 2-2", "0-0:0.5"):
        assert (0, 0) in read_gold(write(tmp_path, first + "\n"))[-1].possible
    assert read_gold(write(tmp_path, "\n\n")) == [gold(set())] * 2
    assert read_gold(write(tmp_path, "1-1\n"), base=1) == [gold({(0, 0)})]
    with pytest.raises(UserError, match="'1' is not a link"):
        read_gold(write(tmp_path, "1 1 1\n"), fmt="pharaoh")
    with pytest.raises(UserError, match="unknown format 'giza'"):
        read_gold(write(tmp_path, ""), fmt="giza")
    with pytest.raises(UserError, match="say which format"):
        read_gold("-")


def test_missing_and_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_gold(tmp_path / "nowhere")
    (tmp_path / "gold").write_bytes(b"0-0 \xff\n")
    with pytest.raises(UserError, match="gold, line 1, byte 5: not valid UTF-8"):
        read_links(tmp_path / "gold")


def test_gold_keeps_sure_inside_possible() -> None:
    with pytest.raises(ValueError, match="sure"):
        Gold(frozenset({(0, 0)}), frozenset())


# --- writing --------------------------------------------------------------------------------------

LINKS = [{(1, 10), (1, 2), (0, 0)}, set(), frozenset({(2, 1)})]
SCORES = [{(1, 10): 0.93, (1, 2): 1.0, (0, 0): 1e-5, (9, 9): 0.1}, {}, {(2, 1): 0.123456}]
WORDS = [(["a", "b"], ["é", "\u2028"]), ([], ["x"]), (["c"], ["d"])]


def written(fmt: str, **more) -> str:
    stream = io.StringIO()
    write_links(stream, iter(LINKS), fmt, **more)
    return stream.getvalue()


def test_each_format() -> None:
    assert format_pharaoh(LINKS[0]) == "0-0 1-2 1-10"
    assert format_pharaoh(LINKS[0], SCORES[0]) == "0-0:1e-05 1-2:1 1-10:0.93"
    assert format_pharaoh([]) == ""
    assert written("pharaoh") == written("pharaoh", scores=SCORES) == "0-0 1-2 1-10\n\n2-1\n"
    assert written("pharaoh-scores", scores=SCORES) == ("0-0:1e-05 1-2:1 1-10:0.93\n\n2-1:0.1235\n")
    assert written("naacl") == "1 1 1 S\n1 2 3 S\n1 2 11 S\n3 3 2 S\n"
    assert written("naacl", scores=SCORES).splitlines()[-1] == "3 3 2 S 0.1235"
    records = [json.loads(line) for line in written("jsonl").split("\n")[:-1]]
    assert records[0] == {"id": 0, "links": [[0, 0], [1, 2], [1, 10]]}
    assert records[1] == {"id": 1, "links": []}
    full = [json.loads(x) for x in written("jsonl", scores=SCORES, words=WORDS).split("\n")[:-1]]
    assert full[2] == {
        "id": 2,
        "links": [[2, 1]],
        "scores": [0.1235],
        "source": ["c"],
        "target": ["d"],
    }
    assert full[0]["target"] == ["é", "\u2028"]
    with_confidence = written("jsonl", confidences=[0.5, 0.0, 0.123456]).split("\n")
    assert [json.loads(x)["confidence"] for x in with_confidence[:-1]] == [0.5, 0.0, 0.1235]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fmt", ["pharaoh", "pharaoh-scores", "naacl"])
def test_what_is_written_is_read_back(tmp_path: Path, fmt: str, seed: int) -> None:
    rng = random.Random(seed)
    links = [
        frozenset((rng.randrange(12), rng.randrange(12)) for _ in range(rng.randrange(9)))
        for _ in range(20)
    ]
    scores = [{link: rng.random() for link in row} for row in links]
    write_links(tmp_path / "out" / "links", links, fmt, scores)
    expected = [Gold(row, row) for row in links]
    assert read_gold(tmp_path / "out" / "links", fmt.split("-")[0], sentences=20) == expected


@pytest.mark.parametrize("fmt", ["pharaoh-scores", "jsonl"])
def test_scores_are_read_back(tmp_path: Path, fmt: str) -> None:
    offered = [{link: one[link] for link in row} for row, one in zip(LINKS, SCORES, strict=True)]
    write_links(tmp_path / "links", LINKS, fmt, SCORES, confidences=[0.1, 0.2, 0.3])
    found = read_scores(tmp_path / "links")
    assert [one.keys() for one in found] == [one.keys() for one in offered]
    for one, other in zip(found, offered, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_scores_from_one(tmp_path: Path) -> None:
    assert read_scores(write(tmp_path, "1-2:0.5\n"), base=1) == [{(0, 1): 0.5}]
    # JSON lines always count from 0.
    line = '{"links": [[1, 2]], "scores": [1.0000001]}'
    assert read_scores(write(tmp_path, line), base=1) == [{(1, 2): 1.0000001}]


@pytest.mark.parametrize(
    "line",
    ["0-0", "0-0:", "0-0:x", "0-0:1.5", "0-0:-0.1", "0-0:nan", "0:0.5", "0-1-2:0.5", "0-0:1 1-1",
     '{"links": [[0, 0]]}', '{"links": [[0, 0]], "scores": []}', '{"links": [0], "scores": [1]}',
     '{"links": [[-1, 0]], "scores": [1]}', '{"links": [[Infinity, 0]], "scores": [1]}',
     '{"links"', "{}"],
)  # fmt: skip
def test_what_is_no_line_of_scores(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r", line 2: expected links with scores from 0 to 1"):
        read_scores(write(tmp_path, f"0-0:0.5\n{line}\n"))


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_links("-", LINKS)
    assert capsys.readouterr().out == "0-0 1-2 1-10\n\n2-1\n"
    write_links("-", LINKS)
    assert capsys.readouterr().out, "standard output stays open"


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "links"
    path.write_text("old\n")

    def broken():
        yield {(0, 0)}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_links(path, broken())
    for short in ({"scores": SCORES[:1]}, {"words": WORDS[:1]}):
        with pytest.raises(ValueError, match="shorter"):
            write_links(path, LINKS, "jsonl", **short)
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"unknown format 'moses'.*{', '.join(FORMATS)}"):
        write_links(tmp_path / "x", LINKS, "moses")
    with pytest.raises(UserError, match="needs the links' scores"):
        write_links(tmp_path / "x", LINKS, "pharaoh-scores")
    assert not list(tmp_path.iterdir())
