"""Fetch rows of a table [rows, C] by their number: with Gather, or with GatherND.

Gather takes int32 numbers and stays on the AI Core of a 310P (CANN 8.1). GatherND needs int64 and
an axis of one number behind the others; ONNX Runtime's kernel copies row after row, where that of
Gather divides and branches for each, which tells where rows are short and many (``choice``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site


def number_dtype(site: Site) -> ir.DataType:
    """Return the type that the numbers of rows must have."""
    return ir.DataType.INT64 if _nd(site) else ir.DataType.INT32


def numbered(site: Site, offset: Operand) -> Operand:
    """Return an int32 offset [N, 1, P] as numbers of rows: with GatherND int64 [N, 1, P, 1]."""
    if not _nd(site):
        return offset
    wide = site.emit.cast(offset, number_dtype(site), hint="row")
    return site.emit.reshape(wide, [site.batch, integer(1), site.points, integer(1)], hint="row")


def side_by_side(site: Site, numbers: Operand) -> Operand:
    """Return numbers of rows [N, 1, P] as [N, P, 1], to be joined along the last axis of these."""
    sizes = [site.batch, site.points, *([integer(1)] * (2 if _nd(site) else 1))]
    return site.emit.reshape(numbers, sizes, hint="corner_rows")


def rows_at(site: Site, table: ir.Value, numbers: Operand, sizes: list[Operand]) -> ir.Value:
    """Return the rows with these numbers, [*sizes, C].

    Args:
        site: The node.
        table: The pixels, [rows, C].
        numbers: From the functions above, or sums of such and constants; none is out of range.
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
    """Return known distances between rows, [1] each, as one array to add to numbers."""
    joined = np.concatenate([np.asarray(distance) for distance in distances])
    return joined[:, None] if _nd(site) else joined


def _nd(site: Site) -> bool:
    return site.options.fetch == "GatherND"
