"""What a stage has done of its parts: ATC takes minutes for each batch size, and none is lost.

The parts are in ``WORK/.flow/<stage>.parts.json``, written after each. They count as long as the
stage depends on the same things, and each only if its file is as it was left.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.stages.content import digest
from pipeline.stages.state import parts_file, plain, write_whole

if TYPE_CHECKING:
    from pathlib import Path


class Parts:
    """The parts of a stage that are done, by name.

    Args:
        work: The work folder.
        stage: The stage.
        basis: What every part depends on, as JSON values; other parts are forgotten.
    """

    def __init__(self, work: Path, stage: str, basis: Any) -> None:  # noqa: ANN401  any JSON
        """Read what is there; whatever cannot be read is not done."""
        self._work, self._path, self._basis = work, parts_file(work, stage), plain(basis)
        self._parts = self._read()

    def get(self, name: str) -> dict[str, Any] | None:
        """Return what is noted of a part; None if it has to be done."""
        part = self._parts.get(name)
        try:
            same = part is not None and digest(self._work / part["file"]) == part["digest"]
            found: dict[str, Any] | None = part["found"] if same and part else None
        except (KeyError, TypeError):
            return None
        return found

    def add(self, name: str, file: Path, found: dict[str, Any]) -> None:
        """Note that a part is done: its file, below the work folder, and what else it found."""
        relative = file.relative_to(self._work).as_posix()
        self._parts[name] = {"file": relative, "digest": digest(file), "found": plain(found)}
        write_whole(self._path, json.dumps({"basis": self._basis, "parts": self._parts}))

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._path.read_bytes())
            parts: dict[str, Any] = dict(document["parts"])
            return parts if document["basis"] == self._basis else {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}
