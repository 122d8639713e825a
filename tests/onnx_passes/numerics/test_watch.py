from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.runner import run_model
from onnx_passes.numerics.watch import expose

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

TEXT = "g (float[2] x) => (float[2] y) { middle = Neg(x) last = Abs(middle) y = Relu(last) }"


def test_named_tensors_become_outputs_of_a_copy(lab: Lab) -> None:
    model = lab.model(TEXT)
    watched = expose(model, ["middle", "y", "last"])
    assert [value.name for value in watched.graph.outputs] == ["y", "middle", "last"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    outputs = run_model(watched, {"x": np.array([1, -2], np.float32)})
    np.testing.assert_array_equal(outputs["middle"], [-1, 2])
    np.testing.assert_array_equal(outputs["last"], [1, 2])


@pytest.mark.parametrize("name", ["midle", "x"])
def test_refuses_a_tensor_no_node_makes(lab: Lab, name: str) -> None:
    with pytest.raises(UsageError, match=f"the model makes no tensor '{name}'"):
        expose(lab.model(TEXT), [name])
    with pytest.raises(UsageError, match="did you mean 'middle'"):
        expose(lab.model(TEXT), ["midle"])
