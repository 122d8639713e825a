"""The registry of passes: discovery by file, by entry point and by ``--plugin FILE.py``.

A pass file registers its class by importing; nothing is listed by hand::

    onnx_passes/passes/*.py and onnx_passes/bridges/*.py     ours
    entry points of the group ``onnx_passes.passes``         other distributions
    load_plugin(path)                                        one file named by the user
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import pkgutil
import re
import sys
import traceback
from typing import TYPE_CHECKING, TypeVar

from onnx_passes.core.contract import Pass, PassError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "onnx_passes.passes"
_PACKAGES = ("onnx_passes.passes", "onnx_passes.bridges")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_EXACTNESS = ("exact", "close", "inexact")
_registered: dict[str, type[Pass]] = {}
_contested: dict[str, str] = {}  # names that two distributions claim, and what to say of each

PassType = TypeVar("PassType", bound=type[Pass])


class NameTakenError(UsageError):
    """Two classes want the same name; ``name`` is that name."""

    def __init__(self, name: str, message: str) -> None:
        """Keep the name."""
        super().__init__(message)
        self.name = name


@dataclasses.dataclass(frozen=True)
class BrokenPlugin:
    """An entry point that could not be loaded.

    Attributes:
        entry: ``name = module`` as the distribution declares it.
        distribution: Its name and version.
        reason: The last line of the traceback.
    """

    entry: str
    distribution: str
    reason: str


def register(cls: PassType) -> PassType:
    """Add a pass class to the registry; use as a decorator.

    Raises:
        UsageError: If the class lacks ``name`` or ``exactness``, or the name is taken.
    """
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        msg = f"pass class {cls.__qualname__} has no name; set the class attribute 'name'"
        raise UsageError(msg)
    if not _NAME.fullmatch(name):
        msg = f"pass name {name!r} is not kebab case, as in 'drop-identity'; pass lists need that"
        raise UsageError(msg)
    if getattr(cls, "exactness", None) not in _EXACTNESS:
        msg = f"pass {name!r} must set 'exactness' to one of {', '.join(_EXACTNESS)}"
        raise UsageError(msg)
    taken = _registered.get(name)
    if taken is not None and _origin(taken) != _origin(cls):
        msg = f"pass name {name!r} is taken by {_origin(taken)}; {_origin(cls)} must choose another"
        raise NameTakenError(name, msg)
    _registered[name] = cls
    return cls


def passes() -> list[type[Pass]]:
    """Return all registered pass classes, sorted by name."""
    _discover()
    return [_registered[name] for name in sorted(_registered)]


def broken_plugins() -> tuple[BrokenPlugin, ...]:
    """Return the installed plugins that could not be loaded; the others work."""
    return _discover()


def get(name: str) -> type[Pass]:
    """Return the pass class called ``name``.

    Raises:
        UsageError: If there is none, the message offers the nearest name; or if two distributions
            claim the name, the message names both.
    """
    broken = _discover()
    if name in _contested:
        raise NameTakenError(name, _contested[name])
    if name not in _registered:
        near = did_you_mean(name, _registered)
        msg = f"unknown pass {name!r}{near}; 'onnx-passes list' shows all {len(_registered)}"
        raise UsageError(f"{msg}, and {len(broken)} broken plugins" if broken else msg)
    return _registered[name]


def load_plugin(path: Path) -> list[type[Pass]]:
    """Import a Python file and return the passes it registered. The file's code is executed.

    Raises:
        UsageError: If the file cannot be imported or registers no pass.
    """
    _discover()
    if not path.is_file():
        msg = f"plugin {path} is not a file; give the path of a Python file that registers a pass"
        raise UsageError(msg)
    resolved = path.resolve()
    name = f"onnx_passes_plugin_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        _import_file(name, resolved)
    found = [cls for cls in _registered.values() if cls.__module__ == name]
    if not found:
        msg = f"plugin {path} registers no pass; decorate a Pass class with @register"
        raise UsageError(msg)
    return found


def did_you_mean(name: str, known: object) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``known``, or an empty string."""
    names = [str(item) for item in known]  # type: ignore[attr-defined]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


@functools.cache
def _discover() -> tuple[BrokenPlugin, ...]:
    for package_name in _PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")
    ours = set(_registered)
    loads = map(_load_entry, importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
    broken = tuple(plugin for plugin, error in loads if _is_broken(error, ours))
    for plugin in broken:
        _logger.info("%s was left out: %s", plugin.entry, plugin.reason)
    return broken


def _load_entry(
    entry: importlib.metadata.EntryPoint,
) -> tuple[BrokenPlugin, BaseException | None]:
    """Load a plugin; one that fails leaves no pass behind and stops nothing."""
    source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
    plugin = BrokenPlugin(f"{entry.name} = {entry.value}", source, "")
    before = dict(_registered)
    try:
        entry.load()
    except (Exception, SystemExit) as error:  # a stranger's broken package must not stop ours
        _registered.clear()
        _registered.update(before)
        last = traceback.format_exception_only(error)[-1].strip()
        if isinstance(error, PassError):
            last = str(error)
        return dataclasses.replace(plugin, reason=last), error
    return plugin, None


def _is_broken(error: BaseException | None, ours: set[str]) -> bool:
    """Return whether a plugin failed; note down a name that two plugins claim.

    A name of ours stays ours: installing a package must not stop what worked before.
    """
    if isinstance(error, NameTakenError) and error.name not in ours:
        _contested[error.name] = str(error)
    return error is not None


def _import_file(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        msg = f"plugin {path} is not a Python file (expected a name that ends in .py)"
        raise UsageError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = dict(_registered)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        _registered.clear()
        _registered.update(before)
        if isinstance(error, PassError) or not isinstance(error, (Exception, SystemExit)):
            raise
        msg = f"plugin {path} cannot be imported: {type(error).__name__}: {error}"
        raise UsageError(msg) from error


def _origin(cls: type[Pass]) -> str:
    """Return where a class is defined, the same for a module imported twice."""
    try:
        return f"{inspect.getfile(cls)}:{cls.__qualname__}"
    except (OSError, TypeError):
        return f"{cls.__module__}:{cls.__qualname__}"
