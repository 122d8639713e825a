"""Types of values that shape inference does not reach, function bodies above all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.values import all_nodes, constant
from onnx_passes.opsets.widened import schema

if TYPE_CHECKING:
    from onnx import defs

    from onnx_passes.core.known_inputs import Facts


def spread(root: ir.Graph, opset: int) -> Facts:
    """Write the type of each output that is untyped and whose operator leaves no choice.

    Returns:
        What was recorded of those before, for :func:`onnx_passes.core.known_inputs.forget`.
    """
    before: Facts = {}
    for node in all_nodes(root):
        if node.domain or all(value.type is not None for value in node.outputs):
            continue
        if (known := schema(node.op_type, opset)) is None:
            continue
        for index, value in enumerate(node.outputs):
            if value.type is None and known.outputs:
                before[value] = (None, value.shape)
                value.type = _type(node, known, min(index, len(known.outputs) - 1))
    return before


def _type(node: ir.Node, known: defs.OpSchema, index: int) -> ir.TypeProtocol | None:
    """Return the type of an output: that of a constant, of an input, or the only one allowed."""
    if (tensor := constant(node.outputs[0])) is not None:
        return ir.TensorType(tensor.dtype)
    if node.op_type == "Cast" and not node.attributes["to"].is_ref():
        return ir.TensorType(ir.DataType(node.attributes["to"].as_int()))
    formal = known.outputs[index]
    if formal.types == {"tensor(int64)"}:
        return ir.TensorType(ir.DataType.INT64)
    if formal.types == {"tensor(bool)"}:
        return ir.TensorType(ir.DataType.BOOL)
    for position, value in enumerate(node.inputs):
        parameter = known.inputs[min(position, len(known.inputs) - 1)]
        same = parameter.type_str == formal.type_str and parameter.is_homogeneous
        if value is not None and value.type is not None and same:
            return value.type
    return None
