"""A tool runs, fails, hangs, forks and cannot be found."""

from __future__ import annotations

import fcntl
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ascend.errors import MissingToolError
from ascend.process import run_tool

if TYPE_CHECKING:
    from pathlib import Path


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_output_of_both_streams_and_the_exit_status_come_back(tmp_path: Path) -> None:
    code = "import sys; print('out'); sys.stderr.write('err\\n'); sys.exit(7)"
    done = run_tool(python(code), timeout_s=60, cwd=tmp_path)
    assert (done.returncode, done.output, done.timed_out) == (7, "out\nerr\n", False)


def test_lines_are_passed_on_and_the_last_one_needs_no_line_end() -> None:
    lines: list[str] = []
    run_tool(python("print('a'); print('b', end='')"), timeout_s=60, on_line=lines.append)
    assert lines == ["a", "b"]


def test_a_tool_that_hangs_is_ended_and_what_it_said_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "tool.log"
    done = run_tool(python("import time; print('began'); time.sleep(99)"), timeout_s=2, log=log)
    assert done.timed_out
    assert done.returncode < 0
    assert log.read_text() == "began\n"


def test_what_the_caller_raises_while_it_waits_ends_the_tool(tmp_path: Path) -> None:
    held = tmp_path / "held"
    code = (
        "import fcntl, time\n"
        f"held = open({str(held)!r}, 'w'); fcntl.flock(held, fcntl.LOCK_EX); time.sleep(90)\n"
    )

    def refuse() -> None:
        if held.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tool(python(code), timeout_s=60, on_wait=refuse)
    with held.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_worker_that_outlives_the_tool_is_ended_and_blocks_nobody(tmp_path: Path) -> None:
    held = tmp_path / "held"  # the worker inherits the lock and gives it back when it is gone
    code = (
        "import fcntl, subprocess, sys\n"
        f"held = open({str(held)!r}, 'w'); fcntl.flock(held, fcntl.LOCK_EX)\n"
        "subprocess.Popen(['sleep', '90'], pass_fds=[held.fileno()])\n"
    )
    started = time.monotonic()
    assert run_tool(python(code), timeout_s=60).returncode == 0
    with held.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
    assert time.monotonic() - started < 60


def test_a_tool_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingToolError, match="cannot run '/no/such/atc'"):
        run_tool(["/no/such/atc"], timeout_s=1)


def test_the_environment_is_the_given_one_only() -> None:
    code = "import os; print(sorted(k for k in os.environ if k.startswith('ASCEND')))"
    done = run_tool(python(code), timeout_s=60, env={"ASCEND_OPP_PATH": "x"})
    assert done.output == "['ASCEND_OPP_PATH']\n"
