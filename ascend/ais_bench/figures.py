"""What ais_bench measured: from the lines it prints, or from the summary it writes.

Both have two forms. The line of the throughput is
``throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(2.456): 407.166``, in 2022
``throughput 1000*batchsize(16)/...``. The summary is ``<folder>_summary.json`` beside the folder of
the results, in 2022 ``sumary.json`` inside it. Transfers to and from the device are not included.

Whatever text or JSON comes is read without an error; what is not there is None.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_SUMMARY = 64 * 2**20  # bytes; a time for each run is listed in it
_THROUGHPUT = re.compile(
    r"throughput 1000\*batchsize(?:\.mean)?\(([\d.]{1,40})\)"
    r"/NPU_compute_time\.mean\(([\d.eE+-]{1,40})\): ([\d.eE+-]{1,40})"
)
_TIMES = re.compile(r"NPU_compute_time \(ms\): ([^\n]{1,1000})")
_PAIR = re.compile(r"([a-z]{1,20}(?:\(99%\))?) = ([\d.eE+-]{1,40})")
_SUMMARIES = ("{0}_summary.json", "{0}/sumary.json")


@dataclass(frozen=True)
class Figures:
    """Times on the device and the speed, as ais_bench tells them.

    Attributes:
        mean_ms: Mean time of a run, in milliseconds.
        min_ms: The shortest.
        max_ms: The longest.
        median_ms: The median.
        percentile_99_ms: Of 100 runs, 99 take at most this.
        batch: The batch size in its formula; None in a summary, which does not tell it.
        throughput: 1000 * batch / mean_ms, as printed.
    """

    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    median_ms: float | None = None
    percentile_99_ms: float | None = None
    batch: float | None = None
    throughput: float | None = None


def parse_log(text: str) -> Figures:
    """Return what the output says; the last line of a kind counts."""
    speeds = _THROUGHPUT.findall(text)
    batch, mean, throughput = map(_positive, speeds[-1]) if speeds else (None, None, None)
    lines = _TIMES.findall(text)
    times = _times(dict(_PAIR.findall(lines[-1])) if lines else {})
    return Figures(
        **{**times, "mean_ms": times["mean_ms"] or mean}, batch=batch, throughput=throughput
    )


def parse_summary(text: str) -> Figures:
    """Return what a summary says."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Figures()
    if not isinstance(document, dict):
        return Figures()
    times = document.get("NPU_compute_time")
    return Figures(
        **_times(times if isinstance(times, dict) else {}),
        throughput=_positive(document.get("throughput")),
    )


def read_figures(folder: Path, log: str) -> Figures:
    """Return the figures of a run: its summary's, and what only the output tells.

    Args:
        folder: The folder of the results.
        log: What ais_bench printed.
    """
    printed = parse_log(log)
    summary = parse_summary(_summary_text(folder))
    merged = {
        name: value if value is not None else getattr(printed, name)
        for name, value in vars(summary).items()
    }
    return Figures(**merged)


def _summary_text(folder: Path) -> str:
    for pattern in _SUMMARIES:
        path = folder.parent / pattern.format(folder.name)
        try:
            with path.open("rb") as stream:
                return stream.read(MAX_SUMMARY).decode("utf-8", errors="replace")
        except OSError:
            continue
    return ""


def _times(found: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the times by the names of :class:`Figures`."""
    keys = {
        "mean_ms": "mean",
        "min_ms": "min",
        "max_ms": "max",
        "median_ms": "median",
        "percentile_99_ms": "percentile(99%)",
    }
    return {name: _positive(found.get(key)) for name, key in keys.items()}


def _positive(value: object) -> float | None:
    """Return ``value`` as a number that is finite and above 0, or None."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
