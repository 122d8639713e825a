from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from onnx_passes.core.outcome import Measure, Outcome, Step, measure

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.outcome import Verdict
    from tests.onnx_passes.conftest import Lab

SIZE = Measure({"Relu": 2, "Add": 1}, 12)


def outcome(*steps: tuple[str, bool], stopped: bool = False) -> Outcome:
    made = tuple(
        Step(
            number=number,
            text="a",
            name="a",
            exactness="exact",
            verdict=cast("Verdict", verdict),
            reason="",
            kept=kept,
            rewritten=(),
            skipped=(),
            before=SIZE,
            after=SIZE,
            outputs=(),
            seconds=0.0,
            check_seconds=0.0,
        )
        for number, (verdict, kept) in enumerate(steps, 1)
    )
    model = cast("ir.Model", None)
    return Outcome(model, made, SIZE, SIZE, "", "", made[-1] if stopped else None)


@pytest.mark.parametrize(
    ("run", "verdict", "ok"),
    [
        pytest.param(outcome(), "unchanged", True, id="no pass"),
        pytest.param(outcome(("unchanged", False)), "unchanged", True, id="no change"),
        pytest.param(outcome(("unchanged", False), ("passed", True)), "passed", True, id="a pass"),
        pytest.param(
            outcome(("not checkable", True), ("passed", True)), "not checkable", False, id="vacuous"
        ),
        pytest.param(outcome(("not checked", True)), "not checked", False, id="as asked"),
        pytest.param(outcome(("failed", False), stopped=True), "failed", False, id="stopped"),
        pytest.param(outcome(("crashed", False), stopped=True), "crashed", False, id="a crash"),
        pytest.param(
            outcome(("passed", True), ("failed", False)), "passed", True, id="undone at the end"
        ),
        pytest.param(
            outcome(("failed", False), ("passed", True)), "passed", True, id="undone before"
        ),
        pytest.param(outcome(("failed", True), ("passed", True)), "failed", False, id="kept"),
    ],
)
def test_verdict_of_what_is_in_the_model(run: Outcome, verdict: str, ok: bool) -> None:  # noqa: FBT001, RUF100
    assert run.verdict == verdict
    assert run.ok == ok


def test_blamed_steps_are_those_that_failed_or_crashed_kept_or_not() -> None:
    run = outcome(("failed", True), ("crashed", False), ("passed", True), ("not checkable", True))
    assert [step.number for step in run.blamed] == [1, 2]


def test_a_step_without_comparison_has_no_error_and_is_not_bit_equal() -> None:
    (step,) = outcome(("unchanged", False)).steps
    assert step.max_abs is None
    assert not step.bit_equal


def test_measure_counts_subgraphs_functions_and_all_initializers(lab: Lab) -> None:
    model = lab.model(
        """
        g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
            h = f.twice(x)
            y = If (c) <
                then_branch = yes () => (float[2] p) <float[3] v = {1, 2, 3}> { p = Mul(h, w) },
                else_branch = no () => (float[2] r) { r = Abs(h) }
            >
        }
        <domain: "f", opset_import: ["": 16]>
        twice (a) => (b) { b = Add(a, a) }
        """,
        domains=', "f": 1',
    )
    size = measure(model)
    assert size.operators == {"twice": 1, "If": 1, "Mul": 1, "Abs": 1, "Add": 1}
    assert size.nodes == 5
    assert size.bytes == 4 * (2 + 3)
