from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.contract import ModelError, PassResult
from onnx_passes.core.node_inference import NodeInference
from onnx_passes.core.values import constant
from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.fold_shapes import FoldShapes

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

HEAD = "g (float[N, 3, 4, W] x) => "
INTS = """
    zero = Constant <value = int64 {0}> () one = Constant <value = int64 {1}> ()
    two = Constant <value = int64 {2}> () last = Constant <value = int64 {3}> ()
    first = Constant <value = int64[1] {0}> () minus = Constant <value = int64[1] {-1}> ()
    twelve = Constant <value = int64[1] {12}> () s = Shape(x)
    n0 = Gather(s, zero) n = Unsqueeze(n0, first) c0 = Gather(s, one) c = Unsqueeze(c0, first)
    h0 = Gather(s, two) h = Unsqueeze(h0, first) w0 = Gather(s, last) w = Unsqueeze(w0, first)
"""


def feeds(n: int = 2, w: int = 5) -> dict[str, np.ndarray[Any, Any]]:
    count = n * 12 * w
    return {"x": np.arange(count, dtype=np.float32).reshape(n, 3, 4, w)}


def compute(body: str, result: str = "int64[K] y") -> str:
    return f"{HEAD} ({result}) {{ {INTS} {body} }}"


def reshape(body: str, axes: str = "A, B, C", attributes: str = "") -> str:
    """Return a graph that reshapes x to t."""
    return f"{HEAD} (float[{axes}] y) {{ {INTS} {body} y = Reshape {attributes} (x, t) }}"


def shape_nodes(model: ir.Model) -> list[str]:
    ignored = ("Constant", "Neg", "Identity")
    return [node.op_type for node in model.graph if node.op_type not in ignored]


def target(model: ir.Model) -> list[int]:
    """Return the constant target of the only Reshape of x."""
    node = next(node for node in model.graph if node.outputs[0].name == "y")
    tensor = constant(node.inputs[1])
    assert tensor is not None
    return [int(item) for item in tensor.numpy()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("k = Concat <axis = 0> (c, h)", [3, 4], id="Gather and Concat"),
        pytest.param("i = Mul(c, h) k = Concat <axis = 0> (i, minus)", [12, -1], id="Mul"),
        pytest.param("i = Add(c, h) j = Sub(i, twelve) k = Div(j, h)", [-1], id="Div towards 0"),
        pytest.param("i = Cast <to = 6> (c) k = Cast <to = 7> (i)", [3], id="Cast"),
        pytest.param(
            "a = Constant <value = int64[1] {1}> () b = Constant <value = int64[1] {3}> () "
            "k = Slice(s, a, b)",
            [3, 4],
            id="Slice",
        ),
        pytest.param("i = Squeeze(c) j = Mul(i, two) k = Reshape(j, minus)", [6], id="Squeeze"),
        pytest.param("k = Shape <start = 1, end = -1> (x)", [3, 4], id="a part of Shape"),
    ],
)
def test_rewrites_what_is_certain(lab: Lab, body: str, expected: list[int]) -> None:
    model = lab.model(compute(f"{body} y = Neg(k)"))
    lab.exact(FoldShapes(), model, feeds())
    tensor = constant(model.graph[-1].inputs[0])
    assert tensor is not None
    assert tensor.numpy().tolist() == expected
    assert shape_nodes(model) == []


def test_rewrites_the_shape_and_the_size_of_a_static_value(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (int64[2] y, int64 z) "
        "{ s = Shape(x) y = Neg(s) i = Size(x) z = Neg(i) }"
    )
    result = lab.exact(FoldShapes(), model)
    assert lab.ops(model) == ["Neg", "Neg"]
    assert lab.reasons(result.rewritten) == {
        "Shape -> 's'": "it is [2, 3]",
        "Size -> 'i'": "it is 6",
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("t = Concat <axis = 0> (n, twelve, minus)", [0, 12, -1], id="0 beside a -1"),
        pytest.param(
            "i = Mul(n, w) t = Concat <axis = 0> (c, h, i)", [3, 4, -1], id="numbers and a product"
        ),
        pytest.param("t = Concat <axis = 0> (n, c, h, w)", [0, 3, 4, 0], id="its own shape"),
        pytest.param(
            "i = Cast <to = 6> (n) j = Cast <to = 7> (i) t = Concat <axis = 0> (j, twelve, minus)",
            [0, 12, -1],
            id="by way of int32",
        ),
    ],
)
def test_rewrites_a_target(lab: Lab, body: str, expected: list[int]) -> None:
    text = reshape(body, ", ".join("ABCD"[: len(expected)]))
    model = lab.model(text)
    result = lab.exact(FoldShapes(), model, feeds())
    assert target(model) == expected
    assert shape_nodes(model) == ["Reshape"]
    assert lab.reasons(result.rewritten)["Reshape -> 'y'"] == f"its target is {expected}"
    for n, w in ((1, 1), (3, 7)):
        lab.exact(FoldShapes(), lab.model(text), feeds(n, w))


def test_rewrites_a_target_with_an_empty_batch(lab: Lab) -> None:
    model = lab.model(reshape("t = Concat <axis = 0> (n, c, h, w)", "A, B, C, D"))
    lab.exact(FoldShapes(), model, feeds(0, 5))
    assert target(model) == [0, 3, 4, 0]


def test_rewrites_in_a_branch(lab: Lab) -> None:
    model = lab.model("""
        g (float[N, 3] x, bool c) => (float[A, B] y) {
            s = Shape(x)
            y = If (c) <
                then_branch = yes () => (float[C, D] p) { p = Reshape(x, s) },
                else_branch = no () => (float[E, F] r) {
                    i = Constant <value = int64[1] {1}> () j = Gather(s, i)
                    k = Cast <to = 1> (j) r = Add(x, k)
                }
            >
        }""")
    for taken in (True, False):
        inputs = {"x": np.ones((2, 3), np.float32), "c": np.array(taken)}
        lab.exact(FoldShapes(), model, inputs)
    assert lab.all_ops(model) == ["If", "Reshape", "Cast", "Add"]


@pytest.mark.parametrize(
    ("text", "node", "reason"),
    [
        pytest.param(
            compute("u = f.odd(x) y = Shape(u)"),
            "Shape -> 'y'",
            "the shape of 'u' is unknown; infer shapes first",
            id="keeps the Shape of what has none recorded, and gets none",
        ),
        pytest.param(
            compute("y = Concat <axis = 0> (c, h)"),
            "Concat -> 'y'",
            "it makes a graph output",
            id="keeps a graph output",
        ),
        pytest.param(
            reshape("i = Mul(c, h) t = Concat <axis = 0> (w, i, n)"),
            "Reshape -> 'y'",
            "2 extents of its target are unknown",
            id="keeps two unknown extents",
        ),
        pytest.param(
            reshape("i = Mul(h, w) t = Concat <axis = 0> (n, c, i)"),
            "Reshape -> 'y'",
            "-1 cannot be resolved if an axis of unknown extent is empty",
            id="keeps what would need a new -1",
        ),
        pytest.param(
            reshape("t = Concat <axis = 0> (first, minus, w)", attributes="<allowzero = 1>"),
            "Reshape -> 'y'",
            "its target takes a 0 literally",
            id="keeps a literal 0",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, node: str, reason: str) -> None:
    model = lab.model(text)
    result = FoldShapes().run(model)
    assert lab.reasons(result.skipped) == {node: reason}
    assert all(node != note.node for note in result.rewritten)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("i = Sub(c, c) k = Div(h, i)", id="Div by 0"),
        pytest.param(
            "m = Constant <value = int64[1] {4294967296}> () i = Mul(c, m) k = Cast <to = 6> (i)",
            id="a number that int32 does not hold",
        ),
        pytest.param("k = Mul(n, c)", id="an unknown extent"),
    ],
)
def test_leaves_alone(lab: Lab, body: str) -> None:
    kind = "int32" if "to = 6" in body else "int64"
    model = lab.model(compute(f"{body} y = Neg(k)", f"{kind}[K] y"))
    FoldShapes().run(model)
    assert constant(model.graph[-1].inputs[0]) is None


def test_leaves_functions_and_old_opsets_alone(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2, 3] x) => (int64[2] y) { y = f.t(x) }
        <domain: "f", opset_import: ["": 16]>
        t (a) => (b) { c = Shape(a) b = Neg(c) }
        """,
        domains=', "f": 1',
    )
    assert not lab.exact(FoldShapes(), model).rewritten
    old = lab.model("g (float[2] x) => (int64[1] y) { y = Shape(x) }", ir_version=3, opset=6)
    assert [note.text for note in FoldShapes().run(old).skipped] == ["its opset is below 7"]


TARGETS = (
    *("n c h w", "nw ch", "n ch w", "n c hw", "nw c h", "n twelve minus", "minus", "n minus w"),
    *("nw ch first", "first c h minus", "less minus", "c minus", "nc hw", "first minus hw"),
)


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.sampled_from(TARGETS).flatmap(lambda text: st.permutations(text.split())),
    n=st.integers(0, 3),
    w=st.integers(0, 3),
    zero=st.booleans(),
)
def test_numerics_of_random_targets(
    lab: Lab, pieces: list[str], n: int, w: int, zero: bool
) -> None:
    """What ran before gives the same bits after; what failed may fail."""
    assume(not (zero and {"first", "minus"} <= set(pieces)))  # ONNX forbids a literal 0 beside -1
    made = "nw = Mul(n, w) ch = Mul(c, h) nc = Mul(n, c) hw = Mul(h, w) less = Sub(w, minus)"
    text = reshape(
        f"{made} t = Concat <axis = 0> ({', '.join(pieces)})",
        ", ".join("ABCD"[: len(pieces)]),
        "<allowzero = 1>" if zero else "",
    )
    model, inputs = lab.model(text), feeds(n, w)
    try:
        before = lab.outputs(model, inputs)
    except ModelError:
        return
    FoldShapes().run(model)
    lab.check(model)
    assert same_bits(before["y"], lab.outputs(model, inputs)["y"])
    assert not FoldShapes().run(model).rewritten


def test_agrees_with_the_reference_evaluator(lab: Lab) -> None:
    model = lab.model(reshape("t = Concat <axis = 0> (n, twelve, minus)"))
    before = ReferenceEvaluator(ir.to_proto(model))
    FoldShapes().run(model)
    after = ReferenceEvaluator(ir.to_proto(model))
    for old, new in zip(before.run(None, feeds()), after.run(None, feeds()), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            "v = Gather(s, first) t = Shape(v) k = Gather(t, first) y = Gather(k, first)",
            id="the shape of what is known but was never recorded",
        ),
        pytest.param(
            "e = Shape<start = 1, end = 3>(x) r = Shape(e) k = Reshape(e, r) y = Neg(k)",
            id="a Reshape whose target is a number only once that was folded",
        ),
    ],
)
def test_one_run_folds_what_the_folded_makes_certain(lab: Lab, body: str) -> None:
    model = lab.model(compute(body))
    lab.exact(FoldShapes(), model, feeds())
    assert "Shape" not in lab.ops(model)


# What exporters make of y.view(n, 2, c // 2, h, w).transpose(1, 2) and of x[:, :c // 2].
SHUFFLE = """
    s{0} = Shape({1}) c{0} = Gather(s{0}, one) half{0} = Div(c{0}, two)
    n{0} = Gather(s{0}, zero) h{0} = Slice(s{0}, two_, four_)
    nu{0} = Unsqueeze(n{0}, first) cu{0} = Unsqueeze(half{0}, first)
    t{0} = Concat <axis = 0> (nu{0}, two_, cu{0}, h{0}) f{0} = Reshape({1}, t{0})
    p{0} = Transpose <perm = [0, 2, 1, 3, 4]> (f{0})
    cw{0} = Unsqueeze(c{0}, first) r{0} = Concat <axis = 0> (nu{0}, cw{0}, h{0})
    m{0} = Reshape(p{0}, r{0}) a{0} = Slice(m{0}, first, cu{0}, one_) b{0} = Neg(a{0})
    {2} = Concat <axis = 1> (a{0}, b{0})
"""


def shuffles(count: int) -> str:
    names = ["x", *(f"x{index}" for index in range(1, count)), "y"]
    blocks = "".join(SHUFFLE.format(i, names[i], names[i + 1]) for i in range(count))
    return f"""
    g (float[N, 4, 2, 3] x) => (float[A, B, C, D] y)
    <int64 zero = {{0}}, int64 one = {{1}}, int64 two = {{2}}, int64[1] first = {{0}},
     int64[1] one_ = {{1}}, int64[1] two_ = {{2}}, int64[1] four_ = {{4}}> {{ {blocks} }}"""


def test_shapes_are_learnt_one_from_the_other_in_one_run(lab: Lab) -> None:
    model = lab.model(shuffles(5))
    x = np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3)
    result = lab.exact(FoldShapes(), model, {"x": x})
    assert lab.ops(model) == ["Reshape", "Transpose", "Reshape", "Slice", "Neg", "Concat"] * 5
    shapes = [str(node.outputs[0].shape) for node in model.graph]
    block = ["[N,2,2,2,3]", "[N,2,2,2,3]", "[N,4,2,3]", "[N,2,2,3]", "[N,2,2,3]", "[N,4,2,3]"]
    assert shapes == [*block * 4, *block[:-1], "[A,B,C,D]"]
    assert "'m4' is FLOAT [N,4,2,3]" in {note.text for note in result.rewritten}


@pytest.mark.parametrize("blocks", [5, 10])
def test_a_node_is_inferred_once(lab: Lab, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ir.Node] = []
    real = NodeInference.refine

    def counted(self: NodeInference, node: ir.Node, known: Any) -> list[ir.Value]:  # noqa: ANN401
        asked.append(node)
        return real(self, node, known)

    monkeypatch.setattr(NodeInference, "refine", counted)
    FoldShapes().run(lab.model(shuffles(blocks)))
    # The two Reshapes take theirs from their targets, the first without asking; y has a shape.
    assert len(asked) == 5 * blocks - 1


def test_without_a_shape_nothing_is_learnt(lab: Lab) -> None:
    model = lab.model("g (float[N, 4] x) => (float[?, ?] y) { h = Neg(x) y = Abs(h) }")
    assert FoldShapes().run(model) == PassResult()
    assert model.graph[0].outputs[0].shape is None


def test_shapes_that_stand_there_stay(lab: Lab) -> None:
    model = lab.model(shuffles(2))
    first = next(node for node in model.graph if node.op_type == "Neg")
    first.outputs[0].shape = ir.Shape(["P", "Q", None, None])
    FoldShapes().run(model)
    assert str(first.outputs[0].shape) == "[P,Q,2,3]"
