"""Images a second by batch size, ours and the published ones, as inline SVG."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from onnx_passes.report.markup import Html, element, join

if TYPE_CHECKING:
    from collections.abc import Sequence

# In user units; the page scales the drawing to its width.
WIDTH, HEIGHT = 1000, 330
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 20, 46
MARK = 4
LINE_HEIGHT = 15  # between two labels that would overlap
_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_LEVELS = 5


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of the plot.

    Attributes:
        label: What it is, with where it comes from.
        points: Images a second by batch size.
        published: Whether others measured it; then it is dashed.
    """

    label: str
    points: dict[int, float]
    published: bool = False


def throughput_plot(series: Sequence[Series]) -> Html:
    """Return the plot: batch sizes on a logarithmic scale, images a second from 0."""
    batches = sorted({batch for one in series for batch in one.points})
    top = _round_up(max(value for one in series for value in one.points.values()))
    step = top / _LEVELS
    low, high = math.log2(batches[0]), math.log2(batches[-1])

    def x(batch: int) -> float:
        share = (math.log2(batch) - low) / (high - low) if high > low else 0.5
        return LEFT + 20 + (WIDTH - LEFT - RIGHT - 40) * share

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top

    levels = join(*(_level(level * step, y(level * step)) for level in range(_LEVELS + 1)))
    ticks = join(
        *(_text(str(batch), x(batch), HEIGHT - BOTTOM + 18, "middle") for batch in batches)
    )
    drawn = [
        [(x(batch), y(value)) for batch, value in sorted(one.points.items())] for one in series
    ]
    ends = _spread([points[-1][1] for points in drawn])
    lines = (_line(one, points, end) for one, points, end in zip(series, drawn, ends, strict=True))
    return element(
        "svg",
        levels,
        ticks,
        _text("batch size", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "middle"),
        *lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label="Images a second by batch size",
    )


def _line(one: Series, points: list[tuple[float, float]], end: float) -> Html:
    """Return a line with its marks, hollow where others measured, and its label at the right."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = "rounding" if one.published else "ours"
    marks = (
        element("title", f"{one.label}, batch {batch}: {value:.1f} images/s")
        for batch, value in sorted(one.points.items())
    )
    drawn = (
        element(
            "circle",
            title,
            class_="theirs" if one.published else "dot",
            cx=f"{x:.1f}",
            cy=f"{y:.1f}",
            r=MARK,
        )
        for title, (x, y) in zip(marks, points, strict=True)
    )
    label = _text(one.label, points[-1][0] + 12, end + 4, "start")
    return join(element("polyline", class_=style, points=corners), *drawn, label)


def _spread(heights: list[float]) -> list[float]:
    """Return heights far enough apart for a line of text each, in the same order."""
    found = dict.fromkeys(range(len(heights)), 0.0)
    last = math.inf
    for number in sorted(found, key=lambda number: -heights[number]):  # upwards from the axis
        last = min(heights[number], last - LINE_HEIGHT)
        found[number] = last
    return list(found.values())


def _level(value: float, height: float) -> Html:
    line = element(
        "line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{height:.1f}", y2=f"{height:.1f}"
    )
    return join(line, _text(f"{value:g}", LEFT - 8, height + 4, "end"))


def _text(text: str, x: float, y: float, anchor: str) -> Html:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _round_up(value: float) -> float:
    """Return the next number that divides into five round steps."""
    step = max(value, 1e-9) / _LEVELS
    power = 10.0 ** math.floor(math.log10(step))
    return _LEVELS * power * next(round_one for round_one in _STEPS if round_one * power >= step)
