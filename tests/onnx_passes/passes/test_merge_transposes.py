from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.merge_transposes import MergeTransposes

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

CHAIN = """
g (float[N, 2, 3, 4] x) => (float[A, B, C, D] y) {
    h = Transpose <perm = [0, 2, 3, 1]> (x)
    y = Transpose <perm = [0, 2, 1, 3]> (h)
}
"""
PERMS = list(itertools.permutations(range(3)))


def test_rewrites_two_to_one(lab: Lab) -> None:
    model = lab.model(CHAIN)
    result = lab.exact(MergeTransposes(), model)
    assert lab.ops(model) == ["Transpose"]
    assert model.graph[0].attributes.get_ints("perm") == (0, 3, 2, 1)
    assert lab.reasons(result.rewritten) == {
        "Transpose -> 'y'": "merged with Transpose -> 'h': [0, 3, 2, 1]"
    }


@pytest.mark.parametrize(
    "two",
    [
        pytest.param(("<perm = [1, 2, 0]>", "<perm = [2, 0, 1]>"), id="two that cancel"),
        pytest.param(("", ""), id="two without perm"),
        pytest.param(("", "<perm = [2, 1, 0]>"), id="a first one without perm"),
        pytest.param(("<perm = [2, 1, 0]>", ""), id="a second one without perm"),
    ],
)
def test_rewrites_two_to_none(lab: Lab, two: tuple[str, str]) -> None:
    text = f"i = Transpose {two[0]} (h) j = Transpose {two[1]} (i)"
    model = lab.model(
        f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ h = Neg(x) {text} y = Abs(j) }}"
    )
    lab.exact(MergeTransposes(), model)
    assert lab.ops(model) == ["Neg", "Abs"]


def test_rewrites_past_one_that_others_read(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 3, 4] x) => (float[A, B, C] y, float[D, E, F] z, float[G, H, I] h) {
            h = Transpose <perm = [1, 0, 2]> (x)
            y = Transpose <perm = [0, 2, 1]> (h)
            i = Transpose <perm = [1, 0, 2]> (h)
            z = Neg(i)
        }""")
    lab.exact(MergeTransposes(), model)
    assert lab.ops(model) == ["Transpose", "Transpose", "Neg"]
    assert model.graph[1].inputs[0] is model.graph.inputs[0]
    assert model.graph[2].inputs[0] is model.graph.inputs[0]


def test_rewrites_across_a_branch_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2, 2] x, bool c) => (float[2, 2] y) {
            u = f.twice(x)
            h = Transpose(u)
            y = If (c) <
                then_branch = yes () => (float[2, 2] p) { q = Transpose(h) p = Neg(q) },
                else_branch = no () => (float[2, 2] r) { r = Transpose(h) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { c = Transpose(a) d = Neg(c) e = Transpose(d) b = Transpose(e) }
        """,
        domains=', "f": 1',
    )
    lab.exact(MergeTransposes(), model)
    assert lab.all_ops(model) == ["twice", "If", "Neg", "Identity"]
    bodies = [[node.op_type for node in body] for body in model.functions.values()]
    assert bodies == [["Transpose", "Neg"]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("g (float[2, 3] x) => (float[3, 2] y) { y = Transpose(x) }", id="a lone one"),
        pytest.param(
            "g (float[2, 3] x) => (float[2, 3] y) { y = Transpose <perm = [0, 1]> (x) }",
            id="a lone one that keeps the order",
        ),
        pytest.param(
            "g (float[2, 3] x) => (float[2, 3] y) { h = Transpose(x) i = Neg(h) y = Transpose(i) }",
            id="two with another node between them",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str) -> None:
    result = lab.exact(MergeTransposes(), lab.model(text))
    assert (result.rewritten, result.skipped) == ([], [])


def test_leaves_alone_the_attribute_that_a_call_gives(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2, 3] x) => (float[2, 3] y) { y = f.t <perm = [1, 0]> (x) }
        <domain: "f", opset_import: ["": 16]>
        t <perm> (a) => (b) { c = Transpose <perm: ints = @perm> (a) b = Transpose(c) }
        """,
        domains=', "f": 1',
    )
    assert not lab.exact(MergeTransposes(), model).rewritten


def test_leaves_alone_two_that_do_not_fit(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[A, B] y) "
        "{ h = Transpose <perm = [1, 0]> (x) y = Transpose <perm = [0, 2, 1]> (h) }"
    )
    result = MergeTransposes().run(model)
    assert "another number of axes" in lab.reasons(result.skipped)["Transpose -> 'y'"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param(
            "g (float[2, 3] x) => (float[2, 3] y) { h = Transpose(x) y = Transpose(h) }",
            ["Identity"],
            id="from graph input to graph output",
        ),
        pytest.param(
            "g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) "
            "{ z = Neg(x) h = Transpose(z) y = Transpose(h) }",
            ["Neg", "Identity"],
            id="from graph output to graph output",
        ),
    ],
)
def test_leaves_an_identity_where_each_name_needs_a_node(
    lab: Lab, text: str, left: list[str]
) -> None:
    model = lab.model(text)
    lab.exact(MergeTransposes(), model)
    assert lab.ops(model) == left


@settings(max_examples=40, deadline=None)
@given(perms=st.lists(st.sampled_from(PERMS), min_size=2, max_size=5), shared=st.integers(0, 4))
def test_numerics_of_random_chains(lab: Lab, perms: list[tuple[int, ...]], shared: int) -> None:
    nodes = [f"v{i + 1} = Transpose <perm = {list(p)}> (v{i})" for i, p in enumerate(perms)]
    other = f"v{min(shared, len(perms))}"
    model = lab.model(
        "g (float[2, 3, 4] x) => (float[A, B, C] y, float[D, E, F] z) { "
        f"v0 = Neg(x) {' '.join(nodes)} y = Abs(v{len(perms)}) z = Neg({other}) }}"
    )
    before = ReferenceEvaluator(ir.to_proto(model))
    lab.exact(MergeTransposes(), model)
    assert lab.ops(model).count("Transpose") <= 2
    after, x = (
        ReferenceEvaluator(ir.to_proto(model)),
        {"x": np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)},
    )
    for old, new in zip(before.run(None, x), after.run(None, x), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
