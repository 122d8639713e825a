"""Tables and badges of the flow's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.report.markup import Html, element

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Collection[int] = (),
    groups: Sequence[tuple[str, int]] = (),
) -> Html:
    """Return a table.

    Args:
        columns: The heads.
        rows: The cells.
        numbers: Columns that are set to the right.
        groups: Heads above the heads, each with how many columns it spans.
    """
    classes = ["n" if place in numbers else None for place in range(len(columns))]
    head = (element("th", text, class_=kind) for text, kind in zip(columns, classes, strict=True))
    above = (element("th", name, colspan=width, class_="group") for name, width in groups)
    heads = [*([element("tr", *above)] if groups else []), element("tr", *head)]
    lines = (
        element("tr", *(element("td", cell, class_=kind) for cell, kind in _cells(row, classes)))
        for row in rows
    )
    body = element("tbody", *lines)
    return element("div", element("table", element("thead", *heads), body), class_="scroll")


def badge(text: str, style: str) -> Html:
    """Return a word in a frame; its text says what its colour says."""
    return element("span", text, class_=f"badge {style}")


def origin(*, from_device: bool) -> Html:
    """Return whether a figure comes from a device."""
    return badge("device", "good") if from_device else badge("not a device", "plain")


def _cells(row: Sequence[str], classes: Sequence[str | None]) -> Iterable[tuple[str, str | None]]:
    return zip(row, classes, strict=True)
