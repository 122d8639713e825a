"""The node tests of GridSample that the onnx package carries."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase

    from tests.onnx_passes.grid_sample.conftest import Sampling

with warnings.catch_warnings():
    # Newer versions of onnx overflow on purpose while they make the cases of other operators.
    warnings.simplefilter("ignore", RuntimeWarning)
    CASES = [
        case for case in load_model_tests(kind="node") if case.name.startswith("test_gridsample")
    ]


def arrays(case: TestCase, role: str, names: list[str]) -> dict[str, Any]:
    """Return inputs or outputs: from files, or from memory where onnx makes the cases anew."""
    if case.model_dir is None and case.data_sets is not None:
        values = case.data_sets[0][role == "output"]
        return dict(zip(names, map(np.asarray, values), strict=True))
    found = {}
    for number, name in enumerate(names):
        tensor = onnx.TensorProto()
        data = Path(str(case.model_dir)) / "test_data_set_0" / f"{role}_{number}.pb"
        tensor.ParseFromString(data.read_bytes())
        found[name] = numpy_helper.to_array(tensor)
    return found


def test_all_eighteen_are_there() -> None:
    assert len(CASES) == 18


@pytest.mark.parametrize("form", ["elements", "rows"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_passes(sampling: Sampling, case: TestCase, form: str) -> None:
    model = onnx.load(f"{case.model_dir}/model.onnx") if case.model_dir else case.model
    assert model is not None
    feeds = arrays(case, "input", [value.name for value in model.graph.input])
    expected = arrays(case, "output", [value.name for value in model.graph.output])["Y"]
    rewritten = sampling.rewrite(model, DecomposeGridSample(form=form))
    actual = sampling.run(rewritten, **feeds)[0]
    np.testing.assert_allclose(actual, expected, rtol=case.rtol, atol=case.atol)
    sampling.assert_same_bits(actual, sampling.run(model, **feeds)[0])
