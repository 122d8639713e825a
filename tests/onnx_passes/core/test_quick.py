"""A run without numeric checks: quick, and as honest about what changed as the careful one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes import Note, PassResult, optimize
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.model_io import clone
from onnx_passes.core.passlist import parse
from onnx_passes.passes.drop_unused import DropUnused

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab
    from tests.onnx_passes.core.conftest import Planter

TEXT = "g (float[2] x) => (float[2] y) { i = Identity(x) a = Relu(i) y = Neg(a) }"


def summary(outcome: Outcome) -> list[tuple[str, str]]:
    return [(step.name, step.verdict) for step in outcome.steps]


def flip(model: ir.Model) -> None:
    model.graph[-1].op_type = "Abs"


def rename(model: ir.Model) -> None:
    model.graph.outputs[0].name = "z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "drop-unused,merge-transposes",
            [("drop-unused", "not checked"), ("merge-transposes", "unchanged")],
            id="with others that find nothing",
        ),
        pytest.param(
            "(drop-identity,drop-unused)*",
            [("drop-identity", "not checked"), ("drop-unused", "not checked")],
            id="in the last round of a group",
        ),
    ],
)
def test_a_catalogue_pass_that_hides_its_changes_is_found_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[tuple[str, str]]
) -> None:
    def lie(_: DropUnused, model: ir.Model) -> PassResult:
        model.graph[-1].name = f"{model.graph[-1].name}."
        return PassResult()

    monkeypatch.setattr(DropUnused, "run", lie)
    outcome = optimize(lab.model(TEXT), text, check=False)
    assert summary(outcome)[:2] == expected


def test_a_catalogue_pass_that_claims_what_it_did_not_is_found_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boast(_: DropUnused, __: ir.Model) -> PassResult:
        return PassResult([Note("model", "mended")])

    monkeypatch.setattr(DropUnused, "run", boast)
    outcome = optimize(lab.model(TEXT), "drop-unused,merge-transposes", check=False)
    assert summary(outcome) == [("drop-unused", "unchanged"), ("merge-transposes", "unchanged")]


def test_a_pass_from_elsewhere_is_measured_whatever_it_says(lab: Lab, plant: Planter) -> None:
    passes = [plant(flip, "silent"), *parse("drop-identity")]
    outcome = optimize(lab.model(TEXT), passes, check=False)
    assert summary(outcome) == [("silent", "not checked"), ("drop-identity", "not checked")]


@pytest.mark.parametrize("again", [True, False], ids=["with another original", "without"])
def test_after_a_doubt_the_careful_run_starts_from_the_original(
    lab: Lab, plant: Planter, *, again: bool
) -> None:
    model, asked = lab.model(TEXT), []

    def give() -> ir.Model:
        asked.append(True)
        return clone(original)

    original = clone(model)
    settings = Settings(check=False, on_fail="undo", again=give if again else None)
    items = [*parse("drop-identity"), plant(rename, "rename")]
    outcome = run_passes(model, items, settings)
    assert summary(outcome) == [("drop-identity", "not checked"), ("rename", "failed")]
    assert lab.ops(outcome.model) == ["Relu", "Neg"]
    assert len(asked) == again


def test_the_model_of_the_caller_stays_as_it_is(lab: Lab) -> None:
    model, fingerprint = lab.model(TEXT), Fingerprinter()
    before = fingerprint(model)
    outcome = optimize(model, "drop-identity", check=False)
    assert fingerprint(model) == before
    assert fingerprint(outcome.model) != before
