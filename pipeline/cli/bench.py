"""``onnx-passes bench``: the time of a run by batch size, on a device and on the CPU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.infer import (
    device_options,
    provider_option,
    refuse_other_kind,
    threads_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.bench import Row
    from pipeline.published import Published


def _parse_batches(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", text):
        msg = f"{text!r} is no list of batch sizes, as in 1,4,8"
        raise click.BadParameter(msg, ctx, param)
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


@click.command()
@click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--batch",
    "batches",
    metavar="LIST",
    callback=_parse_batches,
    help="Batch sizes, as 1,4,8. For NAME.om they choose among the files NAME_bs<N>.om. Default: "
    "MODEL.om itself or all its NAME_bs<N>.om; 1,4,8,16,32,64 for an .onnx that may run at any.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="Measurements of each, in turns; the median counts.",
)
@click.option(
    "--loop",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs in a measurement. Default: 100 on a device, 10 on the CPU.",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs before them that do not count.",
)
@click.option(
    "--published",
    "published_name",
    metavar="NAME",
    help="Show the figures of a published guide beside ours, and the ratio: starnet, ...",
)
@device_options
@threads_option
@provider_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, see docs/bench.md.")
def bench(  # noqa: PLR0913  one parameter an option
    models: tuple[Path, ...],
    batches: tuple[int, ...],
    repeat: int,
    loop: int | None,
    warmup: int,
    device: int,
    *,
    published_name: str | None,
    gears: bool,
    python: str,
    toolkit: Path | None,
    timeout_s: float,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Measure the time of a run, by batch size.

    An .om runs on the device, with ais_bench; an .onnx with onnxruntime. Both stand in
    one table, and each row says what it was measured on.

    \b
    Example:
      onnx-passes bench starnet.om --batch 1,4,8,16,32,64 --published starnet
      onnx-passes bench starnet_bs8.om starnet.onnx --batch 8

    ms is the median, over --repeat, of the mean time of a run; fps is 1000 * batch / ms. Transfers
    are not included.

    Exit codes: 0 measured; 2 bad usage or input; 3 ais_bench failed; 4 ais_bench or the provider of
    onnxruntime is missing.
    """
    from pipeline.bench import document, sweep
    from pipeline.bench_plan import Settings, plan
    from pipeline.cli.console import emit_json, progress
    from pipeline.infer import DeviceTools
    from pipeline.published import published

    for model in models:
        refuse_other_kind(model)
    theirs = published(published_name) if published_name else None
    settings = Settings(batches, loop, warmup, device, gears, threads, timeout_s, provider)
    with progress("bench") as meter:
        rows = sweep(plan(models, settings, DeviceTools(python, toolkit)), repeat, meter.update)
    if as_json:
        emit_json(document(rows, repeat, warmup, theirs))
    else:
        _show(rows, repeat, theirs)


def _show(rows: Sequence[Row], repeat: int, published: Published | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.console import out

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["model", "on", "batch", "ms", f"spread of {repeat}", "fps"]
    for column in [*columns, *(["published", "ratio"] if published else [])]:
        table.add_column(column, justify="left" if column in {"model", "on"} else "right")
    for row in rows:
        low, high = min(row.mean_ms), max(row.mean_ms)
        cells = [row.case.model, _where(row), str(row.batch), f"{row.ms:.3f}"]
        cells += [f"{low:.3f} to {high:.3f}", f"{row.fps(row.ms):.1f}"]
        if published:
            cells += _against(row, published)
        table.add_row(*map(escape, cells))
    out.print(table)
    for place in dict.fromkeys(row.case.hardware for row in rows):
        out.print(f"on: {place}", markup=False, soft_wrap=True)
    if published:
        out.print(
            f"published: {published.model} on {published.hardware}, {published.software}; "
            f"{published.certainty}; not measured here. Source: {published.source}",
            markup=False,
            soft_wrap=True,
        )


def _where(row: Row) -> str:
    """Return what the row was measured on, in a few words."""
    from pipeline.hardware import NO_DEVICE

    chip = row.case.hardware.split(",", 1)[0]
    if row.case.on_device:
        return chip
    provider = row.case.provider
    return f"{provider.name.upper() if provider else 'CPU'}, {NO_DEVICE}"


def _against(row: Row, published: Published) -> list[str]:
    theirs = published.fps.get(row.batch)
    if theirs is None:
        return ["-", "-"]
    return [f"{theirs:.1f}", f"{row.fps(row.ms) / theirs:.3f}"]
