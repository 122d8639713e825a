"""The tables of a report: passes, operators, outputs, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.report.markup import (
    MAX_NAME_CHARACTERS,
    Html,
    element,
    join,
    name,
    number,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onnx_passes.core.contract import Note
    from onnx_passes.core.outcome import Outcome, Step
    from onnx_passes.numerics.check import OutputCheck

# What a person reads; report.json has all.
MAX_NOTES = 40
MAX_CHANGES = 8
_MANNER = {
    "passed": ("good", "✓"),
    "unchanged": ("plain", "="),
    "failed": ("bad", "✗"),
    "crashed": ("bad", "✗"),
    "not checkable": ("open", "?"),
    "not checked": ("open", "?"),
}


def badge(verdict: str) -> Html:
    """Return a verdict as a coloured word; the word and its sign say it without the colour."""
    class_, sign = _MANNER[verdict]
    return element("span", f"{sign} {verdict}", class_=f"badge {class_}")


def is_blamed(step: Step) -> bool:
    """Return whether a step failed or crashed."""
    return step.verdict in {"failed", "crashed"}


def steps_table(steps: Sequence[Step]) -> Html:
    """Return one row per executed pass."""
    head = ("#", "pass", "verdict", "pass s", "check s", "nodes", "by operator", "bytes", "error")
    rows = [
        element(
            "tr",
            _number(str(step.number)),
            element("td", name(step.text), class_="name"),
            element("td", badge(step.verdict), " ", element("span", _fate(step), class_="dim")),
            _number(f"{step.seconds:.2f}"),
            _number(f"{step.check_seconds:.2f}"),
            _number(arrow(str(step.before.nodes), str(step.after.nodes))),
            element("td", *_operator_changes(step)),
            _number(arrow(size(step.before.bytes), size(step.after.bytes))),
            _number(_error(step)),
            class_="blamed" if is_blamed(step) else None,
        )
        for step in steps
    ]
    return table(head, rows, numeric={"#", "pass s", "check s", "nodes", "bytes", "error"})


def operators_table(outcome: Outcome) -> Html:
    """Return the nodes by operator in the original and after each pass that changed them."""
    changed = [step for step in outcome.steps if step.before.operators != step.after.operators]
    heads = [f"after {step.number}{'' if step.kept else ' (undone)'}" for step in changed]
    head = ("operator", "original", *heads)
    moved = {operator for step in changed for operator, _, _ in changes(step)}
    rows = [
        element(
            "tr",
            element("td", name(operator)),
            _number(str(outcome.before.operators.get(operator, 0))),
            *(_count(step, operator) for step in changed),
        )
        for operator in sorted(moved)
    ]
    still = [
        f"{visible(operator, MAX_NAME_CHARACTERS)}\u00a0{count}"
        for operator, count in sorted(outcome.before.operators.items())
        if operator not in moved
    ]
    return join(
        element("div", table(head, rows, set(head[1:])), class_="tight") if rows else "",
        element("p", f"In equal numbers throughout: {', '.join(still) or 'none'}.", class_="dim"),
    )


def outputs_table(checks: Iterable[OutputCheck]) -> Html:
    """Return the check of each graph output against the original."""
    head = (
        *("output", "verdict", "max abs", "max rel", "max ulp", "differ", "cosine", "SNR dB"),
        *("argmax", "other feeds", "allowed"),
    )
    rows = [
        element(
            "tr",
            element("td", name(check.output)),
            element("td", badge(check.verdict)),
            *(_number(number(value)) for value in (d.max_abs, d.max_rel, d.max_ulp)),
            _number(f"{d.mismatches} of {d.size}"),
            _number(f"{d.cosine:.6f}"),
            _number(f"{d.snr_db:.1f}"),
            _number(f"{d.argmax_agreement:.4f}"),
            _number(number(check.sensitivity)),
            element("td", check.tolerance.formula),
        )
        for check in checks
        for d in (check.original,)
    ]
    return table(head, rows, numeric=set(head[2:-1]))


def notes(heading: str, items: Sequence[Note]) -> Html:
    """Return what a pass said of nodes, folded."""
    if not items:
        return Html()
    lines = [element("li", name(note.node), ": ", note.text) for note in items[:MAX_NOTES]]
    if len(items) > MAX_NOTES:
        lines.append(element("li", f"{len(items) - MAX_NOTES} more in report.json"))
    return element("details", element("summary", f"{heading} {len(items)}"), element("ul", *lines))


def table(head: Sequence[str], rows: Iterable[Html], numeric: set[str]) -> Html:
    """Return a table that scrolls sideways where the page is too narrow."""
    cells = (element("th", cell, class_="n" if cell in numeric else None) for cell in head)
    body = element("table", element("thead", element("tr", *cells)), element("tbody", *rows))
    return element("div", body, class_="scroll")


def arrow(before: str, after: str) -> str:
    """Return ``before → after``, or one of them when they are equal."""
    return before if before == after else f"{before} → {after}"


def size(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next((f"{count / f:.2f} {unit}" for unit, f in units if count >= f), f"{count} B")


def changes(step: Step) -> list[tuple[str, int, int]]:
    """Return operator, nodes before and nodes after, where they differ; what is gone is first."""
    before, after = step.before.operators, step.after.operators
    found = [
        (operator, before.get(operator, 0), after.get(operator, 0))
        for operator in sorted({*before, *after})
        if before.get(operator, 0) != after.get(operator, 0)
    ]
    return sorted(found, key=lambda change: (change[2] > 0, -abs(change[1] - change[2])))


def _operator_changes(step: Step) -> list[Html]:
    found = changes(step)
    lines = [
        element("span", name(operator), f" {old} → {new}", class_="changes")
        for operator, old, new in found[:MAX_CHANGES]
    ]
    if len(found) > MAX_CHANGES:
        lines.append(element("span", f"{len(found) - MAX_CHANGES} more below", class_="dim"))
    return lines


def _count(step: Step, operator: str) -> Html:
    before, after = (side.operators.get(operator, 0) for side in (step.before, step.after))
    return element("td", str(after), class_="n" if before == after else "n changed")


def _error(step: Step) -> str:
    if step.bit_equal:
        return "bit-equal"
    return "-" if step.max_abs is None else number(step.max_abs)


def _number(value: str) -> Html:
    return element("td", value, class_="n")


def _fate(step: Step) -> str:
    """Return what became of a change that failed, or an empty string."""
    if step.verdict != "failed":
        return ""
    return "kept" if step.kept else "undone"
