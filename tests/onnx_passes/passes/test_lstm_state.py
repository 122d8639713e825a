from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.passes.lstm_state import LstmState

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
MAKE = """
    shape = Shape(x)
    batch = Slice(shape, i1, i2, i0)
    sizes = Concat <axis = 0> (i4, batch, i3)
    zeros = Expand(zero, sizes)
    whole = Identity(zeros)
    h = Slice(whole, i0, i2, i0)
    c = Slice(whole, i2, i4, i0)
"""
INTEGERS = ", ".join(f"int64[1] i{number} = {{{number}}}" for number in range(5))


def recurrent(
    lab: Lab,
    make: str = MAKE,
    kind: str = "LSTM",
    call: str = "(x, w, r, , , h, c)",
    *,
    weights: str = "float[1] zero = {0}",
    inputs: str = "",
    layout: int = 0,
    x: str = "float[5, N, 2] x",
    after: str = "",
    outputs: str = "",
) -> ir.Model:
    """Return a bidirectional LSTM as a converter writes it: batch from the shape, states zero."""
    rows = 3 * GATES[kind]
    attributes = 'hidden_size = 3, direction = "bidirectional"' + (", layout = 1" if layout else "")
    shape = "a, b, c, d"
    text = f"""
        g ({x}, float[2, {rows}, 2] w, float[2, {rows}, 3] r{inputs}) => (float[{shape}] y{outputs})
        <{INTEGERS}, {weights}> {{
            {make}
            y = {kind} <{attributes}> {call}
            {after}
        }}
    """
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((2, rows, 2)).astype(np.float32),
        "r": rng.standard_normal((2, rows, 3)).astype(np.float32),
    }
    return lab.bind(lab.model(text), arrays)


def feeds(**more: Any) -> dict[str, Any]:  # noqa: ANN401  arrays of any kind
    x = np.random.default_rng(1).standard_normal((5, 4, 2)).astype(np.float32)
    return {"x": x, **more}


def test_rewrites_the_chain_of_a_converter(lab: Lab) -> None:
    model = recurrent(lab)
    result = lab.exact(LstmState(), model, feeds())
    assert lab.ops(model) == ["LSTM"]
    assert len(model.graph[0].inputs) == 3
    assert lab.initializers(model) == ["r", "w"]
    assert [note.text for note in result.rewritten] == [
        "initial_h 'h' dropped",
        "initial_c 'c' dropped",
    ]


ZEROS = [
    pytest.param("h = Expand(zero, sizes)", id="Expand"),
    pytest.param("h = ConstantOfShape(sizes)", id="ConstantOfShape without a value"),
    pytest.param("h = ConstantOfShape <value = float[1] {0}> (sizes)", id="ConstantOfShape of 0"),
    pytest.param(
        "k = ConstantOfShape <value = int64[1] {0}> (sizes) h = Cast <to = 1> (k)", id="Cast"
    ),
    pytest.param(
        "k = Expand(zero, sizes) l, m = Split <axis = 0> (k) h = Concat <axis = 0> (m, l)",
        id="Split and Concat",
    ),
    pytest.param("k = Expand(zero, sizes) h = Transpose <perm = [0, 1, 2]> (k)", id="Transpose"),
]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("make", ZEROS)
def test_rewrites_zeros_of_every_making(lab: Lab, make: str, kind: str) -> None:
    sizes = (
        "shape = Shape(x) batch = Slice(shape, i1, i2) sizes = Concat <axis = 0> (i2, batch, i3) "
    )
    model = recurrent(lab, sizes + make, kind, "(x, w, r, , , h)")
    lab.exact(LstmState(), model, feeds())
    assert lab.ops(model) == [kind]


@pytest.mark.parametrize(
    ("make", "x"),
    [
        pytest.param("n = Identity(five)", "float[5, 4, 2] x", id="constant lengths"),
        pytest.param(
            "k = Cast <to = 6> (i5) n = Expand(k, i4)", "float[5, 4, 2] x", id="an expanded length"
        ),
        pytest.param(
            "k = ConstantOfShape <value = int32[1] {5}> (i4) n = Identity(k)",
            "float[5, 4, 2] x",
            id="a filled length",
        ),
        pytest.param(
            "s = Shape(x) t = Gather(s, i0) c = Cast <to = 6> (t) n = Expand(c, i4)",
            "float[T, 4, 2] x",
            id="the extent of x by Gather",
        ),
        pytest.param(
            "s = Shape(x) t = Slice(s, i0, i1) c = Cast <to = 6> (t) n = Expand(c, i4)",
            "float[T, 4, 2] x",
            id="the extent of x by Slice",
        ),
    ],
)
@pytest.mark.parametrize("kind", GATES)
def test_rewrites_full_lengths(lab: Lab, kind: str, make: str, x: str) -> None:
    weights = "int32[4] five = {5, 5, 5, 5}, int64[1] i5 = {5}"
    model = recurrent(lab, make, kind, "(x, w, r, , n)", weights=weights, x=x)
    lab.exact(LstmState(), model, feeds())
    assert lab.ops(model) == [kind]


def test_rewrites_one_state_and_leaves_the_other(lab: Lab) -> None:
    model = recurrent(lab, inputs=", float[2, N, 3] d", call="(x, w, r, , , d, c)")
    given = feeds(d=np.ones((2, 4, 3), np.float32))
    result = lab.exact(LstmState(), model, given)
    assert lab.reasons(result.skipped) == {"LSTM -> 'y'": "initial_h 'd': 'd' is an input"}
    assert [note.text for note in result.rewritten] == ["initial_c 'c' dropped"]
    assert len(model.graph[-1].inputs) == 6


def test_keeps_what_others_read_and_peepholes(lab: Lab) -> None:
    model = recurrent(
        lab,
        weights="float[1] zero = {0}, float[2, 9] p = {" + ", ".join(["0.5"] * 18) + "}",
        call="(x, w, r, , , h, c, p)",
        after="z = Identity(zeros)",
        outputs=", float[a, b, c] z",
    )
    lab.exact(LstmState(), model, feeds())
    assert "Expand" in lab.ops(model)
    assert [value is None for value in model.graph[-2].inputs] == [False] * 3 + [True] * 4 + [False]


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    text = """
        g (float[5, 4, 2] x, float[1, 3, 2] w, float[1, 3, 3] r, bool q) => (float[5, 1, 4, 3] y)
        <float[1, 4, 3] h> {
            y = If (q) <then_branch = a () => (float[5, 1, 4, 3] p) {
                p = RNN <hidden_size = 3> (x, w, r, , , h) },
                else_branch = b () => (float[5, 1, 4, 3] o) { o = f.plain(x, w, r) }>
        }
        <domain: "f", opset_import: ["": 16]>
        plain (u, v, s) => (o) {
            h = Constant <value = float[1, 4, 3] {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}> ()
            o = RNN <hidden_size = 3> (u, v, s, , , h)
        }
    """
    text = text.replace("h> {", "h = {" + ", ".join("0" * 12) + "}> {", 1)
    for taken in (True, False):
        model = lab.model(text, domains=', "f": 1')
        result = lab.exact(
            LstmState(),
            model,
            {
                **feeds(q=np.array(taken)),
                "w": np.ones((1, 3, 2), np.float32),
                "r": np.ones((1, 3, 3), np.float32),
            },
        )
        assert len(result.rewritten) == 2


@pytest.mark.parametrize(
    ("parts", "call", "reason"),
    [
        pytest.param(
            {"weights": "float[1] zero = {-0.0}"},
            "(x, w, r, , , h)",
            "initial_h 'h': 'zero' holds other numbers than +0.0",
            id="minus zero",
        ),
        pytest.param(
            {"weights": "float[1] zero = {0.1}"},
            "(x, w, r, , , h)",
            "initial_h 'h': 'zero' holds other numbers than +0.0",
            id="another number",
        ),
        pytest.param(
            {"make": MAKE.replace("Identity(zeros)", "Mul(zeros, zeros)")},
            "(x, w, r, , , h)",
            "initial_h 'h': Mul -> 'whole' may make other numbers than +0.0",
            id="arithmetic",
        ),
        pytest.param(
            {
                "make": MAKE.replace(
                    "Expand(zero", "ConstantOfShape <value = float[1] {1}> (sizes) k = Expand(zero"
                )
            },
            "(x, w, r, , , h)",
            "initial_h 'h': ConstantOfShape -> 'zeros' may make other numbers than +0.0",
            id="a fill with ones",
        ),
        pytest.param(
            {"make": "", "weights": "int32[4] n = {5, 5, 4, 5}", "x": "float[5, 4, 2] x"},
            "(x, w, r, , n)",
            "sequence_lens 'n': not proven to be the length of every sequence",
            id="lengths that differ",
        ),
        pytest.param(
            {"make": "", "weights": "int32[4] n = {4, 4, 4, 4}", "x": "float[5, 4, 2] x"},
            "(x, w, r, , n)",
            "sequence_lens 'n': 4 of 5 steps",
            id="lengths that are shorter",
        ),
        pytest.param(
            {"make": "", "weights": "int32[4] n = {5, 5, 5, 5}", "x": "float[T, 4, 2] x"},
            "(x, w, r, , n)",
            "sequence_lens 'n': not proven to be the length of every sequence",
            id="a length that nothing proves",
        ),
        pytest.param(
            {
                "make": "z = Neg(x) s = Shape(z) t = Gather(s, i0) c = Cast <to = 6> (t) "
                "n = Expand(c, i4)",
                "x": "float[T, 4, 2] x",
            },
            "(x, w, r, , n)",
            "sequence_lens 'n': not proven to be the length of every sequence",
            id="the extent of another tensor",
        ),
        pytest.param(
            {
                "make": "s = Shape(x) t = Gather(s, i1) c = Cast <to = 6> (t) n = Expand(c, i4)",
                "x": "float[T, 5, 2] x",
            },
            "(x, w, r, , n)",
            "sequence_lens 'n': not proven to be the length of every sequence",
            id="the extent of another axis",
        ),
    ],
)
def test_leaves_alone(lab: Lab, parts: dict[str, Any], call: str, reason: str) -> None:
    model = recurrent(lab, call=call, **parts)
    result = lab.apply(LstmState(), model)
    assert lab.reasons(result.skipped) == {"LSTM -> 'y'": reason}
    assert not result.rewritten


def test_takes_the_length_from_the_second_axis_with_layout_1(lab: Lab) -> None:
    parts: dict[str, Any] = {"make": "", "call": "(x, w, r, , n)", "layout": 1}
    full = recurrent(lab, weights="int32[5] n = {4, 4, 4, 4, 4}", x="float[5, 4, 2] x", **parts)
    assert len(lab.apply(LstmState(), full).rewritten) == 1
    short = recurrent(lab, weights="int32[5] n = {5, 5, 5, 5, 5}", x="float[5, 4, 2] x", **parts)
    assert lab.apply(LstmState(), short).rewritten == []
