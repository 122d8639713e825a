from __future__ import annotations

from typing import Any

import pytest

from ascend.op_support.query import Operator, Shape, Tensor
from ascend.op_support.rules import (
    GATHER_ELEMENTS_BYTES,
    GATHER_ELEMENTS_INDICES,
    UNIFIED_BUFFER_BYTES,
)
from ascend.op_support.table import OpSupport

ENOUGH = GATHER_ELEMENTS_BYTES // 2  # elements of float16 that reach the limit


def answer(name: str, *inputs: Tensor | None, opset: int = 16, **fields: Any) -> str:  # noqa: ANN401
    operator = Operator(name, opset, inputs=inputs, **fields)
    return OpSupport("8.1.RC1", "Ascend310P3").verdict(operator).answer


def gather_elements(
    data: Shape | None,
    index: Shape | None,
    dtype: str = "float32",
    **fields: Any,  # noqa: ANN401
) -> str:
    return answer("GatherElements", Tensor(dtype, data), Tensor("int64", index), **fields)


class TestGatherElements:
    # Rounding up to 32 bytes: one element less than the limit would be below it without.
    @pytest.mark.parametrize(
        ("elements", "indices", "expected"),
        [
            pytest.param(ENOUGH, GATHER_ELEMENTS_INDICES, "AI CPU", id="both at the limit"),
            pytest.param(ENOUGH, GATHER_ELEMENTS_INDICES - 1, "AI Core", id="few indices"),
            pytest.param(ENOUGH - 15, GATHER_ELEMENTS_INDICES, "AI CPU", id="rounded up to 32"),
            pytest.param(ENOUGH - 16, GATHER_ELEMENTS_INDICES, "AI Core", id="a block less"),
        ],
    )
    def test_by_bytes_and_indices(self, elements: int, indices: int, expected: str) -> None:
        assert gather_elements((elements, 1), (indices, 1)) == expected

    def test_bytes_are_those_of_float16_unless_it_is_kept(self) -> None:
        half = (ENOUGH // 2, 1)
        assert gather_elements(half, (4096, 1)) == "AI Core"
        assert gather_elements(half, (4096, 1), keep_float32=True) == "AI CPU"
        assert gather_elements(half, (4096, 1), "int32") == "AI CPU"

    @pytest.mark.parametrize(
        ("row", "axis", "expected"),
        [
            pytest.param(8000, -1, "AI Core", id="a row that fits"),
            pytest.param(8000, 1, "AI Core", id="by a positive axis"),
            pytest.param(8000, 0, "AI CPU", id="along another axis"),
            pytest.param(
                UNIFIED_BUFFER_BYTES // 12 + 1, -1, "AI CPU", id="a row that just does not"
            ),
            pytest.param(UNIFIED_BUFFER_BYTES // 12, -1, "AI Core", id="the longest row"),
        ],
    )
    def test_a_last_axis_gather_that_fits_the_buffer(
        self, row: int, axis: int, expected: str
    ) -> None:
        # Data and index of one row: 2 bytes, and 2 + 8 bytes an element.
        shape = (400, row)
        assert gather_elements(shape, shape, attributes={"axis": axis}) == expected

    def test_a_last_axis_gather_needs_equal_other_sizes(self) -> None:
        assert gather_elements((400, 8000), (399, 8000), attributes={"axis": 1}) == "AI CPU"

    def test_more_bytes_than_an_int32_counts(self) -> None:
        assert gather_elements((1 << 30, 2), (4, 2)) == "AI CPU"

    @pytest.mark.parametrize(
        ("data", "index", "expected"),
        [
            pytest.param((None, 4), (4096, 1), "parsed", id="data dynamic"),
            pytest.param(None, None, "parsed", id="nothing known"),
            pytest.param((None, 4), (2, 4), "AI Core", id="few indices in any case"),
            pytest.param((8, 4), (None, 4), "AI Core", id="small data in any case"),
        ],
    )
    def test_shapes_that_are_not_known(
        self, data: Shape | None, index: Shape | None, expected: str
    ) -> None:
        assert gather_elements(data, index) == expected


@pytest.mark.parametrize(
    ("data", "indices", "expected"),
    [
        ((7709, 512), (128,), "AI CPU"),
        ((17191, 512), (64, 128), "AI CPU"),
        ((7709, 512), (129,), "AI Core"),
        ((7710, 512), (128,), "AI Core"),
    ],
)
def test_gather_excludes_two_tables(data: Shape, indices: Shape, expected: str) -> None:
    for dtype in ("int32", "int64"):
        assert answer("Gather", Tensor("float32", data), Tensor(dtype, indices)) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(Tensor("int64", (2,), (1, 2)), "AI Core", id="positive"),
        pytest.param(Tensor("int64", (2,), (1, -1)), "AI CPU", id="negative"),
        pytest.param(Tensor("int64", (2,)), "parsed", id="computed"),
        pytest.param(None, "AI Core", id="left out"),
    ],
)
def test_slice_by_steps(steps: Tensor | None, expected: str) -> None:
    whole = Tensor("int64", (2,), (0, 0))
    assert answer("Slice", Tensor("float32", (4, 4)), whole, whole, whole, steps) == expected


@pytest.mark.parametrize(
    ("value", "attributes", "opset", "expected"),
    [
        pytest.param(None, {}, 16, "AI Core", id="no value"),
        pytest.param(Tensor("float32", (), (0.0,)), {}, 16, "AI Core", id="zero"),
        pytest.param(Tensor("float32", (), (1.0,)), {}, 16, "unknown", id="one"),
        pytest.param(Tensor("float32", ()), {}, 16, "unknown", id="computed"),
        pytest.param(None, {"mode": "reflect"}, 16, "unknown", id="reflect"),
        pytest.param(None, {"mode": "constant", "value": 1.0}, 10, "unknown", id="an attribute"),
        pytest.param(None, {"mode": "constant", "value": 0.0}, 10, "AI Core", id="zero there"),
    ],
)
def test_pad_is_documented_for_zeros(
    value: Tensor | None, attributes: dict[str, Any], opset: int, expected: str
) -> None:
    pads = Tensor("int64", (4,), (1, 1, 1, 1))
    data = Tensor("float32", (4, 4))
    assert answer("Pad", data, pads, value, opset=opset, attributes=attributes) == expected


def test_clip_without_bounds_stops_the_parser_from_opset_11_on() -> None:
    data, bound = Tensor("float32", (4,)), Tensor("float32", (), (1.0,))
    assert answer("Clip", data) == "refused"
    assert answer("Clip", data, None, bound) == "AI Core"
    assert answer("Clip", data, opset=10) == "AI Core"


@pytest.mark.parametrize(
    ("shape", "k", "expected"),
    [
        ((32769,), 7, "parsed"),
        ((32769,), 8, "AI Core"),
        ((32768,), 7, "AI Core"),
        ((4, 1), 1, "parsed"),
    ],
)
def test_top_k_by_size(shape: Shape, k: int, expected: str) -> None:
    assert answer("TopK", Tensor("float32", shape), Tensor("int64", (1,), (k,))) == expected


def test_scatter_nd_is_known_without_reduction() -> None:
    inputs = (Tensor("float32", (4,)), Tensor("int64", (1, 1)), Tensor("float32", (1,)))
    assert answer("ScatterND", *inputs, attributes={"reduction": "none"}) == "AI Core"
    assert answer("ScatterND", *inputs, attributes={"reduction": "add"}) == "parsed"


def test_gather_nd_is_documented_without_batch_dimensions() -> None:
    inputs = (Tensor("float32", (4, 4)), Tensor("int64", (4, 1)))
    assert answer("GatherND", *inputs) == "AI Core"
    assert answer("GatherND", *inputs, attributes={"batch_dims": 1}) == "unknown"
