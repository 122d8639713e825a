from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest

from onnx_passes.core.values import constant

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab


@pytest.mark.parametrize("text", ["value = float[1] {2}", "value_floats = [2.0]"])
def test_to_look_at_a_constant_edits_nothing(lab: Lab, text: str) -> None:
    model = lab.model(f"g () => (float[1] y) {{ y = Constant<{text}>() }}")
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    tensor = constant(model.graph.outputs[0])
    assert tensor is not None
    assert tensor.numpy().tolist() == [2]
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
