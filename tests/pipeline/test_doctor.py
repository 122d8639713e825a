"""What the doctor says of packages."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from pipeline import doctor_packages
from pipeline.doctor import COMMANDS, Report
from pipeline.doctor_packages import EVERYTHING, EXTRAS, Check, check_packages


def named(name: str) -> Check:
    return next(check for check in check_packages() if check.name == name)


def requiring(monkeypatch: pytest.MonkeyPatch, *lines: str) -> list[Check]:
    """Return the checks of a distribution that requires ``lines``."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: list(lines))
    return check_packages()[2:]


def test_python_and_this_project_come_first() -> None:
    python, own = check_packages()[:2]
    assert (python.where, own.version) == (sys.executable, importlib.metadata.version(own.name))


def test_every_dependency_is_listed_with_its_version_and_folder() -> None:
    onnx = named("onnx")
    assert (onnx.state, onnx.version) == ("ok", importlib.metadata.version("onnx"))
    assert onnx.where
    assert onnx.needed_for == (EVERYTHING,)
    assert named("lmdb").needed_for == EXTRAS["eval"]
    assert "pytest" not in {check.name for check in check_packages()}


def test_every_need_is_the_need_of_a_command_that_is_shown() -> None:
    needs = {need for check in check_packages() for need in check.needed_for}
    assert needs <= set(COMMANDS)


@pytest.mark.parametrize(
    ("version", "bounds", "state"),
    [
        ("1.18", ">=1.18", "ok"),
        ("1.18.0", ">=1.18", "ok"),
        ("1.18", ">=1.18.0", "ok"),
        ("1.9", ">=1.18", "missing"),
        ("3.4.0", "<3.4,>=3.3", "missing"),
        ("3.3.9+cpu", ">=3.3, <3.4", "ok"),
        ("2", "", "ok"),
        ("unknown", ">=1", "missing"),
        ("1.0", "~=1.0", "ok"),
    ],
)
def test_versions_are_compared_by_their_numbers(
    monkeypatch: pytest.MonkeyPatch, version: str, bounds: str, state: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    (check,) = requiring(monkeypatch, f"onnx{bounds}")
    assert check.state == state
    assert (f"install --upgrade 'onnx{bounds}'" in check.fix) == (state == "missing")


def test_a_package_that_is_not_installed_has_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, extra = requiring(
        monkeypatch, "no-such-package>=2", "no-such-extra[x]>=1; extra == 'eval'"
    )
    assert (first.state, first.needed_for) == ("missing", (EVERYTHING,))
    assert first.fix == f"run: {sys.executable} -m pip install --upgrade 'no-such-package>=2'"
    assert extra.fix.endswith("'ascend-onnx-passes[eval]'")
    report = Report([first])
    assert report.exit_code("compile") == 4
    assert Report([extra]).exit_code("all") == 0
    assert Report([extra]).lacking("eval") == [extra]


def test_what_another_python_needs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("old>=1; python_version < '3.4'", 'new>=1; python_version < "9.0"', ">>> odd")
    assert [check.name for check in requiring(monkeypatch, *lines)] == ["new"]


def test_a_folder_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_packages, "DISTRIBUTION", "no-such-distribution")
    last = check_packages()[-1]
    assert (last.state, last.name) == ("missing", "no-such-distribution")


def test_a_tool_that_failed_comes_before_one_that_is_missing() -> None:
    report = Report(
        [
            Check("a", "missing", needed_for=("compile", "infer")),
            Check("b", "failed", needed_for=("infer",)),
            Check("c", "note", needed_for=("compile",)),
        ]
    )
    codes = {need: report.exit_code(need) for need in ("all", "compile", "infer")}
    assert codes == {"all": 3, "compile": 4, "infer": 3}
