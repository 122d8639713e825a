from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.contract import UsageError
from onnx_passes.passes.split_average_pool import SplitAveragePool

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

Array = np.ndarray[Any, Any]
POOL = "AveragePool <kernel_shape = [32, 32], strides = [32, 32]>"
TEXT = f"g (float[N, 3, 64, 32] x) => (float[N, 3, R, S] y) {{ y = {POOL}(x) }}"


def windows(model: ir.Model) -> list[list[int]]:
    nodes = [node for node in model.graph.all_nodes() if node.op_type == "AveragePool"]
    for node in nodes:
        assert node.attributes.get_ints("strides") == node.attributes.get_ints("kernel_shape")
    return [list(node.attributes.get_ints("kernel_shape") or ()) for node in nodes]


def assert_within_the_bound(lab: Lab, item: SplitAveragePool, model: ir.Model, x: Array) -> None:
    """Split and compare with onnxruntime and onnx.reference on the model before."""
    count = int(np.prod(windows(model)[0]))
    oracles = [lab.outputs(model, {"x": x})["y"]]
    oracles.append(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])  # type: ignore[index]
    size = lab.outputs(model, {"x": np.abs(x)})["y"].astype(np.float64)
    assert lab.apply(item, model).rewritten
    after = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    assert size.min() > 0
    for expected in oracles:
        gap = np.abs(after - expected) / ((count + 2) * np.finfo(x.dtype).eps * size)
        assert (gap <= 1).all(), f"{gap.max():.2f} times the bound"


def test_rewrites_to_two_in_series(lab: Lab) -> None:
    model = lab.model(TEXT)
    result = lab.apply(SplitAveragePool(), model)
    assert windows(model) == [[4, 32], [8, 1]]
    assert lab.reasons(result.rewritten) == {
        "AveragePool -> 'y'": "windows [4, 32] and [8, 1] in series"
    }


def test_rewrites_to_as_many_as_a_small_limit_needs(lab: Lab) -> None:
    model = lab.model(TEXT)
    lab.apply(SplitAveragePool(max_kernel=4), model)
    assert len(windows(model)) == 5
    assert all(np.prod(window) == 4 for window in windows(model))


def test_rewrites_pools_of_one_and_three_dimensions(lab: Lab) -> None:
    model = lab.model("""
        g (float[N, 2, 600] x, float[N, 2, 8, 8, 8] z) => (float[N, 2, 2] y, float[N, 2, 1, 1, 1] w)
        {
            y = AveragePool <kernel_shape = [300], strides = [300]>(x)
            w = AveragePool <kernel_shape = [8, 8, 8], strides = [8, 8, 8]>(z)
        }""")
    assert len(lab.apply(SplitAveragePool(), model).rewritten) == 2
    assert [len(window) for window in windows(model)] == [1, 1, 3, 3]


def test_rewrites_inside_a_branch_and_a_function(lab: Lab) -> None:
    model = lab.model(
        f"""g (float[1, 1, 32, 32] x, bool c) => (float[1, 1, 1, 1] y) {{
            y = If (c) <
                then_branch = yes () => (float[1, 1, 1, 1] a) {{ a = {POOL}(x) }},
                else_branch = no () => (float[1, 1, 1, 1] b) {{ b = f.mean(x) }}
            >
        }}
        <domain: "f", opset_import: ["": 16]>
        mean (u) => (v) {{ v = {POOL}(u) }}""",
        domains=', "f": 1',
    )
    assert len(lab.apply(SplitAveragePool(), model).rewritten) == 2
    body = next(iter(model.functions.values()))
    assert [node.op_type for node in body] == ["AveragePool"] * 2


def test_rewrites_where_auto_pad_pads_nothing(lab: Lab) -> None:
    model = lab.model(TEXT.replace("strides", 'auto_pad = "VALID", strides'))
    assert lab.apply(SplitAveragePool(), model).rewritten


def test_rewrites_ceil_mode_where_the_window_tiles_the_input(lab: Lab) -> None:
    model = lab.model(TEXT.replace("strides", "ceil_mode = 1, pads = [0, 0, 0, 0], strides"))
    assert lab.apply(SplitAveragePool(), model).rewritten


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            TEXT.replace("strides = [32, 32]", "strides = [32, 16]"),
            "its strides are not its window [32, 32]",
            id="windows that overlap",
        ),
        pytest.param(
            TEXT.replace(", strides = [32, 32]", ""),
            "its strides are not its window [32, 32]",
            id="strides of one, which are the default",
        ),
        pytest.param(TEXT.replace("strides", "pads = [0, 0, 0, 1], strides"), "it pads", id="pads"),
        pytest.param(
            TEXT.replace("strides", 'auto_pad = "SAME_UPPER", strides'),
            "auto_pad SAME_UPPER pads",
            id="auto_pad",
        ),
        pytest.param(
            TEXT.replace("strides", "ceil_mode = 1, strides").replace("64, 32", "65, 32"),
            "ceil_mode, and the window is not known to tile the input",
            id="ceil_mode with a ragged edge",
        ),
        pytest.param(
            TEXT.replace("strides", "ceil_mode = 1, strides").replace("64, 32", "H, 32"),
            "ceil_mode, and the window is not known to tile the input",
            id="ceil_mode with an unknown extent",
        ),
        pytest.param(
            TEXT.replace("[32, 32]", "[257, 1]").replace("64, 32", "257, 1"),
            "its window has the prime factor 257, above 255",
            id="a prime side",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    result = lab.apply(SplitAveragePool(), model)
    assert lab.reasons(result.skipped) == {"AveragePool -> 'y'": reason}
    assert not result.rewritten


def test_leaves_alone_a_dilated_pool(lab: Lab) -> None:
    text = TEXT.replace("strides", "dilations = [1, 2], strides").replace("64, 32", "64, 64")
    result = lab.apply(SplitAveragePool(), lab.model(text, opset=19, ir_version=9))
    assert lab.reasons(result.skipped) == {"AveragePool -> 'y'": "it is dilated"}


def test_leaves_a_small_window_alone_without_a_word(lab: Lab) -> None:
    model = lab.model(TEXT.replace("[32, 32]", "[15, 17]"))
    result = lab.apply(SplitAveragePool(), model)
    assert (result.rewritten, result.skipped) == ([], [])


def test_refuses_a_limit_of_one() -> None:
    with pytest.raises(UsageError, match="max_kernel is 1, expected 2 or more"):
        SplitAveragePool(max_kernel=1)


@pytest.mark.parametrize("opset", [11, 16, 18])
@pytest.mark.parametrize("max_kernel", [2, 255])
@pytest.mark.parametrize(
    "height", [pytest.param(64, id="tiled"), pytest.param(83, id="a ragged edge that is dropped")]
)
def test_numerics_within_the_bound(lab: Lab, height: int, max_kernel: int, opset: int) -> None:
    model = lab.model(TEXT.replace("64, 32", f"{height}, 32"), opset=opset)
    x = np.random.default_rng(0).standard_normal((2, 3, height, 32)).astype(np.float32)
    assert_within_the_bound(lab, SplitAveragePool(max_kernel), model, x)


def test_numerics_within_the_bound_when_large_elements_cancel(lab: Lab) -> None:
    x = np.random.default_rng(1).standard_normal((1, 3, 64, 32)).astype(np.float32)
    x[:, :, ::2] += 1e6
    x[:, :, 1::2] -= 1e6
    assert_within_the_bound(lab, SplitAveragePool(), lab.model(TEXT), x)


def test_numerics_carry_nan_and_infinity_to_the_same_places(lab: Lab) -> None:
    model = lab.model(TEXT)
    x: Array = np.ones((1, 3, 64, 32), np.float32)
    x[0, 0, 3, 3], x[0, 1, 40, 3] = np.nan, np.inf
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(SplitAveragePool(), model)
    np.testing.assert_array_equal(lab.outputs(model, {"x": x})["y"], before)
    assert np.isnan(before).any()
    assert np.isinf(before).any()


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    extra=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    limit=st.integers(11, 30),
)
def test_numerics_of_random_windows(
    lab: Lab, kernel: list[int], extra: list[int], limit: int
) -> None:
    shape = [1, 2, *(2 * side + more for side, more in zip(kernel, extra, strict=False))]
    dims = ", ".join("ABCDE"[: len(shape)])
    text = f"g (float[{dims}] x) => (float[N, {dims[3:]}] y) {{ y = AveragePool "
    model = lab.model(f"{text}<kernel_shape = {kernel}, strides = {kernel}>(x) }}")
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if np.prod(kernel) > limit:
        assert_within_the_bound(lab, SplitAveragePool(limit), model, x)
        assert max(np.prod(window) for window in windows(model)) <= limit


def test_numerics_fail_when_the_axes_of_the_windows_are_swapped(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(SplitAveragePool.__module__)
    right = module._stages
    monkeypatch.setattr(module, "_stages", lambda *given: [stage[::-1] for stage in right(*given)])
    model = lab.model(TEXT.replace("[32, 32]", "[64, 16]").replace("64, 32", "64, 64"))
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with pytest.raises(AssertionError, match="times the bound"):
        assert_within_the_bound(lab, SplitAveragePool(), model, x)
