"""What is certain of the small integer tensors that a model computes from shapes.

Each element is a number, the extent of one axis of one value, or unknown. Nothing is guessed: what
no rule below covers is unknown.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Axis:
    """The extent of one axis of a value."""

    value: ir.Value
    axis: int


Element = int | Axis | None
Elements = np.ndarray[tuple[int, ...], np.dtype[np.object_]]


class Known(NamedTuple):
    """An int32 or int64 tensor.

    Attributes:
        elements: What is certain of each element, an array of objects of the tensor's shape.
        dtype: INT32 or INT64.
    """

    elements: Elements
    dtype: ir.DataType

    def listed(self) -> list[Element]:
        """Return the elements in a row."""
        found: list[Element] = self.elements.reshape(-1).tolist()
        return found

    def array(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
        """Return the tensor if each element is a number."""
        if not all(isinstance(item, int) for item in self.elements.flat):
            return None
        return self.elements.astype(self.dtype.numpy())


def evaluate(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    """Return what is certain of the result of ``node``, given what is ``known`` before."""
    if not is_operator(node, *_RULES) or not node.inputs:
        return None
    try:
        found = _RULES[node.op_type](node, known)
    except (ValueError, IndexError):
        return None  # shapes that do not go together: the checker's matter
    if found is None or found.elements.size > _MAX_SIZE or found.dtype not in _TYPES:
        return None
    limits = np.iinfo(found.dtype.numpy())
    fits = [
        None if isinstance(item, int) and not limits.min <= item <= limits.max else item
        for item in found.elements.flat
    ]
    return found._replace(elements=_objects(fits).reshape(found.elements.shape))


def look_up(value: ir.Value | None, known: dict[ir.Value, Known]) -> Known | None:
    """Return what is certain of ``value``, computed or constant."""
    if value is None or value in known:
        return known.get(value) if value is not None else None
    tensor = constant(value)
    if tensor is not None:
        small = tensor.dtype in _TYPES and tensor.size <= _MAX_SIZE
        return Known(tensor.numpy().astype(object), tensor.dtype) if small else None
    sizes = extents(value)
    if value.dtype not in _TYPES or sizes is None:
        return None
    shape = [size for size in sizes if size is not None]
    known_size = len(shape) == len(sizes) and math.prod(shape) <= _MAX_SIZE
    return Known(np.full(shape, None, object), value.dtype) if known_size else None


def _objects(items: object) -> Elements:
    """Return an array of whatever numpy gave: for a single element that is the element."""
    return np.asarray(items, object)


def _numbers(value: ir.Value | None, known: dict[ir.Value, Known]) -> list[int] | None:
    """Return the elements of ``value`` if it has one axis and each is a number."""
    found = look_up(value, known)
    array = None if found is None else found.array()
    return None if array is None or array.ndim != 1 else [int(item) for item in array]


def _extents(value: ir.Value | None, known: dict[ir.Value, Known]) -> list[int | None] | None:
    """Return the recorded extents of ``value``, or those of what is certain of it."""
    sizes, found = extents(value), known.get(value) if value is not None else None
    return list(found.elements.shape) if sizes is None and found is not None else sizes


def _shape(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    source = node.inputs[0]
    sizes = _extents(source, known)
    if source is None or sizes is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(sizes))
    whole: list[Element] = [
        Axis(source, axis) if size is None else size for axis, size in enumerate(sizes)
    ]
    return Known(_objects(whole[start:end]), ir.DataType.INT64)


def _size(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    sizes = _extents(node.inputs[0], known)
    if sizes is None or None in sizes:
        return None
    product = math.prod(size for size in sizes if size is not None)
    return Known(_objects(product), ir.DataType.INT64)


def _gather(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, indices = (look_up(value, known) for value in node.inputs[:2])
    picks = None if indices is None else indices.array()
    if data is None or picks is None:
        return None
    axis = node.attributes.get_int("axis", 0)
    return data._replace(elements=_objects(np.take(data.elements, picks.astype(np.int64), axis)))


def _concat(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    parts = [look_up(value, known) for value in node.inputs]
    found = [part for part in parts if part is not None]
    axis = node.attributes.get_int("axis", None)
    if len(found) < len(parts) or axis is None:
        return None
    elements = np.concatenate([part.elements for part in found], axis)
    return Known(elements, found[0].dtype)


def _slice(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, cuts = look_up(node.inputs[0], known), slice_axes(node)
    if data is None or cuts is None:
        return None
    elements = data.elements
    for axis, cut in cuts.items():
        indices = picked(elements.shape[axis], *cut)
        if indices is None:
            return None
        elements = np.take(elements, np.array(indices, np.int64), axis)
    return data._replace(elements=elements)


def _cast(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    dtype = ir.DataType(node.attributes.get_int("to", 0))
    return None if data is None else data._replace(dtype=dtype)


def _same(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    return look_up(node.inputs[0], known)


def _squeeze(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    absent = "axes" not in node.attributes and input_of(node, 1) is None
    axes = integers(node, "axes", 1)
    if data is None or not (absent or axes):
        return None
    return data._replace(elements=np.squeeze(data.elements, tuple(axes) if axes else None))


def _unsqueeze(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, axes = look_up(node.inputs[0], known), integers(node, "axes", 1)
    if data is None or axes is None:
        return None
    return data._replace(elements=np.expand_dims(data.elements, tuple(axes)))


def _reshape(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, target = look_up(node.inputs[0], known), _numbers(node.inputs[1], known)
    if data is None or target is None:
        return None
    if not node.attributes.get_int("allowzero", 0):
        shape = data.elements.shape
        target = [shape[place] if size == 0 else size for place, size in enumerate(target)]
    return data._replace(elements=data.elements.reshape(target))


def _transpose(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data = look_up(node.inputs[0], known)
    if data is None:
        return None
    return data._replace(elements=data.elements.transpose(node.attributes.get_ints("perm")))


def _expand(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    data, target = look_up(node.inputs[0], known), _numbers(node.inputs[1], known)
    if data is None or target is None:
        return None
    shape = np.broadcast_shapes(data.elements.shape, tuple(target))
    if math.prod(shape) > _MAX_SIZE:
        return None
    return data._replace(elements=np.broadcast_to(data.elements, shape))


def _filled(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    shape, value = _numbers(node.inputs[0], known), node.attributes.get_tensor("value")
    if shape is None or value is None or math.prod(shape) > _MAX_SIZE:
        return None  # without a value it is float
    return Known(np.full(shape, value.numpy().reshape(-1)[0].item(), object), value.dtype)


def _arithmetic(node: ir.Node, known: dict[ir.Value, Known]) -> Known | None:
    left, right = (look_up(value, known) for value in node.inputs[:2])
    if left is None or right is None or node.attributes.get_int("fmod", 0) == 1:
        return None
    elements = _ELEMENTWISE[node.op_type](left.elements, right.elements)
    return Known(_objects(elements), left.dtype)


_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),  # towards 0
    "Mod": operator.mod,  # the sign of the divisor
}


def _combined(op_type: str, left: Element, right: Element) -> Element:
    if isinstance(left, int) and isinstance(right, int):
        divides = op_type in {"Div", "Mod"}
        return None if divides and right == 0 else _OPERATIONS[op_type](left, right)
    neutral = _NEUTRAL.get(op_type)
    if neutral is not None and right == neutral:
        return left
    return right if op_type in {"Add", "Mul"} and left == neutral else None


_ELEMENTWISE: dict[str, Callable[..., object]] = {
    op_type: np.frompyfunc(functools.partial(_combined, op_type), 2, 1) for op_type in _OPERATIONS
}
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
    "Transpose": _transpose,
    "Expand": _expand,
    "ConstantOfShape": _filled,
    **dict.fromkeys(_OPERATIONS, _arithmetic),
}
