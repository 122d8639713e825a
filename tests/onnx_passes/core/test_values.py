from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.spelling import Constants
from onnx_passes.core.values import (
    all_nodes,
    constant,
    drop_unread_initializer,
    graphs,
    is_read,
    known_to_be_flat,
    reads,
)

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab


@pytest.mark.parametrize("text", ["value = float[1] {2}", "value_floats = [2.0]"])
def test_to_look_at_a_constant_edits_nothing(lab: Lab, text: str) -> None:
    model = lab.model(f"g () => (float[1] y) {{ y = Constant<{text}>() }}")
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    tensor = constant(model.graph.outputs[0])
    assert tensor is not None
    assert tensor.numpy().tolist() == [2]
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


NESTED = """g (float[2] x, bool c) => (float[2] y) {
    y = If (c) <
        then_branch = t () => (float[2] v) { v = Neg(x) },
        else_branch = e () => (float[2] w) { w = Abs(x) }
    >
}"""


def test_graphs_are_searched_for_others_unless_known_to_be_flat(lab: Lab) -> None:
    model, flat = lab.model(NESTED), lab.model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    assert [graph.name for graph in graphs(model)] == ["g", "t", "e"]
    with known_to_be_flat(flat.graph):
        assert [graph.name for graph in graphs(model)] == ["g", "t", "e"]
        assert [node.op_type for node in all_nodes(model.graph)] == ["If", "Neg", "Abs"]
        assert [node.op_type for node in all_nodes(flat.graph)] == ["Neg"]
        with known_to_be_flat(model.graph):
            assert [graph.name for graph in graphs(model)] == ["g"]
    assert [node.op_type for node in all_nodes(model.graph)] == ["If", "Neg", "Abs"]


def test_reads_are_counted_one_for_each_input(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { a = Add(x, x) y = Neg(a) }")
    x, a, y = model.graph.inputs[0], model.graph[0].outputs[0], model.graph.outputs[0]
    assert [reads(value) for value in (x, a, y)] == [2, 1, 0]
    assert [is_read(value) for value in (x, a, y)] == [True, True, False]


def test_equal_constants_of_one_run_are_one_initializer_while_it_is_there(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { a = Neg(x) y = Neg(a) }")
    constants, (first, second) = Constants(model), list(model.graph)
    one = constants.integers(first, "axes", [1, 2])
    assert constants.integers(second, "axes", [1, 2]) is one
    assert constants.integers(second, "axes", [1, 3]) is not one
    assert constants.array(first, "zero", np.array(0.0, np.float32)) is not constants.array(
        second, "zero", np.array(-0.0, np.float32)
    )
    drop_unread_initializer(one)
    again = constants.integers(second, "axes", [1, 2])
    assert again is not one
    assert again.name in model.graph.initializers
