"""What is read without a parser's copies is what the parser reads."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_passes.core import file_reader
from onnx_passes.core.contract import ModelError
from onnx_passes.core.file_reader import read
from onnx_passes.core.model_io import load

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint64")


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reader, "MIN_FILE_BYTES", 1)
    monkeypatch.setattr(file_reader, "MIN_WEIGHT_BYTES", 40)


def weights() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    made = {f"w_{dtype}": rng.integers(0, 100, (4, 25)).astype(dtype) for dtype in DTYPES}
    return {**made, "flags": rng.integers(0, 2, 100) > 0, "small": np.arange(3.0)}


@pytest.fixture
def proto() -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    tensors[0].doc_string = "the first"
    tensors.append(helper.make_tensor("listed", TensorProto.FLOAT, [30], np.ones(30)))
    tensors.append(helper.make_tensor("b16", TensorProto.BFLOAT16, [40], np.ones(40)))
    node = helper.make_node("Identity", ["x"], ["y"], name="n")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], tensors, doc_string="text")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.producer_name = "someone"
    model.metadata_props.add(key="a", value="b")
    return model


def test_reads_what_a_parser_reads(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    model, parsed = read(path), ir.load(path)
    assert ir.to_proto(model) == ir.to_proto(parsed)
    assert list(model.graph.initializers) == list(parsed.graph.initializers)
    for name, array in weights().items():
        held = model.graph.initializers[name].const_value
        assert held is not None
        np.testing.assert_array_equal(held.numpy(), array)
        assert held.numpy().dtype == array.dtype
        assert type(held) is (ir.Tensor if name.startswith("w_") else ir.serde.TensorProtoTensor)
        assert name == "small" or not name.startswith("w_") or not held.numpy().flags.writeable


def test_the_model_outlives_its_file(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    model = read(path)
    path.write_bytes(b"something else")
    held = model.graph.initializers["w_float32"].const_value
    assert held is not None
    np.testing.assert_array_equal(held.numpy(), weights()["w_float32"])


def test_a_small_file_is_left_to_the_parser(
    proto: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_reader, "MIN_FILE_BYTES", 1 << 24)
    monkeypatch.setattr(file_reader, "_without_weights", lambda _: pytest.fail("looked into it"))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    assert ir.to_proto(read(path)) == ir.to_proto(ir.load(path))


def as_bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString())


def two_graphs(model: onnx.ModelProto) -> bytes:
    return as_bytes(model) + as_bytes(onnx.ModelProto(graph=model.graph))


def same_name_twice(model: onnx.ModelProto) -> bytes:
    model.graph.initializer.append(model.graph.initializer[0])
    return as_bytes(model)


def raw_data_twice(model: onnx.ModelProto) -> bytes:
    model.graph.initializer[0].raw_data = b"\4" * 397
    return as_bytes(model).replace(b"\4" * 397, b"\1" * 98 + b"\x4a\xa8\2" + b"\2" * 296)


@pytest.mark.parametrize("spell", [two_graphs, same_name_twice, raw_data_twice])
def test_what_is_unusual_is_left_to_the_parser(
    proto: onnx.ModelProto,
    tmp_path: Path,
    spell: Any,  # noqa: ANN401
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(spell(proto))
    try:
        expected = ir.to_proto(ir.load(path))
    except Exception:
        with pytest.raises(ModelError, match="not a readable ONNX file"):
            load(path)
        return
    assert ir.to_proto(read(path)) == expected


def test_a_broken_file_is_refused_or_read_as_a_parser_reads_it(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    data, path, rng = proto.SerializeToString(), tmp_path / "m.onnx", random.Random(0)
    refused = 0
    for _ in range(400):
        broken = bytearray(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
        for _ in range(rng.choice([0, 1, 3])):
            broken[rng.randrange(len(broken))] = rng.choice([0, 5, 0x7F, 0xFF, rng.randrange(256)])
        path.write_bytes(broken)
        try:
            expected = ir.to_proto(ir.load(path)).SerializeToString(deterministic=True)
        except Exception:
            refused += 1
            with pytest.raises(Exception):  # noqa: B017, PT011  the parser's, whatever it is
                ir.to_proto(read(path))
            continue
        assert ir.to_proto(read(path)).SerializeToString(deterministic=True) == expected
    assert 50 < refused < 390
