"""The checklist for a device is a test: its commands parse, and run in order on the stand-ins."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import click
import numpy as np
import onnx
import pytest

from eval.preprocess import preprocess
from pipeline.cli import cli, main
from tests.ascend.standins.toolkit import make_toolkit

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "on-device.md").read_text()
WORDS = ROOT / "tests" / "data" / "words"
STEPS = ("doctor", "lint", "run", "compile", "infer", "eval score", "bench", "cost")
NOT_OURS = ("mkdir ", "cd ", "python3.10 ", ".venv/bin/pip ", "alias ", "npu-smi ", "tar ")
# What 'flow run' leaves behind, in a moment: a model with the inputs and outputs of StarNet.
MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3, 32, 100] x) => (float[N, 25, 37] y)
<int64[2] parts = {2, 1}, int64[1] axis = {2}>
{
  two, one = Split<axis = 1>(x, parts)
  grid = Transpose<perm = [0, 2, 3, 1]>(two)
  seen = GridSample<mode = "bilinear", padding_mode = "zeros", align_corners = 1>(x, grid)
  row = AveragePool<kernel_shape = [32, 4], strides = [32, 4]>(seen)
  flat = Squeeze(row, axis)
  columns = Transpose<perm = [0, 2, 1]>(flat)
  scores = MatMul(columns, weights)
  y = Softmax<axis = 2>(scores)
}
"""


def commands() -> list[str]:
    """Return the onnx-passes lines of the page, without what takes their output."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [re.split(r"\s\| tee | > ", line)[0] for line in lines if not line.startswith(NOT_OURS)]


@pytest.fixture
def first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the page can be followed, on a machine with stand-ins only."""
    toolkit = make_toolkit(tmp_path / "Ascend")
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(toolkit / "latest"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    work = tmp_path / "first-run" / "work" / "starnet"
    work.mkdir(parents=True)
    model = onnx.parser.parse_model(MODEL)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}.{number}"  # ATC's --keep_dtype goes by the names
    weights = np.random.default_rng(3).standard_normal((3, 37)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    onnx.save(model, work / "starnet.onnx")
    shutil.copytree(WORDS, work / "data")
    preprocess(work / "data", work / "bin")
    monkeypatch.chdir(work.parents[1])
    return work.parents[1]


def answer(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line, which must end with 0; return what it prints."""
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line)[1:])
    printed = capsys.readouterr()
    assert left.value.code == 0, f"{line}\n{printed.out}\n{printed.err}"
    return printed.out


def test_the_page_has_every_step() -> None:
    assert all(line.startswith("onnx-passes ") for line in commands())
    for step in STEPS:
        assert any(f"{line} ".startswith(f"onnx-passes {step} ") for line in commands()), step


@pytest.mark.parametrize("line", commands())
def test_a_command_parses(line: str) -> None:
    command: click.Command | None = cli
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        name = arguments.pop(0)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    command.make_context("onnx-passes", arguments)


def test_the_commands_run_in_order(first_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for line in commands():
        if not line.startswith("onnx-passes flow run"):
            said[line] = answer(line, capsys)
    (end,) = re.findall(r"```text\n(.*)\n```", PAGE)
    assert end in said["onnx-passes doctor"]
    assert {path.name for path in first_run.glob("*.om")} == set(re.findall(r"\w+_bs\d+\.om", PAGE))
    assert {path.name for path in first_run.glob("results/*")} == {
        "cann5_bs8",
        "cann8_bs8",
        "float32",
    }


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE):
        assert target.startswith("http") or (ROOT / "docs" / target).exists()
