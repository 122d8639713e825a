"""What a stage goes by: digests of the content of files, folders, records and our own code.

Names and dates do not count: a file that was copied, touched or written again with the same bytes
is the same input, and a folder may be moved.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT = Path(__file__).resolve().parents[2]
_CODE = frozenset({".py", ".json", ".toml"})
MISSING = ""  # the digest of what is not there


@dataclasses.dataclass(frozen=True)
class Records:
    """Labelled pictures wherever they lie: what counts is each record, not the files."""

    path: Path


def digest(what: Path | Records) -> str:
    """Return the SHA-256 of the content of a file, a folder or records; `MISSING` without any.

    Raises:
        EvalError: If records cannot be read.
        OSError: If a file cannot be.
    """
    if isinstance(what, Records):
        return _records(what.path) if what.path.exists() else MISSING
    if what.is_dir():
        return _folder(what)
    return _file(what) if what.exists() else MISSING


def code_digest(parts: Iterable[str]) -> str:
    """Return the digest of modules or packages of ours, relative to where they are installed."""
    return _of_pairs((part, _code(part)) for part in parts)


def _file(path: Path) -> str:
    stat = path.stat()
    return _hashed(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 17)  # what did not change since this process hashed it
def _hashed(path: Path, *_: int) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _folder(folder: Path) -> str:
    pairs = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            pairs.append((path.relative_to(folder).as_posix(), _file(path)))
    return _of_pairs(pairs)


def _records(path: Path) -> str:
    from eval.data import open_data

    found = hashlib.sha256()
    with open_data(path) as data:
        for sample in data:
            _add(found, f"{sample.dataset}\0{sample.record}".encode())
            for part in (sample.image, sample.label):
                _add(found, part)
    return found.hexdigest()


def _add(found: hashlib._Hash, part: bytes | None) -> None:
    """Add a part with its length, so that no two lists of parts look alike."""
    found.update(b"-" if part is None else b"%d:" % len(part))
    found.update(part or b"")


@functools.cache  # code does not change while it runs
def _code(part: str) -> str:
    top = _ROOT / part
    files = [top] if top.is_file() else [p for p in sorted(top.rglob("*")) if p.suffix in _CODE]
    return _of_pairs((path.relative_to(_ROOT).as_posix(), _file(path)) for path in files)


def _of_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    found = hashlib.sha256()
    for pair in pairs:
        for part in pair:
            _add(found, part.encode("utf-8", errors="surrogateescape"))
    return found.hexdigest()
