from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx.parser
import pytest

from pipeline.cli import main

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
pictures (float[N,3,16,20] x) => (float[N,3,16,20] y) { i = Identity(x)  y = Sigmoid(i) }"""
PLUGIN = '''
from dataclasses import dataclass
import onnx_ir as ir
from onnx_passes import Pass, PassResult, register

@register
@dataclass(frozen=True)
class SwapSigmoid(Pass):
    """Put another function in the place of Sigmoid."""
    name = "swap-sigmoid"
    exactness = "exact"

    def run(self, model):
        for node in model.graph:
            if node.op_type == "Sigmoid":
                node.op_type = "Tanh"
        return PassResult()
'''


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["run", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def report(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return loaded


def test_a_run_leaves_a_report(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["model.onnx", "-o", "out.onnx", "--passes", "drop-identity", "--report", "a b"]
    assert run(*arguments, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"]
    assert said.err.endswith("report.html\n")
    found = report(model.parent / "a b")
    assert found["model"] == "model.onnx"
    assert found["command"] == (
        "onnx-passes run model.onnx -o out.onnx --passes drop-identity --report 'a b' --json"
    )
    assert [tensor["name"] for tensor in found["comparison"]["tensors"]] == ["y"]
    assert "<h2>Error along the graph</h2>" in (model.parent / "a b/report.html").read_text("utf-8")


def test_a_run_onto_its_own_input_is_compared_with_the_old_model(model: Path, plugin: str) -> None:
    arguments = ["model.onnx", "-o", "model.onnx", "--plugin", plugin, "--on-fail", "keep"]
    assert run(*arguments, "--passes", "swap-sigmoid", "--report", "report") == 1
    tensors = report(model.parent / "report")["comparison"]["tensors"]
    assert [(t["name"], t["diverges"]) for t in tensors] == [("i", False), ("y", True)]


def test_a_run_that_fails_leaves_a_report_and_no_model(model: Path, plugin: str) -> None:
    arguments = ["model.onnx", "-o", "out.onnx", "--plugin", plugin, "--report", "report"]
    assert run(*arguments, "--passes", "drop-identity,swap-sigmoid") == 1
    assert not (model.parent / "out.onnx").exists()
    found = report(model.parent / "report")
    assert (found["verdict"], found["stopped_by"]) == ("failed", 2)
    assert "Pass 2 failed" in (model.parent / "report/report.html").read_text("utf-8")


def test_a_run_without_checks_compares_nothing_in_the_report_either(model: Path) -> None:
    arguments = ["model.onnx", "-o", "out.onnx", "--passes", "drop-identity", "--no-check"]
    assert run(*arguments, "--report", "report") == 0
    assert "not compared" in report(model.parent / "report")["comparison"]["problem"]


def test_the_report_uses_the_shapes_of_the_run(model: Path) -> None:
    arguments = ["model.onnx", "-o", "out.onnx", "--passes", "drop-identity"]
    assert run(*arguments, "--shape", "x=5,3,16,20", "--report", "report") == 0
    feeds = report(model.parent / "report")["comparison"]["feeds"]
    assert feeds == "generated, seed 0: x float32 [5, 3, 16, 20]"


def test_a_report_that_cannot_be_written_is_refused_first(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["model.onnx", "-o", "out.onnx", "--passes", "drop-identity"]
    assert run(*arguments, "--report", "model.onnx") == 2
    assert "model.onnx is a file; give a folder" in capsys.readouterr().err
    assert not (model.parent / "out.onnx").exists()
