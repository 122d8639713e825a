"""The digest of a model's content: the same after any save, another after any edit that matters."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core.content import ContentDigest
from onnx_passes.core.contract import ModelError
from onnx_passes.core.model_io import load, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = """
<ir_version: 8, opset_import: ["": 16, "own": 1]>
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {0.1, -0.7, 0.3, 0.9, -0.4, 0.6}, float[2] b = {0.2, -1}>
{ i = own.same(x) l = LeakyRelu<alpha=0.1>(i) a = MatMul(l, w) y = Add(a, b) }
<domain: "own", opset_import: ["": 16]> same (p) => (q) { q = Identity(p) }
"""
BRANCHES = """
<ir_version: 8, opset_import: ["": 16]>
g (float[3] x, bool c) => (float[3] y) {
  y = If (c) <
    then_branch = t () => (float[3] u) { k = Constant<value = float[1] {2}>() u = Mul(x, k) },
    else_branch = e () => (float[3] v) { v = Neg(x) }
  >
}
"""


def digest(model: ir.Model) -> str:
    return ContentDigest()(model)


def parsed(text: str = MODEL) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(text))


def odd_types() -> ir.Model:
    """Return a model made in memory: float attributes of 64 bits, packed tensors."""
    model = parsed()
    graph = model.graph
    for name, array, dtype in (
        ("four", np.array([[1, -2, 3]]), ir.DataType.INT4),
        ("brain", np.array([1.5, -2]), ir.DataType.BFLOAT16),
    ):
        tensor = ir.Tensor(array.astype(dtype.numpy()), dtype=dtype, name=name)
        graph.register_initializer(ir.Value(name=name, const_value=tensor))
    node = graph[1]
    node.attributes["alpha"] = ir.AttrFloat32("alpha", 0.1)
    node.attributes["more"] = ir.AttrFloat32s("more", [1 / 3, 2])
    node.attributes["text"] = ir.AttrString("text", "ü")
    node.attributes["many"] = ir.AttrInt64s("many", [1, -2])
    return model


@pytest.mark.parametrize(
    "make", [parsed, lambda: parsed(BRANCHES), odd_types], ids=["function", "sub-graph", "types"]
)
def test_is_the_same_after_a_save_in_one_file_and_in_two(
    make: Callable[[], ir.Model], tmp_path: Path
) -> None:
    model = make()
    before = digest(model)
    save(model, tmp_path / "one.onnx")
    assert digest(load(tmp_path / "one.onnx")) == before
    ir.save(model, tmp_path / "two.onnx", external_data="weights", size_threshold_bytes=0)
    assert digest(load(tmp_path / "two.onnx")) == before
    onnx.save(onnx.load(tmp_path / "two.onnx"), tmp_path / "three.onnx")
    assert digest(load(tmp_path / "three.onnx")) == before


def test_texts_are_the_same_after_a_save_and_count(tmp_path: Path) -> None:
    digests = []
    for words in ([b"a", b"\xff"], [b"a", b"\xfe"]):
        model = parsed()
        tensor = ir.StringTensor(np.array(words, object), name="words")
        model.graph.register_initializer(ir.Value(name="words", const_value=tensor))
        save(model, tmp_path / "m.onnx")
        digests.append(digest(model))
        assert digest(load(tmp_path / "m.onnx")) == digests[-1]
    assert digests[0] != digests[1]


def test_is_the_same_for_the_exported_model_after_shape_inference(starnet_onnx: Path) -> None:
    model = load(starnet_onnx)
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(starnet_onnx)))
    assert digest(inferred) == digest(model)


def _reword(model: ir.Model) -> None:
    model.doc_string, model.producer_name, model.graph.name = "d", "p", "other"
    model.metadata_props["note"] = "n"
    model.graph[0].name, model.graph[0].metadata_props["k"] = "renamed", "v"


def _weight(model: ir.Model) -> None:
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    array = weight.const_value.numpy().copy()
    array[2, 1] = np.nextafter(array[2, 1], 1, dtype=np.float32)
    weight.const_value = ir.Tensor(array, name="w")


def _attribute(model: ir.Model) -> None:
    model.graph[1].attributes["alpha"] = ir.AttrFloat32("alpha", 0.10001)


def _operator(model: ir.Model) -> None:
    model.graph[3].op_type = "Sub"


def _wiring(model: ir.Model) -> None:
    model.graph[3].replace_input_with(1, model.graph[2].outputs[0])


def _opset(model: ir.Model) -> None:
    model.opset_imports[""] = 17


def _size(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape([1, 3])


def _in_function(model: ir.Model) -> None:
    next(iter(model.functions.values()))[0].op_type = "Neg"


def test_words_and_names_of_nodes_do_not_count() -> None:
    model = parsed()
    before = digest(model)
    _reword(model)
    assert digest(model) == before


@pytest.mark.parametrize(
    "edit", [_weight, _attribute, _operator, _wiring, _opset, _size, _in_function]
)
def test_whatever_can_change_a_result_counts(edit: Callable[[ir.Model], None]) -> None:
    model = parsed()
    before = digest(model)
    edit(model)
    assert digest(model) != before


def test_a_branch_and_a_constant_in_it_count() -> None:
    assert digest(parsed(BRANCHES)) != digest(parsed(BRANCHES.replace("Neg", "Abs")))
    assert digest(parsed(BRANCHES)) != digest(parsed(BRANCHES.replace("{2}", "{3}")))


def test_weights_in_a_file_are_read_piece_by_piece_and_count(tmp_path: Path) -> None:
    weight = ir.Value(name="big", const_value=ir.Tensor(np.ones(10_000_000, np.float32)))
    model = parsed()
    model.graph.register_initializer(weight)
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")
    loaded = load(tmp_path / "m.onnx")
    tracemalloc.start()
    before = digest(loaded)
    assert tracemalloc.get_traced_memory()[1] < 36_000_000  # of 40 MB
    tracemalloc.stop()
    with (tmp_path / "m.data").open("r+b") as stream:
        stream.seek(39_000_003)
        stream.write(b"\x40")
    assert digest(load(tmp_path / "m.onnx")) != before
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match=r"m\.data, which holds tensor"):
        digest(loaded)
