from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.core.contract import ModelError
from onnx_passes.numerics.check import Claim, check_model
from onnx_passes.numerics.oracle import Oracle
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness
    from tests.onnx_passes.conftest import Lab

TEXT = """
g (float[2, 4] x) => (float[2, 4] y, float[2, 4] z) <float[1] w = {1.3}, float[1] v = {0.7}>
{ y = Mul(x, w) z = Mul(x, v) }
"""


def versions(lab: Lab, w: float = 1.3, v: float = 0.7) -> tuple[Oracle, ir.Model]:
    changed = TEXT.replace("{1.3}", f"{{{w}}}").replace("{0.7}", f"{{{v}}}")
    return Oracle(lab.model(TEXT)), lab.model(changed)


def claim(own: Exactness, total: Exactness | None = None) -> Claim:
    return Claim(own, total or own)


@pytest.mark.parametrize("exactness", ["exact", "close", "inexact"])
def test_the_same_model_passes(lab: Lab, exactness: Exactness) -> None:
    check = check_model(lab.model(TEXT), Oracle(lab.model(TEXT)), None, claim(exactness))
    assert (check.verdict, check.reason) == ("passed", "")
    assert [output.output for output in check.outputs] == ["y", "z"]
    assert all(output.original.same_bits for output in check.outputs)
    assert len(check.actual) == 2


@pytest.mark.parametrize(
    ("factor", "exactness", "verdict"),
    [
        (1 + 2**-22, "exact", "failed"),
        (1 + 2**-22, "close", "passed"),
        (1.001, "close", "failed"),
        (1.001, "inexact", "passed"),
        (1.2, "inexact", "failed"),
    ],
)
def test_one_output_of_two_decides(
    lab: Lab, factor: float, exactness: Exactness, verdict: str
) -> None:
    oracle, model = versions(lab, v=0.7 * factor)
    check = check_model(model, oracle, None, claim(exactness))
    assert check.verdict == verdict
    assert [output.verdict for output in check.outputs] == ["passed", verdict]
    assert ("output 'z' against the model before it" in check.reason) == (verdict == "failed")


def test_the_worst_set_of_feeds_is_reported(lab: Lab) -> None:
    oracle, model = versions(lab, w=1.31)
    check = check_model(model, oracle, None, claim("close"))
    expected = max(
        np.abs(outputs["y"] - actual["y"]).max()
        for outputs, actual in zip(oracle.expected, check.actual, strict=True)
    )
    assert check.outputs[0].original.max_abs == pytest.approx(expected, rel=1e-5)


def test_previous_and_original_are_judged_apart(lab: Lab) -> None:
    oracle, model = versions(lab, w=1.301)
    previous = check_model(model, oracle, None, claim("inexact")).actual
    exact_after_inexact = check_model(model, oracle, previous, claim("exact", "inexact"))
    assert exact_after_inexact.verdict == "passed"
    drifted = check_model(model, oracle, previous, claim("exact"))
    assert drifted.verdict == "failed"
    assert "against the original" in drifted.reason
    own_change_only = check_model(model, oracle, previous, Claim("exact", None))
    assert own_change_only.verdict == "passed"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("z = Identity(y)", "output 'z' is gone", id="a missing output"),
        pytest.param("y = Mul(x, w) z = own.Op(x)", "the rewritten model does not run", id="an op"),
    ],
)
def test_a_version_that_does_not_answer_failed(lab: Lab, body: str, reason: str) -> None:
    outputs = "(float[2, 4] y)" if "Identity" in body else "(float[2, 4] y, float[2, 4] z)"
    text = f"g (float[2, 4] x) => {outputs} <float[1] w = {{1.3}}> {{ y = Mul(x, w) }}"
    if "own.Op" in body:
        text = f"g (float[2, 4] x) => {outputs} <float[1] w = {{1.3}}> {{ {body} }}"
    model = lab.model(text, domains=', "own": 1')
    check = check_model(model, Oracle(lab.model(TEXT)), None, claim("exact"))
    assert check.verdict == "failed"
    assert reason in check.reason


def test_an_unbounded_tolerance_lets_nothing_pass(lab: Lab) -> None:
    """NaN in an output makes its sensitivity infinite; a hundredth of that allows anything."""
    text = "g (float[2, 8] x) => (float[2, 8] y) <float[1] w = {1}> { a = Log(x) y = Mul(a, w) }"
    oracle = Oracle(lab.model(text))
    check = check_model(lab.model(text.replace("{1}", "{5}")), oracle, None, claim("inexact"))
    assert check.verdict == "not checkable"
    assert "output 'y' unbounded: " in check.reason


def test_a_tolerance_near_the_signal_drowns_it(lab: Lab) -> None:
    text = """
    g (float[4] x) => (float[4] y)
    <float[4] k = {10000.7, 10000.6, 10000.5, 10000.4}, float[1] s = {0.01}, float[1] l = {10000}>
    { m = Mul(x, s) a = Add(m, k) y = Sub(a, l) }
    """
    check = check_model(lab.model(text), Oracle(lab.model(text)), None, claim("close"))
    assert check.verdict == "not checkable"
    assert "output 'y' drowned: the tolerance" in check.reason


def test_a_model_without_outputs_is_not_checkable(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph.outputs.clear()
    check = check_model(model, Oracle(model), None, claim("exact"))
    assert check.verdict == "not checkable"


def test_an_original_that_cannot_be_probed_is_not_checkable(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle, model = versions(lab)
    assert oracle.expected

    def refuse(*_: Any) -> Any:  # noqa: ANN401
        msg = "no"
        raise ModelError(msg)

    monkeypatch.setattr(Oracle, "_noise", refuse)
    check = check_model(model, oracle, None, claim("close"))
    assert check.verdict == "not checkable"
    assert check.reason == "the original does not run on changed feeds: no"


def test_integers_must_be_equal_even_for_a_close_pass(lab: Lab) -> None:
    text = (
        "g (float[2, 40] x) => (int64[2] y) {{ a = {}(x) y = ArgMax <axis = 1, keepdims = 0> (a) }}"
    )
    oracle = Oracle(lab.model(text.format("Identity")))
    check = check_model(lab.model(text.format("Neg")), oracle, None, claim("close"))
    assert check.verdict == "failed"


def test_the_candidate_runs_in_the_kind_of_runner_that_ran_the_original(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle, model = versions(lab)
    assert oracle.expected
    made: list[object] = []
    again = Runner.again

    def noted(self: Runner, model: ir.Model) -> Runner:
        made.append(model)
        return again(self, model)

    monkeypatch.setattr(Runner, "again", noted)
    check_model(model, oracle, None, claim("exact"))
    assert made == [model]
