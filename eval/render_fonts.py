"""Find font files that can draw every letter and digit."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ALPHABET = string.ascii_letters + string.digits
_SUFFIXES = frozenset({".ttf", ".otf"})
_NOT_TEXT = re.compile(r"symbol|dingbat|emoji|math|D050000L|Biolinum_K", re.IGNORECASE)
_PROBE_PX = 24  # large enough that no two letters of a text font draw the same picture


def find_fonts(folders: Iterable[Path]) -> list[Path]:
    """Return the fonts below ``folders`` that draw ASCII letters and digits, sorted by path.

    Symbol fonts (by name), fonts of other scripts and unreadable files are left out: the 62
    glyphs of a text font are different, non-empty pictures. A folder that does not exist holds
    no fonts.
    """
    files = (p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    named = sorted(path for path in set(files) if not _NOT_TEXT.search(path.name))
    return [path for path in named if _draws_alphabet(path)]


def _draws_alphabet(path: Path) -> bool:
    """Say whether the 62 characters look different from each other, and like something."""
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(str(path), _PROBE_PX, layout_engine=ImageFont.Layout.BASIC)
        pictures = {bytes(font.getmask(c)) for c in _ALPHABET}
    except OSError:
        return False
    distinct = len(pictures - {b""})
    return distinct >= len(_ALPHABET) - 1  # some fonts draw I and l alike
