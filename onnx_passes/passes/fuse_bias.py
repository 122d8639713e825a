"""fuse-bias: let a convolution add the constant that is added to its result.

Before::

    x -> Conv(w, c) -> h -> Add(b [1, M, 1, 1]) -> y

After::

    x -> Conv(w, c + b) -> y

The same for ConvTranspose, and for Sub where the constant is subtracted.

Fires when:
    the constant has one element, or one for each output channel and none for another axis; nothing
    else reads what the convolution makes; its bias is left out or a constant.

Leaves alone:
    - a sum of two results: that is no bias.
    - a constant that differs along another axis than the channels', or has more axes.
    - a result of the convolution that another node reads, or that is a graph output.
    - a convolution whose own bias is computed, or whose weight has no recorded shape.
    - a sum of the two biases that is not finite, and dtypes other than float16, 32 and 64.
    - opsets below 7, where an attribute says how Add broadcasts.

Numerics:
    Close. Per output element let ``A = sum |w| |x| + |c| + |b|``, with K products in the sum, eps
    of the dtype (2^-23 for float32) and u = eps / 2. Before, products and additions err by
    (K + 2) u A to the first order; after, c + b is computed in float64 and rounded once, the rest
    errs by (K + 1) u A. Hence ``|y - y_before| <= (K + 4) eps A``, K + 2 of it first order.

References:
    - https://onnx.ai/onnx/operators/onnx__Conv.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.fusion import only_reader
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    Constants,
    extents,
    input_of,
    maker,
    operators,
    remove_unread,
    set_inputs,
)
from onnx_passes.core.values import constant, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_DTYPES = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_BROADCAST_NUMPY_STYLE = 7  # Before, an attribute says how.
_Float64 = np.ndarray[Any, np.dtype[np.float64]]


class _Sum(NamedTuple):
    """A convolution, the Add or Sub that reads it, and the constant that is added."""

    conv: ir.Node
    add: ir.Node
    tensor: ir.TensorProtocol


@register
@dataclass(frozen=True)
class FuseBias(Pass):
    """Let a convolution add the constant that is added to its result."""

    name: ClassVar[str] = "fuse-bias"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset(_CONVOLUTIONS)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, constants = PassResult(), Constants(model)
        for found in _sums(model):  # the second of two constants is found when the first is in
            refusal = _why_not(found)
            bias = None if refusal else _bias(found)
            if bias is not None and not np.isfinite(bias).all():
                refusal = f"the bias would not be finite in {bias.dtype}"
            if refusal or bias is None:
                result.skipped.append(Note(label(found.add), refusal or ""))
                continue
            note = Note(label(found.add), f"its constant goes into {label(found.conv)}")
            _replace(found, bias, constants)
            result.rewritten.append(note)
        return result


def _sums(model: ir.Model) -> Iterator[_Sum]:
    """Yield each convolution to which a constant is added, or from which one is subtracted."""
    for add, opset in operators(model, "Add", "Sub"):
        if opset < _BROADCAST_NUMPY_STYLE:
            continue
        for index in (0, 1) if add.op_type == "Add" else (0,):
            conv, tensor = maker(add.inputs[index], *_CONVOLUTIONS), constant(add.inputs[1 - index])
            if conv is not None and tensor is not None:
                yield _Sum(conv, add, tensor)


def _why_not(found: _Sum) -> str | None:
    """Return the reason to leave the two nodes alone, or None."""
    conv, between = found.conv, found.conv.outputs[0]
    if conv.graph is not found.add.graph:
        return f"{label(conv)} is in another graph"
    if only_reader(between) is not found.add:
        return f"{between.name!r} is a graph output or has another reader"
    own = input_of(conv, 2)
    if own is not None and constant(own) is None:
        return f"the bias {own.name!r} of {label(conv)} is computed"
    if found.tensor.dtype not in _DTYPES:
        return f"its constant is {found.tensor.dtype.name}"
    sizes, channels = extents(conv.inputs[1]), _channels(conv)
    if sizes is None or channels is None:
        return f"the shape of the weight of {label(conv)} is unknown; infer shapes first"
    return _why_not_shape(list(found.tensor.shape.numpy()), len(sizes), channels)


def _why_not_shape(shape: list[int], rank: int, channels: int) -> str | None:
    """Return why a constant of ``shape`` is no bias of [N, channels, ...], or None."""
    whole = [1] * (rank - len(shape)) + shape
    fits = len(shape) <= rank and whole[1] in {1, channels}
    if fits and all(size == 1 for axis, size in enumerate(whole) if axis != 1):
        return None
    return f"its constant is {shape}, which is not one number for each of {channels} channels"


def _channels(conv: ir.Node) -> int | None:
    """Return the number of output channels: axis 0 of the weight, or axis 1 times the groups."""
    sizes = extents(conv.inputs[1]) or [None, None]
    if conv.op_type == "Conv":
        return sizes[0]
    groups = conv.attributes.get_int("group", 1) or 1
    return None if sizes[1] is None else sizes[1] * groups


def _bias(found: _Sum) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the bias [M] that does both, computed in float64 and rounded once."""
    own = constant(input_of(found.conv, 2))
    added: _Float64 = found.tensor.numpy().astype(np.float64).reshape(-1)
    added = np.broadcast_to(added, (_channels(found.conv) or 0,))
    added = -added if found.add.op_type == "Sub" else added
    with np.errstate(over="ignore", invalid="ignore"):
        total = added if own is None else added + own.numpy().astype(np.float64)
        return np.asarray(total.astype(found.tensor.dtype.numpy()))


def _replace(found: _Sum, bias: np.ndarray[Any, np.dtype[Any]], constants: Constants) -> None:
    """Give the convolution its bias and what the sum makes, name included.

    Two models are compared value by value, by name: the name of what had no bias must not come to
    mean what has one.
    """
    conv, total = found.conv, found.add.outputs[0]
    name, value = total.name, constants.array(conv, "bias", bias)
    set_inputs(conv, [*conv.inputs[:2], value])
    replace(total, conv.outputs[0])
    remove_unread(found.add)
    conv.outputs[0].name = name
