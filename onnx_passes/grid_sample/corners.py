"""Where each point reads, and with which weight.

A corner is one tap on every axis: 4 for linear on two axes, 64 for cubic on three. Two ways to its
index lead through one interface. With a frame of zeros, all taps of a point lie in a fixed pattern,
so one index is computed and each corner adds a constant. With border and reflection, each tap of
each axis finds its own way, and a corner adds them up.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.grid_sample import coordinates, fetch, padding
from onnx_passes.grid_sample.site import integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.runs import Runs
    from onnx_passes.grid_sample.site import Site

INDEX = ir.DataType.INT32
OFFSET_POINTS = WEIGHT_POINTS = 2  # the axis of the points in offsets and weights
FAST_SPATIAL = 2  # ONNX Runtime has its fast path for two axes


@dataclasses.dataclass(frozen=True)
class Corners:
    """The corners of all points, or of a run of points.

    Attributes:
        site: The node.
        taps: Number of taps on one axis.
        offsets: Offset into the table for each axis and tap; with a frame, for one only. int32
            [N, 1, P] in elements, or numbers of rows (see ``fetch``).
        steps: With a frame, the distance in the table of one tap on each axis; else empty.
        weights: Weight for each axis and tap; empty for nearest.
        products: Weight for each corner, where ONNX Runtime multiplies the weights first.
        index: Type of offsets and steps.
    """

    site: Site
    taps: int
    offsets: list[list[Operand]]
    steps: list[Operand]
    weights: list[list[Operand]]
    products: dict[tuple[int, ...], Operand]
    index: ir.DataType

    def all(self) -> list[tuple[int, ...]]:
        """Return every corner, a tap for each axis in grid order; the first axis is innermost."""
        axes = range(self.site.problem.spatial)
        return [corner[::-1] for corner in itertools.product(range(self.taps), repeat=len(axes))]

    def indices(self) -> dict[tuple[int, ...], Operand]:
        """Emit and return the index of every corner."""
        add = self.site.emit.math
        if self.steps:
            return {corner: self._from_first(corner) for corner in self.all()}
        partial: dict[tuple[int, ...], Operand] = {}
        for corner in self.all():
            for axis in reversed(range(len(corner))):
                here, slower = self.offsets[axis][corner[axis]], corner[axis + 1 :]
                if corner[axis:] not in partial:
                    partial[corner[axis:]] = (
                        add("Add", partial[slower], here, hint="corner") if slower else here
                    )
        return {corner: partial[corner] for corner in self.all()}

    def in_runs(self, runs: Runs) -> list[Corners]:
        """Cut into runs of points."""
        offsets = [[runs.cut(one, OFFSET_POINTS) for one in axis] for axis in self.offsets]
        weights = [[runs.cut(one, WEIGHT_POINTS) for one in axis] for axis in self.weights]
        products = {key: runs.cut(one, WEIGHT_POINTS) for key, one in self.products.items()}
        return [
            dataclasses.replace(
                self,
                offsets=[[parts[run] for parts in axis] for axis in offsets],
                weights=[[parts[run] for parts in axis] for axis in weights],
                products={key: parts[run] for key, parts in products.items()},
            )
            for run in range(len(runs.lengths))
        ]

    def with_slowest(self, change: Callable[[Operand], Operand]) -> Corners:
        """Return the same corners with the offsets of the slowest axis changed."""
        slowest = [change(offset) for offset in self.offsets[-1]]
        return dataclasses.replace(self, offsets=[*self.offsets[:-1], slowest])

    def together(self, groups: list[list[tuple[int, ...]]], runs: Runs) -> list[list[Operand]]:
        """Return for each run and group of corners their rows side by side, [N, P, n]."""
        emit, site = self.site.emit, self.site
        if self.steps and all(isinstance(step, np.ndarray) for step in self.steps):
            first = fetch.side_by_side(site, self.offsets[0][0])
            patterns = [
                fetch.pattern(site, [self._distance(one) for one in group]) for group in groups
            ]
            return [  # added run by run, while the sum is small enough to stay in the cache
                [emit.math("Add", part, pattern, hint="corners") for pattern in patterns]
                for part in runs.cut(first, 1)
            ]
        rows = {corner: fetch.side_by_side(site, one) for corner, one in self.indices().items()}
        joined = [emit.concat([rows[one] for one in group], 2) for group in groups]
        return [list(each) for each in zip(*(runs.cut(one, 1) for one in joined), strict=True)]

    def _from_first(self, corner: tuple[int, ...]) -> Operand:
        first, distance = self.offsets[0][0], self._distance(corner)
        if not any(corner):
            return first
        return self.site.emit.math("Add", first, distance, hint="corner")

    def _distance(self, corner: tuple[int, ...]) -> Operand:
        emit = self.site.emit
        total: Operand = np.zeros(1, self.index.numpy())
        for tap, step in zip(corner, self.steps, strict=True):
            if tap:
                taps = np.array([tap], self.index.numpy())
                moved = emit.math("Mul", step, taps, hint="taps")
                total = moved if _is_zero(total) else emit.math("Add", total, moved, hint="taps")
        return total


def corners_of(site: Site, *, channels_last: bool) -> Corners:
    """Emit everything between the grid and the index of the first corner.

    Args:
        site: The node.
        channels_last: Whether channels follow points in the pixels. Weights are [N, 1, P, 1] then
            instead of [N, 1, P], and the offsets are numbers of rows that count from the first
            picture of the batch instead of the point's own.
    """
    emit = site.emit
    with emit.precise():
        extents = site.column(site.extents, site.problem.compute, "extents")
        planes = coordinates.planes_of(site)
        pixels = coordinates.to_pixels(site, planes, extents)
        taps = coordinates.taps_of(site, padding.confined(site, pixels, extents))
        positions, weighted = padding.placed(site, taps, extents)
        whole = [emit.cast(position, INDEX, hint="whole") for position in positions]
    strides = _strides(site)
    offsets = _offsets(site, whole, strides, channels_last=channels_last)
    index = fetch.number_dtype(site) if channels_last else INDEX
    steps = [emit.cast(stride, index, hint="step") for stride in strides]
    if channels_last:
        offsets = [[fetch.numbered(site, one) for one in axis] for axis in offsets]
        shape = [site.batch, integer(site.problem.spatial), site.points, integer(1)]
        weighted = [emit.reshape(weight, shape, hint="weight_rows") for weight in weighted]
    weights = _by_axis(site, weighted, "weight")
    products = _products(site, weights) if _sums_corners(site) else {}
    framed = padding.frame_of(site) > 0
    return Corners(site, taps.count, offsets, steps if framed else [], weights, products, index)


def _offsets(
    site: Site, positions: list[Operand], strides: list[Operand], *, channels_last: bool
) -> list[list[Operand]]:
    """Return the offset for each axis and tap, or with a frame one offset for the first corner."""
    emit = site.emit
    column = site.column(strides, INDEX, "strides")
    planes = [emit.math("Mul", position, column, hint="offset") for position in positions]
    offsets = _by_axis(site, planes, "offset")
    if padding.frame_of(site):
        first = [taps[0] for taps in offsets]
        add = functools.partial(emit.math, "Add", hint="first_corner")
        offsets = [[functools.reduce(add, first)]]
    if channels_last and not _is_one(site.batch):
        start = _picture_start(site)
        offsets[-1] = [emit.math("Add", offset, start, hint="row") for offset in offsets[-1]]
    return offsets


def _by_axis(site: Site, planes: list[Operand], hint: str) -> list[list[Operand]]:
    """Turn planes for each tap into operands for each axis and tap."""
    axes = range(site.problem.spatial)
    columns = [site.emit.split(plane, 1, [1] * len(axes), hint) for plane in planes]
    return [[column[axis] for column in columns] for axis in axes] if columns else []


def _strides(site: Site) -> list[Operand]:
    """Return the distance in the table between neighbours on each axis, in grid order."""
    strides: list[Operand] = [integer(1)]
    for extent in padding.table_extents(site)[:-1]:
        strides.append(site.emit.math("Mul", strides[-1], extent, hint="stride"))
    return strides


def _picture_start(site: Site) -> Operand:
    """Return the first row of each picture, int32 [N, 1, 1]."""
    emit = site.emit
    pixels = site.product(padding.table_extents(site), "picture_rows")
    if isinstance(site.batch, np.ndarray):
        numbers: Operand = np.arange(site.batch.item(), dtype=np.int64)
    else:
        scalar = emit.op("Reshape", site.batch, np.array([], np.int64), hint="batch", dims=[])
        zero, one = np.array(0, np.int64), np.array(1, np.int64)
        numbers = emit.op("Range", zero, scalar, one, hint="pictures", dims=[None])
    starts = emit.cast(emit.math("Mul", numbers, pixels, hint="starts"), INDEX, hint="starts")
    return emit.reshape(starts, [site.batch, integer(1), integer(1)], hint="starts")


def _sums_corners(site: Site) -> bool:
    """Tell whether ONNX Runtime takes its fast path, which sums corners and not axes."""
    problem = site.problem
    return (
        problem.mode == "linear"
        and problem.padding == "zeros"
        and problem.spatial == FAST_SPATIAL
        and not problem.align_corners
    )


def _products(site: Site, weights: list[list[Operand]]) -> dict[tuple[int, ...], Operand]:
    """Return the weight wy wx of each corner."""
    return {
        (x, y): site.emit.math("Mul", weights[1][y], weights[0][x], hint="weight_corner")
        for y, x in itertools.product(range(2), repeat=2)
    }


def _is_zero(distance: Operand) -> bool:
    return isinstance(distance, np.ndarray) and not distance.any()


def _is_one(size: Operand) -> bool:
    return isinstance(size, np.ndarray) and size.item() == 1
