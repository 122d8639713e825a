from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pipeline.cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pipeline.cli.conftest import Answer

# The goal is 0.3 s on an idle core; a busy machine takes longer for both sides of the comparison,
# so the bound is the goal in units of the bare interpreter's own start, with room.
MAX_START_S = 0.3
MAX_START_RATIO = 10


def test_help_lists_every_command_without_importing_it(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"imported {name}"))
    answer = call("--help")
    assert answer.code == 0
    assert answer.err == ""
    for name, (_, _, text) in pipeline.cli.COMMANDS.items():
        assert name in answer.out
        assert text[:40] in answer.out
    assert "Exit codes: 0 done and checked; 1 numbers" in " ".join(answer.out.split())


def test_without_a_command_the_help_is_printed_as_help(call: Callable[..., Answer]) -> None:
    answer = call()
    assert answer.code == 2
    assert answer.err.startswith("Usage: onnx-passes [OPTIONS] COMMAND")
    assert len(answer.err.splitlines()) > 20


def test_version(call: Callable[..., Answer]) -> None:
    answer = call("--version")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("onnx-passes, version ")


@pytest.mark.parametrize("command", ["list", "explain", "run", "diff"])
def test_every_command_has_a_help_with_an_example(
    call: Callable[..., Answer], command: str
) -> None:
    answer = call(command, "--help")
    assert answer.code == 0
    assert f"onnx-passes {command}" in answer.out.split("Example:")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["rnu"], "no command 'rnu'; did you mean 'run'?", id="a typo"),
        pytest.param(["qqqq"], "no command 'qqqq'", id="an unknown command"),
        pytest.param(["--nope"], "No such option", id="an unknown option"),
        pytest.param(["run"], "Missing argument 'MODEL'", id="no model"),
        pytest.param(["run", "m.onnx"], "Missing option '-o'", id="no output"),
        pytest.param(["explain"], "Missing argument 'PASS'", id="no pass"),
        pytest.param(["diff", "a.onnx"], "Missing argument 'B'", id="one model"),
        pytest.param(["run", "m", "-o", "n", "--on-fail", "x"], "'x' is not one of", id="a choice"),
    ],
)
def test_bad_usage_is_one_line_that_points_to_the_help(
    refused: Callable[..., str], arguments: list[str], message: str
) -> None:
    line = refused(*arguments)
    assert message in line
    assert line.endswith("--help'\n")


class WithCode(Exception):  # noqa: N818
    exit_code = 4


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(WithCode("no\n tool"), 4, "onnx-passes: no tool\n", id="an error of ours"),
        pytest.param(KeyboardInterrupt(), 130, "onnx-passes: interrupted\n", id="Ctrl-C"),
    ],
)
def test_errors_end_in_their_exit_code_and_one_line(
    call: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("onnx_passes.core.registry.passes", fail)
    answer = call("list")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.lstrip() == line


@pytest.mark.parametrize(
    ("arguments", "error"), [(["--traceback", "list"], WithCode("x")), (["list"], KeyError("x"))]
)
def test_errors_that_are_asked_for_or_unexpected_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("onnx_passes.core.registry.passes", fail)
    with pytest.raises(type(error)):
        pipeline.cli.main(arguments)


def run_fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )


ENTRY = "from pipeline.cli import main; main(['--help'])"


def test_the_console_script_is_this_main_and_works_in_a_process_of_its_own() -> None:
    """The one test that starts the real thing."""
    import importlib.metadata

    (script,) = importlib.metadata.entry_points(group="console_scripts", name="onnx-passes")
    assert script.load() is pipeline.cli.main
    done = run_fresh("-c", "from pipeline.cli import main; main(['explain', 'drop-identiy'])")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'drop-identity'?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    done = run_fresh("-X", "importtime", "-c", ENTRY)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert "click" in imported
    heavy = {"numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "paddle", "cv2", "onnx_passes"}
    assert not imported & heavy


def test_help_starts_at_once() -> None:
    """Medians of interleaved starts, so that a busy machine slows both sides alike."""

    def seconds(code: str) -> float:
        started = time.perf_counter()
        run_fresh("-c", code)
        return time.perf_counter() - started

    pairs = [(seconds("pass"), seconds(ENTRY)) for _ in range(5)]
    bare = statistics.median(bare for bare, _ in pairs)
    extra = statistics.median(ours - bare for bare, ours in pairs)
    assert extra < max(MAX_START_S, MAX_START_RATIO * bare)
