from __future__ import annotations

import collections
import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

from onnx_passes.core.contract import UsageError
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.grid_sample.marks import restore_precision_marks
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from onnx_passes.core.contract import PassResult

    Array: TypeAlias = npt.NDArray[Any]

FORMS = ("elements", "rows")
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
NEW_NAMES = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}
SUPPORTED = [
    (mode, padding, align, spatial)
    for mode, padding, align, spatial in itertools.product(MODES, PADDINGS, (0, 1), (2, 3))
    if (mode, spatial) != ("bicubic", 3)  # ONNX Runtime has no kernel
]


def text_model(
    node: str, *, opset: int = 16, x: str = "float[1,2,3,4] x", grid: str = "float[1,5,6,2] grid"
) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        sampled ({x}, {grid}) => (float[N,C,Ho,Wo] y) {{ {node} }}
        """
    )


def sample_model(
    mode: str,
    padding: str,
    align: int,
    x_shape: Sequence[int | None],
    grid_shape: Sequence[int | None],
    *,
    opset: int = 16,
    dtype: int = 1,
) -> onnx.ModelProto:
    node = helper.make_node(
        "GridSample",
        ["x", "grid"],
        ["y"],
        mode=mode if opset < 20 else NEW_NAMES[mode],
        padding_mode=padding,
        align_corners=align,
    )
    graph = helper.make_graph(
        [node],
        "sampled",
        [
            helper.make_tensor_value_info("x", dtype, x_shape),
            helper.make_tensor_value_info("grid", dtype, grid_shape),
        ],
        [helper.make_tensor_value_info("y", dtype, [None] * len(x_shape))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_pass(model: onnx.ModelProto, **options: Any) -> tuple[onnx.ModelProto, PassResult]:
    loaded = ir.from_proto(model)
    result = DecomposeGridSample(**options).run(loaded)
    proto = ir.to_proto(loaded)
    onnx.checker.check_model(proto, full_check=True)
    return proto, result


def run_model(model: onnx.ModelProto, **feeds: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    output: Array = session.run(None, feeds)[0]
    return output


def assert_same_bits(actual: Array, expected: Array) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    unsigned = {2: np.uint16, 4: np.uint32, 8: np.uint64}[actual.dtype.itemsize]
    differ = actual.view(unsigned) != expected.view(unsigned)
    differ &= ~(np.isnan(actual) & np.isnan(expected))
    worst = tuple(np.argwhere(differ)[0]) if differ.any() else ()
    message = f"{differ.sum()} differ, first at {worst}: {actual[worst]} for {expected[worst]}"
    assert not differ.any(), message


def pictures(
    shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Normal pixels with signed zeros, and with infinite and NaN ones."""
    x = rng.standard_normal(shape)
    x[rng.random(shape) < 0.15] = -0.0
    special = rng.choice([np.nan, np.inf, -np.inf], size=shape)
    return np.where(rng.random(shape) < 0.03, special, x).astype(dtype)


def grids(
    batch: int,
    outputs: Sequence[int],
    extents: Sequence[int],
    rng: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Coordinates inside and outside, on ties of both alignments, huge, infinite and NaN."""
    shape = (batch, *outputs, len(extents))
    sizes = np.array(extents[::-1])
    halves = rng.integers(-6, 3 * max(extents), shape) / 2
    kinds = [
        rng.uniform(-1.6, 1.6, shape),
        (2 * halves + 1) / sizes - 1,
        2 * halves / np.maximum(sizes - 1, 1) - 1,
        rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(0, 25, shape),
        rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, -1, 1, 0, -0.0], shape),
    ]
    which = rng.choice(5, shape, p=[0.5, 0.2, 0.2, 0.05, 0.05])
    with np.errstate(over="ignore"):
        return np.choose(which, kinds).astype(dtype)


def operators(model: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph.node)


# rewrites


def test_rewrites_bilinear_zeros_to_four_gathers() -> None:
    model, result = run_pass(text_model("y = GridSample(x, grid)"), form="elements")
    assert operators(model)["GridSample"] == 0
    assert operators(model)["GatherElements"] == 4
    assert operators(model)["Pad"] == 1
    assert [note.node for note in result.rewritten] == ["GridSample -> 'y'"]
    assert result.skipped == []


def test_rewrites_to_rows_without_gather_elements() -> None:
    model, _ = run_pass(text_model("y = GridSample(x, grid)"), form="rows")
    assert operators(model)["GatherElements"] == 0
    assert operators(model)["Transpose"] == 3


@pytest.mark.parametrize(
    ("opset", "mode"),
    [
        pytest.param(11, "bilinear", id="opset 11, as exporters for older CANN write it"),
        pytest.param(16, "bicubic", id="opset 16 with its old names"),
        pytest.param(20, "cubic", id="opset 20 with its new names"),
        pytest.param(22, "linear", id="opset 22"),
    ],
)
def test_reads_the_spelling_of(opset: int, mode: str) -> None:
    source = text_model(f'y = GridSample <mode="{mode}"> (x, grid)', opset=opset)
    loaded = ir.from_proto(source)
    assert len(DecomposeGridSample().run(loaded).rewritten) == 1
    onnx.checker.check_model(ir.to_proto(loaded), full_check=True)


# refuses


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(
            text_model("y = GridSample(x, grid)", x="float x", grid="float grid"),
            "has rank",
            id="a scalar x",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="float[] x", grid="float[] grid"),
            "the rank of x 'x' and of grid 'grid' is unknown",
            id="an unknown rank",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="float[1,2,3,4,5,6] x"),
            "x 'x' has rank 6, expected 3, 4 or 5",
            id="four spatial axes",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="float[1,2,3] x"),
            "differ in rank",
            id="ranks that differ",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", grid="float[1,5,6,3] grid"),
            "the last axis of grid 'grid' is 3, expected 2",
            id="a grid of the wrong depth",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", grid="float[2,5,6,2] grid"),
            "batch 2 of grid and 1 of x differ",
            id="a batch that would need broadcasting",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="float[1,2,0,4] x"),
            "an extent is 0",
            id="an empty picture",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="int32[1,2,3,4] x"),
            "x 'x' is INT32",
            id="integer pixels",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", x="bfloat16[1,2,3,4] x", opset=12),
            "x 'x' is BFLOAT16, which needs opset 13",
            id="bfloat16 before opset 13",
        ),
        pytest.param(
            text_model('y = GridSample <mode="lanczos"> (x, grid)'),
            "mode 'lanczos' is not one of",
            id="an unknown mode",
        ),
        pytest.param(
            text_model('y = GridSample <padding_mode="wrap"> (x, grid)'),
            "padding_mode 'wrap' is not one of",
            id="an unknown padding",
        ),
        pytest.param(
            text_model("y = GridSample <align_corners=2> (x, grid)"),
            "align_corners is 2, expected 0 or 1",
            id="an align_corners out of range",
        ),
        pytest.param(
            text_model("y = GridSample(x, grid)", opset=10),
            "opset 10 lacks GatherElements",
            id="an opset before 11",
        ),
        pytest.param(text_model("y = GridSample(x)"), "it needs two inputs", id="a missing grid"),
    ],
)
def test_leaves_alone(model: onnx.ModelProto, reason: str) -> None:
    loaded = ir.from_proto(model)
    before = ir.to_proto(loaded).SerializeToString(deterministic=True)
    result = DecomposeGridSample().run(loaded)
    assert [note.node for note in result.skipped] == ["GridSample -> 'y'"]
    assert reason in result.skipped[0].text
    assert result.rewritten == []
    assert ir.to_proto(loaded).SerializeToString(deterministic=True) == before


def test_leaves_alone_an_attribute_set_by_the_caller_of_a_function() -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 16, "local" : 1]>
        sampled (float[1,2,3,4] x, float[1,5,6,2] grid) => (float[1,2,5,6] y) {
            y = local.sample <how="nearest"> (x, grid)
        }
        <opset_import: ["" : 16], domain: "local">
        sample <how> (a, b) => (c) { c = GridSample <mode: string = @how> (a, b) }
        """
    )
    result = DecomposeGridSample().run(ir.from_proto(model))
    assert "attribute mode is set by the caller" in result.skipped[0].text


def test_refuses_an_unknown_form_by_name() -> None:
    with pytest.raises(UsageError, match="option form is .fast., expected one of auto"):
        run_pass(text_model("y = GridSample(x, grid)"), form="fast")


# numerics


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("mode", "padding", "align", "spatial"), SUPPORTED)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_equals_onnxruntime_bit_for_bit(
    form: str, mode: str, padding: str, align: int, spatial: int, static: bool
) -> None:
    rng = np.random.default_rng([len(mode), len(padding), align, spatial])
    for batch, channels in ((1, 3), (3, 2)):
        extents = tuple(rng.integers(1, 9, spatial))
        outputs = tuple(rng.integers(1, 12, spatial))
        x = pictures((batch, channels, *extents), rng)
        grid = grids(batch, outputs, extents, rng)
        shapes = [value.shape if static else [None] * value.ndim for value in (x, grid)]
        model = sample_model(mode, padding, align, *shapes)
        rewritten, _ = run_pass(model, form=form)
        expected = run_model(model, x=x, grid=grid)
        assert_same_bits(run_model(rewritten, x=x, grid=grid), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_survives_a_grid_without_one_usable_coordinate(form: str, mode: str, padding: str) -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    grid = np.full((1, 3, 3, 2), np.nan, np.float32)
    grid[0, 1], grid[0, 2] = np.inf, -3e38
    model = sample_model(mode, padding, 0, x.shape, grid.shape)
    rewritten, _ = run_pass(model, form=form)
    expected = run_model(model, x=x, grid=grid)
    assert_same_bits(run_model(rewritten, x=x, grid=grid), expected)


# keeps the interface


@pytest.mark.parametrize("form", FORMS)
def test_keeps_names_types_and_opset_when_y_is_an_output_and_read_again(form: str) -> None:
    source = text_model('y = GridSample <padding_mode="border"> (x, grid)\n z = Relu(y)')
    source.graph.output.append(helper.make_tensor_value_info("z", 1, [1, 2, 5, 6]))
    model, _ = run_pass(source, form=form)
    assert model.graph.input == source.graph.input
    assert model.graph.output == source.graph.output
    assert model.opset_import == source.opset_import
    assert model.graph.node[-1].input == ["y"]


def test_new_names_are_unique_and_begin_with_the_name_of_the_node() -> None:
    source = text_model("a = GridSample(x, grid)\n y = GridSample(x, grid)")
    source.graph.node[1].name = "rectify"
    source.graph.input.append(helper.make_tensor_value_info("a/flat", 1, [1]))
    model, _ = run_pass(source)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == {"a", "rectify"}
    assert "a/flat_1" in names


def test_the_way_from_grid_to_index_is_marked_float32_and_the_mark_can_be_restored() -> None:
    model, _ = run_pass(text_model("y = GridSample(x, grid)"), form="elements")
    marked = {node.name for node in model.graph.node if node.metadata_props}
    types = {node.op_type for node in model.graph.node if node.name in marked}
    assert {"Floor", "Cast", "Transpose"} <= types
    assert types.isdisjoint({"Pad", "GatherElements"})
    for node in model.graph.node:
        del node.metadata_props[:]
    bare = ir.from_proto(model)
    assert restore_precision_marks(bare) == len(marked)
    assert {n.name for n in bare.graph if PRECISION_KEY in n.metadata_props} == marked


# second run


@pytest.mark.parametrize("form", FORMS)
def test_a_second_run_changes_nothing(form: str) -> None:
    model, _ = run_pass(text_model("y = GridSample(x, grid)"), form=form)
    again, result = run_pass(model, form=form)
    assert again == model
    assert (result.rewritten, result.skipped) == ([], [])
