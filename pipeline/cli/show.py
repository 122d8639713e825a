"""How a run of passes looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from pipeline.cli.console import out

if TYPE_CHECKING:
    from onnx_passes.core.outcome import Outcome, Step

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
    for step in outcome.steps:
        _show_reason(step)
        _show_skipped(step)
    out.print(_counts(outcome))
    if outcome.feeds:
        out.print(f"feeds: {outcome.feeds}", markup=False)
        out.print(f"expected outputs: {outcome.oracle}", markup=False)
    if written is None:
        out.print("[bold red]nothing was written[/]")
    else:
        out.print(f"wrote {written}", markup=False)
        if outcome.verdict == "not checkable":
            out.print("[yellow]written, but not everything in it could be checked[/]")


def steps_table(steps: tuple[Step, ...]) -> Table:
    """Return one row per executed pass."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pass", overflow="fold")
    table.add_column("verdict")
    for column in ("nodes", "MB", "max error", "pass s", "check s"):
        table.add_column(column, justify="right")
    for step in steps:
        style = _STYLES[step.verdict]
        undone = " (undone)" if step.verdict == "failed" and not step.kept else ""
        table.add_row(
            escape(step.text),
            f"[{style}]{step.verdict}{undone}[/]",
            _arrow(str(step.before.nodes), str(step.after.nodes)),
            _arrow(_megabytes(step.before.bytes), _megabytes(step.after.bytes)),
            error_text(step),
            f"{step.seconds:.2f}",
            f"{step.check_seconds:.2f}",
        )
    return table


def error_text(step: Step) -> str:
    """Return the greatest difference to the original, as short as it can be said."""
    if step.bit_equal:
        return "bit-equal"
    return "-" if step.max_abs is None else f"{step.max_abs:.2e}"


def _show_reason(step: Step) -> None:
    if step.reason and step.verdict != "not checked":
        out.print(f"[{_STYLES[step.verdict]}]{escape(step.text)}[/]: {escape(step.reason)}")


def _show_skipped(step: Step) -> None:
    for note in step.skipped[:MAX_NOTES]:
        out.print(f"{step.name} left {note.node} alone: {note.text}", markup=False, style="dim")
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


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} -> {after}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"
