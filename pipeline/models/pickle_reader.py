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
import itertools
import pickletools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

DTYPES = ("f2", "f4", "f8")


class RefusedPickleError(Exception):
    """The pickle is damaged, or asks for more than a dict of arrays."""


def read_pickle(data: bytes) -> object:
    """Return what ``data`` holds: dicts, text, numbers, and arrays as ``numpy.ndarray``.

    Raises:
        RefusedPickleError: With one line that says why, for anything else.
    """
    machine = _Machine()
    try:
        for opcode, argument, position in pickletools.genops(data):
            machine.step(opcode.name, argument, position)
        return _finished(machine.pop())
    except RefusedPickleError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"it is no pickle, or a damaged one ({reason})"
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
        self.order = state[1]


@dataclasses.dataclass
class _Array:
    """``numpy.ndarray`` under construction: empty until its state arrives."""

    value: npt.NDArray[Any] | None = None

    def build(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, column_major, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            msg = "an array without a plain dtype or without its bytes"
            raise RefusedPickleError(msg)
        flat = np.frombuffer(content, np.dtype(dtype.order + dtype.code))
        self.value = flat.reshape(shape, order="F" if column_major else "C")


def _dtype(code: str, *_flags: bool) -> _Dtype:
    if code not in DTYPES:
        msg = f"dtype {code!r}; expected one of {', '.join(DTYPES)}"
        raise RefusedPickleError(msg)
    return _Dtype(code)


def _array(_kind: _Global, _shape: tuple[int, ...], _code: bytes) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # how protocol 2 spells bytes
        msg = f"bytes in the encoding {encoding!r}; expected 'latin1'"
        raise RefusedPickleError(msg)
    return text.encode("latin1")


_BUILDERS: dict[str, Callable[..., object]] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "_codecs.encode": _encode,
    "collections.OrderedDict": lambda: {},
}
_KNOWN = frozenset({*_BUILDERS, "numpy.ndarray"})
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_LITERALS = frozenset({*_INTEGERS, "BINFLOAT", *_TEXTS, *_BYTES})
_CONSTANTS: dict[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_MARK = object()


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._actions: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "TUPLE": lambda _: self._stack.append(self._pop_to_mark()),
            "SETITEM": lambda _: self._set_items((self.pop(), self.pop())[::-1]),
            "SETITEMS": lambda _: self._set_items(self._pop_to_mark()),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "BINGET": lambda index: self._stack.append(self._memo[index]),
            "LONG_BINGET": lambda index: self._stack.append(self._memo[index]),
            "GLOBAL": lambda name: self._push_global(name.replace(" ", ".")),
            "STACK_GLOBAL": lambda _: self._push_global(".".join((self.pop(), self.pop())[::-1])),
            "REDUCE": lambda _: self._reduce(),
            "BUILD": lambda _: self._build(),
        }

    def step(self, name: str, argument: Any, position: int | None) -> None:  # noqa: ANN401  any literal
        """Carry out one instruction."""
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(tuple(self.pop() for _ in range(_TUPLES[name]))[::-1])
        elif name in self._actions:
            self._actions[name](argument)
        elif name not in _IGNORED:
            msg = f"instruction {name} at byte {position} has no place in a dict of arrays"
            raise RefusedPickleError(msg)

    def pop(self) -> Any:  # noqa: ANN401  a stack of anything
        """Take the top of the stack."""
        return self._stack.pop()

    def _pop_to_mark(self) -> tuple[Any, ...]:
        items = tuple(itertools.takewhile(lambda item: item is not _MARK, reversed(self._stack)))
        del self._stack[-len(items) - 1 :]
        return items[::-1]

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _set_items(self, items: tuple[Any, ...]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                msg = f"a dict key of type {type(key).__name__}; expected text"
                raise RefusedPickleError(msg)
            self._stack[-1][key] = value

    def _push_global(self, name: str) -> None:
        if name not in _KNOWN:
            msg = f"it asks for {name!r}, which a dict of arrays does not need; nothing was run"
            raise RefusedPickleError(msg)
        self._stack.append(_Global(name))

    def _reduce(self) -> None:
        arguments, callee = self.pop(), self.pop()
        self._stack.append(_BUILDERS[callee.name](*arguments))

    def _build(self) -> None:
        state = self.pop()
        self._stack[-1].build(state)


def _finished(value: object) -> object:
    """Replace the builders in ``value``, a dict of at most one more level, by arrays."""
    if isinstance(value, dict):
        return {
            key: item.value if isinstance(item, _Array) else item for key, item in value.items()
        }
    return value.value if isinstance(value, _Array) else value
