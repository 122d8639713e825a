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

NESTED = """g (float[2] x) => (float[2] y) {
    sum = ReduceSum(x)
    some = Cast <to = 9> (sum)
    y = If (some) <
        then_branch = t () => (float[2] v) { j = Identity(x) v = Neg(j) },
        else_branch = e () => (float[2] w) { w = Abs(x) }
    >
}"""


def summary(outcome: Outcome) -> list[tuple[str, str]]:
    return [(step.name, step.verdict) for step in outcome.steps]


def flip(model: ir.Model) -> None:
    model.graph[-1].op_type = "Abs"


def rename(model: ir.Model) -> None:
    model.graph.outputs[0].name = "z"


def test_a_catalogue_pass_that_hides_its_changes_is_found_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(_: DropUnused, model: ir.Model) -> PassResult:
        model.graph[-1].name = f"{model.graph[-1].name}."
        return PassResult()

    monkeypatch.setattr(DropUnused, "run", lie)
    outcome = optimize(lab.model(TEXT), "drop-unused,merge-transposes", check=False)
    assert summary(outcome) == [("drop-unused", "not checked"), ("merge-transposes", "unchanged")]


def test_passes_of_a_group_that_undo_each_other_end_with_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turn(_: DropUnused, model: ir.Model) -> PassResult:
        node = model.graph[-1]
        node.op_type = "Neg" if node.op_type == "Abs" else "Abs"
        return PassResult([Note("model", "turned")])

    monkeypatch.setattr(DropUnused, "run", turn)
    group = "(drop-unused{},drop-identity,drop-unused{})*"
    outcome = optimize(lab.model(TEXT), group, check=False)
    assert len(outcome.steps) == 6  # of the careful run, whose second round changes nothing
    assert lab.ops(outcome.model) == ["Relu", "Neg"]


def test_graphs_inside_nodes_are_found_though_the_original_had_none(
    lab: Lab, plant: Planter
) -> None:
    def nest(model: ir.Model) -> None:
        model.graph = lab.model(NESTED).graph

    passes = [*parse("drop-identity"), plant(nest, "nest"), *parse("drop-identity")]
    outcome = optimize(lab.model(TEXT), passes, check=False)
    assert summary(outcome)[-1] == ("drop-identity", "not checked")
    assert not [node for node in outcome.model.graph.all_nodes() if node.op_type == "Identity"]


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
