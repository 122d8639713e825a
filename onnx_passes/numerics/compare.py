"""How far two arrays are apart, in every measure a person asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from onnx_passes.numerics.measures import greatest_gap, measure

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
    found = measure(expected, actual)
    worst = np.unravel_index(found.worst, expected.shape)
    return Difference(
        problem="",
        same_bits=False,
        max_abs=found.max_abs,
        max_rel=found.max_rel,
        max_ulp=found.max_ulp,
        mismatches=found.mismatches,
        size=int(expected.size),
        worst_index=tuple(int(i) for i in worst),
        expected=float(expected[worst]),
        actual=float(actual[worst]),
        cosine=found.cosine,
        snr_db=found.snr_db,
        argmax_agreement=_argmax_agreement(expected, actual),
    )


def greatest_difference(expected: Array, actual: Array) -> float:
    """Return ``compare(expected, actual).max_abs``, without the other measures."""
    if _problem(expected, actual):
        return float("inf")
    if expected.dtype.kind in "OUS":
        return 0.0
    return greatest_gap(expected, actual)


def peak(array: Array) -> float:
    """Return the greatest finite magnitude of an array, 0.0 when there is none."""
    if array.size == 0 or array.dtype.kind in "OUSb":
        return float(array.any()) if array.dtype.kind == "b" else 0.0
    greatest = max(float(array.max()), -float(array.min()))
    if np.isfinite(greatest):
        return greatest
    wide = np.asarray(array, dtype=np.float64)
    return float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))


def _problem(expected: Array, actual: Array) -> str:
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if expected.dtype != actual.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    if expected.dtype.kind in "OUS" and not np.array_equal(expected, actual):
        return "strings differ"
    return ""


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
