from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.numerics import nudge
from onnx_passes.numerics.compare import compare
from onnx_passes.numerics.nudge import nudged_array, nudged_feeds, nudged_model
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_every_float_moves_by_one_ulp_in_both_directions(dtype: Any) -> None:  # noqa: ANN401
    array = np.linspace(-3, 3, 101).astype(dtype)
    array = array[array != 0]
    moved = nudged_array(array, rng())
    assert moved.dtype == array.dtype
    assert (moved != array).all()
    assert compare(array, moved).max_ulp == 1
    up = (moved.astype(np.float64) > array.astype(np.float64)).mean()
    assert 0.3 < up < 0.7
    assert 0.2 < (moved > array)[array < 0].mean() < 0.8


def test_float8_moves_to_a_neighbour() -> None:
    moved = nudged_array(np.ones(50, ml_dtypes.float8_e4m3fn), rng())
    assert sorted(set(moved.astype(float))) == [0.9375, 1.125]


def test_what_has_no_neighbour_stays() -> None:
    limit = np.finfo(np.float32).max
    array = np.array([0, -0.0, np.inf, -np.inf, np.nan] + [limit, -limit] * 20, np.float32)
    moved = nudged_array(array, rng())
    np.testing.assert_array_equal(moved[:5], array[:5])
    assert np.isfinite(moved[5:]).all()


@pytest.mark.parametrize("array", [np.arange(5), np.array([True]), np.array(["a"])])
def test_other_types_stay(array: np.ndarray[Any, Any]) -> None:
    assert nudged_array(array, rng()) is array


def test_feeds_are_nudged_by_seed() -> None:
    feeds: dict[str, np.ndarray[Any, Any]] = {"x": np.ones(64, np.float32), "ids": np.arange(3)}
    one, again, other = nudged_feeds(feeds, 0), nudged_feeds(feeds, 0), nudged_feeds(feeds, 1)
    np.testing.assert_array_equal(one["x"], again["x"])
    assert (one["x"] != other["x"]).any()
    assert one["ids"] is feeds["ids"]


TEXT = """
g (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y)
<float[4] scales = {1, 1, 2, 2}, float[1] w = {1.5}, int64[1] i = {3}> {
    k = Constant <value = float[1] {2.5}> ()
    two = Constant <value = float[1] {2}> ()
    a = Mul(x, w)
    b = Add(a, k)
    p = Pow(b, two)
    y = Resize <mode = "nearest"> (p, , scales)
}
"""


def test_a_model_is_copied_with_weights_and_constants_moved_and_what_steers_left(lab: Lab) -> None:
    model = lab.model(TEXT)
    before = ir.to_proto(model)
    copy = nudged_model(model, 0)
    assert ir.to_proto(model) == before

    def values(model: ir.Model) -> dict[str, Any]:
        tensors = {name: v.const_value for name, v in model.graph.initializers.items()}
        constants = {
            node.outputs[0].name or "": node.attributes["value"].as_tensor()
            for node in model.graph
            if node.op_type == "Constant"
        }
        return {name: t.numpy() for name, t in (tensors | constants).items() if t is not None}

    old, new = values(model), values(copy)
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed == {"w", "k"}


def test_a_model_too_large_to_copy_is_returned_itself(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lab.model(TEXT)
    monkeypatch.setattr(nudge, "MAX_CONSTANT_BYTES", 16)
    assert nudged_model(model, 0) is model


def test_an_attention_mask_does_not_drown_what_it_lets_through(lab: Lab) -> None:
    model = lab.model("""
    g (float[2, 8] x, int64[2, 8] mask) => (float[2, 8] y)
    <float one = {1}, float lowest = {-3.4028234663852886e38},
     float[8] w = {1, 2, 3, 4, 5, 6, 7, 9}> {
        seen = Cast <to = 1> (mask)
        hidden = Sub(one, seen)
        far = Mul(hidden, lowest)
        scores = Mul(x, w)
        masked = Add(scores, far)
        y = Softmax <axis = -1> (masked)
    }
    """)
    feeds = {
        "x": rng().standard_normal((2, 8), np.float32),
        "mask": np.array([[1] * 8, [1] * 4 + [0] * 4]),
    }
    clean = Runner(model).run(feeds)["y"]
    moved = Runner(nudged_model(model, 0)).run(nudged_feeds(feeds, 0))["y"]
    assert 0 < np.abs(clean - moved).max() < 1e-5


# Windows 0 and 1 of an image are shifted: a place sees only those of its own window.
WINDOWS = """
g (float[1, 4] x) => (float[4, 4] y)
<float[2] zeros = {0, 0}, float[2] sevens = {7, 7}, float far = {-100}, float zero = {0},
 int64[2] across = {1, 4}, int64[2] down = {4, 1}, float[1, 4] w = {1, 2, 3, 5}> {
    window = Concat <axis = 0> (zeros, sevens)
    left = Reshape(window, across)
    up = Reshape(window, down)
    apart = Sub(left, up)
    same = Equal(apart, zero)
    mask = Where(same, zero, far)
    scores = Mul(x, w)
    masked = Add(scores, mask)
    y = Softmax <axis = -1> (masked)
}
"""


def test_the_mask_of_shifted_windows_does_not_come_undone(lab: Lab) -> None:
    model, feeds = lab.model(WINDOWS), {"x": rng().standard_normal((1, 4), np.float32)}
    clean = Runner(model).run(feeds)["y"]
    assert (clean[0, 2:] < 1e-40).all()
    noises = [
        np.abs(clean - Runner(nudged_model(model, seed)).run(feeds)["y"]).max() for seed in range(9)
    ]
    assert 0 < max(noises) < 1e-6


@pytest.mark.parametrize(
    ("decision", "moves"),
    [
        pytest.param("d = Greater(k, zero) y = Where(d, x, zero)", False, id="of constants"),
        pytest.param("n = Neg(k) d = Cast <to = 9> (n) y = Where(d, x, zero)", False, id="cast"),
        pytest.param(
            "f = Cast <to = 11> (k) h = Cast <to = 1> (f) y = Mul(x, h)", True, id="float"
        ),
        pytest.param("d = Greater(x, k) y = Where(d, x, zero)", True, id="of data"),
        pytest.param(
            """d = Cast <to = 9> (x) i = Identity(d) c = Squeeze(i)
            y = If (c) <then_branch = t () => (float[1] p) { p = Mul(x, k) },
                        else_branch = e () => (float[1] q) { q = Abs(x) }>""",
            True,
            id="in a branch",
        ),
        pytest.param(
            "r = RandomNormalLike(k) d = Greater(r, k) y = Where(d, x, k)", True, id="chance"
        ),
    ],
)
def test_a_constant_that_only_decides_among_constants_stays(
    lab: Lab, decision: str, moves: bool
) -> None:
    held = "<float[1] k = {0.7}, float zero = {0}>"
    model = lab.model(f"g (float[1] x) => (float[1] y) {held} {{ {decision} }}")
    moved = nudged_model(model, 0).graph.initializers["k"].const_value
    assert moved is not None
    assert bool(moved.numpy()[0] != np.float32(0.7)) is moves
