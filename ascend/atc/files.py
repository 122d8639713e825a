"""The files that flags point to, checked before ATC reads them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ascend.atc.known import nearest
from ascend.errors import AscendError

if TYPE_CHECKING:
    from pathlib import Path

_LISTS = ("black-list", "white-list")
_ACTIONS = ("to-add", "to-remove")
_SWITCH_LINE = re.compile(r"\s*\w+\s*:\s*(on|off)\s*")
_MAX_BYTES = 4 * 2**20


def checked_file(flag: str, path: Path | None) -> Path | None:
    """Return the absolute path of a file that ``--flag`` may point to; None for none.

    Raises:
        AscendError: If it cannot be read, is empty, or does not have the form of its flag.
    """
    if path is None:
        return None
    text = _read(flag, path)
    reason = ""
    if flag == "modify_mixlist":
        reason = _why_not_mixlist(text)
    elif flag == "fusion_switch_file":
        reason = _why_not_switches(text)
    if reason:
        msg = f"--{flag} {path}: {reason}"
        raise AscendError(msg)
    return path.absolute()


def _read(flag: str, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--{flag} {path} cannot be read ({error}); give a text file"
        raise AscendError(msg) from error
    if not text.strip():
        msg = f"--{flag} {path} is empty; fill it in or leave the flag out"
        raise AscendError(msg)
    return text


def _why_not_mixlist(text: str) -> str:
    form = '{"black-list": {"to-add": ["Type"]}, "white-list": {"to-remove": ["Type"]}}'
    document = _json(text)
    if not isinstance(document, dict) or not document:
        return f"expected JSON like {form}"
    for name, actions in document.items():
        if name not in _LISTS:
            return f"unknown list {str(name)[:40]!r}{nearest(name, _LISTS)}; expected {form}"
        if not isinstance(actions, dict) or set(actions) - set(_ACTIONS):
            return f"{name!r} takes {' and '.join(_ACTIONS)}; expected {form}"
        for types in actions.values():
            if not isinstance(types, list) or not all(isinstance(one, str) for one in types):
                return f"{name!r} holds no list of operator types; expected {form}"
    return ""


def _why_not_switches(text: str) -> str:
    if text.lstrip().startswith("{"):
        document = _json(text)
        if isinstance(document, dict) and isinstance(document.get("Switch"), dict):
            return ""
        return 'expected JSON like {"Switch": {"GraphFusion": {"XFusionPass": "off"}}}'
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not _SWITCH_LINE.fullmatch(line):
            return f"line {number} is {line[:40]!r}, expected XFusionPass:off"
    return ""


def _json(text: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
