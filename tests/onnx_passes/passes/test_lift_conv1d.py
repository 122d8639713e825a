from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.passes.lift_conv1d import LiftConv1d

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
NORM = "float[6] scale, float[6] shift, float[6] mean, float[6] var"
TEXT = """
g (float[N, 4, 9] x, float[6, 4, 3] w, float[6] b) => (float[N, 6, R] y) {
    y = Conv(x, w, b)
}
"""
RUN = f"""
g (float[N, 4, 9] x, float[6, 4, 3] w, float[6, 6, 2] v, float[6] b, {NORM}, float[6, 1] c)
=> (float[N, 6, R] y) {{
    h = Conv <pads = [1, 2]> (x, w, b)
    i = BatchNormalization(h, scale, shift, mean, var)
    j = Relu(i)
    k = Mul(j, c)
    l = Conv <strides = [2]> (k, v)
    y = LeakyRelu <alpha = 0.25> (l)
}}
"""


def weighted(lab: Lab, text: str, opset: int = 16) -> ir.Model:
    """Parse a model and make random constants of all inputs but x and z."""
    model = lab.model(text, opset=opset)
    rng, given = np.random.default_rng(0), {}
    for value in model.graph.inputs:
        if value.name and value.name not in {"x", "z"} and value.shape is not None:
            array = rng.standard_normal(value.shape.numpy()).astype(np.float32)
            given[value.name] = np.abs(array) + 0.5 if value.name == "var" else array
    return lab.bind(model, given)


def sequence(seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((2, 4, 9)).astype(np.float32)


def assert_close(lab: Lab, model: ir.Model, x: Array | None = None) -> None:
    """Lift and compare all outputs with onnxruntime and onnx.reference on the model before."""
    feeds = {"x": sequence() if x is None else x}
    oracles = [lab.outputs(model, feeds)]
    # onnx.reference 1.17 normalises differently before opset 14.
    if model.opset_imports[""] >= 14 or "BatchNormalization" not in lab.ops(model):
        reference = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
        oracles.append(dict(zip(oracles[0], reference, strict=True)))  # type: ignore[arg-type]
    assert lab.apply(LiftConv1d(), model).rewritten
    after = lab.outputs(model, feeds)
    for name, array in after.items():
        # Two Convs of up to 13 terms, and normal data: 64 eps is loose by a factor of ten.
        bound = 64 * np.finfo(np.float32).eps * np.abs(array).max()
        for expected in oracles:
            assert array.shape == expected[name].shape
            gap = np.abs(array.astype(np.float64) - expected[name])
            assert (gap <= bound).all(), f"{name}: {gap.max() / bound:.2f} times the bound"


def assert_within_the_bound(lab: Lab, model: ir.Model, x: Array) -> None:
    """Lift a single Conv and compare with the bound of the page."""
    sizes = model.clone()
    for name, value in sizes.graph.initializers.items():
        assert value.const_value is not None
        value.const_value = ir.Tensor(np.abs(value.const_value.numpy()), name=name)
    size = lab.outputs(sizes, {"x": np.abs(x)})["y"].astype(np.float64)
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    products = int(np.prod(weight.shape.numpy()[1:]))
    oracles = [lab.outputs(model, {"x": x})["y"]]
    if "auto_pad" not in model.graph[0].attributes:  # onnx.reference 1.17 ignores the stride there
        oracles.append(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])  # type: ignore[index]
    assert lab.apply(LiftConv1d(), model).rewritten
    after = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    for expected in oracles:
        assert after.shape == expected.shape
        gap = np.abs(after - expected) / ((products + 2) * np.finfo(np.float32).eps * size)
        assert (gap <= 1).all(), f"{gap.max():.2f} times the bound"


def test_rewrites_one_conv(lab: Lab) -> None:
    model = weighted(lab, TEXT)
    result = lab.apply(LiftConv1d(), model)
    assert lab.ops(model) == ["Unsqueeze", "Conv", "Squeeze"]
    assert lab.reasons(result.rewritten) == {"Conv -> 'y'": "lifted with the 0 nodes that follow"}
    assert set(lab.initializers(model)) >= {"b", "w/lifted"}
    assert "w" not in lab.initializers(model)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_rewrites_a_run_between_one_unsqueeze_and_one_squeeze(lab: Lab, opset: int) -> None:
    model = weighted(lab, RUN, opset)
    assert_close(lab, model)
    assert lab.ops(model) == [
        *("Unsqueeze", "Conv", "BatchNormalization", "Relu", "Mul", "Conv", "LeakyRelu"),
        "Squeeze",
    ]
    assert len(model.graph[0].inputs) == (1 if opset == 11 else 2)


def test_the_nodes_of_a_run_keep_their_names_and_metadata(lab: Lab) -> None:
    model = weighted(lab, RUN)
    for number, node in enumerate(model.graph):
        node.name = f"node_{number}"
        node.metadata_props["kept"] = "yes"
    lab.apply(LiftConv1d(), model)
    inner = list(model.graph)[1:-1]
    assert [node.name for node in inner] == [f"node_{number}" for number in range(6)]
    assert all(node.metadata_props == {"kept": "yes"} for node in inner)


def test_a_value_of_a_run_does_not_keep_the_name_of_another_shape(lab: Lab) -> None:
    model = weighted(lab, RUN)
    lab.apply(LiftConv1d(), model)
    names = [value.name for node in model.graph for value in node.outputs]
    assert set("hijkl").isdisjoint(names)
    assert names[-1] == "y"


def test_a_shared_weight_is_lifted_once(lab: Lab) -> None:
    text = TEXT.replace("=> (", "=> (float[N, 6, R] q, ").replace("y = ", "q = Conv(x, w) y = ")
    model = weighted(lab, text)
    assert len(lab.apply(LiftConv1d(), model).rewritten) == 2
    shapes = [value.shape for value in model.graph.initializers.values()]
    assert shapes.count(ir.Shape([6, 4, 1, 3])) == 1
    assert "w" not in lab.initializers(model)


def test_a_weight_with_another_reader_stays(lab: Lab) -> None:
    text = TEXT.replace("=> (", "=> (float[6, 4, 3] q, ").replace("y = ", "q = Neg(w) y = ")
    model = weighted(lab, text)
    lab.apply(LiftConv1d(), model)
    assert {"w", "w/lifted"} <= set(lab.initializers(model))


def test_rewrites_inside_a_branch_and_a_function(lab: Lab) -> None:
    model = lab.model(
        """g (float[1, 1, 4] x, bool c) => (float[1, 1, 2] y) <float[1, 1, 3] w = {1, 2, 3}> {
            y = If (c) <
                then_branch = yes () => (float[1, 1, 2] a) { a = Conv(x, w) },
                else_branch = no () => (float[1, 1, 2] b) { b = f.conv(x) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        conv (u) => (v) {
            w = Constant <value = float[1, 1, 3] {3, 2, 1}> ()
            h = Conv(u, w)
            v = Relu(h)
        }""",
        domains=', "f": 1',
    )
    x = np.array([[[1, 10, 100, 1000]]], np.float32)
    for taken in (True, False):
        feeds = {"x": x, "c": np.array(taken)}
        assert len(lab.exact(LiftConv1d(), model.clone(), feeds).rewritten) == 2
    LiftConv1d().run(model)
    body = next(iter(model.functions.values()))
    assert [node.op_type for node in body if node.op_type != "Constant"] == [
        *("Unsqueeze", "Conv", "Relu", "Squeeze")
    ]


@pytest.mark.parametrize(
    ("after", "extra", "result", "expected"),
    [
        pytest.param(
            "y = Neg(h) q = Neg(h)",
            ", float[N, 6, R] q",
            "N, 6, R",
            ["Squeeze", "Neg", "Neg"],
            id="a value with two readers",
        ),
        pytest.param(
            "y = Neg(h)",
            ", float[N, 6, R] h",
            "N, 6, R",
            ["Squeeze", "Neg"],
            id="a value that is a graph output",
        ),
        pytest.param(
            "y = Mul(h, h)", "", "N, 6, R", ["Squeeze", "Mul"], id="a product of computed values"
        ),
        pytest.param(
            "k = Constant <value = float[1, 1, 1, 1] {2}> () y = Mul(h, k)",
            "",
            "P, N, 6, R",
            ["Squeeze", "Constant", "Mul"],
            id="a constant of rank 4",
        ),
        pytest.param(
            "y = Softmax <axis = 2> (h)", "", "N, 6, R", ["Squeeze", "Softmax"], id="Softmax"
        ),
        pytest.param(
            "y = Concat <axis = -2> (h, x)", "", "N, 10, R", ["Squeeze", "Concat"], id="Concat"
        ),
        pytest.param(
            "y, q = Split <axis = 1> (h)",
            ", float[N, 3, R] q",
            "N, 3, R",
            ["Squeeze", "Split"],
            id="Split",
        ),
        pytest.param(
            "y = Transpose <perm = [0, 2, 1]> (h)",
            "",
            "N, R, 6",
            ["Squeeze", "Transpose"],
            id="Transpose",
        ),
        pytest.param(
            "y = MaxPool <kernel_shape = [3]> (h)",
            "",
            "N, 6, Q",
            ["Squeeze", "MaxPool"],
            id="a pool",
        ),
        pytest.param(
            "y = ConvTranspose(h, t)",
            "",
            "N, 2, Q",
            ["Squeeze", "ConvTranspose"],
            id="ConvTranspose",
        ),
        pytest.param(
            "y, q, r = BatchNormalization <training_mode = 1> (h, b, b, b, b)",
            ", float[6] q, float[6] r",
            "N, 6, R",
            ["Squeeze", "BatchNormalization"],
            id="a BatchNormalization with three outputs",
        ),
    ],
)
def test_a_run_ends_at(lab: Lab, after: str, extra: str, result: str, expected: list[str]) -> None:
    text = f"""
    g (float[N, 4, 9] x, float[6, 4, 3] w, float[6] b, float[6, 2, 3] t)
    => (float[{result}] y{extra}) {{
        h = Conv <pads = [1, 1]> (x, w, b)
        {after}
    }}"""
    model = weighted(lab, text)
    assert_close(lab, model)
    ops = lab.ops(model)
    assert sorted(ops) == sorted(["Unsqueeze", "Conv", *expected])
    assert ops.index("Squeeze") == ops.index("Conv") + 1


def test_a_run_ends_at_a_branch_that_reads_it(lab: Lab) -> None:
    text = TEXT.replace("y =", "h =").replace(
        "b)\n}",
        """b)
        t = Constant <value = bool {1}> ()
        y = If (t) <
            then_branch = yes () => (float[N, 6, R] p) { p = Relu(h) },
            else_branch = no () => (float[N, 4, R] q) { q = Identity(x) }
        >
    }""",
    )
    model = weighted(lab, text)
    before = lab.outputs(model, {"x": sequence()})["y"]
    lab.apply(LiftConv1d(), model)
    assert lab.ops(model)[:3] == ["Unsqueeze", "Conv", "Squeeze"]
    np.testing.assert_allclose(lab.outputs(model, {"x": sequence()})["y"], before, atol=1e-5)


def test_a_run_goes_on_behind_a_graph_output(lab: Lab) -> None:
    model = weighted(lab, RUN.replace("=> (", "=> (float[N, 6, Q] j, "))
    assert_close(lab, model)
    assert lab.ops(model).count("Unsqueeze") == 2
    assert lab.ops(model).count("Squeeze") == 2


@pytest.mark.parametrize(
    ("text", "opset", "reason"),
    [
        pytest.param(TEXT, 10, "opset 10, expected 11 or newer", id="opset 10"),
        pytest.param(
            TEXT.replace("4, 3] w", "4, 3] z").replace("x, w", "x, z"),
            16,
            "its weight is no constant",
            id="a weight that a caller gives",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, opset: int, reason: str) -> None:
    result = lab.apply(LiftConv1d(), weighted(lab, text, opset))
    assert lab.reasons(result.skipped) == {"Conv -> 'y'": reason}
    assert not result.rewritten


def test_leaves_a_conv_of_two_axes_alone_without_a_word(lab: Lab) -> None:
    text = TEXT.replace("4, 9]", "4, 9, 9]").replace("4, 3]", "4, 3, 3]").replace("R]", "R, S]")
    result = lab.apply(LiftConv1d(), weighted(lab, text))
    assert (result.rewritten, result.skipped) == ([], [])


@pytest.mark.parametrize("opset", [11, 16])
@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param("", id="no attributes"),
        pytest.param("pads = [0, 3], kernel_shape = [3]", id="pads that differ"),
        pytest.param("strides = [2], dilations = [3], pads = [2, 0]", id="strides and dilations"),
        pytest.param('auto_pad = "SAME_UPPER", strides = [2]', id="auto_pad SAME_UPPER"),
        pytest.param('auto_pad = "SAME_LOWER"', id="auto_pad SAME_LOWER"),
        pytest.param("group = 2", id="two groups"),
    ],
)
def test_numerics_within_the_bound(lab: Lab, attributes: str, opset: int) -> None:
    text = TEXT.replace("Conv(", f"Conv <{attributes}> (") if attributes else TEXT
    text = text.replace("6, 4, 3] w", "6, 2, 3] w") if "group" in attributes else text
    assert_within_the_bound(lab, weighted(lab, text, opset), sequence())


def test_numerics_within_the_bound_when_products_cancel(lab: Lab) -> None:
    x = sequence()
    x[..., ::2] += 1e6
    x[..., 1::2] -= 1e6
    assert_within_the_bound(lab, weighted(lab, TEXT), x)


@pytest.mark.parametrize("shape", ["", "[1]", "[7]", "[6, 1]", "[6, 7]", "[1, 6, 7]", "[2, 1, 7]"])
@pytest.mark.parametrize(
    "call", ["Add(h, c)", "Add(c, h)", "Sub(c, h)", "Mul(h, c)", "Div(c, h)", "PRelu(h, c)"]
)
def test_numerics_of_constants_of_each_rank(lab: Lab, call: str, shape: str) -> None:
    text = TEXT.replace("y =", "h =").replace("b)\n}", f"b)\n    y = {call}\n}}")
    model = weighted(lab, text.replace("[6] b)", f"[6] b, float{shape} c)"))
    assert_close(lab, model)
    assert lab.ops(model) == ["Unsqueeze", "Conv", call.split("(", maxsplit=1)[0], "Squeeze"]


@pytest.mark.parametrize(
    "activation",
    [
        *("Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Softplus", "HardSigmoid", "HardSwish", "Erf"),
        *("Identity", "Neg", "Abs", "Exp", "Softsign", "ThresholdedRelu", "Celu"),
    ],
)
def test_numerics_of_activations(lab: Lab, activation: str) -> None:
    text = TEXT.replace("y =", "h =").replace("b)\n}", f"b)\n    y = {activation}(h)\n}}")
    model = weighted(lab, text)
    assert_close(lab, model)
    assert lab.ops(model) == ["Unsqueeze", "Conv", activation, "Squeeze"]


def test_numerics_of_clip_with_bounds(lab: Lab) -> None:
    text = TEXT.replace("y =", "h =").replace(
        "b)\n}", "b)\n    lo = Constant <value = float {-1}> ()\n    y = Clip(h, lo)\n}"
    )
    model = weighted(lab, text)
    assert_close(lab, model)
    assert lab.ops(model)[-1] == "Squeeze"


def test_numerics_carry_nan_to_the_same_places(lab: Lab) -> None:
    model, x = weighted(lab, RUN), sequence()
    x[0, 0, 4], x[1, 3, 0] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(LiftConv1d(), model)
    after = lab.outputs(model, {"x": x})["y"]
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    assert np.isnan(before).any()


def test_numerics_fail_when_the_pads_are_swapped(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(LiftConv1d.__module__)
    right = module._lift_attributes

    def swapped(conv: ir.Node) -> None:
        right(conv)
        pads = list(conv.attributes.get_ints("pads") or ())
        conv.attributes["pads"] = ir.AttrInt64s("pads", pads[2:] + pads[:2])

    monkeypatch.setattr(module, "_lift_attributes", swapped)
    model = weighted(lab, TEXT.replace("Conv(", "Conv <pads = [0, 2]> ("))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_the_bound(lab, model, sequence())
