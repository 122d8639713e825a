"""Fetch rows of a table [rows, C] by their number: with Gather, or with GatherND.

Gather takes int32 numbers and stays on the AI Core of a 310P (CANN 8.1). GatherND needs int64 and
an axis of one number behind the others; ONNX Runtime's kernel copies row after row, where that of
Gather divides and branches for each, which tells where rows are short and many (``choice``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site


def number_dtype(site: Site) -> ir.DataType:
    """Return the type that the numbers of rows must have."""
    return ir.DataType.INT64 if _nd(site) else ir.DataType.INT32


def numbered(site: Site, numbers: Operand, sizes: list[Operand], hint: str) -> Operand:
    """Return ``numbers`` of the type and shape that :func:`rows_at` wants for ``sizes``."""
    wanted = [*sizes, integer(1)] if _nd(site) else sizes
    return site.emit.reshape(site.emit.cast(numbers, number_dtype(site), hint), wanted, hint)


def rows_at(site: Site, table: ir.Value, numbers: Operand, sizes: list[Operand]) -> ir.Value:
    """Return the rows with these numbers, [*sizes, C].

    Args:
        site: The node.
        table: The pixels, [rows, C].
        numbers: From :func:`numbered`, or sums of such and constants; none is out of range.
        sizes: The extents of ``numbers``, without the last axis of GatherND.
    """
    dims, attributes = static_dims([*sizes, site.channels]), {} if _nd(site) else {"axis": 0}
    return site.emit.op(
        site.options.fetch,
        table,
        numbers,
        hint="pixels",
        dtype=table.dtype,
        dims=dims,
        **attributes,
    )


def pattern(site: Site, distances: list[Operand]) -> Operand:
    """Return distances between rows, int64 or int32 [1] each, as one operand to add to numbers."""
    joined = site.emit.concat(distances, 0, "pattern")
    sizes = [integer(len(distances)), *([integer(1)] if _nd(site) else [])]
    return site.emit.reshape(joined, sizes, "pattern")


def _nd(site: Site) -> bool:
    return site.options.fetch == "GatherND"
