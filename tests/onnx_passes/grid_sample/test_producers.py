"""Which nodes make a grid: linear ones are marked, the first other one ends the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes import optimize
from onnx_passes.core.contract import label
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.core.model_io import load
from onnx_passes.grid_sample.producers import linear_producers
from onnx_passes.numerics.half import emulate_half
from onnx_passes.numerics.runner import run_model
from onnx_passes.numerics.watch import expose

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tests.onnx_passes.conftest import Lab


def producers(lab: Lab, body: str, inputs: str = "float[1, 12, 2] c") -> set[str]:
    """Return the labels of the nodes found from ``grid`` in a graph of ``body``."""
    text = f"g ({inputs}) => (float[1, 3, 4, 2] grid) <float[2, 2] w = {{1, 2, 3, 4}}, "
    shape = "int64[4] s = {1, 3, 4, 2}> {"
    model = lab.model(text + shape + body + "}")
    return {label(node) for node in linear_producers(model.graph.outputs[0])}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            "a = MatMul(c, w) b = Relu(a) d = MatMul(b, w) grid = Reshape(d, s)",
            {"MatMul -> 'd'", "Reshape -> 'grid'"},
            id="as far as a nonlinear operator",
        ),
        pytest.param(
            "a = Mul(c, c) grid = Reshape(a, s)", {"Reshape -> 'grid'"}, id="not through a square"
        ),
        pytest.param(
            "a = MatMul(c, w) b = Sub(a, c) grid = Reshape(b, s)",
            {"MatMul -> 'a'", "Sub -> 'b'", "Reshape -> 'grid'"},
            id="through both sides of a difference",
        ),
        pytest.param(
            "n = Shape(c) z = Neg(s) t = Abs(z) a = MatMul(c, w) grid = Reshape(a, t)",
            {"MatMul -> 'a'", "Reshape -> 'grid'"},
            id="not into the arithmetic of shapes",
        ),
    ],
)
def test_goes(lab: Lab, body: str, expected: set[str]) -> None:
    assert producers(lab, body) == expected


def test_a_grid_that_is_an_input_has_none(lab: Lab) -> None:
    model = lab.model("g (float[1, 3, 4, 2] grid) => (float[1, 3, 4, 2] y) { y = Neg(grid) }")
    assert linear_producers(model.graph.inputs[0]) == []


def test_float16_spares_the_grid_of_starnet(
    starnet_onnx: Path, word_images: npt.NDArray[np.float32]
) -> None:
    model = load(starnet_onnx)
    (sample,) = (node for node in model.graph if node.op_type == "GridSample")
    rectified = sample.outputs[0].name or ""
    result = optimize(model, "drop-identity,decompose-grid-sample", check=False).model
    unmarked = result.clone()
    for node in unmarked.graph:
        if node.op_type == "MatMul":
            node.metadata_props.pop(PRECISION_KEY, None)
    errors = []
    for version in (result, unmarked):
        float32, half = (
            run_model(expose(m, [rectified]), {"x": word_images})[rectified]
            for m in (version, emulate_half(version))
        )
        errors.append(float(np.abs(float32 - half).max()))
    # Measured 0.02 and 1.2 on the trained network; pictures are in [-1, 1].
    assert errors[0] < 0.1 < errors[1]


def test_producers_are_marked_and_named(lab: Lab) -> None:
    text = (
        "g (float[1, 1, 5, 5] x, float[1, 12, 2] c) => (float[1, 1, 3, 4] y) "
        "<float[2, 2] w = {0.1, 0.2, 0.3, 0.4}, int64[4] s = {1, 3, 4, 2}> "
        "{ a = MatMul(c, w) grid = Reshape(a, s) y = GridSample(x, grid) }"
    )
    result = optimize(ir.to_proto(lab.model(text)), "decompose-grid-sample").model
    marks = {label(n): n.metadata_props.get(PRECISION_KEY) for n in result.graph}
    assert marks["MatMul -> 'a'"] == "float32"
    assert marks["Reshape -> 'grid'"] == "float32"
    marked = [n.name for n in result.graph if PRECISION_KEY in n.metadata_props]
    assert {"a/MatMul", "grid/Reshape"} <= set(marked)
    assert all(marked)
    assert len(set(marked)) == len(marked)
