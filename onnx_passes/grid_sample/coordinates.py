"""From the grid to pixel coordinates, and from those to taps and weights.

All coordinates of one node travel as one tensor of planes [N, r, P]: r spatial axes in the order of
the grid (x, y, z), P output points. An extent of x is a column [r, 1] beside it. One node then
serves all axes, the planes stay long runs of memory, and N stays in front: a Reshape copies an
extent of 0 only from the same place, so an empty batch works.

The order of evaluation is ONNX Runtime's (see the page of the pass); only scaling by powers of two
is moved, which rounds the same: ``((g + 1) / 2) * (L - 1)`` is ``(g + 1) * ((L - 1) / 2)``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site

# ONNX Runtime takes coordinates that do not fit its int64 pixel index to the left or top border.
HUGE = 2.0**62
CUBIC_A = -0.75


@dataclasses.dataclass(frozen=True)
class Taps:
    """The pixels that one axis contributes to each point, for all axes at once.

    Attributes:
        low: Whole pixel coordinates, before padding.
        first: Where the first tap lies, in pixels after ``low``.
        count: Number of taps, each one pixel after the one before.
        weights: One operand for each tap; empty for nearest.
    """

    low: Operand
    first: int
    count: int
    weights: list[Operand]


def planes_of(site: Site) -> Operand:
    """Return the grid as planes [N, r, P], wide enough to compute with."""
    emit = site.emit
    sizes = [site.batch, site.points, integer(site.problem.spatial)]
    flat = emit.reshape(site.grid, sizes, hint="points")
    wide = emit.cast(flat, site.problem.compute, hint="wide")
    return emit.transpose(emit.value(wide), [0, 2, 1], hint="planes")


def to_pixels(site: Site, planes: Operand, extents: Operand) -> Operand:
    """Map normalised coordinates to pixels, finite and below 2^62.

    Args:
        site: The node.
        planes: From :func:`planes_of`; -1 and 1 are the edges of the picture.
        extents: The extents of x in pixels, a column in the type of the coordinates.

    Returns:
        Planes in pixels; 0 is the centre of the first pixel.
    """
    emit, number = site.emit, site.number
    align = site.problem.align_corners
    span = emit.math("Sub", extents, number(1), hint="span") if align else extents
    half_span = emit.math("Mul", span, number(0.5), hint="half_span")
    shifted = emit.math("Add", planes, number(1), hint="from_first")
    # Guarded before the product: ONNX Runtime's Where may turn -0 into 0, and here is no -0.
    size = emit.op("Abs", shifted, hint="size")
    limit = emit.math("Div", number(HUGE), half_span, hint="limit")  # infinite for a span of 0
    usable = emit.op("Less", size, limit, hint="is_usable")
    safe = emit.op("Where", usable, shifted, number(0), hint="usable")
    pixels = emit.math("Mul", safe, half_span, hint="pixels")
    return pixels if align else emit.math("Sub", pixels, number(0.5), hint="centred")


def taps_of(site: Site, pixels: Operand) -> Taps:
    """Return first tap and weights for the mode of the node."""
    emit, one = site.emit, site.number(1)
    if site.problem.mode == "nearest":
        return Taps(emit.op("Round", pixels, hint="nearest"), 0, 1, [])  # ties to even
    low = emit.op("Floor", pixels, hint="low")
    if site.problem.mode == "cubic":
        first = emit.math("Sub", low, one, hint="first")
        past_first = emit.math("Sub", pixels, first, hint="past_first")
        fraction = emit.math("Sub", past_first, one, hint="fraction")
        return Taps(low, -1, 4, _cubic_weights(site, fraction))
    if _has_negative_zero(site):  # ONNX Runtime's whole pixel is an integer: it has no -0
        # Not low + 0: ONNX Runtime's optimiser, where it is on, takes that away.
        is_zero = emit.op("Equal", low, site.number(0), hint="is_zero")
        low = emit.op("Where", is_zero, site.number(0), low, hint="low_unsigned")
    high = emit.math("Add", low, one, hint="high")
    near = emit.math("Sub", high, pixels, hint="weight_low")
    far = emit.math("Sub", pixels, low, hint="weight_high")
    return Taps(low, 0, 2, [near, far])


def _has_negative_zero(site: Site) -> bool:
    """Tell whether a pixel coordinate can be -0: (g + 1) * 0, on an aligned axis of one pixel."""
    extents = site.problem.x_dims[2:]
    return site.problem.align_corners and any(extent in {None, 1} for extent in extents)


def _cubic_weights(site: Site, fraction: Operand) -> list[Operand]:
    """Return the four weights of cubic convolution (Keys 1981, a = -0.75) at one fraction."""
    emit, number = site.emit, site.number
    t = emit.op("Abs", fraction, hint="distance")
    return [
        _cubic_outer(site, emit.math("Add", t, number(1))),
        _cubic_inner(site, t),
        _cubic_inner(site, emit.math("Sub", number(1), t)),
        _cubic_outer(site, emit.math("Sub", number(2), t)),
    ]


def _cubic_outer(site: Site, t: Operand) -> Operand:
    """Return ((a t - 5a) t + 8a) t - 4a, the weight of a pixel 1 to 2 pixels away."""
    emit, number = site.emit, site.number
    total = emit.math("Mul", t, number(CUBIC_A), hint="outer")
    total = emit.math("Sub", total, number(5 * CUBIC_A), hint="outer")
    total = emit.math("Add", emit.math("Mul", total, t), number(8 * CUBIC_A), hint="outer")
    return emit.math("Sub", emit.math("Mul", total, t), number(4 * CUBIC_A), hint="weight_outer")


def _cubic_inner(site: Site, t: Operand) -> Operand:
    """Return ((a + 2) t - (a + 3)) t t + 1, the weight of a pixel 0 to 1 pixels away."""
    emit, number = site.emit, site.number
    total = emit.math("Mul", t, number(CUBIC_A + 2), hint="inner")
    total = emit.math("Sub", total, number(CUBIC_A + 3), hint="inner")
    squared = emit.math("Mul", emit.math("Mul", total, t), t, hint="inner")
    return emit.math("Add", squared, number(1), hint="weight_inner")
