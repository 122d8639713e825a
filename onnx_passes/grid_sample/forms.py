"""The forms of the rewritten graph: how the pixels are fetched and summed.

``elements``  GatherElements on x as [N, C, H*W], with the index repeated for every channel
``rows``      Gather on axis 0 of a table [N*H*W, C], one row of channels for each point
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from onnx_passes.grid_sample import coordinates, padding
from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site

Fetch: TypeAlias = "Callable[[Operand], Operand]"

INDEX = ir.DataType.INT32
FAST_SPATIAL = 2


@dataclasses.dataclass(frozen=True)
class Corners:
    """Where each point reads and with which weight.

    Attributes:
        offsets: For each tap, the int32 offset into the table for each axis, [r, N, 1, P].
        weights: For each tap, its weight on each axis, [r, N, 1, P]; empty for nearest.
        start: The first row of each picture, if offsets count from the first one of the batch.
    """

    offsets: list[Operand]
    weights: list[Operand]
    start: Operand | None = None


def corners_of(site: Site, *, of_batch: bool) -> Corners:
    """Emit everything between the grid and the index, all of it marked float32.

    Args:
        site: The node.
        of_batch: Whether offsets count from the first picture of the batch, not of their own.
    """
    emit, problem = site.emit, site.problem
    with emit.precise():
        extents = site.column(site.extents, problem.compute, "extents")
        pixels = coordinates.to_pixels(site, coordinates.planes_of(site), extents)
        taps = coordinates.taps_of(site, pixels)
        strides = site.column(_strides(site), INDEX, "strides")
        offsets = []
        for tap in range(taps.count):
            position = padding.position(site, taps.low, taps.first + tap, extents)
            whole = emit.cast(position, INDEX, hint=f"tap{tap}_whole")
            offsets.append(emit.math("Mul", whole, strides, hint=f"tap{tap}_offset"))
        return Corners(offsets, taps.weights, _batch_start(site) if of_batch else None)


def elements(site: Site) -> ir.Value:
    """Emit the form ``elements`` and return y."""
    emit = site.emit
    corners = corners_of(site, of_batch=False)
    table = padding.framed(site)
    pixels = site.product(padding.table_extents(site), "table_pixels")
    flat = emit.reshape(table, [site.batch, site.channels, pixels], hint="flat")
    shape = emit.stack([site.batch, site.channels, site.points])
    dims = static_dims([site.batch, site.channels, site.points])

    def fetch(offset: Operand) -> Operand:
        with emit.precise():
            index = emit.op("Expand", offset, shape, hint="index", dtype=INDEX, dims=dims)
        dtype = site.problem.compute
        return emit.op("GatherElements", flat, index, hint="pixel", dtype=dtype, dims=dims, axis=2)

    return _finish(site, _blend(site, corners, fetch))


def rows(site: Site) -> ir.Value:
    """Emit the form ``rows`` and return y."""
    emit = site.emit
    corners = corners_of(site, of_batch=True)
    axes = list(range(site.problem.spatial + 2))
    last = emit.transpose(padding.framed(site), [0, *axes[2:], 1], hint="channels_last")
    count = site.product([site.batch, *padding.table_extents(site)], "table_rows")
    table = emit.reshape(last, [count, site.channels], hint="table")
    planes = [integer(site.problem.spatial), site.batch, site.points]
    with emit.precise():
        offsets = [emit.reshape(offset, planes, hint="offset_rows") for offset in corners.offsets]
    weights = [
        emit.reshape(weight, [*planes, integer(1)], hint="weight_rows")
        for weight in corners.weights
    ]
    dims = static_dims([site.batch, site.points, site.channels])

    def fetch(offset: Operand) -> Operand:
        dtype = site.problem.compute
        return emit.op("Gather", table, offset, hint="pixel", dtype=dtype, dims=dims, axis=0)

    total = _blend(site, Corners(offsets, weights, corners.start), fetch)
    return _finish(site, emit.transpose(emit.value(total), [0, 2, 1], hint="channels_first"))


def static_dims(sizes: list[Operand]) -> list[int | None]:
    """Return sizes as static extents, None where dynamic."""
    return [int(size.item()) if isinstance(size, np.ndarray) else None for size in sizes]


def _strides(site: Site) -> list[Operand]:
    """Return the distance in the table between neighbours on each axis, in grid order."""
    strides: list[Operand] = [integer(1)]
    for extent in padding.table_extents(site)[:-1]:
        strides.append(site.emit.math("Mul", strides[-1], extent, hint="stride"))
    return strides


def _batch_start(site: Site) -> Operand:
    """Return the first row of each picture, int32 [N, 1]."""
    emit = site.emit
    pixels = site.product(padding.table_extents(site), "picture_rows")
    if isinstance(site.batch, np.ndarray):
        numbers: Operand = np.arange(site.batch.item(), dtype=np.int64)
    else:
        scalar = emit.op("Reshape", site.batch, np.array([], np.int64), hint="batch", dims=[])
        zero, one = np.array(0, np.int64), np.array(1, np.int64)
        numbers = emit.op("Range", zero, scalar, one, hint="pictures", dims=[None])
    starts = emit.cast(emit.math("Mul", numbers, pixels, hint="starts"), INDEX, hint="starts")
    return emit.reshape(starts, [site.batch, integer(1)], hint="starts")


def _blend(site: Site, corners: Corners, fetch: Fetch) -> Operand:
    """Fetch the pixel of every corner and return the weighted sum, in ONNX Runtime's order."""
    emit, axes = site.emit, range(site.problem.spatial)
    with emit.precise():
        offsets = [
            [
                emit.take(planes, axis, f"offset{axis}{tap}")
                for tap, planes in enumerate(corners.offsets)
            ]
            for axis in axes
        ]
        weights = [
            [
                emit.take(planes, axis, f"weight{axis}{tap}")
                for tap, planes in enumerate(corners.weights)
            ]
            for axis in axes
        ]
        if corners.start is not None:
            offsets[-1] = [
                emit.math("Add", slow, corners.start, hint="row") for slow in offsets[-1]
            ]
    if _sums_corners(site):
        return _flat_sum(site, offsets, weights, fetch)
    return _along(site, offsets, weights, fetch)


def _along(
    site: Site,
    offsets: list[list[Operand]],
    weights: list[list[Operand]],
    fetch: Fetch,
    base: Operand | None = None,
) -> Operand:
    """Sum over the taps of the slowest axis the sums over the faster ones."""
    emit, terms = site.emit, []
    for tap, offset in enumerate(offsets[-1]):
        with emit.precise():
            here = offset if base is None else emit.math("Add", base, offset, hint="corner")
        faster = offsets[:-1]
        value = _along(site, faster, weights[:-1], fetch, here) if faster else fetch(here)
        weight = weights[-1][tap] if weights[-1] else None
        terms.append(value if weight is None else emit.math("Mul", weight, value, hint="weighted"))
    return _sum(site, terms)


def _sum(site: Site, terms: list[Operand]) -> Operand:
    """Add from left to right."""
    return functools.reduce(
        lambda total, term: site.emit.math("Add", total, term, hint="sum"), terms
    )


def _sums_corners(site: Site) -> bool:
    """Tell whether ONNX Runtime takes its fast path, which sums corners and not axes."""
    problem = site.problem
    return (
        problem.mode == "linear"
        and problem.padding == "zeros"
        and problem.spatial == FAST_SPATIAL
        and not problem.align_corners
    )


def _flat_sum(
    site: Site, offsets: list[list[Operand]], weights: list[list[Operand]], fetch: Fetch
) -> Operand:
    """Return ((w11 p11 + w12 p12) + w21 p21) + w22 p22 with w = wy wx."""
    emit, terms = site.emit, []
    for y, x in itertools.product(range(2), repeat=2):
        with emit.precise():
            corner = emit.math("Add", offsets[1][y], offsets[0][x], hint=f"corner{y}{x}")
            weight = emit.math("Mul", weights[1][y], weights[0][x], hint=f"weight_corner{y}{x}")
        terms.append(emit.math("Mul", weight, fetch(corner), hint="weighted"))
    return _sum(site, terms)


def _finish(site: Site, total: Operand) -> ir.Value:
    """Give the sum [N, C, P] the type and the shape of y; the last node is always a Reshape."""
    emit = site.emit
    value = emit.value(emit.cast(total, site.problem.x_dtype, hint="narrow"))
    sizes = [site.batch, site.channels, *site.outputs]
    return emit.op(
        "Reshape", value, emit.stack(sizes), hint="y", dtype=value.dtype, dims=static_dims(sizes)
    )
