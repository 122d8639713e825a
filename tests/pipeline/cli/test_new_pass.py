from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer


@pytest.fixture
def written(call: Callable[..., Answer], tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    answer = call("new-pass", "drop-double-neg", "--into", folder)
    assert (answer.code, answer.err) == (0, "")
    return folder


def test_writes_a_pass_a_test_and_a_pyproject(written: Path) -> None:
    found = sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file())
    assert found == ["drop_double_neg.py", "pyproject.toml", "tests/test_drop_double_neg.py"]
    assert not any("{{" in path.read_text() for path in written.rglob("*.*") if path.is_file())


def test_what_is_written_passes_its_own_tests_once_installed(written: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*install, *options, str(written)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(written)]
    done = subprocess.run(
        command, cwd=written, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    code = "from pipeline.cli import main; main(['list', '--json'])"
    listed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert entries["drop-double-neg"]["purpose"] == "own"


def test_what_is_written_is_formatted_and_typed_as_we_ask(written: Path) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--check"], ["check", "--select", "E,F,I,UP,B,SIM,RET"]):
        options = ["--isolated", "--config", "line-length = 100"]
        done = subprocess.run(
            [*ruff, *command, *options, str(written)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("drop-identity", "exists, in onnx_passes.passes.drop_identity", id="a taken"),
        pytest.param("Drop", "expected verb-noun, as in 'drop-double-neg'", id="an unfit"),
        pytest.param("drop", "expected verb-noun", id="a single word as"),
    ],
)
def test_refuses_name(refused: Callable[..., str], tmp_path: Path, name: str, message: str) -> None:
    assert message in refused("new-pass", name, "--into", tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_overwrites_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("mine")
    message = refused("new-pass", "drop-double-neg", "--into", tmp_path)
    assert "pyproject.toml exist in" in message
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]
