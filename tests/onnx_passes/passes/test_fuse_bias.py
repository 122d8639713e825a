from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes import optimize
from onnx_passes.passes.fuse_bias import FuseBias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.onnx_passes.conftest import Lab

CONV = """
g (float[2, 3, 5, 5] x, float[4, 3, 3, 3] w, float[1, 4, 1, 1] b) => (float[2, 4, 3, 3] y) {
    h = Conv(x, w)
    y = Add(h, b)
}
"""
WITH_BIAS = CONV.replace("float[1, 4", "float[4] c, float[1, 4").replace("(x, w)", "(x, w, c)")
TRANSPOSED = """
g (float[2, 3, 5, 5] x, float[3, 2, 3, 3] w, float[6, 1, 1] b) => (float[2, 6, 7, 7] y) {
    h = ConvTranspose <group = 3> (x, w)
    y = Add(b, h)
}
"""


def made(lab: Lab, text: str, *constants: str, opset: int = 16) -> ir.Model:
    """Return the model with these inputs as random constants, all but x by default."""
    model, rng = lab.model(text, opset=opset), np.random.default_rng(0)
    names = constants or tuple(v.name or "" for v in model.graph.inputs if v.name != "x")
    shapes = {v.name: v.shape.numpy() for v in model.graph.inputs if v.shape is not None}
    kinds = {v.name: v.dtype.numpy() for v in model.graph.inputs if v.dtype is not None}
    arrays = {name: rng.standard_normal(shapes[name]).astype(kinds[name]) for name in names}
    return lab.bind(model, arrays)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONV, id="one for each channel"),
        pytest.param(WITH_BIAS, id="beside a bias"),
        pytest.param(WITH_BIAS.replace("Add(h, b)", "Sub(h, b)"), id="subtracted"),
        pytest.param(CONV.replace("float[1, 4, 1, 1] b", "float b"), id="one number"),
        pytest.param(CONV.replace("float[1, 4, 1, 1] b", "float[1, 1] b"), id="one of two axes"),
        pytest.param(TRANSPOSED, id="ConvTranspose with groups"),
    ],
)
def test_rewrites(lab: Lab, text: str) -> None:
    model = made(lab, text)
    (operator, _) = lab.ops(model)
    result = lab.apply(FuseBias(), model)
    assert lab.ops(model) == [operator]
    assert lab.initializers(model) == ["h_bias", "w"]
    (note,) = result.rewritten
    assert note.text == f"its constant goes into {operator} -> 'h'"


def test_rewrites_two_constants_in_a_row(lab: Lab) -> None:
    text = CONV.replace("y = Add(h, b)", "i = Add(h, b) y = Add(b, i)")
    model = made(lab, text)
    assert len(lab.apply(FuseBias(), model).rewritten) == 2
    assert lab.ops(model) == ["Conv"]


def test_rewrites_in_a_function_with_a_constant_node(lab: Lab) -> None:
    text = """
    g (float[1, 1, 3, 3] x) => (float[1, 1, 3, 3] y) { y = f.layer(x) }
    <domain: "f", opset_import: ["": 16]>
    layer (t) => (u) {
        w = Constant <value = float[1, 1, 1, 1] {2}> ()
        b = Constant <value = float[1] {3}> ()
        h = Conv(t, w)
        u = Add(h, b)
    }
    """
    model = lab.model(text, domains=', "f": 1')
    FuseBias().run(model)
    lab.check(model)
    (function,) = model.functions.values()
    assert [node.op_type for node in function] == ["Constant", "Constant", "Conv"]
    y = lab.outputs(model, {"x": np.ones((1, 1, 3, 3), np.float32)})["y"]
    assert (y == 5).all()


def test_a_shared_constant_stays_for_its_other_reader(lab: Lab) -> None:
    text = CONV.replace("=> (", "=> (float[1, 4, 1, 1] z, ").replace("{", "{ z = Neg(b)")
    model = made(lab, text)
    lab.apply(FuseBias(), model)
    assert lab.ops(model) == ["Neg", "Conv"]
    assert lab.initializers(model) == ["b", "h_bias", "w"]


READ = CONV.replace("=> (", "=> (float[2, 4, 3, 3] z, ").replace("y =", "z = Neg(h) y =")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            CONV.replace("[1, 4, 1, 1] b", "[1, 4, 3, 1] b"),
            "its constant is [1, 4, 3, 1], which is not one number for each of 4 channels",
            id="a constant that differs along another axis",
        ),
        pytest.param(
            CONV.replace("[1, 4, 1, 1] b", "[2, 1, 1, 1] b"),
            "its constant is [2, 1, 1, 1], which is not one number for each of 4 channels",
            id="a constant that differs from picture to picture",
        ),
        pytest.param(
            CONV.replace("[1, 4, 1, 1] b", "[4] b").replace("[2, 4, 3, 3] y", "[2, 4, 3, 4] y")
            .replace("[2, 3, 5, 5] x", "[2, 3, 5, 6] x"),
            "its constant is [4], which is not one number for each of 4 channels",
            id="a constant along the last axis",
        ),
        pytest.param(
            CONV.replace("[1, 4, 1, 1] b", "[1, 1, 4, 1, 1] b").replace(
                "float[2, 4, 3, 3] y", "float[1, 2, 4, 3, 3] y"
            ),
            "its constant is [1, 1, 4, 1, 1], which is not one number for each of 4 channels",
            id="a constant of more axes",
        ),
        pytest.param(
            READ, "'h' is a graph output or has another reader", id="a result with another reader"
        ),
        pytest.param(
            CONV.replace("=> (", "=> (float[2, 4, 3, 3] h, "),
            "'h' is a graph output or has another reader",
            id="a result that is a graph output",
        ),
    ],
)  # fmt: skip
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = made(lab, text)
    result = lab.apply(FuseBias(), model)
    assert lab.reasons(result.skipped) == {"Add -> 'y'": reason}
    assert not result.rewritten


def test_leaves_alone_a_computed_bias_of_the_convolution(lab: Lab) -> None:
    result = lab.apply(FuseBias(), made(lab, WITH_BIAS, "w", "b"))
    assert result.skipped[0].text == "the bias 'c' of Conv -> 'h' is computed"


def test_leaves_alone_a_weight_without_a_shape(lab: Lab) -> None:
    text = CONV.replace("float[4, 3, 3, 3] w", "float[1, 4, 3, 3, 3] v").replace(
        "{\n", "{ w = Squeeze(v, zero) "
    )
    model = lab.model(text.replace("float[1, 4, 1, 1] b", "float[1, 4, 1, 1] b, int64[1] zero"))
    lab.bind(model, {"b": np.ones((1, 4, 1, 1), np.float32), "zero": np.zeros(1, np.int64)})
    result = lab.apply(FuseBias(), model)
    assert "the shape of the weight of Conv -> 'h' is unknown" in result.skipped[0].text


def test_leaves_alone_a_bias_that_would_not_be_finite(lab: Lab) -> None:
    model = lab.model(WITH_BIAS)
    big = np.full(4, 3e38, np.float32)
    weight = np.ones((4, 3, 3, 3), np.float32)
    lab.bind(model, {"w": weight, "c": big, "b": big.reshape(1, 4, 1, 1)})
    result = lab.apply(FuseBias(), model)
    assert result.skipped[0].text == "the bias would not be finite in float32"


def test_leaves_alone_sums_of_two_results_and_old_opsets(lab: Lab) -> None:
    for model in (
        made(lab, CONV, "w"),
        made(lab, CONV.replace("Add(h, b)", "Sub(b, h)")),
        made(lab, CONV.replace("Add(h, b)", "Add <broadcast = 1> (h, b)"), opset=6),
    ):
        before = ir.to_proto(model)
        result = FuseBias().run(model)
        assert (result.rewritten, result.skipped) == ([], [])
        assert ir.to_proto(model) == before


def test_leaves_alone_integers(lab: Lab) -> None:
    text = CONV.replace("float", "int32")
    model = made(lab, text)
    result = FuseBias().run(model)
    assert result.skipped[0].text == "its constant is INT32"


def bound(model: ir.Model, feeds: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return A of the page: the model's result on absolute values."""
    absolute = model.clone()
    for value in absolute.graph.initializers.values():
        if value.const_value is not None:
            value.const_value = ir.Tensor(np.abs(value.const_value.numpy()), name=value.name)
    for node in absolute.graph:
        node.op_type = node.op_type.replace("Sub", "Add")
    evaluator = ReferenceEvaluator(ir.to_proto(absolute))
    (found,) = evaluator.run(None, {"x": np.abs(feeds["x"])})
    return np.asarray(found, np.float64)


# onnx's reference evaluator knows no groups here.
UNGROUPED = (
    TRANSPOSED.replace("<group = 3> ", "").replace("6, 1, 1", "2, 1, 1").replace("6, 7", "2, 7")
)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("text", [CONV, WITH_BIAS, WITH_BIAS.replace("Add(h", "Sub(h"), UNGROUPED])
def test_numbers_stay_within_the_bound(lab: Lab, text: str, scale: float) -> None:
    model, rng = made(lab, text), np.random.default_rng(1)
    held = model.graph.initializers["b"].const_value
    assert held is not None
    model.graph.initializers["b"].const_value = ir.Tensor(held.numpy() * np.float32(scale))
    feeds = {"x": rng.standard_normal((2, 3, 5, 5)).astype(np.float32)}
    before, size = lab.outputs(model, feeds)["y"].astype(np.float64), bound(model, feeds)
    (reference,) = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    lab.apply(FuseBias(), model)
    after = lab.outputs(model, feeds)["y"]
    most = (27 + 4) * 2.0**-23 * size
    assert (np.abs(after - before) <= most).all()
    assert (np.abs(after - np.asarray(reference)) <= most).all()


def test_nan_and_infinity_arrive_as_before(lab: Lab) -> None:
    model, x = made(lab, CONV), np.ones((2, 3, 5, 5), np.float32)
    x[0, 0, 2, 2], x[1, 1, 0, 0] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(FuseBias(), model)
    after = lab.outputs(model, {"x": x})["y"]
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    np.testing.assert_array_equal(np.isinf(after), np.isinf(before))


def test_passes_the_checks_of_the_manager(lab: Lab) -> None:
    outcome = optimize(made(lab, WITH_BIAS), "fuse-bias")
    assert [step.verdict for step in outcome.steps] == ["passed"]
