"""What a label asks the recogniser to read: digits and small letters, at most 25 raw characters."""

from __future__ import annotations

CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_CHARACTERS = 25  # code points, before anything is dropped

_KEPT = frozenset(CHARACTERS)


def normalise(raw: str) -> str:
    """Lower-case ``raw`` and drop what the character table lacks.

    ``str.lower`` knows all of Unicode, so a few foreign capitals end up in the table: the Kelvin
    sign U+212A becomes ``k``, U+0130 becomes ``i`` and a combining dot, which is dropped.
    """
    return "".join(character for character in raw.lower() if character in _KEPT)


def why_not(raw: str) -> str | None:
    """Return the reason why ``raw`` cannot be a target, or None if it can."""
    if not raw:
        return "empty label"
    if len(raw) > MAX_CHARACTERS:
        return f"label over {MAX_CHARACTERS} characters"
    if not normalise(raw):
        return "label empty after filtering"
    return None
