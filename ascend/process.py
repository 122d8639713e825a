"""Run a tool of the toolkit: its output in a file, a time limit, nothing left behind.

The output goes straight into a file, not through a pipe: a helper process that outlives the tool
(ATC starts compile workers) cannot block the reader, and what a killed tool said is kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.errors import MissingToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from io import TextIOWrapper

MAX_OUTPUT = 16 * 2**20  # bytes of output that are parsed; the file holds all of it
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.2
_GRACE_S = 5.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Finished:
    """How a tool ended.

    Attributes:
        command: What was run.
        returncode: Its exit status; negative for a signal.
        output: stdout and stderr together, in the order they came; the last `MAX_OUTPUT` bytes.
        seconds: Wall time.
        timed_out: True if it was ended because its time was over.
    """

    command: tuple[str, ...]
    returncode: int
    output: str
    seconds: float
    timed_out: bool


def run_tool(
    command: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Finished:
    """Run ``command`` without a shell until it ends or its time is over.

    Args:
        command: The executable and its arguments.
        timeout_s: Wall time it may take, in seconds; then its whole process group is ended.
        env: Its environment; None keeps ours.
        cwd: Its working directory.
        log: File that receives its output and is kept; None for a temporary one.
        on_line: Called with each line of output as it appears, without the line end.
        on_wait: Called now and then while it runs; what it raises ends the tool.

    Raises:
        MissingToolError: If the executable does not exist or may not be run.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if log is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="onnx-passes-"))
            log = Path(folder) / "output.log"
        child = _start(command, env, cwd, log)
        stack.callback(_end, child)  # also after Ctrl-C: no compile worker is left running
        timed_out = not _wait(child, started + timeout_s, log, on_line, on_wait)
        if timed_out:
            _end(child)
        return Finished(
            tuple(command), child.wait(), _tail(log), time.monotonic() - started, timed_out
        )


def _start(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as stream:
        try:
            return subprocess.Popen(  # noqa: S603, RUF100  no shell; the caller chose the tool
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            msg = f"cannot run {command[0]!r}: {error.strerror or error}"
            raise MissingToolError(msg) from error


def _wait(
    child: subprocess.Popen[bytes],
    deadline: float,
    log: Path,
    on_line: Callable[[str], None] | None,
    on_wait: Callable[[], None] | None,
) -> bool:
    """Wait for the end and pass lines on; return False if the deadline came first."""
    pause = _FIRST_PAUSE_S
    with log.open(encoding="utf-8", errors="replace") as lines:
        while child.poll() is None:
            if time.monotonic() > deadline:
                return False
            if on_wait is not None:
                on_wait()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            _pass_on(lines, on_line)
        _pass_on(lines, on_line, last=True)
    return True


def _pass_on(
    lines: TextIOWrapper, on_line: Callable[[str], None] | None, *, last: bool = False
) -> None:
    """Pass on the lines that are complete; at the end also one that is not."""
    if on_line is None:
        return
    while True:
        here = lines.tell()
        line = lines.readline()
        if not line or (not line.endswith("\n") and not last):
            lines.seek(here)
            return
        on_line(line.rstrip("\n"))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the process group: first asked, then killed."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _tail(log: Path) -> str:
    with log.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - MAX_OUTPUT))
        return stream.read().decode("utf-8", errors="replace")
