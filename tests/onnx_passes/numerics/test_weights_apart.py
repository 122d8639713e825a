"""Weights given to onnxruntime as arrays: the same numbers, and no weight in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.model_io import load, save
from onnx_passes.numerics.runner import run_model
from onnx_passes.numerics.weights_apart import split_weights

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 64
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[2, 64] x, bool c) => (float[2, 64] y, float[64, 64] copy) {
    z = MatMul(x, w)
    y = If (c) <
        then_branch = t () => (float[2, 64] a) { a = Add(z, b) },
        else_branch = e () => (float[2, 64] d) { d = MatMul(z, w) }
    >
}
"""


@pytest.fixture
def model() -> ir.Model:
    """Return a model whose weight is read by a node, by a branch, and is a graph output."""
    model = ir.from_onnx_text(TEXT)
    rng = np.random.default_rng(0)
    for name in ("w", "b", "unread"):
        shape = (SIDE,) if name == "b" else (SIDE, SIDE)
        tensor = ir.Tensor(rng.standard_normal(shape).astype(np.float32), name=name)
        value = next(
            (v for node in model.graph.all_nodes() for v in node.inputs if v and v.name == name),
            ir.Value(name=name),
        )
        value.const_value, value.dtype, value.shape = tensor, ir.DataType.FLOAT, tensor.shape
        model.graph.register_initializer(value)
    copy = ir.node("Identity", [model.graph.initializers["w"]])
    copy.outputs[0].name = "copy"
    model.graph.append(copy)
    model.graph.outputs[1] = copy.outputs[0]
    copy.outputs[0].dtype, copy.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([SIDE, SIDE])
    return model


def feeds(*, condition: bool) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).standard_normal((2, SIDE)).astype(np.float32)
    return {"x": x, "c": np.array(condition)}


def test_large_weights_travel_apart(model: ir.Model) -> None:
    before = ir.to_proto(model).SerializeToString()
    proto, arrays = split_weights(model)
    assert set(arrays) == {"w"}
    assert len(proto.SerializeToString()) < SIDE * SIDE * 4
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("condition", [True, False], ids=["then branch", "else branch"])
def test_the_numbers_are_those_of_the_file(
    model: ir.Model, tmp_path: Path, *, condition: bool
) -> None:
    path = tmp_path / "model.onnx"
    ir.save(model, path)
    apart, whole = (
        run_model(model, feeds(condition=condition)),
        run_model(path, feeds(condition=condition)),
    )
    for name, expected in whole.items():
        np.testing.assert_array_equal(apart[name], expected, strict=True)
    assert np.abs(whole["y"]).max() > 1


def test_an_unread_weight_is_no_trouble(model: ir.Model) -> None:
    assert "unread" in model.graph.initializers
    assert "unread" not in split_weights(model)[1]
    run_model(model, feeds(condition=True))
    assert "unread" in model.graph.initializers


def test_weights_in_a_file_stay_there(model: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    ir.save(model, path, external_data="model.data")
    external = load(path)
    expected = run_model(model, feeds(condition=True))["y"]
    np.testing.assert_array_equal(run_model(external, feeds(condition=True))["y"], expected)
    save(external, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx.data").exists()


def test_what_onnxruntime_takes_as_no_array_stays_inside() -> None:
    model = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[64] x, float[512] given) => (float[64] y) { y = Add(x, x) }
    """)
    rng = np.random.default_rng(0)
    node = model.graph[0]
    small = ir.tensor(rng.standard_normal(16).astype(np.float32), name="small")
    half = ir.Tensor(np.zeros(1024, ir.DataType.BFLOAT16.numpy()), name="half")
    for tensor in (small, half):
        value = ir.Value(name=tensor.name, const_value=tensor)
        model.graph.register_initializer(value)
        model.graph.insert_before(node, ir.node("Neg", [value]))
    default = model.graph.inputs[1]
    default.const_value = ir.tensor(np.ones(512, np.float32), name="given")
    model.graph.register_initializer(default)
    model.graph.insert_before(node, ir.node("Neg", [default]))
    proto, arrays = split_weights(model)
    assert arrays == {}
    assert {tensor.name for tensor in proto.graph.initializer} == {"small", "half", "given"}
    assert not any(tensor.external_data for tensor in proto.graph.initializer)


def test_a_weight_of_a_branch_is_read_from_its_file(tmp_path: Path) -> None:
    model = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x, bool c) => (float[2] y) {
            y = If (c) <
                then_branch = t () => (float[2] a) <float[2] k = {1, 2}> { a = Add(x, k) },
                else_branch = e () => (float[2] d) { d = Neg(x) }
            >
        }
    """)
    (k,) = (value for graph in model.graphs() for value in graph.initializers.values())
    np.array([3, 4], np.float32).tofile(tmp_path / "k.bin")
    k.const_value = ir.ExternalTensor(
        "k.bin", 0, 8, ir.DataType.FLOAT, shape=ir.Shape([2]), name="k", base_dir=tmp_path
    )
    x = np.array([1, 1], np.float32)
    assert run_model(model, {"x": x, "c": np.array(True)})["y"].tolist() == [4, 5]
    assert isinstance(k.const_value, ir.ExternalTensor)
