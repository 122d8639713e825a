"""Plots as inline SVG: error along the graph, and how the differences are spread."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

from onnx_passes.report.markup import Html, element, join, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from onnx_passes.report.comparison import Histogram

# In user units; the page scales the drawing to its width.
WIDTH, HEIGHT = 1000, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 26, 40
# What a logarithmic scale has no place for lies below and above it.
ZERO_BAND, INFINITE_Y = 22, 8
MAX_TICKS = 8
# More marks than this cannot be told apart; the greatest of each neighbourhood stay.
MAX_MARKS = 1200
MARK_RADIUS = 3


@dataclasses.dataclass(frozen=True)
class Mark:
    """One tensor in a plot of errors.

    Attributes:
        position: Its place in topological order.
        value: Its error; 0.0 or infinite is allowed.
        rounding: What rounding alone explains, in the same unit; None if unknown.
        diverges: Whether the error is greater than that.
        label: What a mouse over the mark shows.
    """

    position: int
    value: float
    rounding: float | None
    diverges: bool
    label: str


def error_plot(marks: Sequence[Mark], title: str) -> Html:
    """Return errors along the graph on a logarithmic scale, zeros below it, infinity above."""
    marks = _thinned(marks)
    roundings = [(m.position, m.rounding) for m in marks if m.rounding and m.rounding < math.inf]
    low, high = _decades([*(mark.value for mark in marks), *(value for _, value in roundings)])
    last = max((mark.position for mark in marks), default=0) or 1

    def x(position: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * position / last

    def y(value: float) -> float:
        if value == 0:
            return HEIGHT - BOTTOM
        if math.isinf(value):
            return INFINITE_Y
        floor = HEIGHT - BOTTOM - ZERO_BAND
        return floor - (floor - TOP) * _share(value, low, high)

    rounding = [(x(position), y(value)) for position, value in roundings]
    return _svg(
        title,
        _levels(low, high, y),
        *_line(0.0, "0", y),
        *(_line(math.inf, "inf", y) if any(math.isinf(mark.value) for mark in marks) else ()),
        _caption("place in topological order, 0 to " + str(last)),
        element("polyline", class_="rounding", points=_points(rounding)),
        *(_dot(mark, x(mark.position), y(mark.value)) for mark in marks),
    )


def histogram_plot(histogram: Histogram, limit: float | None, title: str) -> Html:
    """Return the finite differences of one output by size; ``limit`` is drawn as a line."""
    low, high = _decades([*histogram.edges, limit or 0.0])
    most = max(histogram.counts)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _share(value, low, high)

    def y(count: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * count / most

    bars = [
        element(
            "rect",
            element("title", f"{count} elements from {number(start)} to {number(end)}"),
            class_="bar",
            x=_r(x(start)),
            y=_r(y(count)),
            width=_r(max(x(end) - x(start) - 1, 1)),
            height=_r(HEIGHT - BOTTOM - y(count)),
        )
        for count, (start, end) in zip(
            histogram.counts, itertools.pairwise(histogram.edges), strict=True
        )
        if count
    ]
    return _svg(
        title,
        *_line(0, "0", y),
        *_line(most, str(most), y),
        *(_tick(x(10.0**exponent), f"1e{exponent}") for exponent in _ticks(low, high)),
        _caption("absolute difference"),
        *bars,
        _limit(x(limit)) if limit and math.isfinite(limit) else "",
    )


def _thinned(marks: Sequence[Mark]) -> list[Mark]:
    """Return the greatest mark of each neighbourhood, all marks where they are few."""
    size = -(-len(marks) // MAX_MARKS) or 1
    groups = (marks[start : start + size] for start in range(0, len(marks), size))
    return [max(group, key=lambda mark: (mark.diverges, mark.value)) for group in groups]


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """Return the exponents of ten around all positive finite values."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    if not logs:
        return 0, 1
    # An edge at 1e-7 is 10**-7 up to rounding and needs no decade below it.
    low, high = math.floor(min(logs) + 1e-9), math.ceil(max(logs) - 1e-9)
    return low, max(high, low + 1)


def _share(value: float, low: int, high: int) -> float:
    """Return where a positive finite value lies between two decades, in [0, 1]."""
    return min(max((math.log10(value) - low) / (high - low), 0.0), 1.0)


def _ticks(low: int, high: int) -> range:
    return range(low, high + 1, -(-(high - low) // MAX_TICKS))


def _levels(low: int, high: int, y: Callable[[float], float]) -> Html:
    lines = (_line(10.0**exponent, f"1e{exponent}", y) for exponent in _ticks(low, high))
    return join(*(part for line in lines for part in line))


def _line(value: float, label: str, y: Callable[[float], float]) -> tuple[Html, Html]:
    """Return a horizontal line with its label."""
    height = _r(y(value))
    line = element("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height)
    return line, element("text", label, x=LEFT - 8, y=_r(y(value) + 4), text_anchor="end")


def _tick(x: float, label: str) -> Html:
    return element("text", label, x=_r(x), y=HEIGHT - BOTTOM + 16, text_anchor="middle")


def _caption(label: str) -> Html:
    middle = (LEFT + WIDTH - RIGHT) // 2
    return element("text", label, x=middle, y=HEIGHT - 6, text_anchor="middle")


def _limit(x: float) -> Html:
    line = element("line", class_="limit", x1=_r(x), x2=_r(x), y1=TOP, y2=HEIGHT - BOTTOM)
    left = x > WIDTH / 2
    anchor = "end" if left else "start"
    beside = _r(x - 6 if left else x + 6)
    return join(line, element("text", "allowed", x=beside, y=TOP + 10, text_anchor=anchor))


def _dot(mark: Mark, x: float, y: float) -> Html:
    """Return a circle, or a diamond where the tensor diverges: colour alone says nothing."""
    title = element("title", mark.label)
    if not mark.diverges:
        return element("circle", title, class_="dot", cx=_r(x), cy=_r(y), r=MARK_RADIUS)
    reach = 2 * MARK_RADIUS
    corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
    return element("polygon", title, class_="diverges", points=_points(corners))


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_r(x)},{_r(y)}" for x, y in places)


def _svg(title: str, *children: str) -> Html:
    box = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", *children, viewBox=box, role="img", aria_label=title)


def _r(value: float) -> str:
    return f"{value:.1f}"
