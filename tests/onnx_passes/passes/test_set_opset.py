from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics import compare, feeds
from onnx_passes.opsets.convert import NEWEST, OLDEST, RULES
from onnx_passes.opsets.widened import WIDENED, is_step
from onnx_passes.passes.set_opset import SetOpset

if TYPE_CHECKING:
    from onnx_passes.core.contract import PassResult
    from tests.onnx_passes.conftest import Lab

EPS = float(np.finfo(np.float32).eps)
X = "float[2, 3, 4] x"


def one(node: str, inputs: str = X, output: str = "float[2, 3, 4] y", weights: str = "") -> str:
    """Return a graph of one node (or a few) that makes ``y``."""
    return f"g ({inputs}) => ({output}) <{weights}> {{ {node} }}"


def interface(lab: Lab, model: ir.Model) -> list[str]:
    """Return what the pass must keep: all but the opset."""
    return lab.interface(model)[:-2]


def convert(lab: Lab, model: ir.Model, version: int) -> PassResult:
    """Run the pass; the interface must stay, the checker agree and a second run do nothing."""
    before = interface(lab, model)
    result = SetOpset(version=version).run(model)
    assert not result.skipped
    assert model.opset_imports[""] == version
    lab.check(model)
    assert interface(lab, model) == before
    text = ir.to_proto(model).SerializeToString(deterministic=True)
    second = SetOpset(version=version).run(ir.from_proto(onnx.load_from_string(text)))
    assert (second.rewritten, second.skipped) == ([], [])
    return result


def both(
    lab: Lab, text: str, source: int, target: int, inputs: dict[str, Any] | None = None
) -> tuple[ir.Model, PassResult]:
    """Convert, and compare the bits of all outputs before and after."""
    model = lab.model(text, opset=source)
    lab.check(model)
    given = feeds.generate(model) if inputs is None else inputs
    before = lab.outputs(model, given)
    result = convert(lab, model, target)
    after = lab.outputs(model, given)
    assert before
    for name, array in before.items():
        assert compare.same_bits(array, after[name]), name
    return model, result


def refusals(lab: Lab, text: str, source: int, target: int) -> list[str]:
    """Return the reasons why the model stays, byte by byte, as it was."""
    model = lab.model(text, opset=source)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = SetOpset(version=target).run(model)
    assert result.rewritten == []
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    return [f"{note.node}: {note.text}" for note in result.skipped]


AXES = "int64[1] a = {1}"
ODD = "float[2, 7] x"
REWRITES = [
    pytest.param("y = HardSwish(x)", {}, 16, 11, ["HardSigmoid", "Mul"], id="HardSwish"),
    pytest.param(
        "y = GreaterOrEqual(x, x)",
        {"output": "bool[2, 3, 4] y"},
        12,
        11,
        ["Greater", "Equal", "Or"],
        id="GreaterOrEqual, NaN too",
    ),
    pytest.param(
        "y = Unsqueeze(x, a)",
        {"output": "float[2, 1, 3, 4] y", "weights": AXES},
        16,
        11,
        ["Unsqueeze"],
        id="axes of Unsqueeze as an attribute",
    ),
    pytest.param(
        "y = Unsqueeze <axes = [1]> (x)",
        {"output": "float[2, 1, 3, 4] y"},
        11,
        18,
        ["Unsqueeze"],
        id="axes of Unsqueeze as an input",
    ),
    pytest.param(
        "a = Constant <value_ints = [1]> () h = Unsqueeze(x, a) y = Squeeze(h, a)",
        {},
        13,
        11,
        ["Unsqueeze", "Squeeze"],
        id="axes from a Constant node that then goes",
    ),
    pytest.param(
        "y = Squeeze <axes = [-1]> (x)",
        {"inputs": "float[3, 1] x", "output": "float[3] y"},
        12,
        13,
        ["Squeeze"],
        id="negative axes of Squeeze",
    ),
    pytest.param(
        "y = ReduceSum <keepdims = 0> (x, a)",
        {"output": "float[2, 4] y", "weights": AXES},
        17,
        12,
        ["ReduceSum"],
        id="axes of ReduceSum as an attribute",
    ),
    pytest.param(
        "y = ReduceSum <keepdims = 0> (x)",
        {"output": "float y"},
        13,
        12,
        ["ReduceSum"],
        id="ReduceSum of everything",
    ),
    pytest.param(
        "y = ReduceSum <noop_with_empty_axes = 1> (x)",
        {},
        13,
        12,
        ["Identity"],
        id="ReduceSum of nothing",
    ),
    pytest.param(
        "y = ReduceMean <keepdims = 0> (x, a)",
        {"output": "float[2, 4] y", "weights": AXES},
        18,
        17,
        ["ReduceMean"],
        id="axes of ReduceMean as an attribute",
    ),
    pytest.param(
        "y = ReduceMax <axes = [0, -1]> (x)",
        {"output": "float[1, 3, 1] y"},
        11,
        20,
        ["ReduceMax"],
        id="axes of ReduceMax as an input",
    ),
    pytest.param(
        "y, z = Split <axis = 1> (x, s)",
        {"inputs": ODD, "output": "float[2, 3] y", "weights": "int64[2] s = {3, 4}"},
        18,
        11,
        ["Split"],
        id="sizes of Split as an attribute",
    ),
    pytest.param(
        "y, z = Split <axis = 1, split = [3, 4]> (x)",
        {"inputs": ODD, "output": "float[2, 3] y"},
        11,
        18,
        ["Split"],
        id="sizes of Split as an input",
    ),
    pytest.param(
        "z, y = Split <axis = 1, num_outputs = 2> (x)",
        {"inputs": ODD, "output": "float[2, 3] y"},
        18,
        12,
        ["Split"],
        id="unequal parts of Split by their number",
    ),
    pytest.param(
        "z, y = Split <axis = 1, num_outputs = 2> (x)",
        {"inputs": "float[2, n] x", "output": "float[2, m] y"},
        18,
        18,
        ["Split"],
        id="nothing where the opset is the same",
    ),
    pytest.param(
        "z, y = Split <axis = -1> (x)",
        {"output": "float[2, 3, 2] y"},
        11,
        18,
        ["Split"],
        id="equal parts of Split",
    ),
    pytest.param(
        "y = Softmax <axis = 1> (x)",
        {},
        13,
        11,
        ["Transpose", "Softmax", "Transpose"],
        id="Softmax along an inner axis",
    ),
    pytest.param("y = Softmax(x)", {}, 13, 12, ["Softmax"], id="Softmax along the last axis"),
    pytest.param(
        "y = Softmax(x)",
        {},
        12,
        13,
        ["Flatten", "Softmax", "Reshape"],
        id="old Softmax, which takes two axes as one",
    ),
    pytest.param(
        "y = LogSoftmax <axis = -3> (x)",
        {"inputs": "float[n, 3, 4] x", "output": "float[n, 3, 4] y"},
        11,
        16,
        ["Flatten", "LogSoftmax", "Shape", "Reshape"],
        id="old LogSoftmax of dynamic extent",
    ),
    pytest.param(
        "y = Hardmax <axis = 1> (x)",
        {},
        11,
        13,
        ["Flatten", "Hardmax", "Reshape"],
        id="old Hardmax, with one winner for two axes",
    ),
    pytest.param(
        "y = Softmax <axis = 1> (x)",
        {"inputs": "float[2, 5, 1, 1] x", "output": "float[2, 5, 1, 1] y"},
        13,
        11,
        ["Softmax"],
        id="Softmax before axes of extent 1",
    ),
    pytest.param(
        "y = BatchNormalization <training_mode = 0> (x, s, s, s, s)",
        {"weights": "float[3] s = {1, 2, 3}"},
        15,
        11,
        ["BatchNormalization"],
        id="BatchNormalization in inference mode",
    ),
    pytest.param(
        "y = BatchNormalization(x, s, s, s, s)",
        {"weights": "float[3] s = {1, 2, 3}"},
        11,
        17,
        ["BatchNormalization"],
        id="BatchNormalization upwards",
    ),
    pytest.param(
        "y = Reshape <allowzero = 1> (x, s)",
        {"output": "float[6, 4] y", "weights": "int64[2] s = {6, 4}"},
        14,
        13,
        ["Reshape"],
        id="Reshape that allows a zero and has none",
    ),
    pytest.param(
        "y = Shape <start = -2, end = 9> (x)",
        {"output": "int64[2] y"},
        15,
        11,
        ["Shape", "Slice"],
        id="Shape of some axes",
    ),
    pytest.param(
        "y = Pad(x, p, , a)",
        {
            "output": "float[2, 6, 4] y",
            "weights": "int64[2] p = {1, 2}, int64[1] a = {-2}",
        },
        18,
        11,
        ["Pad"],
        id="Pad of some axes",
    ),
    pytest.param(
        "y = Dropout(x, r)",
        {"weights": "float r = {0.25}"},
        13,
        11,
        ["Dropout"],
        id="ratio of Dropout as an attribute",
    ),
    pytest.param(
        "y = Dropout <ratio = 0.25> (x)", {}, 11, 13, ["Dropout"], id="ratio of Dropout as an input"
    ),
    pytest.param(
        'y = Resize <mode = "linear"> (x, , s)',
        {"output": "float[2, 6, 8] y", "weights": "float[3] s = {1, 2, 2}"},
        19,
        11,
        ["Resize"],
        id="Resize without roi",
    ),
    pytest.param(
        'y = Resize <mode = "nearest"> (x, , , s)',
        {"output": "float[2, 6, 8] y", "weights": "int64[3] s = {2, 6, 8}"},
        13,
        11,
        ["Resize"],
        id="Resize by sizes",
    ),
    pytest.param(
        "y = GridSample <align_corners = 1> (x, g)",
        {"inputs": "float[1, 2, 4, 5] x, float[1, 3, 3, 2] g", "output": "float[1, 2, 3, 3] y"},
        20,
        16,
        ["GridSample"],
        id="mode linear of GridSample, the default",
    ),
    pytest.param(
        'y = GridSample <mode = "bicubic"> (x, g)',
        {"inputs": "float[1, 2, 4, 5] x, float[1, 3, 3, 2] g", "output": "float[1, 2, 3, 3] y"},
        16,
        20,
        ["GridSample"],
        id="mode bicubic of GridSample",
    ),
    pytest.param(
        "y = RoiAlign <output_height = 2, output_width = 2> (x, r, b)",
        {
            "inputs": "float[1, 2, 6, 6] x, float[1, 4] r",
            "output": "float[1, 2, 2, 2] y",
            "weights": "int64[1] b = {0}",
        },
        11,
        16,
        ["RoiAlign"],
        id="RoiAlign, whose default changed",
    ),
    pytest.param(
        "q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)",
        {"weights": "float s = {0.1}"},
        13,
        11,
        ["QuantizeLinear", "DequantizeLinear"],
        id="one scale",
    ),
    pytest.param(
        "c = Constant <value_floats = [1., 2., 3., 4.]> () y = Add(x, c)",
        {},
        12,
        11,
        ["Constant", "Add"],
        id="numbers of a Constant",
    ),
]


@pytest.mark.parametrize(("node", "parts", "source", "target", "ops"), REWRITES)
def test_rewrites_bit_by_bit(
    lab: Lab, node: str, parts: dict[str, str], source: int, target: int, ops: list[str]
) -> None:
    model, _ = both(lab, one(node, **parts), source, target)
    assert lab.ops(model) == ops
    assert not any(value.const_value is None for value in model.graph.initializers.values())


def test_rewrites_comparisons_of_nan_bit_by_bit(lab: Lab) -> None:
    text = one("y = LessOrEqual(x, z)", "float[3] x, float[3] z", "bool[3] y")
    inputs = {"x": np.array([np.nan, 1, 2], np.float32), "z": np.array([1, 1, np.nan], np.float32)}
    both(lab, text, 16, 11, inputs)


def test_rewrites_nan_infinities_and_signed_zeros_through_hard_swish(lab: Lab) -> None:
    odd = [np.nan, np.inf, -np.inf, -0.0, 0.0, -3, 3, 1e30, 1e-40, -2.9999998]
    inputs = {"x": np.array(odd, np.float32)}
    both(lab, one("y = HardSwish(x)", "float[10] x", "float[10] y"), 14, 13, inputs)


def test_rewrites_what_there_is_and_back(lab: Lab) -> None:
    text = one(
        "h = Unsqueeze(x, a) s = Softmax <axis = 2> (h) r = ReduceMean(s, a) y = Squeeze(r, a)",
        weights=AXES,
    )
    model, result = both(lab, text, 18, 11)
    assert [f"{note.node}: {note.text}" for note in result.rewritten] == [
        "model: opset 18 -> 11; rewritten: ReduceMean 1, Softmax 1, Squeeze 1, Unsqueeze 1"
    ]
    assert lab.initializers(model) == []
    given = feeds.generate(model)
    before = lab.outputs(model, given)["y"]
    convert(lab, model, 18)
    assert compare.same_bits(lab.outputs(model, given)["y"], before)


def test_rewrites_branches_and_functions(lab: Lab) -> None:
    text = """
        g (float[2, 3] x, bool c) => (float[2, 3] y) {
            s = f.soft(x)
            y = If (c) <then_branch = t () => (float[2, 3] p) { p = HardSwish(s) },
                        else_branch = e () => (float[2, 3] q) { a = Constant <value_ints = [0]> ()
                        u = Unsqueeze(s, a) q = Squeeze(u, a) }>
        }
        <domain: "f", opset_import: ["": 16]>
        soft (u) => (v) {
            a = Constant <value = int64[1] {0}> ()
            w = Unsqueeze(u, a)
            k = Squeeze(w, a)
            v = HardSwish(k)
        }
    """
    for taken in (True, False):
        model = lab.model(text, domains=', "f": 1')
        given = {"x": np.array([[1, -2, 0.5], [4, -4, 0]], np.float32), "c": np.array(taken)}
        before = lab.outputs(model, given)["y"]
        convert(lab, model, 12)
        assert [function.opset_imports[""] for function in model.functions.values()] == [12]
        assert compare.same_bits(lab.outputs(model, given)["y"], before)


def test_rewrites_only_the_default_domain(lab: Lab) -> None:
    text = "g (float[2] x) => (float[2] y) { h = Relu(x) y = my.Softmax(h) }"
    model = lab.model(text, domains=', "my": 3')
    SetOpset(version=11).run(model)
    assert dict(model.opset_imports) == {"": 11, "my": 3}
    assert lab.ops(model) == ["Relu", "Softmax"]


GRID = "float[1, 2, 4, 5] x, float[1, 3, 3, 2] g"
REFUSALS = [
    pytest.param(
        one("y = GridSample(x, g)", GRID, "float[1, 2, 3, 3] y"),
        16,
        15,
        "GridSample -> 'y': opset 15 has no GridSample; run decompose-grid-sample first",
        id="GridSample below 16",
    ),
    pytest.param(
        one('y = Einsum <equation = "ijk->ijk"> (x)'),
        12,
        11,
        "Einsum -> 'y': opset 11 has no Einsum; run decompose-einsum first",
        id="an operator that the opset lacks",
    ),
    pytest.param(
        one("y = Unsqueeze(x, a)", f"{X}, int64[1] a", "float[a, b, c, d] y"),
        13,
        12,
        "Unsqueeze -> 'y': its axes 'a' are computed, and opset 12 needs constants",
        id="computed axes",
    ),
    pytest.param(
        one("y, z = Split(x, a)", f"{X}, int64[2] a", "float[a, b, c] y"),
        13,
        12,
        "Split -> 'y': its sizes 'a' are computed, and opset 12 needs constants",
        id="computed sizes",
    ),
    pytest.param(
        one("y, z = Split <num_outputs = 2> (x)", "float[n, 3] x", "float[m, 3] y"),
        18,
        17,
        "Split -> 'y': the extent that it splits into 2 equal parts or a smaller last one is "
        "unknown",
        id="parts of an unknown extent",
    ),
    pytest.param(
        one('y = Pad <mode = "wrap"> (x, p)', ODD, "float[2, 9] y", "int64[4] p = {0, 1, 0, 1}"),
        19,
        18,
        "Pad -> 'y': opset 18 has no mode 'wrap' of Pad",
        id="a mode that the opset lacks",
    ),
    pytest.param(
        one('y = ScatterElements <reduction = "add"> (x, i, x)', f"{X}, int64[2, 3, 4] i"),
        16,
        15,
        "ScatterElements -> 'y': opset 15 has no attribute 'reduction' of ScatterElements",
        id="an attribute that the opset lacks",
    ),
    pytest.param(
        one("y = Relu(x)", "int32[3] x", "int32[3] y"),
        14,
        13,
        "Relu -> 'y': opset 13 does not take the type tensor(int32) of 'x'",
        id="a type that the opset lacks",
    ),
    pytest.param(
        one("y = Pow(x, e)", f"{X}, double e"),
        13,
        11,
        "Pow -> 'y': opset 11 wants 'e' as tensor(float), it is tensor(double)",
        id="two types where the opset wants one",
    ),
    pytest.param(
        one("h = my.Thing(x) y = Relu(h)"),
        14,
        13,
        "Relu -> 'y': the type of 'h' is unknown; run infer-shapes first",
        id="an unknown type",
    ),
    pytest.param(
        one("h = my.Thing(x) y = Softmax <axis = 1> (h)"),
        12,
        13,
        "Softmax -> 'y': the rank of its input is unknown; run infer-shapes first",
        id="Softmax of unknown rank",
    ),
    pytest.param(
        one(
            "y, m, v = BatchNormalization <training_mode = 1> (x, s, s, s, s)",
            weights="float[3] s = {1, 2, 3}",
        ),
        15,
        13,
        "BatchNormalization -> 'y': BatchNormalization in training mode",
        id="BatchNormalization in training mode",
    ),
    pytest.param(
        one("y = Dropout(x, r, t)", weights="float r = {0.5}, bool t = {1}"),
        13,
        11,
        "Dropout -> 'y': training mode: Dropout of opset 11 only copies",
        id="Dropout in training mode",
    ),
    pytest.param(
        one(
            "y = Reshape <allowzero = 1> (x, s)",
            "float[0, 3] x",
            "float[3, 0] y",
            "int64[2] s = {3, 0}",
        ),
        14,
        13,
        "Reshape -> 'y': allowzero=1 with a 0 in the shape has no form in opset 13",
        id="a shape with a true zero",
    ),
    pytest.param(
        one(
            "y = RoiAlign(x, r, b)",
            "float[1, 2, 6, 6] x, float[1, 4] r, int64[1] b",
            "float[1, 2, 1, 1] y",
        ),
        16,
        15,
        "RoiAlign -> 'y': coordinates 'half_pixel' of RoiAlign have no form in opset 15",
        id="RoiAlign with the new coordinates",
    ),
    pytest.param(
        one(
            "y = AveragePool <kernel_shape = [2], count_include_pad = 1, ceil_mode = 1> (x)",
            output="float[2, 3, 3] y",
        ),
        18,
        19,
        "AveragePool -> 'y': ceil_mode=1 with count_include_pad=1 changed its meaning in opset 19",
        id="windows beyond the padding",
    ),
    pytest.param(
        one(
            "y = AveragePool <kernel_shape = [2], pads = [1, 0], count_include_pad = 1, "
            "ceil_mode = 1> (x)",
            output="float[2, 3, 4] y",
        ),
        19,
        18,
        "AveragePool -> 'y': ceil_mode=1 with count_include_pad=1 changed its meaning in opset 19",
        id="windows beyond a padding that is counted",
    ),
    pytest.param(
        one("y = AveragePool <kernel_shape = [2], dilations = [2]> (x)", output="float[2, 3, 2] y"),
        19,
        18,
        "AveragePool -> 'y': opset 18 has no attribute 'dilations' of AveragePool",
        id="AveragePool with holes",
    ),
    pytest.param(
        one("y = DequantizeLinear <axis = 1> (x, s)", "int8[2, 3] x, float[3] s", "float[2, 3] y"),
        13,
        12,
        "DequantizeLinear -> 'y': a scale for each channel (or of unknown rank) has no form in "
        "opset 12",
        id="a scale for each channel",
    ),
    pytest.param(
        one(
            'y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, r, s)',
            output="float[2, 6, 8] y",
            weights="float[0] r = {}, float[3] s = {1, 2, 2}",
        ),
        11,
        13,
        "Resize -> 'y': opset 13 has no coordinate_transformation_mode 'tf_half_pixel_for_nn' "
        "of Resize",
        id="a way to resize that went",
    ),
    pytest.param(
        one(
            "y, m = LayerNormalization(x, s)",
            output="float[2, 3, 1] m",
            weights="float[4] s = {1, 1, 1, 1}",
        ),
        17,
        16,
        "LayerNormalization -> 'y': its mean or deviation is read",
        id="the mean of LayerNormalization",
    ),
    pytest.param(
        one("y = Relu(x)"), 10, 11, "model: opset 10: the rules cover 11 to 20", id="opset 10"
    ),
]


@pytest.mark.parametrize(("text", "source", "target", "expected"), REFUSALS)
def test_refuses_the_whole_model(
    lab: Lab, text: str, source: int, target: int, expected: str
) -> None:
    if source >= 14 and X in text:  # next to a node that has a form of its own
        text = text.replace("{ ", "{ other = HardSwish(x) ", 1)
    assert expected in refusals(lab, text, source, target)


@pytest.mark.parametrize("version", [OLDEST - 1, NEWEST + 1])
def test_refuses_an_opset_out_of_range(version: int) -> None:
    with pytest.raises(UsageError, match="expected 11 to 20"):
        SetOpset(version=version)


def test_refuses_an_attribute_of_the_caller(lab: Lab) -> None:
    text = """
        g (float[2, 3] x) => (float[2, 3] y) { y = f.soft <axis = 0> (x) }
        <domain: "f", opset_import: ["": 16]>
        soft <axis> (u) => (v) { v = Softmax <axis: int = @axis> (u) }
    """
    model = lab.model(text, domains=', "f": 1')
    result = SetOpset(version=12).run(model)
    assert lab.reasons(result.skipped) == {
        "Softmax -> 'v'": "the caller of the function sets an attribute of it"
    }
    assert model.opset_imports[""] == 16


def test_names_every_node_that_has_no_form_once(lab: Lab) -> None:
    text = one(
        "e = GridSample(x, g) y = GridSample(e, g)",
        GRID.replace("3, 3, 2", "4, 5, 2"),
        "float[1, 2, 4, 5] y",
    )
    assert len(refusals(lab, text, 20, 11)) == 2


@pytest.mark.parametrize("dtype", ["float", "float16"])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_layer_normalization_keeps_its_bound(
    lab: Lab, dtype: str, axis: int, offset: float
) -> None:
    rng = np.random.default_rng(0)
    shape = "4" if axis == -1 else "3, 4"
    model = lab.model(
        f"g ({dtype}[2, 3, 4] x, {dtype}[{shape}] s, {dtype}[{shape}] b) => ({dtype}[2, 3, 4] y) "
        f"{{ y = LayerNormalization <axis = {axis}> (x, s, b) }}",
        opset=17,
    )
    kind = np.float32 if dtype == "float" else np.float16
    last = (4,) if axis == -1 else (3, 4)
    arrays = {name: rng.standard_normal(last).astype(kind) for name in "sb"}
    x = (rng.standard_normal((2, 3, 4)) + offset).astype(kind)
    before = lab.outputs(model, {"x": x, **arrays})["y"].astype(np.float64)
    convert(lab, model, 11)
    after = lab.outputs(model, {"x": x, **arrays})["y"].astype(np.float64)
    axes = tuple(range(axis % 3, 3))
    wide = x.astype(np.float64)
    deviation = np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    z = (wide - wide.mean(axes, keepdims=True)) / deviation
    peak = np.maximum(1, np.abs(wide).max(axes, keepdims=True) / deviation)
    bound = np.abs(arrays["s"].astype(np.float64)) * (np.prod(last) + 8) * EPS * peak**2
    rounding = EPS if dtype == "float" else 4 * float(np.finfo(np.float16).eps)
    limit = bound * (1 + np.abs(z)) + rounding * (np.abs(before) + np.abs(z * arrays["s"]))
    assert (np.abs(after - before) <= limit).all()
    assert not np.array_equal(before, np.zeros_like(before))
    assert "LayerNormalization" not in lab.ops(model)


def test_gelu_keeps_its_bound(lab: Lab) -> None:
    model = lab.model(one("y = Gelu(x)", "float[401] x", "float[401] y"), opset=20)
    x = np.linspace(-10, 10, 401, dtype=np.float32)
    before = lab.outputs(model, {"x": x})["y"]
    convert(lab, model, 11)
    after = lab.outputs(model, {"x": x})["y"]
    assert (np.abs(after - before) <= 8 * EPS * np.abs(x)).all()


def test_average_pool_differs_by_rounding(lab: Lab) -> None:
    text = one(
        "y = AveragePool <kernel_shape = [2, 3], dilations = [1, 1], pads = [1, 1, 0, 1], "
        "count_include_pad = 1> (x)",
        "float[1, 2, 5, 6] x",
        "float[1, 2, 5, 6] y",
    )
    model = lab.model(text, opset=19)
    given = feeds.generate(model)
    before = lab.outputs(model, given)["y"]
    for version in (18, 19):
        convert(lab, model, version)
        after = lab.outputs(model, given)["y"]
        assert (np.abs(after - before) <= 6 * EPS * np.abs(given["x"]).max()).all()


@pytest.mark.parametrize("kernel", ["1, 1", "2, 2", "3, 4", "2, 5"])
@pytest.mark.parametrize("strides", ["1, 1", "2, 2", "3, 2", "3, 3"])
@pytest.mark.parametrize("how", ["", "pads = [0, 0, 0, 0], ", 'auto_pad = "VALID", '])
def test_windows_beyond_an_input_without_padding_have_a_form_below_19(
    lab: Lab, kernel: str, strides: str, how: str
) -> None:
    text = one(
        f"y = AveragePool <kernel_shape = [{kernel}], strides = [{strides}], {how}ceil_mode = 1, "
        "count_include_pad = 1> (x)",
        "float[1, 2, 9, 8] x",
        "float[1, 2, H, W] y",
    )
    model = lab.model(text, opset=20)
    given = feeds.generate(model)
    before = lab.outputs(model, given)["y"]
    for version in (18, 11, 16):
        convert(lab, model, version)
        after = lab.outputs(model, given)["y"]
        assert after.shape == before.shape
        assert (np.abs(after - before) <= 12 * EPS * np.abs(given["x"]).max()).all()


UNARY = [
    "Abs",
    "Ceil",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Identity",
    "LRN_size=3",
    "LeakyRelu",
    "Log",
    "MeanVarianceNormalization",
    "Neg",
    "NonZero",
    "Reciprocal",
    "Relu",
    "Shape",
    "Sigmoid",
    "Sign",
    "Size",
    "Sqrt",
    "Tanh",
    "Transpose",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
    "ArgMax",
    "ArgMin",
    "IsNaN",
    "IsInf",
    "MaxPool_kernel_shape=[2,2]",
    "Cast_to=7",
    "LpPool_kernel_shape=[2,2]",
    "DepthToSpace_blocksize=2",
    "SpaceToDepth_blocksize=2",
    "Clip",
    "Dropout",
    "Concat_axis=1",
]
BINARY = [
    "Add",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "MatMul",
    "Max",
    "Mean",
    "Min",
    "Mod_fmod=1",
    "Mul",
    "Pow",
    "Sub",
    "Sum",
    "PRelu",
]
INDEX, ONES = "int64[1] i = {1}", "int64[4] i = {1, 1, 1, 1}"
OTHERS = {
    "BatchNormalization": ("BatchNormalization(x, s, s, s, s)", "float[4] s = {1, 2, 3, 4}"),
    "Cast": ("Cast <to = 6> (x)", ""),
    "CastLike": ("CastLike(x, i)", INDEX),
    "Constant": ("Constant <value = float[2] {1, 2}> ()", ""),
    "ConstantOfShape": ("ConstantOfShape(i)", INDEX),
    "CumSum": ("CumSum(x, i)", "int64 i = {1}"),
    "DequantizeLinear": ("DequantizeLinear(i, s)", "int8[3] i = {1, 2, 3}, float s = {0.5}"),
    "Expand": ("Expand(x, i)", ONES),
    "Gather": ("Gather <axis = 1> (x, i)", INDEX),
    "GatherElements": ("GatherElements(x, i)", "int64[1, 1, 1, 1] i = {1}"),
    "GatherND": ("GatherND(x, i)", "int64[1, 2] i = {1, 2}"),
    "Gemm": ("Gemm(s, s)", "float[2, 2] s = {1, 2, 3, 4}"),
    "If": (
        "If (i) <then_branch = t () => (float[2, 4, 4, 4] p) { p = Neg(x) }, "
        "else_branch = e () => (float[2, 4, 4, 4] q) { q = Abs(x) }>",
        "bool i = {1}",
    ),
    "Loop": (
        "Loop (i, , x) <body = b (int64 k, bool c, float[2, 4, 4, 4] v) => "
        "(bool d, float[2, 4, 4, 4] w) { d = Identity(c) w = Neg(v) }>",
        "int64 i = {3}",
    ),
    "Scan": (
        "Scan <num_scan_inputs = 1, body = b (float[4, 4, 4] v) => (float[4, 4, 4] w) "
        "{ w = Neg(v) }> (x)",
        "",
    ),
    "Pad": ('Pad <mode = "reflect"> (x, i)', "int64[8] i = {0, 0, 1, 2, 0, 0, 0, 1}"),
    "QuantizeLinear": ("QuantizeLinear(x, s)", "float s = {0.5}"),
    "Reshape": ("Reshape(x, i)", "int64[2] i = {0, -1}"),
    "ScatterElements": (
        "ScatterElements(x, i, s)",
        "int64[1, 1, 1, 1] i = {1}, float[1, 1, 1, 1] s = {9}",
    ),
    "ScatterND": ("ScatterND(x, i, s)", "int64[1, 4] i = {1, 2, 0, 3}, float[1] s = {9}"),
    "Slice": ("Slice(x, i, j, i, k)", "int64[1] i = {1}, int64[1] j = {-9}, int64[1] k = {-1}"),
    "Tile": ("Tile(x, i)", "int64[4] i = {1, 2, 1, 1}"),
    "Where": ("Where(b, x, z)", "bool[4] b = {1, 0, 1, 0}"),
    **{
        kind: (
            f"{kind} <hidden_size = 4> (s, w, r)",
            f"float[3, 1, 2] s = {{1, 2, 3, 4, 5, 6}}, float[1, {4 * gates}, 2] w = "
            f"{{{', '.join(['0.1'] * 8 * gates)}}}, float[1, {4 * gates}, 4] r = "
            f"{{{', '.join(['0.2'] * 16 * gates)}}}",
        )
        for kind, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    },
}


def sample(kind: str) -> str:
    """Return a graph with one node of this operator; the output's type is left to inference."""
    call, weights = OTHERS.get(kind, ("", ""))
    for operands, names in (("x", UNARY), ("x, z", BINARY)):
        for name in names if not call else ():
            op_type, _, attribute = name.partition("_")
            if op_type == kind:
                call = f"{kind} {f'<{attribute}>' if attribute else ''} ({operands})"
    assert call, f"no sample for {kind}"
    slope = "float[4] z" if kind == "PRelu" else "float[2, 4, 4, 4] z"
    made = "float[2, 4, 4, 4] y" if kind == "Loop" else "y"  # inference drops the shape of a Loop
    return f"g (float[2, 4, 4, 4] x, {slope}) => ({made}) <{weights}> {{ y = {call} }}"


@pytest.mark.parametrize(("kind", "step"), sorted(WIDENED), ids=str)
def test_a_step_that_only_widened_an_operator_changes_no_bit(
    lab: Lab, kind: str, step: int
) -> None:
    rng = np.random.default_rng(0)
    text, given = sample(kind), dict[str, Any]()
    results = []
    for opset in (step - 1, step):
        model = ir.from_proto(
            onnx.shape_inference.infer_shapes(ir.to_proto(lab.model(text, opset=opset)))
        )
        if not given:
            for value in model.graph.inputs:
                size = value.shape.numpy() if value.shape is not None else ()
                given[value.name or ""] = rng.uniform(-2, 2, size).astype(np.float32)
            if kind in {"Log", "Sqrt", "Pow", "ReduceLogSum"}:
                given = {name: np.abs(array) for name, array in given.items()}
        results.append(lab.outputs(model, given)["y"])
        if opset == step:
            convert(lab, model, step - 1)
            results.append(lab.outputs(model, given)["y"])
    assert results[0].size
    assert all(compare.same_bits(results[0], other) for other in results[1:])


def test_every_entry_of_the_table_is_a_step_of_its_operator() -> None:
    for kind, step in [*WIDENED, *RULES]:
        assert is_step(kind, step), (kind, step)
    assert not set(WIDENED) & {key for key, rules in RULES.items() if None not in rules}


def test_the_table_covers_the_operators_of_networks() -> None:
    used = re.findall(
        r"\w+",
        "Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv "
        "ConvTranspose Div Dropout Equal Erf Exp Expand Flatten Floor Gather Gemm "
        "GlobalAveragePool HardSigmoid Identity LSTM LayerNormalization Less Log MatMul MaxPool "
        "Mul Neg Not Or Pad Pow Range ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape "
        "Sigmoid Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where",
    )
    for kind in used:
        for step in range(OLDEST + 1, NEWEST + 1):
            if is_step(kind, step):
                assert (kind, step) in WIDENED or (kind, step) in RULES, (kind, step)


def test_refuses_an_empty_softmax_of_rows(lab: Lab) -> None:
    model = lab.model("g (float[2, 0, 3] x) => (float[2, 0, 3] y) {"
                      " y = Softmax <axis = 1> (x) }", opset=12)  # fmt: skip
    result = SetOpset(version=13).run(model)
    assert "its input is empty" in result.skipped[0].text
