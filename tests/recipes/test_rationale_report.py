"""The rationale report: well-formed, escaped, folded, its examples chosen by rule; the terminal."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

import latentnlp.report.page
from latentnlp.data.documents import Document, Rationale
from latentnlp.errors import UserError
from latentnlp.report.rationale import (
    RationaleExample,
    choose_examples,
    highlight_terminal,
    wants_colour,
    write_rationale_report,
)


class Page(HTMLParser):
    """Collects each text with its open tags, and fails on a tag not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[tuple[str, dict[str, str | None]]]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((data, list(self.open)))

    def within(self, kind: str) -> list[tuple[str, list[tuple[str, dict[str, str | None]]]]]:
        """The texts inside of an element of the class `kind`."""
        return [
            (text, parents)
            for text, parents in self.texts
            if any(kind in (attrs.get("class") or "").split() for _, attrs in parents)
        ]


def page_of(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def rationale(
    document: Document,
    spans: Sequence[tuple[int, int]],
    prediction: str | float = "good",
    **chances,
) -> Rationale:
    scores = [0.1] * len(document.tokens)
    for start, end in spans:
        scores[start:end] = [0.8] * (end - start)
    return Rationale(
        document.id, document.tokens, tuple(spans), tuple(scores), prediction, chances or None
    )


def example() -> RationaleExample:
    """Words 0 and 1 selected, 1 and 2 human, 4 and 5 neither."""
    tokens = ("<b>a", "R&D", "\u202eטוב", "\x1b[2J", '"x"', "\ud800")
    document = Document("r<1>", tokens, "bad", ((1, 3),), aspect=(4, 5))
    return RationaleExample(
        document, rationale(document, [(0, 2)], "good", good=0.75, bad=0.25), "why & so"
    )


def write(path: Path, **changes) -> Path:
    content = {
        "examples": [example()],
        "scores": ["token F1 50.00  ERASER|docs:1|version:latentnlp-0", "no signature <here>"],
        "tables": {"Base<lines>": (["by <x>", "F1"], [["all & more", 0.25], ["none", None]])},
        "curves": {"rate <r>": {"selected": [(1, 0.5), (2, 0.25)], "target": [(1, 0.2)]}},
    }
    write_rationale_report(path, "movies & <b>", **(content | changes))
    return path


def test_page_is_well_formed_self_contained_and_escaped(tmp_path: Path) -> None:
    path = write(tmp_path / "run" / "report.html")
    text, page = path.read_text(encoding="utf-8"), page_of(path)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "b"}
    assert not {"src", "href", "onload", "onclick"} & {key for _, a in page.tags for key in a}
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert list(path.parent.iterdir()) == [path]
    assert not {"\u202e", "\x1b", "\ud800"} & set(text)
    everything = " ".join(shown for shown, _ in page.texts)
    for shown in ("movies & <b>", "<b>a", "R&D", "\ufffdטוב", "\ufffd[2J", '"x"', "why & so"):
        assert shown in everything
    for shown in ("Base<lines>", "by <x>", "all & more", "rate <r>", "no signature <here>"):
        assert shown in everything


def test_three_kinds_of_marks_differ_without_colour(tmp_path: Path) -> None:
    page = page_of(write(tmp_path / "report.html"))
    seen = {}
    for text, parents in page.within("text"):
        if text.strip():
            tags = [tag for tag, _ in parents]
            attrs = parents[-1][1]
            human = "human" in (attrs.get("class") or "").split()
            seen[text.strip()] = ("mark" in tags, human, attrs.get("style"), attrs.get("title"))
    assert seen == {
        "<b>a": (True, False, "--q:0.8", "selected, score 0.80"),
        "R&D": (True, True, "--q:0.8", "selected and human, score 0.80"),
        "\ufffdטוב": (False, True, "--q:0.1", "human, score 0.10"),
        '\ufffd[2J "x" \ufffd': (False, False, "--q:0.1", "not selected, score 0.10"),
    }
    style = Path(latentnlp.report.page.__file__).with_name("report.css").read_text()
    assert re.search(r"^mark \{[^}]*border: [\d.]+px solid", style, re.MULTILINE)
    assert re.search(r"^\.human \{[^}]*text-decoration: underline", style, re.MULTILINE)
    texts = [a for tag, a in page.tags if tag == "p" and "dir" in a]
    assert [a["dir"] for a in texts] == ["auto"]
    assert any(tag == "html" and a.get("lang") == "en" for tag, a in page.tags)


def test_labels_scores_and_spans_are_told(tmp_path: Path) -> None:
    page = page_of(write(tmp_path / "report.html"))
    verdict = "".join(text for text, _ in page.within("verdict"))
    assert verdict == 'predicted good (75.0 %) ✗ wrong · gold bad (25.0 %) · about "x"'
    tally = (
        "6 words, 2 selected (33.3 %), 2 human (33.3 %); "
        "token precision 50.0 %, recall 50.0 %, F1 50.0 %"
    )
    assert tally in [text for text, _ in page.texts]
    cells = [text for text, parents in page.texts if parents and parents[-1][0] == "td"]
    assert cells[:1] == ["0.250"] and cells[1] == "–"
    assert cells[2:] == [
        *("[0, 2)", "selected", "<b>a R&D", "0.80", "1 of 2"),
        *("[1, 3)", "human", "R&D \ufffdטוב", "0.45", "1 of 2"),
    ]


def test_right_amounts_and_unlabelled(tmp_path: Path) -> None:
    plain = Document("d", ("a", "b"), "good")
    amount, unknown = Document("e", ("a",), 0.5), Document("f", ("a",))
    examples = [
        RationaleExample(plain, rationale(plain, [(0, 1)], good=0.9)),
        RationaleExample(amount, rationale(amount, [], 0.625)),
        RationaleExample(unknown, rationale(unknown, [], "good")),
    ]
    path = write(tmp_path / "report.html", examples=examples)
    verdicts = re.findall(r'<p class="verdict">(.*?)</p>', path.read_text(encoding="utf-8"))
    assert [re.sub("<[^>]*>", "", verdict) for verdict in verdicts] == [
        "predicted good (90.0 %) ✓ right",
        "predicted 0.625 · gold 0.5",
        "predicted good",
    ]
    page = page_of(path)
    assert not any("precision" in text for text, _ in page.texts)  # nobody marked anything
    assert not any("human" in text for text, _ in page.within("legend"))
    page_of(write(tmp_path / "report.html", examples=[], scores=[], tables={}, curves={}))
    page_of(write(tmp_path / "report.html", tables={"no rows": (["a", "b"], [])}))


@pytest.mark.parametrize("stops", [True, False], ids=["sentences", "one endless sentence"])
def test_long_documents_are_folded(tmp_path: Path, stops: bool) -> None:
    tokens = tuple("." if stops and k % 20 == 19 else f"w{k}" for k in range(3000))
    document = Document("long", tokens, "good", ((1000, 1010),))
    found = rationale(document, [(2000, 2010), (2990, 3000)])
    page = page_of(write(tmp_path / "report.html", examples=[RationaleExample(document, found)]))
    opened = {
        word
        for text, parents in page.within("text")
        if not any(tag == "details" for tag, _ in parents)
        for word in text.split()
    }
    assert {"w1005", "w2005", "w2995"} <= opened
    assert len(opened) <= 300
    everything = " ".join(
        text for text, parents in page.within("text") if parents[-1][0] != "summary"
    )
    assert everything.split() == list(tokens)  # in place and in order, nothing twice
    summaries = [text for text, parents in page.within("gap") if parents[-1][0] == "summary"]
    assert len(summaries) == 3 and summaries[0].startswith(f"… {1000 if stops else 960} words")


def test_a_dense_selection_is_folded_too(tmp_path: Path) -> None:
    document = Document("dense", ("w",) * 2999 + (".",), "good")
    found = rationale(document, [(k, k + 1) for k in range(0, 3000, 5)])
    page = page_of(write(tmp_path / "report.html", examples=[RationaleExample(document, found)]))
    assert "… 2700 words, 540 selected" in [text for text, _ in page.texts]
    nothing = RationaleExample(document, rationale(document, []))
    page = page_of(write(tmp_path / "report.html", examples=[nothing]))
    assert "… 2940 words" in [text for text, _ in page.texts]


def test_failure_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "report.html")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write(path, scores=[])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_colours_have_contrast() -> None:
    """Text on the deepest shade reaches 4.5, the underline on it and the border on paper 3."""
    style = Path(latentnlp.report.page.__file__).with_name("report.css").read_text()
    for block in (style, style[style.index("@media screen") :]):
        tint = re.search(r"--tint: (\d+) (\d+) (\d+);", block)
        assert tint
        colours = {
            name: [int(value[k : k + 2], 16) for k in (0, 2, 4)]
            for name in ("ink", "human", "paper", "s0")
            for value in re.findall(rf"--{name}: #([0-9a-f]{{6}});", block)[:1]
        }
        shade = [int(part) for part in tint.groups()]
        assert contrast(colours["ink"], shade) >= 4.5
        assert contrast(colours["human"], shade) >= 3
        assert contrast(colours["human"], colours["paper"]) >= 3
        assert contrast(colours["s0"], colours["paper"]) >= 3


def contrast(a: Sequence[int], b: Sequence[int]) -> float:
    """WCAG 2.1's contrast ratio of two sRGB colours."""

    def luminance(colour: Sequence[int]) -> float:
        linear = [
            c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_example_must_fit_its_document() -> None:
    document = Document("d", ("a", "b"))
    other = Document("d", ("a", "c"))
    with pytest.raises(ValueError, match="d: the rationale is of other words"):
        RationaleExample(document, rationale(other, []))
    with pytest.raises(ValueError, match="d: 1 scores of 2 words"):
        RationaleExample(document, Rationale("d", ("a", "b"), (), (0.5,), "good"))
    with pytest.raises(UserError, match=r"\[1, 3\) is outside its text of 2"):
        RationaleExample(document, Rationale("d", ("a", "b"), ((1, 3),), (0.5, 0.5), "good"))


def test_examples_by_agreement() -> None:
    words = tuple("abcdefghij")
    documents = [Document(f"d{k}", words, "good", ((0, 10),)) for k in range(5)]
    documents += [Document("unmarked", words, "good"), Document("empty", words, "good", ())]
    found = [rationale(documents[k], [(0, size)]) for k, size in enumerate([4, 10, 0, 6, 8, 9, 9])]
    chosen = choose_examples(3, documents, found)
    assert [one.label for one in chosen] == [
        "d1: token F1 100.0 %, rank 1 of 5 (best)",
        "d3: token F1 75.0 %, rank 3 of 5 (median)",
        "d2: token F1 0.0 %, rank 5 of 5 (worst)",
    ]
    assert [one.document.id for one in chosen] == [one.rationale.id for one in chosen]
    assert [one.document.id for one in choose_examples(1, documents, found)] == ["d3"]
    assert len(choose_examples(99, documents, found)) == 5
    assert choose_examples(0, documents, found) == choose_examples(3, [], []) == []


def test_examples_without_human_marks() -> None:
    documents = [Document(f"d{k}", ("a",), "good") for k in range(3)]
    found = [
        rationale(one, [], "good" if p > 0.5 else "bad", good=p, bad=1 - p)
        for one, p in zip(documents, [0.625, 0.125, 0.875], strict=True)
    ]
    assert [one.label for one in choose_examples(3, documents, found)] == [
        "d2: probability of the right label 87.5 %, rank 1 of 3 (best)",
        "d0: probability of the right label 62.5 %, rank 2 of 3 (median)",
        "d1: probability of the right label 12.5 %, rank 3 of 3 (worst)",
    ]
    amounts = [Document(f"d{k}", ("a",), 0.5) for k in range(2)]
    found = [rationale(amounts[0], [], 0.25), rationale(amounts[1], [], 0.5)]
    assert [one.label for one in choose_examples(2, amounts, found)] == [
        "d1: error 0, rank 1 of 2 (best)",
        "d0: error 0.25, rank 2 of 2 (worst)",
    ]
    unknown = [Document("d", ("a",))]
    (one,) = choose_examples(2, unknown, [rationale(unknown[0], [], "good", good=0.75)])
    assert one.label == "d: probability of the predicted label 75.0 %, rank 1 of 1"
    (one,) = choose_examples(2, unknown, [rationale(unknown[0], [], 0.5)])
    assert one.label == "d: not labelled, rank 1 of 1"
    found = [rationale(one, [], guess) for one, guess in zip(documents, "xyz", strict=True)]
    found[1] = rationale(documents[1], [], "good")
    assert [one.label for one in choose_examples(2, documents, found)] == [
        "d1: right, rank 1 of 3 (best)",
        "d2: wrong, rank 3 of 3 (worst)",
    ]


def test_terminal_brackets_and_colours() -> None:
    tokens = ("a", "b", "c", "d", "房子\x1b[2J", "\u202ee\u0301")
    document = Document("r1", tokens, None, ((1, 4),))
    found = rationale(document, [(0, 2), (4, 5)], "good", good=0.75)
    plain = highlight_terminal(found, document.rationale, colour=False, width=20)
    assert plain == (
        "r1: good (75.0 %), [selected] 3 of 6, {human} 3 of 6, [{both}] 1 of 6\n"
        "[a {b}] {c d}\n[房子\ufffd[2J] e\u0301\n"
    )
    coloured = highlight_terminal(found, document.rationale, colour=True, width=16)
    assert coloured.splitlines()[1:] == [
        "\x1b[30;46ma \x1b[0m\x1b[30;46;4mb\x1b[0m \x1b[4mc d\x1b[0m "
        "\x1b[30;46m房子\ufffd[2J\x1b[0m",
        "e\u0301",
    ]
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert bare.splitlines()[0] == "r1: good (75.0 %), selected 3 of 6, human 3 of 6, both 1 of 6"
    assert "human" not in highlight_terminal(found, colour=False, width=20)
    nothing = Rationale("e", (), (), (), 0.5)
    assert highlight_terminal(nothing, colour=True, width=9).startswith("e: 0.5, ")


def test_terminal_lines_keep_to_the_width() -> None:
    document = Document("r", (*(f"word{k}" for k in range(40)), "x" * 30))
    text = highlight_terminal(rationale(document, [(3, 30)]), colour=False, width=24)
    lines = text.splitlines()[1:]
    assert " ".join(lines).replace("[", "").replace("]", "").split() == list(document.tokens)
    assert all(len(line) <= 24 for line in lines[:-1]) and lines[-1] == "x" * 30
    assert len(lines) == 14


def test_colour_only_for_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(terminal) and not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(terminal)
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(terminal)
