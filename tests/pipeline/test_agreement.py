from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import CheckError
from pipeline.agreement import PLAIN_ATOL, SAMPLED_ATOL, judge
from pipeline.drawn_words import draw_words

if TYPE_CHECKING:
    import numpy.typing as npt

X: npt.NDArray[np.float32] = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
SAMPLES = "r = Reshape(x, s) d = GridSample(r, q) y = Identity(x)"


def _model(body: str = "y = Identity(x)") -> ir.Model:
    weights = "<int64[4] s = {4, 1, 1, 3}, float[4, 1, 1, 2] q = {0, 0, 0, 0, 0, 0, 0, 0}>"
    text = '<ir_version: 8, opset_import: ["": 16]> g (float[N, 3] x) => (float[N, 3] y) '
    return ir.from_proto(onnx.parser.parse_model(f"{text} {weights} {{ {body} }}"))


def test_equal_numbers_agree_bit_by_bit() -> None:
    found = judge(_model(), X, [X], 2)
    assert (found.images, found.max_abs, found.same_argmax) == (4, 0.0, 1.0)
    assert found.sentence == "'y': bit-equal (12 elements)"


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_model_runs_in_batches_of_that_size(batch: int) -> None:
    model = _model()
    model.graph.inputs[0].shape = ir.Shape([batch, 3])
    assert judge(model, X, [X], batch).images == 4


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_tolerance_is_that_of_a_plain_model(factor: float) -> None:
    off = X.copy()
    off[2, 1] += np.float32(factor * PLAIN_ATOL)
    if factor < 1:
        assert judge(_model(), X, [off], 4).max_abs == pytest.approx(factor * PLAIN_ATOL, rel=1e-3)
        return
    with pytest.raises(CheckError, match=r"'y' .* differs .* index \(2, 1\) .* allowed 0\.0002"):
        judge(_model(), X, [off], 4)


def test_sampling_allows_more() -> None:
    off = X.copy()
    off[2, 1] += np.float32(0.9 * SAMPLED_ATOL)
    assert judge(_model(SAMPLES), X, [off], 4).tolerance == SAMPLED_ATOL
    off[2, 1] += np.float32(0.2 * SAMPLED_ATOL)
    with pytest.raises(CheckError, match=r"allowed 0\.017; nothing was written"):
        judge(_model(SAMPLES), X, [off], 4)


def test_another_class_is_named() -> None:
    off = X[:, ::-1] * np.float32(1)
    with pytest.raises(CheckError, match=r"another class in 100\.00% of the columns"):
        judge(_model(), X, [off], 4)


def test_an_output_that_hardly_moves_is_not_checkable() -> None:
    still = np.full_like(X, 0.5)
    with pytest.raises(CheckError, match=r"hardly depends on the picture .* trained weights"):
        judge(_model(), still, [still], 4)


def test_what_is_not_finite_cannot_be_compared() -> None:
    nan = X * np.float32("nan")
    with pytest.raises(CheckError, match="not finite"):
        judge(_model(), nan, [nan], 4)


def test_other_outputs_than_paddle_has_are_refused() -> None:
    with pytest.raises(CheckError, match="has 1 outputs, Paddle's has 2"):
        judge(_model(), X, [X, X], 4)


def test_another_shape_is_named() -> None:
    with pytest.raises(CheckError, match=r"shape \[4, 3\] instead of \[4, 4\]"):
        judge(_model(), X, [np.zeros((4, 4), np.float32)], 4)


def test_drawn_words_are_pictures_of_the_size_asked_for() -> None:
    words = draw_words(3, 3, 32, 100)
    assert words.shape == (3, 3, 32, 100)
    assert words.dtype == np.float32
    assert -1 <= words.min() < words.max() <= 1
    np.testing.assert_array_equal(words, draw_words(3, 3, 32, 100))
    assert draw_words(1, 1, 48, 320).shape == (1, 1, 48, 320)
