"""A self-contained HTML report on word alignments, and the same grids for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentnlp.data.links import Gold, Link
from latentnlp.data.textfiles import write_atomically
from latentnlp.evaluation.alignment import score
from latentnlp.report.chart import Point, line_chart
from latentnlp.report.page import escape, render_page

if TYPE_CHECKING:
    import numpy as np

CORRECT, WRONG, MISSED = "correct", "wrong", "missed"
POSSIBLE, PREDICTED = "possible", "predicted"
CHOICE_RULE = (
    "Chosen by rule, not by hand: sentences of moderate length, sorted by AER, taken at equal "
    "steps from the best to the worst."
)

_CELL = 22
_LONGEST_WORD = 26  # characters of a word shown beside the grid; the tooltip has all of it


@dataclass(frozen=True)
class AlignmentExample:
    """One sentence pair of I source and J target words.

    `posterior[i][j]` in [0, 1] is the probability of link i-j: [I, J], or None where there is none.
    Raises ValueError if a link or the posterior does not fit the words.
    """

    source: Sequence[str]
    target: Sequence[str]
    predicted: Collection[Link]
    posterior: Sequence[Sequence[float]] | np.ndarray | None = None
    gold: Gold | None = None
    label: str = ""

    def __post_init__(self) -> None:
        size = (len(self.source), len(self.target))
        possible = self.gold.possible if self.gold else ()
        for i, j in [*self.predicted, *possible]:
            if not (0 <= i < size[0] and 0 <= j < size[1]):
                raise ValueError(f"{self.label}: link {i}-{j} lies outside {size[0]} x {size[1]}")
        if self.posterior is not None and (
            len(self.posterior) != size[0] or any(len(row) != size[1] for row in self.posterior)
        ):
            raise ValueError(f"{self.label}: the posterior is not of shape {size[0]} x {size[1]}")

    def verdict(self, link: Link) -> str | None:
        """What became of `link`; None if it is neither predicted nor in the gold.

        CORRECT, WRONG, MISSED (sure, not predicted), POSSIBLE (possible only, not predicted: no
        error), or PREDICTED where there is no gold.
        """
        if link in self.predicted:
            if self.gold is None:
                return PREDICTED
            return CORRECT if link in self.gold.possible else WRONG
        if self.gold is None or link not in self.gold.possible:
            return None
        return MISSED if link in self.gold.sure else POSSIBLE

    def links(self) -> list[tuple[Link, str]]:
        """Every link that is predicted or in the gold, with its verdict, in order."""
        every = {*self.predicted, *(self.gold.possible if self.gold else ())}
        return [(link, verdict) for link in sorted(every) if (verdict := self.verdict(link))]


@dataclass(frozen=True)
class ChosenExample:
    """The position of a sentence pair, and why it is there."""

    index: int
    label: str


def choose_examples(
    n: int,
    sources: Sequence[Sequence[str]],
    targets: Sequence[Sequence[str]],
    predicted: Sequence[Collection[Link]],
    gold: Sequence[Gold] | None = None,
    *,
    shortest: int = 6,
    longest: int = 24,
) -> list[ChosenExample]:
    """At most `n` sentence pairs by the rule of `CHOICE_RULE`: no chance and no taste in it.

    Pairs with `shortest` to `longest` words on both sides (or, if there is none, all pairs without
    an empty side) are sorted by AER, then by position, and taken at equal steps from first to last,
    so that the middle one is the median. Without gold they are sorted by position alone.
    """
    lengths = [(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
    pool = [k for k, pair in enumerate(lengths) if shortest <= min(pair) <= max(pair) <= longest]
    pool = pool or [k for k, pair in enumerate(lengths) if min(pair) > 0]
    aer: dict[int, float] = {}
    if gold is not None:
        pool = [k for k in pool if gold[k].sure] or pool
        aer = {k: score([predicted[k]], [gold[k]]).aer for k in pool}
        pool.sort(key=lambda k: (aer[k], k))
    n = min(n, len(pool))
    ranks = [round(step * (len(pool) - 1) / (n - 1)) for step in range(n)] if n > 1 else []
    ranks = ranks or [(len(pool) - 1) // 2] * n
    return [ChosenExample(pool[rank], _reason(pool[rank], rank, len(pool), aer)) for rank in ranks]


def _reason(index: int, rank: int, of: int, aer: Mapping[int, float]) -> str:
    if index not in aer:
        return f"Sentence {index + 1}"
    place = {0: " (best)", (of - 1) // 2: " (median)", of - 1: " (worst)"}.get(rank, "")
    return f"Sentence {index + 1}: AER {100 * aer[index]:.1f} %, rank {rank + 1} of {of}{place}"


def write_alignment_report(
    path: str | Path,
    *,
    title: str,
    score_lines: Sequence[str],
    summary: Mapping[str, str],
    curves: Mapping[str, Sequence[Point]],
    examples: Sequence[AlignmentExample],
    note: str = "",
) -> None:
    """Write one HTML file that needs no network and runs no script; atomically.

    `score_lines`: lines as of `AlignmentScore.format()`. `summary`: name -> value. `curves`: name
    -> (x, y) points; those named `chart | line` share the chart. `note`: a line above the examples,
    as `CHOICE_RULE`. All of it is plain text, escaped here. Raises UserError if the file cannot be
    written.
    """
    parts = []
    if score_lines:
        items = "".join(f"<li>{_score_line(line)}</li>" for line in score_lines)
        parts.append(f'<ul class="scores">{items}</ul>\n')
    if summary:
        items = "".join(
            f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in summary.items()
        )
        parts.append(f'<dl class="summary">{items}</dl>\n')
    if curves:
        charts = "".join(line_chart(name, lines) for name, lines in _charts(curves).items())
        parts.append(f'<h2>Training</h2>\n<div class="charts">{charts}</div>\n')
    if examples:
        parts.append(f'<h2>Alignments</h2>\n<p class="quiet">{escape(note)}</p>\n')
        parts.append(_grid_legend(examples))
        parts.append(f'<div class="examples">\n{"".join(map(_example, examples))}</div>\n')
    with write_atomically(path) as stream:
        stream.write(render_page(title, "".join(parts)))


def _score_line(line: str) -> str:
    """The figures large, the signature (the last word, with its bars) small below them."""
    figures, _, signature = line.rpartition(" ")
    if "|" not in signature or not figures:
        return f"<strong>{escape(line)}</strong>"
    return f"<strong>{escape(figures.rstrip())}</strong><code>{escape(signature)}</code>"


def _charts(curves: Mapping[str, Sequence[Point]]) -> dict[str, dict[str, Sequence[Point]]]:
    charts: dict[str, dict[str, Sequence[Point]]] = {}
    for name, points in curves.items():
        chart, _, line = name.partition(" | ")
        charts.setdefault(chart, {})[line] = points
    return charts


def _example(example: AlignmentExample) -> str:
    size = f"{len(example.source)} source and {len(example.target)} target words"
    heading = escape(example.label or size)
    return (
        f'<section class="example">\n<h3>{heading}</h3>\n'
        f'<p class="quiet">{escape(f"{size}; {_tally(example)}")}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Alignment grid: {heading}">'
        f"{_grid(example)}</div>\n{_table(example)}</section>\n"
    )


def _tally(example: AlignmentExample) -> str:
    if example.gold is None:
        return f"{len(set(example.predicted))} links"
    verdicts = [verdict for _, verdict in example.links()]
    return ", ".join(f"{verdicts.count(name)} {name}" for name in (CORRECT, WRONG, MISSED))


def _grid(example: AlignmentExample) -> str:
    """The grid as SVG: source words are the rows, target words the columns."""
    rows, columns = len(example.source), len(example.target)
    left = 14 + max((_pixels(word) for word in example.source), default=0)
    slant = max((_pixels(word) for word in example.target), default=0)
    top = 14 + round(0.83 * slant)  # the column labels rise at 56 degrees
    width = left + columns * _CELL + max(20, round(0.56 * slant))
    height = top + rows * _CELL + 4
    spoken = f"Alignment grid, {rows} source by {columns} target words; {_tally(example)}"
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(spoken)}. The table below lists the links.">'
        f"{_labels(example, left, top)}{_plane(rows, columns, left, top)}"
        f'<g class="cells" transform="translate({left} {top})">{_cells(example)}</g>'
        f'<g class="marks" transform="translate({left} {top})">{_marks(example)}</g></svg>'
    )


def _labels(example: AlignmentExample, left: int, top: int) -> str:
    parts = []
    for i, word in enumerate(example.source):
        y = top + i * _CELL + 16
        parts.append(
            f'<text class="word" x="{left - 7}" y="{y}" text-anchor="end">{_short(word)}</text>'
        )
    for j, word in enumerate(example.target):
        x = left + j * _CELL + 14
        turn = f"translate({x} {top - 6}) rotate(-56)"
        parts.append(f'<text class="word" transform="{turn}">{_short(word)}</text>')
    return "".join(parts)


def _short(word: str) -> str:
    return escape(word if len(word) <= _LONGEST_WORD else word[: _LONGEST_WORD - 1] + "…")


def _pixels(word: str) -> int:
    """About how wide `word` is at 13.5 px: there is no font to ask."""
    shown = word if len(word) <= _LONGEST_WORD else word[:_LONGEST_WORD]
    return round(sum(14.0 if _wide(c) else 8.3 for c in shown if not unicodedata.combining(c)))


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _plane(rows: int, columns: int, left: int, top: int) -> str:
    width, height = columns * _CELL, rows * _CELL
    across = "".join(f"M0 {i * _CELL}h{width}" for i in range(1, rows))
    down = "".join(f"M{j * _CELL} 0v{height}" for j in range(1, columns))
    return (
        f'<g transform="translate({left} {top})"><rect class="plane" width="{width}" '
        f'height="{height}"/><path class="lines" d="{across}{down}"/></g>'
    )


def _cells(example: AlignmentExample) -> str:
    """A rectangle a cell, shaded by the posterior, whose tooltip has words, link and posterior."""
    parts = []
    for i, source in enumerate(example.source):
        for j, target in enumerate(example.target):
            posterior = _posterior(example, (i, j))
            verdict = example.verdict((i, j))
            lines = [f"{source} – {target}", f"{i}-{j}"]
            lines += [] if posterior is None else [f"posterior {posterior:.3f}"]
            lines += [verdict] if verdict else []
            parts.append(
                f'<rect x="{j * _CELL}" y="{i * _CELL}" width="{_CELL}" height="{_CELL}" '
                f'fill-opacity="{_opacity(posterior)}">'
                f"<title>{'&#10;'.join(map(escape, lines))}</title></rect>"
            )
    return "".join(parts)


def _posterior(example: AlignmentExample, link: Link) -> float | None:
    return None if example.posterior is None else float(example.posterior[link[0]][link[1]])


def _opacity(posterior: float | None) -> str:
    return f"{min(max(posterior or 0.0, 0.0), 1.0):.2f}".rstrip("0").rstrip(".")


def _marks(example: AlignmentExample) -> str:
    return "".join(
        _mark(verdict, example.gold is not None and link in example.gold.sure, link)
        for link, verdict in example.links()
    )


def _mark(verdict: str, sure: bool, link: Link) -> str:
    """The gold as an outline, the prediction as a dot: told apart by shape as well as by colour."""
    x, y = link[1] * _CELL, link[0] * _CELL
    middle = f'cx="{x + _CELL // 2}" cy="{y + _CELL // 2}"'
    parts = []
    if verdict in (CORRECT, MISSED, POSSIBLE):
        kind = "missed" if verdict == MISSED else "sure" if sure else "possible"
        parts.append(
            f'<rect class="gold {kind}" x="{x + 3}" y="{y + 3}" '
            f'width="{_CELL - 6}" height="{_CELL - 6}" rx="1.5"/>'
        )
    if verdict in (CORRECT, PREDICTED):
        parts.append(f'<circle class="right" {middle} r="5"/>')
    if verdict == WRONG:
        parts.append(f'<circle class="wrong" {middle} r="7"/>')
        parts.append(f'<path class="cross" d="M{x + 8.4} {y + 8.4}l5.2 5.2m0 -5.2l-5.2 5.2"/>')
    return "".join(parts)


def _grid_legend(examples: Sequence[AlignmentExample]) -> str:
    items = []
    if any(example.gold for example in examples):
        for verdict, sure, text in (
            (CORRECT, True, "correct, gold sure"),
            (CORRECT, False, "correct, gold possible"),
            (WRONG, False, "wrong"),
            (MISSED, True, "missed (sure)"),
            (POSSIBLE, False, "possible, not predicted (no error)"),
        ):
            items.append((_mark(verdict, sure, (0, 0)), text))
    if any(example.gold is None for example in examples):
        items.append((_mark(PREDICTED, False, (0, 0)), "predicted"))
    keys = "".join(
        f'<li><svg class="key cell" viewBox="0 0 {_CELL} {_CELL}" aria-hidden="true">{mark}</svg>'
        f"{escape(text)}</li>"
        for mark, text in items
    )
    if any(example.posterior is not None for example in examples):
        steps = "".join(
            f'<rect x="{k * 8}" width="8" height="14" fill-opacity="{k / 10}"/>' for k in range(11)
        )
        keys += (
            '<li>posterior 0 <svg class="key ramp" viewBox="0 0 88 14" aria-hidden="true">'
            f'<rect class="plane" width="88" height="14"/><g class="cells">{steps}</g></svg> 1</li>'
        )
    return f'<ul class="legend">{keys}</ul>\n'


def _table(example: AlignmentExample) -> str:
    """The links as a table, for those who cannot see or use the grid."""
    rows = []
    for (i, j), verdict in example.links():
        posterior = _posterior(example, (i, j))
        shown = "" if posterior is None else f"{posterior:.3f}"
        rows.append(
            f'<tr><td class="number">{i}-{j}</td><td><bdi>{escape(example.source[i])}</bdi></td>'
            f"<td><bdi>{escape(example.target[j])}</bdi></td>"
            f'<td class="number">{shown}</td><td>{verdict}</td></tr>'
        )
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("link", "source", "target", "posterior", "")
    )
    return (
        f"<details><summary>The links as a table</summary><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></details>\n"
    )


def render_grid(example: AlignmentExample) -> str:
    """The grid in plain characters: source words are the rows, target words run downwards."""
    columns = [_terminal(word) for word in example.target]
    depth = max((len(column) for column in columns), default=0)
    words = ["".join(_terminal(word)) for word in example.source]
    margin = max((_columns(word) for word in words), default=0)
    lines = []
    for k in range(depth):
        letters = [column[k - depth] if k >= depth - len(column) else " " for column in columns]
        cells = "".join(letter + " " * (2 - _columns(letter)) for letter in letters)
        lines.append((" " * (margin + 2) + cells).rstrip())
    for i, word in enumerate(words):
        cells = " ".join(_symbol(example, (i, j)) for j in range(len(columns)))
        lines.append(f"{' ' * (margin - _columns(word))}{word}  {cells}".rstrip())
    legend = "● predicted"
    if example.gold is not None:
        legend = "■ correct, sure   ● correct, possible   × wrong   □ missed   ◌ possible"
    return "\n".join([*([example.label] if example.label else []), *lines, legend]) + "\n"


def _symbol(example: AlignmentExample, link: Link) -> str:
    verdict = example.verdict(link)
    if verdict == CORRECT and example.gold and link in example.gold.sure:
        return "■"
    symbols = {CORRECT: "●", PREDICTED: "●", WRONG: "×", MISSED: "□", POSSIBLE: "◌", None: "·"}
    return symbols[verdict]


def _terminal(word: str) -> list[str]:
    """The letters of `word` with their accents; what could steer the terminal is replaced."""
    letters: list[str] = []
    for character in word:
        kind = unicodedata.category(character)
        if kind.startswith("M") and letters:
            letters[-1] += character
        elif kind != "Cf":
            letters.append("\ufffd" if kind.startswith("C") or kind in ("Zl", "Zp") else character)
    return letters


def _columns(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return sum(2 if _wide(c) else 1 for c in text if not unicodedata.category(c).startswith("M"))
