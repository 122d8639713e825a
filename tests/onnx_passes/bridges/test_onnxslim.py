from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes import optimize
from onnx_passes.bridges.onnxslim import Onnxslim
from onnx_passes.core.contract import ToolError, UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.onnx_passes.conftest import Lab

onnxslim = pytest.importorskip("onnxslim", reason="onnxslim is not installed")

TEXT = """
g (float[N, 3] x, float[3, 2] w) => (float[N, 2] y) {
    i = Identity(x)
    n = Neg(i)
    k = Constant <value = float {2}> ()
    two = Mul(k, k)
    m = Mul(n, two)
    y = MatMul(m, w)
}
"""


def example(lab: Lab) -> ir.Model:
    w = np.random.default_rng(0).standard_normal((3, 2), np.float32)
    model = lab.bind(lab.model(TEXT), {"w": w})
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
        node.metadata_props["keep"] = node.name
    return model


def test_rewrites_and_names_the_tool_and_its_version(lab: Lab) -> None:
    model = example(lab)
    result = Onnxslim().run(model)
    lab.check(model)
    (note,) = result.rewritten
    assert note.text == f"{Onnxslim.version()}: 6 nodes before, {len(model.graph)} after"
    assert Onnxslim.version().split()[1][0].isdigit()
    assert len(model.graph) <= 3


def test_passes_our_checks_in_a_child_process(lab: Lab) -> None:
    outcome = optimize(example(lab), Onnxslim())
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason


def test_keeps_interface_and_the_metadata_of_nodes_that_stay(lab: Lab) -> None:
    model = example(lab)
    before = lab.interface(model)
    Onnxslim().run(model)
    assert lab.interface(model) == before
    kept = {node.op_type: node.metadata_props.get("keep") for node in model.graph}
    assert kept["Neg"] == "node_n"


def test_a_second_run_changes_nothing(lab: Lab) -> None:
    model = example(lab)
    Onnxslim().run(model)
    assert Onnxslim().run(model).rewritten == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"skip": ["constant_foldin"]}, "mean 'constant_folding'", id="skip"),
        pytest.param({"skip_patterns": ["FusionConvBn"]}, "mean 'FusionConvBN'", id="a pattern"),
    ],
)
def test_refuses_a_misspelt_name_of(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("onnxslim", options, Onnxslim)


@pytest.mark.parametrize(
    ("options", "ops"),
    [
        pytest.param({}, ["Conv"], id="fuses by default"),
        pytest.param({"skip": ["graph_fusion"]}, ["Conv", "BatchNormalization"], id="skip"),
        pytest.param(
            {"skip_patterns": ["FusionConvBN"]}, ["Conv", "BatchNormalization"], id="skip_patterns"
        ),
    ],
)
def test_skips_what_is_named_by(lab: Lab, options: dict[str, list[str]], ops: list[str]) -> None:
    model = lab.model("""
        g (float[N, 1, 4, 4] x) => (float[N, 1, 2, 2] y) <float[1] s = {2}, float[1, 1, 3, 3] w =
        {1, 2, 3, 4, 5, 6, 7, 8, 9}> { h = Conv(x, w) y = BatchNormalization(h, s, s, s, s) }""")
    make("onnxslim", options, Onnxslim).run(model)
    assert lab.ops(model) == ops


def test_refuses_where_onnxslim_gives_no_model(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxslim, "slim", lambda *_, **__: None)
    with pytest.raises(ToolError, match="gave no model back"):
        Onnxslim().run(example(lab))
