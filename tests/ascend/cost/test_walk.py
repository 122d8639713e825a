"""What joins, what is converted, what costs nothing, what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ascend.cost.chip import ASCEND_310P3
from ascend.cost.engine import Place
from ascend.cost.walk import kernels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ascend.cost.kernels import Kernels

AI_CORE = Place("AI Core", "a test")


def parse(text: str) -> ir.Model:
    """Return a model with inferred shapes; its inputs ``w`` and ``bias`` are weights of zeros."""
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 16]>' + text)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    for value in [value for value in model.graph.inputs if value.name in {"w", "bias"}]:
        model.graph.inputs.remove(value)
        assert value.shape is not None
        assert value.dtype is not None
        zeros = np.zeros(value.shape.numpy(), value.dtype.numpy())
        value.const_value = ir.tensor(zeros, name=value.name)
        model.graph.register_initializer(value)
    return model


def walk(model: ir.Model, place_of: Callable[[ir.Node], Place] = lambda _: AI_CORE) -> Kernels:
    return kernels_of(model, ASCEND_310P3, place_of)


def operators(found: Kernels) -> list[str]:
    """Return the operators of the kernels, with the number of nodes that joined."""
    return [f"{k.operator}+{len(k.fused)}" if k.fused else k.operator for k in found.started]


@pytest.mark.parametrize(
    ("text", "kernels"),
    [
        pytest.param(
            "g (float16[1,16,8,8] x, float16[16,16,1,1] w, float16[16] bias)"
            "=> (float16[1,16,8,8] y)"
            "{ c = Conv(x, w, bias) r = Relu(c) y = Mul(r, r) }",
            ["TransData", "Conv+2", "TransData"],
            id="an activation and a product join the convolution before them",
        ),
        pytest.param(
            "g (float16[8,8] a, float16[8,8] b) => (float16[8,8] y)"
            "{ s = Add(a, b) t = Sigmoid(s) y = Sub(t, a) }",
            ["Add+2"],
            id="element-wise nodes in a row are one kernel",
        ),
        pytest.param(
            "g (float16[8,8] a) => (float16[8,8] y, float16[8,8] z)"
            "{ s = Relu(a) y = Sigmoid(s) z = Tanh(s) }",
            ["Relu", "Sigmoid", "Tanh"],
            id="a tensor with two readers is written",
        ),
        pytest.param(
            "g (float16[8,8] a) => (float16[8,8] s, float16[8,8] y){ s = Relu(a) y = Sigmoid(s) }",
            ["Relu", "Sigmoid"],
            id="an output of the model is written",
        ),
        pytest.param(
            "g (float16[8] a, float16[8,8] b) => (float16[8,8] y) { s = Relu(a) y = Add(s, b) }",
            ["Relu", "Add"],
            id="a node that broadcasts another shape starts a kernel",
        ),
        pytest.param(
            "g (float16[8,8] a) => (float16[1,1] y) { s = Relu(a) y = ReduceSum(s) }",
            ["Relu", "ReduceSum"],
            id="a reduction starts a kernel",
        ),
        pytest.param(
            "g (float16[8,8] a) => (float16[8,8] y)"
            "{ s = Relu(a) i = Identity(s) j = Identity(i) y = Tanh(j) }",
            ["Relu+1"],
            id="Identity is nothing",
        ),
        pytest.param(
            "g (float16[1,16,8,8] x, float16[16,16,1,1] w)"
            "=> (float16[1,16,8,8] y, float16[1,16,8,8] z) { y = Conv(x, w) z = Conv(x, w) }",
            ["TransData", "Conv", "Conv", "TransData", "TransData"],
            id="two readers share a conversion",
        ),
        pytest.param(
            "g (float[1,16,8,8] x, float[16,16,1,1] w) => (float[1,16,8,8] y) { y = Conv(x, w) }",
            ["Cast", "TransData", "Conv", "TransData", "Cast"],
            id="float32 comes from the host, goes back to it, and is converted in float16",
        ),
        pytest.param(
            "g (float16[2,48] x, float16[24,8] w) => (float16[4,8] y) <int64[2] s = {4, 24}>"
            "{ r = Reshape(x, s) m = MatMul(r, w) t = Relu(m) y = Squeeze(t) }",
            ["TransData", "MatMul+1", "TransData"],
            id="a Reshape starts no kernel, but wants the bytes in order",
        ),
        pytest.param(
            "g (float[2,3,8,8] x, float[2,5,7,2] grid) => (float[2,3,5,7] y)"
            '{ y = GridSample<mode="bilinear", padding_mode="zeros">(x, grid) }',
            ["TransData", "GridSample", "TransData"],
            id="GridSample keeps float32 and wants its picture, not its grid, in NHWC",
        ),
    ],
)
def test_starts_kernels(text: str, kernels: list[str]) -> None:
    found = walk(parse(text))
    assert operators(found) == kernels
    assert not found.not_counted


def test_constants_cost_nothing() -> None:
    found = walk(
        parse(
            "g (float16[2,3] x) => (float16[6] y) <float16[3] c = {1, 2, 3}>"
            "{ s = Shape(x) n = ReduceProd(s) d = Add(c, c) e = Exp(d) z = Mul(x, e)"
            " y = Reshape(z, n) }"
        )
    )
    assert operators(found) == ["Mul"]
    assert (found.constant, found.free) == (4, 1)


def test_a_marked_node_reads_and_writes_float32() -> None:
    model = parse(
        "g (float16[64,64] a) => (float16[64,64] y) { s = Relu(a) t = Exp(s) y = Tanh(t) }"
    )
    list(model.graph)[1].metadata_props["onnx_passes.precision"] = "float32"
    found = walk(model)
    assert operators(found) == ["Relu", "Cast", "Exp", "Cast", "Tanh"]
    exp = found.started[2]
    assert (exp.read_bytes, exp.written_bytes) == (64 * 64 * 4, 64 * 64 * 4)


def test_a_fused_kernel_moves_what_enters_and_what_leaves() -> None:
    model = parse(
        "g (float16[64,64] a, float16[64,64] b) => (float16[64,64] y){ s = Relu(a) y = Add(s, b) }"
    )
    (kernel,) = walk(model).started
    assert (kernel.read_bytes, kernel.written_bytes) == (2 * 64 * 64 * 2, 64 * 64 * 2)
    assert kernel.vector_cycles == 2 * 4


@pytest.mark.parametrize(
    ("text", "peak_us", "unit"),
    [
        # 64 x 64 pieces on 8 cores times 64 steps, against 6 MiB.
        pytest.param(
            "g (float16[1024,1024] a, float16[1024,1024] b) => (float16[1024,1024] y)"
            "{ y = MatMul(a, b) }",
            64 * 64 / 8 * 64 / 1060,
            "cube",
            id="a square MatMul is bound by the cube",
        ),
        # 2 MiB of matrix, one step of 16 rows.
        pytest.param(
            "g (float16[16,1024] a, float16[1024,1024] b) => (float16[16,1024] y)"
            "{ y = MatMul(a, b) }",
            2 * (2 * 16 * 1024 + 1024 * 1024) / 967e3,
            "memory",
            id="a flat MatMul is bound by memory",
        ),
        pytest.param(
            "g (float16[1024,1024] a) => (float16[1024,1024] y) { y = Erf(a) }",
            1024 * 1024 / 128 / 8 * 16 / 1060,
            "vector",
            id="Erf is bound by the vector unit",
        ),
    ],
)
def test_the_longest_of_cube_vector_unit_and_memory_counts(
    text: str, peak_us: float, unit: str
) -> None:
    kernel = next(k for k in walk(parse(text)).started if k.operator in {"MatMul", "Erf"})
    assert kernel.work(ASCEND_310P3).peak_us == pytest.approx(peak_us)
    assert kernel.bound(ASCEND_310P3) == unit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float16[N,4] x) => (float16[N,4] y) { y = Relu(x) }",
            "the shape or type of 'x' is not known",
            id="a dynamic size",
        ),
        pytest.param(
            "g (float16[4,4] x) => (float16[M,2] y)"
            "{ n = NonZero(x) t = Transpose(n) y = Cast<to=10>(t) }",
            "the shape or type of 'n' is not known",
            id="a size that depends on data",
        ),
        pytest.param(
            "g (float16[4,4] x) => (float16[4] y, int64[4] i)"
            "<int64[1] k = {1}> { y, i = TopK(x, k) }",
            "no formula for TopK",
            id="an operator without a formula",
        ),
    ],
)
def test_lists_what_it_cannot_count(text: str, reason: str) -> None:
    found = walk(parse(text))
    assert reason in {why for _, why in found.not_counted}
    assert not found.started
    names = [label.split(" ")[0] for label, _ in found.not_counted]
    assert len(names) == len(parse(text).graph)


def test_a_node_of_another_domain_is_not_counted() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 16, "mine": 1]>'
        "g (float16[4] x) => (float16[4] y) { y = mine.Relu(x) }"
    )
    assert walk(model).not_counted == [("Relu -> 'y'", "no formula for the domain 'mine'")]


def test_the_ai_cpu_counts_elements_and_needs_no_formula() -> None:
    model = parse(
        "g (float16[4,4] x) => (float16[4] y, int64[4] i)"
        "<int64[1] k = {1}> { r = Relu(x) y, i = TopK(r, k) }"
    )
    slow = Place("AI CPU", "a test")
    found = walk(model, lambda node: slow if node.op_type == "TopK" else AI_CORE)
    work = found.started[-1].work(ASCEND_310P3)
    assert (work.cpu_launches, work.cpu_elements, work.launches) == (1, 8, 0)


def test_nothing_joins_a_kernel_on_the_ai_cpu() -> None:
    model = parse("g (float16[8] a) => (float16[8] y) { s = Relu(a) t = Tanh(s) y = Exp(t) }")
    slow = Place("AI CPU", "a test")
    found = walk(model, lambda node: slow if node.op_type == "Tanh" else AI_CORE)
    assert operators(found) == ["Relu", "Tanh", "Exp"]


def test_a_node_that_atc_refuses_is_counted_as_if_it_did_not() -> None:
    model = parse("g (float16[8] a) => (float16[8] y) { s = Relu(a) t = Tanh(s) y = Exp(t) }")
    refused = Place("AI Core", "a test", refused=True)
    found = walk(model, lambda node: refused if node.op_type == "Tanh" else AI_CORE)
    assert operators(found) == ["Relu+2"]
    assert found.refused == [("Tanh -> 't'", "a test")]


def test_looks_at_each_node_once() -> None:
    nodes = 2000
    chain = " ".join(f"t{n} = Relu(t{n - 1})" for n in range(1, nodes))
    model = parse(f"g (float16[8] t0) => (float16[8] y) {{ {chain} y = Relu(t{nodes - 1}) }}")
    asked: list[ir.Node] = []

    def place_of(node: ir.Node) -> Place:
        asked.append(node)
        return AI_CORE

    (kernel,) = walk(model, place_of).started
    assert len(asked) == nodes
    assert len(kernel.fused) == nodes - 1
