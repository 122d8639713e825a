from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnx_passes.numerics.compare import (
    compare,
    greatest_difference,
    is_float,
    peak,
    same_bits,
)

Array = np.ndarray[Any, Any]
NAN, INF = np.nan, np.inf


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def test_measures_against_hand_computed_numbers() -> None:
    expected = np.array([[1, 2, 4], [0, 8, -3]], np.float32)
    actual = np.array([[1, 2.5, 4], [0.25, 8, -3]], np.float32)
    d = compare(expected, actual)
    assert (d.problem, d.same_bits) == ("", False)
    assert (d.max_abs, d.worst_index, d.expected, d.actual) == (0.5, (0, 1), 2.0, 2.5)
    assert d.max_rel == 0.25
    assert (d.mismatches, d.size) == (2, 6)
    assert d.snr_db == pytest.approx(10 * math.log10(94 / (0.25 + 0.0625)))
    product = 1 + 5 + 16 + 64 + 9
    norms = math.sqrt(94) * math.sqrt(1 + 6.25 + 16 + 0.0625 + 64 + 9)
    assert d.cosine == pytest.approx(product / norms)
    assert d.argmax_agreement == 1.0
    assert d.sentence() == (
        "2 of 6 elements differ; greatest absolute difference 0.5 at index (0, 1) "
        "(expected 2, got 2.5)"
    )


def test_argmax_agreement_is_the_share_of_rows() -> None:
    assert compare(np.eye(4), np.eye(4)[[0, 1, 2, 2]]).argmax_agreement == 0.75
    assert compare(np.array(1.0), np.array(2.0)).argmax_agreement == 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("start", [1.0, -1.0, 0.0])
def test_ulps_count_representable_numbers_across_zero(dtype: Any, start: float) -> None:  # noqa: ANN401
    below = above = np.array([start], dtype)
    for _ in range(3):
        below = np.nextafter(below, np.array([-INF], dtype))
        above = np.nextafter(above, np.array([INF], dtype))
    assert compare(below, above).max_ulp == 6


@pytest.mark.parametrize(
    ("expected", "actual", "max_abs", "same"),
    [
        pytest.param(f32(1, NAN), f32(1, NAN), 0, True, id="NaN equals NaN"),
        pytest.param(f32(NAN), -f32(NAN), 0, True, id="whatever its sign"),
        pytest.param(f32(NAN, 1), f32(0, 1), INF, False, id="NaN against a number"),
        pytest.param(f32(0, 1), f32(NAN, 1), INF, False, id="a number against NaN"),
        pytest.param(f32(INF, 1), f32(INF, 2), 1, False, id="equal infinities"),
        pytest.param(f32(INF), f32(-INF), INF, False, id="opposite infinities"),
        pytest.param(f32(INF), f32(1), INF, False, id="infinity against a number"),
        pytest.param(f32(0.0), f32(-0.0), 0, False, id="the sign of zero is a bit"),
        pytest.param(f32(NAN, NAN), f32(1, 2), INF, False, id="all NaN expected"),
        pytest.param(np.array([3, 5]), np.array([3, 9]), 4, False, id="integers"),
        pytest.param(np.array([True]), np.array([False]), 1, False, id="booleans"),
        pytest.param(
            np.array([0], np.uint8),
            np.array([255], np.uint8),
            255,
            False,
            id="unsigned do not wrap",
        ),
        pytest.param(f32(), f32(), 0, True, id="nothing"),
        pytest.param(np.array(["a"]), np.array(["a"]), 0, True, id="strings"),
    ],
)
def test_edges(expected: Array, actual: Array, max_abs: float, same: bool) -> None:  # noqa: FBT001, RUF100
    d = compare(expected, actual)
    assert d.problem == ""
    assert (d.max_abs, d.same_bits) == (max_abs, same)
    assert greatest_difference(expected, actual) == max_abs


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        (np.zeros((2, 1), np.float32), "shape [2, 1] instead of [2]"),
        (np.zeros(2), "dtype float64 instead of float32"),
    ],
)
def test_what_cannot_be_compared_is_a_problem(actual: Array, problem: str) -> None:
    d = compare(f32(0, 0), actual)
    assert d.problem == d.sentence() == problem
    assert d.max_abs == INF
    assert not d.same_bits
    assert greatest_difference(f32(0, 0), actual) == INF


def test_other_strings_are_a_problem() -> None:
    assert compare(np.array(["a"]), np.array(["b"])).problem == "strings differ"


def test_sentences() -> None:
    assert compare(f32(1, 2), f32(1, 2)).sentence() == "bit-equal (2 elements)"
    assert "equal values in other bits" in compare(f32(0.0), f32(-0.0)).sentence()


def test_same_bits_wants_dtype_and_shape() -> None:
    assert same_bits(f32(1), f32(1))
    assert not same_bits(f32(1), np.array([1.0]))
    assert not same_bits(f32(1), np.ones((1, 1), np.float32))
    assert same_bits(np.asfortranarray(np.eye(3)), np.eye(3))


def test_peak_is_the_greatest_finite_magnitude() -> None:
    assert peak(f32(1, -7, NAN, INF)) == 7
    assert peak(f32(1, -7)) == 7
    assert peak(f32(NAN)) == 0
    assert peak(f32()) == 0
    assert peak(np.array([True, False])) == 1
    assert peak(np.array([-9, 3])) == 9


def test_is_float_knows_numpys_and_ml_dtypes_floats() -> None:
    assert all(is_float(np.zeros(1, d)) for d in (np.float16, np.float64, ml_dtypes.bfloat16))
    assert not any(is_float(np.zeros(1, d)) for d in (np.int8, bool, np.str_))
