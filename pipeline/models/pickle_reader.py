"""Read a pickle of names and numpy arrays without running it.

A pickle is a program, and Python's own reader runs it: a stranger's checkpoint could do anything.
This one knows the instructions that a dict of arrays needs, and no others. Nothing is imported: a
handful of names stand for what they would have built, all others are refused. Sizes come from
the bytes that are there, never from what the file claims, and dict keys are text: a few bytes
cannot ask for gigabytes or for hours.

References:
    - https://docs.python.org/3/library/pickletools.html
    - https://numpy.org/doc/stable/reference/generated/numpy.ndarray.__reduce__.html
"""

from __future__ import annotations

import dataclasses
import pickletools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

DTYPES = ("f2", "f4", "f8")
BYTE_ORDERS = ("<", ">", "|", "=")
MAX_STEPS = 1_000_000  # a StarNet checkpoint takes 11 000
MAX_SHOWN = 80  # characters of a stranger's text in a message


class RefusedPickleError(Exception):
    """The pickle is damaged, or asks for more than a dict of arrays."""


def read_pickle(data: bytes) -> object:
    """Return what ``data`` holds: dicts, text, numbers, and arrays as ``numpy.ndarray``.

    Raises:
        RefusedPickleError: With one line that says why, for anything else.
    """
    machine = _Machine(max_bytes=len(data))
    try:
        for opcode, argument, position in pickletools.genops(data):
            machine.step(opcode.name, argument, position)
        return _finished(machine.pop())
    except RefusedPickleError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"it is no pickle, or a damaged one ({reason[:MAX_SHOWN]})"
        raise RefusedPickleError(msg) from error


@dataclasses.dataclass(frozen=True)
class _Global:
    """A name in the file that would have been imported."""

    name: str


@dataclasses.dataclass
class _Dtype:
    """``numpy.dtype`` under construction: two characters, then the byte order."""

    code: str
    order: str = "|"

    def build(self, state: tuple[Any, ...]) -> None:
        if state[1] not in BYTE_ORDERS:
            msg = "it holds a dtype with an unknown byte order"
            raise RefusedPickleError(msg)
        self.order = state[1]


@dataclasses.dataclass
class _Array:
    """``numpy.ndarray`` under construction: empty until its state arrives."""

    value: npt.NDArray[Any] | None = None

    def build(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, column_major, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            msg = "it holds an array without a plain dtype or without its bytes"
            raise RefusedPickleError(msg)
        flat = np.frombuffer(content, np.dtype(dtype.order + dtype.code))
        self.value = flat.reshape(shape, order="F" if column_major else "C")


_KNOWN = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "numpy.core.multiarray._reconstruct": "array",
    "numpy._core.multiarray._reconstruct": "array",
    "collections.OrderedDict": "dict",
    "_codecs.encode": "bytes",
}
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_LITERALS = frozenset({*_INTEGERS, "BINFLOAT", *_TEXTS, *_BYTES})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_MARK = object()


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, max_bytes: int) -> None:
        self._bytes_left = max_bytes
        self._steps_left = MAX_STEPS
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._actions: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "TUPLE": lambda _: self._stack.append(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items(self._pop_many(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "BINGET": lambda index: self._stack.append(self._memo[index]),
            "LONG_BINGET": lambda index: self._stack.append(self._memo[index]),
            "GLOBAL": lambda names: self._push_global(names.replace(" ", ".")),
            "STACK_GLOBAL": lambda _: self._push_global(".".join(self._pop_many(2))),
            "REDUCE": lambda _: self._stack.append(self._built(*self._pop_many(2))),
            "BUILD": lambda _: self._build(),
        }

    def step(self, name: str, argument: Any, position: int | None) -> None:  # noqa: ANN401  any literal
        """Carry out one instruction."""
        self._steps_left -= 1
        if self._steps_left < 0:
            msg = f"it takes more than {MAX_STEPS} instructions"
            raise RefusedPickleError(msg)
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(self._pop_many(_TUPLES[name]))
        elif name in self._actions:
            self._actions[name](argument)
        elif name not in _IGNORED:
            msg = f"its instruction {name} at byte {position} has no place in a dict of arrays"
            raise RefusedPickleError(msg)

    def pop(self) -> Any:  # noqa: ANN401  a stack of anything
        """Take the top of the stack."""
        return self._stack.pop()

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(self._stack.pop() for _ in range(count))[::-1]

    def _pop_to_mark(self) -> tuple[Any, ...]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return tuple(items[::-1])

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _set_items(self, items: tuple[Any, ...]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                msg = f"it holds a dict key of type {type(key).__name__}; expected text"
                raise RefusedPickleError(msg)
            self._stack[-1][key] = value

    def _push_global(self, name: str) -> None:
        if name not in _KNOWN:
            msg = (
                f"it asks for {name[:MAX_SHOWN]!r}, which a dict of arrays does not need; "
                "nothing was run"
            )
            raise RefusedPickleError(msg)
        self._stack.append(_Global(name))

    def _built(self, callee: _Global, arguments: tuple[Any, ...]) -> object:
        """Return what calling ``callee`` would have returned, or its beginning."""
        kind = _KNOWN[callee.name]
        if kind == "array":
            return _Array()
        if kind == "dtype" and arguments[0] in DTYPES:
            return _Dtype(arguments[0])
        if kind == "bytes" and arguments[1] == "latin1":  # how protocol 2 spells bytes
            return self._encoded(arguments[0])
        if kind == "dict" and not arguments:
            return {}
        msg = f"it holds a {kind} other than float arrays need"
        raise RefusedPickleError(msg)

    def _build(self) -> None:
        state = self.pop()
        self._stack[-1].build(state)

    def _encoded(self, text: str) -> bytes:
        self._bytes_left -= len(text)  # the same text may be asked for again and again
        if self._bytes_left < 0:
            msg = "it unfolds to more bytes than it has"
            raise RefusedPickleError(msg)
        return text.encode("latin1")


def _finished(value: object) -> object:
    """Replace the arrays under construction in ``value``, or in the dict that it is."""
    if isinstance(value, dict):
        return {key: _finished_array(item) for key, item in value.items()}
    return _finished_array(value)


def _finished_array(value: object) -> object:
    return value.value if isinstance(value, _Array) else value
