"""A float16 model: onnxruntime rounds at will, a correct exact pass is not blamed, a fault is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes import Pass, PassResult, optimize
from onnx_passes.numerics.oracle import Oracle

if TYPE_CHECKING:
    from onnx_passes.core.contract import Exactness

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
g (float16[4, 64] x) => (float16[64, 4] y) {
    a = Exp(x)
    b = Identity(a)
    c = Transpose<perm = [1, 0]>(b)
    d = Identity(c)
    e = Mul(d, w)
    y = Mul(d, e)
}
"""

WITHOUT_WEIGHT = TEXT.replace("w)", "d)")


@dataclass(frozen=True)
class ScaleWeight(Pass):
    """Scale the constant by 1.05, which float16 can tell."""

    name: ClassVar[str] = "scale-weight-for-test"
    exactness: ClassVar[Exactness] = "exact"

    def run(self, model: ir.Model) -> PassResult:
        value = model.graph.initializers["w"]
        value.const_value = ir.Tensor(np.array([1.575], np.float16), name="w")
        return PassResult()


@pytest.fixture
def model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TEXT)
    weight = onnx.numpy_helper.from_array(np.array([1.5], np.float16), "w")
    model.graph.initializer.append(weight)
    return model


def test_a_correct_exact_pass_is_not_blamed(model: onnx.ModelProto) -> None:
    (step,) = optimize(model, "drop-identity").steps
    assert step.verdict == "passed"
    assert "eps 0.000977" in step.outputs[0].tolerance.formula


def test_a_fault_is_blamed(model: onnx.ModelProto) -> None:
    (step,) = optimize(model, ScaleWeight()).steps
    assert step.verdict == "failed"


@pytest.mark.parametrize(
    ("text", "half"),
    [
        pytest.param(WITHOUT_WEIGHT, True, id="float16 inputs"),
        pytest.param(WITHOUT_WEIGHT.replace("float16", "float"), False, id="float32 only"),
        pytest.param(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y) '
            "{ h = Cast<to = 10>(x) y = Cast<to = 1>(h) }",
            True,
            id="a cast to float16 inside",
        ),
    ],
)
def test_half_precision_is_seen(text: str, *, half: bool) -> None:
    assert Oracle(ir.from_onnx_text(text)).computes_in_half is half
