"""The data files of ``op_support``: one a CANN version, read and checked here.

A file is JSON::

    {
      "schema": 1,
      "cann": "8.1.RC1",
      "sources": {"NAME": {"text": "...", "certainty": "documented"}},
      "opsets": {"source": "NAME", "range": "9-18"},
      "listed": {"source": "NAME", "operators": ["Abs", ...]},
      "registered": {"source": "NAME", "opsets": {"11,16-18": ["GridSample", ...]}},
      "observed": [{"source": "NAME", "operator": "...", "opsets": "11", "fact": "..."}],
      "engines": [{"source": "NAME", "socs": ["Ascend310P3"], "operators": {
        "Expand": {
          "mapping": "assumed",
          "ai_core": {"Expand": {"inputs": {"x": "float16 float32", "shape": "int32 int64"}}},
          "ai_cpu": ["Expand"],
          "rules": ["gather-elements-size"],
          "note": "..."
        }}}]
    }

Everything behind ``sources`` may be left out. ``opsets`` are those that the version documents as a
whole; ``listed`` its list of operators; ``registered`` the opsets of single operators. A kernel is
``"chosen at compile time"`` or has dtypes for its first inputs, in the order of the ONNX inputs,
and for outputs where they matter. ``rules`` are names of ``rules.RULES``. A new version
is a new file in this folder, and nothing else.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from ascend.errors import AscendError
from ascend.op_support.data import Engines, Kernel, Observation, Release, Source, version_key
from ascend.op_support.query import Certainty
from ascend.op_support.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DATA = Path(__file__).parents[1] / "data"
COMPILE_TIME = "chosen at compile time"
_PARTS = {"schema", "cann", "sources", "opsets", "listed", "registered", "observed", "engines"}
_RANGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)
_MAX_OPSET = 1000


@functools.cache
def releases(folder: Path = DATA) -> tuple[Release, ...]:
    """Return what the data files of a folder say, the oldest version first.

    Raises:
        AscendError: Naming the file and the place in it that is wrong.
    """
    found = [read_release(path) for path in sorted(folder.glob("*.json"))]
    found.sort(key=lambda release: version_key(release.cann))
    for one, two in itertools.pairwise(found):
        if version_key(one.cann) == version_key(two.cann):
            msg = f"{folder}: two data files say they are of CANN {one.cann}; keep one"
            raise AscendError(msg)
    if not found:
        msg = f"{folder}: no data file (cann-<version>.json) is there; install the package again"
        raise AscendError(msg)
    return tuple(found)


def read_release(path: Path) -> Release:
    """Read and check one data file.

    Raises:
        AscendError: Naming the file and the place in it that is wrong.
    """
    try:
        return parse_release(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, AscendError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"data file {path}: {reason}"
        raise AscendError(msg) from error


def parse_release(document: Any) -> Release:  # noqa: ANN401  any JSON
    """Check the content of a data file.

    Raises:
        ValueError: Naming the place that is wrong.
        AscendError: If its version is none.
    """
    document = _typed(document, dict, "the file")
    if unknown := sorted(set(document) - _PARTS):
        msg = f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_PARTS))}"
        raise ValueError(msg)
    if document.get("schema") != 1:
        msg = f"schema is {document.get('schema')!r}, this version reads 1"
        raise ValueError(msg)
    cann = _typed(document.get("cann"), str, "cann")
    version_key(cann)
    sources = _sources(document, cann)
    observed = _typed(document.get("observed", []), list, "observed")
    parts = {key: _part(document, key) for key in ("opsets", "listed", "registered")}
    return Release(
        cann,
        _opsets(parts["opsets"].get("range"), "opsets.range") if parts["opsets"] else frozenset(),
        frozenset(_names(parts["listed"].get("operators", []), "listed.operators")),
        _registered(parts["registered"]),
        dict(_observation(each, sources) for each in observed),
        _engines_part(document, sources),
        {key: _source(part, sources, key) for key, part in parts.items() if part},
    )


def _sources(document: dict[str, Any], cann: str) -> dict[str, Source]:
    sources = {}
    for name, each in _typed(document.get("sources"), dict, "sources").items():
        entry = _typed(each, dict, f"sources.{name}")
        certainty = entry.get("certainty")
        if certainty not in get_args(Certainty):
            known = ", ".join(get_args(Certainty))
            msg = f"sources.{name}.certainty is {certainty!r}, expected one of {known}"
            raise ValueError(msg)
        text = _typed(entry.get("text"), str, f"sources.{name}.text")
        sources[name] = Source(text, cast("Certainty", certainty), cann)
    return sources


def _part(document: dict[str, Any], key: str) -> dict[str, Any]:
    part: dict[str, Any] = _typed(document.get(key, {}), dict, key)
    return part


def _registered(part: dict[str, Any]) -> Mapping[str, frozenset[int]]:
    opsets: dict[str, frozenset[int]] = {}
    for text, names in _typed(part.get("opsets", {}), dict, "registered.opsets").items():
        where = f"registered.opsets[{text!r}]"
        numbers = _opsets(text, where)
        for name in _names(names, where):
            opsets[name] = opsets.get(name, frozenset()) | numbers
    return opsets


def _observation(each: object, sources: Mapping[str, Source]) -> tuple[str, Observation]:
    entry = _typed(each, dict, "an entry of observed")
    operator = _typed(entry.get("operator"), str, "observed.operator")
    opsets = _opsets(entry.get("opsets"), f"observed.{operator}.opsets")
    fact = _typed(entry.get("fact"), str, f"observed.{operator}.fact")
    return operator, Observation(_source(entry, sources, f"observed.{operator}"), opsets, fact)


def _engines_part(
    document: dict[str, Any], sources: Mapping[str, Source]
) -> Mapping[str, Mapping[str, Engines]]:
    found: dict[str, dict[str, Engines]] = {}
    for each in _typed(document.get("engines", []), list, "engines"):
        part = _typed(each, dict, "an entry of engines")
        source = _source(part, sources, "engines")
        operators = {
            name: _engines(_typed(entry, dict, f"engines.{name}"), source, f"engines.{name}")
            for name, entry in _typed(part.get("operators"), dict, "engines.operators").items()
        }
        for soc in _names(part.get("socs"), "engines.socs"):
            found.setdefault(soc, {}).update(operators)
    return found


def _engines(entry: dict[str, Any], source: Source, where: str) -> Engines:
    rules = _names(entry.get("rules", []), f"{where}.rules")
    if unknown := [rule for rule in rules if rule not in RULES]:
        msg = f"{where}.rules names {unknown[0]!r}; known are {', '.join(sorted(RULES))}"
        raise ValueError(msg)
    kernels = _typed(entry.get("ai_core", {}), dict, f"{where}.ai_core")
    return Engines(
        source,
        _typed(entry.get("mapping"), str, f"{where}.mapping"),
        tuple(_kernel(name, kernel, f"{where}.{name}") for name, kernel in kernels.items()),
        _names(entry.get("ai_cpu", []), f"{where}.ai_cpu"),
        rules,
        _typed(entry.get("note", ""), str, f"{where}.note"),
    )


def _kernel(name: str, entry: Any, where: str) -> Kernel:  # noqa: ANN401  any JSON
    if entry == COMPILE_TIME:
        return Kernel(name, None)
    entry = _typed(entry, dict, where)
    inputs = _dtypes(entry.get("inputs"), f"{where}.inputs")
    if not inputs:
        msg = f"{where}.inputs is empty; write {COMPILE_TIME!r} for a kernel without fixed dtypes"
        raise ValueError(msg)
    return Kernel(name, inputs, _dtypes(entry.get("outputs", {}), f"{where}.outputs"))


def _dtypes(entry: object, where: str) -> tuple[frozenset[str], ...]:
    texts = _typed(entry, dict, where)
    return tuple(frozenset(_typed(text, str, where).split()) for text in texts.values())


def _opsets(text: object, where: str) -> frozenset[int]:
    """Return the numbers of ``11,16-18``."""
    if not isinstance(text, str) or not _RANGES.fullmatch(text):
        msg = f"{where} is {text!r}, expected opsets like '11,16-18'"
        raise ValueError(msg)
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if max(len(first), len(last)) > len(str(_MAX_OPSET)):
            msg = f"{where} holds {part!r}, which is no opset"
            raise ValueError(msg)
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _names(entry: object, where: str) -> tuple[str, ...]:
    names: Iterable[Any] = _typed(entry, list, where)
    return tuple(_typed(name, str, f"an entry of {where}") for name in names)


def _source(part: dict[str, Any], sources: Mapping[str, Source], where: str) -> Source:
    name = part.get("source")
    if not isinstance(name, str) or name not in sources:
        msg = f"{where}.source is {name!r}, expected one of {', '.join(sources) or 'sources'}"
        raise ValueError(msg)
    return sources[name]


def _typed(value: Any, kind: type, where: str) -> Any:  # noqa: ANN401  any JSON
    if not isinstance(value, kind):
        names: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
        found = names.get(type(value), "nothing" if value is None else repr(value))
        msg = f"{where} is {found}, expected {names[kind]}"
        raise ValueError(msg)  # noqa: TRY004  one error for all that is wrong with a file
    return value
