"""How far two arrays are apart, in every measure a person asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclasses.dataclass(frozen=True)
class Difference:
    """``actual`` against ``expected``, element by element.

    Attributes:
        problem: Why nothing could be compared (shape, dtype), or an empty string.
        same_bits: Whether all bits agree (any NaN equals any NaN; -0.0 is not 0.0).
        max_abs: Greatest absolute difference, in the array's unit; NaN against a number is inf.
        max_rel: Greatest ``|actual - expected| / |expected|`` where expected is not 0.
        max_ulp: Greatest distance in representable numbers of the dtype; 0 for integers.
        mismatches: Number of elements whose values differ.
        size: Number of elements compared.
        worst_index: Where ``max_abs`` is.
        expected: The expected value there.
        actual: The actual value there.
        cosine: Cosine of the angle between the arrays, in [-1, 1]; NaN when one is all zero.
        snr_db: ``10 log10(sum expected^2 / sum (actual - expected)^2)`` in dB.
        argmax_agreement: Share of last-axis rows with the same argmax, in [0, 1].
    """

    problem: str
    same_bits: bool
    max_abs: float
    max_rel: float
    max_ulp: float
    mismatches: int
    size: int
    worst_index: tuple[int, ...]
    expected: float
    actual: float
    cosine: float
    snr_db: float
    argmax_agreement: float

    def sentence(self) -> str:
        """Return one line for a person."""
        if self.problem:
            return self.problem
        if self.same_bits:
            return f"bit-equal ({self.size} elements)"
        if self.mismatches == 0:
            return f"equal values in other bits ({self.size} elements): -0.0 for 0.0, say"
        return (
            f"{self.mismatches} of {self.size} elements differ; greatest absolute difference "
            f"{self.max_abs:.3g} at index {self.worst_index} "
            f"(expected {self.expected:.6g}, got {self.actual:.6g})"
        )


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays agree in dtype, shape and every bit; any NaN equals any NaN."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.itemsize not in _BITS or a.dtype.kind in "OUSb":
        return bool(np.array_equal(a, b))
    view = _BITS[a.dtype.itemsize]
    equal = np.ascontiguousarray(a).view(view) == np.ascontiguousarray(b).view(view)
    if equal.all():
        return True
    if not is_float(a):
        return False
    return bool((equal | (np.isnan(a) & np.isnan(b))).all())


def is_float(array: Array) -> bool:
    """Return whether the dtype is a floating-point one, ml_dtypes' included."""
    return array.dtype.kind == "f" or array.dtype.name in {"bfloat16", "float8_e4m3fn"}


def compare(expected: Array, actual: Array) -> Difference:
    """Measure ``actual`` against ``expected`` (any numeric or bool dtype, any shape)."""
    if problem := _problem(expected, actual):
        return _nothing(problem)
    bits = same_bits(expected, actual)
    if bits or expected.size == 0:
        return _equal(expected)
    wide_expected, wide_actual = _widen(expected), _widen(actual)
    gap = _gap(wide_expected, wide_actual)
    worst = np.unravel_index(int(np.argmax(gap)), gap.shape)
    with np.errstate(all="ignore"):
        relative = np.where(wide_expected != 0, gap / np.abs(wide_expected), 0.0)
    return Difference(
        problem="",
        same_bits=False,
        max_abs=float(gap[worst]),
        max_rel=float(np.nanmax(relative, initial=0.0)),
        max_ulp=_max_ulp(expected, actual),
        mismatches=int(np.count_nonzero(gap)),
        size=int(expected.size),
        worst_index=tuple(int(i) for i in worst),
        expected=float(wide_expected[worst]),
        actual=float(wide_actual[worst]),
        cosine=_cosine(wide_expected, wide_actual),
        snr_db=_snr_db(wide_expected, gap),
        argmax_agreement=_argmax_agreement(wide_expected, wide_actual),
    )


def greatest_difference(expected: Array, actual: Array) -> float:
    """Return ``compare(expected, actual).max_abs``, without the other measures."""
    if _problem(expected, actual):
        return float("inf")
    if same_bits(expected, actual) or expected.size == 0:
        return 0.0
    return float(_gap(_widen(expected), _widen(actual)).max())


def peak(array: Array) -> float:
    """Return the greatest finite magnitude of an array, 0.0 when there is none."""
    if array.size == 0 or array.dtype.kind in "OUSb":
        return float(array.any()) if array.dtype.kind == "b" else 0.0
    greatest = max(float(array.max()), -float(array.min()))
    if np.isfinite(greatest):
        return greatest
    wide = _widen(array)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def _problem(expected: Array, actual: Array) -> str:
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if expected.dtype != actual.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    if expected.dtype.kind in "OUS" and not np.array_equal(expected, actual):
        return "strings differ"
    return ""


def _widen(array: Array) -> Array:
    if array.dtype.kind in "OUS":
        return np.zeros(array.shape)
    return np.asarray(array, dtype=np.float64)


def _gap(expected: Array, actual: Array) -> Array:
    """Return |actual - expected|; equal infinities and two NaN are 0, one NaN is inf."""
    with np.errstate(all="ignore"):
        gap = np.abs(actual - expected)
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap)))


def _max_ulp(expected: Array, actual: Array) -> float:
    if not is_float(expected) or expected.dtype.itemsize not in _BITS:
        return 0.0
    finite = np.isfinite(expected) & np.isfinite(actual)
    if not finite.any():
        return 0.0
    if not finite.all():
        expected, actual = expected[finite], actual[finite]
    a, b = _ordinal(expected).astype(np.int64), _ordinal(actual).astype(np.int64)
    # Far apart, two float64 overflow int64; near each other, a float is too coarse to tell them.
    far = np.abs(a.astype(np.float64) - b)
    return float(np.where(far < 2.0**53, np.abs(a - b), far).max())


def _ordinal(array: Array) -> Array:
    """Map floats to consecutive integers in the order of their values; both zeros to 0."""
    raw = np.ascontiguousarray(array).view(f"i{array.dtype.itemsize}")
    return np.asarray(np.where(raw < 0, np.iinfo(raw.dtype).min - raw, raw))


def _cosine(expected: Array, actual: Array) -> float:
    # Sums, not dot products: BLAS threads cost more than they save on arrays of this size.
    with np.errstate(all="ignore"):
        norm = float(np.sqrt(np.sum(expected**2) * np.sum(actual**2)))
        return float(np.sum(expected * actual)) / norm if norm else float("nan")


def _snr_db(expected: Array, gap: Array) -> float:
    with np.errstate(all="ignore"):
        return float(10 * np.log10(np.sum(expected**2) / np.sum(gap**2)))


def _argmax_agreement(expected: Array, actual: Array) -> float:
    if expected.ndim == 0:
        return 1.0
    return float(np.mean(expected.argmax(-1) == actual.argmax(-1)))


def _equal(array: Array) -> Difference:
    return dataclasses.replace(
        _nothing(""), same_bits=True, max_abs=0.0, size=int(array.size), mismatches=0
    )


def _nothing(problem: str) -> Difference:
    bad = float("inf") if problem else 0.0
    return Difference(
        problem=problem,
        same_bits=False,
        max_abs=bad,
        max_rel=bad,
        max_ulp=bad,
        mismatches=0,
        size=0,
        worst_index=(),
        expected=float("nan"),
        actual=float("nan"),
        cosine=1.0,
        snr_db=float("inf"),
        argmax_agreement=1.0,
    )
