from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnx_passes.numerics.tolerance import epsilon, tolerance


def allowed(exactness: Any, **changes: Any) -> Any:  # noqa: ANN401
    numbers = {"dtype": np.dtype(np.float32), "peak": 2.0, "noise": 1e-6, "sensitivity": 5.0}
    return tolerance(exactness, **{**numbers, **changes})


def test_exact_allows_nothing() -> None:
    assert (allowed("exact").atol, allowed("exact").formula) == (0.0, "bit-equal")


def test_close_allows_eight_times_the_noise_or_the_spacing_at_the_peak() -> None:
    assert allowed("close").atol == 8e-6
    assert allowed("close", noise=0.0).atol == 8 * 2**-23 * 2
    assert allowed("close").formula == "8 * max(noise 1e-06, eps 1.19e-07 * peak 2) = 8e-06"


def test_close_allows_integers_no_more_than_nudges_change_them() -> None:
    assert allowed("close", dtype=np.dtype(np.int64), noise=0.0).atol == 0.0


def test_inexact_allows_a_hundredth_of_the_sensitivity() -> None:
    assert allowed("inexact").atol == 0.05
    assert allowed("inexact").formula == "0.01 * sensitivity 5 = 0.05"


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_epsilon_is_the_spacing_at_one(dtype: Any) -> None:  # noqa: ANN401
    one = np.array(1, dtype)
    spacing = float(np.nextafter(one, np.array(2, dtype))) - 1
    assert epsilon(np.dtype(dtype)) == spacing


def test_epsilon_of_integers_is_zero() -> None:
    assert epsilon(np.dtype(np.int32)) == epsilon(np.dtype(bool)) == 0.0
