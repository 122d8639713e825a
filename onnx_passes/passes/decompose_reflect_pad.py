"""decompose-reflect-pad: replace Pad in reflect mode by Slice and Concat, or by Gather.

Before::

    x [N, C, H, W] -> Pad<mode = "reflect">(pads = 0, 0, 1, 0, 0, 0, 2, 0) -> y [N, C, H + 3, W]

After::

    x -> Slice x3 (the rows 1, H - 2 and H - 3) -> Concat with x in their middle -> y

Axis after axis; an axis that needs more than ``max_slices`` slices takes one Gather instead, with
the order of its rows as a constant. Negative pads are cut off first, by one Slice.

Why:
    ATC documents Pad for the constant 0 only; a chip's kernel for reflection may be missing or run
    on the host's side of the device.

Fires when:
    mode is ``reflect``, the opset is 11 or newer, and pads (and axes, from opset 18 on) are
    constant. No shape is needed as long as slices do.

Leaves alone:
    - other modes, without a word: a Pad without the attribute has mode ``constant``.
    - opset 10 and older: pads are an attribute there and Slice has no inputs.
    - pads or axes that are computed.
    - pads that are all 0: the node copies, and that is all.
    - an axis known to be too short for its pad: Pad itself refuses it when the model runs.
    - an axis of unknown extent that needs more than ``max_slices`` slices.

Numerics:
    Exact: elements are copied, none is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Pad.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, cast

import numpy as np

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of
from onnx_passes.core.values import constant, drop_unread_initializer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_PADS_ARE_INPUT = 11
_AXES_INPUT = 3  # data, pads, constant_value, axes
_TO_THE_END = np.iinfo(np.int64).max


class _Margin(NamedTuple):
    """What to add before and after an axis, in elements; negative is cut off."""

    axis: int
    before: int
    after: int

    def cut(self) -> tuple[int, int]:
        """Return how many elements go from the two ends before anything is mirrored."""
        return max(-self.before, 0), max(-self.after, 0)

    def extent(self, x: ir.Value) -> int | None:
        """Return the static extent of the axis after the cut, or None."""
        size = x.shape[self.axis] if x.shape is not None else None
        return size - sum(self.cut()) if isinstance(size, int) else None

    def slices(self) -> int:
        """Return how many single rows are mirrored."""
        return max(self.before, 0) + max(self.after, 0)


@register
@dataclass(frozen=True)
class DecomposeReflectPad(Pass):
    """Replace Pad in reflect mode by Slice and Concat, or by Gather.

    Attributes:
        max_slices: An axis that needs more slices than this takes a Gather.
    """

    name: ClassVar[str] = "decompose-reflect-pad"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Pad"})

    max_slices: int = 8

    def __post_init__(self) -> None:
        """Refuse a negative number of slices."""
        if self.max_slices < 0:
            msg = f"option max_slices is {self.max_slices}, expected 0 or more"
            raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names = PassResult(), Names(model)
        for node, opset in list(_reflections(model)):
            margins = _margins(node) if opset >= _PADS_ARE_INPUT else []
            if refusal := _why_not(node, opset) or self._why_not_margins(node, margins):
                result.skipped.append(Note(label(node), refusal))
                continue
            constants = node.inputs[1:]
            note = label(node)
            nodes = self._replace(Emitter(node, names, opset), node, margins)
            for value in constants:
                drop_unread_initializer(value)
            result.rewritten.append(Note(note, f"{nodes} nodes"))
        return result

    def _why_not_margins(self, node: ir.Node, margins: list[_Margin]) -> str | None:
        for margin in margins:
            extent, pad = margin.extent(_data(node)), max(margin.before, margin.after)
            if extent is not None and pad > 0 and pad >= extent:
                return f"axis {margin.axis} has {extent} elements, too few to mirror {pad}"
            if extent is None and margin.slices() > self.max_slices:
                return (
                    f"axis {margin.axis} needs {margin.slices()} slices and its extent is unknown"
                    f"; run infer-shapes first or raise max_slices (now {self.max_slices})"
                )
        return None if margins else "its pads are all 0"

    def _replace(self, emit: Emitter, node: ir.Node, margins: list[_Margin]) -> int:
        """Put the decomposition in the place of ``node``; return its number of nodes."""
        x = _cut(emit, _data(node), margins)
        for margin in margins:
            extent = margin.extent(_data(node))
            if extent is not None and margin.slices() > self.max_slices:
                x = _gathered(emit, x, margin, extent)
            elif margin.slices():
                x = _joined(emit, x, margin)
        emit.replace(node, x)
        return len(emit.nodes)


def _reflections(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """Yield each Pad in reflect mode with the opset that its graph imports."""
    for node, opset in nodes_of(model, "Pad"):
        if node.attributes.get_string("mode", "constant") == "reflect":
            yield node, opset


def _why_not(node: ir.Node, opset: int) -> str | None:
    """Return why pads and axes of ``node`` are not known, or None."""
    if opset < _PADS_ARE_INPUT:
        return f"opset {opset} keeps pads in an attribute and Slice without inputs"
    for value in (node.inputs[1], *node.inputs[_AXES_INPUT:]):
        if value is not None and constant(value) is None:
            return f"{value.name!r} is no constant"
    return None


def _margins(node: ir.Node) -> list[_Margin]:
    """Return what each axis that changes gets; empty where pads or axes are not constant."""
    pads, axes = constant(node.inputs[1]), None
    if pads is None:
        return []
    before, after = pads.numpy().reshape(2, -1).tolist()
    if len(node.inputs) > _AXES_INPUT and node.inputs[_AXES_INPUT] is not None:
        axes = constant(node.inputs[_AXES_INPUT])
    order = range(len(before)) if axes is None else axes.numpy().tolist()
    return [_Margin(*row) for row in zip(order, before, after, strict=True) if row[1] or row[2]]


def _cut(emit: Emitter, x: ir.Value, margins: list[_Margin]) -> ir.Value:
    """Return ``x`` without what negative pads take away."""
    cut = [margin for margin in margins if any(margin.cut())]
    if not cut:
        return x
    dims = _dims(x)
    if dims is not None:
        for margin in cut:
            dims[margin.axis] = margin.extent(x)
    starts = np.array([margin.cut()[0] for margin in cut], np.int64)
    ends = np.array([-margin.cut()[1] or _TO_THE_END for margin in cut], np.int64)
    axes = np.array([margin.axis for margin in cut], np.int64)
    return _typed(emit.op("Slice", x, starts, ends, axes, hint="cut", dims=dims), x)


def _joined(emit: Emitter, x: ir.Value, margin: _Margin) -> ir.Value:
    """Return ``x`` between single rows of itself."""
    before = [_row(emit, x, margin.axis, row) for row in range(margin.before, 0, -1)]
    after = [_row(emit, x, margin.axis, -2 - row) for row in range(margin.after)]
    joined = emit.concat([*before, x, *after], margin.axis, hint="mirrored")
    return emit.value(joined)


def _row(emit: Emitter, x: ir.Value, axis: int, row: int) -> ir.Value:
    """Return one row of ``x``; a negative one, counted from the end, is never the last."""
    bounds = (np.array([number], np.int64) for number in (row, row + 1, axis))
    dims = _dims(x)
    if dims is not None:
        dims[axis] = 1
    return _typed(emit.op("Slice", x, *bounds, hint="row", dims=dims), x)


def _gathered(emit: Emitter, x: ir.Value, margin: _Margin, extent: int) -> ir.Value:
    """Return the rows of ``x`` in mirrored order; ``extent`` is their number."""
    pads = (max(margin.before, 0), max(margin.after, 0))
    order = np.pad(np.arange(extent), pads, mode="reflect").astype(np.int64)
    dims = _dims(x)
    if dims is not None:
        dims[margin.axis] = len(order)
    gathered = emit.op("Gather", x, order, hint="mirrored", dims=dims, axis=margin.axis)
    return _typed(gathered, x)


def _typed(value: ir.Value, x: ir.Value) -> ir.Value:
    """Return ``value`` with the type of ``x``, which may be unknown."""
    value.type = x.type
    return value


def _data(pad: ir.Node) -> ir.Value:
    return cast("ir.Value", pad.inputs[0])  # required by every opset


def _dims(x: ir.Value) -> list[int | str | None] | None:
    if x.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in x.shape]
