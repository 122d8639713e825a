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
