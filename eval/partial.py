"""What a run that was interrupted has written, and a journal of it, so that the next one goes on.

Beside the folder ``bin`` it is the folder ``.bin.part``: ``new`` holds the files, ``journal`` a
header and then a line for each record, in order, written when its file is complete::

    ["onnx-passes-inputs/1", "opencv 4.11.0", "<boot>"]
    ["<digest of image and label>", "team", null]

A line counts if the record is still the same, byte by byte. Another OpenCV, or a boot since (files
may have been lost then), means to start again. One run at a time: the journal is locked while a
process has it open.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError, import_extra
from eval.manifest import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.lmdb_data import RawSample

SCHEMA = "onnx-passes-inputs/1"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OURS = frozenset({"journal", "new", "old"})


def digest_of(sample: RawSample) -> str:
    """Return a digest of what a record holds."""
    found = hashlib.blake2b(sample.image or b"", digest_size=16, person=b"image")
    found.update(b"%d:" % len(sample.label or b"") + (sample.label or b""))
    found.update(f"{sample.image is None} {sample.label is None} {sample.refusal}".encode())
    return found.hexdigest()


class Partial:
    """The files of a run that is not complete.

    Attributes:
        files: The folder of the files.
        old: A place for what the complete result replaces.
    """

    def __init__(self, out: Path) -> None:
        """Open what there is for ``out``, or begin.

        Raises:
            EvalError: If another run has it, or something else lies in its place.
            OSError: If it cannot be written.
        """
        self._folder = out.with_name(f".{out.name}.part")
        self.files, self.old = self._folder / "new", self._folder / "old"
        if self._folder.exists() and not _is_ours(self._folder):
            msg = f"{self._folder} is not what an interrupted run leaves; remove it"
            raise EvalError(msg)
        self.files.mkdir(parents=True, exist_ok=True)
        self._stream = (self._folder / "journal").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._stream.close()
            msg = f"{out} is being written by another run; wait until it ends, or choose another"
            raise EvalError(msg) from error

    def done(self, samples: Iterator[RawSample]) -> tuple[list[Record], Iterator[RawSample]]:
        """Return the records that need not be prepared again, and the others."""
        found: list[Record] = []
        rest = samples
        kept = [json.dumps(_header())]
        for line in self._lines():
            sample = next(samples, None)
            if sample is None:
                break
            record = self._record(line, sample)
            if record is None:
                rest = itertools.chain([sample], samples)
                break
            found.append(record)
            kept.append(json.dumps(line, ensure_ascii=False))
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write("\n".join(kept) + "\n")
        return found, rest

    def add(self, record: Record, digest: str) -> None:
        """Note that a record is done; its file is complete."""
        line = json.dumps([digest, record.label, record.reason], ensure_ascii=False)
        self._stream.write(line + "\n")

    def close(self) -> None:
        """Let go of the files; they stay for the next run."""
        self._stream.close()

    def remove(self) -> None:
        """Remove everything."""
        self._stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lines(self) -> list[Any]:
        """Return the lines of the journal as far as they can be read."""
        self._stream.seek(0)
        found = []
        try:
            for line in self._stream:
                found.append(json.loads(line))
        except (ValueError, RecursionError):  # a line that was cut off
            pass
        return found[1:] if found and found[0] == _header() else []

    def _record(self, line: Any, sample: RawSample) -> Record | None:  # noqa: ANN401  any JSON
        """Return the record of a line, None if it has to be done again."""
        try:
            digest, label, reason = line
        except (TypeError, ValueError):
            return None
        file = self.files / f"img_{sample.index}.bin"
        if digest != digest_of(sample) or (reason is None and not file.is_file()):
            return None
        return Record(sample.index, sample.dataset, sample.record, label, reason)


def _header() -> list[str]:
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
    return [SCHEMA, f"opencv {import_extra('cv2').__version__}", boot]


def _is_ours(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    journal = folder / "journal"
    regular = not journal.is_symlink() and (journal.is_file() or not journal.exists())
    return regular and {path.name for path in folder.iterdir()} <= _OURS
