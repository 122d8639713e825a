from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import onnxsim
import pytest

from onnx_passes.bridges.onnxsim import Onnxsim
from onnx_passes.core.contract import ToolError, UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[N, 3] x, float[3, 2] w, float[2] scale, float[2] shift, float[2] mean, float[2] var)
=> (float[N, 2] y) {
    i = Identity(x)
    n = Neg(i)
    k = Constant <value = float {2}> ()
    two = Mul(k, k)
    m = Mul(n, two)
    h = Gemm(m, w)
    b = BatchNormalization(h, scale, shift, mean, var)
    y = Relu(b)
}
"""


def example(lab: Lab) -> ir.Model:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.standard_normal((3, 2), np.float32)}
    arrays |= {name: rng.uniform(0.5, 2, 2).astype(np.float32) for name in ("scale", "shift")}
    arrays |= {name: rng.uniform(0.5, 2, 2).astype(np.float32) for name in ("mean", "var")}
    model = lab.bind(lab.model(TEXT), arrays)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
        node.metadata_props["keep"] = node.name
    model.metadata_props["author"] = "me"
    model.graph.inputs[0].metadata_props["range"] = "0,1"
    return model


def replaced(monkeypatch: pytest.MonkeyPatch, edit: Callable[[Any], Any]) -> None:
    """Let ``edit`` change what onnxsim returns."""

    def fake(proto: onnx.ModelProto, **_: object) -> tuple[onnx.ModelProto, bool]:
        copy = type(proto)()
        copy.CopyFrom(proto)
        edit(copy)
        return copy, True

    monkeypatch.setattr(onnxsim, "simplify", fake)


def test_rewrites_in_place_and_says_how_many_nodes_went(lab: Lab) -> None:
    model = example(lab)
    result = lab.apply(Onnxsim(), model)
    assert "Identity" not in lab.ops(model)
    assert lab.reasons(result.rewritten) == {
        "model": f"{Onnxsim.version()}: 8 nodes before, {len(model.graph)} after"
    }


def test_rewrites_nothing_where_nothing_can_be_simplified(lab: Lab) -> None:
    model = lab.model("g (float[N, 3] x) => (float[N, 3] y) { h = Relu(x) y = Exp(h) }")
    assert lab.exact(Onnxsim(), model).rewritten == []


def test_skips_the_optimizers_named(lab: Lab) -> None:
    model = example(lab)
    lab.exact(Onnxsim(skip=("eliminate_identity", "fuse_bn_into_conv")), model)
    assert "Identity" in lab.ops(model)


def test_fold_false_leaves_constants_to_be_computed(lab: Lab) -> None:
    text = "g (float[N] x) => (float[N] y) <float[1] w = {2}> { u = Exp(w) y = Pow(x, u) }"
    ops = []
    for fold in (True, False):
        model = lab.model(text)
        lab.apply(Onnxsim(fold=fold), model)
        ops.append(lab.ops(model))
    assert ops == [["Pow"], ["Exp", "Pow"]]


def test_fuse_bn_false_leaves_batch_normalization(lab: Lab) -> None:
    text = """
        g (float[N, 1, 4, 4] x) => (float[N, 1, 2, 2] y) <float[1] s = {2}, float[1, 1, 3, 3] w =
        {1, 2, 3, 4, 5, 6, 7, 8, 9}> { h = Conv(x, w) y = BatchNormalization(h, s, s, s, s) }"""
    ops = []
    for fuse in (True, False):
        model = lab.model(text)
        lab.apply(Onnxsim(fuse_bn=fuse), model)
        ops.append(lab.ops(model))
    assert ops == [["Conv"], ["Conv", "BatchNormalization"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"skip": ["fuse_bn_in_conv"]}, "did you mean 'fuse_bn_into_conv'", id="skip"),
        pytest.param({"skipped": []}, "did you mean 'skip'", id="the option"),
    ],
)
def test_refuses_a_misspelt_name_of(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("onnxsim", options, Onnxsim)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(
            lambda proto: proto.graph.input.pop(), r"inputs from \['x'\] to \[\]", id="drops"
        ),
        pytest.param(
            lambda proto: setattr(proto.graph.output[0], "name", "z"),
            r"outputs from \['y'\] to \['z'\]",
            id="renames",
        ),
    ],
)
def test_refuses_a_result_that_changes_the_interface(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Any], Any], message: str
) -> None:
    replaced(monkeypatch, edit)
    model = lab.model("g (float[N] x) => (float[N] y) <float[1] w = {1}> { y = Neg(w) }")
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(ToolError, match=message):
        Onnxsim().run(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_refuses_with_one_line_when_onnxsim_fails(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: onnx.ModelProto) -> None:
        msg = "no such operator\nand a long trace"
        raise RuntimeError(msg)

    replaced(monkeypatch, broken)
    with pytest.raises(ToolError, match=r"^onnxsim failed: no such operator$"):
        Onnxsim().run(example(lab))


def test_numerics_stay_close_on_a_live_model(lab: Lab) -> None:
    model = example(lab)
    x = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    before = lab.outputs(model, {"x": x})["y"]
    lab.apply(Onnxsim(), model)
    after = lab.outputs(model, {"x": x})["y"]
    # A dozen roundings of values below 64: products of at most 2 * 4 * 3 * 3 * 2 * 2.
    np.testing.assert_allclose(after, before, rtol=0, atol=12 * 64 * 2.0**-23)
    assert np.ptp(before) > 1


def test_keeps_metadata_of_the_model_the_inputs_and_the_nodes_that_stay(lab: Lab) -> None:
    model = example(lab)
    result = lab.apply(Onnxsim(), model)
    assert dict(model.metadata_props) == {"author": "me"}
    assert dict(model.graph.inputs[0].metadata_props) == {"range": "0,1"}
    kept = {node.op_type: node.metadata_props.get("keep") for node in model.graph}
    assert kept["Neg"] == "node_n"
    assert kept["Relu"] == "node_y"
    gone = lab.reasons(result.skipped)["Identity -> 'i'"]
    assert gone == "it is gone, and its metadata with it: keep"


def test_keeps_the_declared_types_and_shapes_of_inputs_and_outputs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].op_type = "Abs"
        for value in (proto.graph.input[0], proto.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = 4

    replaced(monkeypatch, edit)
    model = lab.model("g (float[N, 3] x) => (float[N, 3] y) { y = Neg(x) }")
    before = lab.interface(model)
    Onnxsim().run(model)
    assert lab.ops(model) == ["Abs"]
    assert lab.interface(model) == before


def test_keeps_an_input_with_a_default_value(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}>"
        "{ h = Identity(x) y = Add(h, w) }"
    )
    lab.exact(Onnxsim(), model, {"x": np.ones(2, np.float32), "w": np.full(2, 3, np.float32)})
    assert lab.ops(model) == ["Add"]


def test_reads_weights_that_lie_in_a_file_beside_the_model(lab: Lab, tmp_path: Path) -> None:
    model = example(lab)
    x = np.ones((1, 3), np.float32)
    before = lab.outputs(model, {"x": x})["y"]
    ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    Onnxsim().run(loaded)
    (tmp_path / "m.data").unlink()
    np.testing.assert_allclose(lab.outputs(loaded, {"x": x})["y"], before, rtol=1e-5, atol=1e-5)


def test_refuses_where_onnxsim_folds_an_input_with_a_default_away() -> None:
    model = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["": 16]>
        g (float[1] v) => (float[1] y) <float[1] v = {2}> { y = Neg(v) }
    """)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = Onnxsim().run(model)
    assert "default value: v" in result.skipped[0].text
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
