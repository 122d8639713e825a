from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics import feeds
from onnx_passes.numerics.runner import run_model

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    return lab.model(
        """
        g (float[N, 3] x, int64[N, K] ids, bool[K] flags, float16[K, ?] h) => (float[N, 3] y)
        { y = Relu(x) }
        """
    )


def test_every_input_gets_its_dtype_and_symbols_have_one_size(model: ir.Model) -> None:
    arrays = feeds.generate(model)
    assert feeds.describe(arrays) == (
        "x float32 [2, 3], ids int64 [2, 32], flags bool [32], h float16 [32, 32]"
    )
    assert feeds.describe(feeds.generate(model, sizes=(5, 7))) == (
        "x float32 [5, 3], ids int64 [5, 7], flags bool [7], h float16 [7, 7]"
    )
    assert set(np.unique(arrays["flags"])) == {False, True}


def test_given_shapes_bind_symbols_everywhere(model: ir.Model) -> None:
    arrays = feeds.generate(model, shapes={"ids": (4, 6)})
    assert feeds.describe(arrays) == (
        "x float32 [4, 3], ids int64 [4, 6], flags bool [6], h float16 [6, 32]"
    )


def test_a_feed_depends_on_seed_and_shape_and_nothing_else(model: ir.Model) -> None:
    one, again, other = (feeds.generate(model, seed=seed) for seed in (0, 0, 1))
    for name, array in one.items():
        np.testing.assert_array_equal(array, again[name])
        assert not np.array_equal(array, other[name])


def test_initializers_with_a_default_are_not_fed(lab: Lab) -> None:
    model = lab.model("g (float[2] x, float[2] w) => (float[2] y) { y = Mul(x, w) }")
    assert [value.name for value in feeds.graph_inputs(model)] == ["x", "w"]
    model.graph.inputs[1].const_value = model.graph.inputs[1].const_value or _tensor()
    model.graph.register_initializer(model.graph.inputs[1])
    assert list(feeds.generate(model)) == ["x"]


def _tensor() -> Any:  # noqa: ANN401
    import onnx_ir as ir

    return ir.Tensor(np.ones(2, np.float32), name="w")


def test_a_declared_range_is_kept(model: ir.Model) -> None:
    model.graph.inputs[0].metadata_props[feeds.RANGE_KEY] = "3, 4"
    array = feeds.generate(model, shapes={"x": (50, 3)})["x"]
    assert 3 <= array.min() < 3.1
    assert 3.9 < array.max() <= 4
    model.graph.inputs[0].metadata_props[feeds.RANGE_KEY] = "high"
    with pytest.raises(UsageError, match="is 'high', expected 'low,high'"):
        feeds.generate(model)


def test_pictures_are_smooth_and_other_tensors_are_noise(lab: Lab) -> None:
    text = "g (float[N, 3, 32, 100] x, float[N, 5, 32, 100] z) => (float[N, 3, 32, 100] y)"
    arrays = feeds.generate(lab.model(text + "{ y = Relu(x) }"))

    def roughness(array: np.ndarray[Any, Any]) -> float:
        return float(np.abs(np.diff(array)).mean() / array.std())

    assert 2 * roughness(arrays["x"]) < 1 < roughness(arrays["z"])


def test_integers_that_index_stay_in_range_through_carriers(lab: Lab) -> None:
    model = lab.model(
        """
        g (int64[40] ids, int32[5, 8] raw) => (float[40, 2] a, float[40, 2] b)
        <float[3, 2] table = {1, 2, 3, 4, 5, 6}, int64[1] flat = {-1}> {
            a = Gather(table, ids)
            r = Reshape(raw, flat)
            c = Cast <to = 7> (r)
            b = Gather(table, c)
        }
        """
    )
    arrays = feeds.generate(model)
    assert set(np.unique(arrays["ids"])) == set(np.unique(arrays["raw"])) == {0, 1, 2}
    assert run_model(model, arrays)["b"].shape == (40, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "g (int64[2] s, float[4] x) => (float[N, M] y) { y = Reshape(x, s) }",
            r"input 's' steers a shape \(Reshape\); give it with --feeds",
            id="a shape",
        ),
        pytest.param(
            "g (string[2] s) => (string[2] y) { y = Identity(s) }",
            "input 's' is STRING, which is not generated; give --feeds",
            id="text",
        ),
        pytest.param(
            "g (float[99999999999999, 9999999999] x) => (float[N, M] y) { y = Relu(x) }",
            "cannot be generated",
            id="more than memory",
        ),
    ],
)
def test_refuses_to_generate(lab: Lab, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        feeds.generate(lab.model(text))


def test_an_input_without_rank_wants_a_shape(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.inputs[0].shape = None
    with pytest.raises(UsageError, match="'x' has no declared rank; give --shape x=D0,D1"):
        feeds.generate(model)
    assert feeds.generate(model, shapes={"x": (2,)})["x"].shape == (2,)
    model.graph.inputs[0].type = None
    with pytest.raises(UsageError, match="'x' declares no dtype; give --feeds"):
        feeds.generate(model, shapes={"x": (2,)})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        pytest.param({"q": (2,)}, "--shape names input 'q', the model has x, ids", id="a name"),
        pytest.param({"x": (2, 4)}, r"'x' is \[N, 3\], got \[2, 4\]: 3 is 3, not 4", id="a size"),
        pytest.param({"x": (2,)}, r"got 1 sizes: \[2\]", id="a rank"),
        pytest.param({"x": (2, 3), "ids": (4, 5)}, r"'ids' .*N is 2, not 4", id="one symbol twice"),
        pytest.param({"x": 5}, "is 5, expected sizes", id="a number"),
        pytest.param({"x": (-1, 3)}, "expected sizes", id="a negative size"),
        pytest.param({"x": (2.0, 3)}, "expected sizes", id="a fraction"),
    ],
)
def test_refuses_shapes(model: ir.Model, shapes: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        feeds.generate(model, shapes=shapes)


def given(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    arrays = {
        "x": np.ones((2, 3), np.float32),
        "ids": np.ones((2, 4), np.int64),
        "flags": np.ones(4, bool),
        "h": np.ones((4, 1), np.float16),
    }
    return {**arrays, **changes}


def test_valid_feeds_are_taken_as_they_are(model: ir.Model) -> None:
    arrays = given()
    assert all(feeds.validate(model, arrays)[name] is array for name, array in arrays.items())
    listed = feeds.validate(model, given(flags=[True, False, True, True]))
    assert listed["flags"].dtype == bool


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"y": np.ones(1)}, "hold 'y', which is no input", id="an extra"),
        pytest.param({"x": np.ones((2, 3))}, "'x' is float64, the model's input is", id="a dtype"),
        pytest.param({"ids": np.ones((3, 4), int)}, "N is 2, not 3", id="a symbol that differs"),
        pytest.param({"h": np.ones(4, np.float16)}, r"got 1 sizes", id="a rank"),
    ],
)
def test_refuses_feeds(model: ir.Model, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        feeds.validate(model, given(**changes))


def test_a_missing_feed_is_named(model: ir.Model) -> None:
    with pytest.raises(UsageError, match="lack input 'x'; the model needs x, ids, flags, h"):
        feeds.validate(model, {})
