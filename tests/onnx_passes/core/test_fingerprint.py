from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.model_io import clone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
    k = Constant <value = float[2] {3, 4}> ()
    a = Mul(x, w)
    h = f.shift(a)
    b = Add(h, k)
    y = If (c) <
        then_branch = yes () => (float[2] p) { p = Neg(b) },
        else_branch = no () => (float[2] r) { r = Abs(b) }
    >
}
<domain: "f", opset_import: ["": 16]>
shift (t) => (u) { u = Relu(t) }
"""


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    model = lab.model(TEXT, domains=', "f": 1')
    model.graph.initializers["w"].const_value = ir.Tensor(np.array([1, 2], "f"), name="w")
    return model


def branch(model: ir.Model) -> ir.Graph:
    return model.graph[-1].attributes["then_branch"].as_graph()


def function(model: ir.Model) -> ir.Function:
    return next(iter(model.functions.values()))


def set_weight(model: ir.Model) -> None:
    model.graph.initializers["w"].const_value = ir.Tensor(np.array([1, 2.5], "f"), name="w")


def set_constant(model: ir.Model) -> None:
    tensor = ir.Tensor(np.array([3, 5], "f"))
    model.graph[0].attributes["value"] = ir.AttrTensor("value", tensor)


def set_output_shape(model: ir.Model) -> None:
    model.graph.outputs[0].shape = ir.Shape([None])


def set_input_type(model: ir.Model) -> None:
    model.graph.inputs[0].dtype = ir.DataType.DOUBLE


def reorder(model: ir.Model) -> None:
    node = model.graph[0]
    model.graph.remove(node)
    model.graph.insert_after(model.graph[0], node)


def mark_value(model: ir.Model) -> None:
    model.graph.inputs[0].metadata_props["onnx_passes.range"] = "0,1"


def mark_node(model: ir.Model) -> None:
    model.graph[1].metadata_props["ascend.keep"] = "float32"


def add_tensor_list(model: ir.Model) -> None:
    tensors = [ir.Tensor(np.zeros(2000, "f"))]
    model.graph[1].attributes["tensors"] = ir.AttrTensors("tensors", tensors)


EDITS: list[tuple[str, Callable[[ir.Model], object]]] = [
    ("a weight", set_weight),
    ("a Constant", set_constant),
    ("an operator", lambda m: setattr(m.graph[1], "op_type", "Div")),
    ("a node's name", lambda m: setattr(m.graph[1], "name", "other")),
    ("a node's input", lambda m: m.graph[1].replace_input_with(1, m.graph.inputs[0])),
    ("an attribute", lambda m: m.graph[1].attributes.add(ir.AttrInt64("k", 1))),
    ("a list of tensors", add_tensor_list),
    ("the order of nodes", reorder),
    ("an output's shape", set_output_shape),
    ("an input's type", set_input_type),
    ("an output's name", lambda m: setattr(m.graph.outputs[0], "name", "z")),
    ("a node in a branch", lambda m: setattr(branch(m)[0], "op_type", "Abs")),
    ("a node in a function", lambda m: setattr(function(m)[0], "op_type", "Neg")),
    ("a parameter of a function", lambda m: function(m).attributes.add(ir.AttrInt64("k", 1))),
    ("an opset", lambda m: m.opset_imports.update({"": 17})),
    ("the IR version", lambda m: setattr(m, "ir_version", 9)),
    ("the model's metadata", lambda m: m.metadata_props.update({"a": "b"})),
    ("the graph's metadata", lambda m: m.graph.metadata_props.update({"a": "b"})),
    ("a value's metadata", mark_value),
    ("a node's metadata", mark_node),
    ("a text", lambda m: setattr(m.graph, "doc_string", "text")),
    ("the producer", lambda m: setattr(m, "producer_name", "me")),
]


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in EDITS])
def test_changes_with(model: ir.Model, edit: Callable[[ir.Model], object]) -> None:
    fingerprint = Fingerprinter()
    before = fingerprint(model)
    edit(model)
    assert fingerprint(model) != before


def test_stays_the_same_for_copies_equal_tensors_and_a_round_trip(model: ir.Model) -> None:
    fingerprint = Fingerprinter()
    before = fingerprint(model)
    assert fingerprint(clone(model)) == before
    assert Fingerprinter()(ir.from_proto(ir.to_proto(model))) == before
    model.graph.initializers["w"].const_value = ir.Tensor(np.array([1, 2], "f"), name="w")
    assert fingerprint(model) == before


def test_arrays_behind_weights_and_constants_become_read_only_and_the_callers_stay_writable(
    model: ir.Model,
) -> None:
    weight, value = np.array([1, 2], "f"), np.array([3, 4], "f")
    model.graph.initializers["w"].const_value = ir.Tensor(weight, name="w", doc_string="mine")
    model.graph[0].attributes["value"] = ir.AttrTensor("value", ir.Tensor(value))
    Fingerprinter()(model)
    held = model.graph.initializers["w"].const_value
    assert held is not None
    assert held.doc_string == "mine"
    for array in (held.numpy(), model.graph[0].attributes["value"].as_tensor().numpy()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    weight[0] = 5
    value[0] = 5


def test_a_tensor_is_hashed_once(model: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = Fingerprinter()
    fingerprint(model)
    monkeypatch.setattr(ir.Tensor, "tobytes", lambda _: pytest.fail("hashed again"))
    fingerprint(clone(model))


def test_external_data_is_named_and_not_read(lab: Lab, tmp_path: Path) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }")
    fingerprints = set()
    for offset in (0, 8):
        tensor = ir.ExternalTensor(
            "missing.data",
            offset,
            8,
            ir.DataType.FLOAT,
            name="w",
            shape=ir.Shape([2]),
            base_dir=tmp_path,
        )
        model.graph.initializers["w"].const_value = tensor
        fingerprints.add(Fingerprinter()(model))
    assert len(fingerprints) == 2
