"""The alignment report: well-formed, self-contained, escaped, honest in its choice of examples."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from latentnlp.data.links import Gold
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import score
from latentnlp.report.alignment import (
    CHOICE_RULE,
    AlignmentExample,
    choose_examples,
    render_grid,
    write_alignment_report,
)
from latentnlp.report.chart import line_chart, ticks

VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    """Collects tags and texts, and fails on a tag that is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def classes(self, name: str) -> int:
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.tags)


def gold(sure: set[tuple[int, int]], possible: set[tuple[int, int]]) -> Gold:
    return Gold(frozenset(sure), frozenset(sure | possible))


def example() -> AlignmentExample:
    """Correct sure 0-0, correct possible 1-1, wrong 2-0, missed 2-2, possible 0-1."""
    return AlignmentExample(
        source=["<script>alert('x')</script>", "R&D", '"房子"'],
        target=["البيت", "שלום", "<b>"],
        predicted={(0, 0), (1, 1), (2, 0)},
        posterior=np.array([[0.9, 0.1, 0.0], [0.0, 0.8, 0.2], [0.5, 0.0, 1.0]]),
        gold=gold({(0, 0), (2, 2)}, {(1, 1), (0, 1)}),
        label="Sentence <1> & co",
    )


def write(path: Path, **changes) -> str:
    content = {
        "title": "en & <fr>",
        "score_lines": [score([{(0, 0)}], [gold({(0, 0)}, set())]).format(), "no gold <here>"],
        "summary": {"corpus <x>": "a & b"},
        "curves": {
            "log-likelihood | HMM <forward>": [(1, -8.5), (2, -7.25), (3, -7.0)],
            "log-likelihood | HMM reverse": [(1, -8.0), (2, float("nan"))],
            "dev AER": [(1, 0.3)],
            "nothing yet": [],
        },
        "examples": [example()],
        "note": CHOICE_RULE,
    }
    write_alignment_report(path, **(content | changes))
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_self_contained(tmp_path: Path) -> None:
    text = write(tmp_path / "run" / "report.html")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not {"src", "href", "onload", "onclick"} & {key for _, a in page.tags for key in a}
    assert "http:" not in text and "https:" not in text and "@import" not in text
    assert "url(" not in text
    assert list((tmp_path / "run").iterdir()) == [tmp_path / "run" / "report.html"]


def test_every_text_is_escaped(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html")
    page = Page(text)
    assert "<b>" not in text and "<fr>" not in text and "<script" not in text
    for shown in ("<script>alert('x')</script>", "R&D", '"房子"', "البيت", "שלום", "<b>"):
        assert any(shown in piece for piece in page.texts), shown
    for shown in ("en & <fr>", "corpus <x>", "a & b", "no gold <here>", "HMM <forward>"):
        assert shown in page.texts
    assert "Sentence <1> & co" in page.texts


def test_control_characters_are_replaced(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html", title="a\x00b\x1b[31m")
    assert "a\ufffdb\ufffd[31m" in text and "\x00" not in text and "\x1b" not in text


def test_grid_marks_cells_and_table(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html")
    page = Page(text[text.index('<div class="examples">') : text.index("</main>")])
    marks = {name: page.classes(name) for name in ("right", "wrong", "missed", "sure", "possible")}
    assert marks == {"right": 2, "wrong": 1, "missed": 1, "sure": 1, "possible": 2}
    assert "R&D – שלום\n1-1\nposterior 0.800\ncorrect" in page.texts
    assert "R&D – البيت\n1-0\nposterior 0.000" in page.texts
    assert "3 source and 3 target words; 2 correct, 1 wrong, 1 missed" in page.texts
    shades = [a["fill-opacity"] for tag, a in page.tags if tag == "rect" and "fill-opacity" in a]
    assert shades == ["0.9", "0.1", "0", "0", "0.8", "0.2", "0.5", "0", "1"]
    cells = re.findall(r'<td class="number">(\d-\d)</td>.*?<td>(\w+)</td></tr>', text)
    assert cells == [
        ("0-0", "correct"),
        ("0-1", "possible"),
        ("1-1", "correct"),
        ("2-0", "wrong"),
        ("2-2", "missed"),
    ]


def test_pictures_have_names_for_screen_readers(tmp_path: Path) -> None:
    page = Page(write(tmp_path / "report.html"))
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or (
                attrs.get("role") == "img" and attrs.get("aria-label")
            )
    assert [a["tabindex"] for _, a in page.tags if a.get("class") == "scroll"] == ["0"]


def test_signature_and_curves_are_shown(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html")
    page = Page(text)
    assert any(re.fullmatch(r"AER\|sent:1\|.*version:latentnlp-\S+", t) for t in page.texts)
    assert text.count('<figure class="chart">') == 3  # two lines share one chart
    assert "nothing yet: no values" in page.texts
    assert "HMM <forward>: -7.25 at 2" in page.texts
    assert "nan" not in re.sub(r"<[^>]*>", "", text.split("<body>")[1]).lower()


def test_example_without_gold_or_posterior(tmp_path: Path) -> None:
    plain = AlignmentExample(["a"], ["b", "c"], {(0, 1)})
    page = Page(write(tmp_path / "report.html", examples=[plain]))
    assert "a – c\n0-1\npredicted" in page.texts
    assert page.classes("missed") == page.classes("wrong") == 0
    Page(write(tmp_path / "report.html", examples=[AlignmentExample([], [], set())]))
    Page(write(tmp_path / "report.html", examples=[], curves={}, summary={}, score_lines=[]))


def test_failure_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    before = write(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"report\.html: cannot be written: No space left"):
        write(path, title="another")
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_posterior_must_fit_the_words() -> None:
    with pytest.raises(ValueError, match="link 1-0 lies outside 1 x 1"):
        AlignmentExample(["a"], ["b"], {(1, 0)})
    with pytest.raises(ValueError, match="not of shape 1 x 1"):
        AlignmentExample(["a"], ["b"], set(), [[0.1, 0.2]])


def test_examples_are_chosen_at_equal_steps_of_aer() -> None:
    # Sentence k has 10 words and k wrong links of 10, except two of unfitting length.
    words = [["w"] * 10 for _ in range(9)] + [["w"] * 3, ["w"] * 80]
    truth = [gold({(i, i) for i in range(10)}, set()) for _ in words]
    predicted = [{(i, i if i >= k else (i + 1) % 10) for i in range(10)} for k in range(9)]
    predicted = [predicted[k] for k in (4, 8, 0, 2, 6, 1, 3, 5, 7)] + [set(), set()]
    chosen = choose_examples(5, words, words, predicted, truth)
    assert [c.index for c in chosen] == [2, 3, 0, 4, 1]  # 0, 2, 4, 6 and 8 wrong
    assert chosen[0].label == "Sentence 3: AER 0.0 %, rank 1 of 9 (best)"
    assert chosen[2].label == "Sentence 1: AER 40.0 %, rank 5 of 9 (median)"
    assert chosen[4].label == "Sentence 2: AER 80.0 %, rank 9 of 9 (worst)"
    assert [c.index for c in choose_examples(1, words, words, predicted, truth)] == [0]
    assert len(choose_examples(99, words, words, predicted, truth)) == 9
    assert [c.index for c in choose_examples(3, words, words, predicted)] == [0, 4, 8]


def test_choice_from_odd_corpora() -> None:
    assert choose_examples(3, [], [], []) == []
    assert choose_examples(0, [["a"]], [["b"]], [set()]) == []
    assert [c.index for c in choose_examples(3, [[], ["a"]], [["x"], ["b"]], [set(), set()])] == [1]


def test_terminal_grid() -> None:
    grid = render_grid(
        AlignmentExample(
            ["the", "房子", "a\x1b[2J"],
            ["la", "maison", "e\u0301"],
            {(0, 0), (1, 1), (2, 0)},
            gold=gold({(0, 0), (2, 2)}, {(1, 1), (0, 1)}),
            label="one",
        )
    )
    # Wide letters take two columns, a combining accent none.
    expected = """one
         m
         a
         i
         s
       l o
       a n é
  the  ■ ◌ ·
 房子  · ● ·
a�[2J  × · □
■ correct, sure   ● correct, possible   × wrong   □ missed   ◌ possible
"""
    assert grid == expected.replace("é", "e\u0301")
    assert render_grid(AlignmentExample(["a"], ["b"], {(0, 0)})) == "   b\na  ●\n● predicted\n"
    assert "● predicted" in render_grid(AlignmentExample([], [], set()))


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (1, 3, True, [1, 2, 3]),
        (1, 1, True, [0, 1, 2]),
        (-8.5, -7.0, False, [-8.5, -8.0, -7.5, -7.0]),
        (0, 0, False, [-1.0, -0.5, 0.0, 0.5, 1.0]),
    ],
)
def test_ticks(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, whole=whole) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e6, 1e12])
def test_chart_stays_inside_its_frame(scale: float) -> None:
    page = Page(line_chart("t", {"a": [(k, scale * (k - 3.3) ** 3) for k in range(40)]}))
    places = [a for tag, a in page.tags if tag == "circle"]
    assert len(places) == 41  # with the one of the legend
    for place in places:
        assert 0 <= float(place["cx"] or -1) <= 430
        assert 0 <= float(place["cy"] or -1) <= 240
