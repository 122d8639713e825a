"""Every documented line has its advice, what is unknown is quoted, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.ais_bench.failure import failure, known_failure, missing_part
from ascend.errors import MissingToolError, ToolFailedError
from ascend.process import Finished


def ended(output: str, code: int = 1, *, timed_out: bool = False) -> Finished:
    return Finished(("ais_bench",), code, output, 5.0, timed_out)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        pytest.param("[ERROR] load model from file failed", "compile it again", id="model"),
        pytest.param("[ERROR] acl open device 3 failed", "--device chooses one", id="device"),
        pytest.param(
            "[ERROR] arg0 tensorsize: 307200 filesize: 7 not match", "do not divide", id="file size"
        ),
        pytest.param("[ERROR] ndata size:12 not match 16", "the same size", id="data size"),
        pytest.param("OSError: [Errno 28] No space left on device", "make room", id="disk"),
        pytest.param("RuntimeError:[1][ACL: invalid parameter]", "doctor", id="exception"),
    ],
)
def test_a_documented_line_says_what_to_do(line: str, advice: str) -> None:
    error = failure(ended(f"[INFO] begin\n{line}\nTraceback ..."), "")
    assert type(error) is ToolFailedError
    assert advice in str(error)
    assert line.removeprefix("[ERROR] ").removeprefix("OSError: [Errno 28] ") in str(error)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("/usr/bin/python3: No module named ais_bench", id="the module"),
        pytest.param("ModuleNotFoundError: No module named 'aclruntime'", id="the runtime"),
        pytest.param("ImportError: libascendcl.so: cannot open shared object file", id="a library"),
    ],
)
def test_a_missing_part_is_a_missing_tool(line: str) -> None:
    error = failure(ended(line), " (asked)")
    assert type(error) is MissingToolError
    assert "--python" in str(error)
    assert str(error).endswith(" (asked)")


@pytest.mark.parametrize(
    ("finished", "text"),
    [
        pytest.param(ended("a\nb\nc\nd\n", 9), "status 9: b | c | d", id="status and last lines"),
        pytest.param(ended("", -11), "SIGSEGV: it printed nothing", id="a signal"),
        pytest.param(ended("x", -99), "signal 99: x", id="a signal without a name"),
        pytest.param(ended("x", timed_out=True), "within 5 s and was stopped", id="no end"),
        pytest.param(ended("\x1b[31mred\x07", 2), "status 2: [31mred", id="control characters"),
    ],
)
def test_what_is_unknown_is_quoted(finished: Finished, text: str) -> None:
    assert text in str(failure(finished, ""))


@given(st.text(), st.integers(-70, 255))
def test_any_output_makes_a_message(text: str, code: int) -> None:
    known_failure(text)
    missing_part(text)
    message = str(failure(ended(text, code), ""))
    assert message.startswith("ais_bench ")
    assert message.isprintable()
