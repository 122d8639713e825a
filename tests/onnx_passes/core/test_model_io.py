from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core import model_io
from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.core.external_data import external_tensors
from onnx_passes.core.file_writer import write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2] x) => (float[300] y)
<float[2] w = {1, 2}, float[2] v = {1, 2}> { a = Mul(x, w) y = Mul(a, v) }
"""


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    model = lab.model(TEXT)
    for name, value in (("w", 1.0), ("v", 2.0)):
        put(model, name, np.full(300, value, np.float32))
    return model


def put(model: ir.Model, name: str, array: np.ndarray[Any, Any]) -> None:
    model.graph.initializers[name].const_value = ir.Tensor(array, name=name)
    model.graph.initializers[name].shape = ir.Shape(array.shape)


def array_of(model: ir.Model, name: str) -> np.ndarray[Any, Any]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


@pytest.fixture
def external(model: ir.Model, tmp_path: Path) -> Path:
    """Return a model file whose two weights lie in ``m.onnx.data``."""
    ir.save(model, tmp_path / "m.onnx", external_data="m.onnx.data")
    return tmp_path / "m.onnx"


def edit(path: Path, key: str, value: str) -> None:
    """Overwrite one entry of the external data of the first initializer."""
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(proto.SerializeToString())


# --- load ----------------------------------------------------------------------------------------


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(missing, "found nothing, expected an ONNX file", id="nothing"),
        pytest.param(folder_instead, "found a folder, expected", id="a folder"),
        pytest.param(lambda p: p.write_bytes(b""), "declares no opset", id="an empty file"),
        pytest.param(lambda p: p.write_bytes(b"\xff" * 99), "is not a readable ONNX", id="garbage"),
        pytest.param(lambda p: p.write_text("hello\nworld"), "is not a readable", id="a text"),
        pytest.param(truncated, "is not a readable ONNX file", id="a truncated file"),
    ],
)
def test_refuses_to_load(external: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(external)
    with pytest.raises(ModelError, match=message) as caught:
        model_io.load(external)
    assert str(external) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda p: p.with_name("m.onnx.data").unlink(), "'m.onnx.data' is missing", id="missing"
        ),
        pytest.param(
            lambda p: os.truncate(p.with_name("m.onnx.data"), 1300),
            "holds 1300 bytes, tensor 'v' needs bytes 1200 to 2400",
            id="short",
        ),
        pytest.param(
            lambda p: edit(p, "offset", "1400"), "1400 to 2600", id="an offset at the end"
        ),
        pytest.param(lambda p: edit(p, "offset", "-4"), "needs bytes -4 to 1196", id="before it"),
        pytest.param(
            lambda p: edit(p, "length", "8"), "has 8 bytes of external data", id="another length"
        ),
        pytest.param(
            lambda p: edit(p, "location", "../secret"), "lies outside its folder", id="../"
        ),
        pytest.param(
            lambda p: edit(p, "location", "/etc/passwd"), "outside its folder", id="absolute"
        ),
        pytest.param(
            lambda p: os.link(p.with_name("m.onnx.data"), p.with_name("another's")),
            r"has 2 hard links, so it may be another's file, .*; copy it",
            id="a hard link",
        ),
    ],
)
def test_refuses_external_data(
    external: Path, spoil: Callable[[Path], object], message: str
) -> None:
    (external.parents[1] / "secret").write_bytes(bytes(4096))
    spoil(external)
    with pytest.raises(ModelError, match=message):
        model_io.load(external)


def test_refuses_external_data_behind_a_link_that_leads_outside(external: Path) -> None:
    data, secret = external.with_name("m.onnx.data"), external.parents[1] / "elsewhere"
    data.rename(secret)
    data.symlink_to(secret)
    with pytest.raises(ModelError, match="outside its folder"):
        model_io.load(external)


def test_loads_external_data_without_reading_it(external: Path) -> None:
    model = model_io.load(external)
    assert len(external_tensors(model)) == 2
    assert model_io.initializer_bytes(model) == 2400
    assert model_io.opset(model) == 16
    assert model_io.opset(model, "my.domain") == 0


# --- any model -----------------------------------------------------------------------------------


def test_a_path_a_proto_and_a_model_become_the_same_model(model: ir.Model, tmp_path: Path) -> None:
    proto = ir.to_proto(model)
    onnx.save(proto, tmp_path / "m.onnx")
    for given in (tmp_path / "m.onnx", str(tmp_path / "m.onnx"), proto, model):
        taken = model_io.to_model(given)
        assert taken is not model
        assert ir.to_proto(taken) == proto


@pytest.mark.parametrize("given", [None, 5, b"bytes", ["m.onnx"]])
def test_refuses_anything_else(given: Any) -> None:  # noqa: ANN401
    with pytest.raises(
        UsageError, match=r"a model is a path, an onnx\.ModelProto or an onnx_ir\.M"
    ):
        model_io.to_model(given)


def test_refuses_a_proto_whose_external_data_is_elsewhere(
    external: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.load(external, load_external_data=False)
    monkeypatch.chdir(external.parents[1])
    with pytest.raises(ModelError, match=r"external data 'm\.onnx\.data' is missing"):
        model_io.to_model(proto)
    monkeypatch.chdir(external.parent)
    np.testing.assert_array_equal(array_of(model_io.to_model(proto), "w"), np.ones(300))


def test_a_clone_shares_no_type_no_shape_and_no_metadata(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] x, bool c) => (float[2] y) {
            h = f.twice(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) { p = Neg(h) },
                else_branch = no () => (float[2] r) { r = Abs(h) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { b = Add(a, a) }
        """,
        domains=', "f": 1',
    )
    before = ir.to_proto(model)
    clone = model_io.clone(model)
    assert ir.to_proto(clone) == before
    for graph in clone.graphs():
        for value in (*graph.inputs, *(out for node in graph for out in node.outputs)):
            value.dtype = ir.DataType.FLOAT16
            value.shape = ir.Shape([7])
            value.metadata_props["a"] = "b"
    assert ir.to_proto(model) == before
    assert ir.to_proto(clone) != before


# --- save ----------------------------------------------------------------------------------------


def test_saves_small_models_in_one_file_and_external_ones_in_two(
    model: ir.Model, external: Path, tmp_path: Path
) -> None:
    model_io.save(model, tmp_path / "small.onnx")
    model_io.save(model_io.load(external), tmp_path / "copy.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("copy.onnx", "copy.onnx.data", "m.onnx", "m.onnx.data", "small.onnx")
    ]
    for name in ("small.onnx", "copy.onnx"):
        np.testing.assert_array_equal(array_of(model_io.load(tmp_path / name), "v"), [2.0] * 300)


def test_what_one_file_cannot_hold_goes_to_two(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_io, "MAX_SINGLE_FILE_BYTES", 2399)
    model_io.save(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size == 2400
    monkeypatch.setattr(model_io, "MAX_SINGLE_FILE_BYTES", 2400)
    model_io.save(model, tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx.data").exists()


def test_saving_over_its_own_external_data_is_right_on_disk_and_in_memory(external: Path) -> None:
    model = model_io.load(external)
    put(model, "w", np.full(500, 7, np.float32))
    model_io.save(model, external)
    for version in (model_io.load(external), model):
        np.testing.assert_array_equal(array_of(version, "w"), [7.0] * 500)
        np.testing.assert_array_equal(array_of(version, "v"), [2.0] * 300)
    assert sorted(path.name for path in external.parent.iterdir()) == ["m.onnx", "m.onnx.data"]


def test_a_failing_save_leaves_old_files_and_no_others(
    external: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in external.parent.iterdir()}
    model = model_io.load(external)
    put(model, "w", np.full(300, 7, np.float32))

    def run_out_of_space(model: ir.Model, path: Path) -> None:
        write(model, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_io, "write", run_out_of_space)
    with pytest.raises(UsageError, match=r"cannot write .*m\.onnx: No space left on device"):
        model_io.save(model, external)
    assert {path: path.read_bytes() for path in external.parent.iterdir()} == before


def test_an_interrupted_save_leaves_no_files(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: ir.Model, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(model_io, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model_io.save(model, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none/m.onnx", "none does not exist; create it first", id="no folder"),
        pytest.param("folder", "it is a folder; give a file name", id="a folder"),
    ],
)
def test_refuses_to_save(model: ir.Model, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        model_io.save(model, tmp_path / name)


def test_refuses_a_folder_that_takes_no_files(
    model: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(UsageError, match=r"cannot write .*: Permission denied"):
        model_io.save(model, tmp_path / "m.onnx")
