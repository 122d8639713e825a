"""Right or refused: each pass on random graphs of the operators that it touches.

Look for new examples with HYPOTHESIS_SEARCH=1 in the environment: thousands for each pass.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_passes.passes.fuse_batch_norm import FuseBatchNorm
from tests.onnx_passes.graphs_case import Case, cases
from tests.onnx_passes.graphs_judge import Reference, Tally, judge
from tests.onnx_passes.graphs_makers import MAKERS, vocabulary
from tests.onnx_passes.graphs_plans import NAMES, opsets, plan

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

EXAMPLES = 3000 if os.environ.get("HYPOTHESIS_SEARCH") else 40
# They have no reason to leave anything alone that these graphs could hold.
NEVER_REFUSE = {"drop-unused", "infer-shapes", "merge-transposes"}
# Where a pass fires or refuses in one graph of many.
MORE = {"merge-duplicates": 250, "splice-grid-sample": 150, "merge-casts": 150, "tie-batch": 200}


def test_every_pass_has_a_vocabulary() -> None:
    assert set(NAMES) == set(MAKERS) - {""}


@pytest.mark.parametrize("name", NAMES)
def test_each_pass_is_right_or_refuses(name: str) -> None:
    tally = Tally()

    count = max(EXAMPLES, MORE.get(name, 0))

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(vocabulary(name), opsets=opsets(name)), st.integers(0, 20))
    def prove(case: Case, option: int) -> None:
        reference = Reference(case.model, case.feeds)
        if reference.answers:
            tally.add(judge(plan(name, option, case.model), reference))

    prove()
    assert tally.examples > EXAMPLES / 2, "onnxruntime refuses most of the graphs"
    assert tally.fired, "the pass never fired: nothing was proven"
    assert tally.refused or name in NEVER_REFUSE, "the pass never refused"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 5), data=st.data())
def test_fuse_batch_norm_keeps_its_bound_in_a_row_of_layers(
    lab: Lab, seed: int, channels: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** data.draw(st.integers(-3, 3))
    shape = f"{channels}, {channels}, 1, 1"
    vector = f"float[{channels}]"
    model = lab.model(f"""
        g (float[2, {channels}, 3, 3] x, float[{shape}] w, {vector} b, {vector} s, {vector} t,
           {vector} m, {vector} v) => (float[2, {channels}, 3, 3] y) {{
            h = Conv(x, w, b)
            y = BatchNormalization(h, s, t, m, v)
        }}""")
    arrays: dict[str, Any] = {name: rng.standard_normal(channels) * scale for name in "bstm"}
    arrays["v"] = rng.uniform(1e-4, 2, channels) * scale
    arrays["w"] = rng.standard_normal((channels, channels, 1, 1))
    lab.bind(model, {name: array.astype(np.float32) for name, array in arrays.items()})
    x = rng.standard_normal((2, channels, 3, 3)).astype(np.float32)
    before = lab.outputs(model, {"x": x})["y"].astype(np.float64)
    lab.apply(FuseBatchNorm(), model)
    after = lab.outputs(model, {"x": x})["y"]
    factor = np.abs(arrays["s"]) / np.sqrt(arrays["v"] + 1e-5)
    sums = np.einsum("nchw,oc->nohw", np.abs(x), np.abs(arrays["w"][..., 0, 0]))
    column = (slice(None), None, None)
    inner = sums + (np.abs(arrays["b"]) + np.abs(arrays["m"]))[column]
    size = factor[column] * inner + np.abs(arrays["t"])[column]
    assert lab.ops(model) == ["Conv"]
    assert (np.abs(after - before) <= (channels + 8) * 2.0**-23 * size).all()
