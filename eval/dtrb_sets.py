"""The ten evaluation sets of deep-text-recognition-benchmark, as the published figures count them.

IC03, IC13 and IC15 each enter twice, as two overlapping subsets, so 12,067 counts records and not
pictures. Sizes: names of the folders of its ``evaluation.zip``, and the README of that project
(https://github.com/clovaai/deep-text-recognition-benchmark).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZES = {
    "CUTE80": 288,
    "IC03_860": 860,
    "IC03_867": 867,
    "IC13_857": 857,
    "IC13_1015": 1015,
    "IC15_1811": 1811,
    "IC15_2077": 2077,
    "IIIT5k_3000": 3000,
    "SVT": 647,
    "SVTP": 645,
}
TOTAL = sum(SIZES.values())


def benchmark_of(dataset: str) -> str | None:
    """Return the benchmark a data set belongs to (``IC03`` for ``IC03_860``), None if to none."""
    name = dataset.rsplit("/", 1)[-1]
    return name.split("_")[0] if name in SIZES else None


def completeness(counts: Mapping[str, int]) -> str:
    """Return in words how the data sets (records by name) compare with the published ones.

    An empty string if none of them is there.
    """
    found = {name.rsplit("/", 1)[-1]: count for name, count in counts.items()}
    known = {name: found[name] for name in SIZES if name in found}
    if not known:
        return ""
    others = len(found) - len(known)
    parts = [f"{sum(known.values())} of the {TOTAL} records of the published evaluation"]
    if missing := [name for name in SIZES if name not in known]:
        parts.append(f"without {', '.join(missing)}")
    if wrong := [f"{n}: {known[n]} instead of {SIZES[n]}" for n in known if known[n] != SIZES[n]]:
        parts.append(f"other sizes than published: {', '.join(wrong)}")
    if others:
        parts.append(f"{others} data sets are none of them")
    return "; ".join(parts)
