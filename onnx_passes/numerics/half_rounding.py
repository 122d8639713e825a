"""Insert the roundings of float16 storage into a model; what is rounded is decided elsewhere.

A tensor that a float16 node makes is rounded where it is made, and keeps its name. A graph input, a
constant or the result of a float32 node is rounded for its float16 readers, who share one copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.core.names import Names
from onnx_passes.core.values import constant, drop_unread_initializer, new_initializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from onnx_passes.numerics.compare import Array

# Inputs that stay float32. CANN 8.1's BNInfer takes its statistics in float32 only; the factors of
# a resize set a shape; the scales of a quantisation become attributes.
_FLOAT32_INPUTS = {
    "BatchNormalization": {1, 2, 3, 4},
    "Resize": {1, 2},
    "Upsample": {1},
    "QuantizeLinear": {1},
    "DequantizeLinear": {1},
}


def round_to_half(array: Array) -> Array:
    """Return float32 ``array`` rounded to float16, as float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float16).astype(np.float32)


def is_float32(value: ir.Value | None) -> bool:
    """Return whether ``value`` is a float32 tensor (not omitted, not a sequence of tensors)."""
    if value is None or not value.name:
        return False
    if value.type is None and value.const_value is not None:
        return value.const_value.dtype == ir.DataType.FLOAT
    return isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT


class Rounding:
    """Inserts the roundings into one model, in place; the cost is linear in the model.

    Args:
        model: Without functions, its values typed.
        switches: The nodes that compute in float16. A node's switch is a scalar bool value of the
            main graph: while it is true, the node stays float32 after all. None: it never does.
    """

    def __init__(self, model: ir.Model, switches: Mapping[ir.Node, ir.Value | None]) -> None:
        """Remember what to round; nothing is inserted yet."""
        self._switches = switches
        self._names = Names(model)
        self._rounded: dict[ir.Value, ir.Value] = {}

    def apply(self) -> None:
        """Round what the float16 nodes read, then what they store."""
        for node in self._switches:
            self._round_inputs(node)
        for node in self._switches:
            for value in node.outputs:
                if is_float32(value):
                    self._round_output(node, value)
        for value in self._rounded:
            drop_unread_initializer(value)

    def _round_inputs(self, node: ir.Node) -> None:
        exempt = _FLOAT32_INPUTS.get(node.op_type, set())
        for index, value in enumerate(node.inputs):
            if value is None or index in exempt or not is_float32(value):
                continue
            if self._is_always_half(value.producer()):
                continue
            rounded = self._rounded_copy(value)
            switch = self._switches[node]
            if switch is not None:
                choice = self._like(value, "read")
                _insert(node, [ir.node("Where", [switch, value, rounded], outputs=[choice])])
                rounded = choice
            node.replace_input_with(index, rounded)

    def _is_always_half(self, producer: ir.Node | None) -> bool:
        if producer is None or producer not in self._switches:
            return False
        return self._switches[producer] is None

    def _rounded_copy(self, value: ir.Value) -> ir.Value:
        """Return ``value`` rounded; all its float16 readers share the copy."""
        if value not in self._rounded:
            tensor = constant(value)
            if tensor is not None:
                name = self._names.fresh(f"{value.name}/half")
                rounded = new_initializer(_graph(value), name, _rounded_tensor(tensor))
            else:
                rounded = self._like(value, "half")
                _insert_after(value, self._casts(value, rounded))
            self._rounded[value] = rounded
        return self._rounded[value]

    def _round_output(self, node: ir.Node, value: ir.Value) -> None:
        """Let a rounded value take over the name and the readers of ``value``."""
        stored = ir.Value(name=value.name, type=value.type, shape=value.shape)
        value.replace_all_uses_with(stored, replace_graph_outputs=True)
        value.name = self._names.fresh(f"{stored.name}/float32")
        switch = self._switches[node]
        if switch is None:
            _insert_after(value, self._casts(value, stored))
            return
        rounded = self._like(stored, "half")
        choice = ir.node("Where", [switch, value, rounded], outputs=[stored])
        _insert_after(value, [*self._casts(value, rounded), choice])

    def _casts(self, value: ir.Value, rounded: ir.Value) -> list[ir.Node]:
        narrow = self._like(rounded, "float16")
        narrow.type = ir.TensorType(ir.DataType.FLOAT16)
        there, back = ir.DataType.FLOAT16.value, ir.DataType.FLOAT.value
        return [
            ir.node("Cast", [value], {"to": there}, outputs=[narrow]),
            ir.node("Cast", [narrow], {"to": back}, outputs=[rounded]),
        ]

    def _like(self, value: ir.Value, suffix: str) -> ir.Value:
        name = self._names.fresh(f"{value.name}/{suffix}")
        return ir.Value(name=name, type=value.type, shape=value.shape)


def _rounded_tensor(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    """Return ``tensor`` rounded; computed when it is read, so that weights are not held twice."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(
        lambda: ir.Tensor(round_to_half(tensor.numpy())), dtype=ir.DataType.FLOAT, shape=shape
    )


def _graph(value: ir.Value) -> ir.Graph:
    if not isinstance(value.graph, ir.Graph):
        msg = f"value {value.name!r} stands in no graph"
        raise TypeError(msg)
    return value.graph


def _insert(node: ir.Node, nodes: Iterable[ir.Node]) -> None:
    """Put ``nodes`` before ``node``."""
    if node.graph is None:
        msg = f"node {node.name!r} stands in no graph"
        raise TypeError(msg)
    node.graph.insert_before(node, nodes)


def _insert_after(value: ir.Value, nodes: Iterable[ir.Node]) -> None:
    """Put ``nodes`` right after ``value`` is known."""
    producer = value.producer()
    graph = _graph(value)
    if producer is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(producer, nodes)
