"""lstm-state: drop initial states that are zero and sequence lengths that are full.

Before::

    x -> Shape -> ... -> Concat -> (0 as) Expand -> Slice -> h;  x, W, R, B, lengths, h, c -> LSTM

After::

    x, W, R, B -> LSTM

Why:
    Zero states and full length are what a left-out input means. Exporters spell them out, with a
    chain of nodes that takes the batch from the shape of x; dynamic shapes and Expand cost on the
    target, an LSTM without them does not.

Fires when:
    the node is LSTM, GRU or RNN and

    - ``initial_h`` or ``initial_c`` is a constant of +0.0, or made from such constants by nodes
      that only move and repeat elements (Expand, ConstantOfShape, Slice, Concat, Cast...);
    - ``sequence_lens`` is filled with one number, which is the static length of x, or an element
      that a Gather or Slice takes from the Shape of that very x.

    What only led there goes too, in any graph.

Leaves alone:
    - a state that is not proven to be +0.0: an input, -0.0, or made by arithmetic.
    - sequence lengths that differ, are shorter, or are not proven to be the length of x.

Numerics:
    Exact: the specification says that a left-out state is 0 and a left-out length is the full one.

References:
    - https://onnx.ai/onnx/operators/onnx__LSTM.html
    - https://onnx.ai/onnx/operators/onnx__GRU.html
    - https://onnx.ai/onnx/operators/onnx__RNN.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    constant_integers,
    input_of,
    is_operator,
    maker,
    operators,
    remove_unread,
    slice_axes,
)
from onnx_passes.core.values import constant, drop_unread_initializer

if TYPE_CHECKING:
    import onnx_ir as ir

_LENGTHS = 4
_STATES = {5: "initial_h", 6: "initial_c"}
_FIRST = (
    *("Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze"),
)


@register
@dataclass(frozen=True)
class LstmState(Pass):
    """Drop initial states that are zero and sequence lengths that are full."""

    name: ClassVar[str] = "lstm-state"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"LSTM", "GRU", "RNN"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        zeros: set[ir.Value] = set()
        for node, _ in list(operators(model, "LSTM", "GRU", "RNN")):
            for index in (_LENGTHS, *_STATES):
                value = input_of(node, index)
                if value is None:
                    continue
                what = f"{_STATES.get(index, 'sequence_lens')} {value.name!r}"
                refusal = (
                    _why_not_full(node, value) if index == _LENGTHS else _why_not_zero(value, zeros)
                )
                if refusal:
                    result.skipped.append(Note(label(node), f"{what}: {refusal}"))
                    continue
                _drop(node, index)
                result.rewritten.append(Note(label(node), f"{what} dropped"))
        return result


def _why_not_zero(value: ir.Value, zeros: set[ir.Value]) -> str | None:
    """Return why ``value`` is not known to be +0.0 everywhere, or None; ``zeros`` remembers."""
    pending = [value]
    seen: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value in zeros or value in seen:
            continue
        seen.add(value)
        if (tensor := constant(value)) is not None:
            if not _is_plus_zero(tensor):
                return f"{value.name!r} holds other numbers than +0.0"
            continue
        node = value.producer()
        if node is None:
            return f"{value.name!r} is an input"
        sources = _sources(node)
        if sources is None:
            return f"{label(node)} may make other numbers than +0.0"
        pending += sources
    zeros |= seen
    return None


def _sources(node: ir.Node) -> list[ir.Value] | None:
    """Return the values that all elements ``node`` makes are taken from, or None."""
    if is_operator(node, *_FIRST):
        return [value for value in node.inputs[:1] if value is not None]
    if is_operator(node, "Concat"):
        return [value for value in node.inputs if value is not None]
    if is_operator(node, "ConstantOfShape"):
        tensor = node.attributes.get_tensor("value")
        return [] if tensor is None or _is_plus_zero(tensor) else None
    return None


def _is_plus_zero(tensor: ir.TensorProtocol) -> bool:
    array = tensor.numpy()
    return not array.any() and not np.signbit(array.astype(np.float64)).any()


def _why_not_full(node: ir.Node, value: ir.Value) -> str | None:
    """Return why ``value`` is not known to be the length of the sequence everywhere, or None."""
    x = node.inputs[0]
    axis = 1 if node.attributes.get_int("layout", 0) else 0
    length = None if x is None or x.shape is None else x.shape[axis]
    filled = _fill(value)
    if isinstance(filled, int) and isinstance(length, int):
        return None if filled == length else f"{filled} of {length} steps"
    if filled is None or isinstance(filled, int) or not _is_extent(filled, x, axis):
        return "not proven to be the length of every sequence"
    return None


def _fill(value: ir.Value) -> ir.Value | int | None:
    """Return the number, or the value of one element, that ``value`` is filled with, or None."""
    while True:
        numbers = constant_integers(value)
        if numbers is not None:
            return numbers[0] if len(set(numbers)) == 1 else None
        node = maker(value, "Cast", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Tile")
        if node is None or node.inputs[0] is None:
            filled = maker(value, "ConstantOfShape")
            tensor = None if filled is None else filled.attributes.get_tensor("value")
            return value if tensor is None else int(tensor.numpy().reshape(-1)[0])
        value = node.inputs[0]


def _is_extent(value: ir.Value, x: ir.Value | None, axis: int) -> bool:
    """Return whether ``value`` is one element: the extent of ``axis`` of ``x``."""
    node = maker(value, "Gather", "Slice")
    shape = None if node is None else maker(node.inputs[0], "Shape")
    if node is None or shape is None or shape.inputs[0] is not x or shape.attributes:
        return False
    if node.op_type == "Gather":
        return constant_integers(node.inputs[1]) == [axis]
    return slice_axes(node) == {0: (axis, axis + 1, 1)}


def _drop(node: ir.Node, index: int) -> None:
    """Leave an input out, and remove what only led there."""
    value = node.inputs[index]
    node.replace_input_with(index, None)
    count = max(i for i, other in enumerate(node.inputs, 1) if other is not None)
    node.resize_inputs(count)
    pending = [value]
    while pending:
        value = pending.pop()
        drop_unread_initializer(value)
        led = None if value is None else value.producer()
        if led is not None and led.graph is not None:
            sources = led.inputs
            if remove_unread(led):
                pending += sources
