"""Points in runs: bounded memory, and rows that stay in the cache between fetch and sum.

A run is a stretch of the points of every picture. Its result is [N, C, h, Wo] if it holds whole
rows of the output, else [N, C, k] and the pictures take their shape when it is joined.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.grid_sample.site import integer, static_dims

if TYPE_CHECKING:
    from onnx_passes.core.emit import Operand
    from onnx_passes.grid_sample.site import Site


@dataclasses.dataclass(frozen=True)
class Runs:
    """All runs of a node.

    Attributes:
        site: The node.
        lengths: Number of points of a picture in each run; int64 [1] operands.
    """

    site: Site
    lengths: list[Operand]

    @classmethod
    def of(cls, site: Site) -> Runs:
        """Plan the runs that the options of ``site`` ask for."""
        points, chunk = site.points, site.options.chunk
        if not site.in_runs or not isinstance(points, np.ndarray):
            return cls(site, [points])
        starts = range(0, points.item(), chunk)
        return cls(site, [integer(min(chunk, points.item() - start)) for start in starts])

    def cut(self, operand: Operand, points_axis: int) -> list[Operand]:
        """Cut an operand into the parts of the runs."""
        return self.site.emit.split(operand, points_axis, _known(self.lengths), "run")

    def shape(self, length: Operand) -> list[Operand]:
        """Return the shape of the result of a run."""
        site, row = self.site, self._row()
        if len(self.lengths) == 1:
            return [site.batch, site.channels, *site.outputs]
        if not row:
            return [site.batch, site.channels, length]
        (points,) = _known([length])
        return [site.batch, site.channels, integer(points // row), *site.outputs[1:]]

    def join(self, parts: list[Operand]) -> Operand:
        """Join the results of the runs."""
        site = self.site
        joined = site.emit.concat(parts, 2, "picture")
        if len(parts) == 1 or self._row():
            return joined
        shape = [site.batch, site.channels, *site.outputs]
        return site.emit.reshape(joined, shape, hint="picture")

    def _row(self) -> int:
        """Return the points of one row of the output if every run holds whole rows, else 0.

        Rows of one point do not count: to put an axis of 1 behind a Transpose is a Transpose
        again, and ONNX Runtime would merge the small ones into a large one behind the Concat.
        """
        inner = static_dims(self.site.outputs[1:])
        row = math.prod(size or 0 for size in inner)
        return row if None not in inner and row > 1 and self.site.options.chunk % row == 0 else 0


def _known(sizes: list[Operand]) -> list[int]:
    """Return sizes as numbers; a single one may be dynamic, which cuts nothing."""
    numbers = static_dims(sizes)
    return [0] if len(sizes) == 1 and None in numbers else [size or 0 for size in numbers]
