from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.contract import UsageError
from onnx_passes.passes.split_large_conv import SplitLargeConv

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
TEXT = """
g (float[N, 2, 9, 10] x, float[4, 2, 5, 3] w, float[4] b) => (float[N, 4, R, S] y) {
    y = Conv(x, w, b)
}
"""
SAME = TEXT.replace("Conv(", "Conv <pads = [2, 1, 2, 1]>(")


def weighted(lab: Lab, text: str, opset: int = 16) -> ir.Model:
    """Parse a model and make random constants of w and b."""
    model = lab.model(text, opset=opset)
    rng = np.random.default_rng(0)
    shapes = {v.name: [d for d in v.shape or () if isinstance(d, int)] for v in model.graph.inputs}
    dtypes = {v.name: v.dtype.numpy() for v in model.graph.inputs if v.dtype is not None}
    given = {n: rng.standard_normal(shapes[n]).astype(dtypes[n]) for n in "wb" if n in shapes}
    return lab.bind(model, given)


def picture(model: ir.Model, seed: int = 1) -> Array:
    value = model.graph.inputs[0]
    assert value.shape is not None
    assert value.dtype is not None
    shape = [dim if isinstance(dim, int) else 2 for dim in value.shape]
    return np.random.default_rng(seed).standard_normal(shape).astype(value.dtype.numpy())


def magnitudes(model: ir.Model) -> ir.Model:
    """Return a model that computes S of the docstring when it is fed |x|."""
    copy = model.clone()
    for name, value in copy.graph.initializers.items():
        assert value.const_value is not None
        value.const_value = ir.Tensor(np.abs(value.const_value.numpy()), name=name)
    return copy


def assert_within_the_bound(lab: Lab, item: SplitLargeConv, model: ir.Model, x: Array) -> None:
    """Split and compare with onnxruntime and onnx.reference on the model before."""
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    products = int(np.prod(weight.shape.numpy()[1:]))
    size = lab.outputs(magnitudes(model), {"x": np.abs(x)})["y"].astype(np.float64)
    oracles = [lab.outputs(model, {"x": x})["y"]]
    if (
        model.graph[0].attributes.get_string("auto_pad") != "VALID"
    ):  # which onnx.reference 1.17 pads
        oracles.append(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])  # type: ignore[index]
    assert lab.apply(item, model).rewritten
    after = lab.outputs(model, {"x": x})["y"]
    parts = lab.ops(model).count("Conv")
    bound = (products + parts + 1) * np.finfo(x.dtype).eps * size
    for expected in oracles:
        assert after.shape == expected.shape
        gap = np.abs(after.astype(np.float64) - expected)
        assert (gap <= bound).all(), f"{(gap / bound).max():.2f} times the bound"


def test_rewrites_to_a_sum_over_slices_of_the_kernel(lab: Lab) -> None:
    model = weighted(lab, TEXT)
    result = lab.apply(SplitLargeConv(max_kernel=3), model)
    assert lab.ops(model) == ["Slice", "Conv", "Slice", "Conv", "Add"]
    assert lab.reasons(result.rewritten) == {"Conv -> 'y'": "2 parts of the kernel [5, 3]"}
    assert "w" not in lab.initializers(model)
    assert [len(node.inputs) for node in model.graph if node.op_type == "Conv"] == [3, 2]


def test_rewrites_without_a_slice_where_the_pads_cover_it(lab: Lab) -> None:
    text = TEXT.replace("Conv(", "Conv <pads = [4, 2, 4, 2]>(")
    model = weighted(lab, text.replace("9, 10] x", "H, W] x"))
    lab.apply(SplitLargeConv(max_kernel=3), model)
    assert lab.ops(model) == ["Conv", "Conv", "Add"]


def test_rewrites_with_no_shape_recorded(lab: Lab) -> None:
    text = TEXT.replace("y =", "h =").replace("Conv(", "Conv <pads = [4, 2, 4, 2]>(")
    model = weighted(lab, text.replace("b)\n}", "b)\n    y = Relu(h)\n}"))
    assert_within_the_bound(lab, SplitLargeConv(max_kernel=3), model, picture(model))


def test_rewrites_both_sides(lab: Lab) -> None:
    model = weighted(lab, SAME)
    lab.apply(SplitLargeConv(max_kernel=2), model)
    assert lab.ops(model).count("Conv") == 6
    assert lab.ops(model).count("Add") == 5


def test_rewrites_at_the_limit_of_the_target(lab: Lab) -> None:
    text = TEXT.replace("9, 10] x", "300, 1] x").replace("[4, 2, 5, 3] w", "[4, 2, 256, 1] w")
    model = weighted(lab, text)
    lab.apply(SplitLargeConv(), model)
    kernels = [n.attributes.get_ints("kernel_shape") for n in model.graph if n.op_type == "Conv"]
    assert kernels == [(128, 1), (128, 1)]


def test_rewrites_two_that_share_a_weight(lab: Lab) -> None:
    text = TEXT.replace("=> (", "=> (float[N, 4, R, S] z, ").replace("y =", "z = Conv(x, w) y =")
    model = weighted(lab, text)
    assert len(lab.apply(SplitLargeConv(max_kernel=3), model).rewritten) == 2
    assert "w" not in lab.initializers(model)


def test_a_weight_with_another_reader_stays(lab: Lab) -> None:
    text = TEXT.replace("=> (", "=> (float[4, 2, 5, 3] z, ").replace("y =", "z = Neg(w) y =")
    model = weighted(lab, text)
    lab.apply(SplitLargeConv(max_kernel=3), model)
    assert "w" in lab.initializers(model)


def test_rewrites_inside_a_branch_and_a_function(lab: Lab) -> None:
    model = lab.model(
        """g (float[1, 1, 6] x, bool c) => (float[1, 1, 8] y) <float[1, 1, 3] w = {1, 2, 3}> {
            y = If (c) <
                then_branch = yes () => (float[1, 1, 8] a) { a = Conv <pads = [0, 4]> (x, w) },
                else_branch = no () => (float[1, 1, 8] b) { b = f.conv(x) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        conv (u) => (v) {
            w = Constant <value = float[1, 1, 3] {3, 2, 1}> ()
            v = Conv <pads = [2, 2]> (u, w)
        }""",
        domains=', "f": 1',
    )
    assert len(lab.apply(SplitLargeConv(max_kernel=2), model).rewritten) == 2
    assert lab.all_ops(model).count("Conv") == 2
    body = next(iter(model.functions.values()))
    assert [node.op_type for node in body].count("Conv") == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            TEXT.replace("Conv(", "Conv <strides = [1, 2]>("), "strides [1, 2]", id="strides"
        ),
        pytest.param(
            TEXT.replace("Conv(", "Conv <dilations = [2, 1]>("), "dilations [2, 1]", id="dilations"
        ),
        pytest.param(
            SAME.replace("9, 10] x", "H, 10] x"),
            "the extent of axis 2 of 'x' is unknown; run infer-shapes first",
            id="an unknown extent that a Slice must cut",
        ),
        pytest.param(
            TEXT.replace("Conv(", "Conv <pads = [0, 0, 9, 0]>(").replace("9, 10] x", "2, 10] x"),
            "a slice of its kernel meets only padding: axis 2 has 2 elements",
            id="a slice of the kernel that meets only padding",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = weighted(lab, text)
    result = lab.apply(SplitLargeConv(max_kernel=3), model)
    assert lab.reasons(result.skipped) == {"Conv -> 'y'": reason}
    assert not result.rewritten


def test_leaves_alone_a_weight_that_a_caller_gives(lab: Lab) -> None:
    model = lab.model(TEXT.replace("Conv(", "Conv <kernel_shape = [5, 3]>("))
    result = lab.apply(SplitLargeConv(max_kernel=3), model)
    assert lab.reasons(result.skipped) == {"Conv -> 'y'": "its weight is no constant"}


def test_leaves_small_kernels_alone_without_a_word(lab: Lab) -> None:
    for model in (weighted(lab, TEXT), lab.model(TEXT)):
        result = lab.apply(SplitLargeConv(max_kernel=5), model)
        assert (result.rewritten, result.skipped) == ([], [])


def test_refuses_a_limit_of_zero() -> None:
    with pytest.raises(UsageError, match="max_kernel is 0, expected 1 or more"):
        SplitLargeConv(max_kernel=0)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="no pads attribute"),
        pytest.param(SAME, id="same pads"),
        pytest.param(SAME.replace("pads", "kernel_shape = [5, 3], pads"), id="kernel_shape given"),
        pytest.param(SAME.replace("2, 1, 2, 1", "0, 2, 3, 1"), id="pads that differ"),
        pytest.param(SAME.replace("2, 1, 2, 1", "4, 0, 5, 3"), id="pads wider than the kernel"),
        pytest.param(SAME.replace("x, w, b", "x, w"), id="no bias"),
        pytest.param(
            SAME.replace("2, 1, 2, 1]", "2, 1, 2, 1], group = 2").replace("4, 2, 5", "4, 1, 5"),
            id="two groups",
        ),
        pytest.param(
            TEXT.replace("Conv(", 'Conv <auto_pad = "SAME_UPPER">(').replace("5, 3] w", "4, 2] w"),
            id="auto_pad SAME_UPPER",
        ),
        pytest.param(
            TEXT.replace("Conv(", 'Conv <auto_pad = "SAME_LOWER">(').replace("5, 3] w", "4, 2] w"),
            id="auto_pad SAME_LOWER",
        ),
        pytest.param(TEXT.replace("Conv(", 'Conv <auto_pad = "VALID">('), id="auto_pad VALID"),
        pytest.param(
            SAME.replace("9, 10]", "9]")
            .replace("5, 3]", "5]")
            .replace("R, S]", "R]")
            .replace("2, 1, 2, 1", "2, 1"),
            id="one spatial axis",
        ),
        pytest.param(
            SAME.replace("9, 10]", "5, 6, 4]")
            .replace("5, 3]", "3, 2, 4]")
            .replace("R, S]", "R, S, T]")
            .replace("2, 1, 2, 1", "1, 0, 2, 0, 1, 1"),
            id="three spatial axes",
        ),
    ],
)
def test_numerics_within_the_bound(lab: Lab, text: str, limit: int) -> None:
    model = weighted(lab, text, opset=11)
    assert_within_the_bound(lab, SplitLargeConv(max_kernel=limit), model, picture(model))


def test_numerics_within_the_bound_when_the_parts_cancel(lab: Lab) -> None:
    model = weighted(lab, SAME)
    x = picture(model)
    x[:, :, ::2] += 1e4
    x[:, :, 1::2] -= 1e4
    assert_within_the_bound(lab, SplitLargeConv(max_kernel=2), model, x)


def test_numerics_carry_nan_to_the_same_places(lab: Lab) -> None:
    model = weighted(lab, SAME)
    x = picture(model)
    x[0, 0, 0, 0], x[1, 1, 8, 5] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(SplitLargeConv(max_kernel=2), model)
    after = lab.outputs(model, {"x": x})["y"]
    np.testing.assert_array_equal(np.isfinite(after), np.isfinite(before))
    assert np.isnan(before).any()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_numerics_of_random_kernels_and_pads(lab: Lab, data: st.DataObject) -> None:
    sides, sizes = ([data.draw(st.integers(1, 7)) for _ in range(2)] for _ in range(2))
    pads = [data.draw(st.integers(0, 4)) for _ in range(4)]
    assume(all(n + p + q >= k for n, p, q, k in zip(sizes, pads, pads[2:], sides, strict=False)))
    limit = data.draw(st.integers(1, 6))
    assume(max(sides) > limit)
    text = TEXT.replace("9, 10]", f"{sizes[0]}, {sizes[1]}]").replace("5, 3]", f"{sides}"[1:])
    model = weighted(lab, text.replace("Conv(", f"Conv <pads = {pads}>("))
    item = SplitLargeConv(max_kernel=limit)
    if skipped := item.run(model.clone()).skipped:
        assert "only padding" in skipped[0].text
    else:
        assert_within_the_bound(lab, item, model, picture(model))
        parts = [node.attributes.get_ints("kernel_shape") for node in model.graph]
        assert max(side for part in parts for side in part or ()) <= limit


def test_numerics_fail_when_a_slice_is_off_by_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(SplitLargeConv.__module__)
    right = module._cuts

    def shifted(*given: object) -> object:
        cuts = right(*given)
        last = cuts[0][-1]
        cuts[0][-1] = last._replace(before=last.before - 1, after=last.after + 1)
        return cuts

    monkeypatch.setattr(module, "_cuts", shifted)
    model = weighted(lab, SAME)
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_the_bound(lab, SplitLargeConv(max_kernel=3), model, picture(model))


def test_refuses_to_cut_the_input_before_slice_had_inputs(lab: Lab) -> None:
    model = lab.model("g (float[1, 1, 6] x, float[1, 1, 4] w) => (float[1, 1, 3] y) {"
                      " y = Conv(x, w) }", opset=9)  # fmt: skip
    lab.bind(model, {"w": np.ones((1, 1, 4), np.float32)})
    result = lab.exact(SplitLargeConv(max_kernel=2), model)
    assert lab.ops(model) == ["Conv"]
    assert "opset 9" in result.skipped[0].text
