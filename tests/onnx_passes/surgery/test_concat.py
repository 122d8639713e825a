from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import CheckError, UsageError
from onnx_passes.surgery.concat import check_joined, concat

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

FIRST = """
g (float[N, 4] x) => (float[N, 4] y, float[N, 4] u) <float[4] w = {1, 2, 3, 4}> {
    y = Add(x, w)
    u = Neg(x)
}
"""
SECOND = """
h (float[M, 4] x, float[N, 4] z) => (float[M, 2] y, float[N, 4] v)
<float[4, 2] w = {1, -1, 2, -2, 0.5, 3, 0.1, 4}, float[M, 4] t> {
    t = Relu(x)
    y = MatMul(t, w)
    v = Abs(z)
}
"""
BRANCH = """
h (float[M, 4] x, bool c) => (float[M, 4] y) <float[4] w = {4, 3, 2, 1}> {
    y = If (c) <then_branch = t () => (float[M, 4] p) { p = Mul(x, w) },
                else_branch = e () => (float[M, 4] q) { q = Abs(x) }>
}
"""


def names(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    return [v.name for v in model.graph.inputs], [v.name for v in model.graph.outputs]


def shapes(model: ir.Model) -> dict[str | None, str]:
    made = (value for node in model.graph for value in node.outputs)
    return {value.name: str(value.shape) for value in (*model.graph.inputs, *made)}


def test_joins_prefixes_and_gives_what_both_give_in_turn(lab: Lab) -> None:
    first, second = lab.model(FIRST), lab.model(SECOND)
    before = [ir.to_proto(m).SerializeToString(deterministic=True) for m in (first, second)]
    joined = concat(first, second, {"x": "y"}, prefixes=("a/", "b/"))
    assert lab.ops(joined.model) == ["Add", "Neg", "Relu", "MatMul", "Abs"]
    assert names(joined.model) == (["a/x", "b/z"], ["a/u", "b/y", "b/v"])
    assert lab.initializers(joined.model) == ["a/w", "b/w"]
    assert joined.lifted == ""
    lab.check(joined.model)
    agreement = check_joined(joined)
    assert agreement.ok, agreement.reason
    assert list(agreement.differences) == ["a/u", "b/y", "b/v"]
    assert all(difference.same_bits for difference in agreement.differences.values())
    feeds: dict[str, Any] = {"x": np.ones((2, 4), np.float32)}
    middle = lab.outputs(first, feeds)["y"]
    expected = lab.outputs(second, {"x": middle, "z": middle})
    actual = lab.outputs(joined.model, {"a/x": feeds["x"], "b/z": middle})
    np.testing.assert_array_equal(actual["b/y"], expected["y"])
    after = [ir.to_proto(m).SerializeToString(deterministic=True) for m in (first, second)]
    assert after == before


def test_dimensions_get_the_first_models_symbols_and_others_their_own(lab: Lab) -> None:
    joined = concat(lab.model(FIRST), lab.model(SECOND), {"x": "y"}, prefixes=("", "b/"))
    found = shapes(joined.model)
    assert found["b/t"] == "[N,4]"
    assert found["b/y"] == "[N,2]"
    assert found["b/z"] == found["b/v"] == "[N_2,4]"
    fixed = lab.model(FIRST.replace("float[N, 4]", "float[3, 4]"))
    assert shapes(concat(fixed, lab.model(SECOND), {"x": "y"}, prefixes=("", "b/")).model) == {
        **{"x": "[3,4]", "y": "[3,4]", "u": "[3,4]", "b/z": "[N,4]", "b/t": "[3,4]"},
        **{"b/y": "[3,2]", "b/v": "[N,4]"},
    }


def test_one_output_may_feed_two_inputs(lab: Lab) -> None:
    joined = concat(lab.model(FIRST), lab.model(SECOND), {"x": "y", "z": "y"}, prefixes=("", "b/"))
    assert names(joined.model) == (["x"], ["u", "b/y", "b/v"])
    assert check_joined(joined).ok


def test_a_branch_reads_what_is_connected_and_a_default_gives_way(lab: Lab) -> None:
    joined = concat(lab.model(FIRST), lab.model(BRANCH), {"x": "y"}, prefixes=("", "b/"))
    assert check_joined(joined).ok
    lab.check(joined.model)
    second = lab.model("h (float[4] k) => (float[4] r) <float[4] k = {1, 2, 3, 4}> { r = Exp(k) }")
    first = lab.model("g (float[4] x) => (float[4] y) { y = Neg(x) }")
    joined = concat(first, second, {"k": "y"})
    assert lab.initializers(joined.model) == []
    assert check_joined(joined).ok


def test_an_output_that_is_the_input_itself_is_what_was_connected(lab: Lab) -> None:
    second = lab.model("h (float[M, 4] q) => (float[M, 4] q, float[M, 4] r) { r = Neg(q) }")
    joined = concat(lab.model(FIRST), second, {"q": "y"})
    assert names(joined.model)[1] == ["u", "y", "r"]


@pytest.mark.parametrize(
    ("first", "second", "which"), [(13, 16, "first"), (16, 13, "second")], ids=["first", "second"]
)
def test_lifts_the_lower_model(lab: Lab, first: int, second: int, which: str) -> None:
    one = lab.model("g (float[N, 4] x) => (float[N, 4] y) { y = Neg(x) }", opset=first)
    two = lab.model("h (float[M, 4] q) => (float[M, 4] r) { r = Softmax(q) }", opset=second)
    joined = concat(one, two, {"q": "y"})
    assert joined.lifted == f"the {which} model went from opset 13 to 16 (bit-equal)"
    assert joined.model.opset_imports == {"": 16}
    assert check_joined(joined).ok


def test_refuses_opsets_that_cannot_be_made_one(lab: Lab) -> None:
    text = "h (float[M, 4] q) => (float[M, 4] r) { r = Neg(q) }"
    with pytest.raises(UsageError, match=r"is opset 9, the other 16, and set-opset cannot lift it"):
        concat(lab.model(FIRST), lab.model(text, opset=9), {"q": "y"})
    one = lab.model(FIRST, domains=', "own": 1')
    two = lab.model(SECOND, domains=', "own": 2')
    with pytest.raises(UsageError, match="versions 1 and 2 of domain 'own'"):
        concat(one, two, {"x": "y"})


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        pytest.param({}, "nothing is connected", id="nothing"),
        pytest.param({"x": "yy"}, "no output 'yy'; did you mean 'y'", id="an unknown output"),
        pytest.param({"xx": "y"}, "no input 'xx'; did you mean 'x'", id="an unknown input"),
    ],
)
def test_refuses_to_connect(lab: Lab, connect: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        concat(lab.model(FIRST), lab.model(SECOND), connect, prefixes=("", "b/"))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        pytest.param(
            "int64[M, 4] x", "'y' does not fit input 'x': it is float, .* int64", id="dtype"
        ),
        pytest.param("float[M, 5] x", r"it is \[N,4\], the input \[M,5\]", id="another size"),
        pytest.param("float[M, 4, 1] x", r"the input \[M,4,1\]", id="another rank"),
    ],
)
def test_refuses_misfits(lab: Lab, declared: str, message: str) -> None:
    second = lab.model(f"h ({declared}) => (float[P] r) {{ s = Shape(x) r = Cast <to = 1> (s) }}")
    with pytest.raises(UsageError, match=message):
        concat(lab.model(FIRST), second, {"x": "y"}, prefixes=("", "b/"))


def test_refuses_one_symbol_for_two_sizes(lab: Lab) -> None:
    first = lab.model(
        "g (float[2] x, float[3] z) => (float[2] y, float[3] u) {y = Neg(x) u = Abs(z)}"
    )
    second = lab.model("h (float[K] p, float[K] q) => (float[K] r) { r = Add(p, q) }")
    with pytest.raises(UsageError, match="dimension 'K' of the second model would be 2 and 3"):
        concat(first, second, {"p": "y", "q": "u"})


def test_refuses_a_name_in_both_and_a_function_of_another_meaning(lab: Lab) -> None:
    with pytest.raises(UsageError, match="both models have a tensor or node 'w'; give a prefix"):
        concat(lab.model(FIRST), lab.model(SECOND), {"x": "y"})
    text = """g (float[2] {0}) => (float[2] {1}) {{ {1} = own.f({0}) }}
    <domain: "own", opset_import: ["": 16]> f (a) => (b) {{ b = {2}(a) }}"""
    one, other, same = (
        lab.model(text.format(*words), domains=', "own": 1')
        for words in (("x", "y", "Neg"), ("p", "q", "Abs"), ("p", "q", "Neg"))
    )
    with pytest.raises(UsageError, match="both models define a function 'f'"):
        concat(one, other, {"p": "y"})
    assert check_joined(concat(one, same, {"p": "y"})).ok


def test_refuses_what_leaves_no_valid_model(lab: Lab) -> None:
    second = lab.model(
        "h (float[M, K] q) => (float[M, 2] r) <float[3, 2] k = {1, 2, 3, 4, 5, 6}>"
        "{ r = MatMul(q, k) }"
    )
    with pytest.raises(CheckError, match=r"no valid model: onnx\.checker: .*MatMul"):
        concat(lab.model(FIRST), second, {"q": "y"})


def test_the_check_sees_a_wrong_joint(lab: Lab) -> None:
    joined = concat(lab.model(FIRST), lab.model(SECOND), {"x": "y"}, prefixes=("", "b/"))
    relu = next(node for node in joined.model.graph if node.op_type == "Relu")
    relu.replace_input_with(0, joined.model.graph.inputs[0])
    assert check_joined(joined).reason.startswith("output 'b/y': ")
