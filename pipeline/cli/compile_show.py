"""How ``compile`` looks: progress while ATC runs, a table at the end, commands for --dry-run."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from ascend.atc.command import USUAL_SET_ENV, shell_script
from ascend.atc.remedies import plain_remedy, remedy_for
from ascend.toolkit import SET_ENV
from pipeline.cli.console import emit_json, err, out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ascend.atc.compiler import Compiled
    from ascend.atc.remedies import Remedy
    from ascend.atc.report import Entry
    from ascend.toolkit import Toolkit
    from pipeline.cli.compile_request import Plan
    from pipeline.cli.console import Meter

_logger = logging.getLogger(__name__)

FAILED = 3
_SHOWN = 5  # errors, causes or kinds of warnings of one run; the rest is in --json and the log
_STYLES = {"compiled": "green"}
_LINE = 60  # characters of ATC's last line in the progress bar


class Watcher:
    """Passes on what ATC prints: the last line to the bar, all of them to the log of -v."""

    def __init__(self, meter: Meter, total: int) -> None:
        """Start with nothing done of ``total``."""
        self._meter, self._total, self._done = meter, total, 0

    def reader(self, name: str) -> Callable[[str], None]:
        """Return what takes the lines of one run."""

        def read(line: str) -> None:
            _logger.info("%s: %s", name, line)
            if line.strip():
                self._meter.describe(escape(f"{name}: {line.strip()[:_LINE]}"))
                self._meter.update(self._done, self._total)

        return read

    def finish_one(self) -> None:
        """Count one run."""
        self._done += 1
        self._meter.update(self._done, self._total)


def warn_unverified(reason: str) -> None:
    """Say on stderr that a model is taken although nobody vouches for its numbers."""
    if reason:
        err.print(f"not verified: {reason}", style="yellow", markup=False, soft_wrap=True)


def show_scripts(planned: Sequence[Plan], toolkit: Toolkit | None, *, as_json: bool) -> None:
    """Print the commands that would run, for bash."""
    set_env = str(toolkit.root / SET_ENV) if toolkit else USUAL_SET_ENV
    devlib = toolkit.devlib if toolkit else None
    scripts = {
        plan.label: shell_script(
            plan.job.flags, plan.job.folder.absolute(), plan.job.keep, set_env, devlib
        )
        for plan in planned
    }
    if toolkit is None:
        err.print(f"no toolkit here; {set_env} is the usual place", markup=False, soft_wrap=True)
    if as_json:
        emit_json([{"batch": label, "script": script} for label, script in scripts.items()])
        return
    for script in scripts.values():
        out.print(script, markup=False, soft_wrap=True, end="")


def show_results(
    planned: Sequence[Plan], done: Sequence[Compiled], model: Path, *, as_json: bool
) -> int:
    """Print what became of each plan; return the exit code."""
    pairs = list(zip(planned, done, strict=True))
    if as_json:
        emit_json({"results": [_document(plan, result, model) for plan, result in pairs]})
    else:
        out.print(_table(pairs))
        for plan, result in pairs:
            _show_file(plan, result, model)
        _show_failures([result for result in done if result.file is None], model)
    return FAILED if any(result.file is None for result in done) else 0


def _table(pairs: Sequence[tuple[Plan, Compiled]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("batch", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("MB", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("verdict", no_wrap=True)
    for plan, result in pairs:
        style = _STYLES.get(result.verdict, "bold red")
        size = f"{result.size_bytes / 1e6:.1f}" if result.size_bytes is not None else ""
        file = escape(str(result.file)) if result.file else "-"
        verdict = f"[{style}]{result.verdict}[/]"
        table.add_row(escape(plan.label), file, size, f"{result.seconds:.1f}", verdict)
    return table


def _show_file(plan: Plan, result: Compiled, model: Path) -> None:
    """Say what is special about a compiled model, and what ATC warned of."""
    name = plan.job.flags.output
    if result.file is not None and result.file.stem != name:
        system = result.file.stem.removeprefix(f"{name}_")
        _say(f"{result.file.name}: ATC made it for {system} only", style="yellow")
        plain = result.file.with_name(f"{name}.om")
        if plain.exists():
            _say(f"{plain}: this one is from an earlier run; remove it", style="yellow")
    warnings = Counter(entry.code for entry in result.report.warnings)
    for code, count in warnings.most_common(_SHOWN):
        first = next(entry for entry in result.report.warnings if entry.code == code)
        _say(f"{name}: {code} ({count}): {first.text}", style="yellow")
        _say_remedy(remedy_for(first), model)


def _show_failures(failed: Sequence[Compiled], model: Path) -> None:
    """Say why runs failed, once for all that failed for the same reason."""
    by_reason: dict[str, list[Compiled]] = {}
    for result in failed:
        by_reason.setdefault(result.reason, []).append(result)
    for reason, results in by_reason.items():
        names = ", ".join(result.job.flags.output for result in results)
        _say(f"{names}: {reason}", style="bold red")
        errors = results[0].report.errors
        for number, entry in enumerate(errors[:_SHOWN]):
            if number:
                _say(f"  {entry.code}: {entry.text}", style="red")
            _show_entry(entry, model)
        if not errors:
            _say_remedy(plain_remedy(results[0].output), model)
        for result in results:
            _say(f"  log, command and environment: {result.job.failed}")


def _show_entry(entry: Entry, model: Path) -> None:
    blamed = f"{entry.op_type} {entry.node!r}".strip() if entry.node else entry.op_type
    told = {"node": blamed, "cause": entry.cause, "ATC advises": entry.solution}
    for what, text in told.items():
        if text:
            _say(f"  {what}: {text}")
    for line in entry.chain[:_SHOWN]:
        _say(f"  because: {line}")
    _say_remedy(remedy_for(entry), model)


def _say_remedy(remedy: Remedy | None, model: Path) -> None:
    if remedy is not None:
        _say(f"  what to do: {_fill(remedy, model)} ({remedy.source})")


def _say(text: str, **how: Any) -> None:  # noqa: ANN401  rich's own keywords
    out.print(text, markup=False, soft_wrap=True, **how)


def _fill(remedy: Remedy, model: Path) -> str:
    return remedy.text.replace("MODEL", shlex.quote(str(model)))


def _document(plan: Plan, result: Compiled, model: Path) -> dict[str, Any]:
    return {
        "batch": plan.label,
        "verdict": result.verdict,
        "reason": result.reason,
        "file": str(result.file) if result.file else None,
        "bytes": result.size_bytes,
        "seconds": result.seconds,
        "arguments": result.job.flags.arguments(),
        "errors": [_entry(entry, model) for entry in result.report.errors],
        "warnings": [_entry(entry, model) for entry in result.report.warnings],
        "failed": str(result.job.failed) if result.file is None else None,
    }


def _entry(entry: Entry, model: Path) -> dict[str, Any]:
    remedy = remedy_for(entry)
    return {
        "code": entry.code,
        "text": entry.text,
        "node": entry.node,
        "op_type": entry.op_type,
        "opset": entry.opset,
        "cause": entry.cause,
        "solution": entry.solution,
        "chain": list(entry.chain),
        "remedy": _fill(remedy, model) if remedy else None,
        "source": remedy.source if remedy else None,
    }
