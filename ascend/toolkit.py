"""The CANN toolkit: where it is, its version, and the environment that its programs need.

What set_env.sh sets is not guessed but asked: bash sources it and prints the environment. The
script sees only the variables that such scripts extend, so that it can neither print nor keep a
secret of ours, and nothing that it prints is shown to anybody.

Layouts, below /usr/local/Ascend or ~/Ascend::

    ascend-toolkit/set_env.sh  and  ascend-toolkit/latest/<arch>-linux/...
    cann/set_env.sh            and  cann/<arch>-linux/...                     (2026)
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.errors import AscendError, MissingToolError, ToolFailedError
from ascend.process import run_tool

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger = logging.getLogger(__name__)

ROOT = Path("/usr/local/Ascend")  # or ~/Ascend
SET_ENV = "set_env.sh"
LAYOUTS = ("ascend-toolkit", "cann")
VARIABLES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")  # set_env.sh sets at least one
HOW_TO_GET = (
    "install the CANN toolkit (https://www.hiascend.com/cann), then give its folder with "
    "--toolkit or source its set_env.sh"
)
_KEPT = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR")
_EXTENDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_OF_THE_SHELL = {"_", "PWD", "OLDPWD", "SHLVL"}
# "$1" set_env.sh, "$2" the program env, found before PATH changes, "$3" the file for the result.
_ASK = 'source "$1" >/dev/null 2>&1; state=$?; "$2" -0 >"$3"; exit "$state"'
_TIMEOUT_S = 60.0
_MAX_ENVIRONMENT = 4 * 2**20  # bytes; Linux allows about 2 MiB for a program
_MAX_VERSION_FILE = 64 * 1024

_VERSION = r"\[?(?:[\w.-]+:)?([\w.-]{1,40})\]?"
# The file and the key; of the third only the place is documented, so the clearer key goes first.
_VERSION_FILES = (
    ("*-linux/ascend_toolkit_install.info", "version"),
    ("version.cfg", "toolkit_running_version"),
    ("compiler/version.info", "version_dir"),
    ("compiler/version.info", "version"),
)


@dataclass(frozen=True)
class Toolkit:
    """An installed toolkit.

    Attributes:
        root: The folder that holds set_env.sh.
        home: The folder that holds the programs and the version; ``root/latest`` or ``root``.
        environ: The variables of the caller.
    """

    root: Path
    home: Path
    environ: Mapping[str, str] = field(repr=False, compare=False)

    @cached_property
    def version(self) -> str | None:
        """Its version, such as 8.1.RC1; None if none of the three files tells it."""
        return _read_version(self.home)

    @property
    def devlib(self) -> Path | None:
        """The libraries that stand in for the driver on a host without a device, if there."""
        return next((path for path in sorted(self.home.glob("*-linux/devlib"))), None)

    def environment(self) -> dict[str, str]:
        """Return what set_env.sh sets; put it over the caller's environment.

        Raises:
            ToolFailedError: If set_env.sh fails, hangs or sets nothing that a toolkit needs.
            AscendError: If it sets up another version than the one that was asked for.
            MissingToolError: If there is no bash.
        """
        return dict(self._environment)

    def executable(self, name: str) -> Path:
        """Return a program of the toolkit, from the folders that set_env.sh puts on PATH.

        Raises:
            MissingToolError: If there is none by that name.
        """
        searched = [path for path in self._path() if self._is_ours(path)]
        found = shutil.which(name, path=os.pathsep.join(searched)) if searched else None
        if found is None:
            where = ", ".join(searched) or "no folder: set_env.sh puts none on PATH"
            msg = (
                f"no program {name!r} in the CANN toolkit {self.root} (searched {where}); "
                "install the toolkit again, whole, or name another one with --toolkit"
            )
            raise MissingToolError(msg)
        return Path(found)

    @cached_property
    def _environment(self) -> dict[str, str]:
        base = _base(self.environ)
        state, after = _source(self.root / SET_ENV, base)
        new = {
            name: value
            for name, value in after.items()
            if base.get(name) != value and name not in _OF_THE_SHELL
        }
        if not any(name in new for name in VARIABLES):
            msg = (
                f"{self.root / SET_ENV} set neither {' nor '.join(VARIABLES)} (status {state}); "
                f"run '{_by_hand(self.root / SET_ENV)}' to see why"
            )
            raise ToolFailedError(msg)
        if state:
            _logger.warning("%s ended with status %s", self.root / SET_ENV, state)
        self._refuse_other_version(new)
        return new

    def _refuse_other_version(self, new: Mapping[str, str]) -> None:
        """Refuse ``ascend-toolkit/7.0.0`` where set_env.sh sets up ``latest``, which is 8.1."""
        home = next(new[name] for name in VARIABLES if name in new)
        version = _read_version(Path(home))
        if self.version and version and self.version != version:
            msg = (
                f"{self.root / SET_ENV} sets up version {version} at {home}, not {self.version} "
                f"at {self.home}; name the folder of the version that you want with --toolkit"
            )
            raise AscendError(msg)

    def _path(self) -> list[str]:
        return self.environment().get("PATH", "").split(os.pathsep)

    def _is_ours(self, folder: str) -> bool:
        """Return whether set_env.sh added ``folder``, or would have, were it not there yet."""
        if folder not in _base(self.environ)["PATH"].split(os.pathsep):
            return bool(folder)
        resolved = Path(folder).resolve()
        return any(resolved.is_relative_to(top.resolve()) for top in (self.root, self.home))


def find_toolkit(explicit: Path | None = None, environ: Mapping[str, str] | None = None) -> Toolkit:
    """Find the toolkit: where the caller says, where its variables say, or in a usual place.

    Args:
        explicit: The folder of the toolkit, of one version of it, the folder above, or set_env.sh.
        environ: The variables of the caller; None for ours.

    Raises:
        MissingToolError: If it is not there; the message says where it was looked for.
    """
    environ = os.environ if environ is None else environ
    places = _places(explicit, environ)
    for place in places:
        with contextlib.suppress(PermissionError):  # the folder of another user
            if found := _at(place, environ):
                return found
    searched = ", ".join(map(str, places))
    below = " or ".join(LAYOUTS)
    msg = f"no CANN toolkit: no {SET_ENV} in {searched}, nor in {below} below; {HOW_TO_GET}"
    raise MissingToolError(msg)


def _places(explicit: Path | None, environ: Mapping[str, str]) -> list[Path]:
    """Return where to look; a toolkit that was named must be there, so no other is taken."""
    if explicit is not None:
        return [explicit]
    named = [Path(environ[name]) for name in VARIABLES if environ.get(name)]
    usual = [ROOT]
    if environ.get("HOME"):
        usual.append(Path(environ["HOME"]) / "Ascend")
    return list(dict.fromkeys([*named, *usual]))


def _at(place: Path, environ: Mapping[str, str]) -> Toolkit | None:
    """Return the toolkit that ``place`` names, if any."""
    if place.name == SET_ENV:
        place = place.parent
    for root in (place, *(place / layout for layout in LAYOUTS)):
        if (root / SET_ENV).is_file():
            latest = root / "latest"
            return _toolkit(root, latest if latest.is_dir() else root, environ)
    if place.is_dir() and (place.parent / SET_ENV).is_file():  # .../latest or .../8.1.RC1
        return _toolkit(place.parent, place, environ)
    return None


def _toolkit(root: Path, home: Path, environ: Mapping[str, str]) -> Toolkit:
    return Toolkit(root.absolute(), home.absolute(), dict(environ))


def _base(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that set_env.sh sees."""
    kept = {name: environ[name] for name in (*_KEPT, *_EXTENDED) if environ.get(name)}
    return {"PATH": _DEFAULT_PATH, **kept}


def _source(script: Path, base: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """Source ``script`` in bash; return its status and the environment after it."""
    env = shutil.which("env", path=base["PATH"]) or "/usr/bin/env"
    with tempfile.TemporaryDirectory(prefix="onnx-passes-") as folder:
        result = Path(folder) / "environment"
        command = ["bash", "--noprofile", "--norc", "-c", _ASK, "bash", str(script), env]
        done = run_tool([*command, str(result)], timeout_s=_TIMEOUT_S, env=base)
        if done.timed_out:
            msg = f"{script} did not end in {_TIMEOUT_S:.0f} s; run '{_by_hand(script)}' to see why"
            raise ToolFailedError(msg)
        content = _read(result, _MAX_ENVIRONMENT)
    if not content:
        msg = (
            f"{script} ended the shell that sourced it (status {done.returncode}); run "
            f"'{_by_hand(script)}' to see why"
        )
        raise ToolFailedError(msg)
    pairs = (entry.partition(b"=") for entry in content.split(b"\0") if b"=" in entry)
    return done.returncode, {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _by_hand(script: Path) -> str:
    """Return the command that shows what a script does."""
    return shlex.join(["bash", "-x", str(script)])


def _read_version(home: Path) -> str | None:
    for pattern, key in _VERSION_FILES:
        for path in sorted(home.glob(pattern)):
            text = _read(path, _MAX_VERSION_FILE).decode("utf-8", errors="replace")
            found = re.search(
                rf"^\s*{key}\s*=\s*{_VERSION}\s*$", text, re.MULTILINE | re.IGNORECASE
            )
            if found:
                return found[1]
    return None


def _read(path: Path, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError:
        return b""
