from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.proto_script import ProtoScript
from onnx_passes.core.contract import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

EDIT = """
import onnx

def edit(model: onnx.ModelProto) -> {returns}:
    (node,) = [node for node in model.graph.node if node.op_type == "Identity"]
    for reader in model.graph.node:
        reader.input[:] = [node.input[0] if n == node.output[0] else n for n in reader.input]
    model.graph.node.remove(node)
    {last}
"""
WHOLE = """
import onnx
from onnx import numpy_helper

def main():
    model = onnx.load_model("model.onnx")
    for tensor in model.graph.initializer:
        assert numpy_helper.to_array(tensor).max() == 4
    model.graph.node[1].input[0] = "x"
    del model.graph.node[0]
    onnx.checker.check_model(model)
    onnx.save_model(model, "out.onnx", save_as_external_data=True)

if __name__ == "__main__":
    main()
"""
TEXT = "g (float[N, 2] x, float[2, 3] w) => (float[N, 3] y) { i = Identity(x) y = MatMul(i, w) }"


def example(lab: Lab) -> ir.Model:
    return lab.bind(lab.model(TEXT), {"w": np.array([[1, 2, 3], [-1, 0.5, 4]], np.float32)})


def write(folder: Path, text: str) -> str:
    path = folder / "surgery.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(EDIT.format(returns="onnx.ModelProto", last="return model"), id="a new model"),
        pytest.param(WHOLE, id="a whole script"),
    ],
)
def test_runs_unchanged_under_our_checks(lab: Lab, tmp_path: Path, text: str) -> None:
    outcome = optimize(example(lab), ProtoScript(file=write(tmp_path, text)))
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason
    assert lab.ops(outcome.model) == ["MatMul"]
    assert "your own code surgery.py" in step.rewritten[0].text


def test_a_script_that_renames_an_output_fails_the_check(lab: Lab, tmp_path: Path) -> None:
    text = """
def edit(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"
"""
    outcome = optimize(example(lab), ProtoScript(file=write(tmp_path, text)))
    assert outcome.steps[0].verdict == "failed"
    assert "z" in outcome.steps[0].reason


def test_a_broken_script_is_an_error_with_its_last_line(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"surgery\.py failed: KeyError: 'weight'"):
        ProtoScript(file=write(tmp_path, "def edit(m): {}['weight']")).run(example(lab))


def test_reads_large_weights_that_are_references(lab: Lab, tmp_path: Path) -> None:
    array = np.full((2, 65536), 4, np.float32)
    text = TEXT.replace("2, 3", "2, 65536").replace("N, 3", "N, 65536")
    model = lab.bind(lab.model(text), {"w": array})
    weight = model.graph.initializers["w"].const_value
    ProtoScript(file=write(tmp_path, WHOLE)).run(model)
    assert lab.ops(model) == ["MatMul"]
    assert model.graph.initializers["w"].const_value is weight
