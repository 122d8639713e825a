from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes import Note, PassResult, optimize
from onnx_passes.core import walk
from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import Repeat, collect
from onnx_passes.core.registry import load_plugin
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_passes.core.contract import Pass
    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab
    from tests.onnx_passes.core.conftest import Planter

# (x @ w) * s + b, well conditioned; w is not exactly representable times s, so folding rounds.
SCALED = """
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {0.1, -0.7, 0.3, 0.9, -0.4, 0.6}, float[2] s = {1.7, 0.3}, float[2] b = {0.2, -1}>
{
    a = MatMul(x, w)
    m = Mul(a, s)
    i = Identity(m)
    y = Add(i, b)
}
"""
TWO_OUTPUTS = """
g (float[2, 3] x, float[N, 3] z) => (float[2, 3] p, float[2, 3] q, float[N, 3] r) {
    p = Relu(x)
    q = Neg(x)
    r = Abs(z)
}
"""


def constant(model: ir.Model, name: str) -> np.ndarray[Any, Any]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


def put(model: ir.Model, name: str, array: np.ndarray[Any, Any]) -> None:
    model.graph.initializers[name].const_value = ir.Tensor(array, name=name)


def scale(name: str, factor: float) -> Callable[[ir.Model], None]:
    def edit(model: ir.Model) -> None:
        put(model, name, constant(model, name) * np.float32(factor))

    return edit


def fold(model: ir.Model) -> None:
    """Fold ``* s`` into ``w``: right but for rounding."""
    put(model, "w", constant(model, "w") * constant(model, "s"))
    put(model, "s", np.ones(2, np.float32))


def drop_one_identity(model: ir.Model) -> None:
    """Remove the first Identity; none of this file's models has one at an output."""
    for node in model.graph:
        if node.op_type == "Identity" and node.inputs[0] is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)
            return


def leave(_: ir.Model) -> None:
    """Change nothing."""


def verdicts(outcome: Outcome) -> list[str]:
    return [step.verdict for step in outcome.steps]


# --- blame ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("exactness", ["exact", "close"])
def test_a_weight_scaled_by_one_percent_is_blamed_by_name(
    lab: Lab, plant: Planter, exactness: str
) -> None:
    bad = plant(scale("w", 1.01), "scale-weight", exactness)
    outcome = optimize(lab.model(SCALED), [plant(drop_one_identity, "good"), bad])
    assert verdicts(outcome) == ["passed", "failed"]
    assert [step.name for step in outcome.blamed] == ["scale-weight"]
    assert outcome.stopped_by is outcome.steps[1]
    assert outcome.verdict == "failed"
    assert not outcome.ok
    assert "output 'y' against the model before it" in outcome.steps[1].reason
    assert "at index" in outcome.steps[1].reason
    np.testing.assert_array_equal(constant(outcome.model, "w"), constant(lab.model(SCALED), "w"))


def test_a_fold_that_only_rounds_passes_as_close_and_fails_as_exact(
    lab: Lab, plant: Planter
) -> None:
    close = optimize(lab.model(SCALED), plant(fold, exactness="close"))
    exact = optimize(lab.model(SCALED), plant(fold, exactness="exact"))
    assert verdicts(close) == ["passed"]
    assert close.steps[0].max_abs
    assert not close.steps[0].bit_equal
    assert verdicts(exact) == ["failed"]
    assert "allowed: bit-equal" in exact.steps[0].reason


def test_an_inexact_pass_may_move_an_output_by_a_hundredth_of_its_sensitivity(
    lab: Lab, plant: Planter
) -> None:
    slight, much = scale("w", 1.001), scale("w", 1.3)
    assert optimize(lab.model(SCALED), plant(slight, exactness="inexact")).ok
    assert not optimize(lab.model(SCALED), plant(much, exactness="inexact")).ok


def test_an_exact_pass_after_a_close_one_answers_for_its_own_step_only(
    lab: Lab, plant: Planter
) -> None:
    passes = [plant(fold, "fold", "close"), plant(drop_one_identity, "drop", "exact")]
    outcome = optimize(lab.model(SCALED), passes)
    assert verdicts(outcome) == ["passed", "passed"]
    (check,) = outcome.steps[1].outputs
    assert check.previous.same_bits
    assert not check.original.same_bits
    assert check.tolerance.atol > 0


def test_an_exact_pass_that_rounds_is_blamed_although_a_close_one_came_before(
    lab: Lab, plant: Planter
) -> None:
    passes = [plant(fold, "fold", "close"), plant(scale("w", 1 + 2**-22), "nudge", "exact")]
    outcome = optimize(lab.model(SCALED), passes)
    assert [step.name for step in outcome.blamed] == ["nudge"]
    assert "the model before it" in outcome.blamed[0].reason


def test_close_passes_that_drift_away_together_fail_against_the_original(
    lab: Lab, plant: Planter
) -> None:
    drift = plant(scale("w", 1 + 2**-22), "drift", "close")
    outcome = optimize(lab.model(SCALED), [drift] * 30)
    assert verdicts(outcome)[0] == "passed"
    assert verdicts(outcome)[-1] == "failed"
    assert "against the original" in outcome.steps[-1].reason


def test_a_rewrite_that_fits_one_batch_size_only_fails(lab: Lab, plant: Planter) -> None:
    model = lab.model(
        "g (float[N, 4] x) => (float[M, 2] y) <int64[2] s = {-1, 2}> { y = Reshape(x, s) }"
    )
    outcome = optimize(model, plant(lambda m: put(m, "s", np.array([4, 2]))))
    assert verdicts(outcome) == ["failed"]
    assert "the rewritten model does not run" in outcome.steps[0].reason


# --- policies ------------------------------------------------------------------------------------


def bad_then_good(plant: Planter) -> list[Any]:
    return [plant(scale("w", 1.01), "bad"), plant(drop_one_identity, "good")]


def test_stop_runs_nothing_after_a_failure(lab: Lab, plant: Planter) -> None:
    outcome = optimize(lab.model(SCALED), bad_then_good(plant))
    assert verdicts(outcome) == ["failed"]
    assert "Identity" in lab.ops(outcome.model)


def test_undo_leaves_just_the_failed_pass_out(lab: Lab, plant: Planter) -> None:
    outcome = optimize(lab.model(SCALED), bad_then_good(plant), on_fail="undo")
    assert verdicts(outcome) == ["failed", "passed"]
    assert [step.kept for step in outcome.steps] == [False, True]
    assert outcome.ok
    assert outcome.stopped_by is None
    assert "Identity" not in lab.ops(outcome.model)
    np.testing.assert_array_equal(constant(outcome.model, "w"), constant(lab.model(SCALED), "w"))


def test_undo_of_the_last_pass_is_no_stop(lab: Lab, plant: Planter) -> None:
    good_then_bad = bad_then_good(plant)[::-1]
    outcome = optimize(lab.model(SCALED), good_then_bad, on_fail="undo")
    assert verdicts(outcome) == ["passed", "failed"]
    assert outcome.stopped_by is None
    assert outcome.verdict == "passed"


def test_keep_goes_on_from_the_failed_model_and_does_not_blame_later_passes(
    lab: Lab, plant: Planter
) -> None:
    again = plant(scale("w", 0.98), "bad-again")
    outcome = optimize(lab.model(SCALED), [*bad_then_good(plant), again], on_fail="keep")
    assert verdicts(outcome) == ["failed", "passed", "failed"]
    assert [step.name for step in outcome.blamed] == ["bad", "bad-again"]
    assert outcome.verdict == "failed"
    np.testing.assert_allclose(
        constant(outcome.model, "w"), constant(lab.model(SCALED), "w") * 1.01 * 0.98, rtol=1e-6
    )


def test_keep_of_a_changed_interface_makes_it_the_new_baseline(lab: Lab, plant: Planter) -> None:
    def rename(model: ir.Model) -> None:
        model.graph.outputs[0].name = "z"

    passes = [plant(rename, "rename"), plant(scale("w", 1.01), "bad")]
    outcome = optimize(lab.model(SCALED), passes, on_fail="keep")
    assert [step.name for step in outcome.blamed] == ["rename", "bad"]
    assert "output 'z'" in outcome.steps[1].reason


def scale_and_raise(model: ir.Model) -> None:
    scale("w", 2)(model)
    raise RuntimeError


def scale_and_break(model: ir.Model) -> None:
    scale("w", 2)(model)
    model.graph[0].outputs[0].name = None


@pytest.mark.parametrize("edit", [scale_and_raise, scale_and_break])
def test_keep_does_not_keep_what_crashed(
    lab: Lab, plant: Planter, edit: Callable[[ir.Model], None]
) -> None:
    outcome = optimize(lab.model(SCALED), plant(edit), on_fail="keep")
    assert verdicts(outcome) == ["crashed"]
    assert not outcome.steps[0].kept
    np.testing.assert_array_equal(constant(outcome.model, "w"), constant(lab.model(SCALED), "w"))


def test_undo_takes_back_a_type_that_was_changed_in_place(lab: Lab, plant: Planter) -> None:
    def halve(model: ir.Model) -> None:
        model.graph.inputs[0].dtype = ir.DataType.FLOAT16

    model = lab.model(SCALED)
    outcome = optimize(model, plant(halve), on_fail="undo")
    assert verdicts(outcome) == ["failed"]
    assert outcome.model.graph.inputs[0].dtype == ir.DataType.FLOAT
    assert model.graph.inputs[0].dtype == ir.DataType.FLOAT


def test_an_unknown_policy_is_refused(lab: Lab, plant: Planter) -> None:
    with pytest.raises(UsageError, match="on_fail is 'ignore', expected one of stop, undo, keep"):
        optimize(lab.model(SCALED), plant(leave), on_fail="ignore")  # type: ignore[arg-type]


# --- interface and structure ---------------------------------------------------------------------


def swap_outputs(model: ir.Model) -> None:
    first, second, *_ = model.graph.outputs
    model.graph.outputs[0], model.graph.outputs[1] = second, first


def rename_output(model: ir.Model) -> None:
    model.graph.outputs[0].name = "renamed"


def make_output_double(model: ir.Model) -> None:
    old = model.graph.outputs[0]
    cast = ir.node("Cast", [old], {"to": ir.DataType.DOUBLE}, num_outputs=1)
    model.graph.append(cast)
    old.name, cast.outputs[0].name = "old", old.name
    cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.DOUBLE), old.shape
    model.graph.outputs[0] = cast.outputs[0]


def make_static_dynamic(model: ir.Model) -> None:
    model.graph.outputs[0].shape = ir.Shape(["batch", 3])


def forget_shape(model: ir.Model) -> None:
    model.graph.outputs[0].shape = None


def fix_dynamic_input(model: ir.Model) -> None:
    model.graph.inputs[1].shape = ir.Shape([4, 3])


def drop_output(model: ir.Model) -> None:
    model.graph.outputs.pop()


def unknown_attribute(model: ir.Model) -> None:
    model.graph[0].attributes["colour"] = ir.AttrString("colour", "red")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param(swap_outputs, "graph outputs were ['p', 'q', 'r'], now", id="swapped outputs"),
        pytest.param(rename_output, "now ['renamed', 'q', 'r']", id="a renamed output"),
        pytest.param(drop_output, "now ['p', 'q']", id="a lost output"),
        pytest.param(
            make_output_double, "'p' was float [2, 3], now double [2, 3]", id="another output dtype"
        ),
        pytest.param(
            make_static_dynamic, "'p' was float [2, 3], now float [batch, 3]", id="a dynamic size"
        ),
        pytest.param(forget_shape, "now float of unknown rank", id="a forgotten shape"),
        pytest.param(
            fix_dynamic_input, "input 'z' was float [N, 3], now float [4, 3]", id="a fixed batch"
        ),
        pytest.param(unknown_attribute, "onnx.checker: ", id="an unknown attribute"),
    ],
)
def test_fails_without_running_the_model(
    lab: Lab,
    plant: Planter,
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[ir.Model], None],
    reason: str,
) -> None:
    monkeypatch.setattr(Runner, "__init__", lambda *_, **__: pytest.fail("a session was made"))
    outcome = optimize(lab.model(TWO_OUTPUTS), plant(edit))
    assert verdicts(outcome) == ["failed"]
    assert reason in outcome.steps[0].reason


def test_a_dynamic_output_may_become_static(lab: Lab, plant: Planter) -> None:
    model = lab.model("g (float[2, 3] x) => (float[N, 3] y) { y = Relu(x) }")

    def refine(model: ir.Model) -> None:
        model.graph.outputs[0].shape = ir.Shape([2, 3])

    assert verdicts(optimize(model, plant(refine))) == ["passed"]


# --- crashes -------------------------------------------------------------------------------------


def raise_error(_: ir.Model) -> None:
    msg = "first line\nsecond line"
    raise KeyError(msg)


def leave_the_process(_: ir.Model) -> None:
    sys.exit(3)


def write_into_weights(model: ir.Model) -> None:
    constant(model, "w")[0, 0] = 5


def lose_a_name(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = None


def use_before_definition(model: ir.Model) -> None:
    late = ir.node("Neg", [model.graph[0].outputs[0]], num_outputs=1)
    late.outputs[0].name = "late"
    model.graph.insert_before(model.graph[0], late)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        pytest.param(raise_error, "KeyError: ", id="an exception"),
        pytest.param(leave_the_process, "SystemExit: 3", id="sys.exit"),
        pytest.param(write_into_weights, "read-only", id="a write into the original's array"),
        pytest.param(lose_a_name, "it left a broken graph: ", id="an output without a name"),
        pytest.param(
            use_before_definition, "it left a broken graph: ", id="a use before its definition"
        ),
    ],
)
def test_crashes_and_the_run_says_so(
    lab: Lab, plant: Planter, edit: Callable[[ir.Model], None], reason: str
) -> None:
    model = lab.model(SCALED)
    put(model, "w", constant(model, "w"))
    outcome = optimize(model, plant(edit))
    assert verdicts(outcome) == ["crashed"]
    assert reason in outcome.steps[0].reason
    assert "\n" not in outcome.steps[0].reason
    np.testing.assert_array_equal(constant(outcome.model, "w"), constant(lab.model(SCALED), "w"))


def test_a_pass_that_returns_nothing_crashed(
    lab: Lab, plant: Planter, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = plant(leave)
    monkeypatch.setattr(type(item), "run", lambda *_: None)
    outcome = optimize(lab.model(SCALED), item)
    assert outcome.steps[0].reason == "run returned NoneType, expected PassResult"
    assert verdicts(outcome) == ["crashed"]


def test_a_broken_rewrite_of_an_invalid_original_crashed_too(lab: Lab, plant: Planter) -> None:
    model = lab.model(SCALED)
    unknown_attribute(model)
    outcome = optimize(model, [plant(leave), plant(lose_a_name)])
    assert verdicts(outcome) == ["unchanged", "crashed"]


@pytest.mark.parametrize("as_proto", [True, False], ids=["as a proto", "in memory"])
def test_a_broken_original_is_refused(lab: Lab, plant: Planter, *, as_proto: bool) -> None:
    model = lab.model(SCALED)
    nodes = list(model.graph)
    model.graph.remove(nodes[-1])
    model.graph.insert_before(nodes[0], nodes[-1])
    with pytest.raises(ModelError, match=r"broken and cannot be copied: (Value|Add)"):
        optimize(ir.to_proto(model) if as_proto else model, plant(leave))


PLUGIN = """
import os, signal, time
from onnx_passes import Pass, PassResult, register

@register
class Segfault(Pass):
    name, exactness, isolated = "segfault", "exact", True

    def run(self, model):
        os.kill(os.getpid(), signal.SIGSEGV)

@register
class Hang(Pass):
    name, exactness, isolated = "hang", "exact", True

    def run(self, model):
        time.sleep(600)
"""


def test_an_isolated_pass_may_die_and_the_run_goes_on(
    lab: Lab, plant: Planter, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    settings = Settings(on_fail="undo", timeout_s=1.0)
    items = (*collect("hang"), plant(drop_one_identity))
    outcome = run_passes(lab.model(SCALED), items, settings)
    assert verdicts(outcome) == ["crashed", "passed"]
    assert "'hang' did not end within 1 s" in outcome.steps[0].reason
    outcome = optimize(lab.model(SCALED), "segfault", plugins=[plugin])
    assert verdicts(outcome) == ["crashed"]
    assert "killed by SIGSEGV" in outcome.steps[0].reason


# --- what proves nothing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) <float[2] w = {1e-20, 1e-20}, float[2] b = {1, 2}>"
            "{ a = Mul(x, w) i = Identity(a) y = Add(i, b) }",
            "output 'y' dead: ",
            id="weights so small that rounding drowns the input",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y, float[2] z) <float[2] c = {3, 4}>"
            "{ y = Relu(x) i = Identity(c) z = Neg(i) }",
            "output 'z' dead: ",
            id="one constant output of two",
        ),
        pytest.param(
            "g (float[2] x, float[2] u) => (float[2] y) { i = Identity(x) y = Relu(i) }",
            "no output depends on input 'u'",
            id="an input nothing depends on",
        ),
        pytest.param(
            "g (float[8] x) => (float[8] y) { i = Identity(x) y = Sqrt(i) }",
            "output 'y' unbounded: ",
            id="NaN in some places",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) { i = Identity(x) y = own.Op(i) }",
            "the original cannot be run: onnxruntime cannot load the model",
            id="an operator of an unknown domain",
        ),
    ],
)
def test_is_not_checkable(lab: Lab, plant: Planter, text: str, reason: str) -> None:
    model = lab.model(text, domains=', "own": 1')
    outcome = optimize(model, plant(drop_one_identity, exactness="inexact"))
    assert verdicts(outcome) == ["not checkable"]
    assert reason in outcome.steps[0].reason
    assert outcome.steps[0].kept
    assert outcome.verdict == "not checkable"
    assert not outcome.ok


def test_a_dead_output_does_not_hide_a_difference(lab: Lab, plant: Planter) -> None:
    text = "g (float[2] x) => (float[2] y) <float[2] w = {3, 4}> { y = Identity(w) }"
    outcome = optimize(lab.model(text), plant(scale("w", 1.01), exactness="close"))
    assert verdicts(outcome) == ["failed"]


def test_the_reference_evaluator_stands_in_where_onnxruntime_has_no_kernel(
    lab: Lab, plant: Planter
) -> None:
    text = """
    g (float[1, 1, 3, 3, 3] x, float[1, 1, 2, 2, 3] grid) => (float[1, 1, 1, 2, 2] y)
    <float[1] w = {1.5}> { a = Mul(x, w) y = GridSample <mode = "cubic"> (a, grid) }
    """
    model = lab.model(text, ir_version=9, opset=20)
    passes = [plant(scale("w", 1.0)), plant(scale("w", 1.01), "bad", "close")]
    outcome = optimize(model, passes)
    assert verdicts(outcome) == ["unchanged", "failed"]
    assert outcome.oracle.startswith("ONNX reference evaluator")


def test_without_a_check_the_structure_is_still_checked(lab: Lab, plant: Planter) -> None:
    passes = [plant(scale("w", 1.01), "bad"), plant(rename_output, "rename")]
    outcome = optimize(lab.model(SCALED), passes, check=False)
    assert verdicts(outcome) == ["not checked", "failed"]
    assert (outcome.feeds, outcome.oracle) == ("", "")
    assert outcome.steps[0].reason == "numbers were not compared, as asked"


# --- feeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feeds", "shapes", "message"),
    [
        pytest.param({}, None, "feeds lack input 'x'", id="no feed"),
        pytest.param({"X": np.ones((2, 3), "f")}, None, "lack input 'x'", id="another name"),
        pytest.param({"x": np.ones((2, 3))}, None, "'x' is float64, the model's", id="dtype"),
        pytest.param({"x": np.ones((2, 4), "f")}, None, r"got \[2, 4\]: 3 is 3, not 4", id="size"),
        pytest.param({"x": np.ones(3, "f")}, None, "got 1 sizes", id="rank"),
        pytest.param(None, {"y": (2, 3)}, "--shape names input 'y'", id="shape of no input"),
        pytest.param(None, {"x": (2, 4)}, r"\[N, 3\], got \[2, 4\]", id="shape that contradicts"),
        pytest.param(None, {"x": "2,3"}, "expected sizes like", id="shape as text"),
    ],
)
def test_refuses_feeds_before_any_pass_runs(
    lab: Lab,
    plant: Planter,
    feeds: dict[str, Any] | None,
    shapes: dict[str, Any] | None,
    message: str,
) -> None:
    item = plant(lambda _: pytest.fail("a pass ran"))
    with pytest.raises(UsageError, match=message):
        optimize(lab.model(SCALED), item, feeds=feeds, shapes=shapes)


def test_given_feeds_and_shapes_are_used_and_said(lab: Lab, plant: Planter) -> None:
    feeds = {"x": np.arange(15, dtype=np.float32).reshape(5, 3)}
    outcome = optimize(lab.model(SCALED), plant(drop_one_identity), feeds=feeds)
    assert outcome.feeds == "given: x float32 [5, 3]"
    assert outcome.ok
    outcome = optimize(lab.model(SCALED), plant(drop_one_identity), shapes={"x": (7, 3)})
    assert outcome.feeds == "generated, seeds 0, 1: x float32 [7, 3]"
    assert outcome.oracle.startswith("onnxruntime")


def test_a_model_that_does_not_run_on_generated_feeds_asks_for_better_ones(
    lab: Lab, plant: Planter
) -> None:
    text = """
    g (float[N] x, float[M] z) => (float[K] y)
    <int64[2] s = {4, 3}> { i = Identity(x) r = Reshape(i, s) y = Add(r, z) }
    """
    with pytest.raises(UsageError, match=r"does not run on x float32.*give --shape NAME=DIMS"):
        optimize(lab.model(text), plant(drop_one_identity))
    outcome = optimize(
        lab.model(text), plant(drop_one_identity), shapes={"x": (12,), "z": (3,)}, on_fail="undo"
    )
    assert outcome.steps[0].outputs


# --- cost ----------------------------------------------------------------------------------------


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return, per onnxruntime session made during the test, how often it ran."""
    runs: list[int] = []
    create, run = Runner.__init__, Runner.run

    def counted_create(self: Runner, *args: object, **options: Any) -> None:  # noqa: ANN401
        create(self, *args, **options)  # type: ignore[arg-type]
        vars(self)["position"] = len(runs)
        runs.append(0)

    def counted_run(self: Runner, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        runs[vars(self)["position"]] += 1
        return run(self, *args, **options)

    monkeypatch.setattr(Runner, "__init__", counted_create)
    monkeypatch.setattr(Runner, "run", counted_run)
    return runs


def test_passes_that_change_nothing_make_no_session(
    lab: Lab, plant: Planter, sessions: list[int]
) -> None:
    claims = PassResult(rewritten=[Note("Relu -> 'y'", "says it changed")])
    outcome = optimize(lab.model(SCALED), [plant(leave), plant(lambda _: claims)])
    assert verdicts(outcome) == ["unchanged", "unchanged"]
    assert outcome.steps[1].rewritten == (Note("Relu -> 'y'", "says it changed"),)
    assert sessions == []
    assert outcome.ok


def test_each_change_makes_one_session_and_the_original_answers_once(
    lab: Lab, plant: Planter, sessions: list[int]
) -> None:
    def swap_names(model: ir.Model) -> None:
        model.graph[0].name = (model.graph[0].name or "") + "x"

    passes = [plant(swap_names), plant(leave), plant(swap_names), plant(swap_names)]
    outcome = optimize(lab.model(SCALED), passes)
    assert verdicts(outcome) == ["passed", "unchanged", "passed", "passed"]
    # Two seeds and a second size: the original first, then one session per change.
    assert sessions == [3, 3, 3, 3]


def test_passes_that_change_nothing_share_one_copy_which_a_crash_spoils(
    lab: Lab, plant: Planter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[ir.Model] = []

    def look(model: ir.Model) -> None:
        given.append(model)

    def spoil(model: ir.Model) -> None:
        model.graph[0].op_type = "Broken"
        raise ValueError

    passes = [plant(look), plant(look), plant(spoil), plant(look), plant(drop_one_identity)]
    outcome = optimize(lab.model(SCALED), [*passes, plant(look)], on_fail="undo")
    assert verdicts(outcome) == [*["unchanged"] * 2, "crashed", "unchanged", "passed", "unchanged"]
    assert given[0] is given[1]
    assert len({id(model) for model in given}) == 3
    assert lab.ops(outcome.model) == ["MatMul", "Mul", "Add"]


# --- the rest of the contract --------------------------------------------------------------------


def test_a_group_repeats_until_a_round_changes_nothing(lab: Lab, plant: Planter) -> None:
    text = "g (float[2] x) => (float[2] y) { a = Identity(x) b = Identity(a) y = Relu(b) }"
    outcome = optimize(lab.model(text), Repeat((plant(drop_one_identity), plant(leave))))
    changed = [step.number for step in outcome.steps if step.verdict == "passed"]
    assert changed == [1, 3]
    assert [step.number for step in outcome.steps] == [1, 2, 3, 4, 5, 6]
    assert lab.ops(outcome.model) == ["Relu"]


def test_a_group_that_never_settles_ends_with_a_warning(
    lab: Lab, plant: Planter, caplog: pytest.LogCaptureFixture
) -> None:
    def flip(model: ir.Model) -> None:
        model.graph[0].name = "b" if model.graph[0].name == "a" else "a"

    with caplog.at_level(logging.WARNING):
        outcome = optimize(lab.model(SCALED), Repeat((plant(flip),)), check=False)
    assert len(outcome.steps) == walk.MAX_ROUNDS
    assert "still changed the model after 20 rounds" in caplog.text


def test_a_change_of_metadata_is_a_change(lab: Lab, plant: Planter) -> None:
    def mark(model: ir.Model) -> None:
        model.graph.inputs[0].metadata_props["onnx_passes.range"] = "0,1"

    outcome = optimize(lab.model(SCALED), plant(mark))
    assert verdicts(outcome) == ["passed"]
    assert outcome.model.graph.inputs[0].metadata_props == {"onnx_passes.range": "0,1"}


def test_steps_carry_sizes_notes_and_times_and_callbacks_hear_of_them(
    lab: Lab, plant: Planter
) -> None:
    heard: list[str] = []
    note = Note("Identity -> 'y'", "kept")

    def drop(model: ir.Model) -> PassResult:
        drop_one_identity(model)
        return PassResult(skipped=[note])

    settings = Settings(on_start=heard.append, on_step=lambda step: heard.append(step.verdict))
    outcome = run_passes(lab.model(SCALED), (plant(drop, "drop"),), settings)
    (step,) = outcome.steps
    assert heard == ["drop", "passed"]
    assert (step.before.nodes, step.after.nodes) == (4, 3)
    assert (outcome.before, outcome.after) == (step.before, step.after)
    assert step.before.bytes == 4 * (6 + 2 + 2)
    assert step.skipped == (note,)
    assert step.bit_equal
    assert step.max_abs == 0
    assert step.seconds >= 0
    assert step.check_seconds > 0


class TestNarrowedInputs:
    @staticmethod
    def narrowing(plant: Planter, factor: float = 1) -> Pass:
        """Return a pass that fixes the batch at 5, and scales the bias."""

        def edit(model: ir.Model) -> None:
            for value in (*model.graph.inputs, *model.graph.outputs):
                value.shape = ir.Shape([5, *list(value.shape or ())[1:]])
            scale("b", factor)(model)

        item = plant(edit, "narrow")
        type(item).narrows_inputs = True
        return item

    def test_are_refused_unless_the_pass_declares_them(self, lab: Lab, plant: Planter) -> None:
        item = self.narrowing(plant)
        type(item).narrows_inputs = False
        outcome = optimize(lab.model(SCALED), item)
        assert "graph input 'x' was float [N, 3], now float [5, 3]" in outcome.steps[0].reason

    def test_are_compared_with_the_original_and_with_the_version_before(
        self, lab: Lab, plant: Planter
    ) -> None:
        items = (plant(fold, "fold", "close"), self.narrowing(plant), plant(drop_one_identity))
        outcome = optimize(lab.model(SCALED), items)
        assert verdicts(outcome) == ["passed", "passed", "passed"]
        narrowed = outcome.steps[1].outputs[0]
        assert narrowed.previous.same_bits
        assert not narrowed.original.same_bits
        assert narrowed.original.size == 5 * 2
        assert outcome.feeds == "generated, seeds 0, 1: x float32 [5, 3]"

    def test_do_not_excuse_wrong_numbers_and_leave_no_trace_when_undone(
        self, lab: Lab, plant: Planter
    ) -> None:
        items = (self.narrowing(plant, 1.01), plant(drop_one_identity))
        outcome = optimize(lab.model(SCALED), items, on_fail="undo")
        assert verdicts(outcome) == ["failed", "passed"]
        assert str(outcome.model.graph.inputs[0].shape) == "[N,3]"
        assert outcome.feeds.endswith("x float32 [2, 3] | x float32 [3, 3]")

    def test_are_what_later_passes_must_keep(self, lab: Lab, plant: Planter) -> None:
        def widen(model: ir.Model) -> None:
            model.graph.inputs[0].shape = ir.Shape(["N", 3])

        def change(model: ir.Model) -> None:
            model.graph.inputs[0].shape = ir.Shape([6, 3])

        for edit in (widen, change):
            items = (self.narrowing(plant), plant(edit, "later"))
            outcome = optimize(lab.model(SCALED), items, check=False)
            assert verdicts(outcome) == ["not checked", "failed"]
