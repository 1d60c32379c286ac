"""`latentnlp evaluate translation` on small files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Command, Refused
from toy_corpus import write_lines

from latentnlp.evaluation.translation import TOKENIZERS

REFERENCE = ["ein mann mit einem hut .", "zwei hunde laufen , ja .", "das ist gut ."]
GOOD = ["ein mann mit einem hut .", "zwei hunde laufen , nein .", "das ist gut ."]
BAD = ["ein hut mit mann .", "", "das war gut ."]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    pairs = (("good", GOOD), ("bad", BAD), ("reference", REFERENCE))
    return [write_lines(tmp_path / name, lines) for name, lines in pairs]


def test_the_table(latentnlp: Command, files: list[str]) -> None:
    good, bad, reference = files
    done = latentnlp("evaluate", "translation", reference, reference, "--tokenize", "none")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.lines[1:]] == [
        "BLEU", "chrF2", "chrF2++", "TER", "BLEU's",
    ]  # fmt: skip
    assert done.lines[0].split() == ["score", "signature"]
    assert done.lines[1].startswith("BLEU     100.00 (100.00 ± 0.00)  BLEU|nrefs:1|bs:1000|")
    assert done.lines[4].startswith("TER      0.00 (0.00 ± 0.00)      TER|nrefs:1|")
    assert done.lines[5].endswith("length ratio 1.000; 3 sentences")

    done = latentnlp(
        "evaluate", "translation", good, reference, "--baseline", bad, "--detokenize", "de",
        "--samples", "50", "--seed", "3",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.lines[0].split() == ["score", "baseline", "p", "signature"]
    assert "|bs:50|seed:3|" in done.lines[1] and "|detok:de-sacremoses-" in done.lines[1]


def test_json(latentnlp: Command, files: list[str]) -> None:
    good, bad, reference = files
    options = ["--tokenize", "none", "--samples", "20", "--json"]
    done = latentnlp("evaluate", "translation", good, reference, "--baseline", bad, *options)
    assert len(done.lines) == 1
    found = json.loads(done.out)
    assert found["sentences"] == 3
    assert found["system"]["BLEU"]["score"] > found["baseline"]["BLEU"]["score"]
    assert 0 < found["system"]["TER"]["p_value"] <= 1
    assert found["precisions"][0] == pytest.approx(100 * 15 / 16)
    done = latentnlp("evaluate", "translation", good, reference, good, *options)
    assert json.loads(done.out)["system"]["TER"]["score"] == 0  # the better of two references


def test_a_word_about_tokenised_text(latentnlp: Command, files: list[str], tmp_path: Path) -> None:
    good, _, reference = files
    done = latentnlp("evaluate", "translation", good, reference, "--samples", "5")
    assert done.code == 0 and len(done.lines) == 6
    assert done.err == (
        f"latentnlp: {good} looks tokenised, but --tokenize 13a is for running text: give "
        "--detokenize LANG, or --tokenize none\n"
    )
    running = write_lines(tmp_path / "running", ["Ein Hut."] * 3)
    assert not latentnlp("evaluate", "translation", running, running, "--samples", "5").err


def test_every_tokenizer_of_the_library_is_offered(latentnlp: Command, files: list[str]) -> None:
    for name in TOKENIZERS:
        done = latentnlp(
            "evaluate", "translation", files[0], files[2], "--tokenize", name, "--samples", "2"
        )
        assert done.code == 0 and f"|tok:{name}|" in done.out


def test_bad_input(refused: Refused, files: list[str], tmp_path: Path) -> None:
    good, _, reference = files
    command = ["evaluate", "translation"]
    short, empty = (write_lines(tmp_path / f"{n}", ["a"] * n) for n in (2, 0))
    message = refused(*command, good, short)
    assert message.startswith(f"{short} has 2 lines but {good} has 3")
    message = refused(*command, good, reference, "--baseline", short)
    assert message.startswith(f"{short} has 2 lines but {good} has 3")
    assert refused(*command, empty, empty).startswith(f"{empty}: no line")
    assert refused(*command, good, "nowhere") == "nowhere: no such file"
    assert "-" in refused(*command, "-", "-")
    for option, value in (("samples", "0"), ("seed", "0"), ("detokenize", "German")):
        assert option in refused(*command, good, reference, f"--{option}", value)
