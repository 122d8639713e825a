from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes import optimize
from onnx_passes.passes.fuse_layer_norm import FuseLayerNorm
from onnx_passes.passes.infer_shapes import InferShapes

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

EPS = float(np.finfo(np.float32).eps)
NORM = """
g (float[N, 5, 8] x, float[8] scale, float[8] bias) => (float[N, 5, 8] y)
<float two = {2}, float epsilon = {0.00001}>
{
    m = ReduceMean <axes = [-1]> (x)
    c = Sub(x, m)
    q = Pow(c, two)
    v = ReduceMean <axes = [-1]> (q)
    e = Add(v, epsilon)
    s = Sqrt(e)
    z = Div(c, s)
    w = Mul(z, scale)
    y = Add(w, bias)
}
"""
INVERSE = NORM.replace("z = Div(c, s)", "r = Reciprocal(s) z = Mul(r, c)")
SQUARED = NORM.replace("q = Pow(c, two)", "q = Mul(c, c)").replace("float two = {2}, ", "")
TURNED = NORM.replace("Add(v, epsilon)", "Add(epsilon, v)").replace(
    "Mul(z, scale)", "Mul(scale, z)"
)
PLAIN = NORM.replace("y = Add(w, bias)", "y = Relu(w)").replace(", float[8] bias", "")
TWO_AXES = NORM.replace("[-1]", "[1, -1]").replace("[8]", "[5, 8]")


def made(lab: Lab, text: str, opset: int = 17) -> ir.Model:
    """Return the model with random scale and bias, shapes recorded."""
    model, rng = lab.model(text, opset=opset), np.random.default_rng(0)
    shapes = {v.name or "": v.shape for v in model.graph.inputs if v.shape is not None}
    arrays: dict[str, Any] = {
        name: rng.standard_normal(shapes[name].numpy()).astype(np.float32)
        for name in ("scale", "bias")
        if name in shapes
    }
    InferShapes().run(lab.bind(model, arrays))
    return model


@pytest.mark.parametrize(
    ("text", "axis", "rest"),
    [
        pytest.param(NORM, -1, [], id="as PyTorch writes it"),
        pytest.param(INVERSE, -1, [], id="with Reciprocal and Mul"),
        pytest.param(SQUARED, -1, [], id="squared by Mul"),
        pytest.param(TURNED, -1, [], id="with the operands the other way round"),
        pytest.param(NORM.replace("[-1]", "[2]"), -1, [], id="with a positive axis"),
        pytest.param(TWO_AXES, -2, [], id="over two axes"),
        pytest.param(PLAIN, -1, ["Relu"], id="without a bias"),
        pytest.param(
            PLAIN.replace("Relu(w)", "Add(w, x)"), -1, ["Add"], id="with a sum that is no bias"
        ),
    ],
)
def test_rewrites(lab: Lab, text: str, axis: int, rest: list[str]) -> None:
    model = made(lab, text)
    result = lab.apply(FuseLayerNorm(), model)
    assert lab.ops(model) == ["LayerNormalization", *rest]
    node = model.graph[0]
    assert node.attributes.get_int("axis") == axis
    assert node.attributes.get_float("epsilon") == pytest.approx(1e-5, rel=1e-7)
    assert lab.initializers(model) == (["scale"] if rest else ["bias", "scale"])
    (note,) = result.rewritten
    assert "nodes, as LayerNormalization" in note.text


def test_rewrites_axes_that_are_an_input(lab: Lab) -> None:
    text = NORM.replace("ReduceMean <axes = [-1]> (x)", "ReduceMean(x, last)").replace(
        "ReduceMean <axes = [-1]> (q)", "ReduceMean(q, last)"
    )
    model = made(lab, text.replace("float two", "int64[1] last = {-1}, float two"), opset=18)
    lab.apply(FuseLayerNorm(), model)
    assert lab.ops(model) == ["LayerNormalization"]
    assert lab.initializers(model) == ["bias", "scale"]


def test_rewrites_a_layer_norm_of_a_layer_norm(lab: Lab) -> None:
    body = NORM[NORM.index("    m =") : NORM.rindex("}")]
    first = re.sub(r"\by\b", "between", body)
    own = re.sub(r"\b([mcqveszw])\b", r"\g<1>_", body)
    second = re.sub(r"\bx\b", "between", own)
    model = made(lab, NORM.replace(body, first + second))
    outcome = optimize(model, "fuse-layer-norm")
    assert [step.verdict for step in outcome.steps] == ["passed"]
    assert lab.ops(outcome.model) == ["LayerNormalization"] * 2


def test_metadata_of_the_parts_goes_to_the_operator(lab: Lab) -> None:
    model = made(lab, NORM)
    model.graph[3].metadata_props["ascend.keep"] = "float32"
    lab.apply(FuseLayerNorm(), model)
    assert model.graph[0].metadata_props == {"ascend.keep": "float32"}


READ = NORM.replace("=> (", "=> (float[N, 5, 1] t, ").replace("z =", "t = Neg(s) z =")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            NORM.replace("[-1]", "[1]"),
            "its means are not over the last axes, or not over the same",
            id="another axis",
        ),
        pytest.param(
            NORM.replace("[-1]> (q)", "[1, 2]> (q)"),
            "its means are not over the last axes, or not over the same",
            id="means over different axes",
        ),
        pytest.param(
            NORM.replace("<axes = [-1]>", ""),
            "its means are not over the last axes, or not over the same",
            id="means over all axes",
        ),
        pytest.param(
            NORM.replace("[-1]", "[-1], keepdims = 0").replace("[N, 5, 8]", "[8, 8]"),
            "its means drop their axes",
            id="means that drop their axes",
        ),
        pytest.param(
            NORM.replace("=> (", "=> (float[N, 5, 8] c, "),
            "'c' is a graph output or has another reader",
            id="a part that is a graph output",
        ),
        pytest.param(
            NORM.replace("=> (", "=> (float[N, 5, 8] t, ").replace("q =", "t = Neg(c) q ="),
            "'c' is a graph output or has another reader",
            id="a part with another reader",
        ),
        pytest.param(
            NORM.replace("float[8]", "float[1, 8]"),
            "its scale is [1, 8], the axes are [8]",
            id="a scale of another shape",
        ),
        pytest.param(
            NORM.replace("5, 8]", "5, W]"),
            "its scale is [8], the axes are [None]",
            id="an axis of unknown extent",
        ),
        pytest.param(
            NORM.replace("{0.00001}", "{0}"),
            "its epsilon 'epsilon' is computed or no single positive number",
            id="no epsilon",
        ),
        pytest.param(
            NORM.replace(", float epsilon = {0.00001}", "").replace("x, f", "x, float epsilon, f"),
            "its epsilon 'epsilon' is computed or no single positive number",
            id="a computed epsilon",
        ),
        pytest.param(
            NORM.replace("float", "double"),
            "not all of its input, scale and bias are known to be float32",
            id="another dtype",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = made(lab, text) if "double" not in text else lab.model(text, opset=17)
    result = lab.apply(FuseLayerNorm(), model)
    assert lab.reasons(result.skipped) == {"Add -> 'y'": reason}
    assert not result.rewritten


def test_leaves_alone_opsets_without_the_operator(lab: Lab) -> None:
    result = lab.apply(FuseLayerNorm(), made(lab, NORM, opset=16))
    assert lab.reasons(result.skipped) == {"Add -> 'y'": "opset 16 has no LayerNormalization"}


def test_leaves_alone_an_input_without_a_shape(lab: Lab) -> None:
    text = NORM.replace("[N, 5, 8] x", "[M, 8] u, int64[K] t").replace("{\n", "{ x = Reshape(u, t)")
    model = made(lab, text.replace("float[N, 5, 8] y", "float[N, M, 8] y"))
    model.graph[0].outputs[0].shape = None
    result = FuseLayerNorm().run(model)
    assert result.skipped[0].text == "the shape of 'x' is unknown; infer shapes first"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(NORM.replace("Pow(c, two)", "Pow(x, two)"), id="another square"),
        pytest.param(NORM.replace("float two = {2}", "float two = {3}"), id="a cube"),
        pytest.param(NORM.replace("Div(c, s)", "Div(s, c)"), id="the inverse"),
        pytest.param(NORM.replace("Div(c, s)", "Div(x, s)"), id="x itself divided"),
        pytest.param(NORM.replace("Mul(z, scale)", "Mul(z, z)"), id="no scale"),
        pytest.param(READ, id="a deviation with another reader"),
        pytest.param(
            NORM.replace("Sub(x, m)", "Sub(m, x)"), id="centred the other way round"
        ),
    ],
)  # fmt: skip
def test_what_is_no_layer_norm_is_not_touched(lab: Lab, text: str) -> None:
    model = made(lab, text)
    before = ir.to_proto(model)
    result = FuseLayerNorm().run(model)
    assert (result.rewritten, result.skipped) == ([], [])
    assert ir.to_proto(model) == before


def size_of(model: ir.Model, x: np.ndarray[Any, Any], axes: tuple[int, ...]) -> Any:  # noqa: ANN401
    """Return A of the page."""
    held = {name: v.const_value for name, v in model.graph.initializers.items()}
    scale, bias = (np.abs(held[name].numpy()) for name in ("scale", "bias"))  # type: ignore[union-attr]
    wide = x.astype(np.float64)
    spread = np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    z = np.abs(wide - wide.mean(axes, keepdims=True)) / spread
    return scale * (np.abs(wide).max(axes, keepdims=True) / spread + z) + bias


@pytest.mark.parametrize("mean", [0.0, 1.0, -30.0, 1000.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("text", [NORM, INVERSE, TWO_AXES])
def test_numbers_stay_within_the_bound(lab: Lab, text: str, mean: float, spread: float) -> None:
    model, rng = made(lab, text), np.random.default_rng(2)
    x = (mean + spread * rng.standard_normal((6, 5, 8))).astype(np.float32)
    x[0] = x[0, 0, 0]  # no spread at all
    axes, count = ((-2, -1), 40) if text is TWO_AXES else ((-1,), 8)
    size = size_of(model, x, axes)
    before = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    lab.apply(FuseLayerNorm(), model)
    (reference,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    after = lab.outputs(model, {"x": x})["y"]
    assert (np.abs(after - before) <= (count + 10) * EPS * size).all()
    assert (np.abs(np.asarray(reference) - before) <= (count + 10) * EPS * size).all()


def test_nan_and_infinity_arrive_as_before(lab: Lab) -> None:
    model, x = made(lab, NORM), np.random.default_rng(0).standard_normal((2, 5, 8))
    x[0, 1, 2], x[0, 2, 3], x[1, 4, 0] = np.nan, np.inf, -np.inf
    before = lab.outputs(model, {"x": x.astype(np.float32)})["y"]
    lab.apply(FuseLayerNorm(), model)
    after = lab.outputs(model, {"x": x.astype(np.float32)})["y"]
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    assert np.isnan(after).sum() == 3 * 8


def test_passes_the_checks_of_the_manager(lab: Lab) -> None:
    outcome = optimize(made(lab, NORM), "fuse-layer-norm")
    assert [step.verdict for step in outcome.steps] == ["passed"]
