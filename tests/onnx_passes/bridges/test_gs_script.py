from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.gs_script import GsScript
from onnx_passes.bridges.script import receive, send
from onnx_passes.core.contract import ToolError, UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

EDIT = """
import onnx_graphsurgeon as gs

def edit(graph: gs.Graph):
    for node in [node for node in graph.nodes if node.op == "Identity"]:
        for reader in node.outputs[0].outputs:
            reader.inputs = [node.inputs[0] if t is node.outputs[0] else t for t in reader.inputs]
        node.outputs.clear()
    graph.cleanup().toposort()
"""
WHOLE = """
import sys
import onnx
import onnx_graphsurgeon as gs

graph = gs.import_onnx(onnx.load(sys.argv[1] if len(sys.argv) > 1 else "some/model.onnx"))
for node in graph.nodes:
    if node.op == "Identity":
        node.o().inputs[0] = node.inputs[0]
        node.outputs.clear()
graph.cleanup().toposort()
model = gs.export_onnx(graph)
onnx.checker.check_model(model)
onnx.save(model, "some/other.onnx")
"""
TEXT = "g (float[N, 2] x, float[2, 3] w) => (float[N, 3] y) { i = Identity(x) y = MatMul(i, w) }"


def example(lab: Lab) -> ir.Model:
    model = lab.bind(lab.model(TEXT), {"w": np.array([[1, 2, 3], [-1, 0.5, 4]], np.float32)})
    model.graph[1].metadata_props["keep"] = "this"
    return model


def script(folder: Path, text: str) -> str:
    path = folder / "surgery.py"
    path.write_text(text)
    return str(path)


def on_disk(folder: Path) -> ir.Model:
    """Return a model with a weight of 256 KiB in a file, and a small one."""
    text = "g (float[N, 256] x, float[256] b, float[256, 256] w) => (float[N, 256] y)"
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": 16]> {text}'
        "{ i = Identity(x) s = Add(i, b) y = MatMul(s, w) }"
    )
    for value in model.graph.inputs[1:]:
        array = np.ones(value.shape.numpy() if value.shape else (), np.float32)
        value.const_value = ir.Tensor(array, name=value.name)
        model.graph.register_initializer(value)
    del model.graph.inputs[1:]
    ir.save(model, folder / "m.onnx", external_data="m.data")
    return ir.load(folder / "m.onnx")


@pytest.mark.parametrize(
    "text", [pytest.param(EDIT, id="edit(graph)"), pytest.param(WHOLE, id="a whole script")]
)
def test_runs_unchanged_under_our_checks(lab: Lab, tmp_path: Path, text: str) -> None:
    outcome = optimize(example(lab), GsScript(file=script(tmp_path, text)))
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason
    assert lab.ops(outcome.model) == ["MatMul"]
    assert outcome.model.graph[0].metadata_props["keep"] == "this"
    assert "your own code surgery.py" in step.rewritten[0].text
    assert "2 nodes before, 1 after" in step.rewritten[0].text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["surgery.py"]


def test_a_script_that_breaks_the_numbers_is_caught(lab: Lab, tmp_path: Path) -> None:
    text = (
        "def edit(graph):\n    graph.tensors()['w'].values = graph.tensors()['w'].values * 1.01\n"
    )
    outcome = optimize(example(lab), GsScript(file=script(tmp_path, text)))
    assert outcome.steps[0].verdict == "failed"


def test_a_script_that_changes_nothing_is_unchanged(lab: Lab, tmp_path: Path) -> None:
    outcome = optimize(example(lab), GsScript(file=script(tmp_path, "def edit(graph): pass\n")))
    assert outcome.steps[0].verdict == "unchanged"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "def edit(graph): raise ValueError('not so')", "ValueError: not so", id="raises"
        ),
        pytest.param("x = 1", "calls no onnx.save", id="saves nothing"),
    ],
)
def test_says_why_a_script_failed(lab: Lab, tmp_path: Path, text: str, message: str) -> None:
    model = example(lab)
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(ToolError, match=message):
        GsScript(file=script(tmp_path, text)).run(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_stops_a_script_that_does_not_end(lab: Lab, tmp_path: Path) -> None:
    item = GsScript(file=script(tmp_path, "while True: pass"), timeout_s=0.3)
    with pytest.raises(ToolError, match=r"did not end within 0\.3 s"):
        item.run(example(lab))


def test_refuses_to_exist_without_a_script(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no script is named; expected gs-script"):
        make("gs-script", {}, GsScript)
    with pytest.raises(UsageError, match=r"gone\.py' is no Python file"):
        make("gs-script", {"file": str(tmp_path / "gone.py")}, GsScript)


def test_untouched_weights_stay_the_tensors_they_were(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    weight = model.graph.initializers["w"].const_value
    GsScript(file=script(tmp_path, EDIT)).run(model)
    assert [node.op_type for node in model.graph] == ["Add", "MatMul"]
    assert model.graph.initializers["w"].const_value is weight
    assert isinstance(weight, ir.ExternalTensor)
    assert weight._array is None, "it was read"  # onnx-ir has no public question


def test_weights_that_are_only_read_stay_too(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    weight = model.graph.initializers["w"].const_value
    text = EDIT + "    assert graph.tensors()['w'].values.sum() == 65536\n"
    GsScript(file=script(tmp_path, text)).run(model)
    assert model.graph.initializers["w"].const_value is weight


def test_changed_weights_come_back_in_memory(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    text = "def edit(graph):\n    w = graph.tensors()['w']\n    w.values = w.values * 2\n"
    GsScript(file=script(tmp_path, text)).run(model)
    weight = model.graph.initializers["w"].const_value
    assert isinstance(weight, ir.Tensor)
    assert np.unique(weight.numpy()).tolist() == [2]


def test_constants_that_lie_in_a_file_can_be_folded(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    weight = model.graph.initializers["w"]
    node = ir.node("Neg", [weight], name="n")
    model.graph[2].prepend(node)
    model.graph[3].replace_input_with(1, node.outputs[0])
    GsScript(file=script(tmp_path, "def edit(graph): graph.fold_constants().cleanup()")).run(model)
    assert [node.op_type for node in model.graph] == ["Identity", "Add", "MatMul"]


def test_what_is_sent_holds_no_large_weight_in_files_or_memory(tmp_path: Path) -> None:
    model = on_disk(tmp_path)
    extra = ir.Tensor(np.zeros((64, 1024), np.float32), name="extra")
    value = ir.Value(name="extra", const_value=extra)
    model.graph.register_initializer(value)
    sent = send(model.clone(), tmp_path / "in.onnx")
    assert (tmp_path / "in.onnx").stat().st_size < 4096
    assert (tmp_path / "in.onnx.data").stat().st_size == extra.nbytes
    again = receive(tmp_path / "in.onnx", sent)
    assert again.graph.initializers["extra"].const_value is extra


def test_a_model_of_2_gb_takes_a_small_part_of_that(tmp_path: Path) -> None:
    rows = 2 * 1024 * 1024
    model = on_disk(tmp_path)
    weight = model.graph.initializers["w"]
    with (tmp_path / "m.data").open("r+b") as file:
        file.truncate(rows * 1024)  # zeros that take no place on the disk
    shape = ir.Shape([256, rows])
    weight.const_value = ir.ExternalTensor(
        "m.data", 0, rows * 1024, ir.DataType.FLOAT, shape=shape, name="w", base_dir=str(tmp_path)
    )
    weight.shape, model.graph.outputs[0].shape = shape, ir.Shape(["N", rows])
    ir.save(model, tmp_path / "m.onnx")
    code = """
import resource, sys
from pathlib import Path
from onnx_passes import optimize
from onnx_passes.bridges.gs_script import GsScript
outcome = optimize(sys.argv[1], GsScript(file=sys.argv[2]), check=False)
assert outcome.steps[0].kept, outcome.steps
assert outcome.after.bytes > 2**31
# The figure of getrusage for this process includes what started it.
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "m.onnx"), script(tmp_path, EDIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parent, child = (int(word) / 1024 for word in done.stdout.split())  # MiB
    assert parent + child < 400, (parent, child)  # two Pythons with their libraries
