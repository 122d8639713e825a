"""Where things stand in a TOML file: the reader of Python's library tells no lines.

The file has been parsed before, so every name that is looked for is in it; what is found is the
first place where it can stand, and line 1 where a file hides it behind dotted or quoted keys.
"""

from __future__ import annotations

import re
from typing import Any

_AT_LINE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


def syntax_error(error: ValueError) -> tuple[int | None, str]:
    """Return the line of a TOML error and what is wrong there."""
    text = str(error)
    found = _AT_LINE.search(text)
    if found is None:
        return None, text.replace(" (at end of document)", ", at the end of the file")
    return int(found[1]), f"{_AT_LINE.sub('', text)}, column {found[2]}"


def line_of_key(text: str, key: str, table: str = "") -> int:
    """Return the line, from 1, that gives ``key`` a value, or opens a table of that name.

    Args:
        text: The file.
        key: The key.
        table: The table it stands in; empty for the top of the file.
    """
    name = re.escape(key)
    pattern = re.compile(rf"""\s*(?:\[\s*)?["']?{name}["']?\s*(?:=|\]|\.)""")
    lines = text.splitlines()
    start = _opening(lines, table) if table else 0
    for number, line in enumerate(lines[start:], start + 1):
        if pattern.match(line):
            return number
    return start or 1


def line_of_entry(text: str, key: str, entry: Any) -> int:  # noqa: ANN401  any TOML value
    """Return the line of an entry of the array ``key``: the first one from there that fits it."""
    start = line_of_key(text, key)
    name = _first_name(entry)
    keys = list(entry) if isinstance(entry, dict) else []
    lines = list(enumerate(text.splitlines(), 1))[start - 1 :]
    named = [(number, line) for number, line in lines if re.search(_quoted(name), line)]
    whole = [number for number, line in named if all(each in line for each in keys)]
    return next(iter([*whole, *(number for number, _ in named), start]))


def _opening(lines: list[str], table: str) -> int:
    """Return the line of ``[table]`` or of ``table = {``."""
    pattern = re.compile(rf"\s*(?:\[\s*)?{re.escape(table)}\s*(?:=|\])")
    return next((n for n, line in enumerate(lines, 1) if pattern.match(line)), 1) - 1


def _first_name(entry: Any) -> str:  # noqa: ANN401  any TOML value
    """Return the text by which an entry of a pass list is found in the file."""
    if isinstance(entry, dict):
        return _first_name(entry.get("name", entry.get("repeat")))
    if isinstance(entry, list):
        return _first_name(entry[0]) if entry else ""
    return str(entry).splitlines()[0] if str(entry) else ""


def _quoted(name: str) -> str:
    return rf"""["']{re.escape(name)}["']"""
