"""Every cell of the table of modes, paddings, alignments, ranks and types."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    import numpy.typing as npt

    from tests.onnx_passes.grid_sample.conftest import Case, Sampling

    Cell: TypeAlias = tuple[str, str, int, int]

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")
CELLS = list(itertools.product(MODES, PADDINGS, (0, 1)))
RUNTIME = [  # what ONNX Runtime can run
    (mode, padding, align, spatial)
    for (mode, padding, align), spatial in itertools.product(CELLS, (2, 3))
    if (mode, spatial) != ("cubic", 3)
]
LINEAR = [cell for cell in RUNTIME if cell[0] == "linear" and cell[1] != "reflection"]
ELEMENTS, ROWS = DecomposeGridSample(form="elements"), DecomposeGridSample(form="rows")
EXACT = [
    pytest.param(ELEMENTS, True, id="elements, static"),
    pytest.param(ELEMENTS, False, id="elements, dynamic"),
    pytest.param(DecomposeGridSample(form="elements", chunk=7), True, id="elements in runs"),
    pytest.param(ROWS, True, id="rows, static"),
    pytest.param(ROWS, False, id="rows, dynamic"),
    pytest.param(DecomposeGridSample(form="rows", chunk=7), True, id="rows in runs"),
    pytest.param(
        DecomposeGridSample(form="rows", target="ascend310p"), True, id="rows for Ascend, static"
    ),
    pytest.param(
        DecomposeGridSample(form="rows", chunk=7, target="ascend310p"), True, id="rows for Ascend"
    ),
]
CLOSE = {
    "packed": DecomposeGridSample(form="packed"),
    "packed in runs": DecomposeGridSample(form="packed", chunk=7),
    "packed for Ascend": DecomposeGridSample(form="packed", target="ascend310p"),
    "rows, masked weights": DecomposeGridSample(form="rows", zeros="value"),
    "tent": DecomposeGridSample(form="tent"),
}
CLOSE_CELLS = [
    pytest.param(CLOSE[name], cell, id="-".join(map(str, (name, *cell))))
    for name in CLOSE
    for cell in (LINEAR if name == "tent" else RUNTIME)
]
EPS = float(np.finfo(np.float32).eps)


def sizes(
    rng: np.random.Generator, spatial: int, least: int = 3, most: int = 9
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the extents of a picture, and of an output with enough points to tell."""
    extents = rng.integers(least, most, spatial, endpoint=True)
    return tuple(extents.tolist()), tuple(rng.integers(5, 9, spatial).tolist())


def peak(x: npt.NDArray[Any]) -> float:
    return float(np.abs(x).max())


@pytest.mark.parametrize(("item", "static"), EXACT)
@pytest.mark.parametrize("cell", RUNTIME)
def test_float32_equals_onnxruntime_bit_for_bit(
    sampling: Sampling,
    case: type[Case],
    item: DecomposeGridSample,
    cell: Cell,
    static: bool,
) -> None:
    mode, padding, align, spatial = cell
    rng = np.random.default_rng([len(mode), len(padding), align, spatial])
    for batch, channels, least, most in ((1, 3, 4, 9), (3, 2, 1, 3)):
        extents, outputs = sizes(rng, spatial, least, most)
        x = sampling.pictures((batch, channels, *extents), rng)
        grid = sampling.grids(batch, outputs, extents, rng)
        model = case(mode, padding, align, static=static).model(x, grid)
        expected = sampling.run(model, x=x, grid=grid)[0]
        sampling.assert_same_bits(
            sampling.run(sampling.rewrite(model, item), x=x, grid=grid)[0], expected
        )


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("optimized", [True, False], ids=["optimised", "as it is"])
def test_a_coordinate_of_minus_zero_weighs_as_in_onnxruntime(
    sampling: Sampling, case: type[Case], padding: str, static: bool, optimized: bool
) -> None:
    x = np.full((1, 2, 3, 1), -0.0, np.float32)  # one column, aligned: every x becomes (g + 1) * 0
    grid = np.array([[-3, -1], [-1.5, 0], [0.5, 1]], np.float32).reshape(1, 1, 3, 2)
    model = case("linear", padding, 1, static=static).model(x, grid)
    expected = sampling.run(model, x=x, grid=grid)[0]
    assert np.signbit(expected).any()
    assert not np.signbit(expected).all()
    rewritten = sampling.rewrite(model)
    run = sampling.run_optimized if optimized else sampling.run
    actual = run(rewritten, x=x, grid=grid)[0]
    sampling.assert_same_bits(actual, expected)


@pytest.mark.parametrize("form", ["elements", "rows"])
@pytest.mark.parametrize("cell", RUNTIME)
@pytest.mark.parametrize(
    ("dtype", "opset"),
    [
        pytest.param(np.float64, 20, id="float64"),
        pytest.param(np.float16, 22, id="float16"),
    ],
)
def test_other_types_equal_onnxruntime_bit_for_bit(
    sampling: Sampling,
    case: type[Case],
    form: str,
    cell: Cell,
    dtype: type[np.floating[Any]],
    opset: int,
) -> None:
    mode, padding, align, spatial = cell
    rng = np.random.default_rng([len(mode), len(padding), align, spatial, opset])
    extents, outputs = sizes(rng, spatial)
    x = sampling.pictures((2, 3, *extents), rng, dtype)
    grid = sampling.grids(2, outputs, extents, rng, dtype)
    model = case(mode, padding, align, opset).model(x, grid)
    rewritten = sampling.rewrite(model, DecomposeGridSample(form=form))
    expected = sampling.run(model, x=x, grid=grid)[0]
    sampling.assert_same_bits(sampling.run(rewritten, x=x, grid=grid)[0], expected)


@pytest.mark.parametrize("form", ["elements", "rows"])
@pytest.mark.parametrize("cell", [(*cell, spatial) for cell in CELLS for spatial in (1, 3)])
def test_what_onnxruntime_lacks_is_close_to_the_reference_evaluator(
    sampling: Sampling, case: type[Case], form: str, cell: Cell
) -> None:
    mode, padding, align, spatial = cell
    rng = np.random.default_rng([len(mode), len(padding), align, spatial])
    for static in (True, False):
        extents = tuple(int(n) for n in rng.integers(2, 6, spatial))
        x = rng.standard_normal((2, 2, *extents)).astype(np.float32)
        grid = rng.uniform(-1.6, 1.6, (2, *[3] * spatial, spatial)).astype(np.float32)
        model = case(mode, padding, align, 20, static).model(x, grid)
        (expected,) = ReferenceEvaluator(model).run(None, {"x": x, "grid": grid})
        rewritten = sampling.rewrite(model, DecomposeGridSample(form=form))
        actual = sampling.run(rewritten, x=x, grid=grid)[0]
        np.testing.assert_allclose(actual, np.asarray(expected), rtol=0, atol=4 * EPS * peak(x))


@pytest.mark.parametrize(("item", "cell"), CLOSE_CELLS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_a_form_that_is_not_exact_is_close_and_says_so(
    sampling: Sampling,
    case: type[Case],
    item: DecomposeGridSample,
    cell: Cell,
    static: bool,
) -> None:
    assert item.exactness == "close"
    mode, padding, align, spatial = cell
    rng = np.random.default_rng([len(mode), len(padding), align, spatial])
    extents, outputs = sizes(rng, spatial)
    x = rng.standard_normal((2, 3, *extents)).astype(np.float32)
    grid = sampling.grids(2, outputs, extents, rng)
    grid = np.where(np.abs(grid) > 1e5, np.float32(np.nan), grid)  # weights beyond are not in 0..1
    model = case(mode, padding, align, static=static).model(x, grid)
    expected = sampling.run(model, x=x, grid=grid)[0]
    actual = sampling.run(sampling.rewrite(model, item), x=x, grid=grid)[0]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * EPS * peak(x))


def test_masked_weights_equal_the_frame_in_value(sampling: Sampling, case: type[Case]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 5, 6)).astype(np.float32)
    grid = sampling.grids(2, (7, 8), (5, 6), rng)
    model = case("linear", "zeros", 1).model(x, grid)
    expected = sampling.run(model, x=x, grid=grid)[0]
    rewritten = sampling.rewrite(model, DecomposeGridSample(zeros="value"))
    np.testing.assert_array_equal(sampling.run(rewritten, x=x, grid=grid)[0], expected)
    assert "Pad" not in {node.op_type for node in rewritten.graph.node}


def test_bfloat16_is_computed_in_float32_and_rounded_once(
    sampling: Sampling, case: type[Case]
) -> None:
    rng = np.random.default_rng(0)
    x = as_bfloat16(sampling.pictures((2, 3, 5, 6), rng))
    grid = as_bfloat16(sampling.grids(2, (7, 8), (5, 6), rng))
    wide = case("linear", "zeros", 1, 22).model(x, grid)
    narrow = onnx.ModelProto.FromString(wide.SerializeToString())
    (node,) = narrow.graph.node
    node.input[:], node.output[:] = ["x_narrow", "grid_narrow"], ["y_narrow"]
    narrow.graph.node.insert(0, cast_node("x", "x_narrow", onnx.TensorProto.BFLOAT16))
    narrow.graph.node.insert(0, cast_node("grid", "grid_narrow", onnx.TensorProto.BFLOAT16))
    narrow.graph.node.append(cast_node("y_narrow", "y", onnx.TensorProto.FLOAT))
    actual = sampling.run(sampling.rewrite(narrow), x=x, grid=grid)[0]
    sampling.assert_same_bits(actual, as_bfloat16(sampling.run(wide, x=x, grid=grid)[0]))


def cast_node(source: str, target: str, to: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], to=to)


def as_bfloat16(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)
