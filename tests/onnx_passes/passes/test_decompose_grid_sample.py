from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.core import known_inputs
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.core.inference import infer
from onnx_passes.core.names import Names
from onnx_passes.grid_sample.marks import restore_precision_marks
from onnx_passes.passes import decompose_grid_sample
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    import numpy.typing as npt

    from tests.onnx_passes.conftest import Lab

FORMS = ("elements", "rows", "packed", "tent")
PLAIN = "y = GridSample(x, grid)"
CELLS = list(
    itertools.product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1))
)


def model_of(
    nodes: str,
    *,
    opset: int = 16,
    x: str = "float[1,2,3,4] x",
    grid: str = "float[1,5,6,2] grid",
) -> ir.Model:
    return ir.from_onnx_text(
        f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        sampled ({x}, {grid}) => (float[N,C,Ho,Wo] y) {{ {nodes} }}
        """
    )


def feeds() -> dict[str, npt.NDArray[Any]]:
    """Pixels with signed zeros, and a grid with points inside, outside and nowhere."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 3, 4)).astype(np.float32)
    x[0, 0, 1] = -0.0
    grid = rng.uniform(-1.5, 1.5, (1, 5, 6, 2)).astype(np.float32)
    grid[0, 0, :, 0] = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e12]
    return {"x": x, "grid": grid}


def operators(model: ir.Model) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph)


# rewrites


@pytest.mark.parametrize(
    ("options", "fetches"),
    [
        pytest.param({"form": "elements"}, {"GatherElements": 4, "Gather": 0}, id="elements"),
        pytest.param({"form": "rows"}, {"GatherElements": 0, "Gather": 4}, id="rows"),
        pytest.param({"form": "packed"}, {"Gather": 1, "MatMul": 1}, id="packed"),
        pytest.param({"form": "tent"}, {"Gather": 0, "MatMul": 1, "ReduceSum": 1}, id="tent"),
        pytest.param({"form": "rows", "chunk": 6}, {"Gather": 20, "Concat": 1}, id="rows in runs"),
        pytest.param({"form": "elements"}, {"Pad": 1, "Where": 1}, id="a frame for signed zeros"),
        pytest.param(
            {"form": "elements", "zeros": "value"}, {"Pad": 0, "Where": 3}, id="masks for values"
        ),
    ],
)
def test_rewrites_to(options: dict[str, Any], fetches: dict[str, int]) -> None:
    model = model_of(PLAIN)
    result = DecomposeGridSample(**options).run(model)
    found = operators(model)
    assert found["GridSample"] == 0
    assert {op: found[op] for op in fetches} == fetches
    assert [note.node for note in result.rewritten] == ["GridSample -> 'y'"]
    assert result.skipped == []


@pytest.mark.parametrize(
    ("target", "dims", "fetches"),
    [
        pytest.param("cpu", 3, {"GatherND": 2, "Gather": 0}, id="a volume on a CPU"),
        pytest.param("ascend310p", 3, {"GatherND": 0, "Gather": 2}, id="a volume on Ascend"),
        pytest.param("cpu", 2, {"GatherND": 0, "Gather": 4}, id="a map on a CPU"),
    ],
)
def test_rows_are_fetched_by(target: str, dims: int, fetches: dict[str, int]) -> None:
    x = ",".join("1234"[: dims + 1])
    grid = ",".join("1567"[: dims + 1])
    model = model_of(PLAIN, x=f"float[{x},5] x", grid=f"float[{grid},{dims}] grid")
    DecomposeGridSample(form="rows", target=target).run(model)
    found = operators(model)
    assert {op: found[op] for op in fetches} == fetches


def test_pictures_are_cut_into_runs_one_by_one() -> None:
    model = model_of(PLAIN, x="float[3,2,3,4] x", grid="float[3,5,6,2] grid")
    DecomposeGridSample(form="rows", chunk=12).run(model)
    found = operators(model)
    assert (found["Gather"], found["Concat"]) == (3 * 3 * 4, 3 + 1)
    tables = [node for node in model.graph if node.op_type == "Pad"]
    assert [list(node.outputs[0].shape or ()) for node in tables] == [[1, 7, 8, 2]] * 3
    cuts = {n.inputs[0].name: n for n in model.graph if n.op_type == "Split" and n.inputs[0]}
    assert cuts["grid"].metadata_props[PRECISION_KEY] == "float32"
    assert PRECISION_KEY not in cuts["x"].metadata_props


@pytest.mark.parametrize(
    ("opset", "mode"),
    [
        pytest.param(11, "bilinear", id="opset 11, as exporters for older CANN write it"),
        pytest.param(16, "bicubic", id="opset 16 with its old names"),
        pytest.param(20, "cubic", id="opset 20 with its new names"),
        pytest.param(22, "linear", id="opset 22"),
    ],
)
def test_reads_the_spelling_of(lab: Lab, opset: int, mode: str) -> None:
    model = model_of(f'y = GridSample <mode="{mode}"> (x, grid)', opset=opset)
    assert len(DecomposeGridSample().run(model).rewritten) == 1
    lab.check(model)


# refuses


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(
            model_of(PLAIN, x="float x", grid="float grid"),
            "has rank",
            id="a scalar x",
        ),
        pytest.param(
            model_of(PLAIN, x="float[] x", grid="float[] grid"),
            "the rank of x 'x' and of grid 'grid' is unknown",
            id="an unknown rank",
        ),
        pytest.param(
            model_of(PLAIN, x="float[1,2,3,4,5,6] x"),
            "x 'x' has rank 6, expected 3, 4 or 5",
            id="four spatial axes",
        ),
        pytest.param(
            model_of(PLAIN, x="float[1,2,3] x"),
            "differ in rank",
            id="ranks that differ",
        ),
        pytest.param(
            model_of(PLAIN, grid="float[1,5,6,3] grid"),
            "the last axis of grid 'grid' is 3, expected 2",
            id="a grid of the wrong depth",
        ),
        pytest.param(
            model_of(PLAIN, grid="float[2,5,6,2] grid"),
            "batch 2 of grid and 1 of x differ",
            id="a batch that would need broadcasting",
        ),
        pytest.param(
            model_of(PLAIN, x="float[1,2,0,4] x"),
            "an extent is 0",
            id="an empty picture",
        ),
        pytest.param(
            model_of(PLAIN, x="float[1,1,65536,32768] x"),
            "x 'x' has 2147483648 pixels, more than an int32 index can count",
            id="a picture beyond int32",
        ),
        pytest.param(
            model_of(PLAIN, x="int32[1,2,3,4] x"),
            "x 'x' is INT32",
            id="integer pixels",
        ),
        pytest.param(
            model_of(PLAIN, x="bfloat16[1,2,3,4] x", opset=12),
            "x 'x' is BFLOAT16, which needs opset 13",
            id="bfloat16 before opset 13",
        ),
        pytest.param(
            model_of('y = GridSample <mode="lanczos"> (x, grid)'),
            "mode 'lanczos' is not one of",
            id="an unknown mode",
        ),
        pytest.param(
            model_of('y = GridSample <padding_mode="wrap"> (x, grid)'),
            "padding_mode 'wrap' is not one of",
            id="an unknown padding",
        ),
        pytest.param(
            model_of("y = GridSample <align_corners=2> (x, grid)"),
            "align_corners is 2, expected 0 or 1",
            id="an align_corners out of range",
        ),
        pytest.param(
            model_of(PLAIN, opset=10),
            "opset 10 lacks GatherElements",
            id="an opset before 11",
        ),
        pytest.param(model_of("y = GridSample(x)"), "it needs two inputs", id="a missing grid"),
    ],
)
def test_leaves_alone(model: ir.Model, reason: str) -> None:
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = DecomposeGridSample().run(model)
    assert [note.node for note in result.skipped] == ["GridSample -> 'y'"]
    assert reason in result.skipped[0].text
    assert result.rewritten == []
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_leaves_alone_bfloat16_when_told_to_stay_below_opset_13() -> None:
    model = model_of(PLAIN, x="bfloat16[1,2,3,4] x", opset=22)
    assert "needs opset 13" in DecomposeGridSample(opset=11).run(model).skipped[0].text
    assert DecomposeGridSample().run(model).rewritten


def test_leaves_alone_an_attribute_set_by_the_caller_of_a_function() -> None:
    model = ir.from_onnx_text(
        """
        <ir_version: 10, opset_import: ["" : 16, "local" : 1]>
        sampled (float[1,2,3,4] x, float[1,5,6,2] grid) => (float[1,2,5,6] y) {
            y = local.sample <how="nearest"> (x, grid)
        }
        <opset_import: ["" : 16], domain: "local">
        sample <how> (a, b) => (c) { c = GridSample <mode: string = @how> (a, b) }
        """
    )
    result = DecomposeGridSample().run(model)
    assert "attribute mode is set by the caller" in result.skipped[0].text


# numerics (every cell, rank, type and form: tests/onnx_passes/grid_sample)


@pytest.mark.parametrize(("mode", "padding", "align"), CELLS)
def test_equals_onnxruntime_bit_for_bit(lab: Lab, mode: str, padding: str, align: int) -> None:
    attributes = f'mode="{mode}", padding_mode="{padding}", align_corners={align}'
    model = model_of(f"y = GridSample <{attributes}> (x, grid)")
    lab.exact(DecomposeGridSample(), model, feeds())


@pytest.mark.parametrize("align", [0, 1])
def test_is_close_to_the_reference_evaluator(lab: Lab, align: int) -> None:
    model = model_of(f'y = GridSample <mode="linear", align_corners={align}> (x, grid)', opset=20)
    inputs = feeds()
    inputs["grid"][0, 0] = 0.25  # the evaluator has no answer for what is not finite
    (expected,) = ReferenceEvaluator(ir.to_proto(model)).run(None, inputs)
    DecomposeGridSample().run(model)
    bound = 4 * np.finfo(np.float32).eps * np.abs(inputs["x"]).max()
    np.testing.assert_allclose(
        lab.outputs(model, inputs)["y"], np.asarray(expected), rtol=0, atol=bound
    )


# keeps the interface; a second run changes nothing


@pytest.mark.parametrize("form", FORMS)
def test_keeps_the_interface_where_y_is_an_output_and_read_again(lab: Lab, form: str) -> None:
    model = lab.model(
        """
        sampled (float[N,2,3,4] x, float[N,Ho,Wo,2] grid)
            => (float[N,2,Ho,Wo] y, float[N,2,Ho,Wo] z) {
            y = GridSample <padding_mode="border"> (x, grid)
            z = Relu(y)
        }
        """
    )
    assert len(lab.apply(DecomposeGridSample(form=form), model).rewritten) == 1
    assert next(iter(reversed(model.graph))).inputs[0] is model.graph.outputs[0]


def test_new_names_are_unique_and_begin_with_the_name_of_the_node() -> None:
    model = model_of(
        "a = GridSample(x, grid)\n b = Relu(flat)\n y = GridSample(x, grid)",
        x="float[1,2,3,4] x, float[1] flat",
    )
    _, relu, second = model.graph
    relu.outputs[0].name, second.name = "a/flat", "rectify"
    DecomposeGridSample(form="elements").run(model)
    names = [node.name or "" for node in model.graph if node is not relu]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == {"a", "rectify"}
    assert "a/flat_1" in names


def test_the_way_from_grid_to_index_is_marked_float32() -> None:
    model = model_of(PLAIN)
    DecomposeGridSample(form="elements").run(model)
    marked = {node.op_type for node in model.graph if PRECISION_KEY in node.metadata_props}
    assert {"Transpose", "Less", "Floor", "Cast"} <= marked
    assert marked.isdisjoint({"Pad", "GatherElements"})


def test_the_marks_survive_a_file_and_are_restored_after_onnxsim() -> None:
    onnxsim = pytest.importorskip("onnxsim")
    model = model_of(PLAIN, x="float[N,2,3,4] x", grid="float[N,5,6,2] grid")
    DecomposeGridSample().run(model)
    proto = ir.to_proto(model)
    read = ir.from_proto(type(proto).FromString(proto.SerializeToString()))
    assert restore_precision_marks(read) == 0
    simplified, _ = onnxsim.simplify(proto)
    after = ir.from_proto(simplified)
    restored = restore_precision_marks(after)
    marked = [n.op_type for n in after.graph if n.metadata_props.get(PRECISION_KEY) == "float32"]
    assert restored <= len(marked)
    assert {"Floor", "Cast"} <= set(marked)


def test_a_model_is_indexed_once_however_many_nodes_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: collections.Counter[str] = collections.Counter()

    def counted(name: str, function: Any) -> Any:  # noqa: ANN401  wraps two kinds of callable
        def call(model: ir.Model) -> Any:  # noqa: ANN401
            counts[name] += 1
            return function(model)

        return call

    monkeypatch.setattr(decompose_grid_sample, "Names", counted("names", Names))
    monkeypatch.setattr(known_inputs, "infer", counted("infer", infer))
    nodes = "".join(f"t{i} = Tanh(grid)\n s{i} = GridSample(x, t{i})\n" for i in range(20))
    model = model_of(f"{nodes} y = Identity(s0)")
    assert len(DecomposeGridSample().run(model).rewritten) == 20
    assert counts == {"names": 1, "infer": 1}
