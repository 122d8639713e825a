"""Every exact pass on random graphs: bits, interface, second run; fuse-batch-norm: its bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_passes.passes.drop_identity import DropIdentity
from onnx_passes.passes.drop_unused import DropUnused
from onnx_passes.passes.fold_constants import FoldConstants
from onnx_passes.passes.fuse_batch_norm import FuseBatchNorm
from onnx_passes.passes.infer_shapes import InferShapes
from onnx_passes.passes.merge_duplicates import MergeDuplicates

if TYPE_CHECKING:
    from onnx_passes.core.contract import Pass
    from tests.onnx_passes.conftest import Lab

EXACT = (DropIdentity(), DropUnused(), FoldConstants(), InferShapes(), MergeDuplicates())
UNARY = ("Identity", "Identity", "Neg", "Relu", "Abs", "Exp", "Dropout")
BINARY = ("Add", "Mul", "Sub")
FEEDS = {"x": np.array([np.nan, -np.inf, -0.0, 1.5], np.float32)}


@st.composite
def bodies(draw: st.DrawFn, outer: list[str], prefix: str) -> tuple[str, list[str]]:
    """Draw nodes that read ``outer`` and each other; return their text and what they make."""
    lines: list[str] = []
    made: list[str] = []
    for index in range(draw(st.integers(1, 7))):
        name = f"{prefix}{index}"
        sources = st.sampled_from(outer + made)
        kind = draw(st.sampled_from(("unary", "binary", "constant")))
        if kind == "unary":
            lines.append(f"{name} = {draw(st.sampled_from(UNARY))}({draw(sources)})")
        elif kind == "binary":
            operator = draw(st.sampled_from(BINARY))
            lines.append(f"{name} = {operator}({draw(sources)}, {draw(sources)})")
        else:
            values = draw(st.sampled_from(("{1, 2, 3, 4}", "{1, 2, 3, 4}", "{0, -0.0, 2, 2}")))
            lines.append(f"{name} = Constant <value = float[4] {values}> ()")
        made.append(name)
    return " ".join(lines), made


@st.composite
def models(draw: st.DrawFn) -> tuple[str, bool]:
    """Draw the text of a graph with an If in its middle, and which branch is taken."""
    before, made = draw(bodies(["x", "v", "w"], "a"))
    known = ["x", "v", "w", *made]
    branches = []
    for name in ("then", "else"):
        body, inner = draw(bodies(known, name[0]))
        out = draw(st.sampled_from(inner))
        body, out = f"{body} {out}_out = Identity({out})", f"{out}_out"
        branches.append(f"{name}_branch = {name} () => (float[4] {out}) {{ {body} }}")
    after, later = draw(bodies([*known, "chosen"], "z"))
    last = draw(st.sampled_from(later))
    nodes = [*made, "chosen", *later]
    outputs = draw(st.lists(st.sampled_from(nodes), min_size=0, max_size=3, unique=True))
    declared = ", ".join(f"float[4] {name}" for name in [*outputs, "y"])
    text = f"""
        g (float[4] x, bool c) => ({declared})
        <float[4] v = {{1, 2, 3, 4}}, float[4] w = {{1, 2, 3, 4}}> {{
            {before}
            chosen = If (c) <{", ".join(branches)}>
            {after}
            y = Add({last}, chosen)
        }}"""
    return text, draw(st.booleans())


@pytest.mark.parametrize("item", EXACT, ids=lambda item: item.name)
@settings(max_examples=20, deadline=None)
@given(drawn=models())
def test_exact_passes_keep_every_bit_the_interface_and_a_second_run(
    lab: Lab, item: Pass, drawn: tuple[str, bool]
) -> None:
    text, taken = drawn
    lab.exact(item, lab.model(text), {**FEEDS, "c": np.array(taken)})


@settings(max_examples=10, deadline=None)
@given(drawn=models())
def test_all_exact_passes_in_a_row_leave_no_identity_but_at_the_interface(
    lab: Lab, drawn: tuple[str, bool]
) -> None:
    text, taken = drawn
    model = lab.model(text)
    for item in EXACT * 2:
        lab.exact(item, model, {**FEEDS, "c": np.array(taken)})
    for node in model.graph.all_nodes():
        if node.op_type == "Identity":
            assert node.outputs[0].is_graph_output()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 5), data=st.data())
def test_fuse_batch_norm_keeps_its_bound_in_a_row_of_layers(
    lab: Lab, seed: int, channels: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** data.draw(st.integers(-3, 3))
    shape = f"{channels}, {channels}, 1, 1"
    vector = f"float[{channels}]"
    model = lab.model(f"""
        g (float[2, {channels}, 3, 3] x, float[{shape}] w, {vector} b, {vector} s, {vector} t,
           {vector} m, {vector} v) => (float[2, {channels}, 3, 3] y) {{
            h = Conv(x, w, b)
            y = BatchNormalization(h, s, t, m, v)
        }}""")
    arrays: dict[str, Any] = {name: rng.standard_normal(channels) * scale for name in "bstm"}
    arrays["v"] = rng.uniform(1e-4, 2, channels) * scale
    arrays["w"] = rng.standard_normal((channels, channels, 1, 1))
    lab.bind(model, {name: array.astype(np.float32) for name, array in arrays.items()})
    x = rng.standard_normal((2, channels, 3, 3)).astype(np.float32)
    before = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    lab.apply(FuseBatchNorm(), model)
    after = lab.outputs(model, {"x": x})["y"]
    factor = np.abs(arrays["s"]) / np.sqrt(arrays["v"] + 1e-5)
    sums = np.einsum("nchw,oc->nohw", np.abs(x), np.abs(arrays["w"][..., 0, 0]))
    column = (slice(None), None, None)
    inner = sums + (np.abs(arrays["b"]) + np.abs(arrays["m"]))[column]
    size = factor[column] * inner + np.abs(arrays["t"])[column]
    assert lab.ops(model) == ["Conv"]
    assert (np.abs(after - before) <= (channels + 8) * 2.0**-23 * size).all()
