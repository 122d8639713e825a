"""Read a zip of LMDB data sets, such as the ``evaluation.zip`` of deep-text-recognition-benchmark.

LMDB maps its file into memory, so the members are unpacked into a temporary folder, which is gone
when the data is closed. An archive is untrusted: only members named ``data.mdb`` are written, to
places below that folder, and no more bytes than the archive's index announces and the bound allows.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from eval.errors import EvalError
from eval.lmdb_data import DATA_FILE, LmdbTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.lmdb_data import RawSample

MAX_BYTES = 16 << 30  # unpacked; the ten evaluation sets of the benchmark are below 1 GiB
MAX_MEMBERS = 10_000
MAX_RATIO = 100  # pictures hardly compress; a bomb does
SMALL = 64 << 20  # below, an almost empty data set may compress as it likes
_CHUNK = 1 << 20


class ZippedTree:
    """All records of a zip, in the order of :class:`LmdbTree`. A context manager.

    Attributes:
        counts: Records per data set, in order.
    """

    def __init__(self, path: Path) -> None:
        """Unpack the data sets and open them.

        Raises:
            EvalError: If the archive is damaged, holds no data set, or asks for what is not done:
                a path out of its folder, a link, a password, too many bytes.
        """
        folder = tempfile.TemporaryDirectory(prefix="onnx-passes-data-")
        self._folder = folder
        try:
            # Named after the archive: a data set at its root has no other name.
            root = Path(folder.name, path.stem)
            _unpack(path, root)
            self._tree = LmdbTree(_trunk(root))
        except BaseException:
            folder.cleanup()
            raise
        self.counts = self._tree.counts

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""
        return len(self._tree)

    def __iter__(self) -> Iterator[RawSample]:
        """Yield every record, see :class:`LmdbTree`."""
        return iter(self._tree)

    def __enter__(self) -> ZippedTree:
        """Return the data itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every data set and remove what was unpacked."""
        self._tree.__exit__()
        self._folder.cleanup()


def _trunk(root: Path) -> Path:
    """Return the folder where data sets part, so that they are named as in the unpacked tree."""
    while len(inside := list(root.iterdir())) == 1 and any(inside[0].glob("*/")):
        (root,) = inside
    return root


def _unpack(path: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            free = shutil.disk_usage(folder).free
            if (size := sum(member.file_size for member in members)) > free:
                msg = f"{path} needs {size} bytes of temporary space, {free} are free; set TMPDIR"
                raise EvalError(msg)
            for member in members:
                _write(archive, member, folder / member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        msg = f"{path} is not a readable zip: {error}; fetch it again"
        raise EvalError(msg) from error
    except OSError as error:
        msg = f"cannot unpack {path}: {error.strerror or error}"
        raise EvalError(msg) from error


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the data files of an archive, or refuse it whole."""
    members = [
        info for info in archive.infolist() if PurePosixPath(info.filename).name == DATA_FILE
    ]
    if not members:
        msg = f"{path} holds no {DATA_FILE}; expected a zip of LMDB data sets"
        raise EvalError(msg)
    for info in members:
        if refusal := _why_not(info):
            msg = f"{path}: member {info.filename!r} {refusal}; the archive is not unpacked"
            raise EvalError(msg)
    names = {info.filename for info in members}
    total = sum(info.file_size for info in members)
    if len(members) > MAX_MEMBERS or total > MAX_BYTES or len(names) < len(members):
        msg = (
            f"{path} holds {len(members)} data sets of {total} bytes under {len(names)} names; "
            f"at most {MAX_MEMBERS}, {MAX_BYTES} bytes and one a name are unpacked"
        )
        raise EvalError(msg)
    return members


def _why_not(info: zipfile.ZipInfo) -> str | None:
    """Return why a member is not unpacked, or None."""
    parts = PurePosixPath(info.filename).parts
    if info.filename.startswith("/") or ".." in parts or "\\" in info.filename or ":" in parts[0]:
        return "leads out of its folder"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 1:
        return "has a password"
    if info.file_size > max(SMALL, MAX_RATIO * info.compress_size):
        return f"unpacks to more than {MAX_RATIO} times its size"
    return None


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one member; zipfile stops at the size that the index announces, and checks its sum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as stream:
        shutil.copyfileobj(source, stream, _CHUNK)
