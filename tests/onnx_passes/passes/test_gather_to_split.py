from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.passes.gather_to_split import GatherToSplit

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

SCALARS = """
g (float[3, N, 4] x) => (float[N, 4] q, float[N, 4] k, float[N, 4] v)
<int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
    h = Relu(x)
    k = Gather(h, one)
    v = Gather(h, two)
    q = Gather(h, zero)
}
"""
LISTS = """
g (float[2, 6] x) => (float[2, 2] a, float[2, 3] b, float[2, 1] c)
<int64[2] ia = {0, 1}, int64[3] ib = {2, 3, 4}, int64[1] ic = {5}> {
    h = Relu(x)
    p = Gather <axis = 1> (h, ia)
    q = Gather <axis = 1> (h, ib)
    r = Gather <axis = 1> (h, ic)
    a = Neg(p)
    b = Neg(q)
    c = Neg(r)
}
"""


def known(lab: Lab, text: str, opset: int = 16, domains: str = "") -> ir.Model:
    """Parse a model and write down the shape of h, which is that of x."""
    model = lab.model(text, opset=opset, domains=domains)
    for node in model.graph:
        if node.outputs[0].name == "h":
            node.outputs[0].shape = model.graph.inputs[0].shape
            node.outputs[0].type = model.graph.inputs[0].type
    return model


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_rewrites_scalar_indices_to_split_and_squeeze(lab: Lab, opset: int) -> None:
    model = known(lab, SCALARS, opset)
    result = lab.exact(GatherToSplit(), model)
    assert lab.ops(model) == ["Relu", "Split", "Squeeze", "Squeeze", "Squeeze"]
    assert lab.reasons(result.rewritten) == {"Gather -> 'k'": "3 pieces of 'h'"}
    assert not {"zero", "one", "two"} & set(lab.initializers(model))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_rewrites_lists_of_indices_to_a_split(lab: Lab, opset: int) -> None:
    model = known(lab, LISTS, opset)
    lab.exact(GatherToSplit(), model)
    assert lab.ops(model) == ["Relu", "Split", "Neg", "Neg", "Neg"]


def test_rewrites_lists_whose_pieces_are_graph_outputs(lab: Lab) -> None:
    text = LISTS.replace("p = ", "a = ").replace("a = Neg(p)", "")
    model = known(lab, text)
    lab.exact(GatherToSplit(), model)
    assert lab.ops(model) == ["Relu", "Split", "Neg", "Neg"]


def test_rewrites_negative_indices_and_a_negative_axis(lab: Lab) -> None:
    text = LISTS.replace("axis = 1", "axis = -1").replace("{2, 3, 4}", "{-4, -3, 4}")
    model = known(lab, text.replace("= {5}", "= {-1}"))
    lab.exact(GatherToSplit(), model)
    assert "Gather" not in lab.ops(model)


def test_rewrites_a_mix_of_scalars_and_lists(lab: Lab) -> None:
    text = LISTS.replace("int64[1] ic = {5}", "int64 ic = {5}").replace("[2, 1] c", "[2] c")
    model = known(lab, text)
    lab.exact(GatherToSplit(), model)
    assert lab.ops(model) == ["Relu", "Split", "Squeeze", "Neg", "Neg", "Neg"]


def test_rewrites_readers_of_a_graph_input_that_share_an_index(lab: Lab) -> None:
    text = """
    g (float[2, 4] x, float[2, 4] z) => (float[4] a, float[4] b, float[4] c, float[4] d)
    <int64 zero = {0}, int64 one = {1}> {
        a = Gather(x, zero)
        c = Gather(z, one)
        b = Gather(x, one)
        d = Gather(z, zero)
    }"""
    model = lab.model(text)
    assert len(lab.exact(GatherToSplit(), model).rewritten) == 2
    assert lab.ops(model).count("Split") == 2
    assert not {"zero", "one"} & set(lab.initializers(model))


def test_rewrites_what_is_a_graph_output_itself(lab: Lab) -> None:
    model = known(lab, SCALARS.replace("=> (", "=> (float[3, N, 4] h, "))
    assert lab.exact(GatherToSplit(), model).rewritten


def test_rewrites_a_value_of_a_branch(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 4] x, bool c) => (float[4] y) <int64 zero = {0}, int64 one = {1}> {
            y = If (c) <
                then_branch = yes () => (float[4] s) {
                    h = Relu(x)
                    a = Gather(h, zero)
                    b = Gather(h, one)
                    s = Add(a, b)
                },
                else_branch = no () => (float[4] t) { t = Gather(x, zero) }
            >
        }""")
    for node in model.graph.all_nodes():
        if node.op_type == "Relu":
            node.outputs[0].shape = model.graph.inputs[0].shape
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(2, 4), "c": np.array(True)}
    assert lab.exact(GatherToSplit(), model, feeds).rewritten
    assert "Split" in lab.all_ops(model)


@pytest.mark.parametrize(
    ("text", "node", "reason"),
    [
        pytest.param(
            LISTS.replace("c = Neg(r)", "c = Neg(r) z = Neg(h)").replace(
                "=> (", "=> (float[2, 6] z, "
            ),
            "p",
            "'h' is read by Neg -> 'z' too",
            id="a reader that is no Gather",
        ),
        pytest.param(
            "g (int64[2] x, float[9] d) => (float[2] y, int64 a, int64 b)"
            "<int64 zero = {0}, int64 one = {1}> "
            "{ h = Abs(x) a = Gather(h, zero) b = Gather(h, one) y = Gather(d, h) }",
            "a",
            "'h' is read by Gather -> 'y' too",
            id="a reader that takes it for its indices",
        ),
        pytest.param(
            LISTS.replace("axis = 1> (h, ic)", "axis = 0> (h, ic)")
            .replace("{5}", "{1}")
            .replace("float[2, 1] c", "float[1, 6] c"),
            "p",
            "'h' is gathered along the axes 0, 1",
            id="two axes",
        ),
        pytest.param(
            LISTS.replace(", int64[1] ic = {5}", "").replace("6] x)", "6] x, int64[1] ic)"),
            "p",
            "the indices of Gather -> 'r' are no constant",
            id="indices that a caller gives",
        ),
        pytest.param(
            LISTS.replace("int64[1] ic", "int64[1, 1] ic").replace("[2, 1] c", "[2, 1, 1] c"),
            "p",
            "the indices of Gather -> 'r' have rank 2",
            id="indices of rank 2",
        ),
        pytest.param(
            LISTS.replace("[2, 6] x", "[2, L] x"),
            "p",
            "the extent of axis 1 of 'h' is unknown; run infer-shapes first",
            id="an axis of unknown extent",
        ),
        pytest.param(
            LISTS.replace("{2, 3, 4}", "{1, 2, 3}"),
            "p",
            "Gather -> 'q', which reads from row 1, overlaps the piece before it",
            id="pieces that overlap",
        ),
        pytest.param(
            LISTS.replace("int64[2] ia = {0, 1}", "int64[1] ia = {0}").replace("2] a", "1] a"),
            "p",
            "Gather -> 'q', which reads from row 2, leaves a gap",
            id="a gap between pieces",
        ),
        pytest.param(
            LISTS.replace("[2, 6] x", "[2, 7] x"),
            "p",
            "the pieces end at row 6 of 7",
            id="a gap at the end",
        ),
        pytest.param(
            LISTS.replace("{2, 3, 4}", "{2, 4, 3}"),
            "p",
            "the indices of one Gather do not rise by one",
            id="a piece out of order",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, node: str, reason: str) -> None:
    model = known(lab, text)
    result = lab.apply(GatherToSplit(), model)
    assert lab.reasons(result.skipped) == {f"Gather -> '{node}'": reason}
    assert not result.rewritten


def test_leaves_alone_a_value_of_unknown_shape(lab: Lab) -> None:
    model = lab.model(SCALARS)
    result = lab.apply(GatherToSplit(), model)
    assert result.skipped[0].text == "the shape of 'h' is unknown; run infer-shapes first"


def test_leaves_alone_what_a_branch_reads_too(lab: Lab) -> None:
    model = known(
        lab,
        """g (float[2, 4] x, bool c) => (float[4] y, float[4] a, float[4] b)
        <int64 zero = {0}, int64 one = {1}> {
            h = Relu(x)
            a = Gather(h, zero)
            b = Gather(h, one)
            y = If (c) <
                then_branch = yes () => (float[4] s) { s = Gather(h, zero) },
                else_branch = no () => (float[4] t) { t = Gather(h, one) }
            >
        }""",
    )
    result = lab.apply(GatherToSplit(), model)
    assert result.skipped[0].text.endswith("reads 'h' in another graph")


def test_leaves_alone_the_body_of_a_function_which_has_no_shapes(lab: Lab) -> None:
    model = lab.model(
        """g (float[2, 4] x) => (float[4] y) { y = f.both(x) }
        <domain: "f", opset_import: ["": 16]>
        both (u) => (v) {
            zero = Constant <value = int64 {0}> ()
            one = Constant <value = int64 {1}> ()
            a = Gather(u, zero)
            b = Gather(u, one)
            v = Add(a, b)
        }""",
        domains=', "f": 1',
    )
    result = lab.apply(GatherToSplit(), model)
    assert lab.reasons(result.skipped) == {
        "Gather -> 'a'": "the shape of 'u' is unknown; run infer-shapes first"
    }


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "g (float[1, 4] x) => (float[4] y) <int64 i = {0}> { y = Gather(x, i) }",
            id="one reader",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y, float[2] z) <float[2, 2] t = {1, 2, 3, 4}, "
            "int64 i = {0}, int64 j = {1}> { a = Gather(t, i) b = Gather(t, j) y = Add(a, x) "
            "z = Add(b, x) }",
            id="constants",
        ),
    ],
)
def test_leaves_alone_without_a_word(lab: Lab, text: str) -> None:
    model = lab.model(text)
    result = lab.apply(GatherToSplit(), model)
    assert (result.rewritten, result.skipped) == ([], [])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_numerics_of_random_cuts_equal_both_oracles(lab: Lab, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 4))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    axis = data.draw(st.integers(0, rank - 1))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    shape[axis] = sum(sizes)
    constants, nodes, outputs, start = [], [], [], 0
    for number, size in enumerate(sizes):
        rows = [
            row - data.draw(st.sampled_from((0, shape[axis]))) for row in range(start, start + size)
        ]
        scalar = size == 1 and data.draw(st.booleans())
        kept = shape[:axis] + ([] if scalar else [size]) + shape[axis + 1 :]
        constants.append(
            f"int64{'' if scalar else f'[{size}]'} i{number} = {{{', '.join(map(str, rows))}}}"
        )
        nodes.append(
            f"y{number} = Gather <axis = {axis - data.draw(st.sampled_from((0, rank)))}> "
            f"(x, i{number})"
        )
        outputs.append(f"float{kept if kept else ''} y{number}")
        start += size
    order = data.draw(st.permutations(range(len(sizes))))
    body = " ".join(nodes[number] for number in order)
    text = f"g (float{shape} x) => ({', '.join(outputs)}) <{', '.join(constants)}> {{ {body} }}"
    model = lab.model(text, opset=data.draw(st.sampled_from((11, 13, 18))))
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x.flat[0] = np.nan
    expected = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert lab.exact(GatherToSplit(), model, {"x": x}).rewritten
    assert lab.ops(model)[0] == "Split"
    after = lab.outputs(model, {"x": x})
    for number in range(len(sizes)):
        np.testing.assert_array_equal(after[f"y{number}"], expected[number])  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["int32", "float16", "double", "int64", "bool"])
def test_numerics_for_other_dtypes(lab: Lab, dtype: str) -> None:
    text = LISTS.replace("float[", f"{dtype}[").replace("h = Relu", "h = Identity")
    text = text.replace("= Neg", "= Identity")
    assert lab.exact(GatherToSplit(), known(lab, text)).rewritten


def test_a_piece_that_is_cut_up_itself(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 3] x) => (float[1] y, float[2] z, float[3] w) {
            zero = Constant <value = int64 {0}> () one = Constant <value = int64 {1}> ()
            first = Constant <value = int64[1] {0}> ()
            rest = Constant <value = int64[2] {1, 2}> ()
            p = Gather(x, zero) q = Gather(x, one) w = Neg(q)
            a = Gather(p, first) b = Gather(p, rest) y = Neg(a) z = Neg(b)
        }""")
    lab.exact(GatherToSplit(), model)
    assert lab.ops(model).count("Split") == 2
