"""Right or refused: each pass and preset on the models that the onnx package carries.

Each node test runs with its own data, as it is and with all inputs but the first made constants.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import pytest

from ascend.presets import PRESETS, Preset
from onnx_passes.core.passlist import Item, parse
from tests.onnx_passes.graphs_judge import Reference, judge, judge_list
from tests.onnx_passes.graphs_onnx import feeds_of, frozen, model_of, node_cases
from tests.onnx_passes.graphs_plans import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx.backend.test.case.test_case import TestCase


# One case in so many, each with one pass in so many: a search runs all passes on all cases.
STRIDE, SHARE = (1, 1) if os.environ.get("HYPOTHESIS_SEARCH") else (12, 5)
OPTIONS = {"split-large-conv": "{max_kernel=2}", "split-average-pool": "{max_kernel=3}"}


def references(cases: tuple[TestCase, ...]) -> Iterator[tuple[str, Reference]]:
    for case in cases:
        model = model_of(case)
        feeds = feeds_of(case, model)
        for kind in ("as it is", "frozen") if feeds else ():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of exports that are too old for onnxruntime
                try:
                    made = model if kind == "as it is" else frozen(model, feeds or {})
                    reference = Reference(made, [feeds or {}])
                except Exception:
                    continue
            if reference.answers:
                yield f"{case.name}, {kind}", reference


@pytest.mark.parametrize("number", range(0, STRIDE, 4))
def test_the_node_tests_keep_their_numbers(number: int) -> None:
    items = [parse(name + OPTIONS.get(name, ""))[0] for name in NAMES if name != "onnxsim"]
    compared = 0
    for count, (name, reference) in enumerate(references(node_cases()[number::STRIDE])):
        for item in (
            *items[count % SHARE :: SHARE],
            *parse(f"set-opset{{version={11 + count % 10}}}"),
        ):
            compared += _is_right(item, name, reference)
    assert compared > 0


def _is_right(item: Item, name: str, reference: Reference) -> bool:
    try:
        return bool(judge(item, reference).rewritten)  # type: ignore[arg-type]  # no group
    except AssertionError as error:
        msg = f"{item} on {name}: {error}"
        raise AssertionError(msg) from error


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_the_node_tests_pass_the_presets(preset: Preset) -> None:
    items, fired = parse(preset.passes), set[str]()
    start = PRESETS.index(preset)
    for name, reference in references(node_cases()[start :: 6 * STRIDE]):
        try:
            fired.update(item.name for item in judge_list(items, reference))
        except AssertionError as error:
            msg = f"{preset.name} on {name}: {error}"
            raise AssertionError(msg) from error
    assert fired
