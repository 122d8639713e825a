"""Random shapes, attributes, types and grids against ONNX Runtime's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from tests.onnx_passes.grid_sample.conftest import Case, Sampling

Sample: TypeAlias = "tuple[dict[str, Any], dict[str, Any], DecomposeGridSample]"
DTYPES: dict[str, Any] = {
    "float32": (np.float32, 32),
    "float64": (np.float64, 64),
    "float16": (np.float16, 16),
}


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Return attributes, feeds and a pass."""
    spatial = draw(st.sampled_from([2, 3]))
    modes = ["linear", "nearest"] if spatial == 3 else ["linear", "nearest", "cubic"]
    name = draw(st.sampled_from(sorted(DTYPES)))
    dtype, width = DTYPES[name]
    attributes = {
        "mode": draw(st.sampled_from(modes)),
        "padding": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align": draw(st.integers(0, 1)),
        "opset": draw(st.sampled_from([20, 22] if name == "float64" else [16, 20, 22])),
        "static": draw(st.booleans()),
    }
    small = st.integers(1, 5)
    batch, channels = draw(st.integers(0, 3)), draw(small)
    extents = draw(st.tuples(*[small] * spatial))
    outputs = draw(st.tuples(*[small] * spatial))
    pixels = st.floats(width=width)
    near = st.floats(-2, 2, width=width)
    x = draw(hnp.arrays(dtype, (batch, channels, *extents), elements=pixels))
    grid = draw(hnp.arrays(dtype, (batch, *outputs, spatial), elements=near | pixels))
    form = draw(st.sampled_from(["auto", "elements", "rows"]))
    target = draw(st.sampled_from(["cpu", "ascend310p"]))
    item = DecomposeGridSample(form=form, chunk=draw(st.integers(0, 9)), target=target)
    return attributes, {"x": x, "grid": grid}, item


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(sample=samples())
def test_equals_onnxruntime_bit_for_bit(
    sampling: Sampling, case: type[Case], sample: Sample
) -> None:
    attributes, feeds, item = sample
    model = case(**attributes).model(**feeds)
    (expected,) = sampling.run(model, **feeds)
    (actual,) = sampling.run(sampling.rewrite(model, item), **feeds)
    sampling.assert_same_bits(actual, expected)
