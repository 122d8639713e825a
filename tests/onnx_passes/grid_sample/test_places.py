"""Where a GridSample can stand: sub-graphs, functions, beside others, at the edge of the graph."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_passes.core.values import graphs
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tests.onnx_passes.grid_sample.conftest import Case, Sampling

FORMS = ["elements", "rows", "packed", "tent"]

IN_BRANCHES = """
<ir_version: 8, opset_import: ["": 16]>
sampled (bool c, float[N,2,4,5] x, float[N,3,3,2] grid) => (float[N,2,3,3] y) {
    outer = Relu(x)
    y = If (c) <
        then_branch = yes () => (float[N,2,3,3] a) {
            a = GridSample <padding_mode="border"> (outer, grid)
        },
        else_branch = no () => (float[N,2,3,3] b) {
            k = GridSample (x, grid)
            b = Neg(k)
        }
    >
}
"""

IN_A_LOOP = """
<ir_version: 8, opset_import: ["": 16]>
sampled (float[N,2,4,5] x, float[N,4,5,2] grid) => (float[N,2,4,5] y) {
    n = Constant <value = int64 {3}> ()
    always = Constant <value = bool {1}> ()
    y = Loop (n, always, x) <
        body = step (int64 i, bool c, float[N,2,4,5] s) => (bool d, float[N,2,4,5] u) {
            d = Identity(c)
            u = GridSample <align_corners=1> (s, grid)
        }
    >
}
"""

READ_BY_A_BRANCH = """
<ir_version: 8, opset_import: ["": 16]>
sampled (bool c, float[1,2,4,5] x, float[1,3,3,2] grid) => (float[1,2,3,3] z) {
    y = GridSample (x, grid)
    z = If (c) <
        then_branch = yes () => (float[1,2,3,3] a) { a = Neg(y) },
        else_branch = no () => (float[1,2,3,3] b) { b = Identity(y) }
    >
}
"""


def feeds(batch: int, outputs: tuple[int, int] = (3, 3)) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(batch)
    x = rng.standard_normal((batch, 2, 4, 5)).astype(np.float32)
    grid = rng.uniform(-1.3, 1.3, (batch, *outputs, 2)).astype(np.float32)
    return {"x": x, "grid": grid}


def assert_equal_runs(
    sampling: Sampling,
    model: onnx.ModelProto,
    item: DecomposeGridSample,
    **arrays: npt.NDArray[Any],
) -> None:
    rewritten = sampling.rewrite(model, item)
    ops = {node.op_type for graph in graphs(ir.from_proto(rewritten)) for node in graph}
    assert "GridSample" not in ops
    pairs = zip(sampling.run(rewritten, **arrays), sampling.run(model, **arrays), strict=True)
    for actual, expected in pairs:
        if item.exactness == "exact":
            sampling.assert_same_bits(actual, expected)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("branch", [True, False])
def test_both_branches_of_an_if(sampling: Sampling, form: str, branch: bool) -> None:
    model = onnx.parser.parse_model(IN_BRANCHES)
    item = DecomposeGridSample(form=form)
    assert_equal_runs(sampling, model, item, c=np.array(branch), **feeds(2))


@pytest.mark.parametrize("form", FORMS)
def test_the_body_of_a_loop(sampling: Sampling, form: str) -> None:
    model = onnx.parser.parse_model(IN_A_LOOP)
    assert_equal_runs(sampling, model, DecomposeGridSample(form=form), **feeds(3, (4, 5)))


def test_an_output_read_from_inside_a_branch(sampling: Sampling) -> None:
    model = onnx.parser.parse_model(READ_BY_A_BRANCH)
    item = DecomposeGridSample()
    assert_equal_runs(sampling, model, item, c=np.array(True), **feeds(1))


def function_model(second: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 16, "local": 1]>
        sampled (float[N,2,4,5] x, float[N,4,5,2] grid) => (float[N,2,4,5] y) {{
            u = local.outer (x, grid)
            y = {second}
        }}
        <opset_import: ["": 16, "local": 1], domain: "local">
        outer (a, b) => (c) {{ c = local.sample (a, b) }}
        <opset_import: ["": 16], domain: "local">
        sample (a, b) => (r) {{ r = GridSample <padding_mode="reflection"> (a, b) }}
        """
    )


@pytest.mark.parametrize("form", ["elements", "rows", "packed"])
def test_a_function_whose_callers_agree_on_types(sampling: Sampling, form: str) -> None:
    model = function_model("local.sample (u, grid)")
    assert_equal_runs(sampling, model, DecomposeGridSample(form=form), **feeds(2, (4, 5)))


def test_a_function_whose_callers_disagree_is_refused() -> None:
    second = "Relu (x)\n v = Cast <to = 11> (x)\n w = local.sample (v, grid)"
    result = DecomposeGridSample().run(ir.from_proto(function_model(second)))
    assert [note.node for note in result.skipped] == ["GridSample -> 'r'"]
    assert "the type of x 'a' is unknown; infer shapes first" in result.skipped[0].text


def test_types_that_only_shape_inference_knows(sampling: Sampling) -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 16]>
        sampled (float[N,2,4,5] x, float[N,3,3,2] grid) => (float[N,2,3,3] y) {
            u = Relu(x)
            v = Tanh(grid)
            s = GridSample(u, v)
            y = Neg(s)
        }
        """
    )
    assert_equal_runs(sampling, model, DecomposeGridSample(), **feeds(2))


def test_several_nodes_with_one_grid(sampling: Sampling, case: type[Case]) -> None:
    arrays = feeds(2)
    model = case("linear", "border", 1).model(**arrays)
    model.graph.node.append(helper.make_node("GridSample", ["x", "grid"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None] * 4))
    rewritten = sampling.rewrite(model)
    names = [name for node in rewritten.graph.node for name in node.output]
    assert len(set(names)) == len(names)
    assert_equal_runs(sampling, model, DecomposeGridSample(), **arrays)


@pytest.mark.parametrize("constant", ["x", "grid"])
@pytest.mark.parametrize("form", ["elements", "rows"])
def test_an_initializer_as(sampling: Sampling, case: type[Case], constant: str, form: str) -> None:
    arrays = feeds(2)
    model = case("linear", "zeros", 0).model(**arrays)
    inputs = {value.name: value for value in model.graph.input}
    model.graph.input.remove(inputs[constant])
    model.graph.initializer.append(numpy_helper.from_array(arrays.pop(constant), constant))
    assert_equal_runs(sampling, model, DecomposeGridSample(form=form), **arrays)


def test_x_that_is_a_graph_output_too(sampling: Sampling, case: type[Case]) -> None:
    arrays = feeds(2)
    model = case("cubic", "reflection", 0).model(**arrays)
    model.graph.node.insert(0, helper.make_node("Relu", ["raw"], ["x"]))
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 2, 4, 5)))
    model.graph.input[0].name = "raw"
    arrays["raw"] = arrays.pop("x")
    assert_equal_runs(sampling, model, DecomposeGridSample(), **arrays)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("chunk", [0, 2], ids=["whole", "in runs"])
def test_an_empty_batch(
    sampling: Sampling, case: type[Case], form: str, static: bool, chunk: int
) -> None:
    arrays = feeds(0)
    model = case("linear", "zeros", 0, static=static).model(**arrays)
    item = DecomposeGridSample(form=form, chunk=chunk)
    actual = sampling.run(sampling.rewrite(model, item), **arrays)[0]
    assert actual.shape == (0, 2, 3, 3)


@pytest.mark.parametrize("form", ["elements", "rows"])
@pytest.mark.parametrize("dynamic", ["N", "C", "H", "W", "Ho", "Wo"])
def test_one_dynamic_extent(sampling: Sampling, case: type[Case], form: str, dynamic: str) -> None:
    arrays = feeds(2)
    model = case("cubic", "zeros", 1).model(**arrays)
    axes_of = {"x": ["N", "C", "H", "W"], "grid": ["N", "Ho", "Wo", "r"]}
    for value in model.graph.input:
        axes = axes_of[value.name]
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes, strict=True):
            if axis == dynamic:
                dim.dim_param = dynamic
    assert_equal_runs(sampling, model, DecomposeGridSample(form=form), **arrays)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [11, 13, 16, 18, 20, 22])
def test_uses_only_operators_that_exist_at_opset_11(
    sampling: Sampling, case: type[Case], form: str, opset: int
) -> None:
    arrays = feeds(2)
    for mode, padding, static in itertools.product(
        ("linear", "nearest", "cubic"), ("zeros", "border", "reflection"), (True, False)
    ):
        if form == "tent" and (mode != "linear" or padding == "reflection"):
            continue
        model = case(mode, padding, 0, 16, static).model(**arrays)
        model.opset_import[0].version = opset
        node = model.graph.node[0]
        node.attribute[[a.name for a in node.attribute].index("mode")].s = mode.encode()
        rewritten = sampling.rewrite(model, DecomposeGridSample(form=form, opset=11))
        ops = {node.op_type for node in rewritten.graph.node}
        assert all(onnx.defs.get_schema(op, 11) for op in ops)
        assert ops.isdisjoint({"Loop", "Einsum", "ScatterND", "Mod", "GatherND"})
        expand = [node for node in rewritten.graph.node if node.op_type == "Expand"]
        kinds = {v.name: v.type.tensor_type.elem_type for v in rewritten.graph.value_info}
        assert {kinds[node.input[0]] for node in expand} <= {TensorProto.INT32}
        if opset >= 16:
            continue
        (actual,) = sampling.run(rewritten, **arrays)
        model.opset_import[0].version = 20
        np.testing.assert_allclose(actual, sampling.run(model, **arrays)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_starnet_rectifies_the_same_picture_bit_for_bit(
    sampling: Sampling, starnet_onnx: Path, word_images: npt.NDArray[np.float32], batch: int
) -> None:
    model = onnx.load(starnet_onnx)
    (rectified,) = [n.output[0] for n in model.graph.node if n.op_type == "GridSample"]
    model.graph.output.append(
        helper.make_tensor_value_info(rectified, TensorProto.FLOAT, [None] * 4)
    )
    name = model.graph.input[0].name
    assert_equal_runs(sampling, model, DecomposeGridSample(), **{name: word_images[:batch]})
