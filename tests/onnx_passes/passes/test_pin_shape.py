from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.core.bisect import bisect
from onnx_passes.core.contract import UsageError
from onnx_passes.core.manager import Settings
from onnx_passes.core.passlist import parse
from onnx_passes.passes.pin_shape import PinShape
from onnx_passes.report.comparison import compare_models

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import PassResult
    from tests.onnx_passes.conftest import Lab

# Symbols of their own for outputs, no recorded shape for h, a Shape that reads the batch.
MODEL = """
g (float[N, 4, 5] x, float[N, M] z) => (float[D1, 20] y, float[D2] w)
<float[N, 20] flat, int64[2] target = {0, -1}, int64[2] axes = {1, 2}, int64[1] zero = {0},
 int64[1] one = {1}> {
    flat = Reshape(x, target)
    h = Relu(flat)
    y = Neg(h)
    a = ReduceSum <keepdims = 0> (x, axes)
    b = ReduceSum <keepdims = 0> (z, one)
    i = Identity(a)
    c = Add(i, b)
    shape = Shape(z)
    size = Gather(shape, zero)
    rows = Cast <to = 1> (size)
    w = Mul(c, rows)
}
"""
BRANCH = """
g (float[N, 3] x, bool c) => (float[N, 3] y) {
    y = If (c) <then_branch = t () => (float[N, 3] p) { p = Neg(x) },
                else_branch = e () => (float[N, 3] q) { q = Abs(x) }>
}
"""


def shapes(model: ir.Model) -> dict[str | None, str]:
    made = (value for node in model.graph.all_nodes() for value in node.outputs)
    return {value.name: str(value.shape) for value in (*model.graph.inputs, *made)}


def pinned(lab: Lab, model: ir.Model, text: str) -> PassResult:
    """Pin, and check that only shapes change, and that a second run changes nothing."""
    operators, names = lab.ops(model), lab.initializers(model)
    result = PinShape(shapes=text).run(model)
    lab.check(model)
    assert (lab.ops(model), lab.initializers(model)) == (operators, names)
    once = shapes(model)
    assert PinShape(shapes=text).run(model).rewritten == []
    assert shapes(model) == once
    return result


def test_rewrites_every_shape_that_follows_from_the_size(lab: Lab) -> None:
    model = lab.model(MODEL)
    result = pinned(lab, model, "x=8,4,5")
    found = shapes(model)
    assert {name: found[name] for name in ("x", "flat", "h", "y", "w", "size")} == {
        **{"x": "[8,4,5]", "flat": "[8,20]", "h": "[8,20]", "y": "[8,20]"},
        **{"w": "[8]", "size": "[1]"},
    }
    assert found["z"] == "[8,M]"
    assert all(value.type is not None for node in model.graph for value in node.outputs)
    assert lab.reasons(result.rewritten) == {
        "input 'x'": "[N,4,5] is [8,4,5]",
        "input 'z'": "[N,M] is [8,M]",
    }
    assert result.skipped == []


def test_rewrites_two_inputs_at_once(lab: Lab) -> None:
    model = lab.model(MODEL)
    pinned(lab, model, "x=8,4,5; z=8,3")
    assert shapes(model)["z"] == "[8,3]"


@pytest.mark.parametrize("dims", ["[?, 3]", "[]"], ids=["without a symbol", "of unknown rank"])
def test_rewrites_an_input(lab: Lab, dims: str) -> None:
    model = lab.model(f"g (float{dims} x) => (float[P, Q] y) {{ h = Neg(x) y = Abs(h) }}")
    pinned(lab, model, "x=2,3")
    assert shapes(model) == {"x": "[2,3]", "h": "[2,3]", "y": "[2,3]"}


def test_rewrites_sub_graphs(lab: Lab) -> None:
    model = lab.model(BRANCH)
    pinned(lab, model, "x=2,3")
    assert shapes(model) == {"x": "[2,3]", "c": "[]", "y": "[2,3]", "p": "[2,3]", "q": "[2,3]"}


def test_rewrites_an_input_whose_name_holds_an_equals_sign(lab: Lab) -> None:
    model = lab.model("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    model.graph.inputs[0].name = "in=1"
    pinned(lab, model, "in=1=4")
    assert shapes(model) == {"in=1": "[4]", "y": "[4]"}


def test_refuses_nothing_but_says_that_it_has_nothing_to_do(lab: Lab) -> None:
    model = lab.model(MODEL)
    before = shapes(model)
    result = PinShape().run(model)
    assert shapes(model) == before
    assert "no sizes are given" in lab.reasons(result.skipped)["model"]


def test_refuses_to_guess_sizes_that_depend_on_data_and_bodies_of_functions(lab: Lab) -> None:
    text = """g (float[N] x) => (int64[1, K] n) { h = own.twice(x) n = NonZero(h) }
    <domain: "own", opset_import: ["": 16]> twice (a) => (b) { b = Add(a, a) }"""
    model = lab.model(text, domains=', "own": 1')
    body = next(iter(model.functions.values()))
    pinned(lab, model, "x=4")
    assert shapes(model)["n"] == "[1,K]"
    assert [value.shape for node in body for value in node.outputs] == [None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("xx=8,4,5", "no input 'xx'; did you mean 'x'", id="an unknown input"),
        pytest.param("x=8,4", "it has 3 dimensions", id="another rank"),
        pytest.param("x=8,4,6", r"is \[N,4,5\], not \[8, 4, 6\]: 5 is fixed", id="a fixed size"),
        pytest.param("x=8,4,5;z=9,3", "N is 8 and 9", id="two sizes for a symbol"),
    ],
)
def test_refuses_sizes_that_do_not_fit(lab: Lab, text: str, message: str) -> None:
    model = lab.model(MODEL)
    before = shapes(model)
    with pytest.raises(UsageError, match=message):
        PinShape(shapes=text).run(model)
    assert shapes(model) == before
    with pytest.raises(UsageError, match=message):
        optimize(model, [PinShape(shapes=text)], on_fail="undo")


@pytest.mark.parametrize(
    "text", ["x", "x=", "x=0,1", "x=-1", "x=1,", "=1", "x=1;x=2", "x=1;;y=2", "x=a"]
)
def test_refuses_a_text_that_is_no_shape(text: str) -> None:
    with pytest.raises(UsageError, match=r"refuses its options: shapes: .* \(as in x=8,3,32,100"):
        parse(f'pin-shape{{shapes="{text}"}}')


def test_numerics_are_compared_at_the_pinned_sizes_and_so_are_later_passes(lab: Lab) -> None:
    model = lab.model(MODEL)
    outcome = optimize(
        model, 'pin-shape{shapes="x=8,4,5"},drop-identity,pin-shape{shapes="z=8,3"},drop-unused'
    )
    assert [step.verdict for step in outcome.steps] == ["passed", "passed", "passed", "unchanged"]
    assert all(step.bit_equal for step in outcome.steps[:3])
    assert "x float32 [8, 4, 5], z float32 [8, 3]" in outcome.feeds


def test_numerics_show_a_model_that_only_works_at_another_size(lab: Lab) -> None:
    text = """g (float[N, 6] x) => (float[3, P] y) <int64[2] target = {3, 4}>
    { h = Reshape(x, target) y = Neg(h) }"""
    with pytest.raises(UsageError, match=r"does not run on x float32 \[3, 6\]"):
        optimize(lab.model(text), 'pin-shape{shapes="x=3,6"}')
    assert optimize(lab.model(text), 'pin-shape{shapes="x=2,6"}').ok


def test_given_feeds_must_have_the_pinned_sizes(lab: Lab) -> None:
    feeds = {"x": np.ones((2, 4, 5), np.float32), "z": np.ones((2, 3), np.float32)}
    with pytest.raises(UsageError, match=r"input 'x' is \[8, 4, 5\], got \[2, 4, 5\]"):
        optimize(lab.model(MODEL), 'pin-shape{shapes="x=8,4,5"}', feeds=feeds)


def test_the_interface_keeps_its_names_and_types(lab: Lab) -> None:
    model = lab.model(MODEL)
    before = [(value.name, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    pinned(lab, model, "x=8,4,5;z=8,3")
    after = [(value.name, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    assert after == before


def test_bisect_runs_past_it(lab: Lab) -> None:
    items = parse('pin-shape{shapes="x=8,4,5"},drop-identity')
    assert bisect(lab.model(MODEL), items, Settings()) is None


def test_the_report_feeds_both_models_with_the_pinned_sizes(lab: Lab) -> None:
    model = lab.model(MODEL)
    outcome = optimize(model, 'pin-shape{shapes="x=8,4,5"}')
    comparison = compare_models(model, outcome.model)
    assert comparison.problem == ""
    assert "x float32 [8, 4, 5], z float32 [8, 32]" in comparison.feeds
