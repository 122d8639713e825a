"""Python and the packages: what our metadata asks for, and what is installed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shlex
import sys
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

State = Literal["ok", "missing", "failed", "note"]
EVERYTHING = "everything else"
DISTRIBUTION = "ascend-onnx-passes"
# The extras that a user installs, and the commands that need each.
EXTRAS = {"eval": ("eval", "flow"), "paddle": ("flow",)}
_REQUIREMENT = re.compile(r"\s*([\w.-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_BOUND = re.compile(r"\s*(>=|<)\s*([\d.]+)\s*")


@dataclass(frozen=True)
class Check:
    """One thing that is there or not.

    Attributes:
        name: What it is.
        state: ``missing`` and ``failed`` keep the commands that need it from working.
        version: Its version, if it has one.
        where: Its path.
        needed_for: Keys of `pipeline.doctor.COMMANDS`.
        note: More about it, on one line.
        fix: The command or step that mends it; empty if there is nothing to mend.
    """

    name: str
    state: State
    version: str | None = None
    where: str | None = None
    needed_for: tuple[str, ...] = ()
    note: str = ""
    fix: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a command that needs it cannot work."""
        return self.state in {"missing", "failed"}

    def is_for(self, command: str) -> bool:
        """Return whether a command needs it; what everything needs, each one needs."""
        return command in self.needed_for or EVERYTHING in self.needed_for


def check_packages() -> list[Check]:
    """Check this Python, our dependencies, and what the extras add."""
    python = Check("Python", "ok", platform.python_version(), sys.executable, (EVERYTHING,))
    try:
        own = importlib.metadata.version(DISTRIBUTION)
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        fix = f"{DISTRIBUTION} is not installed: run {_pip()} -e . in its folder"
        return [python, Check(DISTRIBUTION, "missing", needed_for=(EVERYTHING,), fix=fix)]
    checks = [python, Check(DISTRIBUTION, "ok", own, _folder(DISTRIBUTION), (EVERYTHING,))]
    for line in lines:
        if check := _check_requirement(line):
            checks.append(check)
    return checks


def _check_requirement(line: str) -> Check | None:
    """Check one line of the metadata; None for what is not for this Python or not for users."""
    found = _REQUIREMENT.fullmatch(line)
    if found is None:
        return None
    name, bounds, marker = found[1], found[2], found[3] or ""
    older = re.search(r"python_version\s*<\s*['\"](\d+)\.(\d+)", marker)
    if older and sys.version_info >= (int(older[1]), int(older[2])):
        return None
    extra = re.search(r"extra\s*==\s*['\"](\w+)", marker)
    if extra is None:
        return _check_package(name, bounds, (EVERYTHING,), f"'{name}{bounds}'")
    if extra[1] not in EXTRAS:
        return None
    return _check_package(name, bounds, EXTRAS[extra[1]], f"'{DISTRIBUTION}[{extra[1]}]'")


def _check_package(name: str, bounds: str, needed_for: tuple[str, ...], install: str) -> Check:
    fix = f"run: {_pip()} --upgrade {install}"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", None, None, needed_for, f"needs {bounds}", fix)
    if not _is_within(version, bounds):
        note = f"needs {bounds}"
        return Check(name, "missing", version, _folder(name), needed_for, note, fix)
    return Check(name, "ok", version, _folder(name), needed_for)


def _is_within(version: str, bounds: str) -> bool:
    """Return whether a version is within bounds such as ``>=3.3,<3.4``."""
    for bound in filter(None, bounds.split(",")):
        found = _BOUND.fullmatch(bound)
        if found and _is_below(version, found[2]) != (found[1] == "<"):
            return False
    return True


def _is_below(version: str, other: str) -> bool:
    """Compare releases by their numbers; what follows them (rc1, +cpu) does not count."""
    release = re.match(r"[\d.]*", version)
    mine = re.findall(r"\d+", release[0] if release else "")
    for left, right in zip_longest(mine, re.findall(r"\d+", other), fillvalue="0"):
        if int(left) != int(right):
            return int(left) < int(right)
    return False


def _folder(name: str) -> str:
    return str(importlib.metadata.distribution(name).locate_file(""))


def _pip() -> str:
    return shlex.join([sys.executable, "-m", "pip", "install"])
