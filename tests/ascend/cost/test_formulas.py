"""Every formula against a number computed by hand: 8 cores, 16x16x16, 128 lanes, 1060 MHz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest

from ascend.cost.chip import ASCEND_310P3, ELEMENTWISE, REDUCTIONS
from ascend.cost.operators import demand_of
from ascend.cost.site import Site
from ascend.cost.tensors import Form, Tensor

if TYPE_CHECKING:
    from ascend.cost.site import Demand

CHIP = ASCEND_310P3


def site_of(text: str, *, float32: bool = False) -> Site:
    """Return the last node of a graph in ONNX text, its shapes inferred."""
    header = '<ir_version: 8, opset_import: ["": 16]>'
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(header + text))
    model = ir.from_proto(proto)
    node = list(model.graph)[-1]
    if float32:
        node.metadata_props["onnx_passes.precision"] = "float32"
    site = Site.of(node, CHIP, lambda value: value.const_value is not None)
    assert isinstance(site, Site)
    return site


def demand(text: str, *, float32: bool = False) -> Demand:
    found = demand_of(site_of(text, float32=float32))
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize(
    ("text", "cycles"),
    [
        # 100 rows are 7 pieces, 40 columns 3: 21 pieces on 8 cores are 3 for the busiest, and 33
        # channels are 3 steps.
        pytest.param(
            "g (float[1,33,10,10] x, float[40,33,1,1] w) => (float[1,40,10,10] y)"
            "{ y = Conv(x, w) }",
            3 * 3,
            id="a 1x1 convolution with odd sizes",
        ),
        # 8x8 rows are 4 pieces, 16 columns 1; 3 channels are padded to 16, times 9 places.
        pytest.param(
            "g (float[1,3,8,8] x, float[16,3,3,3] w) => (float[1,16,8,8] y)"
            "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
            1 * 9,
            id="a 3x3 convolution pads three channels to a block",
        ),
        # 32 groups of one channel are 2 blocks; 256 rows are 16 pieces each: 32 on 8 cores.
        pytest.param(
            "g (float[1,32,16,16] x, float[32,1,3,3] w) => (float[1,32,16,16] y)"
            "{ y = Conv<group=32, pads=[1,1,1,1]>(x, w) }",
            4 * 9,
            id="a depthwise convolution puts sixteen groups into a block",
        ),
        # Each input point meets all 4 places: 16 rows, 16 channels, one block.
        pytest.param(
            "g (float[1,16,4,4] x, float[16,16,2,2] w) => (float[1,16,8,8] y)"
            "{ y = ConvTranspose<strides=[2,2]>(x, w) }",
            1 * 4,
            id="a transposed convolution has the rows of its input",
        ),
        pytest.param(
            "g (float[17,33] a, float[33,5] b) => (float[17,5] y) { y = MatMul(a, b) }",
            1 * 3,
            id="a MatMul with odd sizes",
        ),
        # 3 products of 2 by 1 pieces are 6: one for a core.
        pytest.param(
            "g (float[3,17,33] a, float[3,33,5] b) => (float[3,17,5] y) { y = MatMul(a, b) }",
            1 * 3,
            id="a MatMul of a batch counts every product",
        ),
        # 9 x 17 = 153 rows against one matrix are 10 pieces, not 9 times 2.
        pytest.param(
            "g (float[9,17,33] a, float[33,5] b) => (float[9,17,5] y) { y = MatMul(a, b) }",
            2 * 3,
            id="a MatMul with one matrix joins the rows",
        ),
        pytest.param(
            "g (float[33] a, float[33,5] b) => (float[5] y) { y = MatMul(a, b) }",
            1 * 3,
            id="a MatMul of a vector has one row",
        ),
        pytest.param(
            "g (float[33,17] a, float[33,5] b) => (float[17,5] y) { y = Gemm<transA=1>(a, b) }",
            1 * 3,
            id="a Gemm with its first matrix transposed",
        ),
        # Input product: 25 * 4 = 100 rows, 7 pieces, 8 columns of 16: 56 pieces, 7 a core, times 3.
        # A step: 1 x 8 pieces, one a core, times 2. Both directions.
        pytest.param(
            "g (float[25,4,40] x, float[2,128,40] w, float[2,128,32] r) => (float[25,2,4,32] y)"
            '{ y = LSTM<hidden_size=32, direction="bidirectional">(x, w, r) }',
            2 * (7 * 3 + 25 * 1 * 2),
            id="an LSTM multiplies its inputs at once and its state step by step",
        ),
    ],
)
def test_counts_cycles_of_the_cube(text: str, cycles: int) -> None:
    assert demand(text).cube_cycles == cycles


@pytest.mark.parametrize(
    ("text", "float32", "cycles"),
    [
        # 10,000 elements are 79 instructions of 128 lanes, 10 for the busiest core.
        pytest.param(
            "g (float[100,100] a, float[100,100] b) => (float[100,100] y) { y = Add(a, b) }",
            False,
            10,
            id="Add in float16",
        ),
        # 157 of 64 lanes, 20 a core.
        pytest.param(
            "g (float[100,100] a, float[100,100] b) => (float[100,100] y) { y = Add(a, b) }",
            True,
            20,
            id="Add in float32 has half the lanes",
        ),
        pytest.param(
            "g (int64[100,100] a, int64[100,100] b) => (int64[100,100] y) { y = Add(a, b) }",
            False,
            1250,
            id="Add of int64 has one lane",
        ),
        pytest.param(
            "g (int64[100,100] a) => (float[100,100] y) { y = Cast<to=1>(a) }",
            False,
            1250,
            id="a Cast from int64 goes at the rate of int64",
        ),
        pytest.param(
            "g (float[100,100] a, int64 e) => (float[100,100] y) { y = Pow(a, e) }",
            False,
            60,
            id="a scalar of int64 slows nothing",
        ),
        pytest.param(
            "g (bool[100,100] a) => (bool[100,100] y) { y = Not(a) }",
            False,
            10,
            id="bool has the lanes of float16",
        ),
        pytest.param(
            "g (float[100,100] a) => (float[100,100] y) { y = HardSwish(a) }",
            False,
            50,
            id="HardSwish takes five operations",
        ),
        pytest.param(
            "g (float[100,100] a) => (float[100] y) { y = ReduceMean<axes=[1], keepdims=0>(a) }",
            False,
            10,
            id="a reduction counts what it reads",
        ),
        # 3 channels are padded to 16; 16 * 25 outputs times 4 places: 13 instructions, 2 a core.
        pytest.param(
            "g (float[1,3,10,10] x) => (float[1,3,5,5] y)"
            "{ y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }",
            False,
            2,
            id="pooling counts its window and pads channels",
        ),
        # 16 * 100 elements: 13 instructions, 2 a core.
        pytest.param(
            "g (float[1,3,10,10] x) => (float[1,3,1,1] y) { y = GlobalAveragePool(x) }",
            False,
            2,
            id="global pooling has the picture for a window",
        ),
    ],
)
def test_counts_cycles_of_the_vector_unit(text: str, float32: bool, cycles: int) -> None:
    assert demand(text, float32=float32).vector_cycles == cycles


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        pytest.param(
            "g (float[3,3,8,8] x, float[3,5,7,2] grid) => (float[3,3,5,7] y)"
            '{ y = GridSample<mode="bilinear">(x, grid) }',
            {"copies": 5 * 7 * 4},
            id="GridSample: three pictures on three cores, four corners",
        ),
        pytest.param(
            "g (float[9,3,8,8] x, float[9,5,7,2] grid) => (float[9,3,5,7] y)"
            '{ y = GridSample<mode="bicubic">(x, grid) }',
            {"copies": 2 * 5 * 7 * 16},
            id="GridSample: nine pictures are two for one core, bicubic has sixteen taps",
        ),
        pytest.param(
            "g (float[1,1,8,8] x, float[1,5,7,2] grid) => (float[1,1,5,7] y)"
            '{ y = GridSample<mode="bilinear">(x, grid) }',
            {"fetches": 5 * 7 * 4},
            id="GridSample of one small channel fetches from the buffer",
        ),
        pytest.param(
            "g (float[60,4] x, int32[5,7] i) => (float[5,7,4] y) { y = Gather(x, i) }",
            {"row_copies": 5},
            id="Gather shares 35 rows among 8 cores",
        ),
        pytest.param(
            "g (float[2,60] x, int32[2,35] i) => (float[2,35] y)"
            "{ y = GatherElements<axis=1>(x, i) }",
            {"fetches": 9},
            id="GatherElements fetches from the buffer where a row fits",
        ),
        pytest.param(
            "g (float[2,200000] x, int32[2,35] i) => (float[2,35] y)"
            "{ y = GatherElements<axis=1>(x, i) }",
            {"row_copies": 9},
            id="GatherElements copies where no row fits",
        ),
        pytest.param(
            "g (float[60,2] x, int32[35,2] i) => (float[35,2] y)"
            "{ y = GatherElements<axis=0>(x, i) }",
            {"row_copies": 9},
            id="GatherElements copies on another axis than the last",
        ),
        pytest.param(
            "g (float[60,4] x, int64[16,2] i) => (float[16] y) { y = GatherND(x, i) }",
            {"row_copies": 2},
            id="GatherND copies for each index tuple",
        ),
        pytest.param(
            "g (float[25,4,40] x, float[1,128,40] w, float[1,128,32] r)"
            " => (float[25,1,4,32] y) { y = LSTM<hidden_size=32>(x, w, r) }",
            {"launches": 26},
            id="each step of an LSTM waits like a launch",
        ),
        # 2,400 bytes read as they lie, and 1,200 pieces of 2 bytes in bursts of 32.
        pytest.param(
            "g (float[30,40] x) => (float[40,30] y) { y = Transpose<perm=[1,0]>(x) }",
            {"moved_bytes": 2400 + 1200 * 32},
            id="a Transpose of the last axis moves whole bursts",
        ),
        # 30 * 40 pieces of 32 bytes.
        pytest.param(
            "g (float[30,40,16] x) => (float[40,30,16] y) { y = Transpose<perm=[1,0,2]>(x) }",
            {"moved_bytes": 2 * 30 * 40 * 32},
            id="a Transpose that leaves the last axis moves rows",
        ),
    ],
)
def test_counts_copies_fetches_launches_and_bursts(text: str, amounts: dict[str, int]) -> None:
    found = demand(text)
    names = ("copies", "row_copies", "fetches", "moved_bytes", "launches")
    usual = {**dict.fromkeys(names, 0), "launches": 1}
    assert {name: getattr(found, name) for name in names} == {**usual, **amounts}


def test_memory_is_fast_as_far_as_it_fits_l2() -> None:
    assert CHIP.memory_us(967_000) == pytest.approx(1.0)
    assert CHIP.memory_us(16 << 20) == pytest.approx((16 << 20) / 967e3)
    assert CHIP.memory_us((16 << 20) + 144_000) == pytest.approx((16 << 20) / 967e3 + 1.0)


def test_the_peaks_are_those_of_the_chip() -> None:
    multiply_adds = CHIP.cores * CHIP.cube_edge**3 * CHIP.clock_mhz * 1e6
    assert 2 * multiply_adds == pytest.approx(69.5e12, rel=1e-3)
    assert CHIP.cores * CHIP.lanes_2_bytes * CHIP.clock_mhz * 1e6 == pytest.approx(
        1.09e12, rel=0.01
    )


@pytest.mark.parametrize(
    ("shape", "dtype", "form", "size"),
    [
        ((2, 3, 5, 7), "FLOAT", Form(), 2 * 3 * 5 * 7 * 2),
        ((2, 3, 5, 7), "FLOAT", Form(wide=True), 2 * 3 * 5 * 7 * 4),
        ((2, 3, 5, 7), "FLOAT", Form("NC1HWC0"), 2 * 16 * 5 * 7 * 2),
        ((2, 3, 5, 7), "FLOAT", Form("FRACTAL_NZ"), 2 * 3 * 16 * 16 * 2),
        ((2, 3, 5, 7), "FLOAT", Form("NHWC", wide=True), 2 * 3 * 5 * 7 * 4),
        ((5,), "FLOAT", Form("NC1HWC0"), 10),
        ((5,), "INT64", Form(), 40),
        ((5,), "DOUBLE", Form(wide=False), 40),
        ((), "BOOL", Form(), 1),
    ],
    ids=[
        "float is stored in two bytes",
        "or in four",
        "channels are padded to 16",
        "a matrix is padded on both sides",
        "NHWC pads nothing",
        "a vector has no channels",
        "int64 has eight bytes",
        "so has float64",
        "a scalar is one element",
    ],
)
def test_knows_the_bytes_of_a_tensor(
    shape: tuple[int, ...], dtype: str, form: Form, size: int
) -> None:
    assert Tensor(shape, ir.DataType[dtype]).stored_bytes(form, CHIP) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[8] x) => (float[8] y, int64[8] i) { y, i = TopK(x, x) }",
            "no formula for TopK",
            id="an operator nobody wrote a formula for",
        ),
        pytest.param(
            "g (float[4,4] x) => (float[4,4] y) { y = Conv(x) }",
            "Conv is not as ONNX defines it: input 1 is missing",
            id="an input that is missing",
        ),
        pytest.param(
            "g (float[4] x, float[4,4] w) => (float[4] y) { y = Gemm(x, w) }",
            "Gemm is not as ONNX defines it",
            id="a rank that cannot be",
        ),
    ],
)
def test_says_why_it_does_not_know(text: str, reason: str) -> None:
    model = ir.from_onnx_text('<ir_version: 8, opset_import: ["": 16]>' + text)
    site = Site.of(next(iter(model.graph)), CHIP, lambda _: False)
    assert isinstance(site, Site)
    found = demand_of(site)
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_every_constant_has_a_unit_and_a_source() -> None:
    constants = list(CHIP.constants())
    assert len(constants) > 8
    for constant in constants:
        assert constant["unit"]
        assert constant["source"]
        assert constant["kind"] in {"documented", "calculated", "assumed"}
    assert not ELEMENTWISE.keys() & REDUCTIONS.keys()
