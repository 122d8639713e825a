"""Read what a node says, whichever way its opset spells it, and write constants for it.

Axes, sizes and the like moved from attributes to inputs over the opsets. A pass that merges or
drops nodes asks here, and gets None for what is only known when the model runs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.core.values import (
    constant,
    drop_unread_initializer,
    fresh_name,
    is_read,
    main_graphs,
    new_initializer,
    remove,
    replace,
    value_names,
    why_not_replace,
    with_inner,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TO_THE_END = 2**31 - 1  # The least end that the Slice specification calls "to the end".
_SHARED = 64  # elements, at most
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
_TRUE_CONSTANTS = 4  # In older IR versions each initializer is a graph input.


def nodes_of(model: ir.Model, *op_types: str) -> Iterator[tuple[ir.Node, int]]:
    """Yield the nodes of these operators of ``ai.onnx``, functions too, each with its opset."""
    wanted = frozenset(op_types)  # most nodes are others: they must cost next to nothing
    functions = ((item.graph, item.opset_imports) for item in model.functions.values())
    for root, imports in ((model.graph, model.opset_imports), *functions):
        opset = imports.get("", model.opset_imports.get("", 0))
        for graph in list(with_inner(root)):
            for node in graph:
                if node.op_type in wanted and node.domain == "":
                    yield node, opset


def operators(model: ir.Model, *op_types: str) -> Iterator[tuple[ir.Node, int]]:
    """Yield those of :func:`nodes_of` that are fully spelled out, see :func:`is_operator`."""
    return (found for found in nodes_of(model, *op_types) if is_operator(found[0], *op_types))


def is_operator(node: ir.Node | None, *op_types: str) -> bool:
    """Return whether ``node`` is one of these operators of ``ai.onnx``, and fully spelled out.

    In a function an attribute may refer to what the call gives; such a node is not spelled out.
    """
    if node is None or node.op_type not in op_types or node.domain != "":
        return False
    attributes = node.attributes.data  # a plain dictionary: this is asked of each node
    return not attributes or not any(item.is_ref() for item in attributes.values())


def maker(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the node that makes ``value`` if it is one of these operators."""
    node = None if value is None else value.producer()
    return node if is_operator(node, *op_types) else None


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_integers(value: ir.Value | None) -> list[int] | None:
    """Return the elements of a constant int32 or int64 tensor, or None."""
    tensor = constant(value)
    if tensor is None or tensor.dtype not in _INTEGERS:
        return None
    found: list[int] = tensor.numpy().reshape(-1).tolist()
    return found


def integers(
    node: ir.Node, name: str, index: int, default: Sequence[int] | None = None
) -> list[int] | None:
    """Return what attribute ``name`` or, in newer opsets, input ``index`` says.

    Returns:
        ``default`` where neither is there; None where the input is no constant.
    """
    if name in node.attributes:
        return list(node.attributes.get_ints(name) or [])
    value = input_of(node, index)
    if value is None:
        return None if default is None else list(default)
    return constant_integers(value)


def rank(value: ir.Value | None) -> int | None:
    """Return the recorded rank of ``value``, or None."""
    return None if value is None or value.shape is None else len(value.shape)


def extents(value: ir.Value | None) -> list[int | None] | None:
    """Return the recorded extents of ``value``, None for each that is not static.

    Those of a constant are always known.
    """
    if value is None or value.shape is None:
        tensor = constant(value)
        return None if tensor is None else list(tensor.shape.numpy())
    return [dim if isinstance(dim, int) else None for dim in value.shape]


def extent(value: ir.Value | None, axis: int) -> int | None:
    """Return the recorded extent of one axis of ``value``, None if it is not static."""
    shape = extents(value) or []
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def slice_axes(node: ir.Node) -> dict[int, tuple[int, int, int]] | None:
    """Return start, end and step of a Slice for each axis, or None if they are no constants.

    An axis stands as it is written, negative or not.
    """
    starts, ends = integers(node, "starts", 1), integers(node, "ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = integers(node, "axes", 3, range(len(starts)))
    steps = integers(node, "steps", 4, [1] * len(starts))
    if axes is None or steps is None or not len(axes) == len(steps) == len(starts):
        return None
    if len(set(axes)) < len(axes) or 0 in steps:
        return None
    return dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))


def picked(size: int, start: int, end: int, step: int) -> range | None:
    """Return the indices that a Slice takes from an axis of ``size`` elements.

    Returns:
        None where a negative step means one thing to NumPy and another to the specification or
        to onnxruntime: it starts before the first element, ends at the largest number (to
        onnxruntime that is the first element), or the axis is empty.
    """
    if step < 0 and (size == 0 or start < -size or end >= TO_THE_END):
        return None
    return range(size)[start:end:step]


class Constants:
    """Makes the constants of one run of a pass, under names that are free."""

    def __init__(self, model: ir.Model) -> None:
        """Note where an initializer may stand: not in a function, not before IR version 4."""
        self._model = model
        self._made: dict[tuple[object, ...] | None, ir.Value] = {}
        self._holders = set(main_graphs(model)) if model.ir_version >= _TRUE_CONSTANTS else set()

    @functools.cached_property
    def names(self) -> set[str]:
        """The names of all values, those made here too; take a name with ``fresh_name``."""
        return value_names(self._model)

    def integers(self, node: ir.Node, hint: str, numbers: Sequence[int]) -> ir.Value:
        """Return an int64 [n] constant that ``node`` may read."""
        return self.array(node, hint, np.array(numbers, np.int64))

    def array(
        self, node: ir.Node, hint: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    ) -> ir.Value:
        """Return a constant that ``node`` may read, named after the output of its first reader.

        Small ones that are equal are one initializer.
        """
        graph = node.graph
        small = array.size <= _SHARED
        key = (graph, array.dtype, array.shape, array.tobytes()) if small else None
        known = self._made.get(key)
        if known is not None and known.is_initializer():
            return known
        name = fresh_name(f"{node.outputs[0].name}_{hint}", self.names)
        tensor = ir.Tensor(array, name=name)
        if graph in self._holders and graph is not None:
            made = new_initializer(graph, name, tensor)
            if key is not None:
                self._made[key] = made
            return made
        kind, shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
        output = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
        node.prepend(ir.node("Constant", [], {"value": tensor}, outputs=[output]))
        return output


def set_inputs(node: ir.Node, values: Sequence[ir.Value | None]) -> None:
    """Let ``node`` read ``values``; constants that nothing reads any more go."""
    before = node.inputs
    node.resize_inputs(len(values))
    for index, value in enumerate(values):
        node.replace_input_with(index, value)
    for value in before:
        drop_unread_constant(value)


def remove_unread(node: ir.Node) -> bool:
    """Remove ``node`` and the constants that only it reads, unless something reads its results."""
    if any(is_read(value) or value.is_graph_output() for value in node.outputs):
        return False
    before = node.inputs
    remove(node)
    for value in before:
        drop_unread_constant(value)
    return True


def pass_through(node: ir.Node, source: ir.Value) -> None:
    """Let the readers of ``node`` read ``source``, which holds the same.

    Where a name of a graph output is in the way, the node stays as an Identity.
    """
    if why_not_replace(node.outputs[0], source) is None:
        replace(node.outputs[0], source)
        remove_unread(node)
        return
    node.op_type = "Identity"
    node.attributes.clear()
    set_inputs(node, [source])


def drop_unread_constant(value: ir.Value | None) -> None:
    """Remove an initializer or a Constant node that nothing reads."""
    drop_unread_initializer(value)
    node = maker(value, "Constant")
    if node is not None:
        remove_unread(node)
