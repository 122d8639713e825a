"""The range of integers that the consumers of an input allow.

An embedding id outside its table ends a run; a random int64 almost always is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

# Where nothing bounds an integer: small, so that it can stand for a class, a count or a mask.
DEFAULT_HIGH = 8
# Operators that hand integers on unchanged; only their first input is followed.
_CARRIERS = {
    *("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape"),
    *("Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}
# Inputs that index an axis of another input: op type -> position of the index.
_INDICES = {"Gather": 1, "GatherElements": 1, "GatherND": 1}
# Inputs that steer shapes: a random value there is meaningless.
_SHAPES = {"Reshape": 1, "Expand": 1, "Tile": 1, "Resize": 3, "ConstantOfShape": 0, "TopK": 1}


def integer_range(value: ir.Value) -> tuple[int, int]:
    """Return ``low, high`` (high excluded) for an integer graph input.

    Raises:
        UsageError: If a consumer uses the value as a shape, or an indexed size is unknown.
    """
    extents: list[int] = []
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, position in current.uses():
            if _SHAPES.get(node.op_type) == position:
                msg = f"input {value.name!r} steers a shape ({node.op_type}); give it with --feeds"
                raise UsageError(msg)
            if _INDICES.get(node.op_type) == position:
                extents.append(_extent(node, value))
            elif node.op_type in _CARRIERS and (position == 0 or node.op_type == "Concat"):
                waiting.extend(node.outputs)
    return 0, min(extents, default=DEFAULT_HIGH)


def _extent(node: ir.Node, origin: ir.Value) -> int:
    """Return the smallest extent that ``node`` indexes."""
    data = node.inputs[0]
    shape = data.shape if data is not None else None
    if data is not None and shape is None and data.const_value is not None:
        shape = data.const_value.shape  # type: ignore[assignment]
    if shape is None:
        msg = f"input {origin.name!r} indexes {node.op_type} data of unknown shape; give --feeds"
        raise UsageError(msg)
    axis = node.attributes.get_int("axis", 0)
    dims = [shape[axis]] if node.op_type != "GatherND" else list(shape)
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return max(1, min(sizes, default=1))
