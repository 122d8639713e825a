"""Right or refused: each preset on random graphs of all operators that any pass touches."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from ascend.presets import PRESETS, Preset
from onnx_passes.core.passlist import parse
from tests.onnx_passes import graphs_plans
from tests.onnx_passes.graphs_case import Case, cases
from tests.onnx_passes.graphs_judge import Reference, judge_list
from tests.onnx_passes.graphs_makers import everything

EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_SEARCH") else 80


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_each_preset_is_right_or_refuses(preset: Preset) -> None:
    items, fired = parse(preset.passes), set[str]()
    assert graphs_plans.MODULES  # the makers are registered

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases(everything()))
    def prove(case: Case) -> None:
        reference = Reference(case.model, case.feeds)
        if reference.answers:
            fired.update(item.name for item in judge_list(items, reference))

    prove()
    assert len(fired) > 3, f"only {sorted(fired)} fired"
