from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.values import constant
from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.merge_slices import MergeSlices

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

HEAD = "g (float[N, M] x) => (float[A, B] y) "
STATIC = "g (float[5, 7] x) => (float[A, B] y) "
BIG = 2**63 - 1
Cut = tuple[int, int, int, int]
X = {"x": np.arange(35, dtype=np.float32).reshape(5, 7)}


def cut(source: str, target: str, *cuts: Cut) -> str:
    """Return a Slice and its constants; a cut is start, end, axis and step."""
    columns = list(zip(*cuts, strict=True))
    body = "".join(
        f"{target}_{name} = Constant <value = int64[{len(cuts)}] "
        f"{{{', '.join(map(str, column))}}}> () "
        for name, column in zip("seak", columns, strict=True)
    )
    return f"{body} {target} = Slice({source}, {target}_s, {target}_e, {target}_a, {target}_k) "


def two(first: Cut, second: Cut, head: str = HEAD) -> str:
    return f"{head} {{ {cut('x', 'h', first)} {cut('h', 'y', second)} }}"


def slices(model: ir.Model) -> list[dict[int, tuple[int, ...]]]:
    """Return start, end and step by axis, of each Slice."""
    found = []
    for node in model.graph:
        if node.op_type == "Slice":
            operands = [constant(value) for value in node.inputs[1:]]
            starts, ends, axes, steps = (t.numpy().tolist() for t in operands if t is not None)
            found.append(dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True)))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            two((1, 4, 0, 1), (2, 6, 1, 1)), {0: (1, 4, 1), 1: (2, 6, 1)}, id="different axes"
        ),
        pytest.param(
            two((1, 4, 0, 1), (1, 9, 0, 1)), {0: (2, 4, 1)}, id="one axis of unknown extent"
        ),
        pytest.param(
            two((1, BIG, 1, 2), (1, BIG, 1, 3)), {1: (3, BIG, 6)}, id="steps of both, to the end"
        ),
        pytest.param(two((3, 9, 0, 1), (6, 9, 0, 1)), {0: (0, 0, 1)}, id="nothing is left"),
        pytest.param(
            two((1, -1, -1, 1), (-3, 9, 1, 1), STATIC), {1: (3, 6, 1)}, id="counted from the end"
        ),
        pytest.param(
            two((-1, -99, 1, -1), (1, 99, 1, 2), STATIC),
            {1: (5, 0, -2)},
            id="backwards, then every other",
        ),
        pytest.param(
            two((-1, -99, 1, -1), (-1, -99, 1, -1), STATIC), {1: (0, 7, 1)}, id="backwards twice"
        ),
        pytest.param(
            two((-1, -99, 0, -1), (0, 99, 0, 2), STATIC), {0: (4, -BIG, -2)}, id="down to the first"
        ),
    ],
)
def test_rewrites_two_to_one(lab: Lab, text: str, expected: dict[int, tuple[int, ...]]) -> None:
    model = lab.model(text)
    result = lab.exact(MergeSlices(), model, X)
    assert slices(model) == [expected]
    assert [note.node for note in result.rewritten] == ["Slice -> 'y'"]
    assert lab.ops(model) == ["Slice"]


def test_rewrites_without_axes_and_steps(lab: Lab) -> None:
    ints = "Constant <value = int64[2] "
    model = lab.model(
        f"{HEAD} {{ s = {ints} {{1, 2}}> () e = {ints} {{9, 9}}> () "
        "h = Slice(x, s, e) y = Slice(h, s, e) }"
    )
    lab.exact(MergeSlices(), model, X)
    assert slices(model) == [{0: (2, 9, 1), 1: (4, 9, 1)}]


def test_rewrites_the_attributes_of_opset_9(lab: Lab) -> None:
    model = lab.model(
        STATIC + "{ h = Slice <axes = [1], starts = [1], ends = [-1]> (x) "
        "y = Slice <starts = [0, -3], ends = [2, 99]> (h) }",
        ir_version=4,
        opset=9,
    )
    lab.exact(MergeSlices(), model, X)
    assert lab.ops(model) == ["Slice"]
    attributes = model.graph[0].attributes
    assert [tuple(attributes.get_ints(name) or ()) for name in ("axes", "starts", "ends")] == [
        (1, 0),
        (3, 0),
        (6, 2),
    ]


def test_rewrites_int32_operands_beside_int64(lab: Lab) -> None:
    first = cut("x", "h", (1, 4, 0, 1)).replace("int64", "int32")
    model = lab.model(f"{HEAD} {{ {first} {cut('h', 'y', (1, 6, 1, 1))} }}")
    lab.exact(MergeSlices(), model, X)
    assert slices(model) == [{0: (1, 4, 1), 1: (1, 6, 1)}]


def test_rewrites_past_one_that_others_read(lab: Lab) -> None:
    model = lab.model(
        HEAD.replace("y)", "y, float[C, D] h)")
        + f"{{ {cut('x', 'h', (1, 4, 0, 1))} {cut('h', 'y', (1, 4, 1, 1))} }}"
    )
    lab.exact(MergeSlices(), model, X)
    assert slices(model)[1] == {0: (1, 4, 1), 1: (1, 4, 1)}
    assert len(slices(model)) == 2


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        f"""
        g (float[5, 7] x, bool c) => (float[A, B] y) {{
            u = f.t(x)
            {cut("u", "h", (1, 9, 1, 1))}
            y = If (c) <
                then_branch = yes () => (float[C, D] p) {{ {cut("h", "p", (0, 2, 1, 1))} }},
                else_branch = no () => (float[E, F] r) {{ r = Neg(h) }}
            >
        }}
        <domain: "f", opset_import: ["": 16]>
        t (a) => (b) {{ {cut("a", "c", (1, 9, 0, 1))} {cut("c", "b", (1, 9, 0, 1))} }}
        """,
        domains=', "f": 1',
    )
    result = lab.exact(MergeSlices(), model, {**X, "c": np.array(True)})
    assert len(result.rewritten) == 2
    ops = [[node.op_type for node in function] for function in model.functions.values()]
    assert ops == [["Constant"] * 4 + ["Slice"]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            two((1, 4, 0, 1), (-2, 9, 0, 1)),
            "axis 0: what is cut depends on its extent; infer shapes first",
            id="keeps an index from the end on an axis of unknown extent",
        ),
        pytest.param(
            two((9, 0, 0, -1), (0, 2, 0, 1)),
            "axis 0: what is cut depends on its extent; infer shapes first",
            id="keeps a negative step on an axis of unknown extent",
        ),
        pytest.param(
            two((-9, -99, 1, -1), (0, 1, 1, 1), STATIC),
            "axis 1: a negative step means different things to different tools here",
            id="keeps a negative step that starts before the first element",
        ),
        pytest.param(
            two((1, BIG, 1, -1), (0, 1, 1, 1), STATIC),
            "axis 1: a negative step means different things to different tools here",
            id="keeps a negative step that ends at the largest number",
        ),
        pytest.param(
            f"{HEAD} {{ u = Neg(x) {cut('u', 'h', (1, 4, 1, 1))} {cut('h', 'y', (1, 3, -1, 1))} }}",
            "the rank is unknown, and so whether the axes are the same; infer shapes first",
            id="keeps axes that cannot be compared",
        ),
        pytest.param(
            f"{HEAD} {{ n = Shape(x) h = Slice(x, n, n) {cut('h', 'y', (1, 3, -1, 1))} }}",
            "starts, ends, axes or steps are computed",
            id="keeps computed operands",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    result = MergeSlices().run(model)
    assert lab.ops(model).count("Slice") == 2
    assert lab.reasons(result.skipped) == {"Slice -> 'y'": reason}


numbers = st.sampled_from((-BIG, -9, -5, -2, -1, 0, 1, 2, 3, 5, 6, 9, BIG))
cuts = st.tuples(numbers, numbers, st.sampled_from((0, 1, -1)), st.sampled_from((-2, -1, 1, 2, 3)))


@settings(max_examples=200, deadline=None)
@given(chain=st.lists(cuts, min_size=2, max_size=4), static=st.booleans())
def test_numerics_of_random_chains(lab: Lab, chain: list[Cut], static: bool) -> None:
    body = "".join(cut(f"v{i}", f"v{i + 1}", item) for i, item in enumerate(chain))
    head = (STATIC if static else HEAD).replace("x)", "v0)").replace("y)", f"v{len(chain)})")
    lab.exact(MergeSlices(), lab.model(f"{head} {{ {body} }}"), {"v0": X["x"]})


def test_agrees_with_the_reference_evaluator(lab: Lab) -> None:
    model = lab.model(two((-1, -99, 1, -1), (1, 99, 1, 2), STATIC))
    before = ReferenceEvaluator(ir.to_proto(model))
    MergeSlices().run(model)
    after = ReferenceEvaluator(ir.to_proto(model))
    for old, new in zip(before.run(None, X), after.run(None, X), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
