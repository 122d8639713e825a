from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.ort_offline import OrtOffline
from onnx_passes.core.contract import UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[N, 3] x, float[3, 2] w) => (float[N, 2] y) {
    i = Identity(x)
    n = Neg(i)
    k = Constant <value = float {2}> ()
    two = Mul(k, k)
    m = Mul(n, two)
    y = MatMul(m, w)
}
"""


def example(lab: Lab) -> ir.Model:
    w = np.random.default_rng(0).standard_normal((3, 2), np.float32)
    model = lab.bind(lab.model(TEXT), {"w": w})
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
        node.metadata_props["keep"] = node.name
    return model


def test_rewrites_and_names_the_tool_and_its_version(lab: Lab) -> None:
    model = example(lab)
    result = OrtOffline().run(model)
    lab.check(model)
    (note,) = result.rewritten
    assert note.text == f"{OrtOffline.version()}: 6 nodes before, {len(model.graph)} after"
    assert OrtOffline.version().split()[1][0].isdigit()
    assert len(model.graph) <= 3


def test_passes_our_checks_in_a_child_process(lab: Lab) -> None:
    outcome = optimize(example(lab), OrtOffline())
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason


def test_keeps_interface_and_the_metadata_of_nodes_that_stay(lab: Lab) -> None:
    model = example(lab)
    before = lab.interface(model)
    OrtOffline().run(model)
    assert lab.interface(model) == before
    kept = {node.op_type: node.metadata_props.get("keep") for node in model.graph}
    assert kept["Neg"] == "node_n"


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    model = example(lab)
    OrtOffline().run(model)
    assert OrtOffline().run(model).rewritten == []


def test_the_level_says_whether_operators_of_onnxruntime_appear(lab: Lab) -> None:
    text = """g (float[N, 1, 4, 4] x) => (float[N, 1, 2, 2] y)
        <float[1, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> { h = Conv(x, w) y = Relu(h) }"""
    domains = []
    for level in ("basic", "extended"):
        model = lab.model(text)
        make("ort-offline", {"level": level}, OrtOffline).run(model)
        domains.append({node.domain for node in model.graph})
        assert set(model.opset_imports) == {"", *domains[-1]}
    assert domains == [{""}, {"com.microsoft"}]


def test_refuses_an_unknown_level() -> None:
    with pytest.raises(UsageError, match="level"):
        make("ort-offline", {"level": "most"}, OrtOffline)
