from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.passes.infer_shapes import InferShapes
from onnx_passes.passes.split_qkv_matmul import SplitQkvMatmul

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
INDICES = "int64 zero = {0}, int64 one = {1}, int64 two = {2}"
TEXT = f"""
g (float[N, 5, 6] x, float[6, 24] w, float[24] b)
=> (float[N, 2, 5, 4] q, float[N, 2, 5, 4] k, float[N, 2, 5, 4] v)
<int64[5] s = {{0, 5, 3, 2, 4}}, {INDICES}> {{
    h = MatMul(x, w)
    i = Add(h, b)
    r = Reshape(i, s)
    t = Transpose <perm = [2, 0, 3, 1, 4]> (r)
    k = Gather(t, one)
    q = Gather(t, zero)
    v = Gather(t, two)
}}
"""
BRANCH = ["MatMul", "Add", "Reshape", "Transpose"]


def weighted(lab: Lab, text: str, opset: int = 16) -> ir.Model:
    """Parse a model and make random constants of w, b and c."""
    model = lab.model(text, opset=opset)
    rng = np.random.default_rng(0)
    given = {}
    for value in model.graph.inputs:
        if value.name in {"w", "b", "c"} and value.shape is not None:
            given[value.name] = rng.standard_normal(value.shape.numpy()).astype(np.float32)
    return lab.bind(model, given)


def magnitudes(model: ir.Model) -> ir.Model:
    """Return a model that computes S of the docstring when it is fed |x|."""
    copy = model.clone()
    for name in {"w", "b", "c"} & set(copy.graph.initializers):
        value = copy.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.Tensor(np.abs(value.const_value.numpy()), name=name)
    return copy


def assert_within_the_bound(lab: Lab, model: ir.Model, x: Array | None = None) -> None:
    """Split and compare with onnxruntime and onnx.reference on the model before."""
    if x is None:
        x = np.random.default_rng(1).standard_normal((2, 5, 6)).astype(np.float32)
    sizes = lab.outputs(magnitudes(model), {"x": np.abs(x)})
    factor = x.shape[-1] + lab.ops(model).count("Add") + 1
    before = lab.outputs(model, {"x": x})
    reference = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert lab.apply(SplitQkvMatmul(), model).rewritten
    after = lab.outputs(model, {"x": x})
    for (name, array), other in zip(before.items(), reference, strict=True):
        bound = factor * np.finfo(np.float32).eps * sizes[name].astype(np.float64)
        for expected in (array, other):
            assert after[name].shape == expected.shape
            gap = np.abs(after[name].astype(np.float64) - expected)
            assert (gap <= bound).all(), f"{(gap / bound).max():.2f} times the bound"


def test_rewrites_to_three_branches(lab: Lab) -> None:
    model = weighted(lab, TEXT)
    result = lab.apply(SplitQkvMatmul(), model)
    assert lab.ops(model) == BRANCH * 3
    assert lab.reasons(result.rewritten) == {"MatMul -> 'h'": "3 products"}
    assert not {"w", "b", "s", "zero", "one", "two"} & set(lab.initializers(model))


def test_rewrites_two_in_a_row_and_without_recorded_shapes(lab: Lab) -> None:
    second = TEXT[TEXT.index("h = ") : TEXT.index("}\n")]
    for name in "hirtkqv":
        second = second.replace(f"{name} = ", f"{name}{name} = ")
    for old, new in (("h, b", "hh, b"), ("i, s", "ii, s"), ("(r)", "(rr)"), ("(t, ", "(tt, ")):
        second = second.replace(old, new)
    text = TEXT.replace("=> (", "=> (float[N, 2, 5, 4] qq, ").replace(
        "    h = ", f"{second}    h = "
    )
    model = weighted(lab, text)
    assert len(lab.apply(SplitQkvMatmul(), model).rewritten) == 2


def test_a_matrix_with_another_reader_stays(lab: Lab) -> None:
    text = TEXT.replace("=> (", "=> (float[6, 24] z, ").replace("h = ", "z = Neg(w) h = ")
    model = weighted(lab, text)
    lab.apply(SplitQkvMatmul(), model)
    assert "w" in lab.initializers(model)


def test_rewrites_inside_a_branch_and_a_function(lab: Lab) -> None:
    body = """
        h = MatMul(x, w)
        r = Reshape(h, s)
        t = Transpose <perm = [1, 0, 2]> (r)
        a = Gather(t, zero)
        b = Gather(t, one)
    """
    model = lab.model(
        f"""g (float[1, 2] x, bool c) => (float[1, 1] y)
        <float[2, 2] w = {{1, 2, 3, 4}}, int64[3] s = {{1, 2, 1}}, {INDICES}> {{
            y = If (c) <
                then_branch = yes () => (float[1, 1] p) {{ {body} p = Add(a, b) }},
                else_branch = no () => (float[1, 1] q) {{ q = f.f(x) }}
            >
        }}
        <domain: "f", opset_import: ["": 16]>
        f (x) => (p) {{
            w = Constant <value = float[2, 2] {{1, 2, 3, 4}}> ()
            s = Constant <value = int64[3] {{1, 2, 1}}> ()
            zero = Constant <value = int64 {{0}}> ()
            one = Constant <value = int64 {{1}}> ()
            {body} p = Sub(a, b)
        }}""",
        domains=', "f": 1',
    )
    x = np.array([[1, 10]], np.float32)
    assert len(lab.exact(SplitQkvMatmul(), model, {"x": x, "c": np.array(True)}).rewritten) == 2
    assert lab.outputs(model, {"x": x, "c": np.array(False)})["y"] == -11
    assert lab.all_ops(model).count("MatMul") == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            TEXT.replace("=> (", "=> (float[N, 5, 24] i, "),
            "'i' is a graph output or has another reader",
            id="a value on the way that is a graph output",
        ),
        pytest.param(
            TEXT.replace("=> (", "=> (float[N, 5, 24] z, ").replace("r = ", "z = Neg(h) r = "),
            "'h' is a graph output or has another reader",
            id="a value on the way with another reader",
        ),
        pytest.param(
            TEXT.replace("=> (", "=> (float[3, N, 2, 5, 4] t, "),
            "'t' is a graph output",
            id="a transpose that is a graph output",
        ),
        pytest.param(
            TEXT.replace("=> (", "=> (float[3, N, 2, 5, 4] z, ").replace("q = ", "z = Neg(t) q = "),
            "'t' is read by Neg -> 'z', which takes no piece of it",
            id="a transpose that another node reads",
        ),
        pytest.param(
            TEXT.replace("float[N, 2, 5, 4] v)", "float[3, 2, 5, 4] v)").replace(
                "v = Gather", "v = Gather <axis = 1> "
            ),
            "Gathers along the axes [0, 1]",
            id="Gathers along two axes",
        ),
        pytest.param(
            TEXT.replace("int64 two = {2}", "int64[1] two = {2}").replace(
                "[N, 2, 5, 4] v", "[1, N, 2, 5, 4] v"
            ),
            "the index of Gather -> 'v' is no constant scalar",
            id="an index that is a list",
        ),
        pytest.param(
            TEXT.replace(", int64 two = {2}", "").replace("24] b)", "24] b, int64 two)"),
            "the index of Gather -> 'v' is no constant scalar",
            id="an index that a caller gives",
        ),
        pytest.param(
            TEXT.replace("two = {2}", "two = {1}"),
            "the indices [1, 0, 1] are no permutation of 3",
            id="an index twice",
        ),
        pytest.param(
            TEXT.replace("    v = Gather(t, two)\n", "").replace(", float[N, 2, 5, 4] v", ""),
            "the indices [1, 0] are no permutation of 3",
            id="an index that nothing reads",
        ),
        pytest.param(
            TEXT.replace("int64[5] s = {0, 5, 3, 2, 4}, ", "").replace("b)", "b, int64[5] s)", 1),
            "its Reshape is not known to cut up the columns of the matrix",
            id="a shape that a caller gives",
        ),
        pytest.param(
            TEXT.replace("Reshape(", "Reshape <allowzero = 1> (").replace("{0,", "{2,"),
            "its Reshape is not known to cut up the columns of the matrix",
            id="allowzero",
        ),
        pytest.param(
            TEXT.replace("{0, 5, 3, 2, 4}", "{0, 5, 3, 2, -1}"),
            "its Reshape is not known to cut up the columns of the matrix",
            id="a size that is not written down",
        ),
        pytest.param(
            TEXT.replace("[2, 0, 3, 1, 4]", "[1, 0, 3, 2, 4]").replace("2, 5, 4]", "2, 3, 4]"),
            "its Reshape is not known to cut up the columns of the matrix",
            id="a gathered dimension that is no part of the columns",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = weighted(lab, text)
    result = lab.apply(SplitQkvMatmul(), model)
    assert lab.reasons(result.skipped) == {"MatMul -> 'h'": reason}
    assert not result.rewritten


def test_leaves_alone_gathers_in_a_branch(lab: Lab) -> None:
    text = TEXT.replace("b)", "b, bool d)", 1).replace(
        "v = Gather(t, two)",
        "v = If (d) <then_branch = yes () => (float[N, 2, 5, 4] p) { p = Gather(t, two) }, "
        "else_branch = no () => (float[N, 2, 5, 4] o) { o = Neg(q) }>",
    )
    result = lab.apply(SplitQkvMatmul(), weighted(lab, text))
    assert lab.reasons(result.skipped) == {"MatMul -> 'h'": "Gather -> 'p' is in another graph"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT.replace("Add(h, b)", "Add(h, h)"), id="a sum with what is computed"),
        pytest.param(
            TEXT.replace("MatMul(x, w)", "MatMul(w, x)").replace(
                "[N, 5, 6] x, float[6, 24] w", "[N, 6, 24] x, float[5, 6] w"
            ),
            id="a matrix on the left",
        ),
        pytest.param(
            TEXT.replace("h = MatMul(x, w)", "h = Relu(x)").replace("6] x", "24] x"),
            id="no product",
        ),
    ],
)
def test_leaves_other_chains_alone_without_a_word(lab: Lab, text: str) -> None:
    result = lab.apply(SplitQkvMatmul(), weighted(lab, text))
    assert (result.rewritten, result.skipped) == ([], [])


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="a bias for each column"),
        pytest.param(TEXT.replace("Add(h, b)", "Add(b, h)"), id="the bias on the left"),
        pytest.param(TEXT.replace("float[24] b", "float b"), id="a bias of rank 0"),
        pytest.param(TEXT.replace("float[24] b", "float[1] b"), id="a bias of one element"),
        pytest.param(TEXT.replace("float[24] b", "float[5, 1] b"), id="a bias for each row"),
        pytest.param(TEXT.replace("float[24] b", "float[5, 24] b"), id="a bias of rank 2"),
        pytest.param(
            TEXT.replace("24] b)", "24] b, float[1] c)")
            .replace("= Add(h, b)", "= Add(h, b) j = Add(c, i)")
            .replace("Reshape(i", "Reshape(j"),
            id="two sums",
        ),
        pytest.param(
            TEXT.replace("i = Add(h, b)", "")
            .replace("Reshape(i", "Reshape(h")
            .replace(", float[24] b", ""),
            id="no bias",
        ),
        pytest.param(TEXT.replace("{0, 5, 3, 2, 4}", "{-1, 5, 3, 2, 4}"), id="-1 for the batch"),
        pytest.param(TEXT.replace("{2}", "{-1}").replace("{0}", "{-3}"), id="negative indices"),
        pytest.param(
            TEXT.replace("(t, two)", "(t, zero)", 1).replace(
                "q = Gather(t, zero)", "q = Gather(t, two)"
            ),
            id="indices in another order",
        ),
        pytest.param(
            TEXT.replace("[2, 0, 3, 1, 4]", "[0, 3, 1, 4, 2]").replace(
                "Gather(", "Gather <axis = -1> ("
            ),
            id="the dimension gathered from the last axis",
        ),
        pytest.param(
            TEXT.replace("3, 2, 4}", "2, 4, 3}").replace("[2, 0, 3, 1, 4]", "[4, 0, 2, 1, 3]"),
            id="columns that are interleaved",
        ),
        pytest.param(
            TEXT.replace("5, 3, 2, 4}", "5, 2, 3, 4}").replace(
                "[2, 0, 3, 1, 4]", "[3, 0, 2, 1, 4]"
            ),
            id="columns cut in the middle",
        ),
    ],
)
def test_numerics_within_the_bound(lab: Lab, text: str, opset: int) -> None:
    assert_within_the_bound(lab, weighted(lab, text, opset))


def test_numerics_with_a_size_that_infer_shapes_wrote_down(lab: Lab) -> None:
    text = TEXT.replace("{0, 5, 3, 2, 4}", "{0, 0, 3, -1, 4}")
    model = weighted(lab, text)
    InferShapes().run(model)
    assert_within_the_bound(lab, model)


def test_numerics_with_a_transpose_without_perm(lab: Lab) -> None:
    text = """
    g (float[5, 6] x, float[6, 6] w) => (float[2, 5] q, float[2, 5] k, float[2, 5] v)
    <int64[3] s = {5, 2, 3}, int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
        h = MatMul(x, w)
        r = Reshape(h, s)
        t = Transpose(r)
        q = Gather(t, zero)
        k = Gather(t, one)
        v = Gather(t, two)
    }"""
    x = np.random.default_rng(2).standard_normal((5, 6)).astype(np.float32)
    assert_within_the_bound(lab, weighted(lab, text), x)


def test_numerics_within_the_bound_when_products_cancel(lab: Lab) -> None:
    x = np.random.default_rng(1).standard_normal((2, 5, 6)).astype(np.float32)
    x[..., ::2] += 1e6
    x[..., 1::2] -= 1e6
    assert_within_the_bound(lab, weighted(lab, TEXT), x)


def test_numerics_carry_nan_to_the_same_places(lab: Lab) -> None:
    model = weighted(lab, TEXT)
    x: Array = np.ones((2, 5, 6), np.float32)
    x[0, 1, 2], x[1, 2, 0] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})
    lab.apply(SplitQkvMatmul(), model)
    after = lab.outputs(model, {"x": x})
    for name, array in before.items():
        np.testing.assert_array_equal(np.isfinite(after[name]), np.isfinite(array))
        assert np.isnan(array).any()


def test_numerics_fail_when_two_branches_are_swapped(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(SplitQkvMatmul.__module__)
    right = module._index
    monkeypatch.setattr(module, "_index", lambda *given: 2 - right(*given))
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_the_bound(lab, weighted(lab, TEXT))
