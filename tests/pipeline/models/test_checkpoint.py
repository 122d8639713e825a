from __future__ import annotations

import io
import pickle
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.errors import WeightsError
from pipeline.models import checkpoint
from pipeline.models.checkpoint import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

FLAT, CELL = "neck.lstm.weight_ih_l1_reverse", "neck.lstm.1.cell_bw.weight_ih"
SHAPES = {"conv.weight": (2, 3), "bn._mean": (2,), FLAT: (4, 2), CELL: (4, 2)}


def _tensors(**changes: object) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    found: dict[str, Any] = {**drawn, FLAT: drawn[CELL]}
    return found | changes


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in _tensors().items() if name not in names}


def _saved(tensors: Mapping[str, Any], path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        path.write_bytes(pickle.dumps(tensors, 4))
    return path


def _same(found: Mapping[str, npt.NDArray[np.float32]]) -> bool:
    expected = _tensors()
    return list(found) == list(SHAPES) and all(
        found[name].dtype == np.float32 and np.array_equal(found[name], expected[name])
        for name in SHAPES
    )


@pytest.mark.parametrize("suffix", [".pdparams", ".npz"])
@pytest.mark.parametrize(
    "tensors",
    [
        pytest.param(_tensors(), id="both spellings of the LSTM"),
        pytest.param(_without(FLAT), id="the spelling by cell alone"),
        pytest.param(_without(CELL), id="the flat spelling alone"),
        pytest.param(dict(reversed(_tensors().items())), id="another order"),
    ],
)
def test_reads_all_tensors_under_the_names_of_the_model(
    tensors: dict[str, Any], suffix: str, tmp_path: Path
) -> None:
    assert _same(read_checkpoint(_saved(tensors, tmp_path / f"w{suffix}"), SHAPES))


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_what_paddle_saved_and_ignores_its_name_table(protocol: int, tmp_path: Path) -> None:
    from pipeline.models.framework import paddle

    path = tmp_path / "best.pdparams"
    state = {name: paddle.to_tensor(value) for name, value in _tensors().items()}
    paddle.save(state, str(path), protocol=protocol)
    assert b"StructuredToParameterName@@" in path.read_bytes()
    assert _same(read_checkpoint(path, SHAPES))


@pytest.mark.parametrize("suffix", [".pdparams", ".npz"])
def test_reads_halves_as_float32(suffix: str, tmp_path: Path) -> None:
    halves = {name: value.astype(np.float16) for name, value in _tensors().items()}
    found = read_checkpoint(_saved(halves, tmp_path / f"w{suffix}"), SHAPES)
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    assert all(np.array_equal(found[name], halves[name]) for name in SHAPES)


@pytest.mark.parametrize("suffix", [".pdparams", ".npz"])
@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param(_without("bn._mean"), r"1 missing \(bn._mean\)", id="a missing tensor"),
        pytest.param({}, r"3 missing \(conv.weight, bn._mean, neck.lstm.1", id="all missing"),
        pytest.param(
            _tensors(**{f"more{i}": np.zeros(1) for i in range(5)}),
            r"5 unexpected \(more0, more1, more2, \.\.\.\)",
            id="more tensors than wanted",
        ),
        pytest.param(
            _tensors(**{"two\nlines": np.zeros(1)}),
            "unexpected .two lines",
            id="a name on two lines",
        ),
        pytest.param(
            _tensors(**{"conv.weight": np.zeros((3, 2))}),
            r"1 misshapen \(conv.weight \[3, 2\] instead of \[2, 3\]\)",
            id="another shape",
        ),
        pytest.param(
            _tensors(**{FLAT: np.zeros((4, 2))}), "differs from its other spelling", id="two LSTMs"
        ),
        pytest.param(
            _tensors(**{"bn._mean": np.array([1, np.nan])}),
            "'bn._mean' holds 1 values that are not finite",
            id="not a number",
        ),
        pytest.param(
            _tensors(**{"bn._mean": np.array([1e300, -1e300])}),
            "'bn._mean' holds 2 values that are not finite in float32",
            id="numbers too large for float32",
        ),
    ],
)
def test_refuses_what_does_not_fit(
    tensors: dict[str, Any], reason: str, suffix: str, tmp_path: Path
) -> None:
    path = _saved(tensors, tmp_path / f"w{suffix}")
    with pytest.raises(WeightsError, match=reason) as refusal:
        read_checkpoint(path, SHAPES)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def _object_array() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], object))
    return buffer.getvalue()


def _damaged_zip() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, np.arange(4000.0))
    data = bytearray(buffer.getvalue())
    data[200:400] = bytes(200)
    return bytes(data)


def _boastful_npy() -> bytes:
    """Return an archive whose one array says that it holds a petabyte."""
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 48,)}
    )
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        pytest.param("w.onnx", b"", "ends in .pdparams or .npz", id="another kind of file"),
        pytest.param("w.pdparams", b"hello", "refused: it is no pickle", id="text for a pickle"),
        pytest.param("w.pdparams", pickle.dumps(1.5), "found float", id="a number"),
        pytest.param("w.pdparams", pickle.dumps({"conv.weight": "x"}), "missing", id="text inside"),
        pytest.param("w.npz", b"hello", "not an .npz file", id="text for an archive"),
        pytest.param("w.npz", _object_array(), "not an .npz file", id="pickled objects"),
        pytest.param("w.npz", _damaged_zip(), "not an .npz file", id="damaged archive"),
        pytest.param("w.npz", _boastful_npy(), "not an .npz file", id="an array of a petabyte"),
    ],
)
def test_refuses_what_is_no_checkpoint(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=reason) as refusal:
        read_checkpoint(path, SHAPES)
    assert "\n" not in str(refusal.value)


def test_refuses_an_entry_that_is_no_array(tmp_path: Path) -> None:
    path = _saved(_tensors(**{"bn._mean": "text"}), tmp_path / "w.pdparams")
    with pytest.raises(WeightsError, match=r"'bn._mean' is str, expected a float array"):
        read_checkpoint(path, SHAPES)


@pytest.mark.parametrize("suffix", [".pdparams", ".npz"])
def test_refuses_a_file_larger_than_any_checkpoint(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(_tensors(), tmp_path / f"w{suffix}")
    monkeypatch.setattr(checkpoint, "BYTES_A_VALUE", 0)
    monkeypatch.setattr(checkpoint, "FRAME_BYTES", 100)
    with pytest.raises(WeightsError, match=r"hold \d+ bytes; expected at most 100"):
        read_checkpoint(path, SHAPES)


@pytest.mark.parametrize("suffix", [".pdparams", ".npz"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path: path, "No such file", id="no file"),
        pytest.param(lambda path: path.mkdir(), "Is a directory", id="a folder"),
    ],
)
def test_refuses_a_path_that_is_no_file(
    make: Callable[[Path], object], reason: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    make(path)
    with pytest.raises(WeightsError, match=re.escape(f"{path} cannot be read: {reason}")):
        read_checkpoint(path, SHAPES)
