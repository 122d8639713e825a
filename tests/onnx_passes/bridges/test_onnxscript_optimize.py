from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.onnxscript_optimize import OnnxscriptOptimize

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

pytest.importorskip("onnxscript", reason="onnxscript is not installed")

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
    result = OnnxscriptOptimize().run(model)
    lab.check(model)
    (note,) = result.rewritten
    assert note.text == f"{OnnxscriptOptimize.version()}: 6 nodes before, {len(model.graph)} after"
    assert OnnxscriptOptimize.version().split()[1][0].isdigit()
    assert len(model.graph) <= 4


def test_passes_our_checks_in_a_child_process(lab: Lab) -> None:
    outcome = optimize(example(lab), OnnxscriptOptimize())
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason


def test_keeps_interface_and_the_metadata_of_nodes_that_stay(lab: Lab) -> None:
    model = example(lab)
    before = lab.interface(model)
    OnnxscriptOptimize().run(model)
    assert lab.interface(model) == before
    kept = {node.op_type: node.metadata_props.get("keep") for node in model.graph}
    assert kept["Neg"] == "node_n"


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    model = example(lab)
    OnnxscriptOptimize().run(model)
    assert OnnxscriptOptimize().run(model).rewritten == []


def test_inline_false_leaves_functions(lab: Lab) -> None:
    text = """g (float[2] x) => (float[2] y) { i = Exp(x) y = own.twice(i) }
        <domain: "own", opset_import: ["": 16]> twice (a) => (b) { b = Add(a, a) }"""
    ops = []
    for inline in (True, False):
        model = lab.model(text, domains=', "own": 1')
        OnnxscriptOptimize(inline=inline).run(model)
        ops.append(lab.ops(model))
    assert ops == [["Exp", "Add"], ["Exp", "twice"]]
