"""How a run of passes looks in a terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from pipeline.cli.console import out

if TYPE_CHECKING:
    from onnx_passes.core.outcome import Outcome, Step
    from onnx_passes.numerics.compare import Difference

# Notes a person reads; the rest is in --json.
MAX_NOTES = 8
_STYLES = {
    "passed": "green",
    "unchanged": "dim",
    "failed": "bold red",
    "crashed": "bold red",
    "not checkable": "yellow",
    "not checked": "yellow",
}


def show_outcome(outcome: Outcome, written: str | None) -> None:
    """Print the table of passes, what was left alone, and where the model went."""
    out.print(steps_table(outcome.steps))
    if idle := idle_line(outcome.steps):
        out.print(idle, markup=False, style="dim", soft_wrap=True)
    for step in outcome.steps:
        _show_reason(step)
        _show_skipped(step)
    out.print(_counts(outcome), soft_wrap=True)
    if outcome.feeds:
        out.print(f"feeds: {outcome.feeds}", markup=False, soft_wrap=True)
        out.print(f"expected outputs: {outcome.oracle}", markup=False, soft_wrap=True)
    if written is None:
        out.print("[bold red]nothing was written[/]")
    else:
        out.print(f"wrote {written}", markup=False, soft_wrap=True)
        if outcome.verdict == "not checkable":
            out.print("[yellow]written, but not everything in it could be checked[/]")


def steps_table(steps: tuple[Step, ...]) -> Table:
    """Return one row per executed pass that did something, below one for the original."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pass", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for column in ("nodes", "MB", "this pass", "since original", "pass + check, s"):
        table.add_column(column, justify="right", no_wrap=True)
    if steps:
        first = steps[0].before
        table.add_row("(original)", "", str(first.nodes), _megabytes(first.bytes))
    for step in steps:
        if step.verdict != "unchanged":
            table.add_row(*_row(step))
    return table


def idle_line(steps: tuple[Step, ...]) -> str:
    """Return which passes changed nothing, and how often."""
    idle = Counter(step.name for step in steps if step.verdict == "unchanged")
    names = (f"{name} ({count} times)" if count > 1 else name for name, count in idle.items())
    return f"changed nothing: {', '.join(names)}" if idle else ""


def _row(step: Step) -> list[str]:
    style = _STYLES[step.verdict]
    undone = " (undone)" if step.verdict == "failed" and not step.kept else ""
    return [
        escape(step.text),
        f"[{style}]{step.verdict}{undone}[/]",
        str(step.after.nodes),
        _megabytes(step.after.bytes),
        _error([check.previous for check in step.outputs]),
        _error([check.original for check in step.outputs]),
        f"{step.seconds:.2f} + {step.check_seconds:.2f}",
    ]


def _error(differences: list[Difference]) -> str:
    """Return the greatest difference over the outputs, as short as it can be said."""
    if not differences:
        return "-"
    if all(difference.same_bits for difference in differences):
        return "bit-equal"
    return f"{max(difference.max_abs for difference in differences):.2e}"


def _show_reason(step: Step) -> None:
    if step.reason and step.verdict != "not checked":
        out.print(
            f"[{_STYLES[step.verdict]}]{escape(step.text)}[/]: {escape(step.reason)}",
            soft_wrap=True,
        )


def _show_skipped(step: Step) -> None:
    for note in step.skipped[:MAX_NOTES]:
        out.print(
            f"{step.name} left {note.node} alone: {note.text}",
            markup=False,
            style="dim",
            soft_wrap=True,
        )
    more = len(step.skipped) - MAX_NOTES
    if more > 0:
        out.print(f"{step.name} left {more} more alone (see --json)", style="dim")


def _counts(outcome: Outcome) -> str:
    before, after = outcome.before.operators, outcome.after.operators
    gone = [f"{op} ({count})" for op, count in sorted(before.items()) if op not in after]
    new = [f"{op} ({count})" for op, count in sorted(after.items()) if op not in before]
    text = f"nodes {outcome.before.nodes} -> {outcome.after.nodes}"
    if gone:
        text += f"; gone: {', '.join(gone)}"
    if new:
        text += f"; new: {', '.join(new)}"
    return escape(text)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"
