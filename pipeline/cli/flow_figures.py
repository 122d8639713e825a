"""How the figures of a flow look: sizes, accuracy and speed; a table by batch size for several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.cli.console import out

if TYPE_CHECKING:
    from collections.abc import Mapping

    Speeds = Mapping[tuple[str, int], float]


def show_figures(document: Mapping[str, Any]) -> None:
    """Print the figures of ``document_of``."""
    accuracy = document["accuracy"]
    runs = accuracy["runs"] if accuracy else {}
    speeds = _speeds(document)
    several = len(document["batches"]) > 1
    table = _table(_backend(document), "original", "optimised")
    if document["passes"]:
        _add_sizes(table, document["passes"])
    if not several:
        for key in ("acc", "norm_edit_dis") if runs else ():
            table.add_row(key, *(f"{one['overall'][key]:.6f}" for one in runs.values()))
        for batch in document["batches"] if speeds else ():
            both = (_speed(speeds, what, batch) for what in ("original", "optimised"))
            table.add_row(f"images/s, batch {batch}", *both)
    out.print(table)
    if several:
        out.print()
        out.print(_by_batch(document, runs, speeds))
    _show_bad(document["data"])
    if runs and not several:
        (one,) = accuracy["agreement"].values()
        records = runs["original"]["overall"]["records"]
        out.print(f"\ntext agreement: {one['text_agreement']:.2%} of {records} records")


def _backend(document: Mapping[str, Any]) -> str:
    """Return what ran the rewritten model."""
    if document["provider"] is None:
        return "ais_bench"
    return f"onnxruntime, {document['provider'].removesuffix('ExecutionProvider')}"


def _show_bad(data: Mapping[str, Any] | None) -> None:
    bad = (data or {}).get("bad")
    if bad:
        told = ", ".join(f"{reason}: {count}" for reason, count in bad.items())
        count, total = sum(bad.values()), sum((data or {})["records"].values())
        out.print(
            f"{count} of {total} records are bad and count as wrong ({told})",
            markup=False,
            soft_wrap=True,
        )


def _add_sizes(table: Table, passes: Mapping[str, Any]) -> None:
    before, after = passes["before"], passes["after"]
    gone = sorted(set(before["operators"]) - set(after["operators"]))
    table.add_row("nodes", str(before["nodes"]), str(after["nodes"]))
    table.add_row("operators gone", "", ", ".join(gone))


def _by_batch(document: Mapping[str, Any], runs: Mapping[str, Any], speeds: Speeds) -> Table:
    """Return a row for the original and for each batch size."""
    read = ["acc", "norm_edit_dis", "texts alike"] if runs else []
    table = _table("model", "batch", *read, *(["images/s"] if speeds else []))
    for batch in document["batches"]:
        if ("original", batch) in speeds and not runs:
            table.add_row("original", str(batch), _speed(speeds, "original", batch))
    if runs:
        batch = runs["original"]["batch"]
        speed = [_speed(speeds, "original", batch)] if speeds else []
        table.add_row("original", str(batch), *_read(runs["original"]), "", *speed)
    for batch in document["batches"]:
        cells = []
        if runs:
            agreement = document["accuracy"]["agreement"][f"bs{batch}"]["text_agreement"]
            cells = [*_read(runs[f"bs{batch}"]), f"{agreement:.2%}"]
        speed = [_speed(speeds, "optimised", batch)] if speeds else []
        table.add_row("optimised", str(batch), *cells, *speed)
    return table


def _read(run: Mapping[str, Any]) -> list[str]:
    return [f"{run['overall'][key]:.6f}" for key in ("acc", "norm_edit_dis")]


def _speeds(document: Mapping[str, Any]) -> dict[tuple[str, int], float]:
    """Return images a second by model and batch size; a device runs what is compiled only."""
    original = document["models"]["original"].rsplit("/", 1)[-1]
    rows = (document["bench"] or {}).get("rows", [])
    return {
        ("original" if row["model"] == original else "optimised", row["batch"]): row["fps"]
        for row in rows
    }


def _speed(speeds: Speeds, model: str, batch: int) -> str:
    return f"{speeds[model, batch]:.0f}" if (model, batch) in speeds else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    return table
