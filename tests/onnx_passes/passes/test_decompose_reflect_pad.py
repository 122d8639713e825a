from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.contract import UsageError
from onnx_passes.passes.decompose_reflect_pad import DecomposeReflectPad

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

PAD = 'Pad <mode = "reflect">'
FLAT = f"g (float[A, B] x) => (float[C, D] y) <int64[4] p = {{0, 1, 0, 2}}> {{ y = {PAD}(x, p) }}"


def text(pads: list[int], shape: str, result: str, dtype: str = "float") -> str:
    values = ", ".join(map(str, pads))
    return f"""g ({dtype}[{shape}] x) => ({dtype}[{result}] y)
        <int64[{len(pads)}] p = {{{values}}}> {{ y = {PAD}(x, p) }}"""


def test_rewrites_to_slices_and_a_concat(lab: Lab) -> None:
    model = lab.model(FLAT)
    result = lab.exact(DecomposeReflectPad(), model)
    assert lab.ops(model) == ["Slice"] * 3 + ["Concat"]
    assert lab.reasons(result.rewritten) == {"Pad -> 'y'": "4 nodes"}
    assert "p" not in lab.initializers(model)


def test_rewrites_a_wide_margin_to_a_gather(lab: Lab) -> None:
    model = lab.model(text([0, 9, 0, 5], "2, 10", "2, 24"))
    lab.exact(DecomposeReflectPad(), model)
    assert lab.ops(model) == ["Gather"]


def test_rewrites_to_gathers_where_no_slices_are_wanted(lab: Lab) -> None:
    model = lab.model(text([1, 0, 0, 1], "2, 10", "3, 11"))
    lab.exact(DecomposeReflectPad(max_slices=0), model)
    assert lab.ops(model) == ["Gather", "Gather"]


def test_rewrites_two_in_one_model_and_keeps_pads_that_another_reads(lab: Lab) -> None:
    model = lab.model(f"""
        g (float[2, 6] x) => (float[2, 12] y, int64[4] q) <int64[4] p = {{0, 1, 0, 2}}> {{
            h = {PAD}(x, p)
            y = {PAD}(h, p)
            q = Neg(p)
        }}""")
    assert len(lab.exact(DecomposeReflectPad(), model).rewritten) == 2
    assert lab.ops(model).count("Concat") == 2
    assert "p" in lab.initializers(model)


@pytest.mark.parametrize("max_slices", [0, 8])
def test_rewrites_what_has_no_recorded_type(lab: Lab, max_slices: int) -> None:
    model = lab.model(f"""
        g (float[2, 6] x) => (float[2, 7] y) <int64[4] p = {{0, 2, 0, -1}}> {{
            h = Relu(x)
            i = {PAD}(h, p)
            y = Neg(i)
        }}""")
    relu = model.graph[0].outputs[0]
    relu.shape, relu.type = model.graph.inputs[0].shape, None
    assert lab.exact(DecomposeReflectPad(max_slices), model).rewritten


def test_rewrites_inside_a_branch_and_reads_the_outer_graph(lab: Lab) -> None:
    model = lab.model(f"""
        g (float[2, 6] x, bool c) => (float[2, 7] y) <int64[4] p = {{0, 1, 0, 0}}> {{
            y = If (c) <
                then_branch = yes () => (float[2, 7] a) {{ a = {PAD}(x, p) }},
                else_branch = no () => (float[2, 7] b) {{ b = {PAD}(x, p) }}
            >
        }}""")
    lab.exact(DecomposeReflectPad(), model)
    assert "Pad" not in lab.all_ops(model)


def test_rewrites_the_body_of_a_function(lab: Lab) -> None:
    model = lab.model(
        f"""g (float[2, 6] x) => (float[2, 7] y) {{ y = f.mirror(x) }}
        <domain: "f", opset_import: ["": 16]>
        mirror (u) => (v) {{
            p = Constant <value = int64[4] {{0, 1, 0, 0}}> ()
            v = {PAD}(u, p)
        }}""",
        domains=', "f": 1',
    )
    lab.exact(DecomposeReflectPad(), model)
    body = next(iter(model.functions.values()))
    assert "Pad" not in [node.op_type for node in body]


@pytest.mark.parametrize("mode", ["", '<mode = "edge">', '<mode = "constant">'])
def test_leaves_other_modes_alone_without_a_word(lab: Lab, mode: str) -> None:
    model = lab.model(FLAT.replace('<mode = "reflect">', mode))
    result = lab.apply(DecomposeReflectPad(), model)
    assert (result.rewritten, result.skipped) == ([], [])


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        pytest.param(
            'g (float[2, 6] x) => (float[2, 7] y) { y = Pad <mode = "reflect", '
            "pads = [0, 1, 0, 0]>(x) }",
            10,
            "opset 10 keeps pads in an attribute and Slice without inputs",
            id="opset 10",
        ),
        pytest.param(
            f"g (float[2, 6] x, int64[4] p) => (float[A, B] y) {{ y = {PAD}(x, p) }}",
            16,
            "'p' is no constant",
            id="pads that a caller gives",
        ),
        pytest.param(
            "g (float[2, 6] x, int64[1] a) => (float[A, B] y) <int64[2] p = {1, 1}> "
            f"{{ y = {PAD}(x, p, , a) }}",
            18,
            "'a' is no constant",
            id="axes that a caller gives",
        ),
        pytest.param(
            text([0, 0, 0, 0], "2, 6", "2, 6"), 16, "its pads are all 0", id="nothing to pad"
        ),
        pytest.param(
            text([0, 3, 0, 0], "2, 3", "2, 6"),
            16,
            "axis 1 has 3 elements, too few to mirror 3",
            id="an axis shorter than its pad",
        ),
        pytest.param(
            text([0, -3, 0, 2], "2, 5", "2, 4"),
            16,
            "axis 1 has 2 elements, too few to mirror 2",
            id="an axis that is too short after the cut",
        ),
        pytest.param(
            text([0, 9, 0, 0], "2, L", "2, M"),
            16,
            "axis 1 needs 9 slices and its extent is unknown; run infer-shapes first or raise "
            "max_slices (now 8)",
            id="a wide margin of an unknown extent",
        ),
    ],
)
def test_leaves_alone(lab: Lab, body: str, opset: int, reason: str) -> None:
    model = lab.model(body, opset=opset)
    result = lab.apply(DecomposeReflectPad(), model)
    assert lab.reasons(result.skipped) == {"Pad -> 'y'": reason}
    assert not result.rewritten


def test_refuses_a_negative_number_of_slices() -> None:
    with pytest.raises(UsageError, match="max_slices is -1, expected 0 or more"):
        DecomposeReflectPad(max_slices=-1)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("max_slices", [0, 8])
@pytest.mark.parametrize(
    ("shape", "pads"),
    [
        pytest.param((5,), (1, 0), id="one element before the only axis"),
        pytest.param((2, 3), (0, 2, 0, 2), id="the widest margins an axis takes"),
        pytest.param((1, 2, 4, 5), (0, 0, 1, 1, 0, 0, 1, 1), id="a border of one around a picture"),
        pytest.param((2, 3, 4, 5), (1, 0, 2, 3, 0, 2, 0, 1), id="every side its own"),
        pytest.param((2, 2, 3, 3, 3), (0, 0, 1, 0, 2, 0, 0, 0, 2, 1), id="rank 5"),
        pytest.param((4, 6), (-1, 2, 2, -1), id="cut on one side, mirrored on the other"),
        pytest.param((4, 6), (-1, -2, 0, 0), id="cut only"),
    ],
)
def test_numerics_equal_both_oracles_bit_for_bit(
    lab: Lab, shape: tuple[int, ...], pads: tuple[int, ...], opset: int, max_slices: int
) -> None:
    rank = len(shape)
    result = [size + pads[i] + pads[i + rank] for i, size in enumerate(shape)]
    body = text(list(pads), ", ".join(map(str, shape)), ", ".join(map(str, result)))
    model = lab.model(body, opset=opset)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x.flat[0], x.flat[1], x.flat[2] = np.nan, -0.0, np.inf
    before = onnx.load_from_string(ir.to_proto(model).SerializeToString())
    result_notes = lab.exact(DecomposeReflectPad(max_slices), model, {"x": x})
    assert len(result_notes.rewritten) == 1
    if min(pads) >= 0:  # onnx.reference takes no negative pads
        expected = ReferenceEvaluator(before).run(None, {"x": x})[0]  # type: ignore[index]
        np.testing.assert_array_equal(lab.outputs(model, {"x": x})["y"], expected)


@pytest.mark.parametrize("axes", ["{2, 3}", "{-2, -1}", "{3, 2}"])
def test_numerics_with_axes_of_opset_18(lab: Lab, axes: str) -> None:
    model = lab.model(
        f"""g (float[N, 2, H, W] x) => (float[N, 2, R, S] y)
        <int64[4] p = {{1, 2, 0, 3}}, int64[2] a = {axes}> {{ y = {PAD}(x, p, , a) }}""",
        opset=18,
    )
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 7)).astype(np.float32)
    assert lab.exact(DecomposeReflectPad(), model, {"x": x}).rewritten
    assert lab.initializers(model).count("a") == 0


@pytest.mark.parametrize("dtype", ["int32", "float16", "double", "int64", "uint8"])
def test_numerics_for_other_dtypes(lab: Lab, dtype: str) -> None:
    model = lab.model(text([0, 2, 0, 1], "2, 4", "2, 7", dtype))
    assert lab.exact(DecomposeReflectPad(), model).rewritten


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_numerics_of_random_pads(lab: Lab, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    before = [data.draw(st.integers(-(size - 1) // 2, size - 1)) for size in shape]
    after = [
        data.draw(st.integers(-(size - 1) // 2 if first >= 0 else 0, size - 1))
        for size, first in zip(shape, before, strict=True)
    ]
    result = [sum(sizes) for sizes in zip(shape, before, after, strict=True)]
    model = lab.model(text([*before, *after], str(shape)[1:-1], str(result)[1:-1]))
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    cut = [s + min(b, 0) + min(a, 0) for s, b, a in zip(shape, before, after, strict=True)]
    short = [max(b, a, 0) >= max(c, 1) for b, a, c in zip(before, after, cut, strict=True)]
    assume(not any(short) and any([*before, *after]))
    max_slices = data.draw(st.sampled_from((0, 3, 8)))
    assert lab.exact(DecomposeReflectPad(max_slices), model, {"x": x}).rewritten
