"""Did a pass change the model? Measured, not believed.

The fingerprint covers everything that is saved. Arrays behind tensors are made read-only first, so
that a pass cannot change a weight in place unseen; each tensor is then hashed once in its life.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


class Fingerprinter:
    """Fingerprints versions of a model; remembers the tensors it has seen.

    On the way, it puts read-only views behind the tensors whose arrays could be changed in place.
    The caller's own arrays stay writable; only the model looks at them through a view.
    """

    def __init__(self) -> None:
        """Start with no tensor seen."""
        # The tensor is kept with its digest: an id is only unique while its object lives.
        self._seen: dict[int, tuple[Any, str]] = {}

    def __call__(self, model: ir.Model) -> str:
        """Return a digest of ``model``; equal digests mean equal models."""
        return hashlib.sha256("\0".join(self._parts(model)).encode()).hexdigest()

    def _parts(self, model: ir.Model) -> Iterator[str]:
        yield repr((model.ir_version, sorted(model.opset_imports.items())))
        yield repr((model.producer_name, model.producer_version, model.domain, model.model_version))
        yield repr((model.doc_string, sorted(model.metadata_props.items())))
        yield from self._graph(model.graph)
        for key, function in sorted(model.functions.items()):
            yield repr((key, sorted(function.opset_imports.items())))
            yield from self._attributes(function)
            yield from self._graph(function)

    def _graph(self, graph: ir.Graph | ir.Function) -> Iterator[str]:
        yield repr((graph.name, graph.doc_string, sorted(graph.metadata_props.items())))
        yield repr([_value(value) for value in graph.inputs])
        yield repr([_value(value) for value in graph.outputs])
        for value in getattr(graph, "initializers", {}).values():
            value.const_value = _frozen(value.const_value)
            yield f"{_value(value)}={self._tensor(value.const_value)}"
        for node in graph:
            yield repr(
                (
                    (node.domain, node.op_type, node.overload, node.name, node.doc_string),
                    [None if value is None else value.name for value in node.inputs],
                    [_value(value) for value in node.outputs],
                    node.metadata_props and sorted(node.metadata_props.items()),
                )
            )
            if node.attributes:
                yield from self._attributes(node)

    def _attributes(self, owner: ir.Node | ir.Function) -> Iterator[str]:
        import onnx_ir as ir

        for name, attribute in owner.attributes.items():
            yield name
            if attribute.type == ir.AttributeType.TENSOR:
                owner.attributes[name] = _frozen_attribute(attribute)
            yield from self._attribute(attribute)

    def _attribute(self, attribute: ir.Attr) -> Iterator[str]:
        import onnx_ir as ir

        yield repr((attribute.type, attribute.ref_attr_name))
        if attribute.type == ir.AttributeType.GRAPH:
            yield from self._graph(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from self._graph(graph)
        elif attribute.type == ir.AttributeType.TENSOR:
            yield self._tensor(attribute.value)
        elif attribute.type == ir.AttributeType.TENSORS and attribute.value is not None:
            yield from map(self._tensor, attribute.value)
        else:
            yield repr(attribute.value)

    def _tensor(self, tensor: Any) -> str:  # noqa: ANN401  any of onnx-ir's tensor classes
        if tensor is None:
            return "none"
        known = self._seen.get(id(tensor))
        if known is None:
            known = (tensor, _content(tensor))
            self._seen[id(tensor)] = known
        return known[1]


def _frozen_attribute(attribute: ir.Attr) -> ir.Attr:
    import onnx_ir as ir

    tensor = _frozen(attribute.value)
    return attribute if tensor is attribute.value else ir.AttrTensor(attribute.name, tensor)


def _frozen(tensor: Any) -> Any:  # noqa: ANN401  any of onnx-ir's tensor classes, or None
    """Return ``tensor``, or one that looks at the same array through a read-only view."""
    import onnx_ir as ir

    if not isinstance(tensor, ir.Tensor) or not isinstance(tensor.raw, np.ndarray):
        return tensor
    if not tensor.raw.flags.writeable:
        return tensor
    view = tensor.raw.view()
    view.flags.writeable = False
    return ir.Tensor(view, dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)


def _content(tensor: Any) -> str:  # noqa: ANN401  any of onnx-ir's tensor classes
    """Return dtype, shape and a digest of the bytes; a file is named, not read."""
    import onnx_ir as ir

    head = f"{tensor.dtype}{tuple(tensor.shape)}"
    if isinstance(tensor, ir.ExternalTensor):
        return f"{head}@{tensor.path}:{tensor.offset}:{tensor.length}"
    if tensor.dtype == ir.DataType.STRING:
        return head + repr(tensor.numpy().tolist())
    return head + hashlib.blake2b(tensor.tobytes(), digest_size=16).hexdigest()


def _value(value: ir.Value) -> tuple[object, ...]:
    shape = value.shape
    dims = None if shape is None else [dim if isinstance(dim, int) else str(dim) for dim in shape]
    metadata = value.metadata_props and sorted(value.metadata_props.items())
    return value.name, str(value.type), dims, value.doc_string, metadata
