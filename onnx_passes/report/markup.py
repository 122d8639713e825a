"""HTML whose text is escaped unless it is markup already.

Names in a model are a stranger's text. Here text becomes markup in one place only, so that no
caller can forget to escape it.
"""

from __future__ import annotations

import html
import math
import unicodedata

# A name of 10 kB is legal in ONNX; report.json has it whole.
MAX_NAME_CHARACTERS = 80
MAX_TEXT_CHARACTERS = 800
_VOID = frozenset({"img", "link", "meta"})
# Control, format (right-to-left marks), surrogate, private, unassigned, line, paragraph.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Html(str):
    """Markup: text in it is escaped already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: object) -> Html:
    """Return an element; children that are plain text and all attributes are escaped.

    Args:
        tag: Name of the element.
        children: Text, or markup as :class:`Html`.
        attributes: By name; ``class_`` and ``stroke_width`` stand for ``class`` and
            ``stroke-width``. None leaves an attribute out, True writes it without a value.
    """
    opening = tag + "".join(_attribute(key, value) for key, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{tag}>")


def join(*children: str) -> Html:
    """Return children one after the other; plain text is escaped."""
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children))


def text(value: str) -> Html:
    """Return plain text as markup, cut where it is longer than a person reads."""
    return Html(html.escape(visible(value, MAX_TEXT_CHARACTERS)))


def name(value: str) -> Html:
    """Return a name as code: in a fixed-width font, cut in the middle where it is long."""
    return element("code", visible(value, MAX_NAME_CHARACTERS))


def visible(value: str, limit: int) -> str:
    """Return ``value`` with unseen characters as their code points, cut in the middle."""
    if len(value) > limit:
        half = limit // 2
        value = f"{value[:half]}…{value[-half:]} ({len(value)} characters)"
    return "".join(_visible_character(character) for character in value)


def number(value: float) -> str:
    """Return a measured number in three digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.3g}" if 0.01 <= abs(value) < 1000 else f"{value:.2e}"  # noqa: PLR2004  plain notation while it is short


def _attribute(key: str, value: object) -> str:
    if value is None:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'


def _visible_character(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"\\u{ord(character):04x}"
