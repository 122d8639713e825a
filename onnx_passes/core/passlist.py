"""Pass lists: text that becomes passes, and passes that become the same text.

::

    list    = item ("," item)*
    item    = NAME [ "{" option ("," option)* "}" ]   |   "(" list ")*"
    option  = NAME "=" value
    value   = true | false | number | word | "quoted text" | "[" value ("," value)* "]"

``( )*`` repeats its passes until none of them changes the model. In TOML the same list is
``passes = ["drop-identity", {name = "fold-constants", max_bytes = 4096}, {repeat = ["a", "b"]}]``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from onnx_passes.core.contract import Pass, UsageError
from onnx_passes.core.options import make

_TOKEN = re.compile(
    r'\s*(?:(?P<mark>[(){}\[\],=*])|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[^\s(){}\[\],=*"]+))'
)
_WORD = re.compile(r"[A-Za-z_@./+:-][\w@./+:-]*")
_LITERALS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True)
class Repeat:
    """Passes that run again until none of them changes the model."""

    items: tuple[Item, ...]


Item: TypeAlias = "Pass | Repeat"
PassesLike: TypeAlias = (
    "str | Pass | type[Pass] | Repeat | Iterable[str | Pass | type[Pass] | Repeat]"
)


def parse(text: str) -> tuple[Item, ...]:
    """Turn a pass list into passes.

    Raises:
        UsageError: With the position, for bad syntax; with the nearest name, for an unknown pass
            or option.
    """
    try:
        return _not_empty(_Reader(text).items(end=""))
    except RecursionError:
        msg = "the pass list nests its groups or values too deeply to be read"
        raise UsageError(msg) from None


def parse_call(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """Read ``NAME{option=value,...}`` without looking the name up.

    Args:
        text: One item of a pass list.
        what: How errors call it.

    Raises:
        UsageError: With the position, for bad syntax.
    """
    try:
        return _Reader(text, what).call()
    except RecursionError:
        msg = f"{what} nests its values too deeply to be read"
        raise UsageError(msg) from None


def to_text(items: Iterable[Item]) -> str:
    """Turn passes into the text that :func:`parse` reads back."""
    return ",".join(
        f"({to_text(item.items)})*" if isinstance(item, Repeat) else pass_text(item)
        for item in items
    )


def pass_text(item: Pass) -> str:
    """Return one pass as text, with the options that differ from their defaults."""
    options = ",".join(f"{name}={_value_text(value)}" for name, value in item.options().items())
    return f"{item.name}{{{options}}}" if options else item.name


def collect(passes: PassesLike) -> tuple[Item, ...]:
    """Accept text, a pass, a pass class, or any sequence of these.

    Raises:
        UsageError: If something else is given.
    """
    if isinstance(passes, str):
        return parse(passes)
    if isinstance(passes, (Pass, Repeat)):
        return (passes,)
    if isinstance(passes, type) and issubclass(passes, Pass):
        return (make(passes.name, {}, passes),)
    if isinstance(passes, Iterable):
        return tuple(item for entry in passes for item in collect(entry))
    msg = f"a pass list is text or passes, got {type(passes).__name__}"
    raise UsageError(msg)


def from_toml(entries: Sequence[Any]) -> tuple[Item, ...]:
    """Turn the TOML form of a pass list into passes.

    Raises:
        UsageError: Naming the entry that is neither a name nor a table.
    """
    if not isinstance(entries, (list, tuple)):
        msg = f"a pass list in TOML is an array, got {entries!r}"
        raise UsageError(msg)
    items: list[Item] = []
    for position, entry in enumerate(entries, 1):
        if isinstance(entry, str):
            items.extend(parse(entry))
        elif isinstance(entry, Mapping) and set(entry) == {"repeat"}:
            items.append(Repeat(from_toml(entry["repeat"])))
        elif isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            options = {key: value for key, value in entry.items() if key != "name"}
            items.append(make(entry["name"], options))
        else:
            msg = (
                f"entry {position} of the pass list is {entry!r}; expected a name, "
                "a table with 'name', or a table with 'repeat'"
            )
            raise UsageError(msg)
    return _not_empty(tuple(items))


def _not_empty(items: tuple[Item, ...]) -> tuple[Item, ...]:
    if not items:
        msg = "the pass list is empty; expected names like 'drop-identity,fold-constants'"
        raise UsageError(msg)
    return items


class _Reader:
    """A recursive-descent reader over the tokens of one pass list."""

    def __init__(self, text: str, what: str = "pass list") -> None:
        self._text = text
        self._what = what
        self._tokens = list(self._split())
        self._next = 0

    def items(self, end: str) -> tuple[Item, ...]:
        items: list[Item] = []
        while self._peek() != end:
            if items:
                self._expect(",")
            items.append(self._item())
        return tuple(items)

    def _item(self) -> Item:
        if self._peek() == "(":
            self._expect("(")
            inner = self.items(end=")")
            self._expect(")")
            self._expect("*")
            if not inner:
                self._fail("an empty group")
            return Repeat(inner)
        return make(*self._call("a pass name"))

    def call(self) -> tuple[str, dict[str, Any]]:
        name, options = self._call("a name")
        if self._peek():
            self._fail(f"{self._peek()!r} where the end was expected")
        return name, options

    def _call(self, what: str) -> tuple[str, dict[str, Any]]:
        name = self._word(what)
        return name, self._options() if self._peek() == "{" else {}

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        self._expect("{")
        while self._peek() != "}":
            if options:
                self._expect(",")
            key = self._word("an option name")
            if key in options:
                self._next -= 1
                self._fail(f"option {key!r} is given twice")
            self._expect("=")
            options[key] = self._value()
        self._expect("}")
        return options

    def _value(self) -> Any:  # noqa: ANN401  any literal of the grammar
        if self._peek() == "[":
            self._expect("[")
            values: list[Any] = []
            while self._peek() != "]":
                if values:
                    self._expect(",")
                values.append(self._value())
            self._expect("]")
            return tuple(values)
        token = self._take("a value")
        if not token.startswith('"'):
            return _literal(token)
        try:
            return json.loads(token)
        except ValueError:
            self._next -= 1
            self._fail(f"{token} is not text as JSON writes it")

    def _word(self, what: str) -> str:
        token = self._take(what)
        if not _WORD.fullmatch(token):
            self._next -= 1
            self._fail(f"{token!r} where {what} was expected")
        return token

    def _take(self, what: str) -> str:
        token = self._peek()
        if not token or (len(token) == 1 and token in "(){}[],=*"):
            self._fail(f"{repr(token) if token else 'the end'} where {what} was expected")
        self._next += 1
        return token

    def _expect(self, mark: str) -> None:
        token = self._peek()
        if token != mark:
            found = repr(token) if token else "the end"
            self._fail(f"{found} where {mark!r} was expected")
        self._next += 1

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _fail(self, what: str) -> typing.NoReturn:
        position = (
            self._tokens[self._next][1] if self._next < len(self._tokens) else len(self._text)
        )
        msg = f"{self._what}, character {position + 1}: {what} in {self._text!r}"
        raise UsageError(msg)

    def _split(self) -> typing.Iterator[tuple[str, int]]:
        position = 0
        text = self._text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                msg = f"{self._what}, character {position + 1}: unfinished text in {self._text!r}"
                raise UsageError(msg)
            token = match.group(match.lastgroup or 0)
            yield token, match.end() - len(token)
            position = match.end()


def _literal(token: str) -> Any:  # noqa: ANN401  any literal of the grammar
    if token in _LITERALS:
        return _LITERALS[token]
    for kind in (int, float):
        try:
            return kind(token)
        except ValueError:
            continue
    return token


def _value_text(value: Any) -> str:  # noqa: ANN401  an option's value
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(_value_text(item) for item in value) + "]"
    if isinstance(value, str):
        plain = _WORD.fullmatch(value) and _literal(value) is value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return repr(value)
