"""split-large-conv: replace a Conv with a large kernel by a sum of Convs over its slices.

Before::

    x [N, C, H, W] -> Conv(w [M, C, 300, 1], b)<pads = [150, 0, 150, 0]> -> y

After::

    x ----------------------> Conv(w[:, :, :150], b)<pads = [150, 0, 0, 0]> -> y1
    x ----------------------> Conv(w[:, :, 150:])<pads = [0, 0, 150, 0]> ----> y2
    y1 + y2 -> y

A slice of the kernel that starts at o and ends e short of the kernel's end has the pads
``before - o`` and ``after - e``; where one is negative, a Slice of x takes its place.

Why:
    A compiler may refuse a large kernel, or run it slowly. The default limit, 255, is the one that
    split-average-pool knows for windows; set ``max_kernel`` to what the target takes.

Fires when:
    a side of the kernel is over ``max_kernel``, the weight is constant, strides and dilations
    are 1. Any number of spatial axes, any pads, any group.

Leaves alone:
    - kernels with sides of at most ``max_kernel``, without a word.
    - a weight that is computed: the pass cuts it now.
    - strides or dilations other than 1: a slice would have to keep their phase.
    - a Slice of x along an axis of unknown extent: run infer-shapes first.
    - a slice of the kernel that meets nothing but padding.
    - a Slice of x below opset 10, where its bounds are attributes.

Numerics:
    Close. The same K products to a sum, in P parts. With u = eps / 2, eps being that of the dtype,
    and S the Conv of |x| with |w| and |b|, to the first order: before, the sum errs by (K + 1) u S;
    after, the parts by as much and their P - 1 additions by u S each: together
    (2 K + P + 1) u S. Hence ``|y - y_before| <= (K + P + 1) eps S``.

References:
    - https://onnx.ai/onnx/operators/onnx__Conv.html
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of
from onnx_passes.core.values import constant, drop_unread_initializer

_SPATIAL = 2  # the first spatial axis, after N and C
_TO_THE_END = np.iinfo(np.int64).max
_SLICE_BOUNDS_ARE_INPUT = 10


class _Cut(NamedTuple):
    """Rows of the kernel along one axis, and the pads that they have; negative: cut off x."""

    start: int
    stop: int
    before: int
    after: int

    def crop(self) -> tuple[int, int]:
        """Return how many rows of x go at the two ends."""
        return max(-self.before, 0), max(-self.after, 0)


@register
@dataclass(frozen=True)
class SplitLargeConv(Pass):
    """Replace a Conv with a large kernel by a sum of Convs over its slices.

    Attributes:
        max_kernel: The greatest side that a kernel may have.
    """

    name: ClassVar[str] = "split-large-conv"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Conv"})

    max_kernel: int = 255

    def __post_init__(self) -> None:
        """Refuse a limit that no kernel meets."""
        if self.max_kernel < 1:
            msg = f"option max_kernel is {self.max_kernel}, expected 1 or more"
            raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names = PassResult(), Names(model)
        for node, opset in list(nodes_of(model, "Conv")):
            kernel = _kernel(node)
            if max(kernel, default=0) <= self.max_kernel:
                continue
            cuts = [] if (refusal := _why_not(node)) else _cuts(node, kernel, self.max_kernel)
            if refusal := refusal or _why_not_cuts(node, cuts, opset):
                result.skipped.append(Note(label(node), refusal))
                continue
            weight, note = node.inputs[1], label(node)
            parts = _replace(node, cuts, Emitter(node, names, opset))
            drop_unread_initializer(weight)
            result.rewritten.append(Note(note, f"{parts} parts of the kernel {kernel}"))
        return result


def _kernel(node: ir.Node) -> list[int]:
    """Return the sides of the kernel, or nothing where neither node nor weight tells."""
    if sides := _ints(node, "kernel_shape"):
        return sides
    tensor = constant(node.inputs[1])
    return [] if tensor is None else [int(side) for side in tensor.shape.numpy()[_SPATIAL:]]


def _ints(node: ir.Node, name: str) -> list[int]:
    return list(node.attributes.get_ints(name, ()) or ())


def _why_not(node: ir.Node) -> str | None:
    """Return why the kernel cannot be cut, or None."""
    if constant(node.inputs[1]) is None:
        return "its weight is no constant"
    for name in ("strides", "dilations"):
        if any(step != 1 for step in _ints(node, name)):
            return f"{name} {_ints(node, name)}"
    return None


def _cuts(node: ir.Node, kernel: list[int], max_kernel: int) -> list[list[_Cut]]:
    """Return the slices of the kernel along each spatial axis, of nearly equal size."""
    cuts = []
    for side, (before, after) in zip(kernel, _pads(node, kernel), strict=True):
        bounds = [round(part) for part in np.linspace(0, side, -(-side // max_kernel) + 1)]
        pairs = itertools.pairwise(bounds)
        cuts.append([_Cut(o, end, before - o, after - (side - end)) for o, end in pairs])
    return cuts


def _pads(node: ir.Node, kernel: list[int]) -> list[tuple[int, int]]:
    """Return the pads before and after each spatial axis, ``auto_pad`` resolved for stride 1."""
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        small = [((side - 1) // 2, side // 2) for side in kernel]
        return small if auto == "SAME_UPPER" else [(after, before) for before, after in small]
    pads = _ints(node, "pads") if auto == "NOTSET" else []
    pads = pads or [0] * (2 * len(kernel))
    return list(zip(pads[: len(kernel)], pads[len(kernel) :], strict=True))


def _why_not_cuts(node: ir.Node, cuts: list[list[_Cut]], opset: int) -> str | None:
    """Return why x cannot be cut to what a slice of the kernel meets, or None."""
    x = cast("ir.Value", node.inputs[0])
    for axis, row in enumerate(cuts, _SPATIAL):
        rows = max(sum(cut.crop()) for cut in row)
        extent = x.shape[axis] if x.shape is not None else None
        if rows and opset < _SLICE_BOUNDS_ARE_INPUT:
            return f"opset {opset} has no Slice with inputs, and a slice of its kernel needs one"
        if rows and not isinstance(extent, int):
            return f"the extent of axis {axis} of {x.name!r} is unknown; run infer-shapes first"
        if isinstance(extent, int) and rows and rows >= extent:
            return f"a slice of its kernel meets only padding: axis {axis} has {extent} elements"
    return None


def _replace(node: ir.Node, cuts: list[list[_Cut]], emit: Emitter) -> int:
    """Put the sum of the parts in the place of ``node``; return how many there are."""
    total: ir.Value | None = None
    corners = list(itertools.product(*cuts))
    for corner in corners:
        part = _part(node, list(corner), emit, biased=total is None)
        total = part if total is None else emit.op("Add", total, part, hint="sum")
    emit.replace(node, cast("ir.Value", total))
    return len(corners)


def _part(node: ir.Node, corner: list[_Cut], emit: Emitter, *, biased: bool) -> ir.Value:
    """Emit the Conv of one slice of the kernel; ``biased`` with the bias of ``node``."""
    weight = np.asarray(constant(node.inputs[1]))
    window = tuple(slice(cut.start, cut.stop) for cut in corner)
    bias = [value for value in node.inputs[2:] if value is not None and biased]
    x = _cropped(cast("ir.Value", node.inputs[0]), corner, emit)
    part = emit.op(
        "Conv",
        x,
        weight[(slice(None), slice(None), *window)],
        *bias,
        kernel_shape=[cut.stop - cut.start for cut in corner],
        pads=[max(cut.before, 0) for cut in corner] + [max(cut.after, 0) for cut in corner],
        group=node.attributes.get_int("group", 1) or 1,
    )
    y = node.outputs[0]  # a part has the type and shape of the sum
    part.type, part.shape = y.type, None if y.shape is None else ir.Shape(list(y.shape))
    return part


def _cropped(x: ir.Value, corner: list[_Cut], emit: Emitter) -> ir.Value:
    """Return what of ``x`` the slice of the kernel meets."""
    axes = [axis for axis, cut in enumerate(corner, _SPATIAL) if any(cut.crop())]
    if not axes:
        return x
    dims = _dims(x)
    crops = [corner[axis - _SPATIAL].crop() for axis in axes]
    for axis, crop in zip(axes, crops, strict=True):
        dims[axis] = cast("int", dims[axis]) - sum(crop)
    starts = np.array([before for before, _ in crops], np.int64)
    ends = np.array([-after or _TO_THE_END for _, after in crops], np.int64)
    cropped = emit.op("Slice", x, starts, ends, np.array(axes, np.int64), dims=dims)
    cropped.type = x.type
    return cropped


def _dims(x: ir.Value) -> list[int | str | None]:
    return [dim if isinstance(dim, int) else dim.value for dim in x.shape or ()]
