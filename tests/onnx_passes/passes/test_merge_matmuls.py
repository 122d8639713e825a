from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.numerics.feeds import generate
from onnx_passes.numerics.runner import run_model
from onnx_passes.passes.merge_matmuls import MergeMatmuls

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

EPS = float(np.finfo(np.float32).eps)
LEFT = "g (float[40, 8] a, float[8, 6] b, float[N, 6, 2] x) => (float[N, 40, 2] y) " + (
    "{ h = MatMul(b, x) y = MatMul(a, h) }"
)
RIGHT = "g (float[6, 5] a, float[5, 4] b, float[N, 3, 6] x) => (float[N, 3, 4] y) " + (
    "{ h = MatMul(x, a) y = MatMul(h, b) }"
)


def matrices(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def left(lab: Lab, text: str = LEFT) -> ir.Model:
    return lab.bind(lab.model(text), matrices(a=(40, 8), b=(8, 6)))


def test_rewrites_two_on_the_left(lab: Lab) -> None:
    model = left(lab)
    result = lab.apply(MergeMatmuls(), model)
    assert lab.ops(model) == ["MatMul"]
    assert lab.initializers(model) == ["a_merged"]
    assert lab.reasons(result.rewritten) == {
        "MatMul -> 'y'": "takes the matrix of MatMul -> 'h' in"
    }


def test_rewrites_two_on_the_right(lab: Lab) -> None:
    model = lab.bind(lab.model(RIGHT), matrices(a=(6, 5), b=(5, 4)))
    lab.apply(MergeMatmuls(), model)
    assert lab.ops(model) == ["MatMul"]


def test_rewrites_a_chain_of_three(lab: Lab) -> None:
    text = (
        "g (float[9, 4] a, float[4, 4] b, float[4, 4] c, float[N, 4, 2] x) => (float[N, 9, 2] y) "
        "{ h = MatMul(c, x) i = MatMul(b, h) y = MatMul(a, i) }"
    )
    model = lab.bind(lab.model(text), matrices(a=(9, 4), b=(4, 4), c=(4, 4)))
    before, feeds = model.clone(), generate(model)
    assert len(lab.apply(MergeMatmuls(), model).rewritten) == 2
    assert lab.ops(model) == ["MatMul"]
    got, expected = run_model(model, feeds)["y"], run_model(before, feeds)["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=64 * EPS * np.abs(expected).max())


def test_a_shared_matrix_stays_for_its_other_reader(lab: Lab) -> None:
    text = LEFT.replace("=> (", "=> (float[40, 8] z, ").replace("{ h", "{ z = Neg(a) h")
    model = left(lab, text)
    lab.apply(MergeMatmuls(), model)
    assert lab.ops(model) == ["Neg", "MatMul"]
    assert lab.initializers(model) == ["a", "a_merged"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            LEFT.replace("=> (", "=> (float[N, 8, 2] h, "),
            "'h' is a graph output or has another reader",
            id="a first product that is a graph output",
        ),
        pytest.param(
            LEFT.replace("=> (", "=> (float[N, 8, 2] z, ").replace("y =", "z = Neg(h) y ="),
            "'h' is a graph output or has another reader",
            id="a first product with another reader",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = left(lab, text)
    result = lab.apply(MergeMatmuls(), model)
    assert lab.reasons(result.skipped) == {"MatMul -> 'y'": reason}
    assert not result.rewritten


def test_leaves_alone_what_would_grow(lab: Lab) -> None:
    text = LEFT.replace("float[40, 8] a, float[8, 6] b", "float[40, 1] a, float[1, 6] b")
    model = lab.bind(lab.model(text), matrices(a=(40, 1), b=(1, 6)))
    result = lab.apply(MergeMatmuls(), model)
    assert "has 240 elements, the two have 46" in result.skipped[0].text


def test_leaves_alone_what_would_overflow(lab: Lab) -> None:
    model = lab.bind(lab.model(LEFT), {"a": np.full((40, 8), 3e38, np.float32)})
    model = lab.bind(model, {"b": np.full((8, 6), 10, np.float32)})
    result = lab.apply(MergeMatmuls(), model)
    assert "would not be finite in float32" in result.skipped[0].text


def test_leaves_alone_a_product_around_a_branch(lab: Lab) -> None:
    text = (
        "g (float[40, 8] a, float[8, 6] b, float[6, 2] x, bool c) => (float[40, 2] y) { "
        "h = MatMul(b, x) y = If (c) <then_branch = t () => (float[40, 2] p) "
        "{ p = MatMul(a, h) }, else_branch = e () => (float[40, 2] q) { r = Neg(h) "
        "q = MatMul(a, r) }> }"
    )
    model = left(lab, text)
    result = lab.apply(MergeMatmuls(), model)
    assert lab.reasons(result.skipped) == {"MatMul -> 'p'": "MatMul -> 'h' is in another graph"}


def test_leaves_alone_the_body_of_a_function(lab: Lab) -> None:
    text = """
    g (float[4, 2] x) => (float[4, 2] y) { y = f.twice(x) }
    <domain: "f", opset_import: ["": 16]>
    twice (u) => (v) {
        one = Constant <value = float[4, 4] {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}> ()
        h = MatMul(one, u)
        v = MatMul(one, h)
    }
    """
    model = lab.model(text, domains=', "f": 1')
    result = lab.apply(MergeMatmuls(), model)
    assert lab.reasons(result.skipped) == {"MatMul -> 'v'": "it is in the body of a function"}


def test_leaves_other_products_alone_without_a_word(lab: Lab) -> None:
    text = "g (float[5, 5] a, float[N, 5, 5] x) => (float[N, 5, 5] y) " + (
        "{ h = MatMul(a, x) y = MatMul(h, a) }"
    )
    model = lab.bind(lab.model(text), matrices(a=(5, 5)))
    result = lab.apply(MergeMatmuls(), model)
    assert (result.rewritten, result.skipped) == ([], [])


@pytest.mark.parametrize("seed", range(5))
def test_stays_within_the_bound_of_its_page(lab: Lab, seed: int) -> None:
    given = matrices(seed, a=(40, 8), b=(8, 6))
    model = lab.bind(lab.model(LEFT), given)
    feeds = generate(model, seed=seed)
    before = run_model(model, feeds)["y"]
    MergeMatmuls().run(model)
    gap = np.abs(run_model(model, feeds)["y"].astype(np.float64) - before)
    bound = (6 + 8 + 2) * EPS * (np.abs(given["a"]) @ np.abs(given["b"]) @ np.abs(feeds["x"]))
    assert (gap <= bound).all()
    assert gap.max() > 0  # it does round differently: the bound is not compared with nothing


def test_merges_the_spline_of_starnet(starnet_onnx: Path) -> None:
    outcome = optimize(starnet_onnx, "drop-identity,merge-matmuls")
    assert outcome.ok
    step = outcome.steps[-1]
    assert [note.text.split(" of ")[0] for note in step.rewritten] == ["takes the matrix"]
    assert step.before.operators["MatMul"] - step.after.operators["MatMul"] == 1
    assert step.after.bytes < step.before.bytes


def test_a_pair_that_was_too_large_is_merged_once_the_outer_matrix_is_small(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 1] x) => (float[1, 1] y)
        <float[1, 2] a = {2, 1}, float[3, 1] b = {2, 1, 0}, float[1, 3] c = {2, 1, 0}> {
            h = MatMul(a, x) i = MatMul(b, h) y = MatMul(c, i)
        }""")
    result = lab.exact(MergeMatmuls(), model)
    assert lab.ops(model) == ["MatMul"]
    assert result.skipped == []
