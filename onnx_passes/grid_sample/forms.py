"""The forms of the rewritten graph: how the pixels are fetched and summed.

``elements``  GatherElements on x as [N, C, H*W], with the index repeated for every channel
``rows``      Gather on axis 0 of a table [N*H*W, C], one row of channels for each point

Both add in ONNX Runtime's order. The forms that let a MatMul add are in ``matmul``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample import padding
from onnx_passes.grid_sample.corners import INDEX, Corners, corners_of
from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site


def elements(site: Site) -> ir.Value:
    """Emit the form ``elements`` and return y."""
    emit, dtype = site.emit, site.problem.compute
    corners = corners_of(site, channels_last=False)
    table = padding.framed(site, wide_pixels(site), 2)
    pixels = site.product(padding.table_extents(site), "picture_pixels")
    flat = emit.reshape(table, [site.batch, site.channels, pixels], hint="flat")

    def total(run: Corners, length: Operand) -> Operand:
        sizes = [site.batch, site.channels, length]
        dims = static_dims(sizes)
        return blend(
            run.with_slowest(functools.partial(_spread, site, sizes)),
            lambda index: emit.op(
                "GatherElements", flat, index, hint="pixel", dtype=dtype, dims=dims, axis=2
            ),
        )

    return finish(site, emit.concat(_each_run(corners, total), 2, "runs"))


def rows(site: Site) -> ir.Value:
    """Emit the form ``rows`` and return y."""
    emit, dtype = site.emit, site.problem.compute
    corners = corners_of(site, channels_last=True)
    table = rows_table(site)

    def total(run: Corners, length: Operand) -> Operand:
        dims = static_dims([site.batch, integer(1), length, site.channels])
        last = blend(
            run,
            lambda index: emit.op(
                "Gather", table, index, hint="pixel", dtype=dtype, dims=dims, axis=0
            ),
        )
        first = emit.transpose(emit.value(last), [0, 1, 3, 2], hint="channels_first")
        # Another shape, so that ONNX Runtime cannot merge the small transposes into a large one.
        return emit.reshape(first, [site.batch, site.channels, length], hint="run")

    return finish(site, emit.concat(_each_run(corners, total), 2, "runs"))


def blend(corners: Corners, fetch: Callable[[Operand], Operand]) -> Operand:
    """Fetch the pixel of every corner and return the weighted sum, in ONNX Runtime's order."""
    emit = corners.site.emit
    pixels = {corner: fetch(index) for corner, index in corners.indices().items()}
    add = functools.partial(emit.math, "Add", hint="sum")
    if corners.products:
        weighted = [
            emit.math("Mul", weight, pixels[corner], hint="weighted")
            for corner, weight in corners.products.items()
        ]
        return functools.reduce(add, weighted)
    for weights in corners.weights:  # the first axis innermost
        outer: dict[tuple[int, ...], list[Operand]] = {}
        for corner, pixel in pixels.items():
            term = emit.math("Mul", weights[corner[0]], pixel, hint="weighted")
            outer.setdefault(corner[1:], []).append(term)
        pixels = {corner: functools.reduce(add, terms) for corner, terms in outer.items()}
    return next(iter(pixels.values()))


def static_dims(sizes: list[Operand]) -> list[int | None]:
    """Return sizes as static extents, None where dynamic."""
    return [int(size.item()) if isinstance(size, np.ndarray) else None for size in sizes]


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
    shape, dims = site.emit.stack(sizes), static_dims(sizes)
    return site.emit.op("Expand", offset, shape, hint="each_channel", dtype=INDEX, dims=dims)


def run_lengths(site: Site) -> list[Operand]:
    """Return the lengths of the runs of points that are treated at a time."""
    points, chunk = site.points, site.options.chunk
    if not chunk or not isinstance(points, np.ndarray) or points.item() <= chunk:
        return [points]
    starts = range(0, points.item(), chunk)
    return [integer(min(chunk, points.item() - start)) for start in starts]


def _each_run(corners: Corners, total: Callable[[Corners, Operand], Operand]) -> list[Operand]:
    """Cut the points into runs and return the total of each."""
    lengths = run_lengths(corners.site)
    if len(lengths) == 1:
        return [total(corners, lengths[0])]
    sizes = [size for size in static_dims(lengths) if size is not None]
    runs = corners.pieces(sizes)
    return [total(run, length) for run, length in zip(runs, lengths, strict=True)]


def finish(site: Site, total: Operand) -> ir.Value:
    """Give the sum [N, C, P] the type and the shape of y; the last node is always a Reshape."""
    emit = site.emit
    value = emit.value(emit.cast(total, site.problem.x_dtype, hint="narrow"))
    sizes = [site.batch, site.channels, *site.outputs]
    return emit.op(
        "Reshape", value, emit.stack(sizes), hint="y", dtype=value.dtype, dims=static_dims(sizes)
    )
