"""The sections of a report that hold the original against the rewritten model."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from onnx_passes.report.markup import Html, element, join, name, number, visible
from onnx_passes.report.plots import Mark, error_plot, histogram_plot
from onnx_passes.report.tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx_passes.numerics.tensors import TensorDifference
    from onnx_passes.report.comparison import Comparison, Histogram
    from onnx_passes.report.pictures import Pictures

MAX_WORST_TENSORS = 15
MAX_LABEL_CHARACTERS = 60
PICTURE_WIDTH_PX = 220
COLUMNS = ("input", "before", "after", "difference")
# What onnxsim does, for one: the Conv that absorbs a BatchNormalization keeps the Conv's name.
REUSED_NAMES = (
    " The outputs agree all the same: such a tensor is most likely another value under an old "
    "name, as a fused node may keep the name of one of its parts."
)


def sections(comparison: Comparison, limits: Mapping[str, float]) -> list[Html]:
    """Return error along the graph, histogram and pictures, or why there are none.

    Args:
        comparison: What to show.
        limits: Greatest difference allowed, by output.
    """
    if comparison.problem:
        return [element("h2", "Error along the graph"), element("p", comparison.problem)]
    return [
        element("h2", "Error along the graph"),
        element("p", f"Original against rewritten model; feeds {comparison.feeds}.", class_="dim"),
        *_errors(comparison),
        element("h2", "Histogram of differences"),
        *(
            _histogram(histogram, limits.get(histogram.output))
            for histogram in comparison.histograms
        ),
        *_pictures(comparison.pictures),
    ]


def _errors(comparison: Comparison) -> list[Html]:
    tensors = comparison.tensors
    different = [tensor for tensor in tensors if not tensor.difference.same_bits]
    diverging = [tensor for tensor in tensors if tensor.diverges]
    lines = [f"{len(tensors)} tensors are made by both models; {len(different)} differ."]
    for heading, found in (("differs", different), ("differs by more than rounding", diverging)):
        if found:
            first = join(name(found[0].name), ", made by ", name(found[0].node))
            lines.append(join(f" The first that {heading}: ", first, "."))
    if not different:
        return [element("p", *lines, " All shared tensors are bit-equal.")]
    outputs = {histogram.output for histogram in comparison.histograms}
    if diverging and outputs.isdisjoint(tensor.name for tensor in diverging):
        lines.append(REUSED_NAMES)
    return [
        element("p", *lines),
        _error_figure(tensors, "Greatest absolute difference", relative=False),
        _error_figure(tensors, "Greatest difference relative to the tensor's peak", relative=True),
        _worst(different),
    ]


def _error_figure(tensors: Sequence[TensorDifference], title: str, *, relative: bool) -> Html:
    marks = [_mark(tensor, (tensor.peak or 1.0) if relative else 1.0) for tensor in tensors]
    legend = (
        f"{title}, logarithmic; on the base line: no difference. ",
        element("span", "● tensor", class_="mark"),
        " ",
        element("span", "◆ tensor that rounding does not explain", class_="mark diverging"),
        " ",
        element("span", "╌╌ what rounding explains", class_="mark explained"),
    )
    return element("figure", element("figcaption", *legend), error_plot(marks, title))


def _mark(tensor: TensorDifference, unit: float) -> Mark:
    allowed = None if tensor.allowed is None else tensor.allowed.atol / unit
    value = tensor.difference.max_abs / unit
    label = " ".join(
        (
            number(value),
            *(visible(text, MAX_LABEL_CHARACTERS) for text in (tensor.name, tensor.node)),
        )
    )
    return Mark(tensor.position, value, allowed, tensor.diverges, label)


def _worst(tensors: Sequence[TensorDifference]) -> Html:
    """Return the tensors with the greatest relative differences, folded."""
    worst = sorted(tensors, key=lambda t: -t.difference.max_abs / (t.peak or 1.0))
    head = ("tensor", "made by", "max abs", "peak", "max ulp", "rounding explains")
    rows = [
        element(
            "tr",
            element("td", name(t.name)),
            element("td", name(t.node)),
            *(
                element("td", number(value), class_="n")
                for value in (t.difference.max_abs, t.peak, t.difference.max_ulp)
            ),
            element("td", "-" if t.allowed is None else number(t.allowed.atol), class_="n"),
        )
        for t in worst[:MAX_WORST_TENSORS]
    ]
    summary = element(
        "summary", f"The {len(rows)} tensors that differ most, relative to their peak"
    )
    return element("details", summary, table(head, rows, numeric=set(head[2:])))


def _histogram(histogram: Histogram, limit: float | None) -> Html:
    differing = histogram.size - histogram.equal
    line = f"{histogram.size} elements, {differing} differ"
    if histogram.infinite:
        line += f", {histogram.infinite} of them are NaN or infinite on one side"
    if limit is not None:
        line += f"; allowed: {number(limit)}" if limit else "; allowed: no difference"
    caption = element("figcaption", name(histogram.output), f": {line}.")
    if not histogram.counts:
        return element("figure", caption)
    title = f"differences of {visible(histogram.output, MAX_LABEL_CHARACTERS)}"
    return element("figure", caption, histogram_plot(histogram, limit, title))


def _pictures(pictures: Sequence[Pictures]) -> list[Html]:
    if not pictures:
        return []
    return [element("h2", "Pictures"), *(part for each in pictures for part in _picture(each))]


def _picture(pictures: Pictures) -> tuple[Html, Html, Html]:
    heads = (join("input ", name(pictures.input)), *COLUMNS[1:])
    rows = [
        element(
            "tr",
            *(
                element("td", _image(data, pictures.shape[-1], f"{column}, image {place}"))
                for column, data in zip(COLUMNS, row, strict=True)
            ),
        )
        for place, row in enumerate(pictures.rows, 1)
    ]
    white = f"white is {number(pictures.largest)}" if pictures.largest else "none: black"
    scale = (
        f"{len(rows)} of {pictures.shape[0]} images. Before and after: black is "
        f"{number(pictures.low)}, white is {number(pictures.high)}. Difference: {white}."
    )
    cells = element("tr", *(element("th", head) for head in heads))
    body = element("table", element("thead", cells), element("tbody", *rows), class_="pictures")
    heading = element("h3", name(pictures.tensor), " made by ", name(pictures.node))
    return heading, element("p", scale, class_="dim"), element("div", body, class_="scroll")


def _image(data: bytes, width_px: int, alt: str) -> Html:
    scale = max(1, PICTURE_WIDTH_PX // width_px)
    source = "data:image/png;base64," + base64.b64encode(data).decode()
    return element("img", src=source, width=min(width_px * scale, PICTURE_WIDTH_PX), alt=alt)
