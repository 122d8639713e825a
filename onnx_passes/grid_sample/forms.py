"""The forms of the rewritten graph: how the pixels are fetched and summed.

``elements``  GatherElements on x as [N, C, H*W], with the index repeated for every channel
``rows``      Gather on axis 0 of a table [N*H*W, C], one row of channels for each point

Both add in ONNX Runtime's order. The forms that let a MatMul add are in ``matmul``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample import padding
from onnx_passes.grid_sample.corners import INDEX, Corners, corners_of
from onnx_passes.grid_sample.runs import Run, Runs
from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from onnx_passes.core.emit import Emitter, Operand
    from onnx_passes.grid_sample.site import Site


def elements(site: Site) -> ir.Value:
    """Emit the form ``elements`` and return y."""
    emit, dtype = site.emit, site.problem.compute
    corners = corners_of(site, channels_last=False)
    table = padding.framed(site, wide_pixels(site), 2)
    pixels = site.product(padding.table_extents(site), "picture_pixels")
    flat = emit.reshape(table, [site.batch, site.channels, pixels], hint="flat")
    runs = Runs.of(site, by_picture=False)

    def total(corners: Corners, run: Run) -> Operand:
        sizes = [run.batch, site.channels, run.length]
        dims = static_dims(sizes)
        return blend(
            corners.with_slowest(functools.partial(_spread, site, sizes)),
            lambda index: emit.op(
                "GatherElements", flat, index, hint="pixel", dtype=dtype, dims=dims, axis=2
            ),
            lambda term: emit.reshape(term, runs.shape(run), hint="term"),
        )

    return finish(runs, list(map(total, corners.in_runs(runs), runs.all())))


def rows(site: Site) -> ir.Value:
    """Emit the form ``rows`` and return y."""
    corners = corners_of(site, channels_last=True)
    if corners.weights and not corners.products and isinstance(site.channels, np.ndarray):
        return _long_rows(site, corners, int(site.channels.item()))
    emit, dtype = site.emit, site.problem.compute
    table = rows_table(site)
    runs = Runs.of(site, by_picture=True)

    def total(corners: Corners, run: Run) -> Operand:
        dims = static_dims([run.batch, integer(1), run.length, site.channels])
        last = blend(
            corners,
            lambda index: emit.op(
                "Gather", table, index, hint="pixel", dtype=dtype, dims=dims, axis=0
            ),
            lambda term: term,
        )
        return channels_first(runs, run, last)

    return finish(runs, list(map(total, corners.in_runs(runs), runs.all())))


def _long_rows(site: Site, corners: Corners, channels: int) -> ir.Value:
    """Emit the form ``rows`` with the corners of one tap on the first axis side by side.

    They share the weight of that tap: one Gather fetches them as one long row, and one Mul weighs
    it. The sum is then cut along the next axis, and so on.
    """
    emit, taps = site.emit, corners.taps
    slow = list(itertools.product(range(taps), repeat=site.problem.spatial - 1))
    runs = Runs.of(site, by_picture=True)
    table = rows_table(site)
    groups = corners.together([[(tap, *rest) for rest in slow] for tap in range(taps)])
    indices = [runs.cut(group, 1) for group in groups]
    weighing = dataclasses.replace(corners, offsets=[])
    parts = []
    for number, (piece, run) in enumerate(zip(weighing.in_runs(runs), runs.all(), strict=True)):
        fetch = functools.partial(_long_row, site, table, run, len(slow))
        terms = [fetch(index[number]) for index in indices]
        width = len(slow) * channels
        total = _weighted(emit, piece.weights[0], terms)
        for weights in piece.weights[1:]:
            width //= taps
            terms = emit.split(total, 3, [width] * taps, "next_axis")
            total = _weighted(emit, weights, terms)
        parts.append(channels_first(runs, run, total))
    return finish(runs, parts)


def _long_row(site: Site, table: ir.Value, run: Run, count: int, index: Operand) -> Operand:
    """Fetch ``count`` rows for each point as one, [N, 1, P, count * C]."""
    sizes = [run.batch, run.length, integer(count), site.channels]
    dims = static_dims(sizes)
    rows = site.emit.op("Gather", table, index, hint="pixels", dtype=table.dtype, dims=dims, axis=0)
    length = site.emit.math("Mul", site.channels, integer(count))
    return site.emit.reshape(rows, [run.batch, integer(1), run.length, length], hint="long_row")


def blend(
    corners: Corners,
    fetch: Callable[[Operand], Operand],
    settle: Callable[[Operand], Operand],
) -> Operand:
    """Fetch the pixel of every corner and return the weighted sum, in ONNX Runtime's order.

    Args:
        corners: Index and weight of every corner.
        fetch: Emits the pixels at an index.
        settle: Gives the terms of the last sum the shape of the result.
    """
    emit = corners.site.emit
    pixels = {corner: fetch(index) for corner, index in corners.indices().items()}
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


def channels_first(runs: Runs, run: Run, rows: Operand) -> Operand:
    """Turn a run of rows [N, 1, P, C] into the shape of its result.

    The last node of a model must not be a Reshape, which would be a copy there: one run ends in a
    Transpose. Of several, each ends in a Reshape, so that ONNX Runtime cannot merge their small
    transposes into a large one behind the Concat.
    """
    site, emit = runs.site, runs.site.emit
    if runs.single:
        shape = [run.batch, *site.outputs, site.channels]
        axes = range(1, site.problem.spatial + 1)
        picture = emit.value(emit.reshape(rows, shape, hint="picture"))
        return emit.transpose(picture, [0, len(axes) + 1, *axes], hint="y")
    first = emit.transpose(emit.value(rows), [0, 1, 3, 2], hint="channels_first")
    return emit.reshape(first, runs.shape(run), hint="run")


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
