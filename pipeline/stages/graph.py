"""The stages in order, and which of them a user asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.registry import did_you_mean
from pipeline.errors import FlowError
from pipeline.stages.bench import Bench
from pipeline.stages.compile import Compile
from pipeline.stages.export import Export
from pipeline.stages.fetch_check import FetchCheck
from pipeline.stages.infer import Infer
from pipeline.stages.lint import Lint
from pipeline.stages.preprocess import Preprocess
from pipeline.stages.report import Report
from pipeline.stages.score import Score
from pipeline.stages.surgery import Optimize, Simplify
from pipeline.stages.verify import Verify

if TYPE_CHECKING:
    from pipeline.stages.stage import Stage

STAGES: tuple[Stage, ...] = (
    FetchCheck(),
    Export(),
    Simplify(),
    Optimize(),
    Verify(),
    Lint(),
    Compile(),
    Preprocess(),
    Infer(),
    Score(),
    Bench(),
    Report(),
)
NAMES = tuple(stage.name for stage in STAGES)


def choose(start: str | None, end: str | None, only: str | None) -> frozenset[str]:
    """Return the stages from ``start`` to ``end``, or ``only`` one; all of them unless told.

    Raises:
        FlowError: If a name is unknown, ``start`` comes after ``end``, or both ways are given.
    """
    if only and (start or end):
        msg = "--only names one stage; leave --from and --to out"
        raise FlowError(msg)
    first, last = _place(only or start or NAMES[0]), _place(only or end or NAMES[-1])
    if first > last:
        msg = f"--from {start} comes after --to {end}; the order is {', '.join(NAMES)}"
        raise FlowError(msg)
    return frozenset(NAMES[first : last + 1])


def needed(chosen: frozenset[str]) -> frozenset[str]:
    """Return the stages that others use, directly or through others, and that are not chosen."""
    found: set[str] = set()
    for stage in reversed(STAGES):  # a stage uses earlier ones only
        if stage.name in chosen | found:
            found |= set(stage.after)
    return frozenset(found - chosen)


def _place(name: str) -> int:
    if name not in NAMES:
        msg = f"no stage {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}"
        raise FlowError(msg)
    return NAMES.index(name)
