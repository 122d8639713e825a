from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes.numerics import compare
from onnx_passes.passes.tie_batch import TieBatch

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import PassResult
    from tests.onnx_passes.conftest import Lab

MODEL = """
g (float[D0, 4, 5] x) => (float[D1, 20] y, float[D1] z) <float[D1, 20] flat, float[M, 2] other,
int64[2] target = {0, -1}, int64[2] axes = {1, 2}> {
    flat = Reshape(x, target)
    y = Relu(flat)
    z = ReduceSum <keepdims = 0> (x, axes)
}
"""


def shapes(model: ir.Model) -> dict[str | None, str]:
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return {value.name: str(value.shape) for value in values}


def tied(lab: Lab, model: ir.Model, symbol: str = "N") -> PassResult:
    """Tie, and check that a second run changes nothing and that the outputs stay."""
    before = lab.outputs(model)
    signature = [(value.name, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    result = TieBatch(symbol=symbol).run(model)
    lab.check(model)
    once = shapes(model)
    assert TieBatch(symbol=symbol).run(model).rewritten == []
    assert shapes(model) == once
    after = [(value.name, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    assert after == signature
    for name, array in lab.outputs(model).items():
        assert compare.same_bits(array, before[name])
    return result


def test_rewrites_inputs_outputs_and_what_used_the_old_symbols(lab: Lab) -> None:
    model = lab.model(MODEL)
    result = tied(lab, model)
    assert shapes(model) == {"x": "[N,4,5]", "flat": "[N,20]", "y": "[N,20]", "z": "[N]"}
    assert lab.reasons(result.rewritten) == {
        "input 'x'": "its first dimension D0 is N",
        "output 'y'": "its first dimension D1 is N",
    }
    assert result.skipped == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("?", "?", id="without names"),
        pytest.param("N", "?", id="an input that has it already"),
        pytest.param("batch", "batch", id="one old symbol"),
    ],
)
def test_rewrites(lab: Lab, first: str, second: str) -> None:
    text = f"g (float[{first}, 3] x) => (float[{second}, 3] y) {{ h = Neg(x) y = Abs(h) }}"
    model = lab.model(text)
    tied(lab, model)
    assert shapes(model) == {"x": "[N,3]", "h": "None", "y": "[N,3]"}


def test_rewrites_with_another_symbol_and_beside_a_scalar(lab: Lab) -> None:
    model = lab.model(
        "g (float[b, 3] x, float s, float[b, 3] w) => (float[c, 3] y)"
        "{ h = Mul(x, s) y = Add(h, w) }"
    )
    tied(lab, model, symbol="batch")
    assert shapes(model)["w"] == shapes(model)["y"] == "[batch,3]"


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        pytest.param("float[2, 3] x", "the first dimension of input 'x' is 2", id="a fixed size"),
        pytest.param("float[N, 3] x, float[3] w", "input 'w' is 3", id="one fixed size of two"),
        pytest.param("float[] x", "has no shape", id="an unknown rank"),
        pytest.param("float x", "no input has a dimension", id="scalars only"),
        pytest.param("float[a, 3] x, float[b, 3] w", "x [a, ...], w [b, ...]", id="two symbols"),
        pytest.param("float[?, 3] x, float[?, 3] w", "x [?, ...], w [?, ...]", id="no symbols"),
        pytest.param("float[b, N] x", "'N' names a dimension of 'x'", id="a symbol that is taken"),
    ],
)
def test_refuses_models_with(lab: Lab, inputs: str, reason: str) -> None:
    model = lab.model(f"g ({inputs}) => (float[P, Q] y) {{ y = Neg(x) }}")
    before = shapes(model)
    result = TieBatch().run(model)
    assert shapes(model) == before
    assert result.rewritten == []
    assert reason in lab.reasons(result.skipped)["model"]


def test_refuses_a_symbol_that_an_output_uses_for_something_else(lab: Lab) -> None:
    model = lab.model("g (float[b, 3] x) => (int64[2, N] y) { y = NonZero(x) }")
    result = TieBatch().run(model)
    assert "'N' names a dimension of 'y'" in lab.reasons(result.skipped)["model"]


@pytest.mark.parametrize(
    ("output", "body", "reason"),
    [
        pytest.param("int64[P, 2] y", "n = NonZero(x) y = Transpose(n)", "no proof", id="a count"),
        pytest.param(
            "float[P, 3] y", "y = Concat <axis = 0> (x, x)", "no proof", id="twice the batch"
        ),
        pytest.param("float[3, P] y", "y = Transpose(x)", "no dynamic first", id="a fixed size"),
        pytest.param("float y", "y = ReduceSum <keepdims = 0> (x)", "no dynamic first", id="none"),
    ],
)
def test_refuses_an_output_that_starts_with(lab: Lab, output: str, body: str, reason: str) -> None:
    model = lab.model(f"g (float[b, 3] x) => ({output}) {{ {body} }}")
    before = shapes(model)["y"]
    result = tied(lab, model)
    assert shapes(model)["y"] == before
    assert shapes(model)["x"] == "[N,3]"
    assert reason in lab.reasons(result.skipped)["output 'y'"]


def test_a_wrong_claim_about_an_output_is_not_believed(lab: Lab) -> None:
    model = lab.model(
        "g (float[b, 3] x) => (float[c, 3] y) <float[b, 3] h>"
        "{ h = Concat <axis = 0> (x, x) y = Neg(h) }"
    )
    result = TieBatch().run(model)
    assert "no proof" in lab.reasons(result.skipped)["output 'y'"]


def test_numerics_hold_at_several_sizes_of_the_batch(lab: Lab) -> None:
    model = lab.model(MODEL)
    original = model.clone()
    TieBatch().run(model)
    for size in (1, 3, 7):
        feeds = {"x": np.arange(size * 20, dtype=np.float32).reshape(size, 4, 5)}
        before = lab.outputs(original, feeds)
        for name, array in lab.outputs(model, feeds).items():
            assert array.shape[0] == size
            assert compare.same_bits(array, before[name])


def test_keeps_an_initializer_that_is_a_graph_input_out_of_it(lab: Lab) -> None:
    model = lab.model(
        "g (float[b, 3] x, float[3] w) => (float[b, 3] y) <float[3] w = {1, 2, 3}>{ y = Add(x, w) }"
    )
    result = TieBatch().run(model)
    assert list(lab.reasons(result.rewritten)) == ["input 'x'"]
    assert shapes(model) == {"x": "[N,3]", "w": "[3]", "y": "[N,3]"}
