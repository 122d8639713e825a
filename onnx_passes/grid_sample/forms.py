"""The forms of the rewritten graph: how the pixels are fetched and summed.

``elements``  GatherElements on x as [N, C, H*W], with the index repeated for every channel
``rows``      Gather or GatherND on a table [N*H*W, C], one row of channels for each point

Both add in ONNX Runtime's order. The forms that let a MatMul add are in ``matmul``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample import fetch, padding
from onnx_passes.grid_sample.corners import INDEX, Corners, corners_of
from onnx_passes.grid_sample.runs import Runs
from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from onnx_passes.core.emit import Emitter, Operand
    from onnx_passes.grid_sample.site import Site

# Measured: up to here one Transpose of a picture takes less than one for each run.
TRANSPOSED_BYTES = 16 << 20


def elements(site: Site) -> ir.Value:
    """Emit the form ``elements`` and return y."""
    emit, dtype = site.emit, site.problem.compute
    corners = corners_of(site, channels_last=False)
    table = padding.framed(site, wide_pixels(site), 2)
    pixels = site.product(padding.table_extents(site), "picture_pixels")
    flat = emit.reshape(table, [site.batch, site.channels, pixels], hint="flat")
    runs = Runs.of(site)

    def total(corners: Corners, length: Operand) -> Operand:
        sizes = [site.batch, site.channels, length]
        dims = static_dims(sizes)
        spread = corners.with_slowest(functools.partial(_spread, site, sizes))
        pixels: dict[tuple[int, ...], Operand] = {
            corner: emit.op(
                "GatherElements", flat, index, hint="pixel", dtype=dtype, dims=dims, axis=2
            )
            for corner, index in spread.indices().items()
        }
        shape = runs.shape(length)
        return blend(corners, pixels, lambda term: emit.reshape(term, shape, hint="term"))

    return finish(runs, list(map(total, corners.in_runs(runs), runs.lengths)))


def picture_by_picture(form: Callable[[Site], ir.Value]) -> Callable[[Site], ir.Value]:
    """Let ``form`` treat each picture alone where points are cut into runs.

    A picture's table and coordinates stay in the cache while its runs use them, and make room for
    the next one's.
    """

    @functools.wraps(form)
    def each(site: Site) -> ir.Value:
        if not site.in_runs:
            return form(site)
        parts: list[Operand] = [form(picture) for picture in site.pictures()]
        return site.emit.value(site.emit.concat(parts, 0, "pictures"))

    return each


@picture_by_picture
def rows(site: Site) -> ir.Value:
    """Emit the form ``rows`` and return y."""
    corners = corners_of(site, channels_last=True)
    if corners.weights and not corners.products and isinstance(site.channels, np.ndarray):
        return _long_rows(site, corners, int(site.channels.item()))
    runs, table = Runs.of(site), rows_table(site)
    parts = []
    for piece, length in zip(corners.in_runs(runs), runs.lengths, strict=True):
        sizes = [site.batch, integer(1), length]
        pixels: dict[tuple[int, ...], Operand] = {
            corner: fetch.rows_at(site, table, index, sizes)
            for corner, index in piece.indices().items()
        }
        parts.append(blend(piece, pixels, lambda term: term))
    return finish_rows(runs, parts)


def _long_rows(site: Site, corners: Corners, channels: int) -> ir.Value:
    """Emit the form ``rows`` with the corners of one tap on the first axis side by side.

    They share the weight of that tap: one Gather fetches them as one long row, and one Mul weighs
    it. The sum is then cut along the next axis, and so on.
    """
    emit, taps = site.emit, corners.taps
    slow = list(itertools.product(range(taps), repeat=site.problem.spatial - 1))
    runs = Runs.of(site)
    table = rows_table(site)
    indices = corners.together([[(tap, *rest) for rest in slow] for tap in range(taps)], runs)
    weighing = dataclasses.replace(corners, offsets=[]).in_runs(runs)
    parts = []
    for piece, length, each in zip(weighing, runs.lengths, indices, strict=True):
        terms = [_long_row(site, table, length, len(slow), index) for index in each]
        width = len(slow) * channels
        total = _weighted(emit, piece.weights[0], terms)
        for weights in piece.weights[1:]:
            width //= taps
            terms = emit.split(total, 3, [width] * taps, "next_axis")
            total = _weighted(emit, weights, terms)
        parts.append(total)
    return finish_rows(runs, parts)


def _long_row(site: Site, table: ir.Value, points: Operand, count: int, index: Operand) -> Operand:
    """Fetch ``count`` rows for each point as one, [N, 1, P, count * C]."""
    rows = fetch.rows_at(site, table, index, [site.batch, points, integer(count)])
    length = site.emit.math("Mul", site.channels, integer(count))
    return site.emit.reshape(rows, [site.batch, integer(1), points, length], hint="long_row")


def blend(
    corners: Corners,
    pixels: dict[tuple[int, ...], Operand],
    settle: Callable[[Operand], Operand],
) -> Operand:
    """Return the weighted sum of the pixels of every corner, in ONNX Runtime's order.

    Args:
        corners: The weights.
        pixels: The pixel of every corner.
        settle: Gives the terms of the last sum the shape of the result.
    """
    emit = corners.site.emit
    if corners.products:
        terms = [
            settle(emit.math("Mul", weight, pixels[corner], hint="weighted"))
            for corner, weight in corners.products.items()
        ]
        return _sum(emit, terms)
    for axis, weights in enumerate(corners.weights):  # the first axis innermost
        outer: dict[tuple[int, ...], list[Operand]] = {}
        for corner, pixel in pixels.items():
            term = emit.math("Mul", weights[corner[0]], pixel, hint="weighted")
            last = axis + 1 == len(corners.weights)
            outer.setdefault(corner[1:], []).append(settle(term) if last else term)
        pixels = {corner: _sum(emit, terms) for corner, terms in outer.items()}
    (result,) = pixels.values()
    return result if corners.weights else settle(result)


def finish_rows(runs: Runs, parts: list[Operand]) -> ir.Value:
    """Join the rows [N, 1, k, C] of the runs, and give them the shape and the type of y.

    The last node of a model must not be a Reshape, which would be a copy there: pictures that stay
    in the cache are joined and end in one Transpose. Of a larger one, each run is transposed and
    ends in a Reshape, so that ONNX Runtime cannot merge their small transposes into a large one
    behind the Concat.
    """
    site = runs.site
    if len(parts) > 1 and not _fits_the_cache(site):
        pairs = zip(parts, runs.lengths, strict=True)
        return finish(runs, [_channels_first(runs, length, rows) for rows, length in pairs])
    shape = [site.batch, *site.outputs, site.channels]
    axes = range(1, site.problem.spatial + 1)
    rows = site.emit.concat(parts, 2, "rows")
    picture = site.emit.value(site.emit.reshape(rows, shape, hint="picture"))
    y = site.emit.transpose(picture, [0, len(axes) + 1, *axes], hint="y")
    return site.emit.value(site.emit.cast(y, site.problem.x_dtype, hint="narrow"))


def _fits_the_cache(site: Site) -> bool:
    row, points = site.problem.row_bytes, site.problem.points
    return row is not None and points is not None and row * points <= TRANSPOSED_BYTES


def _channels_first(runs: Runs, length: Operand, rows: Operand) -> Operand:
    """Turn a run of rows [N, 1, k, C] into the shape of its result."""
    emit = runs.site.emit
    first = emit.transpose(emit.value(rows), [0, 1, 3, 2], hint="channels_first")
    return emit.reshape(first, runs.shape(length), hint="run")


def finish(runs: Runs, parts: list[Operand]) -> ir.Value:
    """Join the runs, and give them the type of y."""
    site = runs.site
    return site.emit.value(site.emit.cast(runs.join(parts), site.problem.x_dtype, hint="narrow"))


def wide_pixels(site: Site) -> ir.Value:
    """Return x in the type of the sums."""
    return site.emit.value(site.emit.cast(site.x, site.problem.compute, hint="wide_pixels"))


def rows_table(site: Site) -> ir.Value:
    """Return x as a table [N*H*W, C], with its frame."""
    emit = site.emit
    axes = list(range(site.problem.spatial + 2))
    last = emit.transpose(wide_pixels(site), [0, *axes[2:], 1], hint="channels_last")
    count = site.product([site.batch, *padding.table_extents(site)], "table_rows")
    table = emit.reshape(padding.framed(site, last, 1), [count, site.channels], hint="table")
    return emit.value(table)


def _spread(site: Site, sizes: list[Operand], offset: Operand) -> Operand:
    """Repeat an offset [N, 1, P] for every channel."""
    if static_dims([site.channels]) == [1]:
        return offset
    shape, dims = site.emit.stack(sizes), static_dims(sizes)
    return site.emit.op("Expand", offset, shape, hint="each_channel", dtype=INDEX, dims=dims)


def _weighted(emit: Emitter, weights: list[Operand], pixels: list[Operand]) -> Operand:
    """Return the weighted sum over one axis."""
    pairs = zip(weights, pixels, strict=True)
    return _sum(emit, [emit.math("Mul", *pair, hint="weighted") for pair in pairs])


def _sum(emit: Emitter, terms: list[Operand]) -> Operand:
    """Add from left to right."""
    return functools.reduce(functools.partial(emit.math, "Add", hint="sum"), terms)
