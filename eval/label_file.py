r"""Read a list of image files with their texts: PaddleOCR's or ICDAR's.

One record a line, UTF-8, with or without a byte order mark; empty lines do not count::

    train/word_1.jpg<tab>Genaxis          PaddleOCR: everything behind the first tab is the text
    word_1.png, "Genaxis \"Theatre\""     ICDAR: quotes and backslashes inside are escaped

The first line decides for all. Pictures lie below the folder of the label file: a path that leads
out of it is a bad record, for the list may come from anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from eval.errors import EvalError
from eval.lmdb_data import MAX_IMAGE_BYTES, RawSample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ICDAR = re.compile(r'(?P<path>[^,"]+),\s*"(?P<text>.*)"\s*')
_ESCAPED = re.compile(r"\\(.)")


class LabelFile:
    """All records of a label file, in its order. A context manager.

    Attributes:
        counts: Records per data set: one, named after the file's folder.
    """

    def __init__(self, path: Path) -> None:
        """Read and split every line; pictures are read when they are asked for.

        Raises:
            EvalError: If the file cannot be read, holds no line, or a line is in neither form.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            msg = f"cannot read label file {path}: {error.strerror}"
            raise EvalError(msg) from error
        except UnicodeDecodeError as error:
            msg = f"label file {path} is not UTF-8 at byte {error.start}; convert it"
            raise EvalError(msg) from error
        self._folder = path.resolve().parent
        self._lines = _split(text, path)
        self._name = self._folder.name
        self.counts = {self._name: len(self._lines)}

    def __len__(self) -> int:
        """Return the number of records, bad ones included."""
        return len(self._lines)

    def __iter__(self) -> Iterator[RawSample]:
        """Yield every record; one without a readable picture has none."""
        for index, (name, text) in enumerate(self._lines):
            image, refusal = self._read(name)
            yield RawSample(index, self._name, index + 1, image, text.encode(), refusal)

    def __enter__(self) -> LabelFile:
        """Return the records themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""

    def _read(self, name: str) -> tuple[bytes | None, str | None]:
        """Return a picture below the folder, or None and why not."""
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder):
                return None, "image outside of the folder of the label file"
            if not path.is_file():
                return None, None
            if path.stat().st_size > MAX_IMAGE_BYTES:
                return None, f"image over {MAX_IMAGE_BYTES} bytes"
            return path.read_bytes(), None
        except (OSError, ValueError):  # a name with a null byte is a ValueError
            return None, "image cannot be read"


def _split(text: str, path: Path) -> list[tuple[str, str]]:
    """Return the path and the text of every line."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        msg = f"label file {path} holds no line; expected one record a line"
        raise EvalError(msg)
    split = _by_tab if "\t" in lines[0][1] else _by_comma
    records = []
    for number, line in lines:
        record = split(line.rstrip("\r"))
        if record is None:
            form = "path<tab>text" if split is _by_tab else 'path<tab>text, or path, "text"'
            msg = f"label file {path}, line {number}: found {line[:60]!r}, expected {form}"
            raise EvalError(msg)
        records.append(record)
    return records


def _by_tab(line: str) -> tuple[str, str] | None:
    name, tab, text = line.partition("\t")
    return (name, text) if tab else None


def _by_comma(line: str) -> tuple[str, str] | None:
    found = _ICDAR.fullmatch(line)
    return (found["path"].strip(), _ESCAPED.sub(r"\1", found["text"])) if found else None
