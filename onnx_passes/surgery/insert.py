"""Put a node behind a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnx_passes.core.inference import infer
from onnx_passes.core.model_io import opset
from onnx_passes.core.values import fresh_name, new_initializer, value_names
from onnx_passes.surgery.look_up import reached, refuse, tensor_of, tensors
from onnx_passes.surgery.operator_text import read_operator
from onnx_passes.surgery.retype import retype

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from onnx_passes.surgery.operator_text import Operator


def insert_after(model: ir.Model, name: str, text: str) -> ir.Node:
    """Put a node behind a tensor: what read the tensor, the caller included, reads the node.

    Args:
        model: Changed in place.
        name: A tensor of the main graph.
        text: The node, see :mod:`onnx_passes.surgery.operator_text`.

    Raises:
        UsageError: For an unknown tensor, or a node that cannot be made or would close a loop.
    """
    values = tensors(model)
    tensor = tensor_of(values, name)
    dtype = tensor.dtype
    if dtype is None and (inferred := infer(model).get(tensor)) is not None:
        dtype = inferred.dtype
    operator = read_operator(text, tensor, dtype, opset(model))
    extra = [name for name in operator.inputs if isinstance(name, str) and name != tensor.name]
    for other in extra:
        tensor_of(values, other)
        if name in reached(model, (), [other]):
            refuse(f"{other!r} is computed from {name!r}, so the graph would loop")
    if tensor.is_graph_output() and tensor.producer() is None:
        refuse(f"{name!r} is an input and an output of the graph")
    made = _new_node(model, operator, tensor)
    if extra:
        model.graph.sort()
    retype(model, [value.name or "" for value in made.outputs])
    return made


def _new_node(model: ir.Model, operator: Operator, tensor: ir.Value) -> ir.Node:
    """Make the node, put it behind ``tensor``, and let the readers read it."""
    import onnx_ir as ir

    names = value_names(model)
    name = fresh_name(f"{tensor.name}_{operator.kind}", names)
    uses = list(tensor.uses())
    pairs = zip(operator.inputs, operator.labels, strict=True)
    inputs = [_operand(model, value, f"{name}_{what}", names) for value, what in pairs]
    outputs = [name, *(fresh_name(f"{name}_{i}", names) for i in range(1, operator.outputs))]
    node = ir.Node(
        "",
        operator.kind,
        inputs,
        operator.attributes,
        outputs=[ir.Value(name=output) for output in outputs],
        name=name,
    )
    producer = tensor.producer()
    if producer is not None:
        model.graph.insert_after(producer, node)
    elif len(model.graph):
        model.graph.insert_before(model.graph[0], node)
    else:
        model.graph.append(node)
    for reader, index in uses:
        reader.replace_input_with(index, node.outputs[0])
    _take_over_output(model, tensor, node.outputs[0], names)
    return node


def _operand(
    model: ir.Model, value: str | np.ndarray[Any, Any] | None, wish: str, names: set[str]
) -> ir.Value | None:
    import onnx_ir as ir

    if value is None:
        return None
    if isinstance(value, str):
        return tensors(model)[value]
    name = fresh_name(wish, names)
    return new_initializer(model.graph, name, ir.Tensor(value, name=name))


def _take_over_output(model: ir.Model, old: ir.Value, new: ir.Value, names: set[str]) -> None:
    """Make ``new`` the graph output in place of ``old``, under the name that callers know."""
    for index, value in enumerate(model.graph.outputs):
        if value is old:
            model.graph.outputs[index] = new
            output, new.type, new.shape = old.name or "", old.type, old.shape
            old.name = fresh_name(f"{output}_before", names)
            new.name = output
