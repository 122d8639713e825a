"""Recipes: what is exported, which passes run on it, what for, and what others published of it.

A recipe is a TOML file; ``docs/flow.md`` explains its keys. Whatever is wrong in one is said in one
line, with the line of the file and the nearest name.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from onnx_passes.core.contract import UsageError
from onnx_passes.core.registry import did_you_mean
from pipeline.errors import FlowError, PipelineError
from pipeline.stages.toml_lines import line_of_entry, line_of_key, syntax_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_passes.core.passlist import Item

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
MAX_BYTES = 1 << 20  # of a recipe; a larger file is something else
_KINDS: dict[str, type] = {
    "title": str,
    "aliases": list,
    "network": str,
    "soc": str,
    "cann": str,
    "batches": list,
    "simplify": list,
    "passes": list,
    "shapes": dict,
    "words": dict,
    "published": dict,
}
_PUBLISHED: dict[str, type] = {
    "throughput": str,
    "records": int,
    "acc": float,
    "norm_edit_dis": float,
    "source": str,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe that has been read.

    Attributes:
        name: The name of its file.
        text: How it was asked for: a name or a path.
        passes: The passes of the stage optimize.
        simplify: The passes of the stage simplify; may be none.
        title: What it is about.
        network: The network to export; empty where a model must be given.
        soc: The chip.
        cann: The version of CANN where no toolkit tells it.
        batches: Batch sizes on a device.
        shapes: Sizes of inputs for generated feeds.
        words: Rendered words by style, where no data are given.
        published: What others published: `throughput`, `records`, `acc`, `norm_edit_dis`, `source`.
    """

    name: str
    text: str
    passes: tuple[Item, ...]
    simplify: tuple[Item, ...] = ()
    title: str = ""
    network: str = ""
    soc: str = "310P3"
    cann: str = "8.1.RC1"
    batches: tuple[int, ...] = (1,)
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    words: dict[str, int] = dataclasses.field(default_factory=dict)
    published: dict[str, Any] = dataclasses.field(default_factory=dict)


def find_recipe(
    text: str, expand: Callable[[Any], Any] = lambda entries: entries, folder: Path = RECIPES
) -> Recipe:
    """Return a recipe by the name of a built-in one, one of its aliases, or a path.

    Args:
        text: The name, or a path that ends with ``.toml``.
        expand: Puts passes in place of ``@preset`` in a list of entries.
        folder: Where the built-in ones are.

    Raises:
        FlowError: If there is no such recipe, or something in it is wrong.
    """
    if text.endswith(".toml"):
        return _Reader(Path(text), text, expand).recipe()
    known = {name: path for path in sorted(folder.glob("*.toml")) for name in _names(path)}
    if text not in known:
        near = did_you_mean(text, known)
        msg = f"no recipe {text!r}{near}; built in: {', '.join(known)}, or give a .toml file"
        raise FlowError(msg)
    return _Reader(known[text], text, expand).recipe()


def _names(path: Path) -> list[str]:
    return [path.stem, *map(str, _Reader(path, path.stem).values.get("aliases", []))]


class _Reader:
    """One file: its text, for the lines, and its values."""

    def __init__(
        self, path: Path, asked: str, expand: Callable[[Any], Any] = lambda entries: entries
    ) -> None:
        self._path, self._asked, self._expand = path, asked, expand
        self._text = self._read()
        self.values = self._parse()

    def recipe(self) -> Recipe:
        values = self.values
        for key, value in values.items():
            self._check(key, value, _KINDS)
        for key, value in values.get("published", {}).items():
            self._check(key, value, _PUBLISHED, "published")
        if "passes" not in values:
            self._fail(1, "it has no 'passes'; expected passes = ['drop-identity', ...]")
        self._check_network()
        plain = {key: values[key] for key in ("title", "network", "soc", "cann") if key in values}
        return Recipe(
            name=self._path.stem,
            text=self._asked,
            passes=self._passes("passes"),
            simplify=self._passes("simplify") if values.get("simplify") else (),
            batches=tuple(self._sizes("batches", values.get("batches", [1]))),
            shapes={key: self._sizes(key, value) for key, value in self._table("shapes")},
            words={key: self._sizes(key, [value])[0] for key, value in self._table("words")},
            published=values.get("published", {}),
            **plain,
        )

    def _read(self) -> str:
        try:
            with self._path.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                self._fail(None, f"it is longer than {MAX_BYTES} bytes; give a recipe in TOML")
            return content.decode("utf-8")
        except OSError as error:
            msg = f"recipe {self._path} cannot be read: {error.strerror}"
            raise FlowError(msg) from error
        except UnicodeDecodeError as error:
            self._fail(None, f"it is not UTF-8 at byte {error.start}; convert it")

    def _parse(self) -> dict[str, Any]:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        try:
            return tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            self._fail(*syntax_error(error))
        except RecursionError:
            self._fail(None, "its values are nested too deeply")

    def _check(self, key: str, value: Any, kinds: dict[str, type], table: str = "") -> None:  # noqa: ANN401  any TOML value
        """Refuse a key that is unknown or of the wrong type."""
        line = line_of_key(self._text, key, table)
        if key not in kinds:
            near = did_you_mean(key, kinds) or f"; known: {', '.join(kinds)}"
            self._fail(line, f"unknown key {key!r}{f' in [{table}]' if table else ''}{near}")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            found, expected = type(value).__name__, kinds[key].__name__
            self._fail(line, f"{key!r} is a {found}, expected a {expected}")

    def _check_network(self) -> None:
        from pipeline.stages.networks import find_network

        if name := self.values.get("network", ""):
            try:
                find_network(name)
            except PipelineError as error:
                self._fail(line_of_key(self._text, "network"), str(error))

    def _passes(self, key: str) -> tuple[Item, ...]:
        """Return the passes of a list; an entry that is wrong is named with its line."""
        from onnx_passes.core.passlist import from_toml

        if not self.values[key]:
            self._fail(line_of_key(self._text, key), f"{key!r} is empty; expected names of passes")
        items: list[Item] = []
        for entry in self.values[key]:
            try:
                items.extend(from_toml(self._expand([entry])))
            except UsageError as error:
                self._fail(line_of_entry(self._text, key, entry), str(error))
        return tuple(items)

    def _table(self, key: str) -> list[tuple[str, Any]]:
        return list(self.values.get(key, {}).items())

    def _sizes(self, key: str, value: Any) -> tuple[int, ...]:  # noqa: ANN401  any TOML value
        """Return a list of numbers above 0."""
        good = isinstance(value, list) and value and all(type(size) is int for size in value)
        if not good or min(value) < 1:
            self._fail(line_of_key(self._text, key), f"{key!r}: expected whole numbers above 0")
        return tuple(value)

    def _fail(self, line: int | None, what: str) -> NoReturn:
        where = f", line {line}" if line else ""
        msg = f"recipe {self._path}{where}: {what}"
        raise FlowError(msg)
