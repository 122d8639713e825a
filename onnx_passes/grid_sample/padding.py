"""From whole pixel coordinates to positions inside the table of pixels.

Zeros are a frame: x gets one pixel of zeros on every side, and a coordinate outside is clamped onto
that frame. No mask is needed, the sign of every zero is right, and an infinite or NaN pixel next to
the border stays out of the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site


def frame_of(site: Site) -> int:
    """Return the width of the frame of zeros around x, in pixels."""
    return 1 if site.problem.padding == "zeros" else 0


def framed(site: Site) -> ir.Value:
    """Return x in the type of the sums, with the frame of zeros if the padding needs one."""
    emit, problem, frame = site.emit, site.problem, frame_of(site)
    x = emit.value(emit.cast(site.x, problem.compute, hint="wide_pixels"))
    if not frame:
        return x
    dims = [
        size if size is None or axis <= 1 else size + 2 * frame
        for axis, size in enumerate(problem.x_dims)
    ]
    pads = np.array(([0, 0] + [frame] * problem.spatial) * 2, np.int64)
    return emit.op("Pad", x, pads, hint="framed", dtype=x.dtype, dims=dims)


def table_extents(site: Site) -> list[Operand]:
    """Return the spatial extents of :func:`framed`, in the order of the grid."""
    frame = 2 * frame_of(site)
    if not frame:
        return site.extents
    return [
        site.emit.math("Add", size, integer(frame), hint="framed_size") for size in site.extents
    ]


def position(site: Site, low: Operand, step: int, extents: Operand) -> Operand:
    """Return where the pixel ``step`` after ``low`` lies in the table, in range on every axis.

    Args:
        site: The node.
        low: Whole pixel coordinates.
        step: Pixels to go, from -1 to 2. One addition, so that huge coordinates round once.
        extents: Column of the extents of x, without the frame.
    """
    emit, number, frame = site.emit, site.number, frame_of(site)
    shift = step + frame
    moved = emit.math("Add", low, number(shift), hint="tap") if shift else low
    if site.problem.padding == "reflection":
        moved = _reflect(site, moved, extents)
    last = emit.math("Add", extents, number(2 * frame - 1), hint="last")
    below = emit.math("Min", moved, last, hint="tap_below")
    return emit.math("Max", below, number(0), hint="tap_inside")


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
