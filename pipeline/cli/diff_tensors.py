"""``onnx-passes diff --tensors shared``: where along the graph two models part."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from onnx_passes.core.contract import ModelError, UsageError
from pipeline.cli.console import emit_json, out, progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.runner import AnyRunner
    from onnx_passes.numerics.tensors import TensorDifference

# Tensors in the table; --json has all.
MAX_ROWS = 12
PLOT_COLUMNS = 64
# Width of the labels at its left, as "1e-07 |".
PLOT_MARGIN = 7
# Relative errors drawn, as powers of ten: below is float32's eps, above is another tensor.
PLOT_DECADES = range(0, -8, -1)


def diff_tensors(
    a: ir.Model, b: ir.Model, oracle: Oracle, tolerance: Exactness, *, as_json: bool
) -> int:
    """Compare every shared tensor on the first set of feeds; return the exit code."""
    from onnx_passes.numerics.tensors import first_wrong

    if tolerance == "inexact":
        msg = "--tolerance inexact is measured at outputs only; compare tensors with close or exact"
        raise UsageError(msg)
    found = _compared(a, b, oracle, noise=tolerance != "exact")
    if not found:
        msg = "the two models share no tensor but sequences; compare their outputs instead"
        raise UsageError(msg)
    first = first_wrong(found, b)
    if as_json:
        _emit(found, first)
    else:
        _show(found, first, oracle.describe_first())
    return 1 if first is not None else 0


def _compared(a: ir.Model, b: ir.Model, oracle: Oracle, *, noise: bool) -> list[TensorDifference]:
    """Return the difference of every shared tensor."""
    from onnx_passes.core.collection import rare_collections
    from onnx_passes.numerics.runner import Runner
    from onnx_passes.numerics.tensors import compare_tensors, shared_names

    total = len(shared_names(a, b))

    def compared(kind: type[AnyRunner]) -> list[TensorDifference]:
        found: list[TensorDifference] = []
        with rare_collections(), progress("tensors", total) as meter:
            for tensor in compare_tensors(a, b, oracle.first_feeds, noise=noise, kind=kind):
                found.append(tensor)
                meter.update(len(found), total)
        return found

    try:
        return compared(Runner)
    except ModelError:
        # Only now is the whole model run: it says that feeds do not fit, or what else can run it.
        if oracle.feeds and isinstance(oracle.runner, Runner):
            raise
        return compared(type(oracle.runner))


def _relative(tensor: TensorDifference) -> float:
    """Return the greatest difference as a share of the tensor's peak."""
    if tensor.difference.max_abs == 0:
        return 0.0
    return tensor.difference.max_abs / tensor.peak if tensor.peak else math.inf


def _show(found: list[TensorDifference], first: TensorDifference | None, feeds: str) -> None:
    differing = [tensor for tensor in found if not tensor.difference.same_bits]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensor", overflow="fold")
    table.add_column("made by", overflow="fold")
    for column in ("max abs", "of peak", "allowed", ""):
        table.add_column(column, justify="right")
    for tensor in sorted(differing, key=_relative, reverse=True)[:MAX_ROWS]:
        table.add_row(
            escape(tensor.name),
            escape(tensor.node),
            f"{tensor.difference.max_abs:.3g}",
            f"{_relative(tensor):.2g}",
            f"{tensor.allowed.atol:.3g}" if tensor.allowed else "0",
            "diverges" if tensor.diverges else "",
        )
    if differing:
        out.print(table)
        out.print(_plot(found), markup=False)
    equal, diverging = len(found) - len(differing), sum(tensor.diverges for tensor in found)
    out.print(f"{len(found)} shared tensors: {equal} bit-equal, {diverging} diverge")
    if first is not None:
        out.print(f"first that goes wrong: {first.name!r}, made by {first.node}", markup=False)
        out.print(first.difference.sentence(), markup=False)
    elif diverging:
        out.print("no divergence reaches an output: those tensors changed their meaning only")
    out.print(f"feeds: {feeds}", markup=False)


def _plot(found: list[TensorDifference]) -> str:
    """Draw the greatest relative error along the graph, one column per slice of tensors."""
    columns = max(1, min(PLOT_COLUMNS, out.width - PLOT_MARGIN, len(found)))
    worst = [0.0] * columns
    for place, tensor in enumerate(found):
        column = place * columns // len(found)
        worst[column] = max(worst[column], _relative(tensor))
    lines = ["", "difference / peak along the graph"]
    for power in PLOT_DECADES:
        marks = "".join("#" if value >= 10.0**power else " " for value in worst)
        lines.append(f"1e{power:+03d} |{marks}".rstrip())
    return "\n".join([*lines, "+".rjust(PLOT_MARGIN) + "-" * columns])


def _emit(found: list[TensorDifference], first: TensorDifference | None) -> None:
    from onnx_passes.report.document import finite

    worst = max(found, key=_relative)
    document: dict[str, Any] = finite(
        {
            "compared": len(found),
            "first": first and first.name,
            "worst": worst.name if _relative(worst) else None,
            "tensors": [
                {
                    "tensor": tensor.name,
                    "node": tensor.node,
                    "position": tensor.position,
                    "peak": tensor.peak,
                    "allowed": tensor.allowed.atol if tensor.allowed else 0.0,
                    "diverges": tensor.diverges,
                    **dataclasses.asdict(tensor.difference),
                }
                for tensor in found
            ],
        }
    )
    emit_json(document)
