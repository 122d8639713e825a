"""What ATC's output says: whether it claims success, and each error and warning, in parts.

Reports come in several shapes, by version::

    E19010: No parser is registered for Op [node, optype [ai.onnx::11::Type]].
    EZ3002: [PID: 141730] 2025-05-14-07:42:33.234.136 Optype [Type] of Ops kernel [Engine] is ...
            Possible Cause: ...
            Solution: ...
            TraceBack (most recent call last):
            a cause a line, the first one outermost [FUNC:f][FILE:x][LINE:1]

The newest leave the brackets around names out. Nothing here raises, whatever the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SUCCESS = "ATC run success"
FAILURE = "ATC run failed"
MAX_ENTRIES = 100
_MAX_LINES = 400_000
_MAX_LINE = 4000  # characters of a line that are looked at
_MAX_TEXT = 4000  # characters kept of one part of an entry
_MAX_CAUSES = 50

_HEAD = re.compile(r"\s*(E[0-9A-Z]\w{4}|W\w{5}): ?(?:\[PID: \d+\] (\S+) ?)?(.*)")
_PART = re.compile(r"\s*(Possible Cause|Solution):\s*(.*)", re.IGNORECASE)
_TRACEBACK = re.compile(r"\s*TraceBack \(most recent call last\):", re.IGNORECASE)
_PLACE = re.compile(r"\[FUNC:[^\]]*\]\s*\[FILE:[^\]]*\]\s*\[LINE:\d+\]\.?\s*$")
_STAMP = re.compile(r"^\[PID: \d+\] \S+ ?")
_OP_TYPE = re.compile(r"\boptype:? \[?(?:[\w.]+::(\d{1,4})::)?(\w+)", re.IGNORECASE)
_NODES = (
    re.compile(r"\bOp \[?([^\s,\[\]]+)\]?, ?optype", re.IGNORECASE),
    re.compile(r"\bfor \[?([^\s,\[\]]+)\]?, optype", re.IGNORECASE),
    re.compile(r"\b(?:op|node|operator)(?: name)?[ :]*\[([^\s,\[\]]+)\]", re.IGNORECASE),
)


@dataclass(frozen=True)
class Entry:
    """One error or warning.

    Attributes:
        code: Such as E19010 or W11001.
        text: What it says, on one line.
        node: The name of the node it blames, or empty.
        op_type: The type of that node, or empty.
        opset: The opset that the type was looked up for, or None.
        cause: The possible cause that ATC names, or empty.
        solution: The solution that ATC names, or empty.
        chain: The lines of its trace back, outermost first.
    """

    code: str
    text: str
    node: str = ""
    op_type: str = ""
    opset: int | None = None
    cause: str = ""
    solution: str = ""
    chain: tuple[str, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether it is an error, and no warning."""
        return self.code.startswith("E")


@dataclass(frozen=True)
class Report:
    """What a run of ATC printed.

    Attributes:
        success: Whether the line of success is there.
        failure: Whether a line of failure is there.
        entries: Errors, then warnings, each in their order, at most `MAX_ENTRIES` of each.
    """

    success: bool
    failure: bool
    entries: tuple[Entry, ...]

    @property
    def errors(self) -> tuple[Entry, ...]:
        """The errors."""
        return tuple(entry for entry in self.entries if entry.is_error)

    @property
    def warnings(self) -> tuple[Entry, ...]:
        """The warnings."""
        return tuple(entry for entry in self.entries if not entry.is_error)


def parse_report(text: str) -> Report:
    """Read the output of ATC; what is no report in it is passed over."""
    lines = [line[:_MAX_LINE] for line in text.split("\n")[-_MAX_LINES:]]
    drafts: list[_Draft] = []
    current: _Draft | None = None
    for line in lines:
        head = _HEAD.match(line)
        if head:
            current = _Draft(head[1], head[3])
            drafts.append(current)
        elif current is not None and not current.takes(line):
            current = None
    # Apart, so that a flood of warnings hides no error.
    errors = [draft for draft in drafts if draft.code.startswith("E")][:MAX_ENTRIES]
    warnings = [draft for draft in drafts if draft.code.startswith("W")][:MAX_ENTRIES]
    entries = dict.fromkeys(draft.entry() for draft in (*errors, *warnings))
    return Report(
        success=any(line.startswith(SUCCESS) for line in lines),
        failure=any(line.startswith(FAILURE) for line in lines),
        entries=tuple(entries),
    )


class _Draft:
    """An entry whose lines are still being read."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self._parts: dict[str, list[str]] = {"text": [text], "possible cause": [], "solution": []}
        self._chain: list[str] = []
        self._into = "text"

    def takes(self, line: str) -> bool:
        """Add a line if it belongs to the entry; return whether it does."""
        if _TRACEBACK.match(line):
            self._into = "chain"
        elif part := _PART.match(line):
            self._into = part[1].lower()
            self._parts[self._into].append(part[2])
        elif not line.strip() or not line[0].isspace():
            return False  # only indented lines continue an entry
        elif self._into == "chain":
            self._chain.append(_clean(line))
        else:
            self._parts[self._into].append(line)
        return True

    def entry(self) -> Entry:
        text, cause, solution = (_clean(" ".join(part)) for part in self._parts.values())
        everything = " ".join((text, *self._chain[:_MAX_CAUSES]))
        op_type = _OP_TYPE.search(everything)
        nodes = (pattern.search(everything) for pattern in _NODES)
        return Entry(
            code=self.code,
            text=text,
            node=next((found[1] for found in nodes if found), ""),
            op_type=op_type[2] if op_type else "",
            opset=int(op_type[1]) if op_type and op_type[1] else None,
            cause=cause,
            solution=solution,
            chain=tuple(self._chain[:_MAX_CAUSES]),
        )


def _clean(text: str) -> str:
    """Return one line without the place in ATC's sources, of bounded length."""
    line = " ".join(text.split())[:_MAX_TEXT]
    return _STAMP.sub("", _PLACE.sub("", line)).strip()
