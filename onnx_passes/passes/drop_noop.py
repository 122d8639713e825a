"""drop-noop: remove nodes that give back what they get.

Before::

    x [N, 3] -> Transpose(perm=[0, 1]) -> Mul(1.0) -> Pad(0, 0, 0, 0) -> h -> Relu -> y

After::

    x -> Relu -> y

Fires when:
    it is certain that the output is the input, bit for bit, in the main graph, in a sub-graph or
    in a function:

    - Reshape to the shape it has; Transpose that keeps the order; Cast and CastLike to the same
      type; Concat of one input; Pad by zeros; Dropout that is not in training.
    - Slice with step 1 from the first to the last element.
    - Mul and Div by 1; Sub of 0.0, Add of -0.0; Add and Sub of an integer 0.

Leaves alone:
    - Add of 0.0 and Sub of -0.0 in floating point: they turn -0.0 into 0.0.
    - a 1 or 0 whose shape may widen the other operand by broadcasting.
    - Dropout with a mask that is read, or in training mode.
    - what depends on a shape or type that is not recorded (run infer-shapes first), or on an
      operand that is computed.
    - a graph input or an initializer copied to a graph output, two graph outputs that would hold
      one value, and an output of a sub-graph that copies a value of the graph around it.

Numerics:
    Exact: no value is computed differently. (In float16 onnxruntime's CPU provider keeps float32
    between operators it has no kernel for; which ones may change when a node goes.)

References:
    - https://onnx.ai/onnx/operators/index.html
    - https://en.wikipedia.org/wiki/Signed_zero
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    TO_THE_END,
    extent,
    extents,
    input_of,
    integers,
    is_operator,
    operators,
    rank,
    remove_unread,
    slice_axes,
)
from onnx_passes.core.values import constant, is_read, replace, why_not_replace

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_ONE_SHAPE = frozenset({"Concat", "Pad", "Reshape", "Slice", "Transpose"})
_CAST_TO_NUMBER = 6  # Before, the type is a string.
_BROADCAST_NUMPY_STYLE = 7  # Before, an attribute says how.
_DROPOUT_TRAINING_IS_INPUT = 12
_DROPOUT_WITHOUT_IS_TEST = 7


@register
@dataclass(frozen=True)
class DropNoop(Pass):
    """Remove nodes that give back what they get."""

    name: ClassVar[str] = "drop-noop"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        pending = deque(operators(model, *_SOURCES))
        refusals: dict[ir.Node, str] = {}
        while pending:
            node, opset = pending.popleft()
            found = _source(node, opset) if node.graph is not None else None
            refusals.pop(node, None)
            if not isinstance(found, ir.Value):
                refusals.update({node: found} if found else {})
                continue
            note, known = Note(label(node), f"its readers read {found.name!r}"), _facts(found)
            replace(node.outputs[0], found)
            remove_unread(node)
            result.rewritten.append(note)
            if _facts(found) != known:  # what was learnt may prove more
                pending += [(reader, opset) for reader in found.consumers() if _is_ours(reader)]
        result.skipped += [Note(label(node), text) for node, text in refusals.items()]
        return result


def _source(node: ir.Node, opset: int) -> ir.Value | str | None:
    """Return the input that ``node`` gives back, why it must stay, or None if it computes."""
    if node.op_type in _OF_ONE_SHAPE and _is_resized(node):
        return None
    index = _SOURCES[node.op_type](node, opset)
    if not isinstance(index, int):
        return index
    source = node.inputs[index]
    if source is None:
        return None
    return why_not_replace(node.outputs[0], source) or source


def _is_resized(node: ir.Node) -> bool:
    """Return whether the static shapes of input and output differ; no constant need be read."""
    source, after = node.inputs[0], node.outputs[0].shape
    before = None if source is None else source.shape
    if before is None or after is None or before == after:
        return False
    return before.is_static() and after.is_static()


def _facts(value: ir.Value) -> tuple[ir.TypeProtocol | None, ir.Shape | None]:
    return value.type, value.shape


def _is_ours(node: ir.Node) -> bool:
    return is_operator(node, *_SOURCES)


def _reshape(node: ir.Node, _: int) -> int | str | None:
    source, allows_zero = node.inputs[0], node.attributes.get_int("allowzero", 0) == 1
    before, target = extents(source), integers(node, "shape", 1)
    if before is None:
        return "the shape of its input is unknown; infer shapes first"
    if target is None:
        return _recorded(before, extents(node.outputs[0]))
    if len(target) != len(before):
        return None
    pairs = list(zip(target, before, strict=True))
    differ = [size for size, old in pairs if size != old and (size != 0 or allows_zero)]
    return 0 if differ in ([], [-1]) else None


def _recorded(before: list[int | None], after: list[int | None] | None) -> int | str | None:
    """Tell by the recorded shapes: what is equal but for one axis has one number of elements."""
    if after is None:
        return "its target is computed and the shape of its output unknown; infer shapes first"
    if len(after) != len(before):
        return None
    open_ = [i for i, pair in enumerate(zip(before, after, strict=True)) if None in pair]
    same = all(before[i] == after[i] for i in range(len(before)) if i not in open_)
    known = math.prod(size for size in before if size is not None)
    return 0 if same and (not open_ or (len(open_) == 1 and known)) else None


def _transpose(node: ir.Node, _: int) -> int | str | None:
    source = node.inputs[0]
    perm = node.attributes.get_ints("perm")
    if perm is not None:
        return 0 if list(perm) == list(range(len(perm))) else None
    axes = rank(source)
    if axes is None:
        return "the rank of its input is unknown; infer shapes first"
    return _zero(axes in {0, 1})


def _cast(node: ir.Node, opset: int) -> int | str | None:
    source = node.inputs[0]
    if source is None or source.dtype is None:
        return "the type of its input is unknown; infer shapes first"
    if node.op_type == "Cast":
        return _zero(
            opset >= _CAST_TO_NUMBER and node.attributes.get_int("to") == source.dtype.value
        )
    like = node.inputs[1]
    return _zero(like is not None and like.dtype == source.dtype)


def _concat(node: ir.Node, _: int) -> int | str | None:
    return _zero(len(node.inputs) == 1)


def _pad(node: ir.Node, _: int) -> int | str | None:
    pads = integers(node, "pads", 1)
    return "its pads are computed" if pads is None else _zero(not any(pads))


def _dropout(node: ir.Node, opset: int) -> int | str | None:
    if opset < _DROPOUT_WITHOUT_IS_TEST:
        return None if node.attributes.get_int("is_test", 0) == 0 else 0
    mode = input_of(node, 2)
    flag = constant(mode)
    if mode is not None and (flag is None or flag.numpy().any()):
        return "its training mode is on or computed"
    if any(is_read(value) or value.is_graph_output() for value in node.outputs[1:]):
        return "its mask is read"
    return 0


def _slice(node: ir.Node, _: int) -> int | str | None:
    taken = slice_axes(node)
    if taken is None:
        return "its starts, ends, axes or steps are computed"
    for axis, (start, end, step) in taken.items():
        size = extent(node.inputs[0], axis)
        whole = start == 0 and end >= TO_THE_END
        if size is not None:
            whole = whole or len(range(size)[start:end]) == size
        if step != 1 or not whole:
            return None
    return 0


def _arithmetic(node: ir.Node, opset: int) -> int | str | None:
    if opset < _BROADCAST_NUMPY_STYLE:
        return None
    reason = None
    for kept in (0, 1) if node.op_type in {"Mul", "Add"} else (0,):
        tensor = constant(node.inputs[1 - kept])
        if tensor is None or not _is_neutral(node.op_type, tensor):
            continue
        if reason := _why_widened(node.inputs[kept], tensor) or _why_not_zero(node.op_type, tensor):
            continue
        return kept
    return reason


def _is_neutral(op_type: str, tensor: ir.TensorProtocol) -> bool:
    expected = 1 if op_type in {"Mul", "Div"} else 0
    return tensor.size > 0 and bool((tensor.numpy() == expected).all())


def _why_not_zero(op_type: str, tensor: ir.TensorProtocol) -> str | None:
    """Return why adding or subtracting these zeros changes a -0.0, or None."""
    if op_type not in {"Add", "Sub"} or not tensor.dtype.is_floating_point():
        return None
    negative = np.signbit(tensor.numpy().astype(np.float64))
    if negative.all() if op_type == "Add" else not negative.any():
        return None
    return "adding 0.0 turns -0.0 into 0.0"


def _why_widened(value: ir.Value | None, tensor: ir.TensorProtocol) -> str | None:
    """Return why ``tensor`` may broadcast ``value`` to a larger shape, or None."""
    sizes, shape = tensor.shape.numpy(), extents(value)
    if not sizes:
        return None
    if shape is None or len(sizes) > len(shape):
        return "its constant may widen the other operand"
    pairs = zip(sizes, shape[len(shape) - len(sizes) :], strict=True)
    fits = all(size in {1, old} for size, old in pairs)
    return None if fits else "its constant may widen the other operand"


def _zero(holds: bool) -> int | None:
    return 0 if holds else None


# For each operator: the input that comes out again, why that cannot be told, or None if none does.
_SOURCES: dict[str, Callable[[ir.Node, int], int | str | None]] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Cast": _cast,
    "CastLike": _cast,
    "Concat": _concat,
    "Pad": _pad,
    "Dropout": _dropout,
    "Slice": _slice,
    **dict.fromkeys(("Mul", "Div", "Add", "Sub"), _arithmetic),
}
