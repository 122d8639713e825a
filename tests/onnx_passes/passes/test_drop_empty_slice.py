from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.drop_empty_slice import DropEmptySlice

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

HEAD = "g (float[N, M] x, float[N, K] a, float[N, L] b) => (float[P, Q] y"
STATIC = HEAD.replace("float[N, M] x", "float[N, 4] x")
X = {
    "x": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a": np.full((3, 2), np.nan, np.float32),
    "b": np.full((3, 1), -0.0, np.float32),
}
JOIN = "y = Concat <axis = 1> (a, e, b)"


def cut(start: int, end: int, axis: int = 1, step: int = 1, names: str = "xe") -> str:
    """Return a Slice of x and its constants."""
    body = "".join(
        f"{names}{name} = Constant <value = int64[1] {{{number}}}> () "
        for name, number in zip("seak", (start, end, axis, step), strict=True)
    )
    operands = ", ".join(names + name for name in "seak")
    return f"{body} {names[1:]} = Slice({names[0]}, {operands}) "


def joined(model: ir.Model) -> list[str | None]:
    """Return what the last Concat reads."""
    last = [node for node in model.graph if node.op_type == "Concat"][-1]
    return [value.name for value in last.inputs if value is not None]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{HEAD}) {{ {cut(2, 2)} {JOIN} }}", id="start at the end"),
        pytest.param(f"{HEAD}) {{ {cut(3, 1)} {JOIN} }}", id="start after the end"),
        pytest.param(f"{HEAD}) {{ {cut(-1, -2)} {JOIN} }}", id="both counted from the end"),
        pytest.param(
            f"{HEAD}) {{ {cut(1, 3, 1, -1)} {JOIN} }}", id="backwards from before the end"
        ),
        pytest.param(
            f"{STATIC}) {{ {cut(2, -2)} {JOIN} }}", id="one from each side, extent recorded"
        ),
        pytest.param(f"{STATIC}) {{ {cut(4, 9)} {JOIN} }}", id="start behind the last element"),
        pytest.param(f"{STATIC}) {{ {cut(2, 2, -1)} {JOIN} }}", id="a negative axis of the Slice"),
        pytest.param(
            f"{HEAD}) {{ {cut(2, 2)} {JOIN.replace('= 1', '= -1')} }}", id="a negative Concat axis"
        ),
    ],
)
def test_rewrites(lab: Lab, text: str) -> None:
    model = lab.model(text)
    result = lab.exact(DropEmptySlice(), model, X)
    assert lab.ops(model) == ["Concat"]
    assert joined(model) == ["a", "b"]
    assert lab.reasons(result.rewritten) == {"Concat -> 'y'": "reads 1 empty Slices less"}


def test_rewrites_the_attributes_of_opset_9(lab: Lab) -> None:
    cut_9 = "e = Slice <axes = [1], starts = [2], ends = [2]> (x)"
    model = lab.model(f"{HEAD}) {{ {cut_9} {JOIN} }}", ir_version=4, opset=9)
    lab.exact(DropEmptySlice(), model, X)
    assert lab.ops(model) == ["Concat"]


def test_rewrites_computed_operands_where_the_extent_is_recorded(lab: Lab) -> None:
    head = HEAD.replace("(float[N, M] x", "(int64[1] n, float[N, M] x")
    model = lab.model(
        f"{head}) <float[N, 0] e> {{ i = Constant <value_ints = [1]> () "
        f"e = Slice(x, n, n, i) {JOIN} }}"
    )
    lab.exact(DropEmptySlice(), model, {**X, "n": np.array([2])})
    assert joined(model) == ["a", "b"]


def test_rewrites_two_and_the_slices_that_others_read_stay(lab: Lab) -> None:
    head = HEAD.replace("[P, Q] y", "[P, Q] y, float[R, S] e, float[T, U] z")
    model = lab.model(
        f"{head}) {{ {cut(2, 2)} {cut(3, 3, names='xf')} z = Neg(f) "
        "y = Concat <axis = 1> (e, a, f, b, e) }"
    )
    lab.exact(DropEmptySlice(), model, X)
    assert joined(model) == ["a", "b"]
    assert [name for name in lab.ops(model) if name != "Constant"] == [
        "Slice",
        "Slice",
        "Neg",
        "Concat",
    ]


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        f"""
        g (float[3, 4] x, bool c) => (float[A, B] y) {{
            u = f.t(x)
            y = If (c) <
                then_branch = yes () => (float[C, D] p) {{
                    {cut(2, 2)} p = Concat <axis = 1> (u, e) }},
                else_branch = no () => (float[E, F] r) {{ r = Neg(u) }}
            >
        }}
        <domain: "f", opset_import: ["": 16]>
        t (x) => (b) {{ {cut(1, 1, 0)} b = Concat <axis = 0> (e, x) }}
        """,
        domains=', "f": 1',
    )
    result = lab.exact(DropEmptySlice(), model, {"x": X["x"], "c": np.array(True)})
    assert len(result.rewritten) == 2
    assert lab.all_ops(model) == ["t", "If", "Concat", "Neg"]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        pytest.param(f"{HEAD}) {{ {cut(1, 2)} {JOIN} }}", [], id="keeps what takes something"),
        pytest.param(f"{HEAD}) {{ {cut(2, -2)} {JOIN} }}", [], id="keeps what may take something"),
        pytest.param(
            f"{HEAD}) {{ {cut(9, 20)} {JOIN} }}", [], id="keeps a start that may be inside"
        ),
        pytest.param(
            f"{HEAD}) {{ {cut(1, 2**63 - 1, 1, -1)} {JOIN} }}", [], id="keeps backwards to the end"
        ),
        pytest.param(
            f"{STATIC}) {{ {cut(1, 2**63 - 1, 1, -1)} {JOIN} }}",
            [],
            id="keeps backwards to the end of a known extent",
        ),
        pytest.param(
            f"{HEAD}) {{ {cut(-2, -1, 1, -1)} {JOIN} }}", [], id="keeps what backwards may clamp"
        ),
        pytest.param(
            f"{HEAD}) {{ i = Constant <value_ints = [1]> () n = Neg(i) "
            f"e = Slice(x, n, n, i) {JOIN} }}",
            ["the operands of Slice -> 'e' are computed"],
            id="keeps computed operands",
        ),
        pytest.param(
            "g (float[3, 4] x) => (float[P, Q] y) "
            f"{{ {cut(1, 1, 0)} {cut(2, 2, 0, names='xf')} y = Concat <axis = 1> (e, f) }}",
            [
                "Slice -> 'e' is empty along another axis",
                "Slice -> 'f' is empty along another axis",
            ],
            id="keeps what is empty along another axis",
        ),
        pytest.param(
            f"{HEAD}) {{ i = Neg(x) {cut(1, 1, -1, names='ie')} {JOIN} }}",
            ["the rank of Slice -> 'e' is unknown; infer shapes first"],
            id="keeps axes that cannot be compared",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, reasons: list[str]) -> None:
    model = lab.model(text)
    before = joined(model)
    inputs = {name: X[name] for name in (value.name or "" for value in model.graph.inputs)}
    result = lab.exact(DropEmptySlice(), model, inputs)
    assert joined(model) == before
    assert [note.text for note in result.skipped] == reasons


def test_keeps_the_last_of_all_empty_inputs(lab: Lab) -> None:
    model = lab.model(
        f"g (float[3, 4] x) => (float[P, Q] y) {{ {cut(1, 1)} {cut(2, 2, names='xf')} "
        "y = Concat <axis = 1> (e, f) }"
    )
    result = lab.exact(DropEmptySlice(), model, {"x": X["x"]})
    assert joined(model) == ["f"]
    assert [note.text for note in result.skipped] == ["all it joins is empty; the last stays"]


numbers = st.integers(-6, 6)


@settings(max_examples=60, deadline=None)
@given(
    start=numbers,
    end=numbers,
    step=st.sampled_from((-2, -1, 1, 2)),
    static=st.booleans(),
    axes=st.tuples(st.sampled_from((1, -1)), st.sampled_from((1, -1))),
)
def test_numerics_of_random_cuts(
    lab: Lab, start: int, end: int, step: int, static: bool, axes: tuple[int, int]
) -> None:
    head = STATIC if static else HEAD
    join = JOIN.replace("= 1", f"= {axes[1]}")
    model = lab.model(f"{head}) {{ {cut(start, end, axes[0], step)} {join} }}")
    before = ReferenceEvaluator(ir.to_proto(model))
    DropEmptySlice().run(model)
    after = ReferenceEvaluator(ir.to_proto(model))
    for old, new in zip(before.run(None, X), after.run(None, X), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
    lab.exact(
        DropEmptySlice(), lab.model(f"{head}) {{ {cut(start, end, axes[0], step)} {join} }}"), X
    )
