"""The topics report: well-formed, escaped, without a network; its map; the terminal."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentnlp.document_models._contract import Topics
from latentnlp.errors import UserError
from latentnlp.report.topics import (
    Branch,
    DocumentMap,
    Dream,
    Topic,
    TopicTable,
    dream_lines,
    terminal_lines,
    tsv_lines,
    write_topics_report,
)
from latentnlp.tasks.topics_report import name_of, principal

NASTY = ("<b>a", "R&D", "\u202eטוב", "\x1b[2J", '"x"')
TOPICS = [
    Topic(3, True, 0.25, [(word, 0.4 / (n + 1)) for n, word in enumerate(NASTY)]),
    Topic(7, False, 0.125, [("plain", 0.5), ("<i>", 0.25)]),
]
VOID = {"meta", "rect"}


class Page(HTMLParser):
    """Collects tags and text, and fails on a tag not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def places(labels: list[str | None]) -> DocumentMap:
    count = len(labels)
    points = [(float(n), float(-n)) for n in range(count)]
    return DocumentMap(points, labels, [f"d{n} <&>" for n in range(count)], (0.5, 0.25), 99)


def write(path: Path, **changes) -> Path:
    content = {
        "scores": ["perplexity 50.00  perplexity|docs:1|version:latentnlp-0", "none <here>"],
        "summary": {"model": "belief <network>"},
        "curves": {"rate <r>": {"selected": [(1, 0.5), (2, 0.25)]}},
        "tables": [TopicTable(1, 9, TOPICS), TopicTable(2, 4, TOPICS[:1])],
        "branches": [Branch(2, TOPICS[0], [(1.5, TOPICS[1])]), Branch(2, TOPICS[1], [])],
        "places": places(["a<b", "c", None, "c"]),
        "dreams": [Dream([("<b>a", 2), ("plain", 1)], [[3], []])],
        "names": {(1, 3): "R&D so"},
    }
    write_topics_report(path, "news & <b>", **(content | changes))
    return path


def test_page_is_well_formed_self_contained_and_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "run" / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "b"}
    assert not {"src", "href", "onload", "onclick"} & {key for _, a in page.tags for key in a}
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert list(path.parent.iterdir()) == [path]
    assert not {"\u202e", "\x1b"} & set(text)
    for shown in ("news & <b>", "<b>a", "R&D", "\ufffdטוב", "\ufffd[2J", '"x"', "belief <network>",
                  "rate <r>", "a<b", "d0 <&>", "7 off", "+1.50 unit 7 off: plain <i>", "<b>a×2",
                  "layer 1: 3 (R&D so)", "layer 2: nothing", "4 documents of 99"):  # fmt: skip
        assert shown in page.text, shown


def test_tables_say_what_they_are(tmp_path: Path) -> None:
    """For those who do not see: captions, headings of rows and columns, figures beside bars."""
    page = Page(write(tmp_path / "report.html").read_text())
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == tags.count("table") == 5
    scopes = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert None not in scopes and scopes.count("row") == 2 * 3 + 2
    labels = [a["aria-label"] or "" for tag, a in page.tags if tag == "svg" and "aria-label" in a]
    assert any("a<b 1; c 2; no label 1" in label for label in labels)
    assert "<b>a 0.4000, R&D 0.2000" in page.text
    bars = [a["style"] for tag, a in page.tags if tag == "i"]
    assert bars[:3] == ["--q:1.00", "--q:0.50", "--q:0.33"]


def test_labels_differ_without_colour(tmp_path: Path) -> None:
    """Six colours, four shapes; what is rarer than that shares a mark."""
    labels: list[str | None] = [f"label {n:02}" for n in range(30) for _ in range(1 + (n < 24))]
    page = Page(write(tmp_path / "report.html", places=places(labels), curves={}).read_text())
    marks = []
    colour = ""
    for tag, attrs in page.tags:
        if tag == "g":
            colour = attrs.get("class") or ""
        if tag == "path" and colour.startswith("point"):
            marks.append((colour, re.sub(r"M[\d.]+ [\d.]+", "", attrs["d"] or "")))
    assert len(set(marks)) == 25  # 24 and the others'
    assert "other labels" in page.text and "label 24" not in page.text
    plain = Page(write(tmp_path / "plain.html", places=places([None, None])).read_text())
    assert "no label" not in plain.text


def test_empty_parts_are_left_out(tmp_path: Path) -> None:
    empty = {"tables": [], "branches": [], "places": None, "dreams": [], "curves": {}}
    page = Page(write(tmp_path / "report.html", **empty).read_text())
    assert "h2" not in [tag for tag, _ in page.tags]
    same = places(["a", "a", "b"])
    stuck = DocumentMap([(0.0, 0.0)] * 3, same.labels, same.titles, (0.0, 0.0), 3)
    assert "3 documents:" in Page(write(tmp_path / "r.html", places=stuck).read_text()).text
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "report.html" / "below")


def test_principal_components() -> None:
    torch.manual_seed(1)
    along = torch.tensor([0.6, 0.8, 0.0])
    across = torch.tensor([0.8, -0.6, 0.0])
    a, b = torch.randn(2, 50).double()
    codes = 3 * a[:, None] * along + b[:, None] * across + 5
    points, (first, second) = principal(codes.float())
    x = torch.tensor([p[0] for p in points], dtype=torch.float64)
    assert first > 0.8 and first + second == pytest.approx(1, abs=1e-5)
    correlation = torch.corrcoef(torch.stack([x, a]))[0, 1]
    assert correlation > 0.95  # of the right sign too: its largest entry is positive
    assert principal(torch.ones(4, 3))[1] == (0.0, 0.0)


def test_what_it_says_that_a_unit_is_on() -> None:
    """Its words; of a unit that speaks by being off, that they are not there."""
    scores = torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 4]])
    layer = Topics.of(1, scores / 10, scores, torch.tensor([0.2, 0.3]), torch.tensor([True, False]))
    model = SimpleNamespace(words=("oak", "elm", "yew", "<b>"))
    assert name_of(model, layer, 0) == "oak elm yew"  # type: ignore[arg-type]
    assert name_of(model, layer, 1) == "not <b> yew elm"  # type: ignore[arg-type]


def test_terminal() -> None:
    table = TopicTable(2, 9, TOPICS)
    lines = list(terminal_lines([table], 40))
    assert lines[0] == "layer 2: 2 of 9 units" and max(map(len, lines)) <= 40
    assert not {"\x1b", "\u202e"} & set("".join(lines))
    assert any(line.split()[:3] == ["7", "off", "12.5%"] for line in lines)
    assert list(tsv_lines([table]))[2] == "2\t7\toff\t0.1250\tplain <i>"
    told = list(dream_lines([Dream([("oak", 2), ("elm", 1)], [[0, 4], []])], 80))
    assert told[:4] == ["dream 1: 3 words", "  layer 2 on: nothing", "  layer 1 on: 0 4",
                        "  oak×2 elm"]  # fmt: skip
