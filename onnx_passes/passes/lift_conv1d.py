"""lift-conv1d: run convolutions over sequences as convolutions over pictures one pixel high.

Before::

    x [N, C, L] -> Conv(w [M, C, k])<pads = [1, 2]> -> Relu -> Mul(c [M, 1]) -> y [N, M, L']

After::

    x -> Unsqueeze<axes = [2]> [N, C, 1, L] -> Conv(w [M, C, 1, k])<pads = [0, 1, 0, 2]> -> Relu
      -> Mul(c [M, 1, 1]) -> Squeeze<axes = [2]> -> y [N, M, L']

Why:
    Kernels for one spatial axis are rarer on the chip than those for two; lifted one by one, each
    Conv would pay for a Squeeze and an Unsqueeze.

Fires when:
    a Conv has a constant weight of rank 3. Its run takes in what follows as long as each value has
    one reader: such Convs, BatchNormalization, activations, and elementwise operators whose other
    inputs are constants of rank 3 or less.

Leaves alone:
    - a Conv of another rank, without a word.
    - a Conv whose weight is computed: it would need an Unsqueeze of its own.
    - opset 10 and older, where constants do not broadcast the same way.

    A run ends, and the rest of the graph sees the rank it knows, at

    - a value that is a graph output, or that two nodes or another graph read.
    - any other operator: Concat, Split, Softmax and Transpose name axes, pools and ConvTranspose
      have spatial axes of their own.
    - an elementwise operator between two computed values, or with a constant of rank 4.
    - a BatchNormalization with more than one output.

Numerics:
    Close. The same products, but a kernel for two axes may sum them in another order. With K
    products to a sum, u = eps / 2 and S the Conv of |x| with |w| and |b|, either errs by
    (K + 1) u S to the first order: each Conv moves by at most ``(K + 2) eps S``, eps being that of
    the dtype. The other operators of a run compute the same from what they get.

References:
    - https://onnx.ai/onnx/operators/onnx__Conv.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of
from onnx_passes.core.values import constant, drop_unread_initializer, new_initializer

if TYPE_CHECKING:
    from collections.abc import Iterator

_OLDEST_OPSET = 11
_AXES_ARE_INPUT = 13  # of Squeeze and Unsqueeze
_RANK = 3
_HEIGHT = 2  # the axis that is put in
_ACTIVATIONS = frozenset(
    {
        *("Abs", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish"),
        *("Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus"),
        *("Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
    }
)
_ELEMENTWISE = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"})
_LIFTED_CONSTANTS = _ELEMENTWISE | {"Conv"}


@register
@dataclass(frozen=True)
class LiftConv1d(Pass):
    """Run convolutions over sequences as convolutions over pictures one pixel high."""

    name: ClassVar[str] = "lift-conv1d"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Conv"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, lifter = PassResult(), _Lifter(Names(model))
        done: set[ir.Node] = set()
        for conv, opset in list(_convs(model)):
            if conv in done:
                continue
            if refusal := _why_not(conv, opset):
                result.skipped.append(Note(label(conv), refusal))
                continue
            run, note = _run(conv, opset), label(conv)
            lifter.lift(run, opset)
            done.update(run)
            result.rewritten.append(Note(note, f"lifted with the {len(run) - 1} nodes that follow"))
        return result


def _convs(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """Yield each Conv over one spatial axis with the opset that its graph imports."""
    return (found for found in nodes_of(model, "Conv") if _spatial_axes(found[0]) == 1)


def _spatial_axes(conv: ir.Node) -> int | None:
    """Return how many spatial axes ``conv`` has, or None where nothing tells."""
    for value in conv.inputs[:2]:
        if value is not None and value.shape is not None:
            return len(value.shape) - 2
    tensor = constant(conv.inputs[1])
    if tensor is not None:
        return len(tensor.shape) - 2
    return len(conv.attributes.get_ints("kernel_shape", ()) or ()) or None


def _why_not(conv: ir.Node, opset: int) -> str | None:
    """Return the reason to leave ``conv`` alone, or None to lift it."""
    if opset < _OLDEST_OPSET:
        return f"opset {opset}, expected {_OLDEST_OPSET} or newer"
    if constant(conv.inputs[1]) is None:
        return "its weight is no constant"
    return None


def _run(conv: ir.Node, opset: int) -> list[ir.Node]:
    """Return ``conv`` and the nodes after it that can be lifted with it."""
    run = [conv]
    while True:
        made = run[-1].outputs[0]
        uses = list(made.uses())
        if made.is_graph_output() or len(uses) != 1:
            return run
        reader, position = uses[0]
        if reader.graph is not conv.graph or not _follows(reader, position, opset):
            return run
        run.append(reader)


def _follows(node: ir.Node, position: int, opset: int) -> bool:
    """Return whether ``node`` does the same to a lifted value, its input at ``position``."""
    if node.domain or len([value for value in node.outputs if value.name]) != 1:
        return False
    if node.op_type == "Conv":
        return position == 0 and _why_not(node, opset) is None
    if node.op_type in _ELEMENTWISE:
        others = [constant(v) for i, v in enumerate(node.inputs) if i != position]
        return all(tensor is not None and len(tensor.shape) <= _RANK for tensor in others)
    return position == 0 and node.op_type in _ACTIVATIONS | {"BatchNormalization"}


class _Lifter:
    """Lifts runs; a constant that several nodes read is lifted once."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lifted: dict[ir.Value, ir.Value] = {}

    def lift(self, run: list[ir.Node], opset: int) -> None:
        """Put the run between an Unsqueeze and a Squeeze."""
        first, last, graph = run[0], run[-1], run[0].graph
        x, y = first.inputs[0], last.outputs[0]
        if graph is None or x is None:
            return
        emit = Emitter(first, self._names, opset)
        first.replace_input_with(0, _moved(emit, "Unsqueeze", x, _tall(x.shape)))
        squeezed = _moved(emit, "Squeeze", y, y.shape)
        name = y.name
        for node in run:
            self._lift_node(node)
        y.replace_all_uses_with(squeezed, replace_graph_outputs=True)
        emit.nodes[-1].replace_input_with(0, y)
        squeezed.name = name
        for value in emit.initializers:
            graph.register_initializer(value)
        graph.insert_before(first, emit.nodes[:-1])
        graph.insert_after(last, emit.nodes[-1:])

    def _lift_node(self, node: ir.Node) -> None:
        made = node.outputs[0]
        made.shape = _tall(made.shape)
        made.name = self._names.fresh(f"{made.name}/lifted")  # one name, one shape
        if node.op_type == "Conv":
            _lift_attributes(node)
        if node.op_type not in _LIFTED_CONSTANTS:
            return
        for position, value in enumerate(node.inputs):
            tensor = constant(value)
            if value is not None and tensor is not None and len(tensor.shape) > 1:
                node.replace_input_with(position, self._constant(value, tensor))
                drop_unread_initializer(value)

    def _constant(self, old: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
        """Return ``old`` [..., k] as [..., 1, k], beside it in its graph."""
        if old in self._lifted:
            return self._lifted[old]
        name = self._names.fresh(f"{old.name}/lifted")
        tall = ir.Tensor(np.expand_dims(np.asarray(tensor), -2), name=name)
        maker = old.producer()
        if maker is None:
            new = new_initializer(cast("ir.Graph", old.graph), name, tall)
        else:  # a Constant, as in the body of a function
            node = ir.node("Constant", [], {"value": tall}, name=name)
            new = node.outputs[0]
            new.name, new.type, new.shape = name, ir.TensorType(tensor.dtype), ir.Shape(tall.shape)
            cast("ir.Graph", maker.graph).insert_after(maker, node)
        self._lifted[old] = new
        return new


def _moved(emit: Emitter, op_type: str, value: ir.Value, shape: ir.Shape | None) -> ir.Value:
    """Emit Squeeze or Unsqueeze of the height."""
    if emit.opset >= _AXES_ARE_INPUT:
        moved = emit.op(op_type, value, np.array([_HEIGHT], np.int64))
    else:
        moved = emit.op(op_type, value, axes=[_HEIGHT])
    moved.type, moved.shape = value.type, shape
    return moved


def _tall(shape: ir.Shape | None) -> ir.Shape | None:
    """Return [N, C, 1, L] for [N, C, L]."""
    if shape is None:
        return None
    dims = list(shape)
    return ir.Shape([*dims[:_HEIGHT], 1, *dims[_HEIGHT:]])


def _lift_attributes(conv: ir.Node) -> None:
    """Give ``conv`` a height of 1 that nothing pads."""
    for name, tall in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
        if wide := conv.attributes.get_ints(name, ()):
            conv.attributes[name] = ir.AttrInt64s(name, [tall, *wide])
    if pads := conv.attributes.get_ints("pads", ()):
        before, after = pads
        conv.attributes["pads"] = ir.AttrInt64s("pads", [0, before, 0, after])
