"""Read weights from a file that nobody vouches for: ``.pdparams`` or ``.npz``.

A ``.pdparams`` file is read without Paddle and without running it, see ``pickle_reader``. A
``.npz`` file may hold float16, which halves what has to be shipped. Either way the names and
shapes must be those of the model, and every value finite.
"""

from __future__ import annotations

import math
import re
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import WeightsError
from pipeline.models.pickle_reader import MAX_SHOWN, RefusedPickleError, read_pickle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Weights = dict[str, npt.NDArray[np.float32]]

# Room for every entry in float64, both spellings of an LSTM included, and as much again.
BYTES_A_VALUE = 2 * 8
FRAME_BYTES = 1 << 20  # names and instructions; StarNet's take 60 kB
NAME_TABLE = "StructuredToParameterName@@"  # Paddle's own, of no use here
MAX_LISTED = 3
_FLAT_LSTM = re.compile(
    r"(?P<lstm>.+)\.(?P<what>(weight|bias)_[ih]h)_l(?P<layer>\d+)(?P<back>_reverse)?"
)


def read_checkpoint(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """Return the tensors of a ``.pdparams`` or ``.npz`` file under the names of ``shapes``.

    Paddle lists the tensors of an LSTM twice, flat (``lstm.weight_ih_l0_reverse``) and by cell
    (``lstm.0.cell_bw.weight_ih``); in the file, either spelling is enough.

    Args:
        path: The file.
        shapes: The model's shapes, by name, both spellings included.

    Raises:
        WeightsError: If the file cannot be read, its names or shapes are not those of the
            model, or a value is not finite.
    """
    found = _read(path, BYTES_A_VALUE * sum(map(math.prod, shapes.values())) + FRAME_BYTES)
    expected = {_by_cell(name): shape for name, shape in shapes.items()}
    _check_names(found, expected, path)
    tensors: Weights = {}
    for name, value in found.items():  # no more than the model has, and no larger: checked above
        tensor = _float32(value, name, path)
        if not np.array_equal(tensors.setdefault(_by_cell(name), tensor), tensor):
            msg = f"weights {path}: {name!r} differs from its other spelling {_by_cell(name)!r}"
            raise WeightsError(msg)
    return {name: tensors[_by_cell(name)] for name in shapes}


def _read(path: Path, most: int) -> dict[str, object]:
    readers = {".pdparams": _read_pdparams, ".npz": _read_npz}
    reader = readers.get(path.suffix)
    if reader is None:
        msg = f"weights {path}: expected a file name that ends in {' or '.join(readers)}"
        raise WeightsError(msg)
    try:
        return reader(path, most)
    except OSError as error:
        msg = f"weights {path} cannot be read: {error.strerror or error}"
        raise WeightsError(msg) from error


def _check_names(
    found: Mapping[str, object], expected: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    names = {_by_cell(name) for name in found}
    problems = {
        "missing": [name for name in expected if name not in names],
        "unexpected": [name for name in found if _by_cell(name) not in expected],
        "misshapen": [
            f"{name} {list(np.shape(value))} instead of {list(expected[_by_cell(name)])}"
            for name, value in found.items()
            if isinstance(value, np.ndarray)
            and value.shape != expected.get(_by_cell(name), value.shape)
        ],
    }
    if said := [_listed(kind, names) for kind, names in problems.items() if names]:
        msg = f"weights {path} do not fit the model: {'; '.join(said)}"
        raise WeightsError(msg)


def _read_pdparams(path: Path, most: int) -> dict[str, object]:
    _check_size(path.stat().st_size, most, path)
    try:
        found = read_pickle(path.read_bytes())
    except RefusedPickleError as error:
        msg = f"weights {path} were refused: {error}"
        raise WeightsError(msg) from error
    if not isinstance(found, dict):
        msg = f"weights {path}: found {type(found).__name__}, expected a dict of arrays"
        raise WeightsError(msg)
    return {name: value for name, value in found.items() if name != NAME_TABLE}


def _read_npz(path: Path, most: int) -> dict[str, object]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(sum(member.file_size for member in archive.infolist()), most, path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, WeightsError):
        raise
    except Exception as error:  # numpy and zipfile raise what their parsers happen to raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:MAX_SHOWN]
        msg = f"weights {path}: not an .npz file of plain arrays, or a damaged one ({reason})"
        raise WeightsError(msg) from error


def _float32(value: object, name: str, path: Path) -> npt.NDArray[np.float32]:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        msg = f"weights {path}: {name!r} is {found}, expected a float array"
        raise WeightsError(msg)
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes inf, refused below
        converted = value.astype(np.float32)
    if not np.isfinite(converted).all():
        count = int(np.size(converted) - np.isfinite(converted).sum())
        msg = f"weights {path}: {name!r} holds {count} values that are not finite in float32"
        raise WeightsError(msg)
    return converted


def _by_cell(name: str) -> str:
    """Return the spelling by cell of a flat LSTM name, and any other name as it is."""
    match = _FLAT_LSTM.fullmatch(name)
    if match is None:
        return name
    direction = "bw" if match["back"] else "fw"
    return f"{match['lstm']}.{match['layer']}.cell_{direction}.{match['what']}"


def _listed(kind: str, names: list[str]) -> str:
    shown = ", ".join(" ".join(name[:MAX_SHOWN].split()) for name in names[:MAX_LISTED])
    return f"{len(names)} {kind} ({shown}{', ...' if len(names) > MAX_LISTED else ''})"


def _check_size(size: int, most: int, path: Path) -> None:
    if size > most:
        msg = f"weights {path} hold {size} bytes; expected at most {most} for this network"
        raise WeightsError(msg)
