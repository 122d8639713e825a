from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.numerics.oracle import Oracle
from onnx_passes.numerics.runner import ReferenceRunner, Runner

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
GATED = """
g (float[4] x, bool gate, int64[2] ids) => (float[4] y)
<float[3, 4] table = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[1] axes = {0}> {
    rows = Gather(table, ids)
    shift = ReduceSum <keepdims = 0> (rows, axes)
    s = Add(x, shift)
    y = If (gate) <
        then_branch = yes () => (float[4] p) { p = Neg(s) },
        else_branch = no () => (float[4] r) { r = Exp(s) }
    >
}
"""


def test_dynamic_models_are_run_at_a_second_size_too(lab: Lab) -> None:
    oracle = Oracle(lab.model("g (float[N, M] x) => (float[N, M] y) { y = Relu(x) }"))
    assert [feeds["x"].shape for feeds in oracle.feeds] == [(2, 32), (2, 32), (3, 48)]
    assert [outputs["y"].shape for outputs in oracle.expected] == [(2, 32), (2, 32), (3, 48)]
    assert oracle.describe() == ("generated, seeds 0, 1: x float32 [2, 32] | x float32 [3, 48]")


def test_given_shapes_are_the_only_ones(lab: Lab) -> None:
    model = lab.model("g (float[N, M] x) => (float[N, M] y) { y = Relu(x) }")
    oracle = Oracle(model, shapes={"x": (5, 6)})
    assert [feeds["x"].shape for feeds in oracle.feeds] == [(5, 6), (5, 6)]


def test_a_second_size_that_does_not_run_is_left_out(lab: Lab) -> None:
    text = "g (float[N, M] x) => (float[K, 8] y) <int64[2] s = {8, 8}> { y = Reshape(x, s) }"
    oracle = Oracle(lab.model(text))
    assert len(oracle.feeds) == 2


def test_sensitivity_is_what_the_other_seed_does(lab: Lab) -> None:
    text = "g (float[64] x) => (float[64] y, float[64] z) <float[1] k = {10}> {"
    oracle = Oracle(lab.model(text + " y = Identity(x) z = Mul(x, k) }"))
    one, two = (feeds["x"] for feeds in oracle.feeds)
    assert oracle.sensitivity["y"] == np.abs(one.astype(float) - two.astype(float)).max()
    assert oracle.sensitivity["z"] == pytest.approx(10 * oracle.sensitivity["y"])


def test_every_kind_of_input_is_heard(lab: Lab) -> None:
    """Even a single bool or id that happens to be the same for both seeds."""
    assert Oracle(lab.model(GATED)).deaf_inputs == []
    feeds = {"x": np.ones(4, "f"), "gate": np.array(True), "ids": np.array([1, 1])}
    assert Oracle(lab.model(GATED), feeds).deaf_inputs == []


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(np.ones(6, np.int64), id="a mask of ones"),
        pytest.param(np.zeros(6, np.int64), id="a mask of zeros"),
        pytest.param(np.ones(6, bool), id="a mask of truths"),
        pytest.param(np.ones(6, np.float32), id="a constant float"),
    ],
)
def test_a_constant_mask_is_heard(lab: Lab, mask: Array) -> None:
    kinds = {"int64": "int64", "bool": "bool", "float32": "float"}
    text = f"g (float[6] x, {kinds[mask.dtype.name]}[6] m) => (float[6] y)"
    model = lab.model(text + "{ c = Cast <to = 1> (m) y = Mul(x, c) }")
    feeds = {"x": np.arange(1, 7, dtype=np.float32), "m": mask}
    assert "m" not in Oracle(model, feeds).deaf_inputs


def test_deaf_inputs_are_named(lab: Lab) -> None:
    text = "g (float[4] x, float[4] u, bool b, int64[1] i) => (float[4] y) { y = Relu(x) }"
    oracle = Oracle(lab.model(text))
    assert oracle.deaf_inputs == ["u", "b", "i"]
    text = "g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Relu(k) }"
    assert Oracle(lab.model(text)).deaf_inputs == ["x"]


def test_integers_that_steer_a_shape_are_heard_and_end_nothing(lab: Lab) -> None:
    text = """
    g (float[24] x, int64[3] s) => (float[2, 3, 1] y)
    <float[4, 1] w = {1, 2, 3, 4}> { r = Reshape(x, s) y = MatMul(r, w) }
    """
    feeds = {"x": np.arange(24, dtype=np.float32), "s": np.array([2, 3, 4])}
    oracle = Oracle(lab.model(text), feeds)
    assert oracle.deaf_inputs == []
    assert 0 < oracle.sensitivity["y"] < np.inf


def test_noise_follows_the_conditioning_of_the_model(lab: Lab) -> None:
    text = """
    g (float[64] x) => (float[64] y, float[64] z)
    <float[1] w = {1.1}, float[2, 1] k = {-1000.7, -999.9}>
    { y = Mul(x, w) a = Add(x, k) z = ReduceMean <axes = [0], keepdims = 0> (a) }
    """
    oracle = Oracle(lab.model(text))
    assert 0 < oracle.noise["y"] < 1e-6
    assert 3e-5 < oracle.noise["z"] < 1e-3


def test_noise_of_weights_in_constant_nodes_is_seen(lab: Lab) -> None:
    text = """
    g (float[4] x) => (float[4] y) {
        k = Constant <value = float[4] {1000.7, 1000.6, 1000.5, 1000.4}> ()
        y = Add(x, k)
    }
    """
    assert Oracle(lab.model(text)).noise["y"] > 5e-5


def test_where_nudged_constants_do_not_run_the_feeds_alone_are_nudged(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(lab.model("g (float[4] x) => (float[4] y) { y = Exp(x) }"))
    assert oracle.expected

    def refuse(*_: object) -> Runner:
        msg = "nudged into nonsense"
        raise ModelError(msg)

    monkeypatch.setattr(Runner, "again", refuse)
    assert 0 < oracle.noise["y"] < 1e-5


def test_refuses_feeds_and_shapes_before_anything_runs(lab: Lab) -> None:
    model = lab.model("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    with pytest.raises(UsageError, match="lack input 'x'"):
        Oracle(model, {})
    with pytest.raises(UsageError, match="names input 'z'"):
        Oracle(model, shapes={"z": (2,)})


def test_a_kernel_that_refuses_late_is_replaced_by_the_reference_evaluator(lab: Lab) -> None:
    text = """
    g (float[1, 1, 3, 3, 3] x, float[1, 1, 1, 2, 3] grid) => (float[1, 1, 1, 1, 2] y)
    { y = GridSample <mode = "cubic"> (x, grid) }
    """
    oracle = Oracle(lab.model(text, ir_version=9, opset=20))
    assert oracle.expected[0]["y"].shape == (1, 1, 1, 1, 2)
    assert isinstance(oracle.runner, ReferenceRunner)
    assert oracle.noise["y"] > 0


def test_a_model_nothing_loads_is_a_model_error_and_not_a_wrong_feed(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = own.Op(x) }", domains=', "own": 1')
    with pytest.raises(ModelError, match="onnxruntime cannot load the model"):
        _ = Oracle(model).expected


def test_narrowed_feeds_have_the_sizes_of_the_narrower_model(lab: Lab) -> None:
    text = "g (float[N] x, float[M] z) => (float[N] y, float[M] u) { y = Neg(x) u = Neg(z) }"
    model, narrow = lab.model(text), lab.model(text.replace("float[N] x", "float[7] x"))
    oracle = Oracle(model, shapes={"z": (5,)})
    assert oracle.narrowed(model) is oracle
    narrowed = oracle.narrowed(narrow)
    shapes = {name: array.shape for name, array in narrowed.feeds[0].items()}
    assert shapes == {"x": (7,), "z": (5,)}
    assert narrowed.answers(narrow)[0]["y"].shape == (7,)
    with pytest.raises(UsageError, match=r"input 'x' is \[7\], got \[2\]"):
        Oracle(model, shapes={"x": (2,)}).narrowed(narrow)
    given = {"x": np.ones(7, np.float32), "z": np.ones(3, np.float32)}
    assert Oracle(model, given).narrowed(narrow).feeds == [given]
