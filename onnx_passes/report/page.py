"""A run as one web page that needs nothing but itself: no script, no request, no font.

The content security policy in its head makes a browser refuse whatever else might slip in.
"""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any

from onnx_passes.report.differences import sections
from onnx_passes.report.markup import Html, element, join, name
from onnx_passes.report.tables import (
    arrow,
    badge,
    is_blamed,
    notes,
    operators_table,
    outputs_table,
    size,
    steps_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_passes.core.outcome import Outcome, Step
    from onnx_passes.report.comparison import Comparison

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)


def to_page(outcome: Outcome, comparison: Comparison, about: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        outcome: The run.
        comparison: What the plots show.
        about: ``created``, ``model``, ``command``, ``packages`` and ``machine``, as in report.json.
    """
    body = element(
        "body",
        element("h1", name(about["model"])),
        element("p", badge(outcome.verdict), " ", _summary(outcome)),
        *(_banner(step, outcome) for step in outcome.blamed),
        _unchecked(outcome),
        _facts(outcome, about),
        element("h2", "Passes"),
        steps_table(outcome.steps) if outcome.steps else element("p", "The pass list is empty."),
        *(_step(step) for step in outcome.steps),
        element("h2", "Nodes by operator"),
        operators_table(outcome),
        *sections(comparison, _limits(outcome)),
    )
    return f"<!doctype html>\n{element('html', _head(about['model']), body, lang='en')}\n"


def _head(model: str) -> Html:
    style = importlib.resources.files("onnx_passes.report").joinpath("page.css")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{model}: onnx-passes"),
        element("style", Html(style.read_text("utf-8"))),
    )


def _summary(outcome: Outcome) -> str:
    nodes = arrow(str(outcome.before.nodes), str(outcome.after.nodes))
    weights = arrow(size(outcome.before.bytes), size(outcome.after.bytes))
    return f"{len(outcome.steps)} passes run; nodes {nodes}; initializers {weights}"


def _banner(step: Step, outcome: Outcome) -> Html:
    """Return what stands out: a pass that is to blame, with its reason."""
    if step is outcome.stopped_by:
        shown = "after" if outcome.rejected is not None else "before"
        ending = f"The run stopped here. The sections below show the model {shown} this pass."
    else:
        ending = "Its change was kept." if step.kept else "The run went on without its change."
    heading = join(f"Pass {step.number} {step.verdict}: ", name(step.text))
    return element(
        "div",
        element("strong", heading),
        element("p", step.reason),
        element("p", ending),
        class_="banner bad",
        role="alert",
    )


def _unchecked(outcome: Outcome) -> Html:
    """Return a banner for changes whose numbers were not compared."""
    steps = [step for step in outcome.steps if step.verdict in {"not checked", "not checkable"}]
    if not steps:
        return Html()
    lines = [element("li", name(step.text), ": ", step.reason) for step in steps]
    heading = "No numbers were checked" if not outcome.feeds else "Not everything was checked"
    return element("div", element("strong", heading), element("ul", *lines), class_="banner open")


def _facts(outcome: Outcome, about: Mapping[str, Any]) -> Html:
    packages = ", ".join(f"{package} {version}" for package, version in about["packages"].items())
    machine = about["machine"]
    facts = {
        "command": element("code", about["command"] or "-"),
        "created": about["created"],
        "feeds": outcome.feeds or "none",
        "expected outputs": outcome.oracle or "none",
        "machine": f"{machine['system']}, {machine['architecture']}, "
        f"{machine['processors']} processors, Python {machine['python']}",
        "packages": packages,
    }
    pairs = (join(element("dt", key), element("dd", value)) for key, value in facts.items())
    return element("dl", *pairs)


def _step(step: Step) -> Html:
    """Return what is worth reading of one pass: its outputs and its notes."""
    parts = [
        outputs_table(step.outputs) if step.outputs else Html(),
        notes("rewritten:", step.rewritten),
        notes("left alone:", step.skipped),
    ]
    if not any(parts):
        return Html()
    summary = join(f"{step.number} ", name(step.text), ": outputs and notes")
    opened = True if is_blamed(step) else None
    return element("details", element("summary", summary), *parts, open=opened)


def _limits(outcome: Outcome) -> dict[str, float]:
    """Return what each output of the rewritten model was allowed to differ by in the end."""
    return {
        check.output: check.tolerance.atol
        for step in outcome.steps
        if step.kept
        for check in step.outputs
    }
