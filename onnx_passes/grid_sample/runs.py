"""Points in runs: bounded memory, and rows that stay in the cache between fetch and sum.

A run is a stretch of the points of one picture, or of every picture. Its result is [N, C, h, Wo] if
it holds whole rows of the output, else [N, C, k] and the picture takes its shape when it is joined.
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
class Run:
    """How many pictures a run covers, and how many points of each; int64 [1] operands."""

    batch: Operand
    length: Operand


@dataclasses.dataclass(frozen=True)
class Runs:
    """All runs of a node, picture by picture.

    Attributes:
        site: The node.
        pictures: Number of pictures in each group of runs.
        lengths: Number of points in each run of a group.
    """

    site: Site
    pictures: list[Operand]
    lengths: list[Operand]

    @classmethod
    def of(cls, site: Site, *, by_picture: bool) -> Runs:
        """Plan the runs that the options of ``site`` ask for."""
        points, chunk = site.points, site.options.chunk
        if not chunk or not isinstance(points, np.ndarray) or points.item() <= chunk:
            return cls(site, [site.batch], [points])
        starts = range(0, points.item(), chunk)
        lengths = [integer(min(chunk, points.item() - start)) for start in starts]
        pictures = [site.batch]
        if by_picture and isinstance(site.batch, np.ndarray) and site.batch.item() > 1:
            pictures = [integer(1)] * site.batch.item()
        return cls(site, pictures, lengths)

    @property
    def single(self) -> bool:
        """Whether all points of all pictures are one run."""
        return len(self.pictures) == len(self.lengths) == 1

    def all(self) -> list[Run]:
        """Return the runs in order."""
        return [Run(batch, length) for batch in self.pictures for length in self.lengths]

    def cut(self, operand: Operand, points_axis: int) -> list[Operand]:
        """Cut an operand [N, ...] into the parts of the runs."""
        split = self.site.emit.split
        groups = split(operand, 0, _known(self.pictures), "picture")
        lengths = _known(self.lengths)
        return [run for group in groups for run in split(group, points_axis, lengths, "run")]

    def shape(self, run: Run) -> list[Operand]:
        """Return the shape of the result of a run."""
        site, row = self.site, self._row()
        if len(self.lengths) == 1:
            return [run.batch, site.channels, *site.outputs]
        if not row:
            return [run.batch, site.channels, run.length]
        (points,) = _known([run.length])
        return [run.batch, site.channels, integer(points // row), *site.outputs[1:]]

    def join(self, parts: list[Operand]) -> Operand:
        """Join the results of the runs."""
        site, count = self.site, len(self.lengths)
        groups = []
        for number, batch in enumerate(self.pictures):
            runs = parts[number * count : (number + 1) * count]
            joined = site.emit.concat(runs, 2, "picture")
            if count > 1 and not self._row():
                shape = [batch, site.channels, *site.outputs]
                joined = site.emit.reshape(joined, shape, hint="picture")
            groups.append(joined)
        return site.emit.concat(groups, 0, "pictures")

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
