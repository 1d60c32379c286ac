"""`latentnlp evaluate alignment` on files whose score was worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Command, Refused
from toy_corpus import write_lines

# |A| = 5, |S| = 4, |A ∩ S| = 3, |A ∩ P| = 4:  AER = 1 - 7/9, precision 4/5, recall 3/4.
LINKS = ["0-0 1-1 1-2", "", "0-0 2-1"]
PHARAOH = ["0-0 1-1 1p2", "", "0-0 1-1"]
EXPECTED = {
    "aer": 2 / 9,
    "precision": 0.8,
    "recall": 0.75,
    "f1": 2 * 0.8 * 0.75 / 1.55,
    "predicted": 5,
    "sure": 4,
    "possible": 5,
    "predicted_sure": 3,
    "predicted_possible": 4,
    "sentences": 3,
}


@pytest.fixture
def links(tmp_path: Path) -> str:
    return write_lines(tmp_path / "links", LINKS)


def check(found: dict) -> None:
    assert {name: found[name] for name in EXPECTED} == pytest.approx(EXPECTED)


def test_every_form_of_gold(latentnlp: Command, links: str, tmp_path: Path) -> None:
    naacl = ["1 1 1 S", "1 2 2", "1 2 3 P 0.5", "3 2 2 S 1", "3 1 1 S", "3 0 2 S"]
    golds = {
        (): write_lines(tmp_path / "0", PHARAOH),
        ("--gold-format", "pharaoh"): write_lines(tmp_path / "q", ["0-0 1-1 1?2", *PHARAOH[1:]]),
        ("--gold-base", "1"): write_lines(tmp_path / "1", ["1-1 2-2 2p3", "", "1-1 2-2"]),
        ("--gold-format", "auto"): write_lines(tmp_path / "n", naacl),
        ("--gold-format", "naacl"): write_lines(tmp_path / "m", naacl[::-1]),
    }
    for options, gold in golds.items():
        done = latentnlp("evaluate", "alignment", links, gold, *options, "--json")
        assert done.code == 0 and len(done.lines) == 1
        check(json.loads(done.out))


def test_links_with_scores_and_from_one(latentnlp: Command, tmp_path: Path) -> None:
    gold = write_lines(tmp_path / "gold", PHARAOH)
    scored = ["1-1:0.9 2-2:1 2-3:0.31", "", "1-1:0.5 3-2:1e-05"]
    done = latentnlp(
        "evaluate", "alignment", write_lines(tmp_path / "l", scored), gold, "--base", "1", "--json"
    )
    check(json.loads(done.out))


def test_the_line_for_people(latentnlp: Command, links: str, tmp_path: Path) -> None:
    gold = write_lines(tmp_path / "gold", PHARAOH)
    done = latentnlp("evaluate", "alignment", links, gold)
    assert done.out.startswith(
        "AER 22.22  precision 80.00  recall 75.00  F1 77.42  links 5  "
        "AER|sent:3|sure:4|possible:5|null:dropped|version:latentnlp-"
    )


def test_only_annotated_words(latentnlp: Command, links: str, tmp_path: Path) -> None:
    """2-1 is left out, for neither of its words was annotated; 1-2 stays, for one of them was."""
    gold = write_lines(tmp_path / "gold", PHARAOH)
    words = write_lines(tmp_path / "words", ["0 1 ||| 0 1", "|||", "0 1 ||| 0"])
    done = latentnlp("evaluate", "alignment", links, gold, "--annotated", words, "--json")
    found = json.loads(done.out)
    assert (found["predicted"], found["precision"]) == (4, 1.0)
    assert found["aer"] == pytest.approx(1 - 7 / 8)


def test_a_link_outside_its_sentence(refused: Refused, links: str, tmp_path: Path) -> None:
    text = [
        write_lines(tmp_path / "s", ["a b", "", "a b c"]),
        write_lines(tmp_path / "t", ["x y z", "", "x y"]),
    ]
    gold = write_lines(tmp_path / "gold", ["0-0 1-1", "", "0-0 1p2"])
    message = refused("evaluate", "alignment", links, gold, "--text", *text)
    assert message.startswith(f"{gold}, line 3: link '1p2' is out of range")
    assert "target sentence 3 has 2 words" in message

    naacl = write_lines(tmp_path / "naacl", ["1 1 1 S", "3 4 1 P"])
    message = refused("evaluate", "alignment", links, naacl, "--text", *text)
    assert message.startswith(f"{naacl}, line 2: link '3 4 1 P' is out of range")
    assert "source sentence 3 has 3 words" in message

    wild = write_lines(tmp_path / "wild", ["0-0 2-1", "", ""])
    message = refused("evaluate", "alignment", wild, gold, "--text", *text)
    assert message.startswith(f"{wild}, line 1: link '2-1' is out of range")


def test_files_that_do_not_belong_together(refused: Refused, links: str, tmp_path: Path) -> None:
    short = write_lines(tmp_path / "short", PHARAOH[:2])
    message = refused("evaluate", "alignment", links, short)
    assert message.startswith(f"{short} has 2 lines but the text has 3 sentence pairs")
    beyond = write_lines(tmp_path / "beyond", ["1 1 1", "4 1 1"])
    message = refused("evaluate", "alignment", links, beyond)
    assert f"{beyond}, line 2: sentence 4 of link" in message
    other = write_lines(tmp_path / "other", ["0-0 1:1", "", ""])
    assert "line 1: '1:1' is not a link" in refused("evaluate", "alignment", links, other)
    zero = refused("evaluate", "alignment", links, links, "--gold-base", "1")
    assert "line 1: link '0-0' is below 1" in zero
    absent = tmp_path / "no"
    assert refused("evaluate", "alignment", links, absent) == f"{absent}: no such file"


SCORED = ["0-0:0.95 1-1:0.85 1-2:0.81", "", "0-0:0.87 2-1:0.2"]  # 0-0, 1-1, 1-2 and 0-0 are right


def test_calibration(latentnlp: Command, tmp_path: Path) -> None:
    gold = write_lines(tmp_path / "gold", PHARAOH)
    records = [
        {"id": 0, "links": [[0, 0], [1, 1], [1, 2]], "scores": [0.95, 0.85, 0.81]},
        {"id": 1, "links": [], "scores": []},
        {"id": 2, "links": [[0, 0], [2, 1]], "scores": [0.87, 0.2]},
    ]
    jsonl = write_lines(tmp_path / "scores.jsonl", list(map(json.dumps, records)))
    expected = [
        "score      links  mean score  right",
        "0.2-0.3        1       0.200  0.000",
        "0.8-0.9        3       0.843  1.000",
        "0.9-1.0        1       0.950  1.000",
        "expected calibration error 0.144",  # (.2 + .15 + .19 + .13 + .05) / 5
    ]
    for links in (jsonl, write_lines(tmp_path / "scored", SCORED)):
        done = latentnlp("evaluate", "alignment", links, gold, "--calibration")
        assert (done.code, done.lines) == (0, expected)
    done = latentnlp("evaluate", "alignment", jsonl, gold, "--calibration", "--json")
    found = json.loads(done.out)
    assert found["expected_calibration_error"] == pytest.approx(0.144)
    assert [one["count"] for one in found["bins"]] == [1, 3, 1]


def test_calibration_of_what_has_no_scores(refused: Refused, links: str, tmp_path: Path) -> None:
    gold = write_lines(tmp_path / "gold", PHARAOH)
    calibration = ["evaluate", "alignment", "--calibration"]
    message = refused(*calibration, links, gold)
    assert message.startswith(f"{links}, line 1: expected links with scores from 0 to 1")
    scored = write_lines(tmp_path / "scored", SCORED[:2])
    assert f"{gold} has 3 lines but the text has 2" in refused(*calibration, scored, gold)
    message = refused(*calibration, scored, gold, "--annotated", gold)
    assert "does not go with --annotated" in message
