from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.drop_noop import DropNoop

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

X = "g (float[N, 3] x) => (float[A, B] y) <float[N, 3] h> { "
STATIC = "g (float[2, 3] x) => (float[A, B] y) <float[2, 3] h> { "


def around(node: str, header: str = X) -> str:
    """Return a graph with a node that makes m from h."""
    return f"{header} h = Neg(x) {node} y = Abs(m) }}"


def constant(name: str, kind: str, values: str) -> str:
    return f"{name} = Constant <value = {kind} {{{values}}}> () "


def slice_of(start: int, end: int, axis: int, step: int) -> str:
    parts = zip("seak", (start, end, axis, step), strict=True)
    return "".join(constant(n, "int64[1]", str(v)) for n, v in parts) + "m = Slice(h, s, e, a, k)"


def binary(operator: str, kind: str, values: str) -> str:
    return constant("c", kind, values) + f"m = {operator}"


@pytest.mark.parametrize(
    "node",
    [
        pytest.param("m = Transpose <perm = [0, 1]> (h)", id="Transpose that keeps the order"),
        pytest.param("m = Cast <to = 1> (h)", id="Cast to the same type"),
        pytest.param("m = CastLike(h, x)", id="CastLike of the same type"),
        pytest.param("m = Concat <axis = -1> (h)", id="Concat of one input"),
        pytest.param("m = Dropout(h)", id="Dropout of inference"),
        pytest.param(
            constant("r", "float", "0.5") + constant("t", "bool", "0") + "m = Dropout(h, r, t)",
            id="Dropout with training mode off",
        ),
        pytest.param(constant("p", "int64[4]", "0, 0, 0, 0") + "m = Pad(h, p)", id="Pad by zeros"),
        pytest.param(
            constant("p", "int64[4]", "0, 0, 0, 0") + 'm = Pad <mode = "reflect"> (h, p)',
            id="reflecting Pad by zeros",
        ),
        pytest.param(constant("t", "int64[2]", "0, 3") + "m = Reshape(h, t)", id="Reshape [0, 3]"),
        pytest.param(
            constant("t", "int64[2]", "-1, 3") + "m = Reshape(h, t)", id="Reshape [-1, 3]"
        ),
        pytest.param(
            constant("t", "int64[2]", "0, -1") + "m = Reshape(h, t)", id="Reshape [0, -1]"
        ),
        pytest.param(slice_of(0, 2**63 - 1, 0, 1), id="Slice of all of an axis of unknown size"),
        pytest.param(slice_of(0, 3, 1, 1), id="Slice up to the last element"),
        pytest.param(slice_of(-3, 9, -1, 1), id="Slice from the first counted from the end"),
        pytest.param(binary("Mul(h, c)", "float", "1"), id="Mul by 1"),
        pytest.param(binary("Mul(c, h)", "float[1, 3]", "1, 1, 1"), id="Mul by 1 on the left"),
        pytest.param(binary("Div(h, c)", "float[1]", "1"), id="Div by 1"),
        pytest.param(binary("Sub(h, c)", "float", "0"), id="Sub of 0.0"),
        pytest.param(binary("Add(h, c)", "float[3]", "-0.0, -0.0, -0.0"), id="Add of -0.0"),
        pytest.param(binary("Add(c, h)", "float", "-0.0"), id="Add of -0.0 on the left"),
    ],
)
def test_rewrites(lab: Lab, node: str) -> None:
    model = lab.model(around(node))
    x = np.array([[np.nan, -np.inf, -0.0], [0.0, 1e-45, 3e38]], np.float32)
    result = lab.exact(DropNoop(), model, {"x": x})
    assert lab.ops(model) == ["Neg", "Abs"]
    assert [note.text for note in result.rewritten] == ["its readers read 'h'"]


@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_rewrites_an_integer_zero(lab: Lab, operator: str) -> None:
    model = lab.model(
        "g (int64[N] x) => (int64[N] y) <int64[N] h> { h = Neg(x) "
        + binary(f"{operator}(h, c)", "int64", "0")
        + " y = Abs(m) }"
    )
    lab.exact(DropNoop(), model)
    assert lab.ops(model) == ["Neg", "Abs"]


def test_rewrites_a_computed_reshape_to_the_recorded_shape(lab: Lab) -> None:
    text = "g (float[N, 3] x, int64[2] t) => (float[N, 3] y) { m = Reshape(x, t) y = Neg(m) }"
    model = lab.model(text.replace("=> (float[N, 3] y) {", "=> (float[N, 3] y) <float[N, 3] m> {"))
    lab.exact(DropNoop(), model, {"x": np.ones((2, 3), np.float32), "t": np.array([2, 3])})
    assert lab.ops(model) == ["Neg"]


def test_rewrites_a_run_and_the_output_keeps_its_name(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[2, 3] y) { h = Neg(x) i = Concat <axis = 0> (h) "
        "j = Transpose <perm = [0, 1]> (i) y = Dropout(j) }"
    )
    lab.exact(DropNoop(), model)
    assert lab.ops(model) == ["Neg"]


def test_rewrites_the_attributes_of_opset_9(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[2, 3] y) { h = Neg(x) i = Pad <pads = [0, 0, 0, 0]> (h) "
        "j = Slice <axes = [0], starts = [0], ends = [2147483647]> (i) y = Neg(j) }",
        ir_version=4,
        opset=9,
    )
    lab.exact(DropNoop(), model)
    assert lab.ops(model) == ["Neg", "Neg"]


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] x, bool c) => (float[2] y) {
            h = f.twice(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) { q = Neg(h) p = Concat <axis = 0> (q) },
                else_branch = no () => (float[2] r) { s = Concat <axis = 0> (h) r = Abs(s) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { c = Add(a, a) b = Concat <axis = 0> (c) }
        """,
        domains=', "f": 1',
    )
    lab.exact(DropNoop(), model)
    assert lab.all_ops(model) == ["twice", "If", "Neg", "Abs"]
    assert [[node.op_type for node in body] for body in model.functions.values()] == [["Add"]]


def test_learns_a_type_and_goes_on(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y, float[2] z) <float[2] m> { h = Neg(x) "
        "i = Cast <to = 1> (h) m = Concat <axis = 0> (h) y = Abs(i) z = Abs(m) }"
    )
    lab.exact(DropNoop(), model)
    assert lab.ops(model) == ["Neg", "Abs", "Abs"]


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        pytest.param(
            binary("Add(h, c)", "float", "0"),
            "adding 0.0 turns -0.0 into 0.0",
            id="keeps Add of 0.0",
        ),
        pytest.param(
            binary("Sub(h, c)", "float", "-0.0"),
            "adding 0.0 turns -0.0 into 0.0",
            id="keeps Sub of -0.0",
        ),
        pytest.param(
            binary("Mul(h, c)", "float[2, 3]", "1, 1, 1, 1, 1, 1"),
            "its constant may widen the other operand",
            id="keeps a 1 that may widen an unknown axis",
        ),
        pytest.param(
            binary("Mul(h, c)", "float[1, 1, 1]", "1"),
            "its constant may widen the other operand",
            id="keeps a 1 that adds an axis",
        ),
        pytest.param(
            "m, mask = Dropout(h) w = Not(mask)", "its mask is read", id="keeps a read mask"
        ),
        pytest.param(
            constant("r", "float", "0") + constant("t", "bool", "1") + "m = Dropout(h, r, t)",
            "its training mode is on or computed",
            id="keeps training mode",
        ),
        pytest.param(
            "t = Shape(h) m = Reshape(h, t)",
            "its target is computed and the shape of its output unknown; infer shapes first",
            id="keeps a computed target",
        ),
        pytest.param(
            "u = Neg(h) m = Cast <to = 1> (u)",
            "the type of its input is unknown; infer shapes first",
            id="keeps a Cast of an unknown type",
        ),
        pytest.param(
            constant("t", "int64[2]", "0, 3") + "u = Neg(h) m = Reshape(u, t)",
            "the shape of its input is unknown; infer shapes first",
            id="keeps a Reshape of an unknown shape",
        ),
    ],
)
def test_refuses(lab: Lab, node: str, reason: str) -> None:
    model = lab.model(around(node))
    before = lab.ops(model)
    if "1, 1]" in node:
        model.graph.outputs[0].shape = None
    result = DropNoop().run(model)
    assert lab.ops(model) == before
    assert list(lab.reasons(result.skipped).values()) == [reason]


@pytest.mark.parametrize(
    "node",
    [
        pytest.param("m = Transpose <perm = [1, 0]> (h)", id="a real Transpose"),
        pytest.param("m = Transpose(h)", id="a Transpose without perm"),
        pytest.param("i = Cast <to = 11> (h) m = Cast <to = 1> (i)", id="a widening Cast"),
        pytest.param(constant("p", "int64[4]", "0, 0, 0, 1") + "m = Pad(h, p)", id="a Pad by 1"),
        pytest.param(
            constant("p", "int64[4]", "0, 0, 1, -1") + "m = Pad(h, p)", id="a Pad by 1, -1"
        ),
        pytest.param(constant("t", "int64[2]", "3, -1") + "m = Reshape(h, t)", id="a real Reshape"),
        pytest.param(slice_of(0, 2, 0, 1), id="a Slice that may end early"),
        pytest.param(slice_of(0, -1, 1, 1), id="a Slice without the last element"),
        pytest.param(slice_of(-1, -9, 1, -1), id="a Slice that reverses"),
        pytest.param(slice_of(0, 9, 1, 2), id="a Slice of every other element"),
        pytest.param(slice_of(1, 2**63 - 1, 0, 1), id="a Slice without the first element"),
        pytest.param(binary("Div(c, h)", "float", "1"), id="1 divided by a value"),
        pytest.param(binary("Sub(c, h)", "float", "0"), id="0 minus a value"),
        pytest.param(binary("Mul(h, c)", "float[3]", "1, 1, 2"), id="a Mul by 1 and 2"),
        pytest.param(binary("Mul(h, c)", "float", "0.99999994"), id="a Mul by almost 1"),
    ],
)
def test_leaves_alone(lab: Lab, node: str) -> None:
    model = lab.model(around(node))
    before = lab.ops(model)
    assert not lab.exact(DropNoop(), model, {"x": np.ones((2, 3), np.float32)}).rewritten
    assert lab.ops(model) == before


def test_leaves_alone_zero_that_allowzero_takes_literally(lab: Lab) -> None:
    model = lab.model(
        around(constant("t", "int64[2]", "0, 3") + "m = Reshape <allowzero = 1> (h, t)")
    )
    assert not lab.apply(DropNoop(), model).rewritten


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) { y = Concat <axis = 0> (x) }",
            "it copies the graph input 'x' to the graph output 'y'",
            id="keeps a copy of a graph input",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] z, float[2] y) <float[2] w = {1, 2}>"
            "{ z = Neg(x) y = Concat <axis = 0> (w) }",
            "it copies the initializer 'w' to the graph output 'y'",
            id="keeps a copy of an initializer",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] z, float[2] y) { z = Neg(x) y = Concat <axis = 0> (z) }",
            "'z' and 'y' are both graph outputs",
            id="keeps the second name of a value",
        ),
    ],
)
def test_refuses_to_lose_a_graph_output(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    result = lab.exact(DropNoop(), model)
    assert lab.reasons(result.skipped) == {"Concat -> 'y'": reason}


def test_refuses_an_output_of_a_sub_graph_that_copies_an_outer_value(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x, bool c) => (float[2] y) {
            h = Neg(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) { p = Concat <axis = 0> (h) },
                else_branch = no () => (float[2] r) { r = Abs(h) }
            >
        }""")
    result = lab.exact(DropNoop(), model)
    assert "graph around" in lab.reasons(result.skipped)["Concat -> 'p'"]


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(-5, 5),
    end=st.integers(-5, 5),
    step=st.sampled_from((-2, -1, 1, 2)),
    target=st.sampled_from(("2, 3", "-1, 3", "3, 2", "0, 3", "0, -1", "3, -1", "-1, 2")),
    number=st.sampled_from(("0", "-0.0", "1")),
    operator=st.sampled_from(("Add", "Sub", "Mul", "Div")),
)
def test_random_operands_keep_every_bit(
    lab: Lab, start: int, end: int, step: int, target: str, number: str, operator: str
) -> None:
    body = (
        binary(f"{operator}(h, c) ", "float", number)
        + constant("t", "int64[2]", target)
        + "r = Reshape(x, t) z = Abs(r) "
        + slice_of(start, end, 1, step).replace("m = Slice(h", "i = Slice(x")
        + " w = Neg(i) y = Abs(m) }"
    )
    outputs = "(float[A, B] y, float[C, D] z, float[E, F] w)"
    model = lab.model(STATIC.replace("(float[A, B] y)", outputs) + "h = Neg(x) " + body)
    x = np.array([[np.nan, -0.0, 0.0], [1.5, -np.inf, 1e-45]], np.float32)
    lab.exact(DropNoop(), model, {"x": x})


def test_agrees_with_the_reference_evaluator(lab: Lab) -> None:
    model = lab.model(around(binary("Sub(h, c)", "float", "0")))
    before = ReferenceEvaluator(ir.to_proto(model))
    DropNoop().run(model)
    after = ReferenceEvaluator(ir.to_proto(model))
    x = {"x": np.array([[-0.0, 0.0, 1.0]], np.float32)}
    for old, new in zip(before.run(None, x), after.run(None, x), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
