"""A pass can be stopped after its first N rewrites, and says what it made before it crashed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from onnx_passes.core import contract
from onnx_passes.core.contract import Note, PassResult, RewriteLimitReached, at_most, label
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.registry import load_plugin

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab
    from tests.onnx_passes.core.conftest import Planter

CHAIN = """
g (float[4] x) => (float[4] y) { a = Abs(x) b = Abs(a) c = Abs(b) y = Abs(c) }
"""
ISOLATED = '''
from typing import ClassVar
from onnx_passes import Note, Pass, PassResult, register

@register
class NegateApart(Pass):
    """Turn every Abs into Neg."""
    name, exactness, isolated = "negate-apart", "inexact", True

    def run(self, model):
        result = PassResult()
        for node in model.graph:
            node.op_type = "Neg"
            result.rewritten.append(Note(node.outputs[0].name, "negated"))
        return result
'''


def negate(model: ir.Model) -> PassResult:
    """Turn every Abs into Neg, one rewrite each."""
    result = PassResult()
    for node in model.graph:
        node.op_type = "Neg"
        result.rewritten.append(Note(label(node), "negated"))
    return result


def note_first(model: ir.Model) -> PassResult:
    result = PassResult()
    for node in model.graph:
        result.rewritten.append(Note(label(node), "about to be negated"))
        node.op_type = "Neg"
    return result


def carry_on(model: ir.Model) -> PassResult:
    """Negate, and take whatever goes wrong at one node for a reason to leave it alone."""
    result = PassResult()
    for node in model.graph:
        try:
            node.op_type = "Neg"
            result.rewritten.append(Note(label(node), "negated"))
        except Exception as error:  # noqa: BLE001, RUF100  what this test is about
            result.skipped.append(Note(label(node), str(error)))
    return result


def limited(lab: Lab, plant: Planter, edit: object, limit: int | None) -> Outcome:
    settings = Settings(check=False, max_rewrites=limit)
    return run_passes(lab.model(CHAIN), (plant(edit),), settings)


@pytest.mark.parametrize(
    ("limit", "made"),
    [
        pytest.param(None, 4, id="no limit"),
        pytest.param(0, 1, id="0 stops after the first: a rewrite is noted when it is done"),
        pytest.param(1, 1, id="1"),
        pytest.param(3, 3, id="3"),
        pytest.param(4, 4, id="as many as there are"),
        pytest.param(9, 4, id="more than there are"),
    ],
)
def test_the_manager_stops_a_pass_after_n_rewrites(
    lab: Lab, plant: Planter, limit: int | None, made: int
) -> None:
    outcome = limited(lab, plant, negate, limit)
    assert lab.ops(outcome.model) == ["Neg"] * made + ["Abs"] * (4 - made)
    (step,) = outcome.steps
    assert [note.node for note in step.rewritten] == [f"Neg -> '{v}'" for v in "abcy"[:made]]
    assert step.verdict == "not checked"


def test_each_pass_of_a_list_has_the_limit_for_itself(lab: Lab, plant: Planter) -> None:
    settings = Settings(check=False, max_rewrites=1)
    items = (plant(negate, "first"), plant(negate, "second"))
    outcome = run_passes(lab.model(CHAIN), items, settings)
    assert [len(step.rewritten) for step in outcome.steps] == [1, 1]


def test_a_pass_that_notes_before_it_edits_is_one_edit_behind(lab: Lab, plant: Planter) -> None:
    assert lab.ops(limited(lab, plant, note_first, 2).model) == ["Neg", "Abs", "Abs", "Abs"]


def test_a_pass_that_catches_exceptions_is_stopped_all_the_same(lab: Lab, plant: Planter) -> None:
    outcome = limited(lab, plant, carry_on, 2)
    assert lab.ops(outcome.model) == ["Neg", "Neg", "Abs", "Abs"]
    assert not outcome.steps[0].skipped


def test_notes_that_do_not_come_one_by_one_know_no_limit(lab: Lab, plant: Planter) -> None:
    def all_at_once(model: ir.Model) -> PassResult:
        for node in model.graph:
            node.op_type = "Neg"
        return PassResult(rewritten=[Note(label(node), "negated") for node in model.graph])

    outcome = limited(lab, plant, all_at_once, 1)
    assert lab.ops(outcome.model) == ["Neg"] * 4
    assert len(outcome.steps[0].rewritten) == 4


def test_a_pass_in_a_child_process_knows_no_limit(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "apart.py"
    path.write_text(ISOLATED)
    (cls,) = load_plugin(path)
    outcome = run_passes(lab.model(CHAIN), (cls(),), Settings(check=False, max_rewrites=1))
    assert lab.ops(outcome.model) == ["Neg"] * 4
    assert len(outcome.steps[0].rewritten) == 4


def test_what_was_left_alone_is_not_counted(lab: Lab, plant: Planter) -> None:
    def skip_first(model: ir.Model) -> PassResult:
        result = PassResult()
        result.skipped += [Note("a", "no"), Note("b", "no"), Note("c", "no")]
        result.skipped.append(Note("d", "no"))
        model.graph[0].op_type = "Neg"
        result.rewritten.append(Note("a", "negated"))
        return result

    assert lab.ops(limited(lab, plant, skip_first, 2).model)[0] == "Neg"


class TestTheBlock:
    """``at_most`` by itself."""

    @staticmethod
    def make(count: int) -> int:
        """Note rewrites; return how many there were before the limit."""
        result = PassResult()
        with contextlib.suppress(RewriteLimitReached):
            for number in range(count):
                result.rewritten.append(Note(str(number), ""))
        return len(result.rewritten)

    def test_an_inner_block_has_its_own_limit_and_gives_back_the_outer_one(self) -> None:
        with at_most(3):
            with at_most(1):
                assert self.make(5) == 1
            assert self.make(5) == 3
            with at_most(None):
                assert self.make(5) == 5
            assert self.make(5) == 3
        assert self.make(5) == 5

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, RewriteLimitReached])
    def test_the_limit_goes_with_the_block_whatever_ends_it(
        self, error: type[BaseException]
    ) -> None:
        def fail() -> None:
            with at_most(1):
                raise error([])

        with pytest.raises(error):
            fail()
        assert contract._limit.get() is None
        assert self.make(2) == 2

    def test_the_block_gives_the_notes_made_in_it(self) -> None:
        notes = [Note(name, "") for name in "abc"]
        result = PassResult()
        result.rewritten.append(notes[0])
        with at_most(None) as made:
            assert made == []
            result.rewritten.append(notes[1])
            with at_most(None) as inner:
                result.rewritten.append(notes[2])
        assert made == notes[1:2]
        assert inner == notes[2:]
        assert result.rewritten == notes

    def test_the_exception_keeps_a_copy(self) -> None:
        result = PassResult()
        with at_most(1), pytest.raises(RewriteLimitReached) as reached:
            result.rewritten.append(Note("a", ""))
        result.rewritten.append(Note("b", ""))
        assert reached.value.rewritten == [Note("a", "")]
        assert "1 rewrites" in str(reached.value)
