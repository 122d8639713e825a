"""A model as a proto that costs no more than its graph: what onnx's checker and inference look at.

Large tensors are left out, so that a model of several gigabytes is written in milliseconds.
"""

from __future__ import annotations

from typing import cast

import onnx
import onnx_ir as ir

from onnx_passes.core.contract import label
from onnx_passes.core.values import main_graphs, subgraphs

# Small initializers may be shapes or axes, which shape inference reads; larger ones are weights.
_MAX_CHECKED_BYTES = 1024
_WHOLE = (ir.AttributeType.INT, ir.AttributeType.INTS)


def skeleton(model: ir.Model) -> onnx.ModelProto:
    """Return the model as a proto whose weights are graph inputs instead of data.

    Nothing is copied before it is written; ``model`` stays as it is.
    """
    _refuse_broken(model)
    inner = list(main_graphs(model))[1:]
    if any(_is_external(value) for graph in inner for value in graph.initializers.values()):
        model = model.clone()
        for graph in list(main_graphs(model))[1:]:
            for value in graph.initializers.values():
                value.const_value = _loaded(value).const_value
    graph = model.graph
    values = list(graph.initializers.values())
    view = ir.GraphView(
        [*graph.inputs, *(typed(v) for v in values if _is_large(v) and not v.is_graph_input())],
        graph.outputs,
        nodes=(),
        initializers=[_loaded(value) for value in values if not _is_large(value)],
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    functions = list(model.functions.values())
    proto = ir.to_proto(
        ir.Model(
            cast("ir.Graph", view),
            ir_version=model.ir_version,
            functions=functions,
            metadata_props=model.metadata_props,
        )
    )
    _write_nodes(graph, proto.graph)
    return proto


def _write_nodes(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """Write the nodes and the types of what they make: most of both are alike, and plain."""
    types: dict[tuple[object, ...], onnx.TypeProto] = {}
    attributes: dict[tuple[object, ...], onnx.AttributeProto] = {}
    add_node, add_info = proto.node.add, proto.value_info.add
    for node in graph:
        if node.metadata_props or node.overload:
            ir.serde.serialize_node_into(add_node(), node)
        else:
            twin = add_node(
                op_type=node.op_type,
                input=[value.name if value is not None else "" for value in node.inputs],
                output=[value.name for value in node.outputs],
            )
            for name, text in (("domain", node.domain), ("name", node.name)):
                if text:
                    setattr(twin, name, text)
            for attribute in node.attributes.data.values():
                twin.attribute.append(_attribute_of(attribute, attributes))
        for value in node.outputs:
            if value.type is not None and value.name and not value.is_graph_output():
                add_info(name=value.name, type=_type_of(value, types))


def _attribute_of(
    attribute: ir.Attr, attributes: dict[tuple[object, ...], onnx.AttributeProto]
) -> onnx.AttributeProto:
    """Return an attribute; ``attributes`` remembers those of whole numbers."""
    if attribute.type not in _WHOLE or attribute.is_ref():
        return ir.serde.serialize_attribute(attribute)
    value = attribute.value
    key = attribute.name, attribute.type, value if isinstance(value, int) else tuple(value)
    if key not in attributes:
        attributes[key] = ir.serde.serialize_attribute(attribute)
    return attributes[key]


def _type_of(value: ir.Value, types: dict[tuple[object, ...], onnx.TypeProto]) -> onnx.TypeProto:
    """Return type and shape of ``value``; ``types`` remembers them."""
    kind, shape = value.type, value.shape
    if type(kind) is not ir.TensorType or kind.denotation:
        return ir.serde.serialize_value(value).type
    dims = None if shape is None else [d if isinstance(d, int) else d.value for d in shape.dims]
    key = (kind.dtype,) if dims is None else (kind.dtype, "shape", *dims)
    found = types.get(key)
    if found is None:
        found = types[key] = onnx.TypeProto()
        found.tensor_type.elem_type = kind.dtype.value
        if dims is not None:
            found.tensor_type.shape.SetInParent()
            add = found.tensor_type.shape.dim.add
            for dim in dims:
                add(dim_value=dim) if isinstance(dim, int) else add(dim_param=dim)
    return found


def _refuse_broken(model: ir.Model) -> None:
    """Raise unless each value that is read was made before, and each that is made has a name."""
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        _refuse_broken_graph(root, {None})


def _refuse_broken_graph(graph: ir.Graph, made: set[ir.Value | None]) -> None:
    made.update(graph.inputs, graph.initializers.values())
    for node in graph:
        if not made.issuperset(node.inputs):
            value = next(value for value in node.inputs if value is not None and value not in made)
            msg = f"{label(node)} reads {value.name!r}, which nothing before it makes"
            raise ValueError(msg)
        for inner in subgraphs(node) if node.attributes.data else ():
            _refuse_broken_graph(inner, made)
        for value in node.outputs:
            if value.name is None:
                msg = f"an output of {label(node)} has no name"
                raise ValueError(msg)  # saving would not give it one
            made.add(value)
    for value in graph.outputs:
        if value not in made:
            msg = f"nothing makes the graph output {value.name!r}"
            raise ValueError(msg)


def _is_large(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes > _MAX_CHECKED_BYTES


def _is_external(value: ir.Value) -> bool:
    return isinstance(value.const_value, ir.ExternalTensor)


def _loaded(value: ir.Value) -> ir.Value:
    """Return ``value``, or its like in memory: the checker would not look in the right folder."""
    if value.const_value is None or not _is_external(value):
        return value
    tensor = ir.Tensor(value.const_value.numpy(), name=value.name)
    return ir.Value(name=value.name, type=value.type, shape=value.shape, const_value=tensor)


def typed(value: ir.Value) -> ir.Value:
    """Return ``value``, or its like with the type and shape of its tensor."""
    tensor = value.const_value
    if tensor is None or (value.shape is not None and value.type is not None):
        return value
    # A tensor's shape is static, whatever its protocol's type says.
    shape = value.shape or ir.Shape([dim for dim in tensor.shape if isinstance(dim, int)])
    return ir.Value(name=value.name, type=value.type or ir.TensorType(tensor.dtype), shape=shape)
