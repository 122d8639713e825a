"""``onnx-passes eval``: from a data set to an accuracy, in one step or around another tool.

``run`` does everything with ONNX Runtime. ``preprocess`` and ``score`` are the two ends of the
flow on a device: what lies between them turns ``img_<n>.bin`` into ``img_<n>_0.bin``.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.bad_records import refuse_bad, show_bad, strict_option
from pipeline.cli.console import emit_json, err, out, progress
from pipeline.cli.emulate import emulate_option, emulated_file
from pipeline.cli.eval_compare import compare
from pipeline.cli.infer import device_option, provider_option

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from eval.evaluation import BadPolicy, Evaluation, Score
    from eval.manifest import Manifest

_FOLDER_OR_FILE = click.Path(path_type=Path)
_bad = click.option(
    "--bad",
    type=click.Choice(["count", "exclude"]),
    default="count",
    show_default=True,
    help="Count records without a usable image or label as wrong, or leave them out.",
)
_data = click.option(
    "--data",
    required=True,
    type=_FOLDER_OR_FILE,
    help="Folder of LMDB data sets at any depth, a zip of one, or a label file (PaddleOCR, ICDAR).",
)
_workers = click.option(
    "--workers",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="Lanes that prepare records: up to two threads, and a process for each further one. "
    "Unless told one a core, but one only for few records or beside a model on the CPU.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def _example(arguments: str) -> str:
    return f"\b\nExample:\n  onnx-passes eval {arguments}"


@click.group(name="eval")
def group() -> None:
    """Preprocess images, score results, run a model, compare two."""


group.add_command(compare)


@group.command(epilog=_example("preprocess --data evaluation --out bin_data"))
@_data
@click.option(
    "--out",
    "out_dir",
    required=True,
    type=_FOLDER_OR_FILE,
    help="Folder to write; an earlier result in it is replaced.",
)
@_workers
@strict_option
@_json
def preprocess(
    data: Path, out_dir: Path, workers: int | None, *, strict: bool, as_json: bool
) -> None:
    """Write img_<n>.bin for every record, and manifest.json.

    OUT appears when it is complete. A run that was interrupted goes on with the same command.
    """
    from eval.preprocess import preprocess as write_inputs

    try:
        with progress("preprocess") as meter:
            manifest = write_inputs(data, out_dir, meter.update, workers=workers)
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on from here")
        raise
    _show_inputs(manifest, out_dir, as_json=as_json)
    refuse_bad(manifest.records, strict=strict)


def _show_inputs(manifest: Manifest, out_dir: Path, *, as_json: bool) -> None:
    bad = [record for record in manifest.records if record.reason is not None]
    if as_json:
        emit_json(
            {
                "out": str(out_dir),
                "records": len(manifest.records),
                "written": len(manifest.good),
                "bad": [asdict(record) for record in bad],
            }
        )
        return
    _show_manifest(manifest)
    show_bad(manifest.records)
    out.print(f"{len(manifest.good)} files in {out_dir}", markup=False)


@group.command(epilog=_example("score --results results/bs1 --manifest bin_data/manifest.json"))
@click.option(
    "--results",
    required=True,
    type=_FOLDER_OR_FILE,
    help="Folder of img_<n>_0.bin, float32 [1, 25, 37] each, or [1, 25, 38] (attention).",
)
@click.option(
    "--manifest",
    "manifest_file",
    required=True,
    type=_FOLDER_OR_FILE,
    help="manifest.json, as preprocess wrote it.",
)
@_bad
@strict_option
@_json
def score(
    results: Path, manifest_file: Path, bad: BadPolicy, *, strict: bool, as_json: bool
) -> None:
    """Score the results of an inference tool."""
    from eval.manifest import read_manifest
    from eval.score import score as score_results

    manifest = read_manifest(manifest_file)
    with progress("score") as meter:
        evaluation = score_results(results, manifest, bad, meter.update)
    _show(evaluation, as_json=as_json)
    refuse_bad(manifest.records, strict=strict)


@group.command(epilog=_example("run model.onnx --data evaluation --batch 32"))
@click.argument("model", type=_FOLDER_OR_FILE)
@_data
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Images in a run (32 unless told); a model with a fixed batch runs at its own.",
)
@_bad
@_workers
@provider_option
@device_option
@emulate_option
@strict_option
@_json
def run(  # noqa: PLR0913  one parameter an option
    model: Path,
    data: Path,
    batch: int | None,
    bad: BadPolicy,
    emulate: str | None,
    *,
    workers: int | None,
    provider: str,
    device: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Evaluate a model with ONNX Runtime."""
    from eval.backends import evaluate
    from eval.providers import find_provider

    where = find_provider(provider, device)
    with progress("evaluate") as meter, _emulated(model, emulate) as path:
        evaluation = evaluate(path, data, batch, bad, meter.update, workers=workers, provider=where)
    _show(evaluation, as_json=as_json)
    refuse_bad((outcome.record for outcome in evaluation.outcomes), strict=strict)


def _emulated(path: Path, emulate: str | None) -> AbstractContextManager[Path]:
    """Return what gives the path of the model to run."""
    if not emulate:
        return nullcontext(path)
    from onnx_passes.core.model_io import load

    return emulated_file(load(path))


def _show_manifest(manifest: Manifest) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("data set", "records", "bad", "why")
    for name, records in Counter(record.dataset for record in manifest.records).items():
        mine = (record.reason for record in manifest.records if record.dataset == name)
        reasons = Counter(reason for reason in mine if reason is not None)
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        table.add_row(escape(name), str(records), str(reasons.total()), escape(why))
    out.print(table)


def _show(evaluation: Evaluation, *, as_json: bool) -> None:
    if as_json:
        emit_json(evaluation.to_json())
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("data set", "records", "bad", "counted", "correct", "acc", "norm_edit_dis")
    for name, figures in evaluation.datasets.items():
        table.add_row(escape(name), *_cells(figures))
    benchmarks = evaluation.benchmarks
    if 0 < len(benchmarks) < len(evaluation.datasets):  # several subsets of one benchmark
        table.add_section()
        for name, figures in benchmarks.items():
            table.add_row(f"{escape(name)}, together", *_cells(figures))
    table.add_section()
    table.add_row("all", *_cells(evaluation.overall))
    out.print(table)
    show_bad(outcome.record for outcome in evaluation.outcomes)
    if evaluation.completeness:
        out.print(evaluation.completeness, soft_wrap=True)
    out.print(f"acc {evaluation.acc!r}, norm_edit_dis {evaluation.norm_edit_dis!r}")
    if speed := evaluation.throughput:
        out.print(
            f"{speed.images_per_s:.1f} images/s at batch {speed.batch_size}, "
            f"{speed.images} images in {speed.seconds:.2f} s of model time ({speed.provider})"
        )


def _cells(figures: Score) -> list[str]:
    counts = (figures.records, figures.bad, figures.counted, figures.correct)
    return [
        *map(str, counts),
        f"{figures.acc:.6f}",
        f"{figures.norm_edit_dis:.6f}",
    ]
