from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.passes.drop_unused import DropUnused

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

DEAD_IF = """
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
    h = Add(x, w)
    dead = If (c) <
        then_branch = yes () => (float[2] p) { p = Neg(h) },
        else_branch = no () => (float[2] r) { r = Identity(h) }
    >
    y = Relu(x)
}
"""
LIVE_IF = """
g (float[2] x, bool c) => (float[2] y) {
    h = Relu(x)
    y = If (c) <
        then_branch = yes () => (float[2] p) <float[2] w = {1, 2}> { q = Abs(h) p = Neg(x) },
        else_branch = no () => (float[2] r) { r = Identity(x) }
    >
}
"""
FUNCTIONS = """
g (float[2] x) => (float[2] y) { y = f.outer(x) }
<domain: "f", opset_import: ["": 16, "f": 1, "unread": 1]>
outer (a) => (b) { c = f.inner(a) d = Neg(a) b = Relu(c) }
<domain: "f", opset_import: ["": 16]>
inner (a) => (b) { b = Abs(a) }
<domain: "f", opset_import: ["": 16, "f": 1]>
dead (a) => (b) { b = f.inner(a) }
"""


def test_rewrites_a_dead_chain_and_its_initializer(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}, float[2] v = {3, 4}> {
            a = Add(x, w)
            b = Neg(a)
            y = Add(x, v)
        }""")
    result = lab.exact(DropUnused(), model)
    assert lab.ops(model) == ["Add"]
    assert lab.initializers(model) == ["v"]
    assert [note.node for note in result.rewritten] == [
        "Neg -> 'b'",
        "Add -> 'a'",
        "initializer 'w'",
    ]


def test_rewrites_a_dead_if_and_what_only_its_branches_read(lab: Lab) -> None:
    model = lab.model(DEAD_IF)
    lab.exact(DropUnused(), model)
    assert lab.ops(model) == ["Relu"]
    assert lab.initializers(model) == []


def test_rewrites_inside_a_branch_and_then_what_it_read_outside(lab: Lab) -> None:
    model = lab.model(LIVE_IF)
    lab.exact(DropUnused(), model)
    assert lab.all_ops(model) == ["If", "Neg", "Identity"]
    assert not any(graph.initializers for graph in model.graph.subgraphs())


def test_rewrites_functions_and_opset_imports(lab: Lab) -> None:
    model = lab.model(FUNCTIONS, domains=', "f": 1, "unread": 2')
    result = lab.exact(DropUnused(), model)
    assert sorted(identifier[1] for identifier in model.functions) == ["inner", "outer"]
    assert dict(model.opset_imports) == {"": 16, "f": 1}
    outer = model.functions["f", "outer", ""]
    assert [node.op_type for node in outer] == ["inner", "Relu"]
    assert dict(outer.opset_imports) == {"": 16, "f": 1}
    assert lab.reasons(result.rewritten)["function 'f::dead'"] == "no node calls it"


def test_keeps_a_node_with_one_read_output(lab: Lab) -> None:
    model = lab.model("g (float[4] x) => (float[2] y) { y, z = Split(x) }")
    lab.exact(DropUnused(), model)
    assert lab.ops(model) == ["Split"]


def test_refuses_graph_inputs_and_outputs(lab: Lab) -> None:
    model = lab.model("g (float[2] x, float[3] unread) => (float[2] y) { y = Relu(x) }")
    lab.exact(DropUnused(), model)
    assert [value.name for value in model.graph.inputs] == ["x", "unread"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Relu(x) }",
            id="that is a graph input",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y, float[2] w) <float[2] w = {1, 2}> { y = Relu(x) }",
            id="that is a graph output",
        ),
    ],
)
def test_refuses_an_initializer(lab: Lab, text: str) -> None:
    model = lab.model(text)
    lab.exact(DropUnused(), model, {"x": np.ones(2, np.float32)})
    assert lab.initializers(model) == ["w"]


def test_refuses_a_node_without_outputs(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Relu(x) }", domains=', "my": 1')
    model.graph.append(ir.Node("my", "Print", model.graph.inputs, num_outputs=0))
    result = DropUnused().run(model)
    assert lab.ops(model) == ["Relu", "Print"]
    assert "effect" in lab.reasons(result.skipped)["Print -> ''"]


def test_refuses_the_default_opset_import(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] x) {}")
    DropUnused().run(model)
    assert dict(model.opset_imports) == {"": 16}


def test_numerics_of_what_stays_do_not_change_when_random_siblings_go(lab: Lab) -> None:
    model = lab.model("""
        g (float[4] x) => (float[4] y) {
            noise = RandomNormalLike(x)
            dead = Add(x, noise)
            y = Exp(x)
        }""")
    lab.exact(DropUnused(), model, {"x": np.array([np.nan, np.inf, -0.0, 1e-40], np.float32)})
    assert lab.ops(model) == ["Exp"]


def test_costs_one_look_per_node(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    original = ir.Value.uses

    def counted(self: ir.Value) -> object:
        looks.append(1)
        return original(self)

    monkeypatch.setattr(ir.Value, "uses", counted)
    counts = []
    for length in (100, 200):
        body = "".join(f"v{i + 1} = Neg(v{i})" for i in range(length))
        model = lab.model(f"g (float[2] x) => (float[2] y) {{ v0 = Relu(x) {body} y = Neg(x) }}")
        looks.clear()
        DropUnused().run(model)
        assert lab.ops(model) == ["Neg"]
        counts.append(len(looks))
    assert counts[1] < 2.1 * counts[0]
