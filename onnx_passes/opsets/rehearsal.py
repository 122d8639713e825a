"""Try a node's way across the opsets on a copy, and no other node that is just like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.values import constant

if TYPE_CHECKING:
    from collections.abc import Hashable

_NESTED = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
# Their text says all of them.
_PLAIN = frozenset(
    {
        *(ir.AttributeType.INT, ir.AttributeType.INTS),
        *(ir.AttributeType.FLOAT, ir.AttributeType.FLOATS),
        *(ir.AttributeType.STRING, ir.AttributeType.STRINGS),
    }
)
_MAX_READ_BYTES = 256


def understudy(node: ir.Node, stage: ir.Graph) -> ir.Node:
    """Return a copy of ``node`` on ``stage``, with copies of what it reads; graphs stay behind."""
    inputs = [None if value is None else _like(value, constant(value)) for value in node.inputs]
    copy = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        [item for item in node.attributes.values() if item.type not in _NESTED],
        outputs=[_like(value) for value in node.outputs],
        version=node.version,
        name=node.name,
    )
    stage.append(copy)
    return copy


def _like(value: ir.Value, tensor: ir.TensorProtocol | None = None) -> ir.Value:
    return ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=tensor)


def particulars(node: ir.Node) -> Hashable | None:
    """Return all that a rule looks at, or None where that has no short form.

    Two nodes of the same particulars are both refused, or neither is.
    """
    parts: list[object] = [node.domain, node.op_type, node.version]
    for item in node.attributes.values():
        if item.type not in _PLAIN or item.is_ref():
            return None
        parts += [item.name, item.type, repr(item.value)]
    for value in (*node.inputs, None, *node.outputs):
        if value is None:
            parts.append(None)
            continue
        if value.type is not None and type(value.type) is not ir.TensorType:
            return None
        parts += [bool(value.name), value.dtype, None if value.shape is None else value.shape.dims]
        tensor = constant(value)
        if tensor is not None:
            if tensor.nbytes > _MAX_READ_BYTES or tensor.dtype == ir.DataType.STRING:
                return None
            parts += [tensor.dtype, *tensor.shape.numpy(), tensor.tobytes()]
    return tuple(parts)
