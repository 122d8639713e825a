"""One node that must cross one opset step: its constants, its types, and how it is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from onnx_passes.core.emit import Emitter
from onnx_passes.core.values import constant, drop_unread_initializer, is_read, remove

if TYPE_CHECKING:
    import numpy.typing as npt

    from onnx_passes.core.emit import Operand
    from onnx_passes.core.names import Names


class Refusal(Exception):  # noqa: N818  no error: the reason why a node has no form without loss
    """There is no lossless form of a node on the other side of a step; the text says why."""


class Site:
    """A node and the opset in whose spelling it has to be written.

    Attributes:
        node: The node; after :meth:`replace` it is in no graph any more.
        opset: The opset on the far side of the step.
        emit: Collects what stands before the node or in its place.
    """

    def __init__(self, node: ir.Node, names: Names, opset: int) -> None:
        """Prepare the emitter; ``names`` are those of the whole model."""
        self.node, self.opset = node, opset
        self.emit = Emitter(node, names, opset)

    def value(self, index: int) -> ir.Value | None:
        """Return an input, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def data(self) -> ir.Value:
        """Return the first input."""
        if (value := self.value(0)) is None:
            msg = "it has no first input"
            raise Refusal(msg)
        return value

    def array(self, index: int, what: str) -> npt.NDArray[Any] | None:
        """Return the constant that an input holds, None where the input is left out."""
        value = self.value(index)
        if value is None:
            return None
        if (tensor := constant(value)) is None:
            msg = f"its {what} {value.name!r} are computed, and opset {self.opset} needs constants"
            raise Refusal(msg)
        return tensor.numpy()

    def integers(self, index: int, what: str) -> list[int] | None:
        """Return the constant integers that an input holds, None where it is left out."""
        array = self.array(index, what)
        return None if array is None else [int(item) for item in array.reshape(-1)]

    def integer(self, name: str, default: int) -> int:
        """Return an attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else int(attribute.as_int())

    def rank(self) -> int:
        """Return the rank of the first input."""
        shape = self.data().shape
        if shape is None:
            msg = "the rank of its input is unknown; run infer-shapes first"
            raise Refusal(msg)
        return len(shape)

    def set_integers(self, name: str, integers: list[int]) -> None:
        """Set an attribute."""
        self.node.attributes.add(ir.AttrInt64s(name, integers))

    def set_input(self, index: int, operand: Operand | None) -> None:
        """Make an operand input ``index``; inputs before it are left out where missing."""
        old = self.value(index)
        if len(self.node.inputs) <= index:
            self.node.resize_inputs(index + 1)
        self.node.replace_input_with(index, None if operand is None else self.emit.value(operand))
        drop_unread(old)

    def cut_inputs(self, count: int) -> None:
        """Keep the first ``count`` inputs, and no constant that only the others read."""
        lost = self.node.inputs[count:]
        self.node.resize_inputs(min(count, len(self.node.inputs)))
        for value in lost:
            drop_unread(value)

    def insert(self) -> None:
        """Put what was collected before the node."""
        graph = self.node.graph
        if graph is None or not isinstance(graph, ir.Graph):
            return
        for value in self.emit.initializers:
            graph.register_initializer(value)
        graph.insert_before(self.node, self.emit.nodes)

    def replace(self, result: Operand) -> None:
        """Put what was collected in the place of the node; it inherits the node's metadata."""
        if not isinstance(result, ir.Value):
            msg = "its result is a constant; run fold-constants first"
            raise Refusal(msg)
        lost = list(self.node.inputs)
        for node in self.emit.nodes:
            node.metadata_props.update(self.node.metadata_props)
        self.emit.replace(self.node, result)
        for value in lost:
            drop_unread(value)


def drop_unread(value: ir.Value | None) -> None:
    """Remove an initializer or Constant node that nothing reads any more."""
    maker = value.producer() if value is not None else None
    if maker is None:
        drop_unread_initializer(value)
    elif maker.op_type == "Constant" and not any(
        is_read(output) or output.is_graph_output() for output in maker.outputs
    ):
        remove(maker)
