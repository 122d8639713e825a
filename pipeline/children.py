"""Run a program that may crash, hang or say a lot, and keep what it said last."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KEPT_BYTES = 1 << 16


class Ended(NamedTuple):
    """The exit code (negative: a signal) and the last that the program said."""

    code: int
    output: str


def run_child(
    command: Sequence[str],
    folder: Path,
    log: Path,
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run ``command`` in ``folder``; what it started ends with it when it is stopped.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        log: Takes what it says; a pipe would stay open as long as any of its children lives.
        timeout_s: How long it may take.
        environment: Variables beside those of this process.

    Raises:
        ExportError: If it cannot be started or takes longer.
    """
    variables = {**os.environ, **(environment or {})}
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen(  # noqa: S603, RUF100  no shell
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            code = _wait(process, timeout_s)
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]} did not finish within {timeout_s:g} s and was stopped"
        raise ExportError(msg) from error
    except OSError as error:
        msg = f"{command[0]} cannot be started: {error.strerror or error}"
        raise ExportError(msg) from error
    return Ended(code, _tail(log))


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    try:
        return process.wait(timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _tail(log: Path) -> str:
    """Return the end of the log, without what a terminal would obey."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - KEPT_BYTES))
        text = stream.read().decode(errors="replace")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)
