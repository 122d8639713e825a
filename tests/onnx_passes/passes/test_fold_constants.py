from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.numerics import runner
from onnx_passes.passes.fold_constants import FoldConstants

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

WEIGHTS = """
g (float[N, 3] x) => (float[N, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[2] b = {7, 8}> {
    two = Constant <value = float {2}> ()
    t = Transpose <perm = [1, 0]> (w)
    u = Mul(t, two)
    m = MatMul(x, u)
    y = Add(m, b)
}
"""
# onnx cannot know the extent of e before n, whose shape is that of computed elements, is there.
LATE_SIZE = """
g (float[3] x) => (float[4] y) <float[4] w = {1, 0, 3, 0}> {
    n = NonZero(w)
    extent = Size(n)
    one = Constant <value_ints = [1]> ()
    two = Constant <value_int = 2> ()
    shape = Mul(extent, two)
    list = Reshape(shape, one)
    e = ConstantOfShape(list)
    s = ReduceSum <keepdims = 0> (x)
    y = Add(e, s)
}
"""
BRANCHES = """
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
    y = If (c) <
        then_branch = yes () => (float[2] p) { v = Neg(w) p = Add(x, v) },
        else_branch = no () => (float[2] r) <float[2] k = {3, 4}> { v = Exp(k) r = Add(x, v) }
    >
}
"""


def test_rewrites_a_chain_of_constants_to_one_initializer(lab: Lab) -> None:
    model = lab.model(WEIGHTS)
    result = lab.exact(FoldConstants(), model)
    assert lab.ops(model) == ["MatMul", "Add"]
    assert lab.initializers(model) == ["b", "u"]
    assert lab.reasons(result.rewritten) == {
        "Constant -> 'two'": "now an initializer",
        "Mul -> 'u'": "computed: float32 [3, 2]",
        "Transpose -> 't'": "computed on the way to Mul -> 'u'",
    }


def test_rewrites_what_needs_an_earlier_result_to_know_its_size(lab: Lab) -> None:
    model = lab.model(LATE_SIZE)
    lab.exact(FoldConstants(), model)
    assert lab.ops(model) == ["ReduceSum", "Add"]
    assert lab.initializers(model) == ["e"]


def test_rewrites_in_branches_that_use_one_name_twice(lab: Lab) -> None:
    for take in (True, False):
        model = lab.model(BRANCHES)
        lab.exact(FoldConstants(), model, {"x": np.ones(2, np.float32), "c": np.array(take)})
        assert lab.all_ops(model) == ["If", "Add", "Add"]
        assert lab.initializers(model) == []


def test_rewrites_only_the_outputs_that_are_read(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] y) <float[4] w = {1, 2, 3, 4}> {
            a, b = Split(w)
            y = Add(x, b)
        }""")
    lab.exact(FoldConstants(), model)
    assert lab.initializers(model) == ["b"]


def test_keeps_an_initializer_that_another_node_reads(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] y) <float[2] w = {1, -2}> {
            v = Abs(w)
            h = Add(x, w)
            y = Add(h, v)
        }""")
    lab.exact(FoldConstants(), model)
    assert lab.initializers(model) == ["v", "w"]
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value, [1, -2])


def test_refuses_a_result_over_max_bytes(lab: Lab) -> None:
    text = """
        g (float[6] x) => (float[6] y) <float[2] w = {1, 2}, int64[1] n = {3}> {
            v = Tile(w, n)
            y = Add(x, v)
        }"""
    model = lab.model(text)
    result = lab.exact(FoldConstants(max_bytes=23), model)
    assert lab.ops(model) == ["Tile", "Add"]
    assert "24 bytes" in lab.reasons(result.skipped)["Tile -> 'v'"]
    model = lab.model(text)
    lab.exact(FoldConstants(max_bytes=24), model)
    assert lab.ops(model) == ["Add"]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        pytest.param("h = Neg(x)", ["Neg", "Add"], id="folds what takes the place of its source"),
        pytest.param("h = Add(x, w)", ["Add", "Neg", "Add"], id="keeps what stands beside it"),
        pytest.param(
            "w h = Neg(x)", ["Neg", "Neg", "Add"], id="keeps what stands beside an output"
        ),
    ],
)
def test_weighs_a_large_result_against_what_it_replaces(
    lab: Lab, reads: str, expected: list[str]
) -> None:
    outputs = ", float[2] w" if reads.startswith("w ") else ""
    model = lab.model(
        f"g (float[2] x) => (float[2] y{outputs}) <float[2] w = {{1, 2}}>"
        f"{{ {reads.removeprefix('w ')} v = Neg(w) y = Add(h, v) }}"
    )
    lab.exact(FoldConstants(max_bytes=0), model)
    assert lab.ops(model) == expected


def test_refuses_a_result_whose_size_shows_only_when_it_is_there(lab: Lab) -> None:
    model = lab.model("""
        g (int64[1, 4] x) => (int64[1, 4] y) <float[4] w = {1, 2, 3, 4}> {
            n = NonZero(w)
            y = Add(x, n)
        }""")
    result = lab.exact(FoldConstants(max_bytes=31), model)
    assert lab.ops(model) == ["NonZero", "Add"]
    assert "32 bytes" in lab.reasons(result.skipped)["NonZero -> 'n'"]


def test_never_computes_a_result_that_would_not_fit_in_memory(lab: Lab) -> None:
    model = lab.model("""
        g (float[1] x) => (float[1] y) <int64[2] n = {1000000, 1000000}, int64[1] one = {1}> {
            v = ConstantOfShape(n)
            s = ReduceMean <keepdims = 0> (v)
            y = Add(x, s)
        }""")
    result = lab.apply(FoldConstants(), model)
    assert lab.ops(model) == ["ConstantOfShape", "ReduceMean", "Add"]
    assert list(lab.reasons(result.skipped)) == ["ConstantOfShape -> 'v'"]


def test_never_computes_a_huge_result_whose_size_an_earlier_result_decides(lab: Lab) -> None:
    huge = LATE_SIZE.replace("value_int = 2>", "value_int = 1000000000000>")
    model = lab.model(huge.replace("float[4] y", "float[M] y"))
    result = lab.apply(FoldConstants(), model)
    assert lab.ops(model) == ["ConstantOfShape", "ReduceSum", "Add"]
    assert "8000000000000 bytes" in lab.reasons(result.skipped)["ConstantOfShape -> 'e'"]


@pytest.mark.parametrize(
    ("text", "node", "reason"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>"
            "{ v = RandomNormalLike <seed = 1.0> (w) y = Mul(x, v) }",
            "RandomNormalLike -> 'v'",
            "random",
            id="random operators",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}, bool c = {1}> { v = If (c) <"
            "then_branch = yes () => (float[2] p) { p = Neg(w) },"
            "else_branch = no () => (float[2] r) { r = Abs(w) }> y = Mul(x, v) }",
            "If -> 'v'",
            "control flow",
            id="control flow",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y, float[2] v) <float[2] w = {1, 2}>"
            "{ v = Neg(w) y = Mul(x, v) }",
            "Neg -> 'v'",
            "graph output",
            id="a node that makes a graph output",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y, float[2] v)"
            "{ v = Constant <value_floats = [1.0, 2.0]> () y = Mul(x, v) }",
            "Constant -> 'v'",
            "graph output",
            id="a Constant that makes a graph output",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) <int8[2] w = {1, 2}, float s = {0.5}>"
            "{ v = DequantizeLinear(w, s) y = Mul(x, v) }",
            "DequantizeLinear -> 'v'",
            "quantization",
            id="quantization",
        ),
        pytest.param(
            "g (float[2] x) => (float[4] y) <float[2] w = {1, 2}>"
            "{ v = SequenceConstruct(w) u = SequenceInsert(v, x)"
            "  y = ConcatFromSequence <axis = 0> (u) }",
            "SequenceConstruct -> 'v'",
            "Sequence(Tensor(FLOAT))",
            id="a sequence",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>"
            "{ v = Cast <to = 16> (w) u = Cast <to = 1> (v) y = Mul(x, u) }",
            "Cast -> 'v'",
            "BFLOAT16",
            id="bfloat16",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>"
            "{ v = Cast <to = 8> (w) u = Cast <to = 1> (v) y = Mul(x, u) }",
            "Cast -> 'v'",
            "STRING",
            id="strings",
        ),
        pytest.param(
            "g (float16[2] x) => (float16[2] y) <float16[2] w = {15360, 15361}>"
            "{ v = Mul(w, w) y = Mul(x, v) }",
            "Mul -> 'v'",
            "float16",
            id="arithmetic in float16",
        ),
        pytest.param(
            "g (float16[2] x) => (float16[2] y) <float[2] w = {1, 2}>"
            "{ v = Cast <to = 10> (w) y = Mul(x, v) }",
            "Cast -> 'v'",
            "float16",
            id="a Cast to float16",
        ),
        pytest.param(
            'g (float[1] x) => (float[1] y) <string[1] w = {"1"}> { v = Cast <to = 1> (w) '
            "y = Add(x, v) }",
            "Cast -> 'v'",
            "strings",
            id="what reads strings",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, node: str, reason: str) -> None:
    model = lab.model(text)
    before = lab.ops(model)
    result = lab.apply(FoldConstants(), model)
    assert lab.ops(model) == before
    assert reason in lab.reasons(result.skipped)[node]


def test_refuses_other_domains_and_calls_and_bodies_of_functions(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { v = f.neg(w) y = Mul(x, v) }
        <domain: "f", opset_import: ["": 16]>
        neg (a) => (b) {
            two = Constant <value = float {2}> ()
            four = Add(two, two)
            b = Mul(a, four)
        }""",
        domains=', "f": 1',
    )
    result = lab.exact(FoldConstants(), model)
    assert lab.ops(model) == ["neg", "Mul"]
    assert len(next(iter(model.functions.values()))) == 3
    assert lab.reasons(result.skipped) == {"neg -> 'v'": "an operator of domain 'f'"}


def test_refuses_an_initializer_that_is_a_graph_input(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> {
            v = Neg(w)
            y = Mul(x, v)
        }""")
    lab.exact(FoldConstants(), model, {name: np.full(2, 3, np.float32) for name in "xw"})
    assert lab.ops(model) == ["Neg", "Mul"]


def test_refuses_what_onnxruntime_cannot_compute_and_folds_the_rest(lab: Lab) -> None:
    model = lab.model("""
        g (int64[2] x, bool c) => (int64[2] y) <int64[2] w = {1, 2}, int64[2] z = {1, 1}> {
            y = If (c) <
                then_branch = yes () => (int64[2] p) {
                    zero = Sub(z, z) bad = Div(w, zero) p = Add(x, bad)
                },
                else_branch = no () => (int64[2] r) { good = Add(w, w) r = Add(x, good) }
            >
        }""")
    feeds = {"x": np.array([1, 2]), "c": np.array(False)}
    result = lab.exact(FoldConstants(), model, feeds)
    assert lab.all_ops(model) == ["If", "Sub", "Div", "Add", "Add"]
    reasons = lab.reasons(result.skipped)
    assert "zero" in reasons["Div -> 'bad'"]
    assert "feeds Div -> 'bad'" in reasons["Sub -> 'zero'"]


def test_refuses_ir_version_3(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }",
        ir_version=3,
        opset=8,
    )
    result = FoldConstants().run(model)
    assert "IR version 3" in lab.reasons(result.skipped)["model"]


def test_numerics_of_moved_float16_data_stay_exact(lab: Lab) -> None:
    model = lab.model("""
        g (float16[N, 64] x, float16[64, 64] w) => (float16[N, 64] y) {
            t = Transpose(w)
            u = Concat <axis = 0> (t, w)
            a, b = Split <axis = 0> (u)
            v = MatMul(x, a)
            y = MatMul(v, b)
        }""")
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float16)
    lab.exact(FoldConstants(), lab.bind(model, {"w": weights}))
    assert lab.ops(model) == ["MatMul", "MatMul"]


def test_leaves_the_tensor_of_a_constant_output_as_it_was(lab: Lab) -> None:
    model = lab.model(
        "g (float[1] x) => (float[1] y, float[1] k) {"
        "k = Constant <value = float[1] {1}> () v = Neg(k) y = Add(x, v) }"
    )
    before = model.graph[0].attributes["value"].as_tensor().name
    lab.exact(FoldConstants(), model)
    assert lab.ops(model) == ["Constant", "Add"]
    assert model.graph[0].attributes["value"].as_tensor().name == before


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("v = Exp(w)", id="Exp"),
        pytest.param("t = Sqrt(w) v = Reciprocal(t)", id="Sqrt and Reciprocal"),
        pytest.param("v = Softmax(w)", id="Softmax"),
        pytest.param("t = Tanh(w) u = Erf(t) v = Div(u, t)", id="Tanh, Erf and Div"),
    ],
)
def test_numerics_on_ordinary_and_odd_values(lab: Lab, body: str) -> None:
    odd = "nan, inf, -inf, -0.0, 0.0, 1e-40, 65520.0, -1.5"
    model = lab.model(
        f"g (float[8] x) => (float[8] y) <float[8] w = {{1, 2, 3, 4, 5, 6, 7, 8}}>"
        f"{{ {body} y = Add(x, v) }}"
    )
    for array in (np.linspace(-3, 90, 8), np.array([float(item) for item in odd.split(",")])):
        copy = model.clone()
        tensor = ir.Tensor(array.astype(np.float32), name="w")
        copy.graph.initializers["w"].const_value = tensor
        lab.exact(FoldConstants(), copy, {"x": np.zeros(8, np.float32)})
        assert lab.ops(copy) == ["Add"]


def test_keeps_the_stored_name_of_a_tensor_that_had_another(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y)"
        "{ c = Constant <value = float[2] other {1, 2}> () y = Add(x, c) }"
    )
    lab.exact(FoldConstants(), model)
    assert [tensor.name for tensor in ir.to_proto(model).graph.initializer] == ["c"]


def test_costs_one_session_however_many_nodes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[int] = []
    original = runner.Runner.run

    def counted(self: runner.Runner, *args: object) -> object:
        sessions.append(1)
        return original(self, *args)  # type: ignore[arg-type]

    body = "".join(
        f"v{i + 1} = Neg(v{i}) u{i} = Exp(v{i + 1}) x{i + 1} = Add(x{i}, u{i})" for i in range(50)
    )
    model = lab.model(
        f"g (float[2] x0) => (float[2] y) <float[2] v0 = {{1, 2}}> {{ {body} y = Relu(x50) }}"
    )
    monkeypatch.setattr(runner.Runner, "run", counted)
    FoldConstants().run(model)
    assert lab.ops(model) == ["Add"] * 50 + ["Relu"]
    assert len(sessions) == 1


def test_keeps_no_state_between_two_models(lab: Lab) -> None:
    one_pass = FoldConstants()
    for scale in (1.0, 2.0):
        model = lab.model(
            f"g (float[1] x) => (float[1] y) <float[1] w = {{{scale}}}>"
            "{ v = Neg(w) y = Add(x, v) }"
        )
        lab.exact(one_pass, model)
        np.testing.assert_array_equal(model.graph.initializers["v"].const_value, [-scale])
