from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core import model_io
from onnx_passes.core.integrity import Baseline, BrokenModelError
from onnx_passes.core.skeleton import skeleton

if TYPE_CHECKING:
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[N, 2] x, float[K] z) => (float[N, 3] y, float[K] u)
<float[2, 3] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) u = Relu(z) }
"""


def weigh(model: ir.Model, columns: int) -> None:
    tensor = ir.Tensor(np.ones((2, columns), np.float32), name="w")
    model.graph.initializers["w"].const_value = tensor
    model.graph.initializers["w"].shape = ir.Shape([2, columns])


def test_an_untouched_model_has_no_violation(lab: Lab) -> None:
    model = lab.model(TEXT)
    baseline = Baseline(model)
    assert baseline.problem == ""
    assert baseline.violation(model) == ""


def test_large_weights_are_inputs_of_the_skeleton_and_their_shapes_are_checked(lab: Lab) -> None:
    model = lab.model(TEXT.replace("float[N, 3] y", "float[N, 300] y"))
    weigh(model, 300)
    proto = skeleton(model)
    assert [value.name for value in proto.graph.input] == ["x", "z", "w"]
    assert not proto.graph.initializer
    assert proto.ByteSize() < 1000
    assert "w" in model.graph.initializers
    baseline = Baseline(model)
    weigh(model, 299)
    assert "onnx.checker: " in baseline.violation(model)


@pytest.mark.parametrize("columns", [100, 300], ids=["small", "large"])
def test_models_with_external_data_are_checked_too(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    model = lab.model(TEXT.replace("float[N, 3] y", f"float[N, {columns}] y"))
    weigh(model, columns)
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")
    monkeypatch.chdir(tmp_path.parent)
    loaded = model_io.load(tmp_path / "m.onnx")
    baseline = Baseline(loaded)
    assert baseline.problem == ""
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    loaded.graph[1].attributes["colour"] = ir.AttrString("colour", "red")
    assert "Unrecognized attribute: colour" in baseline.violation(loaded)


def test_nothing_is_demanded_that_the_original_does_not_fulfil(lab: Lab) -> None:
    model = lab.model(TEXT)
    model.graph[1].attributes["colour"] = ir.AttrString("colour", "red")
    baseline = Baseline(model)
    assert "colour" in baseline.problem
    assert baseline.violation(model) == ""
    model.graph.outputs[1].name = "renamed"
    assert "now ['y', 'renamed']" in baseline.violation(model)


def test_a_model_whose_shapes_do_not_infer_is_checked_without_shapes(lab: Lab) -> None:
    text = "g (float[2] x, float[3] z) => (float[2] y) { a = Add(x, z) y = Relu(a) }"
    baseline = Baseline(lab.model(text))
    assert baseline.problem == ""
    assert baseline.violation(lab.model(text)) == ""


def test_a_broken_rewrite_is_an_error_of_its_own(lab: Lab) -> None:
    model = lab.model(TEXT)
    baseline = Baseline(model)
    model.graph[1].outputs[0].name = None
    model.graph.outputs.pop()
    model.graph.outputs.append(ir.Value(name="u", type=ir.TensorType(ir.DataType.FLOAT)))
    model.graph.outputs[1].shape = ir.Shape(["K"])
    with pytest.raises(BrokenModelError, match="an output of Relu -> '' has no name"):
        baseline.violation(model)


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        pytest.param("x", ["M", 2], "", id="an input's symbol may be renamed"),
        pytest.param("x", [4, 2], "now float [4, 2]", id="an input must not become static"),
        pytest.param("x", None, "now float of unknown rank", id="an input must not lose its rank"),
        pytest.param("y", [4, 3], "", id="an output may become static"),
        pytest.param("y", ["N", 4], "was float [N, 3], now float [N, 4]", id="nor change size"),
        pytest.param("y", ["N", 3, 1], "now float [N, 3, 1]", id="nor rank"),
        pytest.param("y", ["N", None], "now float [N, ?]", id="an output must not become dynamic"),
    ],
)
def test_interface(lab: Lab, name: str, shape: list[int | str | None], reason: str) -> None:
    model = lab.model(TEXT)
    baseline = Baseline(model)
    value = {v.name: v for v in (*model.graph.inputs, *model.graph.outputs)}[name]
    value.shape = None if shape is None else ir.Shape(shape)
    violation = baseline.violation(model)
    assert reason in violation
    assert bool(violation) == bool(reason)


def test_an_output_without_rank_may_gain_one_and_a_new_input_is_seen(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float y) { y = Relu(x) }")
    model.graph.outputs[0].shape = None
    baseline = Baseline(model)
    model.graph.outputs[0].shape = ir.Shape([2])
    assert baseline.violation(model) == ""
    model.graph.inputs.append(ir.Value(name="new", type=ir.TensorType(ir.DataType.FLOAT)))
    assert baseline.violation(model) == "graph inputs were ['x'], now ['x', 'new']"


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        pytest.param([[4, 2], [5]], "", id="fixed sizes"),
        pytest.param([[4, 2], ["K"]], "", id="a fixed size beside a dynamic one"),
        pytest.param(
            [[4, 3], [5]], "'x' was float [N, 2], now float [4, 3]", id="not another size"
        ),
        pytest.param([[4, 2, 1], [5]], "now float [4, 2, 1]", id="not another rank"),
        pytest.param(
            [["N", None], [5]], "now float [N, ?]", id="not a dynamic one for a fixed one"
        ),
    ],
)
def test_inputs_may_be_narrowed_on_purpose_to(
    lab: Lab, shapes: list[list[int | str | None]], reason: str
) -> None:
    model = lab.model(TEXT)
    baseline = Baseline(model)
    for value, shape in zip(model.graph.inputs, shapes, strict=True):
        value.shape = ir.Shape(shape)
    violation = baseline.violation(model, narrows_inputs=True)
    assert reason in violation
    assert bool(violation) == bool(reason)
    assert baseline.violation(model) != ""


def test_narrowed_inputs_keep_their_names_their_types_and_one_size_for_a_symbol(lab: Lab) -> None:
    model = lab.model("g (float[N] x, float[N] z) => (float[M] y) { y = Add(x, z) }")
    baseline = Baseline(model)
    model.graph.inputs[0].shape, model.graph.inputs[1].shape = ir.Shape([1]), ir.Shape([4])
    violation = baseline.violation(model, narrows_inputs=True)
    assert violation == "dimension 'N' of the graph inputs is now 1 and 4"
    model.graph.inputs[1].shape = ir.Shape([1])
    assert baseline.violation(model, narrows_inputs=True) == ""
    model.graph.inputs[1].name = "w"
    assert "now ['x', 'w']" in baseline.violation(model, narrows_inputs=True)
    model.graph.inputs[1].name, model.graph.inputs[1].dtype = "z", ir.DataType.INT64
    assert "now int64 [1]" in baseline.violation(model, narrows_inputs=True)


def test_a_defect_is_found_whatever_the_interface(lab: Lab) -> None:
    model = lab.model(TEXT)
    baseline = Baseline(model)
    model.graph.outputs[0].name = "renamed"
    assert baseline.defect(model) == ""
    model.graph[1].attributes["colour"] = ir.AttrString("colour", "red")
    assert "Unrecognized attribute: colour" in baseline.defect(model)


def test_the_skeleton_is_a_valid_model(lab: Lab) -> None:
    onnx.checker.check_model(skeleton(lab.model(TEXT)), full_check=True)
