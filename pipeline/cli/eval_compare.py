"""``onnx-passes eval compare``: which texts two models read differently, and whether it matters."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.bad_records import refuse_bad, show_bad, strict_option
from pipeline.cli.console import emit_json, out, progress
from pipeline.cli.infer import device_option, provider_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.evaluation import Evaluation
    from eval.manifest import Record
    from eval.paired import Comparison
    from eval.providers import Provider

_PATH = click.Path(path_type=Path)
MAX_ROWS = 20  # in the terminal; --json and --sheet have more


@click.command(
    epilog="\b\nExample:\n  onnx-passes eval compare before.onnx after.onnx "
    "--data evaluation --sheet changed.html"
)
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.option(
    "--data",
    required=True,
    type=_PATH,
    help="Folder of LMDB data sets at any depth, a zip of one, or a label file.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Images in a run (32 unless told).")
@click.option(
    "--sheet", type=_PATH, metavar="FILE.html", help="Write the pictures whose text changed."
)
@provider_option
@device_option
@strict_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def compare(  # noqa: PLR0913  one parameter an option
    first: Path,
    second: Path,
    data: Path,
    batch: int | None,
    sheet: Path | None,
    *,
    provider: str,
    device: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Compare what FIRST and SECOND read, record by record.

    Each is an .onnx model, which is run, or a folder of results (img_<n>_0.bin) of the inputs that
    'eval preprocess' made of the same data.
    """
    from eval.paired import compare as compare_texts
    from eval.providers import find_provider

    where = find_provider(provider, device)
    if sheet is not None:
        _refuse_sheet(sheet)
    evaluations = [_read(path, data, batch, where) for path in (first, second)]
    comparison = compare_texts(*evaluations)
    if sheet is not None:
        _write_sheet(sheet, comparison, data, (str(first), str(second)))
    if as_json:
        _emit(comparison, evaluations)
    else:
        _show(comparison, evaluations, sheet)
    refuse_bad(_records(evaluations[0]), strict=strict)


def _records(evaluation: Evaluation) -> list[Record]:
    return [outcome.record for outcome in evaluation.outcomes]


def _read(path: Path, data: Path, batch: int | None, provider: Provider) -> Evaluation:
    from eval.ahead import manifest_of
    from eval.backends import evaluate
    from eval.data import open_data
    from eval.score import score

    with progress(path.name) as meter:
        if not path.is_dir():
            return evaluate(path, data, batch, on_progress=meter.update, provider=provider)
        with open_data(data) as samples:
            manifest = manifest_of(samples, meter.update)
        return score(path, manifest, on_progress=meter.update)


def _refuse_sheet(sheet: Path) -> None:
    from eval.errors import EvalError

    if not sheet.parent.is_dir() or sheet.is_dir():
        msg = f"cannot write {sheet}: expected a file name in a folder that exists"
        raise EvalError(msg)
    with _one_line(sheet):
        _part(sheet).touch()
        _part(sheet).unlink()


def _part(sheet: Path) -> Path:
    return sheet.with_name(f".{sheet.name}.{os.getpid()}.part")


@contextlib.contextmanager
def _one_line(sheet: Path) -> Iterator[None]:
    from eval.errors import EvalError

    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            _part(sheet).unlink()
        msg = f"cannot write {sheet}: {error.strerror}; choose another --sheet"
        raise EvalError(msg) from error


def _write_sheet(sheet: Path, comparison: Comparison, data: Path, names: tuple[str, str]) -> None:
    from eval.contact_sheet import contact_sheet
    from eval.data import open_data

    with open_data(data) as samples:
        page = contact_sheet(comparison, samples, names)
    with _one_line(sheet):
        _part(sheet).write_text(page, encoding="utf-8")
        _part(sheet).replace(sheet)


def _show(comparison: Comparison, evaluations: list[Evaluation], sheet: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from eval.contact_sheet import summary

    if comparison.changes:
        table = Table("data set", "record", "label", "first", "second", "")
        for change in comparison.changes[:MAX_ROWS]:
            record = change.record
            cells = (record.dataset, str(record.record), record.label or "")
            table.add_row(*map(escape, (*cells, change.before, change.after)), change.verdict)
        out.print(table)
        if len(comparison.changes) > MAX_ROWS:
            out.print(f"{len(comparison.changes) - MAX_ROWS} more; --sheet or --json has them")
    show_bad(_records(evaluations[0]))
    for name, evaluation in zip(("first ", "second"), evaluations, strict=True):
        out.print(f"{name} acc {evaluation.acc!r}, norm_edit_dis {evaluation.norm_edit_dis!r}")
    out.print(summary(comparison), soft_wrap=True)
    if sheet is not None:
        out.print(f"pictures in {sheet}", markup=False, soft_wrap=True)


def _emit(comparison: Comparison, evaluations: list[Evaluation]) -> None:
    emit_json(
        {
            "records": comparison.records,
            "acc": [evaluation.acc for evaluation in evaluations],
            "norm_edit_dis": [evaluation.norm_edit_dis for evaluation in evaluations],
            "difference": comparison.difference,
            "interval_95": [comparison.low, comparison.high],
            "mcnemar_p": comparison.p_value,
            "changes": [
                {**asdict(c.record), "before": c.before, "after": c.after, "verdict": c.verdict}
                for c in comparison.changes
            ],
        }
    )
