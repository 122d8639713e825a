from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes import optimize
from onnx_passes.bridges.ir_script import IrScript
from onnx_passes.core.contract import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

EDIT = """
import onnx_ir as ir

def edit(model: ir.Model) -> None:
    for node in list(model.graph):
        if node.op_type == "Neg" and node.inputs[0].producer() is not None:
            node.outputs[0].replace_all_uses_with(node.inputs[0].producer().inputs[0])
            inner = node.inputs[0].producer()
            model.graph.remove([node, inner], safe=True)
"""
RULES = """
from onnxscript.rewriter import RewriteRule

def negated_twice(op, x):
    return op.Neg(op.Neg(x))

def plain(op, x):
    return op.Identity(x)

rules = {rules}
"""
TEXT = "g (float[N, 3] x) => (float[N, 3] y) { a = Neg(x) b = Neg(a) y = Exp(b) }"


def write(folder: Path, text: str) -> str:
    path = folder / "rules.py"
    path.write_text(text)
    return str(path)


def test_runs_edit_under_our_checks(lab: Lab, tmp_path: Path) -> None:
    outcome = optimize(lab.model(TEXT), IrScript(file=write(tmp_path, EDIT)))
    assert outcome.ok, outcome.steps
    assert lab.ops(outcome.model) == ["Exp"]


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param("[RewriteRule(negated_twice, plain)]", id="a list of rules"),
    ],
)
def test_applies_the_rules_of_onnxscript(lab: Lab, tmp_path: Path, rules: str) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    item = IrScript(file=write(tmp_path, RULES.format(rules=rules)))
    outcome = optimize(lab.model(TEXT), item)
    assert outcome.ok, outcome.steps
    assert "Neg" not in lab.ops(outcome.model)


def test_a_script_without_edit_and_rules_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="neither edit"):
        IrScript(file=write(tmp_path, "x = 1")).run(lab.model(TEXT))
