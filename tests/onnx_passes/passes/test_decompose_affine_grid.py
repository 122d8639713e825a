from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx.reference
import onnx_ir as ir
import pytest

from onnx_passes.passes.decompose_affine_grid import DecomposeAffineGrid

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

FORM = ["Transpose", "MatMul", "Reshape"]


def affine(
    lab: Lab, *extents: int, align: int = 0, dtype: str = "float", batch: str = "2"
) -> ir.Model:
    """Return a model of one AffineGrid."""
    rank, numbers = len(extents), [2, 7, *extents]
    shape = ", ".join(map(str, extents))
    return lab.model(
        f"g ({dtype}[{batch}, {rank}, {rank + 1}] t) => ({dtype}[{batch}, {shape}, {rank}] y) "
        f"<int64[{len(numbers)}] s = {{{', '.join(map(str, numbers))}}}> "
        f"{{ y = AffineGrid <align_corners = {align}> (t, s) }}",
        opset=20,
    )


def thetas(
    rank: int, kind: type[np.floating[Any]] = np.float32, seed: int = 0
) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((2, rank, rank + 1)).astype(kind)


def test_rewrites_to_one_product(lab: Lab) -> None:
    model = affine(lab, 4, 5)
    result = lab.apply(DecomposeAffineGrid(), model)
    assert lab.ops(model) == FORM
    assert lab.reasons(result.rewritten) == {"AffineGrid -> 'y'": "a constant of 240 bytes"}
    assert "s" not in lab.initializers(model)


@pytest.mark.parametrize("align", [0, 1], ids=lambda align: f"align_corners={align}")
@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize(
    "extents", [(2, 2), (3, 7), (32, 100), (1, 6), (511, 3), (2, 3, 4), (5, 8, 13)], ids=str
)
def test_keeps_its_bound_against_onnxruntime_and_the_reference(
    lab: Lab, extents: tuple[int, ...], dtype: str, align: int
) -> None:
    if align and 1 in extents:
        return
    model = affine(lab, *extents, align=align, dtype=dtype)
    kind = np.float32 if dtype == "float" else np.float64
    theta, rank = thetas(len(extents), kind), len(extents)
    before = lab.outputs(model, {"t": theta})["y"]
    evaluator = onnx.reference.ReferenceEvaluator(ir.to_proto(model))
    results: Any = evaluator.run(None, {"t": theta})
    known = results[0] if rank == 2 else before  # it mixes up the axes of 3-D
    lab.apply(DecomposeAffineGrid(), model)
    after = lab.outputs(model, {"t": theta})["y"]
    total = np.abs(theta).sum(axis=2).reshape(2, *[1] * rank, rank)
    assert lab.ops(model) == FORM
    assert after.shape == (2, *extents, rank)
    assert (np.abs(after - before) <= (rank + 5) * np.finfo(kind).eps * total).all()
    assert (np.abs(after - known) <= (rank + 5) * np.finfo(np.float32).eps * total).all()


def test_keeps_infinities_and_nan_where_they_were(lab: Lab) -> None:
    model = affine(lab, 3, 4)
    theta = thetas(2)
    theta[0, 0, 1], theta[1, 1, 2] = np.inf, np.nan
    before = lab.outputs(model, {"t": theta})["y"]
    lab.apply(DecomposeAffineGrid(), model)
    after = lab.outputs(model, {"t": theta})["y"]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_rewrites_with_a_dynamic_batch_and_a_size_that_is_computed(lab: Lab) -> None:
    text = (
        "g (float[N, 2, 3] t, float[N, 3, 4, 6] x) => (float[N, 4, 6, 2] y) "
        "{ s = Shape(x) y = AffineGrid(t, s) }"
    )
    model = lab.model(text, opset=20)
    feeds = {"t": thetas(2), "x": np.zeros((2, 3, 4, 6), np.float32)}
    before = lab.outputs(model, feeds)["y"]
    lab.apply(DecomposeAffineGrid(), model)
    assert lab.ops(model) == ["Shape", *FORM]
    np.testing.assert_allclose(lab.outputs(model, feeds)["y"], before, rtol=0, atol=2e-6)


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    text = """
        g (float[2, 2, 3] t, bool c) => (float[2, 4, 5, 2] y) <int64[4] s = {2, 1, 4, 5}> {
            y = If (c) <then_branch = a () => (float[2, 4, 5, 2] p) { p = AffineGrid(t, s) },
                        else_branch = b () => (float[2, 4, 5, 2] q) { q = f.flow(t) }>
        }
        <domain: "f", opset_import: ["": 20]>
        flow (u) => (v) {
            s = Constant <value = int64[4] {2, 1, 4, 5}> ()
            v = AffineGrid(u, s)
        }
    """
    for taken in (True, False):
        model = lab.model(text, opset=20, domains=', "f": 1')
        feeds = {"t": thetas(2), "c": np.array(taken)}
        before = lab.outputs(model, feeds)["y"]
        assert len(DecomposeAffineGrid().run(model).rewritten) == 2
        lab.check(model)
        np.testing.assert_allclose(lab.outputs(model, feeds)["y"], before, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[2, 2, 3] t, int64[4] s) => (float[N, H, W, 2] y) { y = AffineGrid(t, s) }",
            "its size is known only when the model runs; fold-constants or pin-shape may help",
            id="a size that is an input",
        ),
        pytest.param(
            "g (float[2, 2, 3] t) => (float[2, 0, 5, 2] y) <int64[4] s = {2, 1, 0, 5}> "
            "{ y = AffineGrid(t, s) }",
            "an extent of 0",
            id="an extent of 0",
        ),
        pytest.param(
            "g (float16[2, 2, 3] t) => (float16[2, 4, 5, 2] y) <int64[4] s = {2, 1, 4, 5}> "
            "{ y = AffineGrid(t, s) }",
            "theta has type float16, expected float or double",
            id="float16",
        ),
        pytest.param(
            "g (float[2, 2, 3] t) => (float[2, 4, 1, 2] y) <int64[4] s = {2, 1, 4, 1}> "
            "{ y = AffineGrid <align_corners = 1> (t, s) }",
            "align_corners=1 with an extent of 1: implementations differ",
            id="an extent of 1 with align_corners",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text, opset=20)
    result = lab.apply(DecomposeAffineGrid(), model)
    assert lab.reasons(result.skipped) == {"AffineGrid -> 'y'": reason}
    assert lab.ops(model) == ["AffineGrid"]


def test_leaves_alone_an_attribute_of_the_caller(lab: Lab) -> None:
    text = """
        g (float[2, 2, 3] t) => (float[2, 4, 5, 2] y) { y = f.flow <corners = 1> (t) }
        <domain: "f", opset_import: ["": 20]>
        flow <corners> (u) => (v) {
            s = Constant <value = int64[4] {2, 1, 4, 5}> ()
            v = AffineGrid <align_corners: int = @corners> (u, s)
        }
    """
    result = DecomposeAffineGrid().run(lab.model(text, opset=20, domains=', "f": 1'))
    assert lab.reasons(result.skipped) == {
        "AffineGrid -> 'v'": "the caller of the function sets an attribute of it"
    }


def test_a_refusal_leaves_no_trace(lab: Lab) -> None:
    model = lab.model("""
        g (float[1, 2, 3] x) => (float[1, 1, 2, 2] y) {
            theta = Neg(x)
            size = Constant <value = int64[4] {1, 1, 1, 2}> ()
            y = AffineGrid <align_corners = 1> (theta, size)
        }""", opset=20)  # fmt: skip
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert DecomposeAffineGrid().run(model).skipped
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
