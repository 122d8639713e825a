from __future__ import annotations

import re

import pytest

from ascend.presets import PRESETS, Preset


def test_names_are_unique_and_can_be_written_behind_an_at_sign() -> None:
    names = [preset.name for preset in PRESETS]
    assert names == ["clean", "ascend310p", "ascend310p-cann5"]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) for name in names)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_each_says_what_it_is_for_and_where_that_is_written(preset: Preset) -> None:
    assert re.fullmatch(r"[A-Z].*\.", preset.summary)
    assert "https://" in preset.source


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_each_is_a_pass_list_and_no_other_preset(preset: Preset) -> None:
    assert "@" not in preset.passes
    assert not re.search(r"\s", preset.passes)


def test_only_the_preset_for_old_software_takes_grid_sample_apart() -> None:
    taken_apart = [p.name for p in PRESETS if "decompose-grid-sample" in p.passes]
    assert taken_apart == ["ascend310p-cann5"]
