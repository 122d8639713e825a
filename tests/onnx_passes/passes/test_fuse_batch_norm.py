from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.values import main_graphs
from onnx_passes.numerics import feeds
from onnx_passes.passes.fuse_batch_norm import FuseBatchNorm

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
NORM = "y = BatchNormalization(h, scale, shift, mean, var)"
PARAMETERS = "float[6] scale, float[6] shift, float[6] mean, float[6] var"
CONV = f"""
g (float[N, 4, 6, 7] x, float[6, 4, 3, 3] w, float[6] b, {PARAMETERS}) => (float[N, 6, R, S] y) {{
    h = Conv(x, w, b)
    {NORM}
}}
"""
GEMM = f"""
g (float[N, 4] x, float[4, 6] w, float[6] b, {PARAMETERS}) => (float[N, 6] y) {{
    h = Gemm(x, w, b)
    {NORM}
}}
"""


def weighted(lab: Lab, text: str, opset: int = 16, **given: Any) -> ir.Model:  # noqa: ANN401
    """Parse a model; every input but x becomes a random constant, or the one given."""
    model = lab.model(text, opset=opset)
    arrays = feeds.generate(model, seed=3)
    del arrays["x"]
    arrays["var"] = np.abs(arrays["var"]) + np.asarray(0.1, arrays["var"].dtype)
    for name, value in given.items():
        arrays[name] = np.broadcast_to(np.asarray(value, arrays[name].dtype), arrays[name].shape)
    return lab.bind(model, arrays)


BETWEEN = f"""
g (float[N, 4, 5, 6] x, {PARAMETERS}) => (float[N, 4, 5, 6] y) {{
    h = Transpose <perm = [0, 3, 1, 2]> (x)
    n = BatchNormalization(h, scale, shift, mean, var)
    y = Transpose <perm = [0, 2, 3, 1]> (n)
}}
"""


def magnitudes(model: ir.Model) -> ir.Model:
    """Return a model that computes A of the docstring when it is fed |x|."""
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        assert value.const_value is not None
        size = np.abs(value.const_value.numpy())
        value.const_value = ir.Tensor(-size if name == "mean" else size, name=name)
    return copy


def products(model: ir.Model) -> int:
    """Return K, the greatest number of products to a sum."""
    node, weight = model.graph[0], model.graph.initializers["w"].const_value
    assert weight is not None
    shape = list(weight.shape.numpy())
    if node.op_type == "Gemm":
        return min(shape)  # 4 of [4, 6] or [6, 4]
    if node.op_type == "Conv":
        return int(np.prod(shape[1:]))
    return int(np.prod(shape) // shape[1]) // group(node)


def group(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1) or 1


def assert_within_the_bound(lab: Lab, model: ir.Model, x: Array) -> None:
    """Fuse and compare with onnxruntime and onnx.reference on the model before."""
    size = lab.outputs(magnitudes(model), {"x": np.abs(x)})["y"]
    bound = (products(model) + 8) * np.finfo(x.dtype).eps * size.astype(np.float64)
    oracles = [lab.outputs(model, {"x": x})["y"]]
    # onnx.reference 1.17 cannot reshape the weight of a ConvTranspose of two groups.
    if model.graph[0].op_type != "ConvTranspose" or group(model.graph[0]) == 1:
        oracles.append(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])  # type: ignore[index]
    result = lab.apply(FuseBatchNorm(), model)
    assert [note.node for note in result.rewritten] == ["BatchNormalization -> 'y'"]
    after = lab.outputs(model, {"x": x})["y"]
    assert size.min() > 0
    assert np.ptp(after) > 0
    for expected in oracles:
        gap = np.abs(after.astype(np.float64) - expected)
        assert (gap <= bound).all(), f"{(gap / bound).max():.2f} times the bound"


@pytest.mark.parametrize(
    ("text", "op"),
    [
        pytest.param(CONV, "Conv", id="Conv"),
        pytest.param(CONV.replace(", b)", ")"), "Conv", id="Conv without bias"),
        pytest.param(GEMM, "Gemm", id="Gemm"),
    ],
)
def test_rewrites_to_one_node_with_a_bias(lab: Lab, text: str, op: str) -> None:
    model = weighted(lab, text)
    lab.apply(FuseBatchNorm(), model)
    assert lab.ops(model) == [op]
    assert len(model.graph[0].inputs) == 3
    assert set(lab.initializers(model)) - {"b"} == {"y.bias", "y.weight"}


def test_rewrites_two_in_a_row_and_inside_a_branch(lab: Lab) -> None:
    text = f"""
        g (float[N, 4] x, bool c, float[4, 6] w, float[6] b, {PARAMETERS}) => (float[N, 6] y) {{
            h = Gemm(x, w, b)
            m = BatchNormalization(h, scale, shift, mean, var)
            k = BatchNormalization(m, scale, shift, mean, var)
            y = If (c) <
                then_branch = yes () => (float[N, 6] p) {{
                    q = Gemm(x, w, b)
                    p = BatchNormalization(q, scale, shift, mean, var)
                }},
                else_branch = no () => (float[N, 6] r) {{ r = Identity(k) }}
            >
        }}"""
    for take in (True, False):
        model = weighted(lab, text, c=take)
        before = lab.outputs(model)["y"]
        lab.apply(FuseBatchNorm(), model)
        assert lab.all_ops(model) == ["Gemm", "If", "Gemm", "Identity"]
        np.testing.assert_allclose(lab.outputs(model)["y"], before, rtol=1e-5, atol=1e-5)


def test_shared_weights_get_copies(lab: Lab) -> None:
    text = CONV.replace("=> (", "=> (float[N, 6, R, S] z, ").replace(
        "h = ", "z = Conv(x, w, b) h = "
    )
    model = weighted(lab, text)
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    kept = weight.numpy().copy()
    before = lab.outputs(model)["z"]
    lab.apply(FuseBatchNorm(), model)
    assert lab.initializers(model) == ["b", "w", "y.bias", "y.weight"]
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value, kept)
    np.testing.assert_array_equal(lab.outputs(model)["z"], before)


def test_the_old_name_of_the_sum_does_not_come_to_mean_the_normalized_one(lab: Lab) -> None:
    model = weighted(
        lab, CONV.replace("y = Batch", "n = Batch").replace("var)\n", "var) y = Relu(n)\n")
    )
    lab.apply(FuseBatchNorm(), model)
    assert lab.ops(model) == ["Conv", "Relu"]
    assert model.graph[0].outputs[0].name == "n"


def test_a_name_already_taken_is_not_taken_again(lab: Lab) -> None:
    model = weighted(
        lab, CONV.replace("=> (", "=> (float[N, 4, 6, 7] z, ").replace("h =", "z = Neg(x) h =")
    )
    model.graph[0].outputs[0].name = "y.weight"
    FuseBatchNorm().run(model)
    assert lab.initializers(model) == ["y.bias", "y.weight_2"]


def test_rewrites_what_stands_between_two_transposes(lab: Lab) -> None:
    model = weighted(lab, BETWEEN)
    result = lab.apply(FuseBatchNorm(), model)
    assert lab.ops(model) == ["Mul", "Add"]
    assert lab.initializers(model) == ["y.add", "y.mul"]
    assert lab.reasons(result.rewritten) == {
        "BatchNormalization -> 'n'": "with its two Transposes, as Mul and Add"
    }


@pytest.mark.parametrize(
    ("output", "extra", "node"),
    [
        pytest.param("h", "", [], id="a graph output"),
        pytest.param("z", "z = Neg(h)", ["Neg"], id="read by another node"),
    ],
)
def test_a_transpose_stays_that_is(lab: Lab, output: str, extra: str, node: list[str]) -> None:
    text = BETWEEN.replace("=> (", f"=> (float[N, 6, 4, 5] {output}, ")
    model = weighted(lab, text.replace("n = ", f"{extra} n = "))
    before = lab.outputs(model)
    lab.apply(FuseBatchNorm(), model)
    assert lab.ops(model) == ["Transpose", *node, "Mul", "Add"]
    after = lab.outputs(model)
    np.testing.assert_array_equal(after[output], before[output])
    np.testing.assert_allclose(after["y"], before["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(("[0, 2, 3, 1]", "[0, 3, 2, 1]"), "comes from Transpose", id="another perm"),
        pytest.param(
            ("=> (", "=> (float[N, 6, 4, 5] n, "), "comes from Transpose", id="a graph output"
        ),
        pytest.param(
            ("y = ", "z = Neg(n) y = "), "comes from Transpose", id="a result read elsewhere"
        ),
        pytest.param(
            (
                "h = Transpose <perm = [0, 3, 1, 2]> (x)",
                "k = Relu(x) h = Transpose <perm = [0, 3, 1, 2]> (k)",
            ),
            "'k' is not known to be FLOAT; run infer-shapes first",
            id="an input of unknown dtype",
        ),
    ],
)
def test_leaves_between_transposes(lab: Lab, change: tuple[str, str], reason: str) -> None:
    text = BETWEEN.replace(*change)
    if "[0, 3, 2, 1]" in text:
        text = text.replace("=> (float[N, 4, 5, 6] y)", "=> (float[N, 5, 4, 6] y)")
    if "z = " in text:
        text = text.replace("=> (", "=> (float[N, 6, 4, 5] z, ")
    model = weighted(lab, text)
    result = lab.apply(FuseBatchNorm(), model)
    assert "BatchNormalization" in lab.ops(model)
    assert reason in lab.reasons(result.skipped)["BatchNormalization -> 'n'"]


@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
@pytest.mark.parametrize(
    ("shape", "there", "back"),
    [
        pytest.param("N, 4, 5, 6", "0, 3, 1, 2", "0, 2, 3, 1", id="channels last"),
        pytest.param("N, 6, 4, 5", "0, 1, 3, 2", "0, 1, 3, 2", id="channels where they were"),
        pytest.param("6, 4, 5, N", "3, 0, 1, 2", "1, 2, 3, 0", id="channels first"),
        pytest.param("N, 4, 6", "0, 2, 1", "0, 2, 1", id="rank 3"),
    ],
)
def test_numerics_between_transposes_within_the_bound(
    lab: Lab, shape: str, there: str, back: str, dtype: str
) -> None:
    text = BETWEEN.replace("N, 4, 5, 6", shape).replace("float[", f"{dtype}[")
    text = text.replace("0, 3, 1, 2", there, 1).replace("[0, 2, 3, 1]> (n", f"[{back}]> (n")
    model = weighted(lab, text)
    x = feeds.generate(model, seed=5)["x"]
    copy = magnitudes(model)
    size = lab.outputs(copy, {"x": np.abs(x)})["y"].astype(np.float64)
    before = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    reference = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]  # type: ignore[index]
    assert lab.apply(FuseBatchNorm(), model).rewritten
    after = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    bound = 8 * np.finfo(x.dtype).eps * size
    assert (np.abs(after - before) <= bound).all()
    assert (np.abs(after - reference) <= bound).all()
    assert np.ptp(after) > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(("mean, var)", "mean, var2)"), "'var2' is no constant", id="live parameters"),
        pytest.param(("(x, w, b)", "(x, w2, b)"), "'w2' is no constant", id="live weights"),
        pytest.param(("(x, w, b)", "(x, w, var2)"), "'var2' is no constant", id="a live bias"),
        pytest.param(
            ("=> (", "=> (float[N, 6, R, S] h, "), "graph output", id="a sum that is an output"
        ),
        pytest.param(
            ("=> (", "=> (float[N, 6, R, S] z, "), "another reader", id="a sum that another reads"
        ),
        pytest.param(
            ("Conv(x, w, b)", "Relu(w3)"), "comes from Relu", id="another operator before"
        ),
        pytest.param(("(h,", "(w3,"), "comes from a graph input", id="no operator before"),
        pytest.param(
            ("(h, scale", "<training_mode = 1> (h, scale"), "training mode", id="training mode"
        ),
        pytest.param(("y = Batch", "y, rm, rv = Batch"), "more than one output", id="more outputs"),
    ],
)
def test_refuses(lab: Lab, change: tuple[str, str], reason: str) -> None:
    extra = "float[6] var2, float[6, 4, 3, 3] w2, float[N, 6, 4, 5] w3, float[6] b,"
    text = CONV.replace("float[6] b,", extra).replace(*change)
    if "another reader" in reason:
        text = text.replace("h = ", "h = Conv(x, w, b) z = Relu(h) unread = ")
    model = weighted(lab, text)
    for name in ("var2", "w2", "w3"):
        value = model.graph.initializers.pop(name)
        value.const_value = None
        model.graph.inputs.append(value)
    before = lab.ops(model)
    result = FuseBatchNorm().run(model)
    assert lab.ops(model) == before
    assert reason in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


@pytest.mark.parametrize(
    ("opset", "attribute", "reason"),
    [
        pytest.param(8, "<spatial = 0>", "spatial=0", id="a factor for each position"),
        pytest.param(6, "<is_test = 1>", "opset 6", id="opset 6"),
    ],
)
def test_refuses_old_forms(lab: Lab, opset: int, attribute: str, reason: str) -> None:
    model = weighted(lab, CONV.replace("(h, scale", f"{attribute} (h, scale"), opset=opset)
    result = FuseBatchNorm().run(model)
    assert lab.ops(model) == ["Conv", "BatchNormalization"]
    assert reason in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


@pytest.mark.parametrize("var", [-1.0, float("nan"), -1e-5])
def test_refuses_a_variance_that_is_not_positive(lab: Lab, var: float) -> None:
    model = weighted(lab, CONV, var=[1, 1, 1, var, 1, 1])
    result = lab.apply(FuseBatchNorm(), model)
    assert "not positive" in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


def test_refuses_a_weight_that_would_not_be_finite(lab: Lab) -> None:
    model = weighted(lab, CONV, scale=1e30, var=1e-30, w=1e20)
    result = lab.apply(FuseBatchNorm(), model)
    assert "not be finite" in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


def test_refuses_constants_of_two_dtypes(lab: Lab) -> None:
    parameters = PARAMETERS.replace("float[6] mean, float[6] var", "double[6] mean, double[6] var")
    model = weighted(lab, CONV.replace(PARAMETERS, parameters))
    result = FuseBatchNorm().run(model)
    assert "DOUBLE, FLOAT" in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


def test_refuses_a_gemm_whose_c_differs_from_row_to_row(lab: Lab) -> None:
    model = weighted(lab, GEMM.replace("float[6] b", "float[2, 1] b").replace("[N,", "[2,"))
    result = lab.apply(FuseBatchNorm(), model)
    assert "row to row" in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


def test_refuses_a_sum_of_another_graph(lab: Lab) -> None:
    model = weighted(
        lab,
        f"""
        g (float[N, 4] x, bool c, float[4, 6] w, float[6] b, {PARAMETERS}) => (float[N, 6] y) {{
            h = Gemm(x, w, b)
            y = If (c) <
                then_branch = yes () => (float[N, 6] p) {{
                    p = BatchNormalization(h, scale, shift, mean, var)
                }},
                else_branch = no () => (float[N, 6] r) {{ r = Gemm(x, w, b) }}
            >
        }}""",
    )
    result = lab.apply(FuseBatchNorm(), model)
    assert "another graph" in lab.reasons(result.skipped)["BatchNormalization -> 'p'"]


def test_refuses_the_body_of_a_function(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[N, 1] x) => (float[N, 1] y) { y = f.fused(x) }
        <domain: "f", opset_import: ["": 16]>
        fused (x) => (y) {
            one = Constant <value = float[1] {1}> ()
            w = Constant <value = float[1, 1] {2}> ()
            h = Gemm(x, w)
            y = BatchNormalization(h, one, one, one, one)
        }""",
        domains=', "f": 1',
    )
    result = lab.apply(FuseBatchNorm(), model)
    assert "function" in lab.reasons(result.skipped)["BatchNormalization -> 'y'"]


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONV, id="Conv"),
        pytest.param(CONV.replace("(h, s", "<epsilon = 0.125> (h, s"), id="Conv, large epsilon"),
        pytest.param(
            CONV.replace(
                "Conv(", "Conv <pads = [1, 0, 2, 1], strides = [2, 1], dilations = [1, 2]> ("
            ),
            id="Conv with pads, strides and dilations",
        ),
        pytest.param(
            CONV.replace("w,", "w,", 1)
            .replace("[6, 4, 3, 3]", "[6, 2, 3, 3]")
            .replace("Conv(", "Conv <group = 2> ("),
            id="Conv of two groups",
        ),
        pytest.param(
            CONV.replace("4, 6, 7] x", "6, 6, 7] x")
            .replace("[6, 4, 3, 3]", "[6, 1, 3, 3]")
            .replace("Conv(", "Conv <group = 6> ("),
            id="depthwise Conv",
        ),
        pytest.param(
            CONV.replace("6, 7]", "9]").replace("3, 3]", "3]").replace("R, S]", "R]"),
            id="Conv in one dimension",
        ),
        pytest.param(
            CONV.replace("6, 7]", "3, 4, 5]")
            .replace("3, 3]", "2, 2, 2]")
            .replace("R, S]", "R, S, T]"),
            id="Conv in three",
        ),
        pytest.param(
            CONV.replace("[6, 4, 3, 3]", "[4, 6, 3, 3]").replace(
                "Conv(", "ConvTranspose <strides = [2, 2]> ("
            ),
            id="ConvTranspose",
        ),
        pytest.param(
            CONV.replace("4, 6, 7] x", "8, 6, 7] x")
            .replace("[6, 4, 3, 3]", "[8, 3, 3, 3]")
            .replace("Conv(", "ConvTranspose <group = 2> ("),
            id="ConvTranspose of two groups",
        ),
        pytest.param(GEMM, id="Gemm"),
        pytest.param(GEMM.replace("x, w, b)", "x, w)"), id="Gemm without C"),
        pytest.param(
            GEMM.replace("[4, 6] w", "[6, 4] w").replace("Gemm(", "Gemm <transB = 1> ("),
            id="Gemm, transB",
        ),
        pytest.param(
            GEMM.replace("Gemm(", "Gemm <alpha = 0.5, beta = 3.0> ("), id="Gemm, alpha and beta"
        ),
        pytest.param(GEMM.replace("[6] b", "[1, 6] b"), id="Gemm, C of one row"),
        pytest.param(GEMM.replace("float[6] b", "float b"), id="Gemm, C a scalar"),
    ],
)
def test_numerics_within_the_bound(lab: Lab, text: str, dtype: str) -> None:
    model = weighted(lab, text.replace("float[", f"{dtype}[").replace("float b", f"{dtype} b"))
    assert_within_the_bound(lab, model, feeds.generate(model, seed=5)["x"])


def test_numerics_within_the_bound_in_float64(lab: Lab) -> None:
    model = weighted(lab, GEMM.replace("float[", "double["))
    assert_within_the_bound(lab, model, feeds.generate(model, seed=5)["x"])


def test_numerics_within_the_bound_when_the_mean_cancels_the_sum(lab: Lab) -> None:
    model = weighted(lab, CONV, b=1000.0, mean=1000.0, var=1e-3)
    assert_within_the_bound(lab, model, feeds.generate(model, seed=6)["x"])


def test_numerics_carry_nan_and_infinity_to_the_same_places(lab: Lab) -> None:
    model = weighted(lab, CONV)
    x = feeds.generate(model, seed=7)["x"]
    x[0, 0, 0, 0], x[1, 1, 5, 6] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(FuseBatchNorm(), model)
    after = lab.outputs(model, {"x": x})["y"]
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    np.testing.assert_array_equal(np.isinf(after), np.isinf(before))
    assert np.isnan(before).any()


def test_numerics_fail_when_the_weights_are_off_by_a_thousandth(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(FuseBatchNorm.__module__)
    monkeypatch.setattr(module, "_epsilon", lambda _: 1e-2)
    model = weighted(lab, CONV)
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_the_bound(lab, model, feeds.generate(model, seed=5)["x"])


def test_costs_one_index_per_run(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []

    def counted(model: ir.Model) -> Any:  # noqa: ANN401  an iterator of graphs
        walks.append(1)
        return main_graphs(model)

    monkeypatch.setattr(sys.modules[FuseBatchNorm.__module__], "main_graphs", counted)
    body = "".join(f"v{i + 1} = BatchNormalization(v{i}, s, s, s, s)" for i in range(20))
    model = lab.model(
        f"g (float[N, 1] v0, float[1] s) => (float[N, 1] y) {{ {body} y = Relu(v20) }}"
    )
    FuseBatchNorm().run(lab.bind(model, {"s": np.ones(1, np.float32)}))
    assert len(walks) == 1
