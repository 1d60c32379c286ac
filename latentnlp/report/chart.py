"""Line charts as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from latentnlp.report.page import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 430, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 38
_STYLES = 6  # line styles in report.css; more series than that start again


def line_chart(title: str, series: Mapping[str, Sequence[Point]], x_label: str = "epoch") -> str:
    """An HTML figure with one line for each of `series` (name -> points), axes, ticks, legend.

    Points that are not finite are left out.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in series.items()
    }
    points = [point for line in finite.values() for point in line]
    if not points:
        return f'<figure class="chart"><figcaption>{escape(title)}: no values</figcaption></figure>'
    x_ticks = ticks(min(x for x, _ in points), max(x for x, _ in points), whole=True)
    y_ticks = ticks(min(y for _, y in points), max(y for _, y in points))
    parts = [_axes(x_ticks, y_ticks, x_label)]
    for k, (name, line) in enumerate(finite.items()):
        parts.append(_line(name, line, k % _STYLES, x_ticks, y_ticks))
    spoken = "; ".join(
        f"{name} from {line[0][1]:.4g} to {line[-1][1]:.4g}"
        for name, line in finite.items()
        if line
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(f"Line chart of {title}: {spoken}")}">{"".join(parts)}</svg>'
        f"{_legend(list(finite))}</figure>\n"
    )


def ticks(low: float, high: float, *, whole: bool = False, most: int = 6) -> list[float]:
    """Round numbers, evenly spaced, of which the first is <= low and the last >= high."""
    if high == low:
        low, high = (low - 1, high + 1) if whole else (low - abs(low) / 20, high + abs(high) / 20)
    if high == low:  # both zero
        low, high = -1.0, 1.0
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10, 20) if power * m >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def _x(value: float, marks: list[float]) -> float:
    share = (value - marks[0]) / (marks[-1] - marks[0])
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def _y(value: float, marks: list[float]) -> float:
    share = (value - marks[0]) / (marks[-1] - marks[0])
    return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _axes(x_ticks: list[float], y_ticks: list[float], x_label: str) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in y_ticks:
        y = _y(value, y_ticks)
        parts.append(f'<path class="rule" d="M{_LEFT} {y}H{right}"/>')
        label = _number(value, y_ticks)
        parts.append(
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{label}</text>'
        )
    for value in x_ticks:
        x, label = _x(value, x_ticks), _number(value, x_ticks)
        parts.append(f'<path class="axis" d="M{x} {bottom}v4"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{bottom + 17}" text-anchor="middle">{label}</text>'
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    return "".join(parts)


def _number(value: float, marks: list[float]) -> str:
    """Just as many decimals as tell the tick marks apart."""
    step = marks[1] - marks[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{value:.{decimals}f}" if decimals <= 6 and abs(value) < 1e7 else f"{value:.3g}"
    return text.replace("-", "−")


def _line(
    name: str, points: list[Point], style: int, x_ticks: list[float], y_ticks: list[float]
) -> str:
    places = [(_x(x, x_ticks), _y(y, y_ticks)) for x, y in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    dots = "".join(
        f'<circle class="dot" cx="{cx}" cy="{cy}" r="2.6">'
        f"<title>{escape(f'{name}: {y:.5g} at {x:g}')}</title></circle>"
        for (x, y), (cx, cy) in zip(points, places, strict=True)
    )
    return f'<g class="series s{style}"><polyline points="{path}"/>{dots}</g>'


def _legend(names: list[str]) -> str:
    if len(names) == 1 and not names[0]:
        return ""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true">'
        f'<g class="series s{k % _STYLES}">'
        '<polyline points="0,5 26,5"/><circle class="dot" cx="13" cy="5" r="2.6"/></g></svg>'
        f"{escape(name)}</li>"
        for k, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'
