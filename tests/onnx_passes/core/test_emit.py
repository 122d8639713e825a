from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.emit import PRECISION_KEY, Emitter
from onnx_passes.core.names import Names

TEXT = """
<ir_version: 8, opset_import: ["": 16]>
g (float[2,N] x) => (float[2,N] y) {
    y = Relu(x)
}
"""


def bench(opset: int = 16) -> tuple[ir.Model, ir.Node, Emitter, ir.Value]:
    model = ir.from_onnx_text(TEXT)
    (node,) = model.graph
    return model, node, Emitter(node, Names(model), opset), model.graph.inputs[0]


def test_arithmetic_between_arrays_emits_nothing() -> None:
    _, _, emit, _ = bench()
    total = emit.math("Add", np.array([1, 2]), np.array([3]))
    assert isinstance(total, np.ndarray)
    assert total.tolist() == [4, 5]
    assert emit.nodes == []


def test_arithmetic_with_a_value_emits_a_typed_named_node() -> None:
    _, _, emit, x = bench()
    total = emit.value(emit.math("Add", x, np.ones((1, 1), np.float32), hint="shifted"))
    assert (total.name, total.dtype) == ("y/shifted", ir.DataType.FLOAT)
    assert total.shape == ir.Shape([2, "N"])


def test_equal_constants_are_one() -> None:
    _, _, emit, x = bench()
    emit.math("Add", x, np.array(1, np.float32))
    emit.math("Mul", x, np.array(1, np.float32))
    assert len(emit.initializers) == 1


def test_minus_zero_is_another_constant_than_zero() -> None:
    _, _, emit, _ = bench()
    assert emit.value(np.array(0.0)) is not emit.value(np.array(-0.0))


def test_a_static_size_is_an_array_and_a_dynamic_one_a_value() -> None:
    _, _, emit, x = bench()
    assert np.array_equal(emit.sizes(x, [0]), [2])  # type: ignore[arg-type]
    assert isinstance(emit.sizes(x, [1]), ir.Value)


@pytest.mark.parametrize(("opset", "inputs"), [(11, 1), (13, 2), (18, 2)])
def test_split_and_reduce_sum_are_spelled_for_the_opset(opset: int, inputs: int) -> None:
    _, _, emit, x = bench(opset)
    emit.split(x, 0, [1, 1])
    emit.reduce_sum(x, 0)
    split, reduce_sum = emit.nodes
    assert [len(split.inputs), len(reduce_sum.inputs)] == [inputs, inputs]
    assert ("split" in split.attributes) == ("axes" in reduce_sum.attributes) == (inputs == 1)


def test_precise_marks_what_is_emitted_inside() -> None:
    _, _, emit, x = bench()
    with emit.precise():
        emit.op("Floor", x)
    emit.op("Relu", x)
    assert [PRECISION_KEY in node.metadata_props for node in emit.nodes] == [True, False]
    assert emit.nodes[0].name == "y/float32/floor"


def test_replace_keeps_name_type_and_shape_of_the_output() -> None:
    model, node, emit, x = bench()
    emit.replace(node, emit.op("Abs", emit.op("Neg", x)))
    (output,) = model.graph.outputs
    assert (output.name, output.shape) == ("y", ir.Shape([2, "N"]))
    assert [n.op_type for n in model.graph] == ["Neg", "Abs"]


def test_a_taken_name_gets_a_number() -> None:
    model = ir.from_onnx_text(TEXT)
    names = Names(model)
    assert [names.fresh("x"), names.fresh("x"), names.fresh("z")] == ["x_1", "x_2", "z"]
