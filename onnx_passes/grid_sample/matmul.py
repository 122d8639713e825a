"""The forms that sum by MatMul, for machines where it is the fast operation.

``packed``  one fetch of rows for all corners of a point, then [1, K] x [K, C]
``tent``    no gather at all: dense weights max(0, 1 - |x - w|) for every point and column

A MatMul may fuse multiplication and addition or add in another order, so neither is bit-exact. In
``tent`` every pixel meets every weight, most of them 0: one infinite or NaN pixel spoils its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample import coordinates, fetch, padding
from onnx_passes.grid_sample.corners import Corners, corners_of
from onnx_passes.grid_sample.forms import (
    finish_rows,
    picture_by_picture,
    rows,
    rows_table,
    wide_pixels,
)
from onnx_passes.grid_sample.runs import Runs
from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site

TENT = {("linear", "zeros"), ("linear", "border")}  # modes and paddings that ``tent`` can do


@picture_by_picture
def packed(site: Site) -> ir.Value:
    """Emit the form ``packed`` and return y."""
    if site.problem.mode == "nearest":  # one corner needs no sum
        return rows(site)
    emit = site.emit
    corners = corners_of(site, channels_last=True)
    table, count = rows_table(site), integer(len(corners.all()))
    runs = Runs.of(site)
    indices = corners.together([corners.all()], runs)
    weights = runs.cut(_packed_weight(corners), 2)
    parts = []
    for (index,), weight, length in zip(indices, weights, runs.lengths, strict=True):
        pixels = fetch.rows_at(site, table, index, [site.batch, length, count])
        row = emit.reshape(weight, [site.batch, length, integer(1), count], hint="weight_row")
        dims = static_dims([site.batch, length, integer(1), site.channels])
        total = emit.op("MatMul", row, pixels, hint="weighted_sum", dims=dims)
        row_of_each = emit.reshape(total, [site.batch, integer(1), length, site.channels])
        parts.append(row_of_each)
    return finish_rows(runs, parts)


def tent(site: Site) -> ir.Value:
    """Emit the form ``tent`` and return y; linear with zeros or border only."""
    emit = site.emit
    hats = _hats(site)
    sizes = [site.channels, *reversed(site.extents)]  # C, then d1..dr
    flat = [site.batch, site.product(sizes[:-1], "picture_rows"), sizes[-1]]
    x = emit.reshape(wide_pixels(site), flat, hint="picture")
    dims = static_dims([site.batch, flat[1], site.points])
    total: Operand = emit.op("MatMul", x, hats[0], hint="weighted_sum", dims=dims)
    for axis, hat in enumerate(hats[1:], start=1):
        kept = site.product(sizes[: len(sizes) - axis - 1], "kept_rows")
        cube = [site.batch, kept, site.extents[axis], site.points]
        values = emit.reshape(total, cube, hint="picture")
        one_row = [site.batch, integer(1), site.extents[axis], site.points]
        weights = emit.reshape(hat, one_row, hint="hat")
        weighted = emit.op("Mul", values, weights, hint="weighted", dims=static_dims(cube))
        total = emit.reduce_sum(weighted, 2, hint="weighted_sum")
    result = emit.reshape(total, [site.batch, site.channels, *site.outputs], hint="picture")
    return emit.value(emit.cast(result, site.problem.x_dtype, hint="narrow"))


def _hats(site: Site) -> list[Operand]:
    """Return for each axis the weights max(0, 1 - |p - i|) [N, d, P], i along the axis."""
    emit, number, compute = site.emit, site.number, site.problem.compute
    with emit.precise():
        extents = site.column(site.extents, compute, "extents")
        planes = coordinates.planes_of(site)
        pixels = coordinates.to_pixels(site, planes, extents)
        if site.problem.padding == "border":
            pixels = padding.clamped(site, pixels, emit.math("Sub", extents, number(1)))
        hats: list[Operand] = []
        places = emit.split(pixels, 1, [1] * site.problem.spatial, "place")
        for place, size in zip(places, site.extents, strict=True):
            distance = emit.math("Sub", place, _ruler(site, size), hint="difference")
            far = emit.op("Abs", distance, hint="distance")
            hats.append(emit.op("Relu", emit.math("Sub", number(1), far), hint="hat"))
    return hats


def _ruler(site: Site, size: Operand) -> Operand:
    """Return 0, 1, ... size - 1 as a column [1, d, 1]."""
    emit, compute = site.emit, site.problem.compute
    if isinstance(size, np.ndarray):
        return np.arange(size.item(), dtype=compute.numpy()).reshape(1, -1, 1)
    scalar = emit.op("Reshape", size, np.array([], np.int64), hint="extent", dims=[])
    zero, one = np.array(0, np.int64), np.array(1, np.int64)
    numbers = emit.op("Range", zero, scalar, one, hint="ruler", dims=[None])
    wide = emit.cast(numbers, compute, hint="ruler")
    return emit.reshape(wide, [integer(1), size, integer(1)], hint="ruler")


def _packed_weight(corners: Corners) -> Operand:
    """Return the weight of every corner of every point, [N, 1, P, K]."""
    emit = corners.site.emit
    each = []
    for corner in corners.all():
        weight = corners.weights[-1][corner[-1]]
        for axis in reversed(range(len(corner) - 1)):
            weight = emit.math("Mul", weight, corners.weights[axis][corner[axis]], hint="weight")
        each.append(weight)
    return emit.concat(each, 3, "weights")
