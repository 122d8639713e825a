from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.passes.infer_shapes import InferShapes

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

RESHAPE = """
g (float[N, 4, 5] x) => (float[N, 20] y)
<int64 zero = {0}, int64[1] axis = {0}, int64[1] rest = {20}> {
    shape = Shape(x)
    batch = Gather(shape, zero)
    list = Unsqueeze(batch, axis)
    target = Concat <axis = 0> (list, rest)
    flat = Reshape(x, target)
    y = Relu(flat)
}
"""


def shapes(model: ir.Model) -> dict[str | None, str]:
    return {
        value.name: str(value.shape) for node in model.graph.all_nodes() for value in node.outputs
    }


def test_rewrites_what_a_computed_reshape_makes(lab: Lab) -> None:
    model = lab.model(RESHAPE)
    result = lab.exact(InferShapes(), model)
    assert shapes(model)["flat"] == "[N,20]"
    assert lab.reasons(result.rewritten)["Reshape -> 'flat'"] == "'flat' is FLOAT [N,20]"
    assert result.skipped == []


def test_rewrites_inside_a_branch_and_of_a_sequence(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 3] x, bool c, seq(float[2]) q) => (float[3, 2] y, seq(float[2]) r) {
            s = Identity(q)
            r = Identity(s)
            y = If (c) <
                then_branch = yes () => (float[3, 2] p) { a = Transpose(x) p = Neg(a) },
                else_branch = no () => (float[3, 2] b) { b = Transpose(x) }
            >
        }""")
    lab.apply(InferShapes(), model)
    assert shapes(model)["a"] == "[3,2]"
    assert str(model.graph[0].outputs[0].type) == "Sequence(Tensor(FLOAT))"


def test_rewrites_only_the_unknown_dimension(lab: Lab) -> None:
    model = lab.model("""
        g (float[N, 3] x) => (float[N, 3] y) <float[batch, unk__7] h> { h = Neg(x) y = Neg(h) }""")
    lab.exact(InferShapes(), model)
    assert shapes(model)["h"] == "[batch,3]"


def test_rewrites_an_output_whose_shape_was_not_given(lab: Lab) -> None:
    model = lab.model("g (float[N, 3] x) => (float[N, 3] y) { y = Neg(x) }")
    model.graph.outputs[0].shape = ir.Shape([None, None])
    InferShapes().run(model)
    assert str(model.graph.outputs[0].shape) == "[N,3]"


def test_names_that_the_inference_invents_are_not_kept(lab: Lab) -> None:
    model = lab.model("g (float[N] x) => (int64[1, M] y) { n = NonZero(x) y = Neg(n) }")
    lab.exact(InferShapes(), model)
    assert model.graph[0].outputs[0].shape == ir.Shape([1, None])


@pytest.mark.parametrize(
    "known",
    [
        pytest.param("[M, 3]", id="a symbol"),
        pytest.param("[N, three]", id="a symbol for a known size"),
        pytest.param("[2, 3]", id="a size for a symbol"),
    ],
)
def test_refuses_to_replace_what_is_known(lab: Lab, known: str) -> None:
    model = lab.model(
        f"g (float[N, 3] x) => (float[N, 3] y) <float{known} h> {{ h = Neg(x) y = Neg(h) }}"
    )
    before = shapes(model)
    lab.apply(InferShapes(), model)
    assert shapes(model) == before


def test_refuses_graph_inputs(lab: Lab) -> None:
    model = lab.model(
        "g (float[?, 3] x) => (float[2, 3] y) <float[2, 3] w = {1,2,3,4,5,6}> { y = Add(x, w) }"
    )
    lab.apply(InferShapes(), model)
    assert model.graph.inputs[0].shape == ir.Shape([None, 3])


def test_refuses_bodies_of_functions(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2, 3] x) => (float[2, 3] y) { y = f.neg(x) }
        <domain: "f", opset_import: ["": 16]>
        neg (a) => (b) { c = Neg(a) b = Neg(c) }""",
        domains=', "f": 1',
    )
    lab.exact(InferShapes(), model)
    assert next(iter(model.functions.values()))[0].outputs[0].shape is None


def test_refuses_operators_that_onnx_does_not_know(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y) { a = my.Op(x) b = Neg(a) c = Neg(x) y = Add(b, c) }",
        domains=', "my": 1',
    )
    result = lab.apply(InferShapes(), model)
    assert shapes(model) == {"a": "None", "b": "None", "c": "[2]", "y": "[2]"}
    assert "domain 'my'" in lab.reasons(result.skipped)["Op -> 'a'"]
    assert "cannot infer" in lab.reasons(result.skipped)["Neg -> 'b'"]


def test_numerics_shapes_are_those_of_a_run(lab: Lab) -> None:
    model = lab.model(RESHAPE.replace("[N, ", "[3, "))
    InferShapes().run(model)
    inner = [value for node in model.graph for value in node.outputs][:-1]
    model.graph.outputs.extend(inner)
    ran = lab.outputs(model)
    assert len(ran) == 6
    sizes = {name: f"[{','.join(map(str, array.shape))}]" for name, array in ran.items()}
    assert shapes(model) == sizes


def test_large_weights_do_not_travel_to_onnx(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = onnx.shape_inference.infer_shapes

    def counted(proto: onnx.ModelProto, *, data_prop: bool) -> onnx.ModelProto:
        sizes.append(proto.ByteSize())
        return original(proto, data_prop=data_prop)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", counted)
    model = lab.model(
        "g (float[N, 512] x, float[512, 512] w) => (float[N, 512] y){ h = MatMul(x, w) y = Neg(h) }"
    )
    lab.bind(model, {"w": np.zeros((512, 512), np.float32)})
    InferShapes().run(model)
    assert shapes(model)["h"] == "[N,512]"
    assert len(sizes) == 1
    assert sizes[0] < 1000


@pytest.mark.parametrize(("name", "known"), [("s", False), ("r", True)])
def test_computed_shapes_are_not_those_of_a_value_of_the_same_name_in_another_branch(
    lab: Lab, name: str, known: bool
) -> None:
    model = lab.model(f"""
        g (float[2, 3] x, float[6] z, bool c) => (float[?] y) {{
            y = If (c) <
                then_branch = t () => (float[?] v) {{
                    s = Shape (z)
                    w = Reshape (z, s)
                    v = Neg (w)
                }},
                else_branch = e () => (float[?] u) <int64[1] m = {{-1}}> {{
                    {name} = Shape (x)
                    k = Reshape (x, {name})
                    u = Reshape (k, m)
                }}
            >
        }}""")
    InferShapes().run(model)
    (made,) = [v for n in model.graph.all_nodes() for v in n.outputs if v.name == "k"]
    assert str(made.shape) == ("[2,3]" if known else "[None,None]")
