"""What native code would die of is refused when a model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx.parser
import pytest

from onnx_passes.core.contract import ModelError
from onnx_passes.core.model_io import load, to_model

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """<ir_version: 8, opset_import: ["": 16]>
g (float[4] x, bool c) => (float[n] name_of_y) {
    name_of_y = If (c) <
        then_branch = t () => (float[n] a) { a = Slice(x, v, v) },
        else_branch = e () => (float[4] b) { b = Relu(x) }
    >
}"""


def short(dtype: int = onnx.TensorProto.INT64) -> onnx.TensorProto:
    return onnx.TensorProto(name="v", data_type=dtype, dims=[2], raw_data=b"abc")


@pytest.mark.parametrize("place", ["main graph", "sub-graph", "attribute"])
@pytest.mark.parametrize("dtype", [onnx.TensorProto.INT64, onnx.TensorProto.BFLOAT16])
def test_a_tensor_without_its_data_is_refused(tmp_path: Path, place: str, dtype: int) -> None:
    model = onnx.parser.parse_model(TEXT)
    branch = model.graph.node[0].attribute[0].g
    if place == "attribute":
        made = onnx.helper.make_node("Constant", [], ["v"], value=short(dtype))
        branch.node.insert(0, made)
    else:
        graph = model.graph if place == "main graph" else branch
        graph.initializer.append(short(dtype))
    with pytest.raises(ModelError, match=r"'v' has not the data that \[2\] asks for"):
        to_model(model)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx: tensor 'v' has not the data"):
        load(tmp_path / "m.onnx")


def test_a_whole_model_is_not(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(TEXT)
    whole = onnx.helper.make_tensor("v", onnx.TensorProto.INT64, [1], [1])
    model.graph.initializer.append(whole)
    onnx.save(model, tmp_path / "m.onnx")
    assert load(tmp_path / "m.onnx").graph.num_nodes() == 1


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), path)
    path.write_bytes(path.read_bytes().replace(b"name_of_y", b"name\xffof_y"))
    with pytest.raises(ModelError):
        load(path)
