"""A self-contained HTML report on topics and codes, and the same tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from latentnlp.data.textfiles import write_atomically
from latentnlp.report.alignment import _columns, _score_line, _terminal
from latentnlp.report.chart import Point, line_chart
from latentnlp.report.page import escape, render_page
from latentnlp.report.rationale import _text

_WIDTH, _HEIGHT, _MARGIN = 760, 540, 14  # of the map
_COLOURS = 6  # in report.css
_SHAPES = (  # circle, square, triangle, diamond
    "M{0} {1}m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "M{0} {1}m-2.8-2.8h5.6v5.6h-5.6z",
    "M{0} {1}m0-3.8l3.6 6.4h-7.2z",
    "M{0} {1}m0-4l4 4l-4 4l-4-4z",
)
_NO_LABEL, _OTHERS = "no label", "other labels"


class Topic(NamedTuple):
    """One unit as it is shown."""

    unit: int
    on: bool  # False: it speaks by being off
    share: float  # of the documents that have it (so)
    words: list[tuple[str, float]]  # the best first, with their probabilities where they have it

    @property
    def name(self) -> str:
        return str(self.unit) if self.on else f"{self.unit} off"


class TopicTable(NamedTuple):
    """One layer; ``units``: how many it has."""

    layer: int
    units: int
    topics: list[Topic]


class Branch(NamedTuple):
    """A unit, and those of the layer below that it makes probable: their weights, largest first."""

    layer: int
    topic: Topic
    below: list[tuple[float, Topic]]


class Dream(NamedTuple):
    """A document that a model made up."""

    words: list[tuple[str, int]]  # with their counts, the most frequent first
    units: list[list[int]]  # that are on, by layer, the one next to the words first


@dataclass(frozen=True)
class DocumentMap:
    """Documents in the plane."""

    points: Sequence[Point]
    labels: Sequence[str | None]
    titles: Sequence[str]  # what is said of each document
    explained: tuple[float, float]  # share of the variance along x, along y
    total: int  # documents, of which these were taken at equal steps


# --- the page -----------------------------------------------------------------------------------


def write_topics_report(
    path: str | Path,
    title: str,
    *,
    scores: Sequence[str],
    summary: Mapping[str, str],
    curves: Mapping[str, Mapping[str, Sequence[Point]]],
    tables: Sequence[TopicTable],
    branches: Sequence[Branch],
    places: DocumentMap | None,
    dreams: Sequence[Dream],
    names: Mapping[tuple[int, int], str],
) -> None:
    """Write one HTML file that needs no network and runs no script; atomically.

    ``names``: of (layer, unit), in two or three words. All of it is plain text, escaped here.
    Raises UserError if the file cannot be written.
    """
    scored = "".join(f"<li>{_score_line(line)}</li>" for line in scores)
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in summary.items()
    )
    parts = [f'<ul class="scores">{scored}</ul>\n<dl class="summary">{facts}</dl>\n']
    if tables:
        parts.append("<h2>Topics</h2>\n")
        parts.extend(map(_topics, tables))
    if branches:
        parts.append(f"<h2>From layer to layer</h2>\n{_tree(branches)}")
    if places is not None:
        parts.append(f"<h2>Map of the documents</h2>\n{_map(places)}")
    if dreams:
        dreamt = "".join(_dream(n, one, names) for n, one in enumerate(dreams, start=1))
        parts.append(
            '<h2>Dreams</h2>\n<p class="quiet">Documents drawn from the model, of lengths as in '
            "training; their words have no order, the most frequent ones come first.</p>\n"
            f'<div class="documents">\n{dreamt}</div>\n'
        )
    if curves:
        charts = "".join(line_chart(name, lines) for name, lines in curves.items())
        parts.append(f'<h2>Training</h2>\n<div class="charts">{charts}</div>\n')
    with write_atomically(path) as stream:
        stream.write(render_page(title, "".join(parts)))


def _topics(table: TopicTable) -> str:
    rows = "".join(
        f'<tr><th scope="row" class="number">{topic.name}</th>'
        f'<td class="number">{_percent(topic.share)}</td><td lang="">{_weighed(topic.words)}</td>'
        "</tr>\n"
        for topic in table.topics
    )
    caption = (
        f"Layer {table.layer}: {len(table.topics)} of {table.units} units. The bars are the words' "
        "probabilities in documents that have the unit, on a scale of its own"
    )
    figures = "".join(
        f'<tr><th scope="row" class="number">{topic.name}</th><td lang="">'
        + ", ".join(f"{_text(word)} {weight:.4f}" for word, weight in topic.words)
        + "</td></tr>\n"
        for topic in table.topics
    )
    return (
        f'<div class="scroll">{_table(caption, ("unit", "has it"), ("words",), rows)}</div>\n'
        "<details><summary>The bars in figures</summary>"
        f"{_table('Probabilities of the words', ('unit',), ('words',), figures)}</details>\n"
    )


def _table(caption: str, numbers: Sequence[str], texts: Sequence[str], rows: str) -> str:
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name in numbers)
    heads += "".join(f'<th scope="col">{name}</th>' for name in texts)
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>\n"
        f"{rows}</tbody></table>"
    )


def _weighed(words: Sequence[tuple[str, float]]) -> str:
    most = max((weight for _, weight in words), default=0.0) or 1.0
    return " ".join(
        f'<span class="weighed" title="{weight:.4f}"><bdi>{_text(word)}</bdi>'
        f'<i style="--q:{weight / most:.2f}"></i></span>'
        for word, weight in words
    )


def _tree(branches: Sequence[Branch]) -> str:
    rows = []
    for branch in branches:
        below = "".join(
            f"<li>+{weight:.2f} unit {topic.name}: <bdi>{_text(_few(topic, 6))}</bdi></li>"
            for weight, topic in branch.below
        )
        rows.append(
            f'<tr><td class="number">{branch.layer}</td><th scope="row" class="number">'
            f'{branch.topic.name}</th><td class="number">{_percent(branch.topic.share)}</td>'
            f'<td lang=""><bdi>{_text(_few(branch.topic, 6))}</bdi></td>'
            f'<td lang=""><ul class="plain">{below or "<li>none</li>"}</ul></td></tr>\n'
        )
    caption = "Each unit with those below that it makes most probable: weights of the generator"
    texts = ("its words", "makes probable, of the layer below")
    table = _table(caption, ("layer", "unit", "has it"), texts, "".join(rows))
    return f'<div class="scroll">{table}</div>\n'


def _few(topic: Topic, count: int) -> str:
    return " ".join(word for word, _ in topic.words[:count])


def _dream(number: int, dream: Dream, names: Mapping[tuple[int, int], str]) -> str:
    lines = []
    for layer, units in reversed(list(enumerate(dream.units, start=1))):
        on = "; ".join(_unit_name(names, layer, unit) for unit in units) or "nothing"
        lines.append(f'<p class="quiet">layer {layer}: {on}</p>\n')
    words = " ".join(
        f"<bdi>{_text(word)}</bdi>" + (f"×{count}" if count > 1 else "")
        for word, count in dream.words
    )
    length = sum(count for _, count in dream.words)
    return (
        f'<section class="example">\n<h3>Dream {number}, {length} words</h3>\n{"".join(lines)}'
        f'<p class="text" lang="">{words}</p></section>\n'
    )


def _unit_name(names: Mapping[tuple[int, int], str], layer: int, unit: int) -> str:
    name = names.get((layer, unit), "")
    return f"{unit} (<bdi>{_text(name)}</bdi>)" if name else str(unit)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# --- the map ------------------------------------------------------------------------------------


def _map(places: DocumentMap) -> str:
    """A figure: each document a mark, colour and shape by its label."""
    groups = _groups(places.labels)
    x, y = _scales(places.points)
    marks = []
    for number, (name, members) in enumerate(groups.items()):
        colour, shape = _mark(number, name)
        shown = "".join(
            f'<path d="{shape.format(x(places.points[k][0]), y(places.points[k][1]))}">'
            f"<title>{_text(places.titles[k])}</title></path>"
            for k in members
        )
        marks.append(f'<g class="{colour}">{shown}</g>')
    along, across = (_percent(share) for share in places.explained)
    taken = len(places.points)
    which = f"{taken} documents" + (f" of {places.total}" if taken < places.total else "")
    caption = (
        f"{which}: the first two principal components of their codes, {along} (across) and "
        f"{across} (up) of the variance"
    )
    counts = "; ".join(f"{name} {len(members)}" for name, members in groups.items())
    return (
        f'<figure class="chart map"><figcaption>{escape(caption)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_text(f"Map of documents by label: {counts}")}">'
        f'<rect class="plane" width="{_WIDTH}" height="{_HEIGHT}"/>{"".join(marks)}</svg>'
        f"{_legend(groups)}</figure>\n"
    )


def _groups(labels: Sequence[str | None]) -> dict[str, list[int]]:
    """Documents by label, in alphabetical order; the rarest labels of too many share a mark."""
    most = _COLOURS * len(_SHAPES)
    counts = Counter(label for label in labels if label is not None)
    kept = sorted(counts) if len(counts) <= most else sorted(n for n, _ in counts.most_common(most))
    groups: dict[str, list[int]] = {name: [] for name in [*kept, _OTHERS, _NO_LABEL]}
    for place, label in enumerate(labels):
        name = (
            _NO_LABEL
            if label is None
            else label
            if label in counts and label in groups
            else _OTHERS
        )
        groups[name].append(place)
    return {name: members for name, members in groups.items() if members}


def _mark(number: int, name: str) -> tuple[str, str]:
    """Class and path of a label's marks; nobody has to tell more than six colours apart."""
    if name in (_OTHERS, _NO_LABEL):
        return "point quiet", _SHAPES[0]
    return f"point s{number % _COLOURS}", _SHAPES[number // _COLOURS % len(_SHAPES)]


def _scales(points: Sequence[Point]):
    def scale(values: list[float], size: int, turned: bool):
        low, high = min(values), max(values)
        span = (high - low) or 1.0

        def place(value: float) -> float:
            share = (value - low) / span
            return round(_MARGIN + (1 - share if turned else share) * (size - 2 * _MARGIN), 1)

        return place

    return (
        scale([x for x, _ in points], _WIDTH, False),
        scale([y for _, y in points], _HEIGHT, True),
    )


def _legend(groups: Mapping[str, list[int]]) -> str:
    if list(groups) == [_NO_LABEL]:
        return ""
    items = []
    for number, (name, members) in enumerate(groups.items()):
        colour, shape = _mark(number, name)
        items.append(
            f'<li><svg class="key" viewBox="0 0 14 10" aria-hidden="true"><g class="{colour}">'
            f'<path d="{shape.format(7, 5)}"/></g></svg><bdi>{_text(name)}</bdi> {len(members)}'
            "</li>"
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


# --- for a terminal -----------------------------------------------------------------------------


def tsv_lines(tables: Sequence[TopicTable]) -> Iterator[str]:
    """A heading, and a line a topic: layer, unit, on or off, share, words."""
    yield "layer\tunit\tstate\tshare\twords"
    for table in tables:
        for topic in table.topics:
            words, state = _few(topic, len(topic.words)), "on" if topic.on else "off"
            yield f"{table.layer}\t{topic.unit}\t{state}\t{topic.share:.4f}\t{words}"


def terminal_lines(tables: Sequence[TopicTable], width: int) -> Iterator[str]:
    """For a reader: a paragraph a layer."""
    for table in tables:
        yield f"layer {table.layer}: {len(table.topics)} of {table.units} units"
        yield "  unit      share  words"
        for topic in table.topics:
            head = f"  {topic.name:8} {100 * topic.share:5.1f}%  "
            yield from _wrapped(head, [word for word, _ in topic.words], width)
        yield ""


def dream_lines(dreams: Sequence[Dream], width: int) -> Iterator[str]:
    """A paragraph a document: which units are on, and its words."""
    for number, one in enumerate(dreams, start=1):
        length = sum(count for _, count in one.words)
        yield f"dream {number}: {length} words"
        for layer, units in reversed(list(enumerate(one.units, start=1))):
            on = [str(unit) for unit in units] or ["nothing"]
            yield from _wrapped(f"  layer {layer} on: ", on, width)
        words = [word if count == 1 else f"{word}×{count}" for word, count in one.words]
        yield from _wrapped("  ", words, width)
        yield ""


def _wrapped(head: str, words: Sequence[str], width: int) -> Iterator[str]:
    """The words after ``head``, further lines indented as far; none of them steers the terminal."""
    line: list[str] = []
    used = len(head)
    for word in ("".join(_terminal(word)) for word in words):
        columns = _columns(word) + 1
        if line and used + columns > width:
            yield head + " ".join(line)
            line, used, head = [], len(head), " " * len(head)
        line.append(word)
        used += columns
    yield head + " ".join(line)
