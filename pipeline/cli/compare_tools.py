"""``onnx-passes compare-tools``: every installed optimiser on a model, under our checks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import Shapes, feeds_option, load_feeds, shape_option

if TYPE_CHECKING:
    from pipeline.compare_tools import Row

_PRESET = "@clean"


@click.command("compare-tools")
@click.argument("model", metavar="MODEL")
@feeds_option
@shape_option
@click.option(
    "--timeout", "timeout_s", default=600.0, metavar="S", help="Seconds that a tool may take."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(
    model: str, feeds: str | None, shapes: Shapes, timeout_s: float, *, as_json: bool
) -> None:
    """Run every installed optimiser on a model and check what each makes of it.

    \b
    Example:
      onnx-passes compare-tools model.onnx --shape x=1,3,32,100

    Time is load, optimise and save, without imports; memory is the peak of the tool's process.
    Exit codes: 0 compared, whatever the verdicts are; 2 bad usage or input.
    """
    from onnx_passes.core.manager import Settings
    from onnx_passes.core.model_io import load
    from pipeline.cli.console import emit_json, progress
    from pipeline.cli.presets import expand
    from pipeline.compare_tools import compare

    settings = Settings(feeds=load_feeds(feeds, load(model)), shapes=dict(shapes))
    with progress("starting") as meter:
        rows = compare(Path(model), {_PRESET: expand(_PRESET)}, settings, meter.describe, timeout_s)
    if as_json:
        emit_json([dataclasses.asdict(row) for row in rows])
        return
    _show(rows)


def _show(rows: list[Row]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.console import out

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tool", overflow="fold")
    for column in ("time s", "peak MB", "nodes", "max error"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in _cells(row)))
    out.print(table)


def _cells(row: Row) -> list[str]:
    verdict = f"{row.verdict}: {row.reason}" if row.reason else row.verdict
    return [
        row.version if row.version.startswith(row.tool) else f"{row.tool} {row.version}".strip(),
        "" if row.seconds is None else f"{row.seconds:.2f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
        "" if row.nodes is None else str(row.nodes),
        "" if row.max_abs is None else f"{row.max_abs:.2g}",
        verdict,
    ]
