from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnx_passes
from onnx_passes import Pass, PassResult, optimize

if TYPE_CHECKING:
    from pathlib import Path

    from onnx_passes.core.manager import OnFail
    from tests.onnx_passes.conftest import Lab

PUBLIC = {"Pass", "PassResult", "Note", "PassError", "register", "get", "passes", "optimize"}
TEXT = """
g (float[N, 2] x) => (float[N, 2] y) <float[2, 2] w = {1, 2, 3, 4}>
{ i = Identity(x) y = MatMul(i, w) }
"""


def test_these_names_are_public_and_no_others() -> None:
    assert set(onnx_passes.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(onnx_passes, name) is not None
    with pytest.raises(AttributeError, match="module 'onnx_passes' has no attribute 'optimise'"):
        _ = onnx_passes.optimise


def fresh(code: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_imports_nothing_heavy() -> None:
    printed = fresh(
        "import sys, onnx_passes, onnx_passes.core.contract; "
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'onnx_ir', 'paddle', 'cv2', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert printed == "[]"


def test_passes_stays_the_function_whatever_is_imported() -> None:
    printed = fresh(
        "import onnx_passes; names = [cls.name for cls in onnx_passes.passes()]; "
        "from onnx_passes.passes.drop_identity import DropIdentity; "
        "from onnx_passes.passes import drop_unused; "
        "print(onnx_passes.passes.__name__, onnx_passes.get('drop-identity') is DropIdentity, "
        "[cls.name for cls in onnx_passes.passes()] == names)"
    )
    assert printed == "passes True True"


class Spoil(Pass):
    """Change everything a pass can reach, then fail its claim."""

    name = "spoil"
    exactness = "exact"

    def run(self, model: ir.Model) -> PassResult:
        """Double the weight and mark all there is to mark."""
        weight = model.graph.initializers["w"]
        assert weight.const_value is not None
        weight.const_value = ir.Tensor(weight.const_value.numpy() * 2, name="w")
        model.graph.inputs[0].dtype = ir.DataType.FLOAT16
        model.graph.outputs[0].shape = ir.Shape([1, 2])
        model.metadata_props["spoiled"] = "yes"
        model.graph[0].metadata_props["spoiled"] = "yes"
        model.graph[0].op_type = "Neg"
        return PassResult()


@pytest.mark.parametrize("on_fail", ["stop", "undo", "keep"])
def test_optimize_modifies_neither_path_nor_proto_nor_model(
    lab: Lab, tmp_path: Path, on_fail: OnFail
) -> None:
    proto = ir.to_proto(lab.model(TEXT))
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    model = ir.from_proto(proto)
    before = proto.SerializeToString(deterministic=True), path.read_bytes()
    for given in (path, str(path), proto, model):
        outcome = optimize(given, [Spoil(), "drop-identity"], on_fail=on_fail)
        assert outcome.blamed[0].name == "spoil"
        assert outcome.model is not given
    assert (proto.SerializeToString(deterministic=True), path.read_bytes()) == before
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before[0]
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_the_callers_arrays_stay_writable_and_unchanged(lab: Lab) -> None:
    array = np.array([[1, 2], [3, 4]], np.float32)
    model = lab.model(TEXT)
    tensor = ir.Tensor(array, name="w")
    model.graph.initializers["w"].const_value = tensor
    outcome = optimize(model, "drop-identity")
    assert outcome.ok
    assert model.graph.initializers["w"].const_value is tensor
    assert lab.ops(model) == ["Identity", "MatMul"]
    np.testing.assert_array_equal(array, [[1, 2], [3, 4]])
    array[0, 0] = 5


def test_the_example_of_the_package_docstring_works(lab: Lab, tmp_path: Path) -> None:
    onnx.save(ir.to_proto(lab.model(TEXT)), tmp_path / "model.onnx")
    outcome = optimize(tmp_path / "model.onnx", "drop-identity,(drop-unused)*")
    assert outcome.ok, [step.reason for step in outcome.blamed]
    assert outcome.verdict == "passed"
    assert lab.ops(outcome.model) == ["MatMul"]
    assert (outcome.before.nodes, outcome.after.nodes) == (2, 1)
