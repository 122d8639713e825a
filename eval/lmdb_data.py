"""Read a tree of LMDB text recognition data sets (the layout of deep-text-recognition-benchmark).

Layout of one data set, a folder that holds ``data.mdb``::

    num-samples       decimal ASCII count N
    image-%09d        encoded image file, numbered 1..N
    label-%09d        UTF-8 text

Every folder without sub-folders is a data set, at any depth; the data folder may itself be one.
Folders are taken in sorted order, so that an index names the same record on every machine (the
order of ``os.walk`` is the file system's). Nothing is left out silently: a folder that looks like
a data set but cannot be read as one is an error.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError, import_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA_FILE = "data.mdb"
MAX_IMAGE_BYTES = 64 << 20  # more than any cropped word; what is larger is something else
MAX_LABEL_BYTES = 4096  # 25 characters need at most 100
_LONGEST_COUNT = 40  # bytes; with white space around
_COUNT = re.compile(rb"\s*[0-9]{1,18}\s*")


@dataclass(frozen=True)
class RawSample:
    """One record as it is stored.

    Attributes:
        index: Position in the concatenation of all data sets, 0-based.
        dataset: The data set's folder, relative to the data folder.
        record: Number inside the data set, 1-based.
        image: The encoded image file, or None if the key is missing.
        label: The text in UTF-8, or None if the key is missing.
        refusal: Why what is missing was not read; None if it is not there.
    """

    index: int
    dataset: str
    record: int
    image: bytes | None
    label: bytes | None
    refusal: str | None = None


class LmdbTree:
    """All records of a data folder, in a fixed order. A context manager.

    Attributes:
        counts: Records per data set, in order.
    """

    def __init__(self, data_dir: Path) -> None:
        """Open every data set below ``data_dir``.

        Raises:
            EvalError: If a folder is not a readable data set, or there are no records at all.
        """
        self.counts: dict[str, int] = {}
        self._transactions: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            for folder in leaf_folders(data_dir):
                transaction, count = _open(stack, folder)
                name = folder.relative_to(data_dir).as_posix()
                name = data_dir.resolve().name if name == "." else name
                self._transactions[name] = transaction
                self.counts[name] = count
            if not len(self):
                msg = f"data folder {data_dir} holds no records: every num-samples is 0"
                raise EvalError(msg)
            self._stack = stack.pop_all()

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[RawSample]:
        """Yield every record.

        Raises:
            EvalError: If a page of a data set is damaged.
        """
        index = 0
        for name, transaction in self._transactions.items():
            for record in range(1, self.counts[name] + 1):
                image, large = _get(transaction, b"image", record, MAX_IMAGE_BYTES, name)
                label, long = _get(transaction, b"label", record, MAX_LABEL_BYTES, name)
                yield RawSample(index, name, record, image, label, long or large)
                index += 1

    def __enter__(self) -> LmdbTree:
        """Return the tree itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every data set."""
        self._stack.close()


def leaf_folders(data_dir: Path) -> list[Path]:
    """Return the folders below ``data_dir`` that have no sub-folders, in sorted order.

    Raises:
        EvalError: If a folder cannot be listed, or holds what would be left out in silence: a
            linked folder, or a ``data.mdb`` next to sub-folders.
    """
    if not data_dir.is_dir():
        msg = f"data folder {data_dir} is not a folder; give one that holds LMDB data sets"
        raise EvalError(msg)
    leaves = []
    for parent, folders, files in os.walk(data_dir, onerror=_refuse_listing):
        folders.sort()
        for name in folders:
            if (link := Path(parent, name)).is_symlink():
                msg = f"{link} is a link to a folder, which is not followed; copy or mount it there"
                raise EvalError(msg)
        if not folders:
            leaves.append(Path(parent))
        elif DATA_FILE in files:
            msg = f"{parent} holds {DATA_FILE} and sub-folders; a data set must have none, move one"
            raise EvalError(msg)
    return leaves


def _refuse_listing(error: OSError) -> None:
    msg = f"cannot list {error.filename}: {error.strerror}"
    raise EvalError(msg) from error


def _open(stack: contextlib.ExitStack, folder: Path) -> tuple[Any, int]:
    """Return a read transaction and the number of records of one data set."""
    if not (folder / DATA_FILE).is_file():
        msg = (
            f"{folder} has neither sub-folders nor a file {DATA_FILE}; "
            "expected an LMDB data set, remove the folder if it is none"
        )
        raise EvalError(msg)
    lmdb = import_extra("lmdb")
    try:
        env = lmdb.open(
            str(folder), max_readers=32, readonly=True, lock=False, readahead=False, meminit=False
        )
        stack.callback(env.close)
        _refuse_truncated(env, folder)
        # Buffers: what is too large is seen without being copied.
        transaction = stack.enter_context(env.begin(write=False, buffers=True))
        return transaction, _count(transaction, env.stat()["entries"], folder)
    except lmdb.Error as error:
        msg = f"{folder / DATA_FILE} is not a readable LMDB file: {error}"
        raise EvalError(msg) from error


def _refuse_truncated(env: Any, folder: Path) -> None:  # noqa: ANN401  lmdb has no types
    """Refuse a file that ends before its last page: reading past the end kills the process."""
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    size = (folder / DATA_FILE).stat().st_size
    if size < expected:
        msg = (
            f"{folder / DATA_FILE} is cut short: {size} bytes, its header speaks of {expected}; "
            "copy it again (if records were deleted from it, rewrite it with mdb_copy -c)"
        )
        raise EvalError(msg)


def _count(transaction: Any, entries: int, folder: Path) -> int:  # noqa: ANN401  lmdb has no types
    """Return ``num-samples``; ``entries`` bounds what a damaged count may claim."""
    stored = transaction.get(b"num-samples")
    if stored is None:
        msg = f"{folder} has no key num-samples; expected the number of records in decimal"
        raise EvalError(msg)
    value = bytes(stored[:_LONGEST_COUNT])
    if not _COUNT.fullmatch(value):
        msg = f"num-samples of {folder} is {value[:20]!r}; expected a decimal number"
        raise EvalError(msg)
    count = int(value)
    if count > entries:
        msg = f"num-samples of {folder} is {count}, but the data set has only {entries} keys"
        raise EvalError(msg)
    return count


def _get(
    transaction: Any,  # noqa: ANN401  see above
    kind: bytes,
    record: int,
    most: int,
    dataset: str,
) -> tuple[bytes | None, str | None]:
    """Return a value, or None and why it is not read: it has more than ``most`` bytes."""
    lmdb = import_extra("lmdb")
    key = b"%b-%09d" % (kind, record)
    try:
        value = transaction.get(key)
    except lmdb.Error as error:
        msg = f"data set {dataset} is damaged at key {key.decode()}: {error}; copy it again"
        raise EvalError(msg) from error
    if value is not None and len(value) > most:
        return None, f"{kind.decode()} over {most} bytes"
    return None if value is None else bytes(value), None
