from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes import Note, Pass, PassResult, optimize
from onnx_passes.report.document import finite, to_document

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z)
<float[1] w = {0.7}, float[1] v = {1.3}> { y = Mul(x, w) z = Mul(x, v) }
"""


class Spoil(Pass):
    """Replace one weight and make a node more."""

    name = "spoil"
    exactness = "exact"

    def run(self, model: ir.Model) -> PassResult:
        """Set ``v`` to NaN."""
        weight = model.graph.initializers["v"]
        weight.const_value = ir.Tensor(np.array([np.nan], np.float32), name="v")
        return PassResult([Note("Mul -> 'z'", "spoiled")], [Note("Mul -> 'y'", "left")])


@pytest.fixture(scope="module")
def document(lab: Lab) -> dict[str, Any]:
    return to_document(optimize(lab.model(TEXT), Spoil(), on_fail="keep"))


def test_is_strict_json(document: dict[str, Any]) -> None:
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document


def test_says_what_happened(document: dict[str, Any]) -> None:
    assert (document["verdict"], document["ok"]) == ("failed", False)
    assert document["feeds"] == "generated, seeds 0, 1: x float32 [2, 3]"
    assert document["oracle"].startswith("onnxruntime")
    assert document["before"] == {"nodes": 2, "bytes": 8, "operators": {"Mul": 2}}
    assert document["after"] == document["before"]
    (step,) = document["steps"]
    assert step["rewritten"] == [{"node": "Mul -> 'z'", "text": "spoiled"}]
    assert step["skipped"] == [{"node": "Mul -> 'y'", "text": "left"}]
    assert (step["pass"], step["name"], step["exactness"]) == ("spoil", "spoil", "exact")
    assert (step["number"], step["verdict"], step["kept"]) == (1, "failed", True)
    assert "output 'z'" in step["reason"]
    y, z = step["outputs"]
    assert (y["verdict"], y["original"]["same_bits"], y["tolerance"]) == ("passed", True, 0.0)
    assert (z["verdict"], z["original"]["max_abs"], z["previous"]["max_abs"]) == (
        "failed",
        "inf",
        "inf",
    )
    assert z["original"]["actual"] == "nan"
    assert z["original"]["worst_index"] == [0, 0]


def test_the_keys_are_those_of_the_schema(document: dict[str, Any]) -> None:
    from onnx_passes.report import document as module

    schema = module.__doc__ or ""
    (step,) = document["steps"]
    output = step["outputs"][0]
    for keys in (document, step, output):
        for key in keys:
            assert key in schema, key


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
        ((1.5, float("inf")), [1.5, "inf"]),
        ({"a": [float("nan")]}, {"a": ["nan"]}),
        (3, 3),
        (True, True),
        (None, None),
        ("inf", "inf"),
    ],
)
def test_finite(value: object, expected: object) -> None:
    assert finite(value) == expected
