"""A folder of results that appears whole or not at all, and replaces only its own kind.

The results are written under another name on the same file system. When they are complete they
take the place of an earlier result; until then that stays, and if anything fails it stays for good.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def fresh_folder(out: Path, record: str, endings: tuple[str, ...]) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``out`` at the end of the block.

    Args:
        out: The folder to write. If it exists, it is empty or an earlier result.
        record: The file that every result holds; by it an earlier one is known.
        endings: How the names of the other files end.

    Raises:
        AscendError: If ``out`` holds something else or cannot be written.
    """
    out = out.resolve()
    try:
        _refuse(out, record, endings)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            fresh = Path(scratch, "new")
            fresh.mkdir()
            yield fresh
            _exchange(fresh, out, Path(scratch, "old"))
    except OSError as error:
        msg = f"cannot use {error.filename or out}: {error.strerror or error}"
        raise AscendError(msg) from error


def _refuse(out: Path, record: str, endings: tuple[str, ...]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        msg = f"output {out} is a file; give a folder"
        raise AscendError(msg)
    names = {path.name for path in out.iterdir()}
    strangers = sorted(name for name in names - {record} if not name.endswith(endings))
    if names and (strangers or record not in names):
        found = f"found {strangers[0]}" if strangers else f"{record} is not in it"
        msg = f"output folder {out} is not an earlier result ({found}); choose another"
        raise AscendError(msg)


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
