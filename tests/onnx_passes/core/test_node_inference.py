"""Inference of a single node: what onnx knows of the whole model, and nothing where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.node_inference import NodeInference
from onnx_passes.core.shape_values import Known

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

HEAD = "g (float[N, 3, 4] x, int64[2] t, bool c) => (float[K] y)"
HELD = "<int64[2] flat = {0, -1}, float[4, 5] w>"


def refined(lab: Lab, body: str, known: dict[str, list[int]] | None = None) -> list[str]:
    """Return what the last node of a graph makes after all were asked in order."""
    model = lab.bind(lab.model(f"{HEAD} {HELD} {{ {body} }}"), {})
    inference = NodeInference(model)
    values = {value.name: value for value in model.graph.inputs}
    certain = {
        values[name]: Known(np.array(numbers, object), ir.DataType.INT64)
        for name, numbers in (known or {}).items()
    }
    learnt = [inference.refine(node, certain) for node in model.graph][-1]
    return [f"{value.name} {value.type} {value.shape}" for value in learnt]


@pytest.mark.parametrize(
    ("body", "known", "expected"),
    [
        pytest.param("u = MatMul(x, w)", {}, ["u FLOAT [N,3,5]"], id="types of inputs"),
        pytest.param("u = Reshape(x, flat)", {}, ["u FLOAT [N,12]"], id="a constant"),
        pytest.param("u = Reshape(x, t)", {"t": [2, 6]}, ["u FLOAT [2,6]"], id="known"),
        pytest.param("u = Reshape(x, t)", {}, ["u FLOAT [None,None]"], id="a rank"),
        pytest.param(
            "p, q = Split <axis = 2> (x) u = Add(p, q)",
            {},
            ["u FLOAT [N,3,2]"],
            id="one after the other",
        ),
        pytest.param("v = Neg(x) u = f.odd(v)", {}, [], id="an operator that onnx does not know"),
        pytest.param("v = f.odd(x) u = Neg(v)", {}, [], id="an input without a type"),
        pytest.param("u = Neg <odd = 1> (x)", {}, [], id="an attribute that it does not have"),
        pytest.param("u = MatMul(x, flat)", {}, [], id="a node that contradicts its inputs"),
        pytest.param(
            "u = If (c) <then_branch = a () => (float[2] p) { p = Neg(x) }, "
            "else_branch = b () => (float[2] q) { q = Abs(x) }>",
            {},
            [],
            id="control flow",
        ),
    ],
)
def test_refines(lab: Lab, body: str, known: dict[str, list[int]], expected: list[str]) -> None:
    assert refined(lab, body, known) == expected


def test_what_is_known_already_is_not_news(lab: Lab) -> None:
    model = lab.model(f"{HEAD} {HELD} {{ u = Neg(x) }}")
    inference, (node,) = NodeInference(model), model.graph
    assert inference.refine(node, {}) == [node.outputs[0]]
    assert inference.refine(node, {}) == []


def test_an_output_that_is_left_out_learns_nothing(lab: Lab) -> None:
    model = lab.model("""
        g (float[N, 3, 4] x, float[1, 20, 4] w, float[1, 20, 5] r) => (float[K] y)
        { u, h = LSTM <hidden_size = 5> (x, w, r) }""")
    (node,) = model.graph
    node.outputs[0].name = ""
    assert NodeInference(model).refine(node, {}) == [node.outputs[1]]
    assert [value.shape is None for value in node.outputs] == [True, False]
