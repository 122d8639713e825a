"""Which numbers an integer tensor can hold: proven bounds, from constants and static shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from onnx_passes.core.spelling import input_of
from onnx_passes.core.values import constant, graphs

if TYPE_CHECKING:
    from collections.abc import Iterable

Bounds: TypeAlias = "tuple[int, int]"

INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_OF_TYPE: dict[ir.DataType | None, Bounds] = {
    ir.DataType.BOOL: (0, 1),
    ir.DataType.INT8: (-(2**7), 2**7 - 1),
    ir.DataType.UINT8: (0, 2**8 - 1),
    ir.DataType.INT16: (-(2**15), 2**15 - 1),
    ir.DataType.UINT16: (0, 2**16 - 1),
    ir.DataType.INT32: INT32,
}
# What they hold has no bounds here; most values of a network are of these types.
_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
_MOVE_FIRST = {
    *("Cast", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Reshape", "Slice"),
    *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}
_MOVE_SOME = {
    "Concat": slice(None),
    "Max": slice(None),
    "Min": slice(None),
    "Range": slice(0, 2),  # start and limit
    "Where": slice(1, None),
}
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def integer_ranges(model: ir.Model) -> dict[ir.Value, Bounds]:
    """Return the bounds of every integer value for which some are proven."""
    known: dict[ir.Value, Bounds] = {}
    for graph in graphs(model):
        for node in graph:
            values = [v for v in (*node.inputs, *node.outputs) if v is not None]
            kinds = [value.dtype for value in values]
            if _FLOATS.issuperset(kinds):
                continue
            for value, kind in zip(values, kinds, strict=True):
                if kind not in _FLOATS and value not in known:
                    _note(value, known)
            bounds = None if node.domain else _made(node, known)
            for value in node.outputs:
                if bounds is not None and _holds(value, bounds):
                    known[value] = bounds
    return known


def _holds(value: ir.Value, bounds: Bounds) -> bool:
    """Return whether the type of ``value`` holds ``bounds``; beyond it a result wraps around."""
    low, high = _OF_TYPE.get(value.dtype, _INT64)
    return low <= bounds[0] <= bounds[1] <= high


def _note(value: ir.Value, known: dict[ir.Value, Bounds]) -> None:
    """Note what a constant holds, or what its type allows."""
    tensor = constant(value)
    if tensor is not None and tensor.dtype.is_integer() and tensor.size:
        array = tensor.numpy()
        known[value] = (int(array.min()), int(array.max()))
    elif value.dtype in _OF_TYPE:
        known[value] = _OF_TYPE[value.dtype]


def _made(node: ir.Node, known: dict[ir.Value, Bounds]) -> Bounds | None:
    """Return the bounds of what ``node`` makes, or None."""
    bounds = [known.get(value) if value is not None else None for value in node.inputs]
    if node.op_type in _MOVE_FIRST:
        return _moved(node, bounds[0])
    if node.op_type in _MOVE_SOME:
        return _hull(bounds[_MOVE_SOME[node.op_type]])
    if node.op_type in {"Shape", "ArgMax", "ArgMin", "NonZero"}:
        return _of_shape(node)
    known_bounds = [item for item in bounds if item is not None]
    if not bounds or len(known_bounds) < len(bounds) or node.outputs[0].dtype not in _INTEGERS:
        return None
    return _computed(node, known_bounds)


def _moved(node: ir.Node, bounds: Bounds | None) -> Bounds | None:
    """Return the bounds of moved elements; a Cast of what is no integer has none."""
    source = node.inputs[0]
    if node.op_type != "Cast" or source is None:
        return bounds
    is_integer = source.dtype in _OF_TYPE or source.dtype == ir.DataType.INT64
    widens = node.outputs[0].dtype == ir.DataType.INT64
    return bounds if is_integer and widens else _OF_TYPE.get(node.outputs[0].dtype)


def _hull(bounds: Iterable[Bounds | None]) -> Bounds | None:
    found = list(bounds)
    known = [item for item in found if item is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _of_shape(node: ir.Node) -> Bounds | None:
    """Return the bounds of extents, or of indices into them."""
    source = input_of(node, 0)
    if source is None or source.shape is None or not source.shape.is_static():
        return None
    extents = [int(extent) for extent in source.shape.numpy()]
    if node.op_type == "Shape":
        return (min(extents), max(extents)) if extents else None
    return 0, max([*extents, 1]) - 1


def _computed(node: ir.Node, bounds: list[Bounds]) -> Bounds | None:
    """Return the bounds of a result of arithmetic, before it would wrap around."""
    (low, high), (low2, high2) = bounds[0], bounds[-1]
    products = [a * b for a in (low, high) for b in (low2, high2)]
    size = max(abs(low), abs(high))
    results: dict[str, Bounds | None] = {
        "Add": (low + low2, high + high2),
        "Sub": (low - high2, high - low2),
        "Mul": (min(products), max(products)),
        "Neg": (-high, -low),
        "Abs": (0, size),
        "Div": (min(0, low), max(0, high)) if low2 >= 1 else None,
        "Mod": (0, high2 - 1) if low2 >= 1 and not _fmod(node) else None,
    }
    return results.get(node.op_type)


def _fmod(node: ir.Node) -> bool:
    attribute = node.attributes.get("fmod")
    return attribute is not None and (attribute.is_ref() or bool(attribute.as_int()))
