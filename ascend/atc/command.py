"""A call of ATC as text for a shell: what --dry-run prints, and what a failed run keeps."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ascend.atc.flags import Flags

KEEP_FILE = "keep_dtype.txt"
# Where the documentation installs it, for a machine that is not this one.
USUAL_SET_ENV = "/usr/local/Ascend/ascend-toolkit/set_env.sh"


def command_text(program: str, flags: Flags) -> str:
    """Return the call of ATC alone, one flag a line."""
    return " \\\n    ".join(shlex.quote(word) for word in (program, *flags.arguments()))


def keep_text(names: Sequence[str]) -> str:
    """Return the file for --keep_dtype."""
    return "".join(f"{name}\n" for name in names)


def shell_script(
    flags: Flags, folder: Path, keep: Sequence[str], set_env: str, devlib: Path | None = None
) -> str:
    """Return commands for bash that compile the model into ``folder``, as we would.

    The parentheses keep the working directory and the environment of the shell they are pasted in.
    """
    work = folder / f"{flags.output}.work"
    steps = [f"source {shlex.quote(set_env)}"]
    if devlib is not None:
        steps.append(f'export LD_LIBRARY_PATH="$LD_LIBRARY_PATH":{shlex.quote(str(devlib))}')
    steps += [
        f"mkdir -p {shlex.quote(str(work))}",
        f"cd {shlex.quote(str(work))}",
    ]
    if keep:
        quoted = " ".join(map(shlex.quote, keep))
        steps.append(f"printf '%s\\n' {quoted} > {KEEP_FILE}")
    steps.append(command_text("atc", flags))
    steps.append(f"mv {shlex.quote(flags.output)}*.om ..")
    return "(\n" + " &&\n".join(steps) + "\n)\n"


def exports(environment: Mapping[str, str]) -> str:
    """Return what set_env.sh sets, as lines for a shell."""
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())
    )
