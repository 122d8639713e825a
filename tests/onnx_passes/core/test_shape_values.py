"""What is certain of an integer tensor is what onnxruntime computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_passes.core.contract import ModelError
from onnx_passes.core.shape_values import Axis, Known, evaluate
from onnx_passes.numerics.compare import same_bits
from onnx_passes.numerics.runner import Runner
from tests.onnx_passes.conftest import Lab

if TYPE_CHECKING:
    import onnx_ir as ir

HEAD = "g (float[2, 3, 4] x, float[N, 3, W, 5] u, int64[2, 2] m, float[Q] f) => (int64[K] y)"
HELD = """<int64[1] first = {0}, int64[1] minus = {-1}, int64[2] pair = {1, 0}, int64 two = {2},
int64[3] odd = {7, -7, 3}, int64[3] signs = {3, 3, -2}, int64[2] square = {2, 2}, int64 zero = {0},
int64[3] big = {4294967296, 0, 0}, int64[2] wide = {9, 9}>"""


def certain(lab: Lab, body: str) -> dict[str, Known]:
    """Return what is certain of each value of a graph."""
    model = lab.model(f"{HEAD} {HELD} {{ {body} }}")
    known: dict[ir.Value, Known] = {}
    for node in model.graph:
        found = evaluate(node, known)
        if found is not None:
            known[node.outputs[0]] = found
    return {value.name or "": found for value, found in known.items()}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("y = Shape(x)", [2, 3, 4], id="Shape"),
        pytest.param("y = Shape<start = -2>(x)", [3, 4], id="a part of Shape"),
        pytest.param("y = Size(x)", 24, id="Size"),
        pytest.param("s = Shape(x) y = Gather(s, two)", 4, id="Gather of a scalar"),
        pytest.param("s = Shape(x) y = Gather(s, minus)", [4], id="Gather from the end"),
        pytest.param("s = Shape(x) y = Gather(odd, pair)", [-7, 7], id="Gather of constants"),
        pytest.param("s = Shape(x) y = Slice(s, minus, big, first, minus)", None, id="no end"),
        pytest.param("s = Shape(x) y = Slice(s, first, minus)", [2, 3], id="Slice"),
        pytest.param(
            "s = Shape(x) e = Concat <axis = 0> (s, first) r = Reshape(e, square) "
            "t = Transpose(r) y = Slice(t, minus, big, first, minus)",
            None,
            id="a Slice to the largest number",
        ),
        pytest.param(
            "s = Shape(x) e = Concat <axis = 0> (s, first) r = Reshape(e, square) "
            "c = Concat <axis = -1> (r, r) y = Slice(c, first, minus, minus)",
            [[2, 3, 2], [4, 0, 4]],
            id="two axes",
        ),
        pytest.param("s = Shape(x) y = Mod(s, two)", [0, 1, 0], id="Mod"),
        pytest.param("y = Mod(odd, signs)", [1, 2, -1], id="Mod of negative numbers"),
        pytest.param("y = Div(odd, signs)", [2, -2, -1], id="Div of negative numbers"),
        pytest.param("s = Shape(x) y = Mod<fmod = 1>(s, two)", None, id="fmod"),
        pytest.param("s = Shape(x) y = Mod(s, zero)", [None] * 3, id="Mod by 0"),
        pytest.param(
            "y = ConstantOfShape<value = int64[1] {7}>(square)", [[7, 7], [7, 7]], id="filled"
        ),
        pytest.param("y = ConstantOfShape<value = int64[1] {7}>(wide)", None, id="too many"),
        pytest.param("y = ConstantOfShape(square)", None, id="floats"),
        pytest.param(
            "s = Shape(x) r = Gather(s, first) y = Expand(r, square)", [[2, 2]] * 2, id="e"
        ),
        pytest.param("s = Shape(x) r = Gather(s, first) y = Expand(r, wide)", None, id="too wide"),
        pytest.param("s = Shape(x) y = Unsqueeze(s, pair)", [[[2, 3, 4]]], id="Unsqueeze"),
        pytest.param("s = Shape(x) e = Unsqueeze(s, pair) y = Squeeze(e)", [2, 3, 4], id="Squeeze"),
        pytest.param("s = Shape(x) y = Squeeze(s, first)", None, id="Squeeze of more than one"),
        pytest.param("s = Shape(x) y = Reshape(s, square)", None, id="Reshape to another size"),
        pytest.param("y = Add(m, two)", [[None, None]] * 2, id="what is fed"),
    ],
)
def test_evaluates(lab: Lab, body: str, expected: Any) -> None:  # noqa: ANN401
    found = certain(lab, body).get("y")
    assert (None if found is None else found.elements.tolist()) == expected


def test_an_extent_that_is_no_number_stays_what_it_is(lab: Lab) -> None:
    known = certain(
        lab, "s = Shape(u) t = Slice(s, first, two_, first) y = Mul(s, s)".replace("two_", "minus")
    )
    n, three, w = known["t"].listed()
    assert three == 3
    assert isinstance(n, Axis)
    assert isinstance(w, Axis)
    assert (n.value.name, n.axis, w.axis) == ("u", 0, 2)
    assert known["t"].array() is None
    assert known["y"].listed() == [None, 9, None, 25]


OPERATORS = ("Add", "Sub", "Mul", "Div", "Mod")


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return nodes that compute with the shape of x, and what they make."""
    lines, made = ["v0 = Shape(x)"], ["v0"]
    constants = ["first", "minus", "pair", "two", "odd", "signs"]
    for index in range(1, draw(st.integers(1, 8))):
        name, source = f"v{index}", draw(st.sampled_from(made))
        other = draw(st.sampled_from([*made, *constants]))
        lines.append(
            f"{name} = "
            + draw(
                st.sampled_from(
                    [
                        f"Gather(v0, {draw(st.sampled_from(['first', 'pair', 'two', 'minus']))})",
                        f"Concat <axis = 0> ({source}, {other})",
                        f"Concat <axis = -1> ({source}, {source})",
                        f"Slice({source}, first, minus)",
                        f"Slice({source}, minus, minus, first)",
                        f"Unsqueeze({source}, {draw(st.sampled_from(['first', 'minus', 'pair']))})",
                        f"Squeeze({source})",
                        f"Reshape({source}, {draw(st.sampled_from(['minus', 'square', 'pair']))})",
                        f"Transpose({source})",
                        f"Expand({source}, {draw(st.sampled_from(['square', 'first', 'wide']))})",
                        f"ConstantOfShape<value = int64[1] {{5}}>({source})",
                        f"{draw(st.sampled_from(OPERATORS))}({source}, {other})",
                        f"Size({source})",
                        f"Identity({source})",
                    ]
                )
            )
        )
        made.append(name)
    return " ".join(lines), made


@given(programs())
@settings(max_examples=300, deadline=None)
def test_what_is_certain_is_what_onnxruntime_computes(program: tuple[str, list[str]]) -> None:
    body, made = program
    known = certain(Lab(), f"{body} y = Identity(v0)")
    assert "v0" in known
    for name in made:
        array = known[name].array() if name in known else None
        if array is None:
            continue
        model = Lab.model(f"{HEAD} {HELD} {{ {body} y = Identity({name}) }}")
        keep_only(model, "y")
        try:
            runner = Runner(model)
            feeds = {"x": np.zeros((2, 3, 4), np.float32)} if runner.input_names else {}
            result = runner.run(feeds)["y"]
        except (ModelError, RuntimeError):
            continue  # nodes that no model may hold
        assert same_bits(result, array), name


def keep_only(model: ir.Model, name: str) -> None:
    """Remove what does not lead to the output, and inputs that nothing reads."""
    for node in reversed(model.graph):
        if not node.outputs[0].uses() and node.outputs[0].name != name:
            model.graph.remove(node, safe=True)
    for value in list(model.graph.inputs):
        if not value.uses():
            model.graph.inputs.remove(value)
