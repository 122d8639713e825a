"""Feeds from archives, folders, raw files and preprocessed data; each broken one a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics import feed_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = (3, 4, 5)


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (float[N, 3] x, int64[N, K] ids) => (float[N, 3] y) { y = Relu(x) }"
    )


@pytest.fixture
def recogniser() -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (float[N, 3, 4, 5] x) => (float[N, 3, 4, 5] y) { y = Relu(x) }"
    )


def given() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((4, 3)).astype(np.float32),
        "ids": rng.integers(0, 9, (4, 2)),
    }


def preprocess(folder: Path, count: int, bad: set[int]) -> None:
    """Write what ``onnx-passes eval preprocess`` writes: image i is full of i."""
    folder.mkdir()
    records = []
    for index in range(count):
        reason = "undecodable image" if index in bad else None
        records.append({"index": index, "reason": reason})
        if reason is None:
            np.full((1, *IMAGE), index, np.float32).tofile(folder / f"img_{index}.bin")
    (folder / "manifest.json").write_text(json.dumps({"records": records}))


def test_saves_any_name(tmp_path: Path, model: ir.Model) -> None:
    arrays = {"file": np.arange(3), "a/b": np.ones((2, 2)), "allow_pickle": np.array(1)}
    feed_files.save(tmp_path / "feeds.npz", arrays)
    read = feed_files.load(tmp_path / "feeds.npz", model)
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def test_reads_raw_files_by_the_models_dtype_and_shape(tmp_path: Path) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (float[N, 3] x, int64[2] n) => (float[N, 3] y) { y = Relu(x) }"
    )
    arrays = {"x": given()["x"], "n": np.array([7, 8])}
    for name, array in arrays.items():
        array.tofile(tmp_path / f"{name}.bin")
    read = feed_files.load(tmp_path, model)
    assert read["x"].shape == (4, 3)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def test_spreads_over_a_preprocessed_folder(tmp_path: Path, recogniser: ir.Model) -> None:
    preprocess(tmp_path / "bin", 100, bad={0, 1})
    (images,) = feed_files.load(tmp_path / "bin", recogniser).values()
    assert images.shape == (feed_files.RECORDS, *IMAGE)
    assert images[:, 0, 0, 0].tolist() == [2, 14, 26, 38, 51, 63, 75, 87]


def test_takes_as_many_records_as_a_fixed_batch(tmp_path: Path) -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> '
        "g (float[5, 3, 4, 5] x) => (float[5, 3, 4, 5] y) { y = Relu(x) }"
    )
    preprocess(tmp_path / "bin", 3, bad={1})
    (images,) = feed_files.load(tmp_path / "bin", model).values()
    assert images[:, 0, 0, 0].tolist() == [0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda p: (p / "img_0.bin").unlink(), "img_0.bin is missing or not 240 bytes", id="gone"
        ),
        pytest.param(
            lambda p: (p / "img_0.bin").write_bytes(b"x"), "not 240 bytes: float32", id="short"
        ),
        pytest.param(
            lambda p: (p / "manifest.json").write_text("{"), "is no manifest", id="broken JSON"
        ),
        pytest.param(
            lambda p: (p / "manifest.json").write_text('{"records": [{"index": 0}]}'),
            "is no manifest",
            id="a record without a reason field",
        ),
        pytest.param(
            lambda p: (p / "manifest.json").write_text('{"records": []}'), "no usable", id="empty"
        ),
    ],
)
def test_refuses_a_broken_preprocessed_folder(
    tmp_path: Path, recogniser: ir.Model, spoil: Callable[[Path], object], message: str
) -> None:
    preprocess(tmp_path / "bin", 2, bad=set())
    spoil(tmp_path / "bin")
    with pytest.raises(UsageError, match=message):
        feed_files.load(tmp_path / "bin", recogniser)


def test_a_manifest_feeds_one_input_only(tmp_path: Path, model: ir.Model) -> None:
    preprocess(tmp_path / "bin", 2, bad=set())
    with pytest.raises(UsageError, match="feeds one input, the model has 2"):
        feed_files.load(tmp_path / "bin", model)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        pytest.param("x", 7, r"x.bin holds 7 bytes, input is float32 \[N?\??, 3\]", id="odd"),
        pytest.param("x", 16, "x.bin holds 16 bytes", id="no whole rows"),
        pytest.param("ids", 16, "ids.bin holds 16 bytes", id="two open dimensions"),
        pytest.param("z", 16, "z.bin is named after no input; the model needs x, ids", id="a name"),
    ],
)
def test_refuses_raw_files(
    tmp_path: Path, model: ir.Model, name: str, size: int, message: str
) -> None:
    (tmp_path / f"{name}.bin").write_bytes(b"\0" * size)
    with pytest.raises(UsageError, match=message):
        feed_files.load(tmp_path, model)


def test_reads_an_archive_and_a_folder(tmp_path: Path, model: ir.Model) -> None:
    arrays = given()
    np.savez(tmp_path / "feeds.npz", **arrays)
    (tmp_path / "folder").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    for path in (tmp_path / "feeds.npz", tmp_path / "folder"):
        read = feed_files.load(path, model)
        assert read.keys() == arrays.keys()
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def an_array_by_another_name(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.ones(3))
    path.with_suffix(".npy").rename(path)


def a_damaged_member(path: Path) -> None:
    np.savez_compressed(path, x=np.arange(1000))
    data = bytearray(path.read_bytes())
    data[100:140] = b"\xff" * 40
    path.write_bytes(data)


def objects(path: Path) -> None:
    np.savez(path, x=np.array([{}], object))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda _: None, "is neither a .npz file nor a folder", id="nothing"),
        pytest.param(lambda p: p.write_bytes(b""), "cannot be read as .npz", id="an empty file"),
        pytest.param(lambda p: p.write_text("x"), "cannot be read as .npz", id="a text"),
        pytest.param(an_array_by_another_name, "cannot be read as .npz", id="a .npy file"),
        pytest.param(a_damaged_member, "cannot be read as .npz", id="a damaged member"),
        pytest.param(objects, "cannot be read as .npz: Object arrays", id="pickled objects"),
        pytest.param(np.savez, "holds no array", id="an empty archive"),
        pytest.param(lambda p: p.mkdir(), "holds no array", id="an empty folder"),
        pytest.param(
            lambda p: (p.mkdir(), (p / "x.npy").write_text("x")), "feed .*x.npy cannot", id="a file"
        ),
    ],
)
def test_refuses_to_read(
    tmp_path: Path, model: ir.Model, spoil: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "feeds.npz"
    spoil(path)
    with pytest.raises(UsageError, match=message):
        feed_files.load(path, model)
