from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.spelling import nodes_of, operators

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2] x, bool c) => (float[2] y) { a = Elu(x) y = f.choose(a, c) }
<domain: "f", opset_import: ["": 11]>
choose <alpha> (u, c) => (v) {
    v = If (c) <
        then_branch = t () => (p) { p = Elu(u) },
        else_branch = e () => (q) { q = Elu <alpha: float = @alpha> (u) }
    >
}
"""


def test_a_node_of_a_function_has_its_opset_inside_a_branch_too(lab: Lab) -> None:
    model = lab.model(TEXT, opset=16, domains=', "f": 1')
    found = {node.outputs[0].name: opset for node, opset in nodes_of(model, "Elu", "Relu")}
    assert found == {"a": 16, "p": 11, "q": 11}


def test_an_operator_is_fully_spelled_out(lab: Lab) -> None:
    model = lab.model(TEXT, opset=16, domains=', "f": 1')
    assert [node.outputs[0].name for node, _ in operators(model, "Elu")] == ["a", "p"]
