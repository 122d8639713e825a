"""One run at a time in a work folder: a lock that goes with its process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from pipeline.errors import FlowError
from pipeline.stages.state import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the work folder while the block runs; it is made if need be.

    The file stays: what counts is who has it locked, and a crash unlocks it.

    Raises:
        FlowError: If another run holds it, or the folder cannot be written.
    """
    path = work / FOLDER / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        msg = f"cannot write into {work}: {error.strerror}; give another folder with --work"
        raise FlowError(msg) from error
    with stream:
        _take(stream.fileno(), path, work)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def _take(number: int, path: Path, work: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = path.read_text(encoding="utf-8").strip() or "unknown"
        msg = (
            f"{work} is in use by another run (pid {holder}); wait until it ends, or give "
            "another folder with --work"
        )
        raise FlowError(msg) from error
    except OSError as error:
        msg = f"cannot lock {path}: {error.strerror}; give a folder on a local disk with --work"
        raise FlowError(msg) from error
