from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx.reference
import onnx_ir as ir
import pytest

from onnx_passes.passes.decompose_is_nan import DecomposeIsNan

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

KINDS: dict[str, Any] = {"float16": np.float16, "float": np.float32, "double": np.float64}
NUMBERS = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 6e-8, 65504.0]


def is_nan(lab: Lab, kind: str = "float", opset: int = 16) -> ir.Model:
    return lab.model(f"g ({kind}[N] x) => (bool[N] y) {{ y = IsNaN(x) }}", opset=opset)


@pytest.mark.parametrize("opset", [11, 13, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_rewrites(lab: Lab, kind: str, opset: int) -> None:
    model = is_nan(lab, kind, opset)
    feeds = {"x": np.array(NUMBERS, KINDS[kind])}
    result = lab.exact(DecomposeIsNan(), model, feeds)
    assert lab.ops(model) == ["Equal", "Not"]
    assert lab.reasons(result.rewritten) == {"IsNaN -> 'y'": "not equal to itself"}
    assert lab.outputs(model, feeds)["y"].tolist() == [True, True] + [False] * 7


def test_rewrites_bfloat16(lab: Lab) -> None:
    model = is_nan(lab, "bfloat16")
    assert DecomposeIsNan().run(model).rewritten
    evaluator = onnx.reference.ReferenceEvaluator(ir.to_proto(model))
    (found,) = evaluator.run(None, {"x": np.array(NUMBERS, ml_dtypes.bfloat16)})
    assert np.asarray(found).tolist() == [True, True] + [False] * 7


def test_rewrites_the_guard_of_an_attention(lab: Lab) -> None:
    model = lab.model("""
        g (float[2, 3] x, bool c) => (float[2, 3] y) <float zero = {0}> {
            s = Softmax(x)
            y = If (c) <
                then_branch = t () => (float[2, 3] p) { n = IsNaN(s) p = Where(n, zero, s) },
                else_branch = e () => (float[2, 3] q) { q = f.guard(s) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        guard (a) => (r) {
            z = Constant <value = float {0}> () n = IsNaN(a) r = Where(n, z, a)
        }
    """, domains=', "f": 1')  # fmt: skip
    x = np.array([[1, 2, 3], [-np.inf] * 3], np.float32)
    for taken in (True, False):
        twin = ir.from_proto(ir.to_proto(model))
        feeds = {"x": x, "c": np.array(taken)}
        lab.exact(DecomposeIsNan(), twin, feeds)
        assert (lab.outputs(twin, feeds)["y"][1] == 0).all()
        assert "IsNaN" not in str(ir.to_proto(twin))


@pytest.mark.parametrize(
    ("text", "opset", "reason"),
    [
        pytest.param(
            "g (float[N] x) => (bool[N] y) { y = IsNaN(x) }",
            10,
            "Equal of opset 10 takes no float",
            id="opset 10",
        ),
        pytest.param(
            "g (float[N] x) => (bool[N] y) { u = f.odd(x) y = IsNaN(u) }",
            16,
            "its input has type unknown, expected float16, bfloat16, float or double",
            id="an unknown type",
        ),
        pytest.param(
            "g (float8e5m2[N] x) => (bool[N] y) { y = IsNaN(x) }",
            20,
            "its input has type float8e5m2, expected float16, bfloat16, float or double",
            id="float8",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, opset: int, reason: str) -> None:
    model = lab.model(text, opset=opset)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    result = DecomposeIsNan().run(model)
    assert lab.reasons(result.skipped) == {"IsNaN -> 'y'": reason}
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
