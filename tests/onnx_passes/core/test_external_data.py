"""Tensors of attributes that lie in files: judged like weights, then read, wherever they sit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes import optimize
from onnx_passes.core import external_data, model_io
from onnx_passes.core.contract import ModelError
from onnx_passes.core.values import graphs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

# A constant in the main graph, in a branch and in a function.
TEXT = """
g (float[2] x, bool c) => (float[2] y) {
    k = Constant <value = float[2] {0, 0}> ()
    a = Add(x, k)
    h = f.more(a)
    i = Identity(h)
    y = If (c) <
        then_branch = yes () => (float[2] p) {
            m = Constant <value = float[2] {0, 0}> ()
            p = Add(i, m)
        },
        else_branch = no () => (float[2] r) { r = Neg(i) }
    >
}
<domain: "f", opset_import: ["": 16]>
more (t) => (u) {
    n = Constant <value = float[2] {0, 0}> ()
    u = Add(t, n)
}
"""
DATA = np.array([1, 2, 4, 8, 16, 32], np.float32)


def external(offset: int, **changes: Any) -> ir.ExternalTensor:  # noqa: ANN401
    place: dict[str, Any] = {"location": "k.data", "base_dir": "", **changes}
    return ir.ExternalTensor(
        place["location"],
        offset,
        8,
        ir.DataType.FLOAT,
        name="k",
        shape=ir.Shape([2]),
        base_dir=place["base_dir"],
    )


def constants(model: ir.Model) -> list[ir.Node]:
    return [node for graph in graphs(model) for node in graph if node.op_type == "Constant"]


@pytest.fixture
def path(lab: Lab, tmp_path: Path) -> Path:
    """Return a model file whose three constants lie in ``k.data``."""
    model = lab.model(TEXT, domains=', "f": 1')
    for at, node in enumerate(constants(model)):
        node.attributes["value"] = ir.AttrTensor("value", external(8 * at))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "k.data").write_bytes(DATA.tobytes())
    (tmp_path / "in" / "m.onnx").write_bytes(ir.to_proto(model).SerializeToString())
    return tmp_path / "in" / "m.onnx"


def values(model: ir.Model) -> list[list[float]]:
    return [list(node.attributes["value"].as_tensor().numpy()) for node in constants(model)]


def test_constants_are_read_wherever_they_sit(path: Path) -> None:
    model = model_io.load(path)
    assert sorted(values(model)) == [[1, 2], [4, 8], [16, 32]]
    path.with_name("k.data").write_bytes(bytes(24))
    assert sorted(values(model)) == [[1, 2], [4, 8], [16, 32]]


def test_a_model_saved_elsewhere_has_its_constants(path: Path, tmp_path: Path) -> None:
    outcome = optimize(path, "drop-identity")
    assert [step.verdict for step in outcome.steps] == ["passed"]
    (tmp_path / "out").mkdir()
    model_io.save(outcome.model, tmp_path / "out" / "m.onnx")
    path.with_name("k.data").unlink()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["m.onnx"]
    again = onnx.load(tmp_path / "out" / "m.onnx")
    assert sorted(values(ir.from_proto(again))) == [[1, 2], [4, 8], [16, 32]]


def test_a_model_of_the_caller_is_read_and_left_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    given = ir.load(path)
    taken = model_io.to_model(given)
    assert sorted(values(taken)) == [[1, 2], [4, 8], [16, 32]]
    for model, kind in ((given, ir.ExternalTensor), (taken, ir.Tensor)):
        assert {type(node.attributes["value"].value) for node in constants(model)} == {kind}


def test_lists_of_tensors_are_read_too(lab: Lab, path: Path) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = f.odd(x) }", domains=', "f": 1')
    held = [external(8, base_dir=path.parent), ir.tensor([3.0, 5.0])]
    model.graph[0].attributes["list"] = ir.AttrTensors("list", held)
    taken = model_io.to_model(model)
    read = taken.graph[0].attributes["list"].as_tensors()
    assert [list(tensor.numpy()) for tensor in read] == [[4, 8], [3, 5]]
    assert [type(tensor) for tensor in read] == [ir.Tensor, ir.Tensor]


def missing(path: Path) -> None:
    path.with_name("k.data").unlink()


def short(path: Path) -> None:
    path.with_name("k.data").write_bytes(bytes(20))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(missing, "'k.data' is missing", id="missing"),
        pytest.param(short, "holds 20 bytes, tensor 'k' needs bytes 16 to 24", id="short"),
    ],
)
def test_refuses(path: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(path)
    with pytest.raises(ModelError, match=message):
        model_io.load(path)


def test_refuses_constants_outside_the_folder(path: Path) -> None:
    model = ir.load(path)
    (path.parents[1] / "secret").write_bytes(bytes(8))
    constants(model)[0].attributes["value"] = ir.AttrTensor(
        "value", external(0, location="../secret")
    )
    path.write_bytes(ir.to_proto(model).SerializeToString())
    with pytest.raises(ModelError, match=r"'\.\./secret' lies outside its folder"):
        model_io.load(path)


def test_refuses_a_model_of_the_caller_whose_file_is_gone(path: Path) -> None:
    given = ir.load(path)
    missing(path)
    with pytest.raises(ModelError, match=r"external data of node .*\(Constant\): .*No such file"):
        model_io.to_model(given)


def test_refuses_more_than_one_file_can_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "MAX_SINGLE_FILE_BYTES", 24)
    model_io.load(path)
    monkeypatch.setattr(external_data, "MAX_SINGLE_FILE_BYTES", 23)
    with pytest.raises(ModelError, match=r"attributes hold 24 bytes .*; export these constants as"):
        model_io.load(path)
