from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import CheckError, UsageError
from onnx_passes.surgery.edit import InsertAfter, Reconnect, Remove, Rename, edit
from onnx_passes.surgery.edit_check import check_edited

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from onnx_passes.surgery.edit import Edit
    from onnx_passes.surgery.edit_check import Expectation
    from tests.onnx_passes.conftest import Lab

MODEL = """
g (float[N, 4] x) => (float[N, 4] y, float[N, 4] u) <float[4] w = {1, 2, 3, 4}, float[N, 4] b> {
    a = Add(x, w)
    b = Relu(a)
    i = Identity(b)
    y = Softmax(i)
    u = Mul(a, b)
}
"""
BRANCH = """
g (float[N, 4] x, bool c) => (float[N, 4] y) {
    a = Neg(x)
    y = If (c) <then_branch = t () => (float[N, 4] p) { p = Relu(a) },
                else_branch = e () => (float[N, 4] q) { q = Exp(a) }>
}
"""


def nodes(model: ir.Model) -> list[str]:
    def text(values: Sequence[ir.Value | None]) -> str:
        return " ".join(value.name or "" if value is not None else "-" for value in values)

    return [f"{text(n.outputs)} = {n.op_type} {text(n.inputs)}" for n in model.graph]


def shape(model: ir.Model, name: str) -> str:
    made = (value for node in model.graph.all_nodes() for value in node.outputs)
    return next(f"{value.type} {value.shape}" for value in made if value.name == name)


def edited(lab: Lab, *edits: Edit, text: str = MODEL, expect: Expectation = "equal") -> ir.Model:
    """Edit, and check that the original stays, the result is valid and meets the expectation."""
    model = lab.model(text)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result, said = edit(model, edits)
    assert len(said) == len(edits)
    lab.check(result)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    found = check_edited(model, result, expect)
    assert found.unmet == ""
    assert found.check.outputs
    return result


class TestRemove:
    def test_by_a_tensor_or_by_a_name(self, lab: Lab) -> None:
        result = edited(lab, Remove("i"))
        assert nodes(result) == ["a = Add x w", "b = Relu a", "y = Softmax b", "u = Mul a b"]
        model = lab.model(MODEL)
        model.graph[2].name = "copy it"
        assert lab.ops(edit(model, [Remove("copy it")])[0]) == ["Add", "Relu", "Softmax", "Mul"]

    def test_a_node_whose_other_inputs_are_constant_goes_with_them(self, lab: Lab) -> None:
        result = edited(lab, Remove("a"), expect="changed")
        assert nodes(result)[0] == "b = Relu x"
        assert lab.initializers(result) == []

    def test_the_maker_of_an_output_hands_its_name_on(self, lab: Lab) -> None:
        result = edited(lab, Remove("y"), expect="changed")
        assert nodes(result)[2:] == ["y = Identity b", "u = Mul a b"]

    def test_what_nothing_reads_goes_whatever_it_reads(self, lab: Lab) -> None:
        text = MODEL.replace("u = Mul(a, b)", "u = Mul(a, b) dead = Sub(a, b)")
        assert lab.ops(edited(lab, Remove("dead"), text=text))[-1] == "Mul"

    def test_a_tensor_that_a_branch_reads_is_replaced_there(self, lab: Lab) -> None:
        result = edited(lab, Remove("a"), text=BRANCH, expect="changed")
        inner = [node.inputs[0] for node in result.graph.all_nodes() if node.op_type == "Exp"]
        assert [value.name for value in inner if value is not None] == ["x"]

    @pytest.mark.parametrize(
        ("text", "node", "message"),
        [
            pytest.param(MODEL, "u", r"has 2 inputs that are not constant \('a', 'b'\)", id="two"),
            pytest.param(MODEL, "ii", "no node 'ii'; did you mean 'i'", id="an unknown node"),
            pytest.param(
                "g (float[2] x) => (float[2] y) { y = Neg(x) }",
                "y",
                "copies the graph input 'x' to the graph output 'y'",
                id="the only node between an input and an output",
            ),
            pytest.param(
                "g (float[4] x) => (float[2] y) { p, q = Split <axis = 0> (x) y = Add(p, q) }",
                "p",
                r"several outputs that are read \('p', 'q'\)",
                id="a node with two outputs that are read",
            ),
            pytest.param(
                "g (float[4] x) => (float[4] y) { k = RandomNormal <shape=[4]> () y = Add(k, x) }",
                "k",
                r"has 0 inputs that are not constant \(none\)",
                id="a node without inputs",
            ),
        ],
    )
    def test_refuses(self, lab: Lab, text: str, node: str, message: str) -> None:
        with pytest.raises(UsageError, match=f"--remove {node}: .*{message}"):
            edit(lab.model(text), [Remove(node)])

    def test_refuses_a_name_of_two_nodes(self, lab: Lab) -> None:
        model = lab.model(MODEL)
        model.graph[0].name = model.graph[1].name = "twice"
        with pytest.raises(UsageError, match=r"'twice' means 2 nodes \(Add -> 'a' and Relu -> 'b'"):
            edit(model, [Remove("twice")])


class TestInsertAfter:
    @pytest.mark.parametrize(
        ("operator", "made"),
        [
            pytest.param("Identity", "a_Identity = Identity a", id="without inputs"),
            pytest.param("Mul{B=1.0}", "a_Mul = Mul a a_Mul_B", id="a number"),
            pytest.param("Mul{A=1}", "a_Mul = Mul a_Mul_A a", id="the tensor in the second place"),
            pytest.param("Clip{max=1000}", "a_Clip = Clip a - a_Clip_max", id="an input left out"),
            pytest.param("Cast{to=float}", "a_Cast = Cast a", id="a dtype by name"),
            pytest.param("Transpose{perm=[0,1]}", "a_Transpose = Transpose a", id="a list"),
            pytest.param("Pad{pads=[0,0,0,0]}", "a_Pad = Pad a a_Pad_pads", id="integers"),
            pytest.param(
                "Gather{indices=[0,1,2,3],axis=1}",
                "a_Gather = Gather a a_Gather_indices",
                id="an input and an attribute",
            ),
        ],
    )
    def test_readers_read_the_node(self, lab: Lab, operator: str, made: str) -> None:
        result = edited(lab, InsertAfter("a", operator))
        name = made.split(" ", maxsplit=1)[0]
        assert nodes(result)[:3] == ["a = Add x w", made, f"b = Relu {name}"]
        assert nodes(result)[-1] == f"u = Mul {name} b"
        assert shape(result, name) == "FLOAT [N,4]"

    def test_an_output_keeps_its_name_and_gets_the_new_type_and_shape(self, lab: Lab) -> None:
        cast, gather = (
            InsertAfter("y", "Cast{to=float16}"),
            InsertAfter("u", "Gather{indices=[1],axis=1}"),
        )
        result = edited(lab, cast, gather, expect="changed")
        assert "y = Cast y_before" in nodes(result)
        assert shape(result, "y") == "FLOAT16 [N,4]"
        assert shape(result, "u") == "FLOAT [N,1]"
        assert [value.name for value in result.graph.outputs] == ["y", "u"]

    def test_shapes_behind_it_follow(self, lab: Lab) -> None:
        unsqueeze, squeeze = (
            InsertAfter("a", "Unsqueeze{axes=[1]}"),
            InsertAfter("i", "Squeeze{axes=[1]}"),
        )
        last = InsertAfter("u", "Squeeze{axes=[1]}")
        result = edited(lab, unsqueeze, squeeze, last)
        assert shape(result, "b") == "FLOAT [N,1,4]"
        assert shape(result, "y") == "FLOAT [N,4]"
        assert shape(result, "u") == "FLOAT [N,4]"

    def test_shapes_within_a_branch_follow(self, lab: Lab) -> None:
        insert = InsertAfter("a", "Unsqueeze{axes=[1]}")
        result = edited(lab, insert, text=BRANCH, expect="changed")
        assert [shape(result, name) for name in "pqy"] == ["FLOAT [N,1,4]"] * 3

    def test_below_opset_13_axes_are_an_attribute(self, lab: Lab) -> None:
        model = lab.model(
            "g (float[N, 4] x) => (float[N, 4] y) { a = Neg(x) y = Abs(a) }", opset=11
        )
        result, _ = edit(model, [InsertAfter("a", "Unsqueeze{axes=[1]}")])
        assert list(result.graph[1].attributes) == ["axes"]
        assert shape(result, "y") == "FLOAT [N,1,4]"

    def test_it_may_read_tensors_that_are_made_later(self, lab: Lab) -> None:
        result = edited(lab, InsertAfter("y", "Concat{inputs=[u,b],axis=1}"), expect="changed")
        assert nodes(result)[-2:] == ["u = Mul a b", "y = Concat y_before u b"]

    def test_a_graph_input_and_what_a_branch_reads(self, lab: Lab) -> None:
        result = edited(
            lab, InsertAfter("x", "Identity"), InsertAfter("a", "Identity"), text=BRANCH
        )
        assert nodes(result)[:3] == [
            "x_Identity = Identity x",
            "a = Neg x_Identity",
            "a_Identity = Identity a",
        ]
        inner = [node.inputs[0] for node in result.graph.all_nodes() if node.op_type == "Exp"]
        assert [value.name for value in inner if value is not None] == ["a_Identity"]

    def test_a_constant_from_a_file(self, lab: Lab, tmp_path: Path) -> None:
        np.save(tmp_path / "eye.npy", np.eye(4))
        result = edited(lab, InsertAfter("a", f"Gemm{{B=@{tmp_path / 'eye.npy'}}}"), expect="close")
        weight = result.graph.initializers["a_Gemm_B"].const_value
        assert weight is not None
        assert weight.dtype == ir.DataType.FLOAT
        assert weight.numpy().shape == (4, 4)
        np.savez(tmp_path / "two.npz", a=1)
        for name, message in (("none.npy", "cannot be read as a .npy"), ("two.npz", "is no .npy")):
            with pytest.raises(UsageError, match=message):
                edit(lab.model(MODEL), [InsertAfter("a", f"Mul{{B=@{tmp_path / name}}}")])

    @pytest.mark.parametrize(
        ("tensor", "operator", "message"),
        [
            pytest.param("aa", "Neg", "no tensor 'aa'; did you mean 'a'", id="an unknown tensor"),
            pytest.param("a", "Negg", "opset 16 has no operator 'Negg'; did you", id="an operator"),
            pytest.param("a", "Mul", "Mul needs input 'B', as in Mul{B=...}", id="no input"),
            pytest.param("a", "Mul{C=1}", "Mul has no input or attribute 'C'", id="an unknown key"),
            pytest.param("a", "Neg{X=1}", "no input left for 'a'", id="no place for the tensor"),
            pytest.param("a", "Cast", "Cast needs attribute 'to'", id="no attribute"),
            pytest.param(
                "a", "Cast{to=flaot}", "'to' of Cast is 'flaot', expected INT", id="a dtype"
            ),
            pytest.param("a", "Transpose{perm=[x]}", "expected INTS", id="words for integers"),
            pytest.param("a", "Mul{B=[[1,2],[3]]}", "expected numbers", id="a ragged list"),
            pytest.param("a", "Gather{indices=0.5}", "0.5, which is no int32", id="half an index"),
            pytest.param("a", "Mul{B=c}", "no tensor 'c'", id="an unknown operand"),
            pytest.param("a", "Mul{B=b}", "'b' is computed from 'a', so the graph", id="a loop"),
            pytest.param("a", "Mul{B=", "operator, character 7: the end", id="unfinished text"),
            pytest.param("a", "Mul{B=1}x", "'x' where the end was expected", id="text behind it"),
        ],
    )
    def test_refuses(self, lab: Lab, tensor: str, operator: str, message: str) -> None:
        with pytest.raises(UsageError) as refused:
            edit(lab.model(MODEL), [InsertAfter(tensor, operator)])
        assert str(refused.value).startswith(f"--insert-after {tensor} {operator}: ")
        assert message in str(refused.value)

    def test_refuses_what_leaves_no_valid_model(self, lab: Lab) -> None:
        with pytest.raises(CheckError, match=r"no valid model: onnx\.checker: .*Softmax"):
            edit(lab.model(MODEL), [InsertAfter("i", "Cast{to=int64}")])


class TestReconnect:
    def test_the_input_reads_another_tensor_and_an_idle_constant_goes(self, lab: Lab) -> None:
        result = edited(lab, Reconnect("a", 1, "x"), expect="changed")
        assert nodes(result)[0] == "a = Add x x"
        assert lab.initializers(result) == []

    def test_a_later_tensor_is_moved_before_its_reader(self, lab: Lab) -> None:
        result = edited(lab, Reconnect("y", 0, "u"), expect="changed")
        assert nodes(result).index("u = Mul a b") < nodes(result).index("y = Softmax u")

    def test_two_edits_take_a_node_with_two_inputs_out(self, lab: Lab) -> None:
        result = edited(lab, Reconnect("u", 1, "w"), Remove("u"), expect="changed")
        assert nodes(result)[0] == "u = Add x w"

    @pytest.mark.parametrize(
        ("one", "message"),
        [
            pytest.param(Reconnect("u", 2, "x"), "has 2 inputs, counted from 0", id="an index"),
            pytest.param(
                Reconnect("u", 0, "xx"), "no tensor 'xx'; did you mean 'x'", id="a tensor"
            ),
            pytest.param(Reconnect("uu", 0, "x"), "no node 'uu'; did you mean 'u'", id="a node"),
            pytest.param(Reconnect("a", 0, "i"), "'i' is computed from Add -> 'a'", id="a loop"),
            pytest.param(Reconnect("a", 0, "a"), "so the graph would loop", id="itself"),
        ],
    )
    def test_refuses(self, lab: Lab, one: Reconnect, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            edit(lab.model(MODEL), [one])


class TestRename:
    def test_a_tensor_may_take_the_name_that_an_input_had(self, lab: Lab) -> None:
        result = edited(lab, Rename("x", "img"), Rename("a", "x"))
        assert nodes(result)[0] == "x = Add img w"

    def test_inputs_outputs_constants_and_nodes(self, lab: Lab) -> None:
        model = lab.model(MODEL)
        model.graph[1].name = "act"
        edits = [Rename("x", "img"), Rename("y", "x"), Rename("w", "bias"), Rename("act", "relu")]
        result, _ = edit(model, edits)
        assert nodes(result)[0] == "a = Add img bias"
        assert [value.name for value in result.graph.outputs] == ["x", "u"]
        assert result.graph[1].name == "relu"
        assert check_edited(model, result, "equal").unmet == ""

    @pytest.mark.parametrize(
        ("one", "message"),
        [
            pytest.param(Rename("x", "u"), "a tensor 'u' exists already", id="a taken name"),
            pytest.param(Rename("x", ""), "the new name is empty", id="no name"),
            pytest.param(Rename("zz", "q"), "no node 'zz'", id="an unknown name"),
        ],
    )
    def test_refuses(self, lab: Lab, one: Rename, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            edit(lab.model(MODEL), [one])


class TestExpectation:
    @pytest.mark.parametrize(
        ("operator", "expect", "message"),
        [
            pytest.param("Identity", "equal", "", id="equal is equal"),
            pytest.param("Identity", "changed", "no output changed", id="equal is not changed"),
            pytest.param("Mul{B=0.5}", "equal", "elements differ", id="changed is not equal"),
            pytest.param("Mul{B=1.0000002}", "equal", "elements differ", id="rounded is not equal"),
            pytest.param("Mul{B=1.0000002}", "close", "", id="rounded is close"),
            pytest.param("Mul{B=1.01}", "close", "allowed: 8 *", id="changed is not close"),
            pytest.param("Mul{B=0.5}", "changed", "", id="changed is changed"),
            pytest.param("Mul{B=0}", "equal", "elements differ", id="dead is not equal"),
        ],
    )
    def test_of(self, lab: Lab, operator: str, expect: Expectation, message: str) -> None:
        model = lab.model(MODEL)
        result, _ = edit(model, [InsertAfter("a", operator)])
        found = check_edited(model, result, expect)
        assert message in found.unmet
        assert bool(found.unmet) == bool(message)
        assert found.feeds.startswith("generated, seeds 0, 1: x float32 [2, 4]")

    def test_changed_is_not_met_by_a_model_that_does_not_run(self, lab: Lab) -> None:
        model = lab.model("g (float[N] x) => (float[M] y) { a = Neg(x) y = Abs(a) }")
        result, _ = edit(model, [InsertAfter("a", "Reshape{shape=[7,11]}")])
        unmet = check_edited(model, result, "changed").unmet
        assert unmet.startswith("the rewritten model does not run")

    def test_equal_is_not_met_by_an_output_that_never_moves(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x) => (float[2] y) { a = Sub(x, x) y = Abs(a) }")
        result, _ = edit(model, [InsertAfter("a", "Identity")])
        assert "dead" in check_edited(model, result, "equal").unmet
