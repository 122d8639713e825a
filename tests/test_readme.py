"""The README is a test: its commands run, its links lead somewhere, its claims hold."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
# Commands that install this project or run everything are tested by being the way tests run.
NOT_RUN = ("make", "python3 -m venv", "pip", ". ", "git")


def commands() -> list[str]:
    """Return the onnx-passes command lines of all fenced shell blocks, in order."""
    blocks = re.findall(r"```(?:sh|shell|bash)\n(.*?)```", README.read_text(), flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", *NOT_RUN))]


def test_the_readme_has_commands_and_all_are_ours() -> None:
    assert commands()
    assert all(line.startswith("onnx-passes ") for line in commands())


def test_the_commands_run_in_order(starnet_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(starnet_onnx.read_bytes())
    script = Path(sys.executable).with_name("onnx-passes")
    for line in commands():
        arguments = shlex.split(line, comments=True)[1:]
        done = subprocess.run(
            [str(script), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_python_block_runs(starnet_onnx: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    (tmp_path / "model.onnx").write_bytes(starnet_onnx.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{page} links to {target}"
