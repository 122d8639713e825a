"""The nodes that make a sampling grid, as far as they only move and combine coordinates.

A grid must be float32 from where its coordinates are combined, not only from where they are turned
into pixels: a thin-plate spline multiplies by matrices that nearly cancel, and in float16 that
alone moves StarNet's grid by 0.05, two pixels of a picture 100 wide. Results: benchmarks/half.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.core.values import constant

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.names import Names

_MOVES = {
    *("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split"),
    *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
}
_SUMS = {"Add", "Sub"}
# Linear only where all but one of the operands are constant.
_PRODUCTS = {"Div", "Gemm", "MatMul", "Mul"}
# Inputs of moving operators that hold coordinates; the others are shapes, axes and indices.
_FIRST_INPUT_ONLY = _MOVES - {"Concat"}


def mark_producers(grid: ir.Value, names: Names) -> None:
    """Mark the nodes that ``grid`` is a linear function of: they must stay float32.

    A node without a name gets one, since tools for the device go by names.
    """
    for node in linear_producers(grid):
        node.metadata_props[PRECISION_KEY] = "float32"
        if not node.name:
            node.name = names.fresh(f"{node.outputs[0].name}/{node.op_type}")


def linear_producers(grid: ir.Value) -> list[ir.Node]:
    """Return the nodes that ``grid`` is a linear function of, nearest first."""
    found: dict[ir.Node, None] = {}
    waiting = [grid]
    while waiting:
        node = waiting.pop().producer()
        if node is None or node in found or node.domain or not _is_linear(node):
            continue
        found[node] = None
        inputs = node.inputs[:1] if node.op_type in _FIRST_INPUT_ONLY else node.inputs
        waiting.extend(value for value in inputs if value is not None)
    return list(found)


def _is_linear(node: ir.Node) -> bool:
    if node.op_type in _MOVES | _SUMS:
        return True
    varying = [value for value in node.inputs if value is not None and constant(value) is None]
    return node.op_type in _PRODUCTS and len(varying) <= 1
