"""What people ask first: how many words are right, and how fast; both beside what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_passes.report.markup import Html, element, join, number
from pipeline.report.plot import Series, throughput_plot
from pipeline.report.table import badge, origin, table

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = ("data", "what", "from", "records", "correct", "acc", "norm_edit_dis", "- published")


def accuracy(document: Mapping[str, Any]) -> list[Html]:
    """Return the accuracy by data set, of the original and of each batch size."""
    found, published = document["accuracy"], document["published"]
    if found is None:
        return []
    rows = []
    for what, figures in _alike(found["runs"]):
        where = origin(from_device=figures["from_device"])
        for data, score in (*_groups(figures), ("all", figures["overall"])):
            gap = _gap(score, published) if data == "all" else ""
            rows.append((data, what, where, *_cells(score), gap))
    if "acc" in published:
        figures = (f"{published[key]:.6f}" for key in ("acc", "norm_edit_dis"))
        where = badge("published, device", "plain")
        rows.append(("all", "official weights", where, str(published["records"]), "", *figures, ""))
    complete = next(iter(found["runs"].values()))["completeness"]
    return [
        element("h2", "Accuracy"),
        table(_COLUMNS, rows, numbers={3, 4, 5, 6, 7}),
        element("p", complete or _not_the_benchmark(published)),
        *_agreement(found["agreement"]),
    ]


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


def _alike(runs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return runs with a name for each; batch sizes that score the same everywhere are one."""
    groups: dict[str, tuple[list[str], Any]] = {}
    for run, figures in runs.items():
        told = [figures[key] for key in ("overall", "datasets", "from_device")]
        key = run if run == "original" else str(told)
        names, _ = groups.setdefault(key, ([], figures))
        names.append("original" if run == "original" else run.removeprefix("bs"))
    return [
        (names[0] if names[0] == "original" else f"optimised, batch {', '.join(names)}", figures)
        for names, figures in groups.values()
    ]


def _groups(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the scores by data set; the subsets of a benchmark also together."""
    sets = list(figures["datasets"].items())
    together = figures["benchmarks"]
    if 0 < len(together) < len(sets):
        sets += [(f"{name}, together", score) for name, score in together.items()]
    return sets


def _cells(score: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(score["records"]), str(score["correct"]))
    return (*counts, f"{score['acc']:.6f}", f"{score['norm_edit_dis']:.6f}")


def _gap(score: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    """Return how far acc is from the published one, where the records are as many."""
    if published.get("records") != score["records"] or "acc" not in published:
        return "-"
    return f"{score['acc'] - published['acc']:+.6f}"


def _not_the_benchmark(published: Mapping[str, Any]) -> str:
    if "acc" not in published:
        return ""
    return (
        "These are not the records of the published evaluation, so nothing is subtracted. "
        f"Published: {published.get('source', '')}"
    )


def _agreement(agreement: Mapping[str, Any]) -> list[Html]:
    lines = []
    for run, one in agreement.items():
        low, high = one["interval_95"]
        told = f"{run}: {one['text_agreement']:.2%} of the records are read as by the original; "
        change = f"{one['changes']} differ, accuracy {one['difference']:+.6f} "
        bounds = f"(95 %: {low:+.4f} to {high:+.4f}, McNemar p {number(one['mcnemar_p'])})"
        lines.append(element("li", told + change + bounds))
    return [element("ul", *lines)] if lines else []


def _series(bench: Mapping[str, Any]) -> list[Series]:
    models: dict[str, dict[int, float]] = {}
    for row in bench["rows"]:
        name = "compiled, device" if row["on_device"] else f"{row['model']}, CPU"
        models.setdefault(name, {})[row["batch"]] = row["fps"]
    ours = [Series(name, points) for name, points in models.items()]
    if not bench["published"]:
        return ours
    points = {int(batch): fps for batch, fps in bench["published"]["fps"].items()}
    return [*ours, Series("published, 310P3", points, published=True)]


def _caption(bench: Mapping[str, Any]) -> Html:
    published = bench["published"]
    text = "Images a second by batch size, without transfers."
    if published:
        text += (
            f" Dashed: {published['hardware']}, {published['software']}, "
            f"{published['certainty']}; not measured here ({published['source']})."
        )
    return element("figcaption", text)
