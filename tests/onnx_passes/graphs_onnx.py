"""The models that the onnx package carries: its node tests, with data, and its light networks."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase

    from tests.onnx_passes.graphs_case import Feeds

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@functools.cache
def node_cases() -> tuple[TestCase, ...]:
    """Return the tests of single operators, and of small modules that were exported."""
    with warnings.catch_warnings():
        # Newer versions of onnx overflow on purpose while they make the cases.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = [case for kind in KINDS for case in load_model_tests(kind=kind)]
    return tuple(sorted(found, key=lambda case: case.name))


def model_of(case: TestCase) -> onnx.ModelProto:
    """Return the model of a test: from its file, or from memory where onnx makes it anew."""
    model = onnx.load(f"{case.model_dir}/model.onnx") if case.model_dir else case.model
    assert model is not None
    return model


def feeds_of(case: TestCase, model: onnx.ModelProto) -> Feeds | None:
    """Return the inputs of a test, None where they are no tensors."""
    if any(value.type.WhichOneof("value") != "tensor_type" for value in model.graph.input):
        return None
    names = [value.name for value in model.graph.input]
    if case.model_dir is None and case.data_sets is not None:
        return dict(zip(names, map(np.asarray, case.data_sets[0][0]), strict=False))
    files = sorted(
        (Path(str(case.model_dir)) / "test_data_set_0").glob("input_*.pb"),
        key=lambda file: int(file.stem.split("_")[1]),
    )
    arrays = [
        numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes())) for file in files
    ]
    return dict(zip(names, arrays, strict=False))


def frozen(model: onnx.ModelProto, feeds: Feeds) -> onnx.ModelProto:
    """Return the model with all inputs but the first as constants of the values fed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in list(copy.graph.input)[1:]:
        if value.name in feeds and not any(t.name == value.name for t in copy.graph.initializer):
            copy.graph.initializer.append(numpy_helper.from_array(feeds[value.name], value.name))
    names = {tensor.name for tensor in copy.graph.initializer}
    kept = [value for value in copy.graph.input if value.name not in names]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    copy.ir_version = max(copy.ir_version, 4)  # before, each initializer is an input
    return copy
