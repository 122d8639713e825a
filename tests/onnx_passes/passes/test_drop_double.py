from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.numerics.feeds import generate
from onnx_passes.passes.drop_double import DropDouble

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

EPS = float(np.finfo(np.float32).eps)
PLAIN = """
    g (double[2, 3] x) => (double[2, 3] y) <double[3] w = {0.1, 0.2, 0.3}> {
        c = Constant <value = double {0.7}> ()
        h = Mul(x, w)
        y = Add(h, c)
    }
"""


def doubles(model: ir.Model) -> list[str]:
    """Return the names of all float64 values."""
    found = []
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values()]
        values += [value for node in graph for value in node.outputs]
        found += [value.name or "" for value in values if value.dtype == ir.DataType.DOUBLE]
    return sorted(found)


def close(lab: Lab, model: ir.Model, peak: float = 4.0) -> None:
    """Run the pass; the outputs must move by rounding, in type float64 as before."""
    feeds = generate(model)
    before = lab.outputs(model, feeds)
    assert len(lab.apply(DropDouble(), model).rewritten) == 1
    after = lab.outputs(model, feeds)
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        np.testing.assert_allclose(after[name], array, rtol=0, atol=8 * EPS * peak)


def test_rewrites_all_but_the_interface(lab: Lab) -> None:
    model = lab.model(PLAIN)
    close(lab, model)
    assert lab.ops(model) == ["Cast", "Constant", "Mul", "Add", "Cast"]
    assert doubles(model) == ["x", "y"]


def test_does_compute_in_float32(lab: Lab) -> None:
    model = lab.model("g (double[1] x) => (double[1] y) { y = Mul(x, x) }")
    DropDouble().run(model)
    third = np.array([1 / 3])
    expected = (np.float32(1 / 3) * np.float32(1 / 3)).astype(np.float64)
    np.testing.assert_array_equal(lab.outputs(model, {"x": third})["y"], [expected])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "g (float[3] x) => (float[3] y) <double[3] w = {1, 2, 3}> "
            "{ a = Cast <to = 11> (x) b = Add(a, w) y = Cast <to = 1> (b) }",
            id="a stretch between Casts",
        ),
        pytest.param(
            "g (double[3] x, bool q) => (double[3] y) { y = If (q) <then_branch = t () => "
            "(double[3] p) { p = Neg(x) }, else_branch = e () => (double[3] o) "
            "{ c = Constant <value = double[3] {1, 2, 3}> () o = Add(x, c) }> }",
            id="branches",
        ),
        pytest.param(
            "g (double[3] x) => (double[3] y, double[3] z) { y = Neg(x) z = Abs(y) }",
            id="an output that is read",
        ),
        pytest.param(
            "g (int64[1] n) => (double[3] y) <int64[1] s = {3}> { c = ConstantOfShape "
            "<value = double[1] {0.5}> (s) f = Cast <to = 11> (n) y = Mul(c, f) }",
            id="a fill",
        ),
        pytest.param(
            "g (float[3, 3] x) => (double[3, 3] y) { e = EyeLike <dtype = 11> (x) y = Neg(e) }",
            id="a type that a node names",
        ),
    ],
)
def test_rewrites(lab: Lab, text: str) -> None:
    model = lab.model(text)
    close(lab, model, 100)
    assert set(doubles(model)) <= {"x", "y", "z"}


def test_rewrites_functions(lab: Lab) -> None:
    text = """
        g (double[2] x) => (double[2] y) { y = f.shift(x) }
        <domain: "f", opset_import: ["": 16]>
        shift (u) => (v) { c = Constant <value = double {0.3}> () v = Add(u, c) }
    """
    close(lab, lab.model(text, domains=', "f": 1'))


def test_keeps_an_input_with_a_default_value(lab: Lab) -> None:
    model = lab.model(
        "g (double[3] x, double[3] w) => (double[3] y) <double[3] w = {1, 2, 3}> { y = Mul(x, w) }"
    )
    close(lab, model)
    assert doubles(model) == ["w", "w", "x", "y"]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        pytest.param(
            "g (double[3] x) => (double[3] y) { h = Neg(x) y = my.Thing(h) }",
            {"Thing -> 'y'": "an operator of domain 'my' reads or makes float64"},
            id="an operator of another domain",
        ),
        pytest.param(
            "g (double[1] x) => (double[1] y) <double[1] w = {1e300}> { y = Mul(x, w) }",
            {"initializer 'w'": "it holds a number beyond the range of float32"},
            id="a large weight",
        ),
        pytest.param(
            "g (double x) => (double y) { c = Constant <value = double {1e39}> () y = Mul(x, c) }",
            {"Constant -> 'c'": "it holds a number beyond the range of float32"},
            id="a large Constant",
        ),
        pytest.param(
            "g (double[3] x) => (double[3] y) <int64 i = {0}> "
            "{ s = SequenceConstruct(x) y = SequenceAt(s, i) }",
            {
                "SequenceConstruct -> 's'": "a sequence or an optional of float64",
                "SequenceAt -> 'y'": "a sequence or an optional of float64",
            },
            id="a sequence",
        ),
        pytest.param(
            "g (double[1] x) => (double[1] y, double[1] w) <double[1] w = {1}> { y = Mul(x, w) }",
            {"initializer 'w'": "it is a graph output"},
            id="a weight that is a graph output",
        ),
    ],
)
def test_leaves_alone_the_whole_model(lab: Lab, text: str, notes: dict[str, str]) -> None:
    model = lab.model(text, domains=', "my": 1')
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = DropDouble().run(model)
    assert lab.reasons(result.skipped) == notes
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_leaves_alone_a_type_of_the_caller(lab: Lab) -> None:
    text = """
        g (float[2] x) => (double[2] y) { h = f.cast <kind = 11> (x) y = Neg(h) }
        <domain: "f", opset_import: ["": 16]>
        cast <kind> (u) => (v) { v = Cast <to: int = @kind> (u) }
    """
    model = lab.model(text, domains=', "f": 1')
    result = DropDouble().run(model)
    assert lab.reasons(result.skipped) == {
        "Cast -> 'v'": "the caller of the function sets its type"
    }


def test_leaves_alone_a_model_without_float64(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Neg(x) }")
    result = lab.apply(DropDouble(), model)
    assert (result.rewritten, result.skipped) == ([], [])


def test_a_cast_that_a_branch_reads_stays_readable(lab: Lab) -> None:
    model = lab.model("""
        g (float[1] x, bool c) => (double[1] y) {
            a = Cast <to = 11> (x)
            y = If (c) <then_branch = t () => (double[1] p) { p = Identity(a) },
                        else_branch = e () => (double[1] q) { q = Neg(a) }>
        }""")
    DropDouble().run(model)
    lab.check(model)
    feeds = {"x": np.array([2], np.float32), "c": np.array(True)}
    assert lab.outputs(model, feeds)["y"].tolist() == [2]


def test_a_cast_of_what_has_no_recorded_type_stays_readable_in_a_branch(lab: Lab) -> None:
    model = lab.model("""
        g (float[1] x, bool c) => (float[1] y) {
            b = Exp(x)
            d = Cast <to = 11> (b)
            y = If (c) <then_branch = t () => (float[1] p) { p = Identity(b) },
                        else_branch = e () => (float[1] q) { q = Neg(b) }>
        }""")
    DropDouble().run(model)
    assert lab.ops(model)[:3] == ["Exp", "Identity", "If"]
    feeds = {"x": np.array([0], np.float32), "c": np.array(True)}
    assert lab.outputs(model, feeds)["y"].tolist() == [1]


def test_refuses_a_default_beyond_float32(lab: Lab) -> None:
    model = lab.model("""
        g (double[1] x, double[1] w) => (double[1] y) <double[1] w = {1e300}> { y = Mul(x, w) }""")
    result = lab.apply(DropDouble(), model)
    assert "beyond the range" in lab.reasons(result.skipped)["initializer 'w'"]
