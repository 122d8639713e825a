"""Rendered words in the place of data; records that somebody else put there are never replaced."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import FlowError
from pipeline.stages.content import digest
from pipeline.stages.state import FOLDER, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

RENDER_SEED = 310
_NOTE = "words"  # in WORK/.flow: the digest of what was rendered last


def render(work: Path, folder: Path, words: Mapping[str, int]) -> None:
    """Put rendered words into a folder, whole or not at all.

    Raises:
        FlowError: If the folder holds something else, or cannot be written.
    """
    from eval.errors import import_extra
    from eval.render import write_lmdb_tree

    note = work / FOLDER / _NOTE
    with tempfile.TemporaryDirectory(prefix=".onnx-passes-", dir=work) as scratch:
        fresh = Path(scratch, "new")
        try:
            write_lmdb_tree(fresh, words, seed=RENDER_SEED)
        except import_extra("lmdb").Error as error:  # a full disk has no OSError there
            msg = f"cannot write words to {folder}: {error}"
            raise FlowError(msg) from error
        made = digest(fresh)
        if folder.exists() and digest(folder) != made:
            _refuse_others(folder, note)
            folder.rename(Path(scratch, "old"))
        if not folder.exists():
            fresh.rename(folder)
    write_whole(note, made)


def _refuse_others(folder: Path, note: Path) -> None:
    """Refuse to replace what this flow did not render."""
    if not note.exists() or note.read_text(encoding="utf-8") != digest(folder):
        msg = (
            f"{folder} holds something that this flow did not render; give it with --data, or "
            "another folder with --work"
        )
        raise FlowError(msg)
