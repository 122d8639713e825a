"""Which nodes set-opset tries on copies, and that what it tried holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes.opsets import convert as convert_module
from onnx_passes.opsets import forms
from onnx_passes.opsets.convert import RULES, Conversion
from onnx_passes.opsets.site import Refusal, Site
from onnx_passes.passes.set_opset import SetOpset
from tests.onnx_passes.passes.test_set_opset import one

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.names import Names
    from tests.onnx_passes.conftest import Lab


def test_a_rule_that_refuses_only_after_the_rehearsal_is_no_silent_half(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shy(site: Site) -> None:
        if site.node.graph is not None and site.node.graph.name == "g":
            raise Refusal
        forms.hard_swish(site)

    monkeypatch.setitem(RULES, ("HardSwish", 14), (shy, None))
    with pytest.raises(RuntimeError, match="refused after it was rehearsed: HardSwish -> 'y'"):
        SetOpset(version=11).run(lab.model(one("y = HardSwish(x)"), opset=16))


@pytest.mark.parametrize(
    ("body", "carried"),
    [
        pytest.param("a = Relu(x) b = Relu(a) y = HardSwish(b)", 2, id="none without a rule"),
        pytest.param(
            "a = HardSwish(x) b = HardSwish(a) y = HardSwish(b)", 4, id="one of those alike"
        ),
        pytest.param(
            "a = Softmax <axis = 1> (x) b = Softmax <axis = 2> (a) y = Softmax <axis = 1> (b)",
            5,
            id="each of those that differ in an attribute",
        ),
        pytest.param(
            "i = Constant <value = int64[3] {2, 3, 4}> () "
            "j = Constant <value = int64[3] {2, -1, 4}> () "
            "a = Reshape(x, i) b = Reshape(a, j) y = Reshape(b, i)",
            5,
            id="each of those that differ in a constant",
        ),
    ],
)
def test_rehearses(lab: Lab, monkeypatch: pytest.MonkeyPatch, body: str, carried: int) -> None:
    seen = []
    original = convert_module._carry

    def counted(node: ir.Node, steps: range, names: Names, done: Conversion) -> None:
        seen.append(node.op_type)
        original(node, steps, names, done)

    monkeypatch.setattr(convert_module, "_carry", counted)
    model = lab.model(one(body), opset=16)
    result = SetOpset(version=12).run(model)
    assert result.rewritten
    assert len(seen) == carried  # the rehearsals, then each node that is not certain
