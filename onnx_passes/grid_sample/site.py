"""One GridSample node being replaced: its tensors, its extents and the emitter."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample.problem import Problem

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx_ir as ir

    from onnx_passes.core.emit import Emitter, Operand


@dataclasses.dataclass(frozen=True)
class Options:
    """How a decomposition is to be written.

    Attributes:
        chunk: Number of points of each picture to treat at a time; 0 is all of them.
        zeros: ``signed``: a frame of zeros around x, exact. ``value``: zero weights, which saves
            the frame, but gives -0 for some 0, and NaN next to an infinite or NaN pixel.
        fetch: The operator that fetches rows of a table, ``Gather`` or ``GatherND``.
    """

    chunk: int = 0
    zeros: str = "signed"
    fetch: str = "Gather"


class Site:
    """What every step of a rewrite needs; an extent is an int64 [1] operand.

    Attributes:
        emit: Collects the nodes.
        problem: The node in numbers.
        x: The picture [N, C, d1..dr].
        grid: The coordinates [N, o1..or, r].
        batch: N.
        channels: C.
        extents: d of each spatial axis in the order of the grid: last axis first.
        outputs: o of each spatial axis, in the order of the output.
        points: P, the number of output points of one picture.
        options: How to write it.
    """

    def __init__(self, emit: Emitter, node: ir.Node, options: Options) -> None:
        """Read ``node``, and emit the nodes that compute its dynamic extents."""
        x, grid = node.inputs
        if x is None or grid is None:
            msg = "a node without x and grid is refused before"
            raise ValueError(msg)
        self.options = options
        self.emit, self.x, self.grid = emit, x, grid
        self.problem = Problem.of(node)
        spatial = self.problem.spatial
        self.batch = emit.sizes(x, [0])
        self.channels = emit.sizes(x, [1])
        self.extents = [emit.sizes(x, [axis + 2]) for axis in reversed(range(spatial))]
        self.outputs = [emit.sizes(grid, [axis + 1]) for axis in range(spatial)]
        self.points = self.product(self.outputs, "points")

    @property
    def in_runs(self) -> bool:
        """Whether the points are cut into more than one run."""
        points, chunk = self.points, self.options.chunk
        return chunk > 0 and isinstance(points, np.ndarray) and points.item() > chunk

    def pictures(self) -> list[Site]:
        """Return a site for each picture; only this one where there are none, or unknown many."""
        if not isinstance(self.batch, np.ndarray) or self.batch.item() in {0, 1}:
            return [self]
        ones = [1] * int(self.batch.item())
        with self.emit.precise():
            grids = self.emit.split(self.grid, 0, ones, "grid_of_picture")
        parts = self.emit.split(self.x, 0, ones, "x_of_picture")
        return [self._alone(*pair) for pair in zip(parts, grids, strict=True)]

    def _alone(self, x: Operand, grid: Operand) -> Site:
        site = copy.copy(self)
        site.x, site.grid, site.batch = self.emit.value(x), self.emit.value(grid), integer(1)
        return site

    def number(self, value: float) -> npt.NDArray[np.generic]:
        """Return a scalar of the type of the coordinates."""
        return np.array(value, self.problem.compute.numpy())

    def column(self, sizes: list[Operand], dtype: ir.DataType, hint: str) -> Operand:
        """Return one size for each spatial axis as a column [r, 1]."""
        stacked = self.emit.cast(self.emit.stack(sizes), dtype, hint=hint)
        return self.emit.reshape(stacked, [integer(n) for n in (len(sizes), 1)], hint=hint)

    def product(self, sizes: list[Operand], hint: str) -> Operand:
        """Return the product of some sizes."""
        total = sizes[0]
        for size in sizes[1:]:
            total = self.emit.math("Mul", total, size, hint=hint)
        return total


def integer(value: int) -> Operand:
    """Return an extent known now."""
    return np.array([value], np.int64)


def static_dims(sizes: list[Operand]) -> list[int | None]:
    """Return sizes as static extents, None where dynamic."""
    return [int(size.item()) if isinstance(size, np.ndarray) else None for size in sizes]
