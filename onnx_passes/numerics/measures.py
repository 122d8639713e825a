"""Every measure of two arrays in one walk, a block at a time.

A block and what is computed from it stay in the cache, so the walk costs half of what whole-array
expressions do, and no temporary is as large as the arrays.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BLOCK = 1 << 16  # elements; measured: of shorter blocks, calls take a third of the time
_ORDERED = (2, 4, 8)  # bytes of the floats whose bits count upwards


@dataclasses.dataclass
class Measures:
    """What a walk over ``expected`` and ``actual`` has found so far.

    Attributes:
        max_abs: Greatest absolute difference; NaN against a number is inf.
        worst: Flat index of the first element with that difference.
        max_rel: Greatest difference as a share of an expected value that is not 0.
        max_ulp: Greatest distance in representable numbers; 0 for what is no float.
        mismatches: Number of elements whose values differ.
        energy: Sum of expected squared.
        other_energy: Sum of actual squared.
        product: Sum of expected times actual.
        noise: Sum of the differences squared.
    """

    max_abs: float = 0.0
    worst: int = 0
    max_rel: float = 0.0
    max_ulp: float = 0.0
    mismatches: int = 0
    energy: float = 0.0
    other_energy: float = 0.0
    product: float = 0.0
    noise: float = 0.0

    @property
    def cosine(self) -> float:
        """Return the cosine of the angle between the two; NaN when one is all zero."""
        with np.errstate(all="ignore"):
            norm = float(np.sqrt(np.float64(self.energy) * self.other_energy))
        return self.product / norm if norm else float("nan")

    @property
    def snr_db(self) -> float:
        """Return the ratio of signal to difference, in dB."""
        with np.errstate(all="ignore"):
            return float(10 * np.log10(np.float64(self.energy) / self.noise))


def measure(expected: Array, actual: Array) -> Measures:
    """Measure two arrays of one shape and dtype, numbers or bool."""
    found = Measures()
    with np.errstate(all="ignore"):
        for start, one, other in _blocks(expected, actual):
            _add(found, start, one, other)
    return found


def greatest_gap(expected: Array, actual: Array) -> float:
    """Return ``measure(expected, actual).max_abs`` without the rest.

    Of float32 and float64 the difference is rounded to their own type: a third of the time.
    """
    greatest = _greatest_wide_gap
    if expected.dtype in {np.dtype(np.float32), np.dtype(np.float64)}:
        greatest = _greatest_gap
    with np.errstate(all="ignore"):
        return max((greatest(*pair) for _, *pair in _blocks(expected, actual)), default=0.0)


def _greatest_gap(expected: Array, actual: Array) -> float:
    change = actual - expected
    top = max(float(change.max()), -float(change.min()))
    return top if math.isfinite(top) else _greatest_wide_gap(expected, actual)


def _greatest_wide_gap(expected: Array, actual: Array) -> float:
    return float(_gap(np.asarray(expected, np.float64), np.asarray(actual, np.float64)).max())


def _blocks(expected: Array, actual: Array) -> Any:  # noqa: ANN401  an iterator of int, array, array
    first, second = (np.ascontiguousarray(array).reshape(-1) for array in (expected, actual))
    for start in range(0, first.size, BLOCK):
        yield start, first[start : start + BLOCK], second[start : start + BLOCK]


def _add(found: Measures, start: int, expected: Array, actual: Array) -> None:
    wide, other = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    gap = _gap(wide, other)
    top = float(gap.max())
    if top > found.max_abs:
        found.max_abs, found.worst = top, start + int(gap.argmax())
    found.mismatches += int(np.count_nonzero(gap))
    height = np.abs(wide)
    height[height == 0] = np.inf
    found.max_rel = max(found.max_rel, float(np.fmax.reduce(gap / height, initial=0.0)))
    # einsum, not dot: BLAS threads cost more than they save on blocks.
    found.energy += float(np.einsum("i,i", wide, wide))
    found.other_energy += float(np.einsum("i,i", other, other))
    found.product += float(np.einsum("i,i", wide, other))
    found.noise += float(np.einsum("i,i", gap, gap))
    if expected.dtype.kind not in "iub" and expected.dtype.itemsize in _ORDERED:
        found.max_ulp = max(found.max_ulp, _ulps(expected, actual, math.isfinite(top)))


def _gap(expected: Array, actual: Array) -> Array:
    """Return |actual - expected|; equal infinities and two NaN are 0, one NaN is inf."""
    gap = np.abs(actual - expected)
    if math.isfinite(gap.max()):  # NaN comes through a maximum
        return np.asarray(gap)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap)))


def _ulps(expected: Array, actual: Array, finite: bool) -> float:  # noqa: FBT001, RUF100
    """Return the greatest distance of two blocks of floats in representable numbers."""
    if not finite:
        both = np.isfinite(expected) & np.isfinite(actual)
        expected, actual = expected[both], actual[both]
        if not expected.size:
            return 0.0
    a, b = _ordinal(expected), _ordinal(actual)
    unsigned = f"u{a.dtype.itemsize}"  # the distance of two ordinals may not fit their own type
    return float((np.maximum(a, b).view(unsigned) - np.minimum(a, b).view(unsigned)).max())


def _ordinal(array: Array) -> Array:
    """Map floats to consecutive integers in the order of their values; both zeros to 0."""
    raw = array.view(f"i{array.dtype.itemsize}")
    sign = raw >> (8 * array.dtype.itemsize - 1)
    return np.asarray(((raw & np.iinfo(raw.dtype).max) ^ sign) - sign)
