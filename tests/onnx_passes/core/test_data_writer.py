"""The data file of a model: what goes there, what stays, and that its length is known at once."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core import data_writer, model_io
from onnx_passes.core.contract import UsageError
from onnx_passes.core.external_data import external_tensors
from onnx_passes.core.file_writer import write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2] x, bool c) => (float[2] y) <string[2] words = {"a", "b"}> {
    y = If (c) <
        then_branch = yes () => (float[2] p) <float[2] inner = {3, 4}> { p = Add(x, inner) },
        else_branch = no () => (float[2] r) { r = Abs(x) }
    >
}
"""
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "float": np.arange(300, dtype=np.float32).reshape(3, 100),
    "turned": np.arange(300, dtype=np.int16).reshape(3, 100).T,
    "scalar": np.asarray(np.float64(7)),
    "least": np.arange(65, dtype=np.float32),
    "below": np.arange(64, dtype=np.float32),
    "nibbles": np.arange(601).astype(ml_dtypes.int4),
    "brain": np.arange(300).astype(ml_dtypes.bfloat16),
    "empty": np.zeros((0, 4), np.float32),
}
APART = ["float", "turned", "least", "nibbles", "brain", "inner"]


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    model = lab.model(TEXT)
    for name, array in ARRAYS.items():
        tensor = ir.Tensor(
            array, name=name, doc_string=f"the {name} one", metadata_props={"a": name}
        )
        model.graph.register_initializer(ir.Value(name=name, const_value=tensor))
    words = ir.StringTensor(np.array([b"a" * 300, b"b"], object), shape=ir.Shape([2]), name="words")
    model.graph.initializers["words"].const_value = words
    inner = next(graph for graph in model.graphs() if "inner" in graph.initializers)
    inner.initializers["inner"].const_value = ir.tensor(np.full(300, 5, np.float32), name="inner")
    return model


def save(model: ir.Model, path: Path) -> None:
    with data_writer.weights_in(path.with_name("w.data"), model):
        write(model, path)


def test_a_parser_reads_the_same_model(model: ir.Model, tmp_path: Path) -> None:
    expected = ir.to_proto(model)
    save(model, tmp_path / "m.onnx")
    assert ir.to_proto(model) == expected
    read = onnx.load(tmp_path / "m.onnx")
    tensors = [*read.graph.initializer, *read.graph.node[0].attribute[0].g.initializer]
    for tensor in tensors:
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    assert read == expected


def test_tensors_from_257_bytes_on_go_apart_without_gaps(model: ir.Model, tmp_path: Path) -> None:
    save(model, tmp_path / "m.onnx")
    read = ir.load(tmp_path / "m.onnx")
    tensors = [
        value.const_value for graph in read.graphs() for value in graph.initializers.values()
    ]
    apart = [tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor)]
    assert [tensor.name for tensor in apart] == APART
    ends = np.cumsum([0, *(tensor.nbytes for tensor in apart)])
    assert [tensor.offset for tensor in apart] == list(ends[:-1])
    assert (tmp_path / "w.data").stat().st_size == ends[-1]


def test_external_tensors_are_copied_and_small_ones_come_in(
    model: ir.Model, tmp_path: Path
) -> None:
    del model.graph.initializers["words"]  # onnx-ir cannot save strings beside a data file
    ir.save(model, tmp_path / "m.onnx", external_data="all.data", size_threshold_bytes=0)
    loaded = model_io.load(tmp_path / "m.onnx")
    assert len(external_tensors(loaded)) > len(APART)
    (tmp_path / "out").mkdir()
    save(loaded, tmp_path / "out" / "m.onnx")
    (tmp_path / "all.data").unlink()
    again = model_io.load(tmp_path / "out" / "m.onnx")
    assert [tensor.name for tensor in external_tensors(again)] == APART
    for name, array in ARRAYS.items():
        tensor = again.graph.initializers[name].const_value
        assert tensor is not None
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_whatever_happens_the_model_gets_its_tensors_back(model: ir.Model, tmp_path: Path) -> None:
    before = {name: value.const_value for name, value in model.graph.initializers.items()}

    def fail() -> None:
        with data_writer.weights_in(tmp_path / "w.data", model):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert {name: v.const_value for name, v in model.graph.initializers.items()} == before


def test_a_tensor_with_too_few_bytes_is_not_written(model: ir.Model, tmp_path: Path) -> None:
    proto = onnx.TensorProto(name="float", data_type=1, dims=[300], raw_data=bytes(1000))
    model.graph.initializers["float"].const_value = ir.serde.TensorProtoTensor(proto)
    with pytest.raises(ValueError, match="tensor 'float' has 1000 bytes, not 1200"):
        save(model, tmp_path / "m.onnx")


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_allocate_is_written_all_the_same(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    save(model, tmp_path / "m.onnx")
    expected = (tmp_path / "w.data").read_bytes()

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    save(model, tmp_path / "m.onnx")
    assert (tmp_path / "w.data").read_bytes() == expected
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS and Windows
    save(model, tmp_path / "m.onnx")
    assert (tmp_path / "w.data").read_bytes() == expected


def test_a_full_disk_is_found_out_before_the_first_byte(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_io, "MAX_SINGLE_FILE_BYTES", 1)
    asked = []

    def refuse(_: int, start: int, length: int) -> None:
        asked.append((start, length))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(data_writer, "write_bytes", lambda *_: pytest.fail("wrote"))
    with pytest.raises(UsageError, match=r"cannot write .*m\.onnx: No space left on device"):
        model_io.save(model, tmp_path / "m.onnx")
    assert asked == [(0, 1200 + 600 + 260 + 301 + 600 + 1200)]
    assert not list(tmp_path.iterdir())
