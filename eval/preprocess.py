"""Write the network's inputs as files for an inference tool, and the manifest that names them.

``img_<index>.bin`` is float32 [1, 3, 32, 100], little-endian, 38,400 bytes. A bad record has none.
The folder is built under another name and appears at once when it is complete, so neither a
half-written file nor one of an earlier run can be mistaken for part of it. What an interrupted run
has written stays under that name (:mod:`eval.partial`), and the next one goes on from there.
"""

from __future__ import annotations

import contextlib
import re
from collections import deque
from typing import TYPE_CHECKING

from eval.ahead import lanes_for, prepare_all
from eval.data import open_data
from eval.errors import EvalError
from eval.manifest import Manifest, read_manifest, write_manifest
from eval.partial import Partial, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eval.data import Data
    from eval.evaluation import Progress
    from eval.lmdb_data import RawSample
    from eval.manifest import Record

MANIFEST_FILE = "manifest.json"
_OUR_FILE = re.compile(r"img_[0-9]+\.bin|manifest\.json")


def preprocess(
    data: Path, out: Path, on_progress: Progress | None = None, *, workers: int | None = None
) -> Manifest:
    """Turn every record below ``data`` into a file in ``out``.

    Args:
        data: A folder of LMDB data sets, a zip or a label file, see :mod:`eval.data`.
        out: The folder to write. If it exists, it must be empty or hold an earlier result, which
            is replaced.
        on_progress: Called with the records done and their total.
        workers: Lanes in which records are prepared, see :mod:`eval.ahead`; None for one a core.

    Raises:
        EvalError: If the data cannot be read, or ``out`` cannot be written or holds other files.
    """
    try:
        out = out.resolve()
        _refuse_folder(out, data)
        with open_data(data) as tree, _partial(out) as partial:
            manifest = _write(tree, partial, workers or lanes_for(len(tree)), on_progress)
            _exchange(partial.files, out, partial.old)
    except OSError as error:
        msg = f"cannot use {error.filename or out}: {error.strerror}"
        raise EvalError(msg) from error
    return manifest


def _refuse_folder(out: Path, data: Path) -> None:
    """Refuse to write where something other than an earlier result would be lost or mixed up."""
    if out.is_relative_to(data.resolve()):
        msg = f"output folder {out} is inside the data folder {data}; choose one outside it"
        raise EvalError(msg)
    if not out.exists():
        return
    if not out.is_dir():
        msg = f"output {out} is a file; give a folder"
        raise EvalError(msg)
    names = sorted(path.name for path in out.iterdir())
    if not names:
        return
    strangers = [name for name in names if not _OUR_FILE.fullmatch(name)]
    if strangers or not _has_manifest(out):
        found = strangers[0] if strangers else f"no {MANIFEST_FILE} of ours"
        msg = f"output folder {out} is not an earlier result (found {found}); choose another"
        raise EvalError(msg)


def _has_manifest(folder: Path) -> bool:
    try:
        read_manifest(folder / MANIFEST_FILE)
    except EvalError:
        return False
    return True


@contextlib.contextmanager
def _partial(out: Path) -> Iterator[Partial]:
    """Yield the files of this run; they outlive an interruption, and nothing else."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Partial(out)
    try:
        yield partial
    except KeyboardInterrupt:
        partial.close()
        raise
    except BaseException:
        partial.remove()
        raise
    partial.remove()


def _write(tree: Data, partial: Partial, lanes: int, on_progress: Progress | None) -> Manifest:
    """Write the input files that are not there yet and, last, the manifest."""
    records, rest = partial.done(iter(tree))
    digests: deque[str] = deque()  # of the records that are read and not written
    with contextlib.closing(prepare_all(_noted(rest, digests), lanes)) as prepared:
        for record, image in prepared:
            if image is not None:
                file = partial.files / f"img_{record.index}.bin"
                file.write_bytes(image.astype("<f4", copy=False).tobytes())
            partial.add(record, digests.popleft())
            records.append(record)
            if on_progress:
                on_progress(len(records), len(tree))
    _remove_others(partial.files, records)
    manifest = Manifest(tuple(records))
    write_manifest(manifest, partial.files / MANIFEST_FILE)
    return manifest


def _noted(samples: Iterator[RawSample], digests: deque[str]) -> Iterator[RawSample]:
    for sample in samples:
        digests.append(digest_of(sample))
        yield sample


def _remove_others(folder: Path, records: list[Record]) -> None:
    """Remove what an interrupted run on other data has written."""
    names = {f"img_{record.index}.bin" for record in records if record.reason is None}
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _exchange(fresh: Path, out: Path, old: Path) -> None:
    """Put ``fresh`` in the place of ``out``, which moves to ``old``; undo if that fails."""
    existed = out.exists()
    if existed:
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if existed:
            old.rename(out)
        raise
