from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.passes import merge_duplicates
from onnx_passes.passes.merge_duplicates import MergeDuplicates

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

CHAINS = """
g (float[N, 3] x) => (float[3, N] y, float[3, N] z) {
    a = Transpose <perm = [1, 0]> (x)
    b = Transpose <perm = [1, 0]> (x)
    c = Neg(a)
    d = Neg(b)
    y = Relu(c)
    z = Exp(d)
}
"""
TWO = "g (float[4] x, bool k) => (float[4] y) {{ {} y = Add(a, b) }}"


def test_rewrites_chain_after_chain_in_one_run(lab: Lab) -> None:
    model = lab.model(CHAINS)
    result = lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["Transpose", "Neg", "Relu", "Exp"]
    assert lab.reasons(result.rewritten) == {
        "Transpose -> 'b'": "the same as Transpose -> 'a'",
        "Neg -> 'd'": "the same as Neg -> 'c'",
    }


def test_rewrites_equal_initializers_and_then_their_readers(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] y)
        <float[2] v = {1, 2}, float[2] w = {1, 2}, float[2, 1] t = {1, 2}, float[2, 1] u = {1, 2}> {
            a = Add(x, v)
            b = Add(x, w)
            y = Mul(a, b)
        }""")
    lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["Add", "Mul"]
    assert lab.initializers(model) == ["t", "v"]


def test_rewrites_constants_whatever_their_tensors_are_called(lab: Lab) -> None:
    model = lab.model(
        "g (float[2] x) => (float[2] y) {"
        "a = Constant <value = float[2] one {1, 2}> ()"
        "b = Constant <value = float[2] two {1, 2}> () c = Add(x, a) y = Mul(c, b) }"
    )
    lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["Constant", "Add", "Mul"]


def test_rewrites_inside_a_branch_and_inside_a_function(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] x, bool c) => (float[2] y) {
            z = f.twice(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) { q = Neg(z) r = Neg(z) p = Add(q, r) },
                else_branch = no () => (float[2] s) { s = Neg(z) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { c = Abs(a) d = Abs(a) b = Add(c, d) }""",
        domains=', "f": 1',
    )
    lab.exact(MergeDuplicates(), model)
    assert lab.all_ops(model) == ["twice", "If", "Neg", "Add", "Neg"]
    assert [node.op_type for node in next(iter(model.functions.values()))] == ["Abs", "Add"]


def test_a_graph_output_gives_its_name_to_the_node_that_stays(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] z, float[2] y) { a = Neg(x) y = Neg(x) z = Exp(a) }""")
    lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["Neg", "Exp"]
    assert model.graph[0].outputs[0].name == "y"


def test_metadata_of_both_nodes_stays(lab: Lab) -> None:
    model = lab.model(CHAINS)
    model.graph[0].metadata_props["line"] = "1"
    model.graph[1].metadata_props.update({"line": "2", "keep": "float32"})
    lab.exact(MergeDuplicates(), model)
    assert dict(model.graph[0].metadata_props) == {"line": "1", "keep": "float32"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("a = RandomNormalLike(x) b = RandomNormalLike(x)", id="random operators"),
        pytest.param(
            "a = RandomNormalLike <seed = 1.0> (x) b = RandomNormalLike <seed = 1.0> (x)",
            id="random operators with a seed",
        ),
        pytest.param(
            "a = If (k) <then_branch = t () => (float[4] p) { p = Neg(x) }, else_branch = e () => "
            "(float[4] q) { q = Abs(x) }> b = If (k) <then_branch = t2 () => (float[4] r) "
            "{ r = Neg(x) }, else_branch = e2 () => (float[4] s) { s = Abs(x) }>",
            id="control flow",
        ),
        pytest.param("a = my.Op(x) b = my.Op(x)", id="other domains"),
        pytest.param("a = Neg(x) b = Abs(x)", id="another operator"),
        pytest.param("a = Elu <alpha = 0.0> (x) b = Elu <alpha = -0.0> (x)", id="a signed zero"),
        pytest.param("a = Elu <alpha = 1.0> (x) b = Elu <alpha = 2.0> (x)", id="other attributes"),
        pytest.param("c = Abs(x) a = Sub(x, c) b = Sub(c, x)", id="inputs in another order"),
        pytest.param(
            "c = Constant <value = float {0}> () a = Clip(x, c) b = Clip(x, , c)",
            id="another optional input",
        ),
    ],
)
def test_refuses_nodes(lab: Lab, body: str) -> None:
    model = lab.model(TWO.format(body), domains=', "my": 1')
    before = lab.ops(model)
    assert MergeDuplicates().run(model).rewritten == []
    assert lab.ops(model) == before


def test_refuses_two_nodes_that_both_make_graph_outputs(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x) => (float[2] y, float[2] z) { y = Neg(x) z = Neg(x) }""")
    result = lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["Neg", "Neg"]
    assert lab.reasons(result.skipped) == {"Neg -> 'z'": "'y' and 'z' are both graph outputs"}


def test_refuses_nodes_with_other_outputs_left_out(lab: Lab) -> None:
    model = lab.model("""
        g (float[1, 1, 4] x) => (float[1, 1, 3] y, int64[1, 1, 3] i) {
            a = MaxPool <kernel_shape = [2]> (x)
            b, i = MaxPool <kernel_shape = [2]> (x)
            y = Add(a, b)
        }""")
    lab.exact(MergeDuplicates(), model)
    assert lab.ops(model) == ["MaxPool", "MaxPool", "Add"]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param(", float[2] v, float[2] w", "", id="that are graph inputs"),
        pytest.param("", ", float[2] v, float[2] w", id="that are graph outputs"),
    ],
)
def test_refuses_initializers(lab: Lab, inputs: str, outputs: str) -> None:
    model = lab.model(f"""
        g (float[2] x{inputs}) => (float[2] y{outputs})
        <float[2] v = {{1, 2}}, float[2] w = {{1, 2}}> {{
            a = Add(x, v)
            y = Mul(a, w)
        }}""")
    lab.exact(MergeDuplicates(), model, {"x": np.ones(2, np.float32)})
    assert lab.initializers(model) == ["v", "w"]


def test_refuses_duplicates_in_different_graphs(lab: Lab) -> None:
    model = lab.model("""
        g (float[2] x, bool c) => (float[2] y) {
            a = Neg(x)
            b = If (c) <
                then_branch = yes () => (float[2] p) { p = Neg(x) },
                else_branch = no () => (float[2] q) { q = Neg(x) }
            >
            y = Add(a, b)
        }""")
    lab.exact(MergeDuplicates(), model)
    assert lab.all_ops(model).count("Neg") == 3


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        pytest.param([0.0], [0.0], True, id="equal bits"),
        pytest.param([0.0], [-0.0], False, id="zeros of both signs"),
        pytest.param([np.nan], [np.nan], True, id="equal bits of NaN"),
        pytest.param(
            np.array([0x7FC00000], np.uint32).view(np.float32),
            np.array([0x7FC00001], np.uint32).view(np.float32),
            False,
            id="other bits of NaN",
        ),
    ],
)
def test_numerics_compare_initializers_bit_by_bit(
    lab: Lab, first: object, second: object, merged: bool
) -> None:
    model = lab.model(
        "g (float[1] x, float[1] v, float[1] w) => (float[1] y)"
        "{ a = Div(x, v) b = Div(x, w) y = Sub(a, b) }"
    )
    arrays = {"v": np.asarray(first, np.float32), "w": np.asarray(second, np.float32)}
    lab.exact(MergeDuplicates(), lab.bind(model, arrays))
    assert (lab.ops(model) == ["Div", "Sub"]) == merged


def test_strings_are_compared_too(lab: Lab) -> None:
    model = lab.model(
        "g (string[1] x, string[1] u, string[1] v, string[1] w) => (bool[1] y)"
        "{ a = Equal(x, u) b = Equal(x, v) c = Equal(x, w) d = And(a, b) y = And(d, c) }",
        opset=19,
        ir_version=9,
    )
    for name, text in (("u", "one"), ("v", "two"), ("w", "one")):
        value = next(value for value in model.graph.inputs if value.name == name)
        model.graph.inputs.remove(value)
        value.const_value = ir.StringTensor(np.array([text.encode()], dtype=object), name=name)
        model.graph.register_initializer(value)
    MergeDuplicates().run(model)
    assert lab.initializers(model) == ["u", "v"]


def test_hashes_only_initializers_that_begin_alike(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []

    def counted(data: bytes) -> object:
        hashed.append(len(data))
        return hashlib.new("sha256", data)

    monkeypatch.setattr(hashlib, "sha256", counted)
    model = lab.model(
        "g (float[8] x) => (float[8] y)"
        "<float[8] u = {1, 2, 3, 4, 5, 6, 7, 8}, float[1] v = {1}, float[1] w = {2},"
        " float[1] z = {1}> { a = Add(x, u) b = Add(a, v) c = Add(b, w) y = Add(c, z) }"
    )
    MergeDuplicates().run(model)
    assert hashed == [4, 4]


def test_costs_one_key_per_node(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[int] = []
    original = merge_duplicates._key

    def counted(node: ir.Node) -> object:
        keys.append(1)
        return original(node)

    monkeypatch.setattr(merge_duplicates, "_key", counted)
    body = "".join(
        f"a{i} = Neg(v{i}) b{i} = Neg(v{i}) v{i + 1} = Add(a{i}, b{i})" for i in range(40)
    )
    model = lab.model(f"g (float[2] v0) => (float[2] y) {{ {body} y = Relu(v40) }}")
    MergeDuplicates().run(model)
    assert len(model.graph) == 81
    assert len(keys) == 121
