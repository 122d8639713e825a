from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.surgery.extract import check_extracted, extract

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

MODEL = """
g (float[N, 4] x, float[N, 4] z) => (float[N, 4] y, float[N, 2] u)
<float[4] w = {1, 2, 3, 4}, float[4, 2] m = {1, -1, 2, -2, 0.5, 3, 0.1, 4}, float[N, 4] a> {
    a = Add(x, w)
    b = Relu(a)
    c = Mul(b, z)
    y = Neg(c)
    u = MatMul(b, m)
}
"""
BRANCH = """
g (float[N, 3] x, bool c) => (float[N, 3] y) <float[3] w = {1, 2, 3}> {
    a = Neg(x)
    b = If (c) <then_branch = t () => (float[N, 3] p) { p = Mul(a, w) },
                else_branch = e () => (float[N, 3] q) { q = Abs(x) }>
    y = Relu(b)
}
"""


def signature(piece: ir.Model) -> str:
    sides = (piece.graph.inputs, piece.graph.outputs)
    texts = [", ".join(f"{v.name} {v.dtype} {v.shape}" for v in side) for side in sides]
    return " -> ".join(texts)


@pytest.mark.parametrize(
    ("inputs", "outputs", "operators", "found"),
    [
        pytest.param(["a"], ["u"], ["Relu", "MatMul"], "a FLOAT [N,4] -> u FLOAT [N,2]", id="both"),
        pytest.param([], ["b"], ["Add", "Relu"], "x FLOAT [N,4] -> b FLOAT [N,4]", id="the head"),
        pytest.param(
            ["b", "z"],
            [],
            ["Mul", "Neg", "MatMul"],
            "b FLOAT [N,4], z FLOAT [N,4] -> y FLOAT [N,4], u FLOAT [N,2]",
            id="the tail",
        ),
        pytest.param(
            ["z", "x"],
            ["c", "u"],
            ["Add", "Relu", "Mul", "MatMul"],
            "z FLOAT [N,4], x FLOAT [N,4] -> c FLOAT [N,4], u FLOAT [N,2]",
            id="graph inputs in another order, an inner tensor and an output",
        ),
    ],
)
def test_cuts(
    lab: Lab, inputs: list[str], outputs: list[str], operators: list[str], found: str
) -> None:
    model = lab.model(MODEL)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    piece = extract(model, inputs, outputs)
    assert lab.ops(piece) == operators
    assert signature(piece) == found
    assert piece.opset_imports == {"": 16}
    lab.check(piece)
    agreement = check_extracted(model, piece)
    assert agreement.ok, agreement.reason
    assert list(agreement.differences) == [value.name for value in piece.graph.outputs]
    assert all(difference.same_bits for difference in agreement.differences.values())
    assert "x float32 [2, 4], z float32 [2, 4] | x float32 [3, 4]" in agreement.feeds
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_cuts_around_a_branch_that_reads_tensors_from_outside(lab: Lab) -> None:
    model = lab.model(BRANCH)
    piece = extract(model, ["a", "x", "c"], ["b"])
    assert lab.ops(piece) == ["If"]
    assert lab.initializers(piece) == ["w"]
    lab.check(piece)
    assert check_extracted(model, piece).ok
    with pytest.raises(UsageError, match="need graph input 'x' too"):
        extract(model, ["a", "c"], ["b"])


def test_keeps_functions_and_what_says_where_the_model_comes_from(lab: Lab) -> None:
    text = """g (float[2] x) => (float[2] y) { h = own.twice(x) y = Neg(h) }
    <domain: "own", opset_import: ["": 16]> twice (a) => (b) { b = Add(a, a) }"""
    model = lab.model(text, domains=', "own": 1')
    model.producer_name = "exporter"
    model.metadata_props["key"] = "value"
    piece = extract(model, [], ["h"])
    assert check_extracted(model, piece).ok
    assert (piece.producer_name, piece.metadata_props) == ("exporter", {"key": "value"})


def test_the_check_sees_a_wrong_piece(lab: Lab) -> None:
    model = lab.model(MODEL)
    piece = extract(model, ["a"], ["u"])
    tensor = ir.Tensor(np.ones((4, 2), np.float32), name="m")
    piece.graph.initializers["m"].const_value = tensor
    agreement = check_extracted(model, piece)
    assert not agreement.ok
    assert agreement.reason.startswith("output 'u': ")
    assert "elements differ" in agreement.reason


def test_the_check_takes_feeds_and_sizes_of_the_whole_model(lab: Lab) -> None:
    model = lab.model(MODEL)
    piece = extract(model, ["a"], ["u"])
    assert check_extracted(model, piece, shapes={"x": (5, 4)}).differences["u"].size == 10
    feeds = {name: np.ones((7, 4), np.float32) for name in "xz"}
    assert check_extracted(model, piece, feeds).differences["u"].size == 14
    with pytest.raises(UsageError, match="feeds lack input 'x'"):
        check_extracted(model, piece, {})


def test_a_comparison_of_nothing_is_no_agreement(lab: Lab) -> None:
    model = lab.model(MODEL)
    piece = extract(model, ["a"], ["u"])
    agreement = check_extracted(model, piece, {n: np.ones((0, 4), np.float32) for n in "xz"})
    assert "no elements, so nothing was compared" in agreement.reason


def test_a_sequence_is_no_agreement(lab: Lab) -> None:
    text = "g (float[2] x) => (float[2] y) { s = SequenceConstruct(x, x) y = ConcatFromSequence"
    model = lab.model(text + " <axis = 0> (s) }".replace("(float[2] y)", "(float[4] y)"))
    piece = extract(model, [], ["s"])
    assert "is a sequence, which is not compared" in check_extracted(model, piece).reason


def test_float16_may_round_where_the_cut_is(lab: Lab) -> None:
    text = """g (float16[64] x) => (float16[64] y) {
        a = Exp(x) b = Mul(a, a) c = Sqrt(b) y = Tanh(c) }"""
    model = lab.model(text)
    assert check_extracted(model, extract(model, ["a"], ["y"])).ok


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        pytest.param(["aa"], ["y"], "no tensor 'aa'; did you mean 'a'", id="an unknown input"),
        pytest.param([], ["nope_at_all"], "no tensor 'nope_at_all'", id="an unknown output"),
        pytest.param(["a"], ["c"], "need graph input 'z' too; add it", id="an input that lacks"),
        pytest.param(["a", "x", "z"], ["c"], "no output needs input 'x'", id="one that is idle"),
        pytest.param(["b", "z"], ["b"], "input and output at once", id="an input as output"),
        pytest.param(["w"], ["a"], "'w': it is a constant", id="a constant as input"),
        pytest.param([], ["w"], "'w': it is a constant", id="a constant as output"),
        pytest.param([], ["x"], "'x': it is an input of the graph", id="a graph input as output"),
    ],
)
def test_refuses(lab: Lab, inputs: list[str], outputs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extract(lab.model(MODEL), inputs, outputs)


def test_refuses_a_tensor_whose_type_nothing_tells(lab: Lab) -> None:
    text = "g (float[2] x) => (float[2] y) { a = own.Op(x) y = own.Op(a) }"
    model = lab.model(text, domains=', "own": 1')
    with pytest.raises(UsageError, match="the type of 'a' is not known"):
        extract(model, ["a"], ["y"])
    piece = extract(model, ["x"], ["y"])
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        check_extracted(model, piece)
