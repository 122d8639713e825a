from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes import optimize
from onnx_passes.passes.fuse_gemm import FuseGemm

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

EPS = float(np.finfo(np.float32).eps)
FLAT = """
g (float[N, 3] x, float[3, 4] w, float[4] b) => (float[N, 4] y) {
    h = MatMul(x, w)
    y = Add(h, b)
}
"""
ROWS = """
g (float[N, 6, 3] v, float[3, 4] w, float[4] b) => (float[N, 3, 2, 4] y)
<int64[4] there = {-1, 2, 3, 3}, int64[4] back = {-1, 3, 2, 4}>
{
    x = Reshape(v, there)
    h = MatMul(x, w)
    z = Add(b, h)
    y = Reshape(z, back)
}
"""


def made(lab: Lab, text: str) -> ir.Model:
    """Return the model with shapes recorded, and w and b as random constants."""
    from onnx_passes.passes.infer_shapes import InferShapes

    model, rng = lab.model(text), np.random.default_rng(0)
    arrays = {
        v.name or "": rng.standard_normal(v.shape.numpy()).astype(v.dtype.numpy())
        for v in model.graph.inputs
        if v.name in {"w", "b"} and v.shape is not None and v.dtype is not None
    }
    InferShapes().run(lab.bind(model, arrays))
    return model


def target(model: ir.Model, index: int) -> list[int]:
    tensor = model.graph[index].inputs[1]
    assert tensor is not None
    assert tensor.const_value is not None
    return [int(item) for item in tensor.const_value.numpy()]


@pytest.mark.parametrize("bias", ["float[4]", "float[1, 4]", "float[1]", "float"])
def test_rewrites_a_product_of_matrices(lab: Lab, bias: str) -> None:
    model = made(lab, FLAT.replace("float[4]", bias))
    result = lab.apply(FuseGemm(), model)
    assert lab.ops(model) == ["Gemm"]
    assert lab.reasons(result.rewritten) == {"Add -> 'y'": "with MatMul -> 'h', as Gemm"}


def test_rewrites_a_computed_weight_and_bias(lab: Lab) -> None:
    model = lab.model(FLAT)
    lab.apply(FuseGemm(), model)
    assert lab.ops(model) == ["Gemm"]


def test_rewrites_a_layer_whose_bias_is_another_layer(lab: Lab) -> None:
    model = made(lab, """
        g (float[1, 3] x, float[3, 4] w, float[4] b) => (float[1, 4] y) {
            h = MatMul(x, w) t = Add(h, b) n = Neg(x) k = MatMul(n, w) y = Add(k, t)
        }""")  # fmt: skip
    x = {"x": np.array([[1, 2, 3]], np.float32)}
    before = lab.outputs(model, x)["y"]
    assert len(lab.apply(FuseGemm(), model).rewritten) == 2
    assert lab.ops(model) == ["Gemm", "Neg", "Gemm"]
    np.testing.assert_allclose(lab.outputs(model, x)["y"], before, rtol=0, atol=30 * EPS)


def test_rewrites_rows_between_two_reshapes(lab: Lab) -> None:
    model = made(lab, ROWS)
    lab.apply(FuseGemm(), model)
    assert lab.ops(model) == ["Reshape", "Gemm", "Reshape"]
    assert [target(model, index) for index in (0, 2)] == [[-1, 3], [-1, 3, 2, 4]]
    names = {value.name: value.shape for node in model.graph for value in node.outputs}
    assert {name: str(shape) for name, shape in names.items()} == {
        "x_rows": "[None,3]",
        "z_rows": "[None,4]",
        "y": "[N,3,2,4]",
    }


def test_rewrites_a_row_of_layers_whose_reshapes_are_fixed_one_by_one(lab: Lab) -> None:
    text = """
    g (float[6, 3] v, float[3, 3] w, float[3] b) => (float[6, 3] y)
    <int64[3] there = {2, 3, 3}, int64[4] on = {2, 1, 0, 3}, int64[2] back = {6, 3}>
    {
        x = Reshape(v, there)
        h = MatMul(x, w)
        i = Add(h, b)
        z = Reshape(i, on)
        j = MatMul(z, w)
        k = Add(j, b)
        y = Reshape(k, back)
    }
    """
    model = made(lab, text)
    result = lab.apply(FuseGemm(), model)
    assert lab.ops(model) == ["Reshape", "Gemm", "Reshape", "Gemm", "Reshape"]
    assert (len(result.rewritten), result.skipped) == (2, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            ROWS.replace("x = Reshape(v, there)", "x = Transpose <perm = [0, 2, 3, 1]> (u)")
            .replace("[N, 6, 3] v", "[N, 3, 2, 3] u").replace("int64[4] there = {-1, 2, 3, 3}, ",
                                                              ""),
            "'x' has 4 axes, and no Reshape that only it reads makes it",
            id="no Reshape before it",
        ),
        pytest.param(
            ROWS.replace("=> (", "=> (float[N, 2, 3, 3] x, "),
            "'x' has 4 axes, and no Reshape that only it reads makes it",
            id="a Reshape that is a graph output",
        ),
        pytest.param(
            ROWS.replace("y = Reshape(z, back)", "y = Relu(z)").replace("3, 2, 4] y", "2, 3, 4] y"),
            "'z' has 4 axes, and not only Reshapes to fixed targets read it",
            id="no Reshape behind it",
        ),
        pytest.param(
            ROWS.replace("=> (", "=> (float[N, 2, 3, 4] z, "),
            "'z' has 4 axes, and not only Reshapes to fixed targets read it",
            id="a sum that is a graph output",
        ),
        pytest.param(
            ROWS.replace("y = Reshape(z, back)", "s = Shape(v) y = Reshape(z, s)")
            .replace("[N, 6, 3] v", "[2, 6, 4, 1] v").replace("[N, 3, 2, 4] y", "[2, 6, 4, 1] y")
            .replace("{-1, 2, 3, 3}", "{2, 2, 4, 3}"),
            "'z' has 4 axes, and not only Reshapes to fixed targets read it",
            id="a computed target",
        ),
        pytest.param(
            ROWS.replace("{-1, 3, 2, 4}", "{0, 3, 2, 4}"),
            "a Reshape behind it copies an extent",
            id="a target that copies an extent",
        ),
        pytest.param(
            FLAT.replace("[N, 3] x", "[3] x").replace("[N, 4] y", "[4] y"),
            "its first factor has one axis",
            id="a first factor of one axis",
        ),
        pytest.param(
            FLAT.replace("=> (", "=> (float[N, 4] h, "),
            "'h' is a graph output or has another reader",
            id="a product that is a graph output",
        ),
        pytest.param(
            FLAT.replace("=> (", "=> (float[N, 4] z, ").replace("y =", "z = Neg(h) y ="),
            "'h' is a graph output or has another reader",
            id="a product with another reader",
        ),
        pytest.param(
            FLAT.replace("[N, 3] x, float[3, 4] w", "[N, 5, 3] x, float[1, 3, 4] w")
            .replace("[N, 4] y", "[N, 5, 4] y"),
            "its second factor is [1, 3, 4], no matrix of a known size",
            id="a second factor of three axes",
        ),
        pytest.param(
            FLAT.replace("[N, 3] x, float[3, 4] w", "[N, 0] x, float[0, 4] w"),
            "its second factor is [0, 4], no matrix of a known size",
            id="an empty sum",
        ),
        pytest.param(
            FLAT.replace("[4] b", "[1, 1, 4] b").replace("[N, 4] y", "[1, N, 4] y"),
            "its bias is [1, 1, 4], not one number for each of 4 columns",
            id="a bias of more axes",
        ),
        pytest.param(
            FLAT.replace("float", "int32"), "its dtype is INT32", id="another dtype"
        ),
    ],
)  # fmt: skip
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = made(lab, text)
    result = lab.apply(FuseGemm(), model)
    assert [note.text for note in result.skipped] == [reason]
    assert not result.rewritten


def test_leaves_alone_shapes_that_are_not_recorded(lab: Lab) -> None:
    model = lab.bind(lab.model(ROWS), {"w": np.ones((3, 4), "f"), "b": np.ones(4, "f")})
    result = lab.apply(FuseGemm(), model)
    assert result.skipped[0].text == "the shape of a factor is unknown; infer shapes first"


def test_leaves_alone_a_bias_that_differs_from_row_to_row_and_old_opsets(lab: Lab) -> None:
    rows = FLAT.replace("float[4] b", "float[7, 4] b").replace("N", "7")
    old = FLAT.replace("Add(h, b)", "Add <broadcast = 1> (h, b)")
    for model in (made(lab, rows), lab.model(old, opset=6)):
        before = ir.to_proto(model)
        result = FuseGemm().run(model)
        assert (result.rewritten, result.skipped) == ([], [])
        assert ir.to_proto(model) == before


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("text", [FLAT, ROWS])
def test_numbers_stay_within_the_bound(lab: Lab, text: str, scale: float) -> None:
    deep = text.replace("[N, 3] x", "[N, 300] x").replace("[3, 4] w", "[300, 4] w")
    deep = deep.replace("[N, 6, 3] v", "[N, 6, 300] v").replace("2, 3, 3}", "2, 3, 300}")
    model, rng = made(lab, deep), np.random.default_rng(1)
    arrays = {}
    for name in ("w", "b"):
        held = model.graph.initializers[name].const_value
        assert held is not None
        arrays[name] = held.numpy()
    arrays["b"] = arrays["b"] * np.float32(scale)
    model.graph.initializers["b"].const_value = ir.Tensor(arrays["b"], name="b")
    name = "x" if text is FLAT else "v"
    x = rng.standard_normal((5, 300) if text is FLAT else (5, 6, 300)).astype(np.float32)
    before = lab.outputs(model, {name: x})["y"].astype(np.float64)
    (reference,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {name: x})
    lab.apply(FuseGemm(), model)
    assert "Gemm" in lab.ops(model)
    after = lab.outputs(model, {name: x})["y"]
    size = np.abs(x).astype(np.float64) @ np.abs(arrays["w"]) + np.abs(arrays["b"])
    most = (300 + 3) * EPS * size.reshape(before.shape)
    assert (np.abs(after - before) <= most).all()
    assert (np.abs(after - np.asarray(reference)) <= most).all()


@pytest.mark.parametrize("count", [0, 1, 4])
def test_any_number_of_rows_and_what_is_not_finite_arrive_as_before(lab: Lab, count: int) -> None:
    model = made(lab, ROWS)
    x = np.random.default_rng(0).standard_normal((count, 6, 3)).astype(np.float32)
    x.reshape(-1)[:5:4] = np.array([np.nan, np.inf])[: x.size]
    before = lab.outputs(model, {"v": x})["y"]
    lab.apply(FuseGemm(), model)
    after = lab.outputs(model, {"v": x})["y"]
    assert after.shape == before.shape == (count, 3, 2, 4)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


def test_passes_the_checks_of_the_manager(lab: Lab) -> None:
    outcome = optimize(made(lab, ROWS), "fuse-gemm", shapes={"v": (5, 6, 3)})
    assert [step.verdict for step in outcome.steps] == ["passed"]
