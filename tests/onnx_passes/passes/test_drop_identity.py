from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.passes.drop_identity import DropIdentity

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

CHAIN = """
g (float[N, 3] x) => (float[N, 3] y, float[N, 3] z) {
    a = Relu(x)
    b = Identity(a)
    c = Identity(b)
    y = Identity(c)
    z = Neg(c)
}
"""
BRANCHES = """
g (float[2] x, bool c) => (float[2] y) {
    h = Relu(x)
    copy = Identity(h)
    y = If (c) <
        then_branch = yes () => (float[2] p) { q = Neg(copy) p = Identity(q) },
        else_branch = no () => (float[2] r) { s = Identity(copy) r = Abs(s) }
    >
}
"""
LOOP = """
g (float[2] x, int64 trips, bool go) => (float[2] y) {
    y = Loop (trips, go, x) <
        body = body (int64 i, bool more, float[2] carried) => (bool again, float[2] next) {
            again = Identity(more)
            h = Neg(carried)
            next = Identity(h)
        }
    >
}
"""
FUNCTION = """
g (float[2] x) => (float[2] y) { y = f.twice(x) }
<domain: "f", opset_import: ["": 16]>
twice (a) => (b) { c = Add(a, a) d = Identity(c) b = Identity(d) }
"""


def test_rewrites_a_chain_and_the_output_keeps_its_name(lab: Lab) -> None:
    model = lab.model(CHAIN)
    result = lab.exact(DropIdentity(), model)
    assert lab.ops(model) == ["Relu", "Neg"]
    assert [note.node for note in result.rewritten] == [f"Identity -> {name!r}" for name in "bcy"]
    assert result.skipped == []


@pytest.mark.parametrize(
    ("text", "domains", "expected"),
    [
        pytest.param(BRANCHES, "", ["Relu", "If", "Neg", "Abs"], id="in both branches of an If"),
        pytest.param(FUNCTION, ', "f": 1', ["twice"], id="in a function"),
    ],
)
def test_rewrites_below_the_main_graph(
    lab: Lab, text: str, domains: str, expected: list[str]
) -> None:
    model = lab.model(text, domains=domains)
    lab.exact(DropIdentity(), model)
    assert lab.all_ops(model) == expected
    bodies = [[node.op_type for node in body] for body in model.functions.values()]
    assert bodies in ([], [["Add"]])


def test_rewrites_a_loop_body_but_for_its_condition(lab: Lab) -> None:
    model = lab.model(LOOP)
    feeds = {"x": np.ones(2, np.float32), "trips": np.array(3), "go": np.array(True)}
    result = lab.exact(DropIdentity(), model, feeds)
    assert lab.all_ops(model) == ["Loop", "Identity", "Neg"]
    assert list(lab.reasons(result.skipped)) == ["Identity -> 'again'"]


def test_rewrites_a_copy_of_an_initializer(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {v = Identity(w) y = Add(x, v)}"
    )
    lab.exact(DropIdentity(), model)
    assert lab.ops(model) == ["Add"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) { y = Identity(x) }",
            "it copies the graph input 'x' to the graph output 'y'",
            id="a graph input copied to a graph output",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] z, float[2] y) <float[2] w = {1, 2}>"
            "{ z = Relu(x) y = Identity(w) }",
            "it copies the initializer 'w' to the graph output 'y'",
            id="an initializer copied to a graph output",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] z, float[2] y) { z = Relu(x) y = Identity(z) }",
            "'z' and 'y' are both graph outputs",
            id="two graph outputs that hold the same value",
        ),
    ],
)
def test_refuses_to_lose_a_graph_output(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    result = lab.exact(DropIdentity(), model)
    assert "Identity" in lab.ops(model)
    assert lab.reasons(result.skipped) == {"Identity -> 'y'": reason}


def test_refuses_an_output_of_a_sub_graph_that_copies_an_outer_value(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x, bool c) => (float[2] y) {
            h = Relu(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) { p = Identity(h) },
                else_branch = no () => (float[2] r) { r = Neg(h) }
            >
        }""")
    result = lab.exact(DropIdentity(), model)
    assert lab.all_ops(model) == ["Relu", "If", "Identity", "Neg"]
    assert "graph around" in lab.reasons(result.skipped)["Identity -> 'p'"]


def test_of_two_outputs_with_one_source_the_first_takes_it_and_the_second_stays(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y, float[2] z) { h = Relu(x) y = Identity(h) z = Identity(h) }"
    )
    result = lab.exact(DropIdentity(), model)
    assert lab.ops(model) == ["Relu", "Identity"]
    assert lab.reasons(result.skipped) == {"Identity -> 'z'": "'y' and 'z' are both graph outputs"}


def test_numerics_keep_nan_infinity_and_the_sign_of_zero(lab: Lab) -> None:
    model = lab.model("g (float[4] x) => (float[4] y) { h = Neg(x) i = Identity(h) y = Neg(i) }")
    lab.exact(DropIdentity(), model, {"x": np.array([np.nan, np.inf, -0.0, 0.0], np.float32)})
    assert lab.ops(model) == ["Neg", "Neg"]


def test_keeps_the_declared_shape_of_the_output(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[N, 3] y) <float[2, 3] h> { h = Relu(x) y = Identity(h) }"
    )
    lab.exact(DropIdentity(), model)
    assert str(model.graph.outputs[0].shape) == "[N,3]"


def test_a_name_that_shape_inference_left_is_learnt(lab: Lab) -> None:
    model = lab.model(
        "g (float[N, 3] x) => (float[N, 3] y) <float[N, 3] i>"
        "{ h = Relu(x) i = Identity(h) y = Neg(i) }"
    )
    lab.exact(DropIdentity(), model)
    assert model.graph[0].outputs[0].shape == ir.Shape(["N", 3])


def test_costs_one_edit_per_node(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    edits: list[int] = []
    original = ir.Node.replace_input_with

    def counted(self: ir.Node, index: int, value: ir.Value | None) -> None:
        edits.append(1)
        original(self, index, value)

    monkeypatch.setattr(ir.Node, "replace_input_with", counted)
    counts = []
    for length in (100, 200):
        body = "".join(f"v{i + 1} = Identity(v{i})" for i in range(length))
        model = lab.model(
            f"g (float[2] x) => (float[2] y) {{ v0 = Relu(x) {body} y = Neg(v{length}) }}"
        )
        edits.clear()
        DropIdentity().run(model)
        counts.append(len(edits))
    assert counts[1] == 2 * counts[0]
