"""``onnx-passes diff``: how far two models are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli.emulate import emulate_option
from pipeline.cli.options import Shapes, feeds_option, load_feeds, shape_option

if TYPE_CHECKING:
    from onnx_passes.core.contract import Exactness
    from onnx_passes.numerics.check import ModelCheck


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@feeds_option
@shape_option
@click.option(
    "--tolerance",
    type=click.Choice(["exact", "close", "inexact"]),
    default="close",
    show_default=True,
    help="What B may differ by: nothing, rounding, or a hundredth of A's sensitivity.",
)
@emulate_option
@click.option(
    "--tensors",
    type=click.Choice(["outputs", "shared"]),
    default="outputs",
    show_default=True,
    help="Compare the outputs, or every tensor that both models make.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def diff(
    a: str,
    b: str,
    feeds: str | None,
    shapes: Shapes,
    tolerance: Exactness,
    tensors: str,
    *,
    emulate: str | None,
    as_json: bool,
) -> int:
    """Compare the outputs, or all shared tensors, of two models on the same feeds.

    With --emulate fp16 it is B that computes in float16; A may be the same file.

    \b
    Example:
      onnx-passes diff before.onnx after.onnx --shape x=8,3,32,100
      onnx-passes diff before.onnx after.onnx --tensors shared
      onnx-passes diff model.onnx model.onnx --emulate fp16 --tolerance inexact

    Exit codes: 0 within the tolerance; 1 not, or nothing to compare; 2 bad usage or input.
    """
    from concurrent.futures import ThreadPoolExecutor

    from onnx_passes.core.model_io import load
    from onnx_passes.numerics.check import Claim, check_model
    from onnx_passes.numerics.oracle import Oracle

    with ThreadPoolExecutor() as pool:  # to read a file leaves Python alone
        first, second = pool.map(load, (a, b))
    if emulate:
        from onnx_passes.numerics.half import emulate_half

        second = emulate_half(second)
    oracle = Oracle(first, load_feeds(feeds, first), dict(shapes))
    if tensors == "shared":
        from pipeline.cli.diff_tensors import diff_tensors

        return diff_tensors(first, second, oracle, tolerance, as_json=as_json)
    check = check_model(second, oracle, None, Claim(tolerance, tolerance))
    if as_json:
        _emit(check, oracle.describe())
    else:
        _show(check, oracle.describe())
    return 0 if check.verdict == "passed" else 1


def _emit(check: ModelCheck, feeds: str) -> None:
    from onnx_passes.report.document import finite, output_document
    from pipeline.cli.console import emit_json

    outputs = [output_document(output) for output in check.outputs]
    document = {"verdict": check.verdict, "reason": check.reason, "feeds": feeds}
    emit_json(finite({**document, "outputs": outputs}))


def _show(check: ModelCheck, feeds: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.console import out

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("output", overflow="fold")
    columns = ("verdict", "max abs", "max rel", "max ulp", "cosine", "SNR dB", "argmax", "moves")
    for column in columns:
        table.add_column(column, justify="right")
    for output in check.outputs:
        d = output.original
        table.add_row(
            escape(output.output),
            output.verdict,
            *(f"{value:.3g}" for value in (d.max_abs, d.max_rel, d.max_ulp)),
            f"{d.cosine:.6f}",
            f"{d.snr_db:.1f}",
            f"{d.argmax_agreement:.4f}",
            f"{output.sensitivity:.3g}",
        )
    out.print(table)
    for output in check.outputs:
        out.print(f"{output.output}: {output.original.sentence()}", markup=False, soft_wrap=True)
        out.print(
            f"{output.output}: allowed {output.tolerance.formula}", markup=False, soft_wrap=True
        )
    out.print(f"feeds: {feeds}", markup=False, soft_wrap=True)
    out.print(
        f"{check.verdict}{': ' + check.reason if check.reason else ''}",
        markup=False,
        soft_wrap=True,
    )
