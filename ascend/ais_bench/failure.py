"""Why a run of ais_bench failed, and what to do: by the lines it is known to print.

Lines of the facts: ``[ERROR] load model from file failed``, ``[ERROR] acl open device 0 failed``,
``[ERROR] arg0 tensorsize: X filesize: Y not match``, ``[ERROR] ndata size:A not match B``,
``RuntimeError:[1][ACL:...]``. What is printed otherwise is quoted, not interpreted.
"""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from ascend.errors import AscendError, MissingToolError, ToolFailedError

if TYPE_CHECKING:
    from ascend.process import Finished

_LONGEST_QUOTE = 300  # characters
_SHOWN_LINES = 3  # the last ones, if no line is known
_SIZES = r"(\d{1,20})"
_HOW_TO_GET = (
    "install ais_bench and aclruntime there (https://gitee.com/ascend/tools/tree/master/ais-bench_"
    "workload/tool/ais_bench), name another Python with --python, and source set_env.sh or give "
    "--toolkit"
)
_MISSING = re.compile(
    r"No module named '?(?:ais_bench|aclruntime|acl)\b[^\n]*"
    r"|lib\w{1,40}\.so[^\s:]{0,20}: cannot open shared object file"
)
_KNOWN: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"load model from file failed"),
        "the .om cannot be loaded: it was compiled for another chip or a newer CANN, or it is cut "
        "off; compare --soc with 'onnx-passes doctor' and compile it again",
    ),
    (
        re.compile(r"acl open device \d{1,9} failed"),
        "the device cannot be opened: it is not there, or others use it up, or this user may not; "
        "'npu-smi info' lists the devices, --device chooses one",
    ),
    (
        re.compile(rf"arg0 tensorsize: {_SIZES} filesize: {_SIZES} not match"),
        "the files do not divide the model's first input: write them in the shape and type that "
        "the model was compiled for, or compile it for theirs",
    ),
    (
        re.compile(rf"ndata size:{_SIZES} not match {_SIZES}"),
        "the files of a run do not fill the model's input exactly: all must have the same size",
    ),
    (
        re.compile(r"No space left on device"),
        "the disk is full: make room where the results go, or choose another --out",
    ),
    (
        re.compile(r"RuntimeError: ?\[\d{1,9}\]\[ACL:[^\n]*"),
        "the runtime of the device refused; 'onnx-passes doctor' checks the installation",
    ),
)


def known_failure(output: str) -> str | None:
    """Return what a documented line of ``output`` means and what to do, or None."""
    for pattern, advice in _KNOWN:
        if found := pattern.search(output):
            return f"'{_short(found[0])}': {advice}"
    return None


def missing_part(output: str) -> str | None:
    """Return what of ais_bench is not installed and what to do, or None."""
    found = _MISSING.search(output)
    return f"'{_short(found[0])}': {_HOW_TO_GET}" if found else None


def failure(finished: Finished, where: str, missing: str | None = None) -> AscendError:
    """Return the error for a run that did not do its work.

    Args:
        finished: How it ended.
        where: What follows the message: where its output is.
        missing: What is not there although it ended well; None if it did not.
    """
    output = finished.output
    if reason := missing_part(output):
        return MissingToolError(f"ais_bench cannot run: {reason}{where}")
    if reason := known_failure(output):
        return ToolFailedError(f"ais_bench failed with {reason}{where}")
    return ToolFailedError(f"ais_bench {missing or _end(finished)}: {_last(output)}{where}")


def _end(finished: Finished) -> str:
    if finished.timed_out:
        return f"did not end within {finished.seconds:.0f} s and was stopped (see --timeout)"
    if finished.returncode < 0:
        try:
            name = signal.Signals(-finished.returncode).name
        except ValueError:
            name = f"signal {-finished.returncode}"
        return f"was ended by {name}"
    return f"ended with status {finished.returncode}"


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return _short(" | ".join(lines[-_SHOWN_LINES:])) or "it printed nothing"


def _short(text: str) -> str:
    """Return the end of ``text`` on one line, without control characters."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(clean.split())[-_LONGEST_QUOTE:]
