from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.merge_concats import MergeConcats

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

HEAD = "g (float[2, N] a, float[2, M] b, float[2, K] c, float[2, L] d) => (float[2, Q] y"
NEST = HEAD + ") { h = Concat <axis = 1> (b, c) y = Concat <axis = 1> (a, h, d) }"


def names(node: ir.Node) -> list[str | None]:
    return [value.name for value in node.inputs if value is not None]


def feeds() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(0)
    widths = zip("abcd", (1, 2, 3, 2), strict=True)
    return {name: rng.standard_normal((2, n)).astype(np.float32) for name, n in widths}


def test_rewrites_in_the_place_where_it_stood(lab: Lab) -> None:
    model = lab.model(NEST)
    result = lab.exact(MergeConcats(), model, feeds())
    assert [names(node) for node in model.graph] == [["a", "b", "c", "d"]]
    assert lab.reasons(result.rewritten) == {"Concat -> 'y'": "reads the inputs of Concat -> 'h'"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            "h = Concat <axis = 1> (b, c) y = Concat <axis = 1> (h, a, h)",
            ["b", "c", "a", "b", "c"],
            id="one that is read twice",
        ),
        pytest.param(
            "h = Concat <axis = 1> (b, c) i = Concat <axis = 1> (d, h) "
            "y = Concat <axis = 1> (a, i)",
            ["a", "d", "b", "c"],
            id="three levels",
        ),
        pytest.param(
            "h = Concat <axis = -1> (b, c) y = Concat <axis = -1> (a, h)",
            ["a", "b", "c"],
            id="negative axes",
        ),
        pytest.param(
            "h = Concat <axis = 1> (b, c) i = Concat <axis = 1> (a, d) "
            "y = Concat <axis = 1> (i, a, h)",
            ["a", "d", "a", "b", "c"],
            id="two at once",
        ),
    ],
)
def test_rewrites(lab: Lab, body: str, expected: list[str]) -> None:
    model = lab.model(f"{HEAD}) {{ {body} }}")
    lab.exact(MergeConcats(), model, feeds())
    assert [names(node) for node in model.graph] == [expected]


def test_rewrites_axes_that_the_rank_shows_to_be_the_same(lab: Lab) -> None:
    model = lab.model(
        NEST.replace("{ h = Concat <axis = 1>", "<float[2, P] h> { h = Concat <axis = -1>")
    )
    lab.exact(MergeConcats(), model, feeds())
    assert lab.ops(model) == ["Concat"]


def test_rewrites_one_that_two_concats_read(lab: Lab) -> None:
    model = lab.model(
        NEST.replace("[2, Q] y", "[2, Q] y, float[2, R] z").replace(
            "y =", "z = Concat <axis = 1> (h, a) y ="
        )
    )
    lab.exact(MergeConcats(), model, feeds())
    assert [names(node) for node in model.graph] == [["b", "c", "a"], ["a", "b", "c", "d"]]


def test_rewrites_in_branches_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] a, float[3] b, bool c) => (float[A] y) {
            u = f.twice(a)
            h = Concat <axis = 0> (a, b)
            y = If (c) <
                then_branch = yes () => (float[B] p) { p = Concat <axis = 0> (u, h) },
                else_branch = no () => (float[C] r) { r = Concat <axis = 0> (h, u) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { c = Concat <axis = 0> (a, a) b = Concat <axis = 0> (a, c) }
        """,
        domains=', "f": 1',
    )
    lab.exact(MergeConcats(), model)
    assert lab.all_ops(model) == ["twice", "If", "Concat", "Concat"]
    assert [len(function[0].inputs) for function in model.functions.values()] == [3]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[2, N] a, float[2, N] b, float[4, N] c) => (float[4, P] y) "
            "{ h = Concat <axis = 0> (a, b) y = Concat <axis = 1> (c, h) }",
            "Concat -> 'h' joins another axis than Concat -> 'y'",
            id="keeps another axis",
        ),
        pytest.param(
            NEST.replace("{ h = Concat <axis = 1>", "{ h = Concat <axis = -1>"),
            "the rank of 'h' is unknown; infer shapes first",
            id="keeps axes that cannot be compared",
        ),
        pytest.param(
            NEST.replace("[2, Q] y", "[2, Q] y, float[2, R] z").replace("y =", "z = Neg(h) y ="),
            "'h' has another reader",
            id="keeps one that another operator reads",
        ),
        pytest.param(
            NEST.replace("[2, Q] y", "[2, Q] y, float[2, R] h"),
            "'h' is a graph output",
            id="keeps a graph output",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    before = [names(node) for node in model.graph]
    result = lab.exact(MergeConcats(), model)
    assert [names(node) for node in model.graph] == before
    assert lab.reasons(result.skipped) == {"Concat -> 'y'": reason}


def test_refuses_more_inputs_than_allowed(lab: Lab) -> None:
    doubled = "".join(f"v{i + 1} = Concat <axis = 0> (v{i}, v{i}) " for i in range(12))
    model = lab.model(f"g (float[1] v0) => (float[A] v12) {{ {doubled} }}")
    result = lab.exact(MergeConcats(), model)
    assert max(len(node.inputs) for node in model.graph) == 256
    # What reads the sixteen copies of the one with 256 inputs.
    assert "merged it would have 4096 inputs, more than 256" in result.skipped[0].text
    assert not lab.exact(MergeConcats(max_inputs=3), lab.model(NEST), feeds()).rewritten


@settings(max_examples=40, deadline=None)
# A Concat is kept apart by a reader that goes when it is merged itself.
@example(nodes=[(-1, [0]), (1, [8]), (0, [0]), (0, [0]), (-1, [9])], outputs=set())
@given(
    nodes=st.lists(
        st.tuples(
            st.sampled_from((0, 1, -1, -2)), st.lists(st.integers(0, 9), min_size=1, max_size=3)
        ),
        min_size=2,
        max_size=6,
    ),
    outputs=st.sets(st.integers(0, 5)),
)
def test_numerics_of_random_nests(
    lab: Lab, nodes: list[tuple[int, list[int]]], outputs: set[int]
) -> None:
    shapes, body = [(1, 1), (1, 1)], ""
    for axis, picks in nodes:
        sources = [pick % len(shapes) for pick in picks]
        rows, columns = shapes[sources[0]]
        other = 1 - axis % 2
        sources = [i for i in sources if shapes[i][other] == (rows, columns)[other]]
        joined = sum(shapes[i][axis % 2] for i in sources)
        body += f"v{len(shapes)} = Concat <axis = {axis}> ({', '.join(f'v{i}' for i in sources)}) "
        shapes.append((joined, columns) if axis % 2 == 0 else (rows, joined))
    made = range(2, len(shapes))
    kept = sorted({made[index] for index in outputs if index < len(made)} | {made[-1]})
    declared = ", ".join(f"float[A{i}, B{i}] v{i}" for i in kept)
    known = ", ".join(
        f"float[{r}, {c}] v{i}" for i, (r, c) in enumerate(shapes) if i in made and i % 2
    )
    model = lab.model(f"g (float[1, 1] v0, float[1, 1] v1) => ({declared}) <{known}> {{ {body} }}")
    before = ReferenceEvaluator(ir.to_proto(model))
    x = {"v0": np.array([[1.5]], np.float32), "v1": np.array([[-0.0]], np.float32)}
    lab.exact(MergeConcats(), model, x)
    after = ReferenceEvaluator(ir.to_proto(model))
    for old, new in zip(before.run(None, x), after.run(None, x), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
