"""What is certain of the small integer tensors that a model computes from shapes.

Each element is a number, the extent of one axis of one value, or unknown. Nothing is guessed: what
no rule below covers is unknown.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.core.spelling import (
    extents,
    input_of,
    integers,
    is_operator,
    picked,
    slice_axes,
)
from onnx_passes.core.values import constant

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_SIZE = 64  # A longer tensor is data: a shape has at most a few elements.
_TYPES = (ir.DataType.INT32, ir.DataType.INT64)


class Axis(NamedTuple):
    """The extent of one axis of a value."""

    value: ir.Value
    axis: int


Element = int | Axis | None


class Known(NamedTuple):
    """An int32 or int64 tensor of rank 0 or 1.

    Attributes:
        elements: What is certain of each element.
        scalar: Whether the rank is 0.
        dtype: INT32 or INT64.
    """

    elements: tuple[Element, ...]
    scalar: bool
    dtype: ir.DataType

    def array(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """Return the tensor if each element is a number."""
        numbers = [item for item in self.elements if isinstance(item, int)]
        if len(numbers) < len(self.elements):
            return None
        array = np.array(numbers, self.dtype.numpy())
        return array.reshape(()) if self.scalar else array


def evaluate(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    """Return what is certain of the result of ``node``, given what is ``known`` before."""
    if not is_operator(node, *_RULES) or not node.inputs:
        return None
    found = _RULES[node.op_type](node, known)
    if found is None or len(found.elements) > _MAX_SIZE or found.dtype not in _TYPES:
        return None
    limits = np.iinfo(found.dtype.numpy())
    fits = (
        None if isinstance(item, int) and not limits.min <= item <= limits.max else item
        for item in found.elements
    )
    return found._replace(elements=tuple(fits))


def look_up(value: ir.Value | None, known: dict[ir.Value, Known]) -> Known | None:
    """Return what is certain of ``value``, computed or constant."""
    if value is None or value in known:
        return known.get(value) if value is not None else None
    tensor = constant(value)
    if tensor is not None and tensor.dtype in _TYPES and tensor.size <= _MAX_SIZE:
        array = tensor.numpy()
        if array.ndim <= 1:
            numbers = tuple(int(item) for item in array.reshape(-1))
            return Known(numbers, array.ndim == 0, tensor.dtype)
    shape = extents(value)
    if shape is None or value.dtype not in _TYPES or len(shape) > 1:
        return None
    size = shape[0] if shape else 1
    known_size = size is not None and size <= _MAX_SIZE
    return Known((None,) * (size or 0), not shape, value.dtype) if known_size else None


def _extents(value: ir.Value | None, known: dict[ir.Value, Known]) -> list[int | None] | None:
    """Return the recorded extents of ``value``, or those of what is certain of it."""
    sizes, found = extents(value), known.get(value) if value is not None else None
    if sizes is None and found is not None:
        return [] if found.scalar else [len(found.elements)]
    return sizes


def _shape(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    source = node.inputs[0]
    sizes = _extents(source, known)
    if source is None or sizes is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
    whole: list[Element] = [
        Axis(source, axis) if size is None else size for axis, size in enumerate(sizes)
    ]
    return Known(tuple(whole[start:end]), False, ir.DataType.INT64)


def _size(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    sizes = _extents(node.inputs[0], known)
    if sizes is None or None in sizes:
        return None
    product = int(np.prod([size for size in sizes if size is not None], dtype=np.int64))
    return Known((product,), True, ir.DataType.INT64)


def _gather(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, indices = (look_up(value, known) for value in node.inputs[:2])
    if data is None or indices is None or data.scalar:
        return None
    size = len(data.elements)
    picks = [item for item in indices.elements if isinstance(item, int) and -size <= item < size]
    if len(picks) < len(indices.elements):
        return None
    return Known(tuple(data.elements[pick] for pick in picks), indices.scalar, data.dtype)


def _concat(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    parts = [look_up(value, known) for value in node.inputs]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or any(part.scalar for part in found):
        return None
    elements = tuple(item for part in found for item in part.elements)
    return Known(elements, False, found[0].dtype)


def _slice(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, cuts = look_up(node.inputs[0], known), slice_axes(node)
    if data is None or data.scalar or cuts is None or len(cuts) != 1:
        return None
    indices = picked(len(data.elements), *next(iter(cuts.values())))
    if indices is None:
        return None
    return data._replace(elements=tuple(data.elements[index] for index in indices))


def _cast(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    dtype = ir.DataType(node.attributes.get_int("to", 0))
    return None if data is None else data._replace(dtype=dtype)


def _same(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    return look_up(node.inputs[0], known)


def _squeeze(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    if data is None or data.scalar or len(data.elements) != 1:
        return None
    absent = "axes" not in node.attributes and input_of(node, 1) is None
    axes = integers(node, "axes", 1)
    return data._replace(scalar=True) if absent or axes in ([0], [-1]) else None


def _unsqueeze(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    if data is None or not data.scalar or integers(node, "axes", 1) not in ([0], [-1]):
        return None
    return data._replace(scalar=False)


def _reshape(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, target = look_up(node.inputs[0], known), integers(node, "shape", 1)
    if data is None or target is None:
        return None
    if target == [] and len(data.elements) == 1:
        return data._replace(scalar=True)
    return data._replace(scalar=False) if target in ([-1], [len(data.elements)]) else None


def _arithmetic(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    left, right = (look_up(value, known) for value in node.inputs[:2])
    if left is None or right is None:
        return None
    lengths = {len(left.elements), len(right.elements)}
    size = max(lengths) if len(lengths - {1}) <= 1 and 0 not in lengths else 0
    if not size:
        return None
    pairs = zip(
        left.elements * (size // len(left.elements)),
        right.elements * (size // len(right.elements)),
        strict=True,
    )
    elements = tuple(_combined(node.op_type, a, b) for a, b in pairs)
    return Known(elements, left.scalar and right.scalar, left.dtype)


_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),  # towards 0
}


def _combined(op_type: str, left: Element, right: Element) -> Element:
    if isinstance(left, int) and isinstance(right, int):
        return None if op_type == "Div" and right == 0 else _OPERATIONS[op_type](left, right)
    if right == _NEUTRAL[op_type]:
        return left
    return right if op_type in {"Add", "Mul"} and left == _NEUTRAL[op_type] else None


_RULES: dict[str, Callable[[ir.Node, dict[ir.Value, Known]], Known | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Cast": _cast,
    "Identity": _same,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    **dict.fromkeys(_OPERATIONS, _arithmetic),
}
