from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.ranges import DEFAULT_HIGH, integer_range

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab


@pytest.mark.parametrize(
    ("body", "high"),
    [
        pytest.param("y = Cast <to = 1> (i)", DEFAULT_HIGH, id="nothing indexed"),
        pytest.param("y = Gather(d, i)", 3, id="Gather on axis 0"),
        pytest.param("y = Gather <axis = 1> (d, i)", 5, id="Gather on axis 1"),
        pytest.param("y = Gather <axis = -1> (d, i)", 5, id="Gather on the last axis"),
        pytest.param("y = GatherElements <axis = 1> (d, i)", 5, id="GatherElements"),
        pytest.param("y = GatherND(d, i)", 3, id="GatherND takes the smallest extent"),
        pytest.param("a = Gather <axis = 1> (d, i) y = Gather(d, i)", 3, id="the smaller of two"),
        pytest.param("t = Unsqueeze(i, k) y = Gather(d, t)", 3, id="through Unsqueeze"),
        pytest.param("t = Concat <axis = 0> (k, i) y = Gather(d, t)", 3, id="as a later part"),
        pytest.param("t = Gather(i, k) y = Gather(d, t)", 3, id="as the table of another Gather"),
        pytest.param("t = Add(i, k) y = Gather(d, t)", DEFAULT_HIGH, id="not through arithmetic"),
    ],
)
def test_high_is_the_extent_that_is_indexed(lab: Lab, body: str, high: int) -> None:
    model = lab.model(
        f"g (int64[2] i, float[3, 5] d) => (float[N] y) <int64[1] k = {{0}}> {{ {body} }}"
    )
    assert integer_range(model.graph.inputs[0]) == (0, high)


def test_the_extent_of_a_table_in_the_model_is_known(lab: Lab) -> None:
    text = "g (int64[2] i) => (float[2] y) <float[4] table = {1, 2, 3, 4}> { y = Gather(table, i) }"
    model = lab.model(text)
    assert integer_range(model.graph.inputs[0]) == (0, 4)
    model.graph.initializers["table"].shape = None
    assert integer_range(model.graph.inputs[0]) == (0, 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param("y = Reshape(d, i)", r"'i' steers a shape \(Reshape\)", id="Reshape"),
        pytest.param("y = Expand(d, i)", r"steers a shape \(Expand\)", id="Expand"),
        pytest.param("t = Cast <to = 7> (i) y = Tile(d, t)", r"shape \(Tile\)", id="through Cast"),
        pytest.param(
            "u = Relu(d) y = Gather(u, i)", "indexes Gather data of unknown", id="no rank"
        ),
    ],
)
def test_refuses(lab: Lab, body: str, message: str) -> None:
    model = lab.model(f"g (int64[2] i, float[3, 5] d) => (float[N] y) {{ {body} }}")
    with pytest.raises(UsageError, match=message):
        integer_range(model.graph.inputs[0])
