"""The guides are tests: their blocks run in order, their tables name real passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_passes.core.registry import passes

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("writing-a-pass", "from-graphsurgeon", "from-auto-optimizer")
EXAMPLES = {
    "check_a_script.py": "right: passed\nwrong: failed",
    "count_operators.py": "verdict: passed",
    "own_pass.py": "passed ['Log(Exp(x)) is x'] 1 node",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of the fenced blocks of a guide that are to be run, in order."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return re.findall(r"^```(sh|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run(command: list[str], folder: Path) -> str:
    folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(folders)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", GUIDES)
def test_the_blocks_of_a_guide_run_in_order(page: str, tmp_path: Path) -> None:
    assert len(blocks(page)) >= 2
    for language, text in blocks(page):
        named = re.match(r"# file: (\S+)\n", text)
        if named:
            (tmp_path / named[1]).write_text(text)
        elif language == "python":
            run([sys.executable, "-c", text], tmp_path)
        else:
            run(["sh", "-e", "-c", text], tmp_path)


def test_the_passes_named_for_each_rule_exist() -> None:
    text = (ROOT / "docs/from-auto-optimizer.md").read_text()
    rows = re.findall(r"^\| Knowledge(\w+) \| ([^|]*) \|", text, flags=re.MULTILINE)
    assert len(rows) == 17
    named = {name for _, cell in rows for name in re.findall(r"`([\w-]+)`", cell)}
    assert len(named) > 10
    assert named <= {cls.name for cls in passes()}
    assert all(re.findall(r"`[\w-]+`", cell) or cell == "none" for _, cell in rows)


def test_there_are_no_other_examples() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_prints_what_it_promises(name: str, tmp_path: Path) -> None:
    printed = run([sys.executable, str(ROOT / "examples" / name)], tmp_path)
    for line in EXAMPLES[name].splitlines():
        assert line in printed


@pytest.mark.parametrize("page", GUIDES)
def test_links_of_a_guide_lead_somewhere(page: str) -> None:
    path = ROOT / "docs" / f"{page}.md"
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{page} links to {target}"
