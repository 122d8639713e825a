from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes.numerics.feeds import generate
from onnx_passes.report.comparison import BINS, compare_models, histogram

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab


def test_the_bins_hold_every_finite_difference() -> None:
    rng = np.random.default_rng(0)
    expected = rng.standard_normal(1000)
    gaps = 10.0 ** rng.uniform(-7, -2, 1000)
    gaps[:100] = 0
    found = histogram("y", expected, expected + gaps)
    assert (found.size, found.equal, found.infinite) == (1000, 100, 0)
    assert sum(found.counts) == 900
    assert len(found.counts) == BINS == len(found.edges) - 1
    assert (found.edges[0], found.edges[-1]) == pytest.approx((1e-7, 1e-2))


def test_one_difference_falls_into_the_bin_around_it() -> None:
    found = histogram("y", np.zeros(3), np.array([0.0, 0.0, 3e-4]))
    (place,) = np.flatnonzero(found.counts)
    assert found.edges[place] <= 3e-4 <= found.edges[place + 1]


@pytest.mark.parametrize("gap", [1.0, 1e-5, 1e300, 5e-324])
def test_a_single_size_of_difference_has_bins_too(gap: float) -> None:
    found = histogram("y", np.zeros(4), np.full(4, gap))
    assert sum(found.counts) == 4


def test_nan_and_infinity_are_counted_apart() -> None:
    expected = np.array([np.nan, np.inf, 1.0, 1.0, np.inf, 2.0])
    actual = np.array([np.nan, np.inf, np.nan, np.inf, -np.inf, 2.5])
    found = histogram("y", expected, actual)
    assert (found.size, found.equal, found.infinite) == (6, 2, 3)
    assert sum(found.counts) == 1


def test_equal_outputs_have_no_bins() -> None:
    found = histogram("y", np.array([True, False]), np.array([True, False]))
    assert (found.equal, found.counts, found.edges) == (2, (), ())


def test_compares_on_the_first_set_of_feeds_of_the_run(
    picture_model: ir.Model, passed: Outcome
) -> None:
    found = compare_models(picture_model, passed.model)
    assert found.problem == ""
    assert found.feeds == "generated, seed 0: x float32 [2, 3, 16, 20]"
    assert [tensor.name for tensor in found.tensors] == ["h", "s", "y"]
    assert found.tensors[0].peak == abs(generate(picture_model, seed=0)["x"]).max() / 2
    assert [h.output for h in found.histograms] == ["y"]
    assert [(p.tensor, p.input) for p in found.pictures] == [("h", "x"), ("s", "x"), ("y", "x")]


def test_compares_on_given_feeds(picture_model: ir.Model, passed: Outcome) -> None:
    feeds = {"x": np.ones((5, 3, 16, 20), np.float32)}
    found = compare_models(picture_model, passed.model, feeds)
    assert found.feeds == "given: x float32 [5, 3, 16, 20]"
    assert found.histograms[0].size == 5 * 3 * 16 * 20


def test_what_cannot_be_compared_has_a_reason(picture_model: ir.Model) -> None:
    found = compare_models(picture_model, picture_model, {"z": np.ones(1)})
    assert "feeds lack input 'x'" in found.problem
    assert found.tensors == ()


def test_feature_maps_are_no_pictures(lab: Lab) -> None:
    text = "agraph (float[N,8] x) => (float[N,8] y) { a = Relu(x)  y = Neg(a) }"
    model = lab.model(text)
    assert compare_models(model, model).pictures == ()


def test_the_pictures_are_those_that_differ_most(lab: Lab) -> None:
    steps = "  ".join(f"t{i + 1} = Add(t{i}, bias)" for i in range(8))
    text = "agraph (float[N,1,16,16] t0) => (float[N,1,16,16] t8) <float[1] bias = {1.0}> {%s}"
    original = lab.model(text % steps)
    changed = lab.model(text.replace("1.0", "2.0") % steps)
    found = compare_models(original, changed)
    assert [pictures.tensor for pictures in found.pictures] == ["t5", "t6", "t7", "t8"]


def test_a_model_that_onnxruntime_lacks_a_kernel_for_is_compared_too(lab: Lab) -> None:
    model = lab.model("""
    g (float[1, 1, 3, 3, 3] x, float[1, 2, 2, 2, 3] grid) => (float[1, 1, 2, 2, 2] y) {
        z = Add(x, x)
        y = GridSample <mode = "cubic"> (z, grid)
    }
    """)
    found = compare_models(model, model)
    assert found.problem == ""
    assert [tensor.name for tensor in found.tensors] == ["z", "y"]
    assert all(tensor.difference.same_bits for tensor in found.tensors)
