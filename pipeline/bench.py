"""The time of a run by batch size: compiled models on a device, ONNX models on the CPU, one table.

Each repeat measures every case once, in turns, so that a busy or hot machine slows all alike. A
repeat gives the mean time of its runs; the report has the median of the repeats and their spread.
Transfers and files are not in the times. ``docs/bench.md`` describes the JSON.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eval.providers import Provider
    from pipeline.published import Published

SCHEMA = "onnx-passes-bench/1"


@dataclass(frozen=True)
class Case:
    """A model at a batch size.

    Attributes:
        model: Its file name.
        backend: ``ais_bench`` or ``onnxruntime``.
        hardware: What it runs on.
        batch: Items in a run; None if only the measurement tells it.
        loop: Runs in a measurement.
        measure: Returns the mean time of a run in milliseconds, and the batch size if it knows.
        provider: Where onnxruntime runs it; None with ais_bench.
    """

    model: str
    backend: str
    hardware: str
    batch: int | None
    loop: int
    measure: Callable[[], tuple[float, int | None]]
    provider: Provider | None = None

    @property
    def on_device(self) -> bool:
        """Whether it runs on an Ascend device."""
        return self.provider.on_device if self.provider else self.backend == "ais_bench"


@dataclass(frozen=True)
class Row:
    """A case with its times, the mean of each repeat."""

    case: Case
    batch: int
    mean_ms: tuple[float, ...]

    @property
    def ms(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.mean_ms)

    def fps(self, ms: float) -> float:
        """Return the items in a second, where a run takes ``ms``."""
        return 1000 * self.batch / ms

    def document(self, published: Published | None) -> dict[str, Any]:
        """Return the row for JSON."""
        theirs = published.fps.get(self.batch) if published else None
        low, high = min(self.mean_ms), max(self.mean_ms)
        return {
            "model": self.case.model,
            "backend": self.case.backend,
            "hardware": self.case.hardware,
            "on_device": self.case.on_device,
            "provider": self.case.provider and self.case.provider.full_name,
            "batch": self.batch,
            "loop": self.case.loop,
            "mean_ms": list(self.mean_ms),
            "ms": self.ms,
            "ms_min": low,
            "ms_max": high,
            "fps": self.fps(self.ms),
            "fps_min": self.fps(high),
            "fps_max": self.fps(low),
            "published_fps": theirs,
            "ratio": self.fps(self.ms) / theirs if theirs else None,
        }


def sweep(
    cases: Sequence[Case], repeat: int, on_progress: Callable[[int, int], None] | None = None
) -> list[Row]:
    """Measure every case ``repeat`` times, in turns.

    Raises:
        PipelineError: If a model runs at another batch size than its name says, or tells none.
    """
    times: list[list[float]] = [[] for _ in cases]
    told: list[int | None] = [case.batch for case in cases]
    for turn in range(repeat):
        for place, case in enumerate(cases):
            ms, batch = case.measure()
            times[place].append(ms)
            told[place] = _agreed(case, batch)
            if on_progress:
                on_progress(turn * len(cases) + place + 1, repeat * len(cases))
    return [
        Row(case, batch, tuple(ms))
        for case, batch, ms in zip(cases, told, times, strict=True)
        if batch is not None
    ]


def document(
    rows: Sequence[Row], repeat: int, warmup: int, published: Published | None
) -> dict[str, Any]:
    """Return the report as plain values for JSON."""
    return {
        "schema": SCHEMA,
        "repeat": repeat,
        "warmup": warmup,
        "published": published and vars(published),
        "rows": [row.document(published) for row in rows],
    }


def _agreed(case: Case, batch: int | None) -> int:
    """Return the batch size that a case runs at."""
    if batch is None and case.batch is None:
        msg = (
            f"{case.model} tells its batch size neither by its name, NAME_bs<N>.om, nor when it "
            "runs; say it with --batch"
        )
        raise PipelineError(msg)
    if batch is not None and case.batch is not None and batch != case.batch:
        msg = (
            f"{case.model} ran at batch {batch}, not at {case.batch} as its name says; compile it "
            "again or rename it"
        )
        raise PipelineError(msg)
    return case.batch or batch or 0
