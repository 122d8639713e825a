"""How the findings of ``lint`` look in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from ascend.lint.finding import LEVELS, grouped
from pipeline.cli.console import out

if TYPE_CHECKING:
    import onnx_ir as ir

    from ascend.lint.finding import Finding, Group
    from ascend.lint.linter import Target

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_MAX_ROWS = 40  # a person reads these; the rest is in --json
_MAX_KINDS = 6
_MAX_TEXT = 240


def show(findings: list[Finding], fix: str, model: ir.Model, target: Target) -> None:
    """Print what was found, the worst first, equal findings in one row."""
    nodes = sum(1 for _ in model.graph.all_nodes())
    opset = model.opset_imports.get("", 0)
    out.print(f"{nodes} nodes, opset {opset}; CANN {target.cann}, {target.soc}\n", markup=False)
    groups = grouped(findings)
    if groups:
        _show_groups(groups[:_MAX_ROWS])
    if len(groups) > _MAX_ROWS:
        out.print(f"{len(groups) - _MAX_ROWS} more rows are in --json", style="dim")
    counts = {level: sum(each.level == level for each in findings) for level in LEVELS}
    out.print(", ".join(f"{level} {count}" for level, count in counts.items()))
    if fix:
        out.print(f"passes that help: {fix}", markup=False, soft_wrap=True)


def _show_groups(groups: list[Group]) -> None:
    """Print one row a group, a section a level, and the sources below."""
    sources: dict[str, int] = {}
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("level", "code", "what", "why", "what helps", "source"):
        fixed = column in {"level", "code", "source"}
        table.add_column(column, overflow="fold", no_wrap=fixed)
    for group in groups:
        finding = group.finding
        number = sources.setdefault(finding.source, len(sources) + 1)
        cells = (_what(group), _plain(finding.why), finding.fix or finding.advice, f"[{number}]")
        level = f"[{_STYLES[finding.level]}]{finding.level}[/]"
        table.add_row(level, finding.code, *map(escape, cells))
    out.print(table)
    for source, number in sources.items():
        out.print(f"[{number}] {_plain(source)}", markup=False, style="dim", soft_wrap=True)
    out.print()


def _what(group: Group) -> str:
    """Return the subject of one finding, or how many of each kind there are."""
    if group.count == 1:
        return _plain(group.finding.subject.text)
    kinds = sorted(group.kinds.items(), key=lambda kind: -kind[1])
    text = ", ".join(f"{_plain(kind)} ({count})" for kind, count in kinds[:_MAX_KINDS])
    return text + (f" and {len(kinds) - _MAX_KINDS} more kinds" if len(kinds) > _MAX_KINDS else "")


def _plain(text: str) -> str:
    """Return text of a model without what a terminal would act on."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in text)
    return shown if len(shown) <= _MAX_TEXT else f"{shown[:_MAX_TEXT]}..."
