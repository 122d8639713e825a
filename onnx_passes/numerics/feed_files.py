"""Feeds from files, and back.

==================  ============================================================================
``feeds.npz``       one array per input, by name
folder              ``<input>.npy``, or ``<input>.bin``: raw little-endian numbers of the input's
                    dtype, in C order; one dimension the model leaves open follows from the size
preprocessed folder ``manifest.json`` and ``img_<index>.bin`` as ``onnx-passes eval preprocess``
                    writes them, for a model with one input: a few records, spread over the data
==================  ============================================================================
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.feeds import graph_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.runner import Arrays

MANIFEST = "manifest.json"
# Records taken from a preprocessed folder when the model leaves the batch open.
RECORDS = 8


def load(path: Path, model: ir.Model) -> Arrays:
    """Read feeds for ``model``; the forms are in the module's docstring.

    Raises:
        UsageError: If the path has no such form, is broken, or holds nothing.
    """
    if path.is_dir() and (path / MANIFEST).is_file():
        arrays = _read_preprocessed(path, model)
    elif path.is_dir():
        arrays = _read_folder(path, model)
    elif path.suffix == ".npz" and path.is_file():
        arrays = _read_npz(path)
    else:
        msg = f"feeds {path} is neither a .npz file nor a folder of .npy or .bin files"
        raise UsageError(msg)
    if not arrays:
        msg = f"feeds {path} holds no array; expected one per graph input, by name"
        raise UsageError(msg)
    return arrays


def save(path: Path, feeds: Mapping[str, Array]) -> None:
    """Write feeds as a ``.npz`` file; unlike ``numpy.savez`` for any input name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in feeds.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _read_folder(path: Path, model: ir.Model) -> Arrays:
    arrays = {file.stem: _read_npy(file) for file in sorted(path.glob("*.npy"))}
    inputs = {value.name: value for value in graph_inputs(model)}
    for file in sorted(path.glob("*.bin")):
        if file.stem not in inputs:
            names = ", ".join(str(name) for name in inputs)
            msg = f"feed {file} is named after no input; the model needs {names}"
            raise UsageError(msg)
        arrays[file.stem] = _read_bin(file, inputs[file.stem])
    return arrays


def _read_bin(file: Path, value: ir.Value) -> Array:
    """Read raw numbers; at most one dimension may be open, and follows from the size."""
    dtype, dims = _plain(value, f"feed {file}")
    open_axes = [axis for axis, dim in enumerate(dims) if dim is None]
    raw = np.fromfile(file, dtype)
    rest = math.prod(dim for dim in dims if dim is not None)
    fits = raw.size % rest == 0 if open_axes and rest else raw.size == rest
    if len(open_axes) > 1 or not fits or file.stat().st_size % dtype.itemsize:
        shape = ", ".join("?" if dim is None else str(dim) for dim in dims)
        msg = f"feed {file} holds {file.stat().st_size} bytes, input is {dtype} [{shape}]"
        raise UsageError(msg)
    return raw.reshape([raw.size // rest if dim is None else dim for dim in dims])


def _read_preprocessed(path: Path, model: ir.Model) -> Arrays:
    """Stack records of a preprocessed data set: as many as the model's batch, or a few."""
    inputs = graph_inputs(model)
    if len(inputs) != 1:
        msg = f"{path / MANIFEST} feeds one input, the model has {len(inputs)}; give a .npz file"
        raise UsageError(msg)
    (value,) = inputs
    dtype, dims = _plain(value, f"feeds {path}")
    if not dims or None in dims[1:]:
        msg = f"input {value.name!r} must fix all but its first dimension to be fed from {path}"
        raise UsageError(msg)
    good = _good_records(path / MANIFEST)
    count = dims[0] or min(RECORDS, len(good))
    chosen = [good[place * len(good) // count] for place in range(count)]
    item = [dim for dim in dims[1:] if dim is not None]
    images = []
    for index in chosen:
        file = path / f"img_{index}.bin"
        if not file.is_file() or file.stat().st_size != math.prod(item) * dtype.itemsize:
            msg = (
                f"{file} is missing or not {math.prod(item) * dtype.itemsize} bytes: {dtype} {item}"
            )
            raise UsageError(msg)
        images.append(np.fromfile(file, dtype).reshape(item))
    return {value.name or "": np.stack(images)}


def _good_records(manifest: Path) -> list[int]:
    try:
        records = json.loads(manifest.read_text(encoding="utf-8"))["records"]
        good = [int(record["index"]) for record in records if record["reason"] is None]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{manifest} is no manifest of 'onnx-passes eval preprocess': {error!r}"
        raise UsageError(msg) from error
    if not good:
        msg = f"{manifest} lists no usable record"
        raise UsageError(msg)
    return good


def _plain(value: ir.Value, what: str) -> tuple[np.dtype[np.generic], list[int | None]]:
    """Return dtype and sizes of an input (None: open), or refuse."""
    if value.dtype is None or value.shape is None:
        msg = f"{what}: input {value.name!r} declares no dtype or rank; give a .npz file"
        raise UsageError(msg)
    return value.dtype.numpy(), [dim if isinstance(dim, int) else None for dim in value.shape]


def _read_npz(path: Path) -> Arrays:
    try:
        # NpzFile, not np.load: that one also takes a .npy, whatever its name.
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        msg = f"feeds {path} cannot be read as .npz: {str(error).splitlines()[0]}"
        raise UsageError(msg) from error


def _read_npy(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        msg = f"feed {path} cannot be read as .npy: {str(error).splitlines()[0]}"
        raise UsageError(msg) from error
