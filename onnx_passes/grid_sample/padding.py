"""From whole pixel coordinates to positions inside the table of pixels.

Zeros are a frame: x gets a border of zeros on every side, and a coordinate outside is clamped onto
it. No mask is needed, the sign of every zero is right, and an infinite or NaN pixel next to the
border stays out of the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample.problem import TAPS
from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.coordinates import Taps
    from onnx_passes.grid_sample.site import Site

RUNTIME_CUBIC = 2  # spatial axes of the only cubic that ONNX Runtime has


def frame_of(site: Site) -> int:
    """Return the width of the frame of zeros around x, in pixels: as many as an axis has taps."""
    framed_zeros = site.problem.padding == "zeros" and site.options.zeros == "signed"
    return TAPS[site.problem.mode] if framed_zeros else 0


def framed(site: Site, x: ir.Value, first_axis: int) -> ir.Value:
    """Return ``x`` with the frame of zeros if the padding needs one.

    Args:
        site: The node.
        x: The pixels, channels first or last.
        first_axis: The first spatial axis of ``x``.
    """
    frame, spatial = frame_of(site), site.problem.spatial
    if not frame:
        return x
    sides = np.zeros(spatial + 2, np.int64)
    sides[first_axis : first_axis + spatial] = frame
    dims = None
    if x.shape is not None:
        dims = [
            size + 2 * int(side) if isinstance(size, int) else None
            for size, side in zip(x.shape, sides, strict=True)
        ]
    pads = np.concatenate([sides, sides])
    return site.emit.op("Pad", x, pads, hint="framed", dtype=x.dtype, dims=dims)


def table_extents(site: Site) -> list[Operand]:
    """Return the spatial extents of :func:`framed`, in the order of the grid."""
    frame = 2 * frame_of(site)
    if not frame:
        return site.extents
    return [
        site.emit.math("Add", size, integer(frame), hint="framed_size") for size in site.extents
    ]


def confined(site: Site, pixels: Operand, extents: Operand) -> Operand:
    """Move points beyond the border to its pixel, where the operator moves the whole point.

    ONNX Runtime moves each tap, and so do we. Cubic on one or three axes it cannot run; there the
    reference evaluator decides, which moves a point that lies beyond the outer edge of the picture.
    """
    emit, problem, number = site.emit, site.problem, site.number
    if (problem.mode, problem.padding) != ("cubic", "border") or problem.spatial == RUNTIME_CUBIC:
        return pixels
    edge = number(0 if problem.align_corners else 0.5)
    last = emit.math("Sub", extents, number(1), hint="last")
    far_edge = emit.math("Add", last, edge, hint="far_edge")
    on_edge = emit.math(
        "Max", emit.math("Min", pixels, far_edge), np.negative(edge), hint="on_edge"
    )
    moved = clamped(site, pixels, last)
    return emit.op("Where", emit.op("Equal", on_edge, pixels), pixels, moved, hint="confined")


def placed(site: Site, taps: Taps, extents: Operand) -> tuple[list[Operand], list[Operand]]:
    """Return where the taps lie in the table, whole and in range on every axis, and the weights.

    With a frame there is one position, that of the first tap: the frame is as wide as the taps
    are many, so the others follow it even where all of them lie outside. Without a frame, zeros
    are taken from the weights.

    Args:
        site: The node.
        taps: Taps on x without its frame.
        extents: Column of the extents of x, without the frame.
    """
    emit, number, frame = site.emit, site.number, frame_of(site)
    if frame:
        moved = emit.math("Add", taps.low, number(taps.first + frame), hint="in_frame")
        last = emit.math("Add", extents, number(frame), hint="last")
        return [clamped(site, moved, last)], taps.weights
    last = emit.math("Sub", extents, number(1), hint="last")
    moved_taps = [
        emit.math("Add", taps.low, number(step), hint="tap") if step else taps.low
        for step in range(taps.first, taps.first + taps.count)  # one addition: huge ones round once
    ]
    if site.problem.padding == "reflection":
        moved_taps = [_reflect(site, moved, extents) for moved in moved_taps]
    found = [clamped(site, moved, last) for moved in moved_taps]
    if site.problem.padding == "zeros":
        return found, _masked(site, taps, moved_taps, found)
    return found, taps.weights


def _masked(site: Site, taps: Taps, wanted: list[Operand], found: list[Operand]) -> list[Operand]:
    """Return the weights, 0 for a tap outside; nearest gets a weight of 1 or 0."""
    emit = site.emit
    inside = [emit.op("Equal", *pair, hint="is_inside") for pair in zip(wanted, found, strict=True)]
    if not taps.weights:
        return [emit.cast(mask, site.problem.compute, hint="weight") for mask in inside]
    return [
        emit.op("Where", mask, weight, site.number(0), hint="weight_inside")
        for mask, weight in zip(inside, taps.weights, strict=True)
    ]


def clamped(site: Site, position: Operand, last: Operand) -> Operand:
    """Return ``position`` moved to 0 or ``last`` if it lies before or after."""
    below = site.emit.math("Min", position, last, hint="not_after")
    return site.emit.math("Max", below, site.number(0), hint="inside")


def _reflect(site: Site, whole: Operand, extents: Operand) -> Operand:
    """Fold coordinates at the borders until they lie inside, as ONNX Runtime counts the folds.

    With d the distance beyond the border and s the span between the borders, n = floor(d / s)
    folds leave r = d - n * s; an even n comes back from the same border, an odd n from the other.
    """
    emit, number = site.emit, site.number
    align = site.problem.align_corners
    near_border = number(0 if align else -0.5)
    far_border = emit.math("Sub", extents, number(1 if align else 0.5), hint="far_border")
    span = emit.math("Sub", far_border, near_border, hint="span")
    span = emit.math("Max", span, number(0.5), hint="span")  # one pixel, aligned: no division by 0
    before = emit.math("Sub", near_border, whole, hint="before")
    after = emit.math("Sub", whole, far_border, hint="after")
    beyond = emit.math("Max", before, after, hint="beyond")
    folds = emit.op("Floor", emit.math("Div", beyond, span, hint="spans"), hint="folds")
    rest = emit.math("Sub", beyond, emit.math("Mul", folds, span), hint="rest")
    pairs = emit.op("Floor", emit.math("Mul", folds, number(0.5)), hint="fold_pairs")
    even = emit.op("Equal", emit.math("Add", pairs, pairs), folds, hint="is_even")
    is_before = emit.op("Greater", before, number(0), hint="is_before")
    near = emit.op("Equal", is_before, even, hint="comes_from_near")
    from_near = emit.math("Add", rest, near_border, hint="from_near")
    from_far = emit.math("Sub", far_border, rest, hint="from_far")
    folded = emit.op("Where", near, from_near, from_far, hint="folded")
    outside = emit.op("Greater", beyond, number(0), hint="is_outside")
    return emit.op("Where", outside, folded, whole, hint="reflected")
