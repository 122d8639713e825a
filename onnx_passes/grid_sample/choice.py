"""Which form fits a node, into how many runs its points are cut, and what fetches a row.

``auto`` chooses among the two exact forms. The others are there to be asked for: ``packed`` and
``tent`` round differently, and whether they pay on a matrix unit is not measured.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from onnx_passes.grid_sample.problem import TAPS

if TYPE_CHECKING:
    from onnx_passes.grid_sample.problem import Problem

# Measured with onnxruntime 1.32 on x86-64, see docs/grid_sample.md: below, a row of channels is
# too short to be worth one copy each; above, an index for every channel costs more than it saves.
ROWS_FROM_CHANNELS = 32
# The rows of all corners of a run fill this: little enough to be summed before they leave the
# cache, enough to be worth the nodes.
CPU_RUN_BYTES = 6 << 20
CPU_VOLUME_RUN_BYTES = 2 << 20  # eight rows a point are summed in three steps, not in two
CPU_MOST_RUNS = 256
VOLUME = 3  # spatial axes

# CANN 8.1 configuration of GatherElements: it falls to AI CPU from these sizes on, both together.
AI_CPU_DATA_BYTES = 3_072_000
AI_CPU_INDEX_COUNT = 2048


@dataclasses.dataclass(frozen=True)
class Choice:
    """How to write a node.

    Attributes:
        form: The form.
        chunk: The number of points in a run; 0: all.
        reason: Why, in words; may be empty.
        fetch: The operator that fetches rows, ``Gather`` or ``GatherND``.
    """

    form: str
    chunk: int
    reason: str
    fetch: str


def choose(problem: Problem, form: str, target: str, chunk: int, max_bytes: int) -> Choice:
    """Return the form and the run length for one node.

    Args:
        problem: The node.
        form: The form that was asked for, or ``auto``.
        target: ``cpu`` or ``ascend310p``.
        chunk: The run length that was asked for, or 0.
        max_bytes: Bound on what one run keeps in memory beside x and y, or 0.
    """
    reason = ""
    if form == "auto":
        form, reason = _for_ascend(problem) if target == "ascend310p" else _for_cpu(problem)
        if target == "cpu" and form == "rows" and not chunk:
            chunk = _cached_run(problem)
    if max_bytes:
        limit = _bounded_run(problem, max_bytes)
        if limit is None:
            note = "max_bytes cannot bound a dynamic number of points"
            reason = f"{reason}; {note}" if reason else note
        elif chunk == 0 or limit < chunk:
            chunk = limit
    # Measured: eight short rows a point are worth the int64 index of GatherND, four are not.
    volume = target == "cpu" and problem.spatial == VOLUME
    return Choice(form, _in_whole_rows(problem, chunk), reason, "GatherND" if volume else "Gather")


def _in_whole_rows(problem: Problem, chunk: int) -> int:
    """Return a run length near ``chunk`` that spares the final copy; 0 if there is but one run."""
    points = problem.points
    if points is None or chunk >= points:
        return 0
    row = max(1, points // (problem.grid_dims[1] or 1))
    return chunk // row * row if chunk >= row else chunk


def _for_cpu(problem: Problem) -> tuple[str, str]:
    channels = problem.x_dims[1]
    if channels is None:
        return "rows", "the number of channels is dynamic"
    if channels < ROWS_FROM_CHANNELS:
        return "elements", f"{channels} channels make rows too short"
    return "rows", f"one row holds {channels} channels"


def _for_ascend(problem: Problem) -> tuple[str, str]:
    size, count = problem.table_bytes, problem.fetched
    if count is not None and count < AI_CPU_INDEX_COUNT:
        return "elements", f"GatherElements of {count} elements stays on AI Core"
    if size is None:
        return "rows", "GatherElements of a dynamic size may fall to AI CPU"
    if size >= AI_CPU_DATA_BYTES:
        return "rows", f"GatherElements on {size} bytes would fall to AI CPU"
    if (problem.x_dims[1] or 0) < ROWS_FROM_CHANNELS:
        return "elements", f"GatherElements on {size} bytes stays on AI Core"
    return "rows", f"one row holds {problem.x_dims[1]} channels"


def _cached_run(problem: Problem) -> int:
    """Return a run length whose rows fit the cache, or 0 where cutting does not pay."""
    point = problem.row_bytes
    if point is None or problem.points is None:
        return 0
    fitting = CPU_VOLUME_RUN_BYTES if problem.spatial == VOLUME else CPU_RUN_BYTES
    run = max(fitting // (point * _corners(problem)), _divided(problem.points, CPU_MOST_RUNS))
    return run if 2 * run <= problem.points else 0


def _bounded_run(problem: Problem, max_bytes: int) -> int | None:
    """Return how many points may be treated at a time; every corner and its index count."""
    if problem.points is None or problem.point_bytes is None:
        return None
    return max(1, max_bytes // (problem.point_bytes * (2 * _corners(problem) + 2)))


def _corners(problem: Problem) -> int:
    return int(TAPS[problem.mode] ** problem.spatial)


def _divided(points: int, runs: int) -> int:
    return max(1, math.ceil(points / runs))
