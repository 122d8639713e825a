"""Did a pass change the model? Measured, not believed.

The fingerprint covers everything that is saved, and two of them are equal exactly when the models
are. Arrays behind tensors are made read-only first, so that a pass cannot change a weight in place
unseen. Weights are not hashed: the same tensor is equal to itself, and two tensors are compared
byte by byte only where dtype and shape do not tell them apart.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from onnx_passes.core.outcome import Measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

Fingerprint: TypeAlias = tuple[object, ...]


class Fingerprinter:
    """Fingerprints versions of a model; remembers the tensors it has seen.

    On the way, it counts nodes and bytes, see :meth:`measure`, and puts read-only views behind the
    tensors whose arrays could be changed in place. The caller's own arrays stay writable; only the
    model looks at them through a view.
    """

    def __init__(self) -> None:
        """Start with no tensor seen."""
        import onnx_ir as ir

        self._held: dict[int, _Held] = {}
        self._operators: Counter[str] = Counter()
        self._bytes = 0
        self._plain = ir.TensorType  # an import in a function that runs for each value costs time

    def __call__(self, model: ir.Model) -> Fingerprint:
        """Return what ``model`` is; equal fingerprints mean equal models."""
        self._operators, self._bytes = Counter(), 0
        head = (
            *(model.ir_version, _sorted(model.opset_imports), model.producer_name),
            *(model.producer_version, model.domain, model.model_version, model.doc_string),
            _sorted(model.metadata_props),
        )
        functions = tuple(
            (key, _sorted(item.opset_imports), self._attributes(item), *self._graph(item))
            for key, item in sorted(model.functions.items())
        )
        return head, self._graph(model.graph), functions

    def measure(self) -> Measure:
        """Return the size of the model that was fingerprinted last."""
        return Measure(dict(self._operators), self._bytes)

    def _graph(self, graph: ir.Graph | ir.Function) -> Fingerprint:
        nodes = list(graph)
        self._operators.update([node.op_type for node in nodes])
        initializers: Mapping[str, ir.Value] = getattr(graph, "initializers", {})
        for value in initializers.values():
            value.const_value = _frozen(value.const_value)
        return (
            (graph.name, graph.doc_string, _sorted(graph.metadata_props)),
            tuple([self._value(value) for value in graph.inputs]),
            tuple([self._value(value) for value in graph.outputs]),
            tuple([self._initializer(value) for value in initializers.values()]),
            tuple([self._node(node) for node in nodes]),
        )

    def _initializer(self, value: ir.Value) -> Fingerprint:
        held = self._tensor(value.const_value)
        self._bytes += 0 if held is None else held.nbytes
        return self._value(value), held

    def _node(self, node: ir.Node) -> Fingerprint:
        attributes, metadata = node.attributes, node.metadata_props
        return (
            *(node.domain, node.op_type, node.overload, node.name, node.doc_string),
            tuple([None if value is None else value.name for value in node.inputs]),
            tuple([self._value(value) for value in node.outputs]),
            self._attributes(node) if attributes else (),
            _sorted(metadata) if metadata else (),
        )

    def _value(self, value: ir.Value) -> Fingerprint:
        kind, shape, metadata = value.type, value.shape, value.metadata_props
        return (
            value.name,
            kind.dtype if type(kind) is self._plain and not kind.denotation else str(kind),
            None if shape is None else shape.dims,
            value.doc_string,
            _sorted(metadata) if metadata else (),
        )

    def _attributes(self, owner: ir.Node | ir.Function) -> Fingerprint:
        import onnx_ir as ir

        for name, attribute in owner.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR:
                owner.attributes[name] = _frozen_attribute(attribute)
        return tuple([(name, self._attribute(item)) for name, item in owner.attributes.items()])

    def _attribute(self, attribute: ir.Attr) -> Fingerprint:
        import onnx_ir as ir

        kind, value = attribute.type, attribute.value
        held: object
        if kind in (ir.AttributeType.INT, ir.AttributeType.INTS):
            held = value
        elif kind == ir.AttributeType.GRAPH and value is not None:
            held = self._graph(value)
        elif kind == ir.AttributeType.GRAPHS and value is not None:
            held = tuple(map(self._graph, value))
        elif kind == ir.AttributeType.TENSOR:
            held = self._tensor(value)
        elif kind == ir.AttributeType.TENSORS and value is not None:
            held = tuple(map(self._tensor, value))
        else:
            held = repr(value)  # -0.0 is not 0.0, and NaN is NaN
        return kind, attribute.ref_attr_name, held

    def _tensor(self, tensor: Any) -> _Held | None:  # noqa: ANN401  any of onnx-ir's tensor classes
        if tensor is None:
            return None
        held = self._held.get(id(tensor))
        if held is None:
            held = self._held[id(tensor)] = _Held(tensor)
        return held


class _Held:
    """A tensor in a fingerprint, which keeps it alive: an id is only unique that long."""

    __slots__ = ("head", "nbytes", "tensor")

    def __init__(self, tensor: Any) -> None:  # noqa: ANN401  any of onnx-ir's tensor classes
        self.tensor = tensor
        self.head = _head(tensor)
        self.nbytes: int = tensor.nbytes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Held):
            return NotImplemented
        if self.tensor is other.tensor:
            return True
        return self.head == other.head and _content(self.tensor) == _content(other.tensor)

    def __hash__(self) -> int:
        return hash(self.head)


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


def _head(tensor: Any) -> Fingerprint:  # noqa: ANN401  any of onnx-ir's tensor classes
    """Return dtype and shape, and of a tensor in a file its place: it is named, not read."""
    import onnx_ir as ir

    head = tensor.dtype, *tensor.shape
    if isinstance(tensor, ir.ExternalTensor):
        return (*head, str(tensor.path), tensor.offset, tensor.length)
    return head


def _content(tensor: Any) -> object:  # noqa: ANN401  any of onnx-ir's tensor classes
    """Return the bytes of a tensor, of one in a file none: its head says all."""
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor):
        return b""
    return tensor.numpy().tolist() if tensor.dtype == ir.DataType.STRING else tensor.tobytes()


def _sorted(texts: Mapping[str, object]) -> Fingerprint:
    return tuple(sorted(texts.items())) if texts else ()
