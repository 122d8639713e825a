"""How fast the models run, beside what was published, and what was compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_passes.report.markup import Html, element, join
from pipeline.report.plot import Series, throughput_plot
from pipeline.report.table import origin, table

if TYPE_CHECKING:
    from collections.abc import Mapping


def throughput(document: Mapping[str, Any]) -> list[Html]:
    """Return images a second by batch size, as a plot and as a table."""
    bench = document["bench"]
    if bench is None:
        return []
    rows = bench["rows"]
    cells = [
        (
            row["model"],
            origin(from_device=row["on_device"]),
            str(row["batch"]),
            f"{row['ms']:.3f} ({row['ms_min']:.3f} to {row['ms_max']:.3f})",
            f"{row['fps']:.1f}",
            "-" if row["published_fps"] is None else f"{row['published_fps']:.1f}",
            "-" if row["ratio"] is None else f"{row['ratio']:.3f}",
        )
        for row in rows
    ]
    columns = ("model", "from", "batch", "ms (spread)", "images/s", "published", "ratio")
    where = dict.fromkeys(row["hardware"] for row in rows)
    return [
        element("h2", "Throughput"),
        element("figure", _caption(bench), throughput_plot(_series(bench))),
        table(columns, cells, numbers={2, 3, 4, 5, 6}),
        *(element("p", f"measured on: {place}", class_="dim") for place in where),
    ]


def compiled(found: Mapping[str, Any] | None) -> list[Html]:
    """Return the compiled models."""
    if found is None:
        return []
    rows = [
        (batch, one["file"], f"{one['bytes'] / 1e6:.1f}", f"{one['seconds']:.1f}", _list(one))
        for batch, one in found["compiled"].items()
    ]
    return [
        element("h2", f"Compiled for {found['soc']} by CANN {found['toolkit'] or '?'}"),
        table(("batch", "file", "MB", "seconds", "warnings"), rows, numbers={0, 2, 3}),
    ]


def _list(one: Mapping[str, Any]) -> Html:
    return join(*(element("div", line) for line in one["warnings"]))


def _series(bench: Mapping[str, Any]) -> list[Series]:
    models: dict[str, dict[int, float]] = {}
    for row in bench["rows"]:
        compiled_one = row["provider"] is None
        name = "compiled, device" if compiled_one else f"{row['model']}, {_place(row)}"
        models.setdefault(name, {})[row["batch"]] = row["fps"]
    ours = [Series(name, points) for name, points in models.items()]
    if not bench["published"]:
        return ours
    points = {int(batch): fps for batch, fps in bench["published"]["fps"].items()}
    return [*ours, Series("published, 310P3", points, published=True)]


def _place(row: Mapping[str, Any]) -> str:
    """Return where onnxruntime ran a model, in a word."""
    return str(row["provider"]).removesuffix("ExecutionProvider")


def _caption(bench: Mapping[str, Any]) -> Html:
    published = bench["published"]
    text = "Images a second by batch size, without transfers."
    if published:
        text += (
            f" Dashed: {published['hardware']}, {published['software']}, "
            f"{published['certainty']}; not measured here ({published['source']})."
        )
    return element("figcaption", text)
