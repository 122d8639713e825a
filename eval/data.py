"""Open labelled pictures wherever they lie: an LMDB tree, a zip of one, or a list of image files.

What is opened has ``counts`` (records per data set), ``len`` and an iterator over
:class:`eval.lmdb_data.RawSample`, in an order that is the same on every machine.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Protocol

from eval.errors import EvalError
from eval.label_file import LabelFile
from eval.lmdb_data import LmdbTree
from eval.zip_data import ZippedTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eval.lmdb_data import RawSample


class Data(Protocol):
    """Labelled pictures, open. A context manager."""

    counts: dict[str, int]

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""

    def __iter__(self) -> Iterator[RawSample]:
        """Yield every record."""

    def __enter__(self) -> Data:
        """Return the data itself."""

    def __exit__(self, *_: object) -> None:
        """Close what was opened."""


def open_data(path: Path) -> Data:
    """Open a folder of LMDB data sets, a zip of such a folder, or a label file.

    Raises:
        EvalError: If there is no such file or folder, or it cannot be read as one of the three.
    """
    if path.is_dir():
        return LmdbTree(path)
    if not path.is_file():
        msg = f"data {path} does not exist; give a folder of LMDB data sets, a zip or a label file"
        raise EvalError(msg)
    return ZippedTree(path) if zipfile.is_zipfile(path) else LabelFile(path)
