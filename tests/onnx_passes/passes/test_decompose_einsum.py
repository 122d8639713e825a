from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_passes.passes.decompose_einsum import DecomposeEinsum
from onnx_passes.passes.fold_shapes import FoldShapes
from onnx_passes.passes.set_opset import SetOpset
from tests.onnx_passes.conftest import Lab

if TYPE_CHECKING:
    from onnx_passes.core.contract import PassResult

SIZES = dict(zip("abcdefgh", (2, 3, 4, 5, 2, 3, 4, 3), strict=True))
KINDS: dict[str, Any] = {
    "float": np.float32,
    "double": np.float64,
    "int32": np.int32,
    "int64": np.int64,
}


def einsum(
    equation: str, kind: str = "float", *, dynamic: str = "", opset: int = 16, axes: str = ""
) -> ir.Model:
    """Return a model of one Einsum; the labels in ``dynamic`` are symbols, ``axes`` are of ...."""
    terms, _, result = equation.replace(" ", "").partition("->")
    shapes = [
        ", ".join(one.upper() if one in dynamic else str(SIZES[one]) for one in term)
        for term in (one.replace("...", axes) for one in terms.split(","))
    ]
    inputs = ", ".join(f"{kind}[{shape}] x{i}" for i, shape in enumerate(shapes))
    rank = len(result.replace("...", axes)) if "->" in equation else 0
    known = f"[{', '.join(f'Y{i}' for i in range(rank))}]" if rank else ""
    names = ", ".join(f"x{i}" for i in range(len(shapes)))
    node = f'y = Einsum <equation = "{equation}"> ({names})'
    return Lab.model(f"g ({inputs}) => ({kind}{known} y) {{ {node} }}", opset=opset)


def arrays(model: ir.Model, kind: str = "float", seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    found = {}
    for value in model.graph.inputs:
        shape = [
            dim if isinstance(dim, int) else SIZES[(dim.value or "").lower()]
            for dim in value.shape or ()
        ]
        drawn = (
            rng.standard_normal(shape)
            if kind in {"float", "double"}
            else rng.integers(-9, 9, shape)
        )
        found[value.name or ""] = drawn.astype(KINDS[kind])
    return found


def judge(equation: str, kind: str = "float", *, dynamic: str = "") -> tuple[ir.Model, PassResult]:
    """Rewrite one Einsum; the result must keep the bound of the page, before and after."""
    model = einsum(equation, kind, dynamic=dynamic)
    feeds = arrays(model, kind)
    before = Lab.outputs(model, feeds)["y"]
    result = Lab().apply(DecomposeEinsum(), model)
    after = Lab.outputs(model, feeds)["y"]
    assert "Einsum" not in Lab.ops(model)
    terms, _, output = equation.partition("->")
    summed = math.prod(SIZES[one] for one in set(terms) - set(output) - {",", " "})
    total = np.einsum(equation, *(np.abs(array).astype(np.float64) for array in feeds.values()))
    exact = np.einsum(equation, *(array.astype(np.float64) for array in feeds.values()))
    eps = {"float": 2.0**-23, "double": 2.0**-52}.get(kind, 0.0)
    bound = (summed + len(feeds)) * eps * total
    assert before.shape == after.shape
    assert after.dtype == KINDS[kind]
    assert (np.abs(after - before.astype(np.float64)) <= 2 * bound).all()
    assert (np.abs(after - exact) <= bound + 2.0**-52 * total).all()
    return model, result


@pytest.mark.parametrize(
    ("equation", "operators"),
    [
        pytest.param("ab,bc->ac", ["MatMul"], id="a product of matrices"),
        pytest.param("ab,cb->ac", ["Transpose", "MatMul"], id="of a matrix turned"),
        pytest.param("abcd,abed->abce", ["Transpose", "MatMul"], id="a batch of two axes"),
        pytest.param("acbd,aebd->abce", ["Transpose", "Transpose", "MatMul"], id="attention"),
        pytest.param("abc,abd->acd", ["Transpose", "MatMul"], id="a sum over rows"),
        pytest.param("abcd,de->abce", ["MatMul"], id="a linear layer"),
        pytest.param("abcd,cde->abe", ["Reshape", "Reshape", "MatMul"], id="two axes summed"),
        pytest.param(
            "abcd,abce->acde",
            [
                "Transpose",
                "Transpose",
                "MatMul",
            ],
            id="a batch apart",
        ),
        pytest.param(
            "abcd,ade->abce", ["Reshape", "MatMul", "Reshape"], id="two rows beside a batch"
        ),
        pytest.param("ab,ab->a", ["Reshape", "Reshape", "MatMul", "Reshape"], id="rows with rows"),
        pytest.param("ab,ab->", ["Reshape", "Reshape", "MatMul", "Reshape"], id="a number"),
        pytest.param("ab,ab->ab", ["Mul"], id="elements with elements"),
        pytest.param("ab,a->ab", ["Reshape", "Mul"], id="a row each"),
        pytest.param("a,b->ba", ["Reshape", "Mul", "Transpose"], id="an outer product"),
        pytest.param("ab->ba", ["Transpose"], id="a Transpose"),
        pytest.param("abc->b", ["ReduceSum", "ReduceSum"], id="a sum"),
        pytest.param("ab,cd->ad", ["ReduceSum", "ReduceSum", "Reshape", "Mul"], id="sums apart"),
        pytest.param("ab->ab", ["Identity"], id="nothing"),
        pytest.param("ab,bc,cd->ad", ["MatMul", "MatMul"], id="three operands"),
        pytest.param(" a b , b c -> a c ", ["MatMul"], id="blanks"),
    ],
)
def test_rewrites(equation: str, operators: list[str]) -> None:
    model, result = judge(equation)
    assert Lab.ops(model) == operators
    assert Lab.reasons(result.rewritten) == {"Einsum -> 'y'": equation}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("equation", ["acbd,aebd->abce", "ab,ac->bc", "ab,a->ab", "abc->b"])
def test_rewrites_types(equation: str, kind: str) -> None:
    judge(equation, kind)


@pytest.mark.parametrize(
    ("equation", "dynamic", "operators"),
    [
        pytest.param("acbd,aebd->abce", "abcde", ["Transpose", "Transpose", "MatMul"], id="all"),
        pytest.param("abcd,cde->abe", "ab", ["Reshape", "Reshape", "MatMul"], id="rows"),
        pytest.param("abcd,ade->abce", "a", ["Reshape", "MatMul", "Reshape"], id="the batch"),
    ],
)
def test_sizes_that_are_unknown_need_no_shape_in_the_end(
    equation: str, dynamic: str, operators: list[str]
) -> None:
    model, _ = judge(equation, dynamic=dynamic)
    FoldShapes().run(model)
    assert Lab.ops(model) == operators


LABELS = "abcdef"


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, str]:
    terms = draw(
        st.lists(
            st.lists(st.sampled_from(LABELS), max_size=4, unique=True).map("".join),
            min_size=1,
            max_size=3,
        ).filter(all)
    )
    every = sorted(set("".join(terms)))
    result = "".join(draw(st.permutations(draw(st.lists(st.sampled_from(every), unique=True)))))
    dynamic = "".join(draw(st.lists(st.sampled_from(every), unique=True)))
    return f"{','.join(terms)}->{result}", dynamic


@given(equations())
@settings(max_examples=150, deadline=None)
def test_numerics_of_random_equations(drawn: tuple[str, str]) -> None:
    equation, dynamic = drawn
    judge(equation, dynamic=dynamic)


@pytest.mark.parametrize(
    ("equation", "axes", "as_if"),
    [
        pytest.param("...ab,...bc->...ac", "gd", "gdab,gdbc->gdac", id="a batch of any rank"),
        pytest.param("a...,a...->...", "gd", "agd,agd->gd", id="at the end"),
        pytest.param("...ab->...ba", "", "ab->ba", id="no axis"),
    ],
)
def test_rewrites_an_ellipsis(equation: str, axes: str, as_if: str) -> None:
    model = einsum(equation, axes=axes)
    feeds = arrays(model)
    before = Lab.outputs(model, feeds)["y"]
    Lab().apply(DecomposeEinsum(), model)
    assert Lab.ops(model) == Lab.ops(judge(as_if)[0])
    np.testing.assert_allclose(Lab.outputs(model, feeds)["y"], before, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("short", "long"), [("ba", "ba->ab"), ("ab,bc", "ab,bc->ac"), ("a,a", "a,a->")]
)
def test_a_result_that_is_not_written_has_the_labels_that_stand_once(short: str, long: str) -> None:
    model = einsum(long)
    model.graph[0].attributes["equation"] = ir.AttrString("equation", short)
    feeds = arrays(model)
    before = Lab.outputs(model, feeds)["y"]
    Lab().apply(DecomposeEinsum(), model)
    assert Lab.ops(model) == Lab.ops(judge(long)[0])
    np.testing.assert_allclose(Lab.outputs(model, feeds)["y"], before, rtol=0, atol=1e-5)


MATRICES = "float[2, 3] x, float[3, 4] w"
CUBE = "float[2, 5, 3] x, float[3, 4] w"


@pytest.mark.parametrize(
    ("inputs", "equation", "reason"),
    [
        pytest.param(
            "float[1, 3] x, float[4, 3] w",
            "ab,ab->a",
            "the sizes of 'a' may differ: 1 and 4",
            id="what Einsum repeats",
        ),
        pytest.param(
            "float[P, 3] x, float[Q, 3] w",
            "ab,ab->a",
            "the sizes of 'a' may differ: P and Q",
            id="other symbols",
        ),
        pytest.param(
            "float[?, 3] x, float[?, 3] w",
            "ab,ab->a",
            "the sizes of 'a' may differ: None and None",
            id="unknown sizes",
        ),
        pytest.param(
            "float[1, 3] x, float[2, 3] w",
            "...a,...a->...",
            "the sizes of ... may differ: 1 and 2",
            id="what ... repeats",
        ),
        pytest.param(
            "float[3, 3] x, float[3] w",
            "aa,a->a",
            "a label stands twice in one term of 'aa,a->a'",
            id="a diagonal",
        ),
        pytest.param(
            MATRICES,
            "abd,bc->ac",
            "a term of 'abd,bc->ac' has 3 labels for 2 axes",
            id="another rank",
        ),
        pytest.param(
            MATRICES, "ab->ab", "'ab->ab' has 1 terms for 2 operands", id="a term too few"
        ),
        pytest.param(
            MATRICES, "ab,bc->ad", "'ab,bc->ad' is no equation", id="a label from nowhere"
        ),
        pytest.param(
            CUBE,
            "...b,b...->...",
            "the axes of ... in '...b,b...->...' differ in number",
            id="an ellipsis of two ranks",
        ),
        pytest.param(
            CUBE,
            "...b,bc->c",
            "the result of '...b,bc->c' lacks ...",
            id="an ellipsis that is summed",
        ),
        pytest.param(
            "float[2, 0] x, float[0, 4] w",
            "ab,bc->ac",
            "an extent of 0 at 'b'",
            id="an extent of 0",
        ),
        pytest.param(
            "uint8[2, 3] x, uint8[3, 4] w",
            "ab,bc->ac",
            "its operands have type uint8, expected float, double, float16, int32 or int64",
            id="a type without MatMul",
        ),
    ],
)
def test_leaves_alone(inputs: str, equation: str, reason: str) -> None:
    kind = inputs.split("[", maxsplit=1)[0]
    node = f'y = Einsum <equation = "{equation}"> (x, w)'
    model = Lab.model(f"g ({inputs}) => ({kind}[A] y) {{ {node} }}")
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = DecomposeEinsum().run(model)
    assert Lab.reasons(result.skipped) == {"Einsum -> 'y'": reason}
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_leaves_alone_what_has_no_shape() -> None:
    node = 'u = f.odd(x) y = Einsum <equation = "ab,bc->ac"> (u, w)'
    result = DecomposeEinsum().run(Lab.model(f"g ({MATRICES}) => (float[2, 4] y) {{ {node} }}"))
    reason = "the shape of an operand is unknown; infer shapes first"
    assert Lab.reasons(result.skipped) == {"Einsum -> 'y'": reason}


def test_rewrites_in_a_branch_and_in_a_function() -> None:
    text = """
        g (float[2, 3] x, float[3, 4] w, bool c) => (float[2, 4] y) {
            y = If (c) <
                then_branch = t () => (float[2, 4] p) {
                    p = Einsum <equation = "ab,bc->ac"> (x, w)
                },
                else_branch = e () => (float[2, 4] q) { q = f.times(x, w) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        times (a, b) => (r) { r = Einsum <equation = "ij,jk->ik"> (a, b) }
    """
    for taken in (True, False):
        model = Lab.model(text, domains=', "f": 1')
        feeds = {
            "x": np.random.default_rng(0).standard_normal((2, 3), np.float32),
            "w": np.random.default_rng(1).standard_normal((3, 4), np.float32),
            "c": np.array(taken),
        }
        before = Lab.outputs(model, feeds)["y"]
        assert len(DecomposeEinsum().run(model).rewritten) == 2
        Lab.check(model)
        np.testing.assert_allclose(Lab.outputs(model, feeds)["y"], before, rtol=0, atol=2e-6)


def test_leaves_alone_an_equation_of_the_caller() -> None:
    text = """
        g (float[2, 3] x) => (float[3, 2] y) { y = f.turn <how = "ab->ba"> (x) }
        <domain: "f", opset_import: ["": 16]>
        turn <how> (u) => (v) { v = Einsum <equation: string = @how> (u) }
    """
    result = DecomposeEinsum().run(Lab.model(text, domains=', "f": 1'))
    assert Lab.reasons(result.skipped) == {
        "Einsum -> 'v'": "the caller of the function sets its equation"
    }


def test_afterwards_opset_11_is_in_reach() -> None:
    model = einsum("acbd,aebd->abce")
    (skipped,) = SetOpset(version=11).run(einsum("acbd,aebd->abce")).skipped
    assert skipped.text == "opset 11 has no Einsum; run decompose-einsum first"
    DecomposeEinsum().run(model)
    SetOpset(version=11).run(model)
    assert model.opset_imports[""] == 11
