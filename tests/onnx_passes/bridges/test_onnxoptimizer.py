from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.onnxoptimizer import Onnxoptimizer
from onnx_passes.core.contract import UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

pytest.importorskip("onnxoptimizer", reason="onnxoptimizer is not installed")

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
    result = Onnxoptimizer().run(model)
    lab.check(model)
    (note,) = result.rewritten
    assert note.text == f"{Onnxoptimizer.version()}: 6 nodes before, {len(model.graph)} after"
    assert Onnxoptimizer.version().split()[1][0].isdigit()
    assert len(model.graph) == 4


def test_passes_our_checks_in_a_child_process(lab: Lab) -> None:
    outcome = optimize(example(lab), Onnxoptimizer())
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason


def test_keeps_interface_and_the_metadata_of_nodes_that_stay(lab: Lab) -> None:
    model = example(lab)
    before = lab.interface(model)
    Onnxoptimizer().run(model)
    assert lab.interface(model) == before
    kept = {node.op_type: node.metadata_props.get("keep") for node in model.graph}
    assert kept["Neg"] == "node_n"


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    model = example(lab)
    Onnxoptimizer().run(model)
    assert Onnxoptimizer().run(model).rewritten == []


def test_refuses_a_misspelt_pass() -> None:
    with pytest.raises(UsageError, match="did you mean 'eliminate_identity'"):
        make("onnxoptimizer", {"passes": ["eliminate_identy"]}, Onnxoptimizer)


def test_runs_the_passes_named_and_no_other(lab: Lab) -> None:
    model = example(lab)
    Onnxoptimizer(passes=("eliminate_identity",)).run(model)
    assert lab.ops(model) == ["Neg", "Constant", "Mul", "Mul", "MatMul"]


def test_leaves_a_model_with_functions_alone(lab: Lab) -> None:
    text = """g (float[2] x) => (float[2] y) { i = Identity(x) y = own.twice(i) }
        <domain: "own", opset_import: ["": 16]> twice (a) => (b) { b = Add(a, a) }"""
    model = lab.model(text, domains=', "own": 1')
    result = Onnxoptimizer().run(model)
    assert "1 functions" in result.skipped[0].text
    assert lab.ops(model) == ["Identity", "twice"]
