"""The numbers: every pass against what it started from, the result against the export, the lint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_passes.report.markup import Html, element, join, name, number
from pipeline.report.table import badge, table

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLES = {"passed": "good", "unchanged": "plain"}


def passes_section(found: Mapping[str, Any] | None) -> list[Html]:
    """Return one row per pass that ran."""
    if found is None:
        return []
    before, after = found["before"], found["after"]
    rows = [
        (
            step["stage"],
            name(step["pass"]),
            join(badge(step["verdict"], _STYLES.get(step["verdict"], "bad")), " ", step["reason"]),
            f"{step['nodes_before']} → {step['nodes_after']}",
            worst(step["outputs"], "previous"),
            worst(step["outputs"], "original"),
            f"{step['seconds']:.2f} + {step['check_seconds']:.2f}",
        )
        for step in found["steps"]
    ]
    columns = ("stage", "pass", "verdict", "nodes", "this pass", "since start", "pass + check, s")
    gone = sorted(set(before["operators"]) - set(after["operators"]))
    return [
        element("h2", "Passes"),
        element(
            "p",
            f"nodes {before['nodes']} → {after['nodes']}; gone: {', '.join(gone) or 'nothing'}. "
            "Greatest absolute difference of any output: by this pass, and since its stage "
            "started.",
        ),
        table(columns, rows, numbers={3, 4, 5, 6}),
        element("p", f"checked on: {found['feeds'] or 'nothing'}; oracle: {found['oracle']}"),
    ]


def verify_section(found: Mapping[str, Any] | None) -> list[Html]:
    """Return the rewritten model against the export."""
    if found is None:
        return []
    rows = [
        (
            name(output["output"]),
            badge(output["verdict"], _STYLES.get(output["verdict"], "bad")),
            worst([output], "original"),
            output["formula"],
            _share(output["original"]["argmax_agreement"]),
        )
        for output in found["outputs"]
    ]
    columns = ("output", "verdict", "greatest difference", "allowed", "argmax alike")
    rectified = found["rectified"]
    told = []
    if rectified:
        for key, what in (("all", "all passes"), ("alone", "decompose-grid-sample alone")):
            told.append(element("li", f"{what}: {rectified[key]['sentence']}"))
    return [
        element("h2", "The rewritten model against the export"),
        table(columns, rows, numbers={2, 4}),
        *([element("p", "What GridSample makes:"), element("ul", *told)] if told else []),
    ]


def export_lines(found: Mapping[str, Any] | None) -> list[str]:
    """Return what an export found; nothing if a model was given."""
    told = found or {}  # of an older version too, which found less
    folded = [
        f"{each['operator']} {each['dtype']} {each['shape']}" for each in told.get("folded", [])
    ]
    return [
        *([f"folded: {'; '.join(folded)}"] if folded else []),
        *(f"repaired: {repair}" for repair in told.get("repairs", [])),
        *([f"numbers {told['numbers']}"] if told.get("numbers") else []),
    ]


def export_section(found: Mapping[str, Any] | None) -> list[Html]:
    """Return the export against Paddle."""
    lines = [element("li", line) for line in export_lines(found)]
    return [element("h2", "Export"), element("ul", *lines)] if lines else []


def lint_section(found: Mapping[str, Any] | None) -> list[Html]:
    """Return what ATC is expected to say."""
    if found is None:
        return []
    counts = ", ".join(f"{level} {count}" for level, count in found["counts"].items())
    rows = [
        (each["code"], each["level"], each["subject"], each["why"]) for each in found["findings"]
    ]
    shown = [table(("code", "level", "of", "why"), rows)] if rows else []
    return [
        element("h2", f"Lint for CANN {found['cann']}, {found['soc']}"),
        element("p", f"{counts}. From data on the operators, without ATC."),
        *shown,
    ]


def worst(outputs: list[dict[str, Any]], against: str) -> str:
    """Return the greatest difference of some outputs, as short as it can be said."""
    found = [output[against] for output in outputs]
    if not found:
        return "-"
    if all(one["same_bits"] for one in found):
        return "bit-equal"
    sizes = [one["max_abs"] for one in found]
    told = [size for size in sizes if isinstance(size, str)]  # inf and nan have no number in JSON
    return str(told[0]) if told else number(max(sizes))


def _share(value: Any) -> str:  # noqa: ANN401  a number, or "nan"
    return value if isinstance(value, str) else f"{value:.4f}"
