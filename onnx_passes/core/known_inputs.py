"""Types and shapes that the inputs of a node lack, from shape inference and from callers.

A function does not say the types of its inputs. What all its callers agree on is as good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.inference import infer
from onnx_passes.core.values import graphs

if TYPE_CHECKING:
    from collections.abc import Iterator


Facts = dict[ir.Value, "tuple[ir.TypeProtocol | None, ir.Shape | None]"]


def complete_inputs(model: ir.Model, nodes: list[ir.Node]) -> Facts:
    """Write the types and shapes that the inputs of ``nodes`` lack, where they are known.

    Nothing is inferred where nothing is missing.

    Returns:
        What was recorded of the values before, for :func:`forget`.
    """
    values = [value for node in nodes for value in node.inputs if value is not None]
    if all(value.dtype is not None and value.shape is not None for value in values):
        return {}
    inferred = infer(model)
    parameters = [value for function in model.functions.values() for value in function.inputs]
    before: Facts = {value: (value.type, value.shape) for value in (*values, *parameters)}
    for value in values:
        if value in inferred:
            _complete(value, inferred[value].type, inferred[value].shape)
    for _ in model.functions:  # a function may be called by another
        for parameter, arguments in _calls(model).items():
            known = [inferred.get(argument, argument) for argument in arguments]
            _complete(parameter, _common_type(known), _common_shape(known))
    return before


def forget(before: Facts) -> None:
    """Take back what :func:`complete_inputs` wrote: a refusal leaves no trace."""
    for value, (kind, shape) in before.items():
        value.type, value.shape = kind, shape


def _complete(value: ir.Value, kind: ir.TypeProtocol | None, shape: ir.Shape | None) -> None:
    value.type = value.type or kind
    if value.shape is None and shape is not None:
        value.shape = shape.copy()


def _calls(model: ir.Model) -> dict[ir.Value, list[ir.Value]]:
    """Return the arguments that each parameter of each function gets."""
    found: dict[ir.Value, list[ir.Value]] = {}
    for node in _nodes(model):
        function = model.functions.get(node.op_identifier())
        for parameter, argument in zip(function.inputs if function else (), node.inputs):  # noqa: B905  trailing inputs may be left out
            if argument is not None:
                found.setdefault(parameter, []).append(argument)
    return found


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in graphs(model):
        yield from graph


def _common_type(values: list[ir.Value]) -> ir.TypeProtocol | None:
    kinds = {value.dtype for value in values}
    return values[0].type if len(kinds) == 1 else None


def _common_shape(values: list[ir.Value]) -> ir.Shape | None:
    """Return the shape of all ``values``, None for an axis on which they differ."""
    shapes = [value.shape for value in values if value.shape is not None]
    if len(shapes) < len(values) or len({len(shape) for shape in shapes}) > 1:
        return None
    axes = [set(axis) for axis in zip(*shapes, strict=True)]
    return ir.Shape([axis.pop() if len(axis) == 1 else None for axis in axes])
