"""What is written piece by piece is what a parser reads as the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core import file_writer
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.model_io import clone, save

if TYPE_CHECKING:
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2] x, bool c) => (float[2] y)
<float[2] w = {1, 2}, int64[3] shape = {1, 2, 3}, string[2] words = {"a", "b"}>
{
    a = Mul(x, w)
    h = f.shift(a)
    y = If (c) <
        then_branch = yes () => (float[2] p) <float[2] v = {3, 4}> { p = Add(h, v) },
        else_branch = no () => (float[2] r) { r = Abs(h) }
    >
}
<domain: "f", opset_import: ["": 16]>
shift (t) => (u) { u = Relu(t) }
"""


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    model = lab.model(TEXT, domains=', "f": 1')
    model.metadata_props["a"] = "b"
    for name, dtype in (("w", "f"), ("shape", "i8")):
        listed = np.array([1, 2, 3][: 2 if name == "w" else 3], dtype)
        model.graph.initializers[name].const_value = ir.Tensor(listed, name=name)
    for name, array in (
        ("big", np.arange(300, dtype=np.float32).reshape(3, 100)),
        ("turned", np.arange(300, dtype=np.int16).reshape(3, 100).T),
        ("scalar", np.float64(7)),
    ):
        tensor = ir.Tensor(np.asarray(array), name=name, doc_string=f"the {name} one")
        value = ir.Value(name=name, const_value=tensor)
        model.graph.register_initializer(value)
    return model


@pytest.mark.parametrize("least", [1, 16, 1000, 1 << 16])
def test_a_parser_reads_the_same_model(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(file_writer, "MIN_WEIGHT_BYTES", least)
    expected, fingerprint = ir.to_proto(model), Fingerprinter()
    before = fingerprint(model)
    save(model, tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx") == expected
    assert fingerprint(model) == before
    again = ir.from_proto(expected)
    save(clone(again), tmp_path / "n.onnx")
    assert fingerprint(ir.load(tmp_path / "n.onnx")) == fingerprint(again)


def test_a_tensor_with_too_few_bytes_is_not_written(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "MIN_WEIGHT_BYTES", 1)
    proto = onnx.TensorProto(name="w", data_type=1, dims=[2], raw_data=b"1234")
    model.graph.initializers["w"].const_value = ir.serde.TensorProtoTensor(proto)
    with pytest.raises(ValueError, match="tensor 'w' has 4 bytes, not 8"):
        file_writer.write(model, tmp_path / "m.onnx")
    held = model.graph.initializers["w"].const_value
    assert isinstance(held, ir.serde.TensorProtoTensor)
