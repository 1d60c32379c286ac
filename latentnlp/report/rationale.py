"""A self-contained HTML report on rationales, and the same highlighting for a terminal."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

from latentnlp.data.documents import Document, Rationale, Span
from latentnlp.data.textfiles import write_atomically
from latentnlp.evaluation.rationale import agreement, spans_of, token_mask
from latentnlp.report.alignment import _columns, _score_line, _terminal
from latentnlp.report.chart import Point, line_chart
from latentnlp.report.page import escape, render_page

Table = tuple[Sequence[str], Sequence[Sequence[object]]]
"""The names of the columns, and the rows: text, numbers, or None for an empty cell."""

CHOICE_RULE = (
    "Chosen by rule, not by hand: documents with human marks are sorted by token F1; where there "
    "are none, all are sorted by the probability of the right label, or by the error of a "
    "predicted amount. They are taken at equal steps from the best to the worst."
)

_LONG = 300  # words of a document beyond which it is folded, and about so many are left open
_PASSAGE = 60  # a longer sentence is folded in pieces of so many words
_NOT_WORTH_FOLDING = 25  # words
_OPENING = 60  # words shown of a long document that has no mark at all
_FOLDED = (
    f"Documents of more than {_LONG} words are open at the passages with most marked words; the "
    "others unfold at “…”. The bar above them shows where in the document all marks are."
)

_NOTHING = "–"  # of a table
_NUMBER = re.compile(r"[-+−]?[\d.,]*\d( ?%)?( ± [\d.]+.*)?")
# Characters that turn the direction of all that follows, up to the end of the paragraph.
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


@dataclass(frozen=True)
class RationaleExample:
    """A document, with gold label and human marks where there are any, and what a model chose.

    Raises ValueError if the two are not of the same words, UserError for a span outside of them.
    """

    document: Document
    rationale: Rationale
    label: str = ""

    def __post_init__(self) -> None:
        name, size = self.document.id, len(self.document.tokens)
        if self.rationale.tokens != self.document.tokens:
            raise ValueError(f"{name}: the rationale is of other words than the document")
        if len(self.rationale.scores) != size:
            raise ValueError(f"{name}: {len(self.rationale.scores)} scores of {size} words")
        token_mask(self.rationale.spans, size)
        token_mask(self.document.rationale or (), size)

    def marks(self) -> list[_Mark]:
        """The marks of each token."""
        selected = token_mask(self.rationale.spans, len(self.document.tokens)).tolist()
        human = token_mask(self.document.rationale or (), len(self.document.tokens)).tolist()
        levels = map(_level, self.rationale.scores)
        return [_Mark(*mark) for mark in zip(selected, human, levels, strict=True)]


class _Mark(NamedTuple):
    selected: bool
    human: bool
    level: int = 0  # tenths of the score

    def name(self) -> str:
        names = ("not selected", "human", "selected", "selected and human")
        return names[2 * self.selected + self.human]


def _level(score: float) -> int:
    return round(10 * min(max(score, 0.0), 1.0)) if math.isfinite(score) else 0


# --- which documents ----------------------------------------------------------------------------


def choose_examples(
    n: int, documents: Sequence[Document], rationales: Sequence[Rationale]
) -> list[RationaleExample]:
    """At most `n` documents by the rule of `CHOICE_RULE`: no chance and no taste in it.

    Sorted from best to worst, then by position, and taken at equal steps, so that of an odd number
    the middle one is the median. Without human marks and labels the model's own confidence sorts.
    """
    pairs = list(zip(documents, rationales, strict=True))
    marked = [k for k, (document, _) in enumerate(pairs) if document.rationale]
    labelled = [k for k, (document, _) in enumerate(pairs) if document.label is not None]
    pool = marked or labelled or list(range(len(pairs)))
    merit = {k: _merit(*pairs[k]) for k in pool}
    pool.sort(key=lambda k: (-merit[k][0], k))
    n = min(n, len(pool))
    middle = round((len(pool) - 1) / 2)
    place = {middle: " (median)", len(pool) - 1: " (worst)", 0: " (best)"}
    if not (marked or labelled):  # confidence alone is neither good nor bad
        place = {}
    ranks = [round(step * (len(pool) - 1) / (n - 1)) for step in range(n)] if n > 1 else []
    chosen = []
    for rank in ranks or [middle] * n:
        document, rationale = pairs[pool[rank]]
        reason = f"{merit[pool[rank]][1]}, rank {rank + 1} of {len(pool)}{place.get(rank, '')}"
        chosen.append(RationaleExample(document, rationale, f"{document.id}: {reason}"))
    return chosen


def _merit(document: Document, rationale: Rationale) -> tuple[float, str]:
    """How good it is, the higher the better, and the same in words."""
    if document.rationale:
        f1 = agreement([rationale.spans], [document.rationale], [len(document.tokens)]).f1
        return f1, f"token F1 {_percent(f1)}"
    if isinstance(document.label, float) and isinstance(rationale.prediction, float):
        error = abs(document.label - rationale.prediction)
        return -error, f"error {error:.4g}"
    label, name = document.label, "right label"
    if label is None:
        label, name = rationale.prediction, "predicted label"
    if rationale.probabilities is not None:
        share = rationale.probabilities.get(str(label), 0.0)
        return share, f"probability of the {name} {_percent(share)}"
    if document.label is None:
        return 0.0, "not labelled"
    right = label == rationale.prediction
    return float(right), "right" if right else "wrong"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# --- the page -----------------------------------------------------------------------------------


def write_rationale_report(
    path: str | Path,
    title: str,
    *,
    examples: Sequence[RationaleExample],
    scores: Sequence[str],
    tables: Mapping[str, Table],
    curves: Mapping[str, Mapping[str, Sequence[Point]]],
    note: str = CHOICE_RULE,
) -> None:
    """Write one HTML file that needs no network and runs no script; atomically.

    `scores`: lines as of `AgreementScore.format()`, signature last. `tables`: caption -> table.
    `curves`: chart -> line -> (epoch, value), a target being one of the lines. `note`: how the
    examples were chosen. All of it is plain text, escaped here. Raises UserError if the file
    cannot be written.
    """
    parts = []
    if scores:
        items = "".join(f"<li>{_score_line(line)}</li>" for line in scores)
        parts.append(f'<ul class="scores">{items}</ul>\n')
    if tables:
        parts.append('<h2>Comparisons</h2>\n<div class="tables">\n')
        parts.extend(_table(caption, *table) for caption, table in tables.items())
        parts.append("</div>\n")
    if curves:
        charts = "".join(line_chart(name, lines) for name, lines in curves.items())
        parts.append(f'<h2>Training</h2>\n<div class="charts">{charts}</div>\n')
    if examples:
        parts.append(f'<h2>Documents</h2>\n<p class="quiet">{escape(note)}</p>\n')
        if any(len(example.document.tokens) > _LONG for example in examples):
            parts.append(f'<p class="quiet">{_FOLDED}</p>\n')
        parts.append(_legend(examples))
        parts.append(f'<div class="documents">\n{"".join(map(_example, examples))}</div>\n')
    with write_atomically(path) as stream:
        stream.write(render_page(title, "".join(parts)))


def _text(text: object) -> str:
    """`escape`, and what would turn around the text after it, or cannot be written, replaced."""
    kept = (
        "\ufffd" if c in _TURNING or unicodedata.category(c) in ("Cs", "Zl", "Zp") else c
        for c in str(text)
    )
    return escape("".join(kept))


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Numbers to the right, the first column as the heading of its row."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [
        bool(cells) and all(_NUMBER.fullmatch(cell) or cell == _NOTHING for cell in column)
        for column in (zip(*cells, strict=True) if cells else [[]] * len(header))
    ]
    kinds = [' class="number"' if right else "" for right in numeric]
    heads = "".join(
        f'<th scope="col"{kind}>{_text(name)}</th>'
        for name, kind in zip(header, kinds, strict=True)
    )
    body = ""
    for first, *others in cells:
        body += f'<tr><th scope="row"{kinds[0]}>{_text(first)}</th>'
        for cell, kind in zip(others, kinds[1:], strict=True):
            body += f"<td{kind}>{_text(cell)}</td>"
        body += "</tr>\n"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(caption)}"><table>'
        f"<caption>{_text(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _NOTHING
    return f"{value:z.3f}" if isinstance(value, float) else str(value)


def _legend(examples: Sequence[RationaleExample]) -> str:
    keys = [_marked("selected", _Mark(True, False, 7)) + " by the model"]
    if any(example.document.rationale is not None for example in examples):
        keys += [_marked("human", _Mark(False, True)) + " rationale"]
        keys += [_marked("both", _Mark(True, True, 7))]
    ramp = "".join(
        f'<span class="shade" style="--q:{k / 10:g}">&nbsp;</span>' for k in range(0, 11, 2)
    )
    keys.append(f'score 0 <span class="ramp" aria-hidden="true">{ramp}</span> 1')
    return f'<ul class="legend">{"".join(f"<li><span>{key}</span></li>" for key in keys)}</ul>\n'


def _marked(text: str, mark: _Mark) -> str:
    inner = f'<span class="{_classes(mark)}" style="--q:{mark.level / 10:g}">{text}</span>'
    return f"<mark>{inner}</mark>" if mark.selected else inner


def _classes(mark: _Mark) -> str:
    return " ".join(["shade"] * (mark.level > 0) + ["human"] * mark.human)


def _example(example: RationaleExample) -> str:
    marks = example.marks()
    return (
        f'<section class="example">\n<h3><bdi>{_text(example.label or example.document.id)}</bdi>'
        f'</h3>\n<p class="verdict">{_verdict(example)}</p>\n'
        f'<p class="quiet">{escape(_tally(example, marks))}</p>\n'
        f"{_body(example, marks)}{_span_table(example)}</section>\n"
    )


def _verdict(example: RationaleExample) -> str:
    """Gold and predicted label with their probabilities, and what the label is about."""
    document, rationale = example.document, example.rationale
    said = f"predicted {_label(rationale.prediction, rationale.probabilities)}"
    if document.label is None:
        parts = [said]
    elif isinstance(document.label, float):
        parts = [said, f"gold {_label(document.label, None)}"]
    elif document.label == rationale.prediction:
        parts = [f"{said} ✓ right"]
    else:
        gold = _label(document.label, rationale.probabilities)
        parts = [f'{said} <strong class="amiss">✗ wrong</strong>', f"gold {gold}"]
    if document.aspect is not None:
        parts.append(
            f"about <bdi>{_text(' '.join(document.tokens[slice(*document.aspect)]))}</bdi>"
        )
    return " · ".join(parts)


def _label(label: str | float, probabilities: Mapping[str, float] | None) -> str:
    shown = label if isinstance(label, str) else f"{label:.4g}"
    share = (probabilities or {}).get(str(label))
    chance = "" if share is None else f" ({_percent(share)})"
    return f"<strong><bdi>{_text(shown)}</bdi></strong>{chance}"


def _tally(example: RationaleExample, marks: Sequence[_Mark]) -> str:
    size, human = len(marks), example.document.rationale
    selected = sum(mark.selected for mark in marks)
    parts = [f"{size} words, {selected} selected ({_percent(selected / max(size, 1))})"]
    if human is not None:
        people = sum(mark.human for mark in marks)
        parts[0] += f", {people} human ({_percent(people / max(size, 1))})"
        score = agreement([example.rationale.spans], [human], [size])
        parts.append(
            f"token precision {_percent(score.precision)}, recall {_percent(score.recall)}, "
            f"F1 {_percent(score.f1)}"
        )
    return "; ".join(parts)


# --- the words ----------------------------------------------------------------------------------


def _body(example: RationaleExample, marks: Sequence[_Mark]) -> str:
    """The text, of a long document the passages with most marks; the others open on demand."""
    long = len(marks) > _LONG
    parts = [_strip(marks)] if long else []
    for start, end, is_open in _stretches(example.document, marks):
        words = f'<p dir="auto">{_words(example, marks, start, end)}</p>'
        if not is_open:
            words = (
                f'<details class="gap"><summary>{_gap(marks[start:end])}</summary>{words}</details>'
            )
        parts.append(words + "\n")
    # The language of a document is not known, and not that of the page.
    return f'<div class="text" lang="">\n{"".join(parts)}</div>\n'


def _gap(marks: Sequence[_Mark]) -> str:
    counts = {
        "selected": sum(mark.selected for mark in marks),
        "human": sum(mark.human for mark in marks),
    }
    inside = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"… {len(marks)} words" + (f", {inside}" if inside else "")


def _stretches(document: Document, marks: Sequence[_Mark]) -> Iterator[tuple[int, int, bool]]:
    """Runs of passages (start, end, shown), rising."""
    passages = _passages(document)
    shown = _shown(passages, marks)
    for is_open, group in groupby(range(len(passages)), key=lambda k: k in shown):
        run = [passages[k] for k in group]
        yield run[0][0], run[-1][1], is_open


def _passages(document: Document) -> list[Span]:
    """Sentences, and pieces of long ones: a text without full stops can be folded too."""
    size = len(document.tokens)
    return [
        (piece, min(piece + _PASSAGE, end))
        for start, end in pairwise([*document.sentences(), size])
        for piece in range(start, end, _PASSAGE)
    ]


def _shown(passages: Sequence[Span], marks: Sequence[_Mark]) -> set[int]:
    """Which passages stay open: those with most marked words, until there are `_LONG` words."""
    if len(marks) <= _LONG:
        return set(range(len(passages)))
    marked = [sum(mark[:2] != (False, False) for mark in marks[s:e]) for s, e in passages]
    budget = _LONG if any(marked) else _OPENING
    shown: set[int] = set()
    words = 0
    for k in sorted(range(len(passages)), key=lambda k: (-marked[k], k)):
        words += passages[k][1] - passages[k][0]
        if words > budget or (any(marked) and not marked[k]):
            break
        shown.add(k)
    for _, group in groupby(range(len(passages)), key=lambda k: k in shown):
        gap = list(group)
        if passages[gap[-1]][1] - passages[gap[0]][0] < _NOT_WORTH_FOLDING:
            shown.update(gap)
    return shown


def _words(example: RationaleExample, marks: Sequence[_Mark], start: int, end: int) -> str:
    """Tokens with a <mark> around each selected run, and inside it a <span> a shade."""
    parts = []
    for selected, group in groupby(range(start, end), key=lambda k: marks[k].selected):
        run = list(group)
        inner = _shades(example, marks, run)
        parts.append(f"<mark>{inner}</mark>" if selected else inner)
    return " ".join(parts)


def _shades(example: RationaleExample, marks: Sequence[_Mark], run: Sequence[int]) -> str:
    parts = []
    for mark, group in groupby(run, key=lambda k: marks[k]):
        same = list(group)
        text = " ".join(_text(example.document.tokens[k]) for k in same)
        # No gap in a background or an underline that goes on in another shade.
        follows = same[-1] < run[-1]
        joined = follows and (mark.selected or (mark.human and marks[same[-1] + 1].human))
        space = " " if follows else ""
        if classes := _classes(mark):
            low, *_, high = sorted([example.rationale.scores[k] for k in same] * 2)
            score = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
            shade = f' style="--q:{mark.level / 10:g}"' if mark.level else ""
            title = f"{mark.name()}, score {score}"
            text = f'<span class="{classes}"{shade} title="{title}">{text}{" " * joined}</span>'
            space = "" if joined else space
        parts.append(text + space)
    return "".join(parts)


def _strip(marks: Sequence[_Mark]) -> str:
    """Where in the document the marks are: selected above, human below, as SVG."""
    rows = (
        ("selected", 1, spans_of([mark.selected for mark in marks])),
        ("human", 8, spans_of([mark.human for mark in marks])),
    )
    bars = "".join(
        f'<path class="{name}" d="'
        + "".join(f"M{start} {y}h{end - start}v6h{start - end}z" for start, end in spans)
        + '"/>'
        for name, y, spans in rows
        if spans
    )
    return (
        f'<svg class="strip" viewBox="0 0 {len(marks)} 15" preserveAspectRatio="none" role="img" '
        'aria-label="Where the marks are, from the first word to the last: selected above, human '
        'below. The table below lists the spans.">'
        f'<rect class="plane" width="{len(marks)}" height="15"/>{bars}</svg>\n'
    )


def _span_table(example: RationaleExample) -> str:
    """The spans as a table, for those who cannot see the marks."""
    size = len(example.document.tokens)
    ours, theirs = example.rationale.spans, example.document.rationale
    selected, human = token_mask(ours, size), token_mask(theirs or (), size)
    rows = [(start, end, "selected", human) for start, end in ours]
    rows += [(start, end, "human", selected) for start, end in theirs or ()]
    body = []
    for start, end, who, other in sorted(rows, key=lambda row: row[:3]):
        text = " ".join(example.document.tokens[start:end])
        mean = sum(example.rationale.scores[start:end]) / max(end - start, 1)
        common = "" if theirs is None else f"{int(other[start:end].sum())} of {end - start}"
        body.append(
            f'<tr><td class="number">[{start}, {end})</td><td>{who}</td>'
            f'<td dir="auto" lang="">{_text(text)}</td><td class="number">{mean:.2f}</td>'
            f'<td class="number">{common}</td></tr>\n'
        )
    names = ("span", "by", "text", "mean score", "" if theirs is None else "shared words")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f"<details><summary>The spans as a table</summary><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></details>\n"
    )


# --- for a terminal -----------------------------------------------------------------------------


def wants_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that shows colours, and https://no-color.org is not asked."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def highlight_terminal(
    rationale: Rationale, human: Sequence[Span] | None = None, *, colour: bool, width: int
) -> str:
    """A heading, which is the legend as well, and the words in lines of at most `width` columns.

    With `colour`, selected words have a background and human ones an underline, in ANSI codes; else
    ``[selected]``, ``{human}`` and ``[{both}]``. No character of the text can steer the terminal.
    """
    size = len(rationale.tokens)
    selected, people = token_mask(rationale.spans, size), token_mask(human or (), size)
    marks = [_Mark(*mark) for mark in zip(selected.tolist(), people.tolist(), strict=True)]
    words = ["".join(_terminal(token)) for token in rationale.tokens]
    if not colour:
        words = _bracketed(words, marks)
    lines = [_heading(rationale, marks, human is not None, colour)]
    for start, end in _lines(words, width):
        one, styles = words[start:end], marks[start:end]
        lines.append(_coloured(one, styles) if colour else " ".join(one))
    return "\n".join(lines) + "\n"


def _heading(rationale: Rationale, marks: Sequence[_Mark], human: bool, colour: bool) -> str:
    said = rationale.prediction
    shown = said if isinstance(said, str) else f"{said:.4g}"
    share = (rationale.probabilities or {}).get(str(said))
    chance = "" if share is None else f" ({_percent(share)})"
    counts = [("selected", _Mark(True, False), sum(mark.selected for mark in marks))]
    if human:
        counts += [("human", _Mark(False, True), sum(mark.human for mark in marks))]
        counts += [("both", _Mark(True, True), sum(mark.selected and mark.human for mark in marks))]
    parts = [f"{''.join(_terminal(rationale.id))}: {''.join(_terminal(shown))}{chance}"]
    for name, mark, count in counts:
        styled = _coloured([name], [mark]) if colour else _bracketed([name], [mark])[0]
        parts.append(f"{styled} {count} of {len(marks)}")
    return ", ".join(parts)


def _bracketed(words: Sequence[str], marks: Sequence[_Mark]) -> list[str]:
    outside = _Mark(False, False)
    around = [outside, *marks, outside]
    shown = []
    for word, before, mark, after in zip(words, around, marks, around[2:], strict=False):
        opening = "[" * (mark.selected and not before.selected) + "{" * (
            mark.human and before != mark
        )
        closing = "}" * (mark.human and after != mark) + "]" * (
            mark.selected and not after.selected
        )
        shown.append(opening + word + closing)
    return shown


def _coloured(words: Sequence[str], marks: Sequence[_Mark]) -> str:
    """One line in ANSI codes, each of them ended in the line."""
    parts = []
    for mark, group in groupby(range(len(words)), key=lambda k: marks[k]):
        same = list(group)
        text = " ".join(words[k] for k in same)
        last = same[-1] == len(words) - 1
        joined = not last and mark.selected and marks[same[-1] + 1].selected
        codes = ["30;46"] * mark.selected + ["4"] * mark.human
        if codes:
            text = f"\x1b[{';'.join(codes)}m{text}{' ' * joined}\x1b[0m"
        parts.append(text + " " * (not last and not joined))
    return "".join(parts)


def _lines(words: Sequence[str], width: int) -> Iterator[Span]:
    """Where lines of at most `width` columns begin and end; a longer word has its own."""
    start = used = 0
    for k, word in enumerate(words):
        columns = _columns(word)
        if k > start and used + 1 + columns > width:
            yield start, k
            start, used = k, columns
        else:
            used += columns + (k > start)
    if words:
        yield start, len(words)
