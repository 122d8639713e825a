from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnx_passes.core import model_io
from onnx_passes.core.contract import ModelError
from onnx_passes.numerics.runner import (
    ReferenceRunner,
    Runner,
    first_line,
    open_runner,
    run_model,
)

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[N] x, float[N] z) => (float[N] y, float[N] d)
<float[1] w = {2}> { y = Mul(x, w) d = Sub(x, z) }
"""
X, Z = np.array([1, 2, 3], np.float32), np.array([1, 0, 1], np.float32)


@pytest.mark.parametrize("kind", [Runner, ReferenceRunner])
def test_runs_all_outputs_or_those_asked_for(
    lab: Lab, kind: type[Runner] | type[ReferenceRunner]
) -> None:
    runner = kind(lab.model(TEXT))
    assert (runner.input_names, runner.output_names) == (["x", "z"], ["y", "d"])
    outputs = runner.run({"x": X, "z": Z, "unknown": X})
    np.testing.assert_array_equal(outputs["y"], [2, 4, 6])
    np.testing.assert_array_equal(outputs["d"], [0, 2, 2])
    assert list(runner.run({"x": X, "z": Z}, ["d"])) == ["d"]
    other = runner.again(lab.model(TEXT.replace("{2}", "{3}")))
    assert type(other) is kind
    np.testing.assert_array_equal(other.run({"x": X, "z": Z})["y"], [3, 6, 9])


@pytest.mark.parametrize("kind", [Runner, ReferenceRunner])
def test_takes_paths_protos_and_models_with_external_data(
    lab: Lab, tmp_path: Path, kind: type[Runner] | type[ReferenceRunner]
) -> None:
    model = lab.model("g (float[1] x) => (float[600] y) <float[1] w = {2}> { y = Mul(x, w) }")
    weight = np.arange(600, dtype=np.float32)
    model.graph.initializers["w"].const_value = ir.Tensor(weight, name="w")
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")
    onnx.save(ir.to_proto(model), tmp_path / "n.onnx")
    given = (
        tmp_path / "m.onnx",
        tmp_path / "n.onnx",
        onnx.load(tmp_path / "n.onnx"),
        model,
        model_io.load(tmp_path / "m.onnx"),
    )
    for one in given:
        outputs = kind(one).run({"x": np.array([2], np.float32)})
        np.testing.assert_array_equal(outputs["y"], weight * 2)
    assert isinstance(given[-1], ir.Model)
    assert isinstance(given[-1].graph.initializers["w"].const_value, ir.ExternalTensor)


def test_sessions_have_one_thread_and_no_graph_optimisation(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, object, object]] = []
    session = ort.InferenceSession

    def create(source: object, options: Any, providers: object) -> object:  # noqa: ANN401
        threads = (options.intra_op_num_threads, options.inter_op_num_threads)
        seen.append((*threads, options.graph_optimization_level, providers))
        return session(source, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", create)
    Runner(lab.model(TEXT)).again(lab.model(TEXT))
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert seen == [(1, 1, level, ["CPUExecutionProvider"])] * 2


def test_two_runs_are_bit_equal(lab: Lab) -> None:
    text = "g (float[64, 512] a, float[512, 64] b) => (float[64, 64] y) { y = MatMul(a, b) }"
    rng = np.random.default_rng(0)
    feeds = {
        "a": rng.standard_normal((64, 512)).astype(np.float32),
        "b": rng.standard_normal((512, 64)).astype(np.float32),
    }
    one, two = (run_model(lab.model(text), feeds)["y"] for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", [Runner, ReferenceRunner])
def test_failures_are_one_line(lab: Lab, kind: type[Runner] | type[ReferenceRunner]) -> None:
    with pytest.raises(ModelError, match="cannot run the model: ") as caught:
        kind(lab.model(TEXT)).run({"x": X, "z": np.ones(2, np.float32)})
    assert "\n" not in str(caught.value)
    custom = lab.model("g (float[2] x) => (float[2] y) { y = own.Op(x) }", domains=', "own": 1')
    with pytest.raises(ModelError, match="cannot load the model: "):
        kind(custom)
    with pytest.raises(ModelError, match="cannot load the model: "):
        kind(Path("missing.onnx"))


def test_the_reference_evaluator_opens_what_onnxruntime_does_not(lab: Lab) -> None:
    assert isinstance(open_runner(lab.model(TEXT)), Runner)
    half = lab.model("g (bfloat16[2] x) => (bfloat16[2] y) { y = Sin(x) }", ir_version=10, opset=22)
    assert isinstance(open_runner(half), ReferenceRunner)
    custom = lab.model("g (float[2] x) => (float[2] y) { y = own.Op(x) }", domains=', "own": 1')
    with pytest.raises(ModelError, match=r"^onnxruntime cannot load the model: .*own:Op"):
        open_runner(custom)


def test_first_line_drops_onnxruntimes_prefix() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : Node (n) : is bad\nmore"
    assert first_line(RuntimeError(text)) == "Node (n) : is bad"
    assert first_line(RuntimeError("a : b : c : d")) == "a : b : c : d"
    assert first_line(KeyError()) == "KeyError"
