from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.feeds import generate
from onnx_passes.numerics.runner import run_model
from onnx_passes.passes.drop_unused import DropUnused
from onnx_passes.passes.splice_grid_sample import SpliceGridSample

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.onnx_passes.conftest import Lab

NAMINGS: dict[str, Callable[[int, ir.Node], str]] = {
    "Unsqueeze_8": lambda index, node: f"{node.op_type}_{index + 3}",
    "p2o.Add.6": lambda index, node: f"p2o.{node.op_type}.{index}",
    "no names at all": lambda _index, _node: "",
}
ZEROS = "float[1, 3, 10, 4] zx, float[1, 10, 4, 2] zg"
WEIGHTS = "int64[10] p = {0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, int64[1] one = {1}, float v = {0}"
PIN_X = (
    "a = Transpose <perm = [0, 1, 3, 2]> (x) b = Add(a, zx) i = Transpose <perm = [0, 1, 3, 2]> (b)"
)
PIN_G = (
    "c = Transpose <perm = [0, 2, 1, 3]> (t) d = Add(zg, c) g = Transpose <perm = [0, 2, 1, 3]> (d)"
)
CORE = (
    "u = Unsqueeze(g, one) q = Pad(u, p, v) s = Squeeze(q, one) "
    "r = Transpose <perm = [0, 3, 1, 2]> (s)"
)
JOIN = "j = Add(i, r)"
PIN_Y = (
    "k = Transpose <perm = [0, 1, 3, 2]> (j) l = Add(k, zx) m = Transpose <perm = [0, 1, 3, 2]> (l)"
)


def patched(
    lab: Lab,
    *parts: str,
    weights: str = WEIGHTS,
    naming: str = "Unsqueeze_8",
    opset: int = 16,
    outputs: str = "float[N, 3, 4, 10] y",
) -> ir.Model:
    """Return an export of the patched network: a thin-plate grid, the placeholder, a Relu."""
    nodes = parts or (PIN_X, PIN_G, CORE, JOIN, PIN_Y)
    text = (
        f"g (float[N, 3, 4, 10] x, float[N, 40, 2] f, {ZEROS}) => ({outputs}) "
        f"<int64[4] shape = {{-1, 4, 10, 2}}, {weights}> "
        f"{{ t = Reshape(f, shape) {' '.join(nodes)} y = Relu(m) }}"
    )
    zeros = {
        "zx": np.zeros((1, 3, 10, 4), np.float32),
        "zg": np.zeros((1, 10, 4, 2), np.float32),
    }
    model = lab.bind(lab.model(text, opset=opset), zeros)
    shape_of: dict[str, list[int | str]] = {
        "t": ["N", 4, 10, 2],
        "g": ["N", 4, 10, 2],
        "i": ["N", 3, 4, 10],
    }
    for index, node in enumerate(model.graph):
        node.name = NAMINGS[naming](index, node)
        for value in node.outputs:
            if value.name in shape_of:
                value.shape = ir.Shape(shape_of[value.name])
    return model


def sampled(lab: Lab, attributes: str = 'align_corners = 1, mode = "bilinear"') -> ir.Model:
    """Return the network before the patch."""
    return lab.model(
        "g (float[N, 3, 4, 10] x, float[N, 40, 2] f) => (float[N, 3, 4, 10] y) "
        "<int64[4] shape = {-1, 4, 10, 2}> { t = Reshape(f, shape) "
        f"m = GridSample <{attributes}> (x, t) y = Relu(m) }}"
    )


def same_as(model: ir.Model, expected: ir.Model) -> None:
    feeds = generate(model)
    np.testing.assert_array_equal(run_model(model, feeds)["y"], run_model(expected, feeds)["y"])
    assert run_model(model, feeds)["y"].any()


@pytest.mark.parametrize("naming", NAMINGS, ids=lambda name: f"nodes named like {name}")
def test_rewrites_the_chain_whatever_its_names_and_restores_the_numbers(
    lab: Lab, naming: str
) -> None:
    model = patched(lab, naming=naming)
    result = lab.apply(SpliceGridSample(), model)
    assert lab.ops(model) == ["Reshape", "GridSample", "Relu"]
    assert lab.reasons(result.rewritten) == {"Pad -> 'q'": "GridSample of 'x' at 't'"}
    assert lab.initializers(model) == ["shape"]
    same_as(model, sampled(lab))


@pytest.mark.parametrize(
    ("parts", "ops"),
    [
        pytest.param(
            ("i = Identity(x) g = Identity(t)", CORE, JOIN, "m = Identity(j)"),
            ["Reshape", "GridSample", "Relu"],
            id="without pins",
        ),
        pytest.param(
            (PIN_X, PIN_G, CORE, "j = Add(r, i)", PIN_Y),
            ["Reshape", "GridSample", "Relu"],
            id="with the picture as second operand",
        ),
        pytest.param(
            (PIN_X, PIN_G, CORE, JOIN, PIN_Y.replace("m =", "n =") + " m = Neg(n)"),
            ["Reshape", "GridSample", "Neg", "Relu"],
            id="and stops behind the last pin",
        ),
        pytest.param(
            (
                PIN_X,
                PIN_G,
                "h = Transpose <perm = [0, 3, 1, 2]> (g) u = Unsqueeze(h, one) q = Pad(u, pc, v) "
                "r = Squeeze(q, one)",
                JOIN,
                PIN_Y,
            ),
            ["Reshape", "GridSample", "Relu"],
            id="with the channels moved before the Pad",
        ),
    ],
)
def test_rewrites_chains(lab: Lab, parts: tuple[str, ...], ops: list[str]) -> None:
    weights = WEIGHTS + ", int64[10] pc = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0}"
    model = patched(lab, *parts, weights=weights)
    lab.apply(SpliceGridSample(), model)
    DropUnused().run(model)
    assert lab.ops(model) == ops


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        ({"align_corners": False}, 'align_corners = 0, mode = "bilinear"'),
        ({"mode": "nearest"}, 'align_corners = 1, mode = "nearest"'),
        ({"padding_mode": "border"}, 'align_corners = 1, padding_mode = "border"'),
    ],
    ids=["align_corners", "mode", "padding_mode"],
)
def test_rewrites_as_the_options_say(lab: Lab, options: dict[str, bool], attributes: str) -> None:
    model = patched(lab)
    SpliceGridSample(**options).run(model)  # type: ignore[arg-type]
    same_as(model, sampled(lab, attributes))


def test_writes_the_mode_names_of_opset_20(lab: Lab) -> None:
    model = patched(lab, opset=20)
    lab.apply(SpliceGridSample(), model)
    same_as(model, sampled(lab))


def test_keeps_a_chain_that_another_node_reads_too(lab: Lab) -> None:
    model = patched(
        lab,
        *(PIN_X, "w = Abs(i)", PIN_G, CORE, JOIN, PIN_Y),
        outputs="float[N, 3, 4, 10] y, float[N, 3, 4, 10] w",
    )
    lab.apply(SpliceGridSample(), model)
    assert lab.ops(model).count("GridSample") == 1
    assert "Abs" in lab.ops(model)


def leaves(lab: Lab, reason: str, model: ir.Model) -> None:
    result = lab.apply(SpliceGridSample(), model)
    assert list(lab.reasons(result.skipped).values()) == [reason]
    assert "GridSample" not in lab.ops(model)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(
            "p, v)", "p, o)", "it pads with something other than 0", id="a Pad of something else"
        ),
        pytest.param(
            "Pad(u", 'Pad <mode = "edge"> (u', "its mode is 'edge'", id="a Pad of another mode"
        ),
        pytest.param(
            "u, p,", "u, before,", "it does more than append to one axis", id="a Pad in front"
        ),
        pytest.param(
            "[0, 3, 1, 2]> (s)",
            "[0, 3, 1, 2]> (s) other = Neg(s)",
            "a value behind it is a graph output or has another reader",
            id="a value that another node reads",
        ),
        pytest.param(
            "r = Tr",
            "n = Neg(s) r = Tr",
            "a value behind it is a graph output or has another reader",
            id="a value that another node reads, first",
        ),
        pytest.param("Add(i, r)", "Mul(i, r)", "no Add joins what it makes to a picture", id="Mul"),
    ],
)
def test_leaves_alone(lab: Lab, old: str, new: str, reason: str) -> None:
    weights = WEIGHTS + ", float o = {1}, int64[10] before = {0, 0, 0, 0, 1, 0, 0, 0, 0, 0}"
    parts = [part.replace(old, new) for part in (PIN_X, PIN_G, CORE, JOIN, PIN_Y)]
    leaves(lab, reason, patched(lab, *parts, weights=weights))


def test_leaves_alone_computed_amounts(lab: Lab) -> None:
    parts = (PIN_X, PIN_G, "e = Shape(p) o = Sub(p, p) w = Add(o, p) " + CORE.replace("p,", "w,"))
    model = patched(lab, *parts, JOIN, PIN_Y)
    leaves(lab, "its amounts are computed, or for some axes only", model)


def test_leaves_alone_a_graph_output(lab: Lab) -> None:
    model = patched(lab, outputs="float[N, 3, 4, 10] y, float[N, 3, 4, 10] r")
    leaves(lab, "a value behind it is a graph output or has another reader", model)


def test_leaves_alone_another_order_of_the_axes(lab: Lab) -> None:
    square = CORE.replace("[0, 3, 1, 2]> (s)", "[0, 3, 2, 1]> (s)")
    back = " w = Transpose <perm = [0, 1, 3, 2]> (r)"
    model = patched(lab, PIN_X, PIN_G, square + back, "j = Add(i, w)", PIN_Y)
    lab.apply(SpliceGridSample(), model)
    assert "GridSample" in lab.ops(model)
    text = "g (float[1, 3, 4, 4] x, float[1, 4, 4, 2] g) => (float[1, 3, 4, 4] j) " + (
        f"<{WEIGHTS}> {{ {square} j = Add(x, r) }}"
    )
    reason = "what it pads is no tensor [N, Ho, Wo, 2] whose last axis goes to place 1"
    leaves(lab, reason, lab.model(text))


def test_leaves_alone_unknown_shapes(lab: Lab) -> None:
    model = patched(lab, "i = my.Mystery(x)", PIN_G, CORE, JOIN, PIN_Y)
    for node in model.graph:
        if node.op_type == "Mystery":
            node.outputs[0].shape = None
    result = SpliceGridSample().run(model)
    assert lab.reasons(result.skipped) == {
        "Pad -> 'q'": "Add -> 'j' joins it to no tensor of rank 4 (or its shape is unknown)"
    }


def test_leaves_alone_another_number_of_channels(lab: Lab) -> None:
    text = "g (float[1, 1, 4, 5] x, float[1, 4, 5, 2] g) => (float[1, 3, 4, 5] j) " + (
        f"<{WEIGHTS}> {{ {CORE} j = Add(x, r) }}"
    )
    leaves(lab, "it makes 3 channels, 'x' has 1", lab.model(text))


def test_leaves_alone_an_old_opset(lab: Lab) -> None:
    leaves(
        lab,
        "opset 13 has no GridSample; run set-opset{version=16} first",
        patched(lab, opset=13),
    )


def test_refuses_a_mode_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="expected one of bilinear, nearest, bicubic"):
        SpliceGridSample(mode="linear")
