"""Of a list of passes the one that breaks the model is found, its rewrite and its tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.bisect import Culprit, bisect
from onnx_passes.core.contract import Note, PassResult, UsageError, at_most, label
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import Repeat
from onnx_passes.core.registry import load_plugin
from onnx_passes.numerics.feeds import generate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_passes.core.contract import Pass
    from onnx_passes.core.manager import OnFail
    from tests.onnx_passes.conftest import Lab
    from tests.onnx_passes.core.conftest import Planter

    Rewrite = Callable[[ir.Node], None]

FIVE = """
g (float[2, 3] x) => (float[2, 3] y)
<float k1 = {1.1}, float k2 = {0.7}, float k3 = {-1.3}, float k4 = {0.9}, float k5 = {1.7}> {
    a = Mul(x, k1) b = Mul(a, k2) h = Tanh(b) c = Mul(h, k3) i = Identity(c) d = Mul(i, k4)
    y = Mul(d, k5)
}
"""
MULS = "abcdy"
ISOLATED = '''
from typing import ClassVar
from onnx_passes import Note, Pass, PassResult, register

@register
class RaiseApart(Pass):
    """Raise in a child process."""
    name, exactness, isolated = "raise-apart", "exact", True

    def run(self, model):
        PassResult().rewritten.append(Note("a", "changed"))
        raise RuntimeError("boom")
'''


def constant_of(node: ir.Node) -> ir.Value:
    value = node.inputs[1]
    assert value is not None
    return value


def scale(node: ir.Node, factor: float = 1.01) -> None:
    """Scale the constant that a node multiplies by."""
    value = constant_of(node)
    assert value.const_value is not None
    array = value.const_value.numpy() * np.float32(factor)
    value.const_value = ir.Tensor(array, name=value.name)


def swap(node: ir.Node) -> None:
    """Swap the factors of a product: nothing changes."""
    first, second = node.inputs
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)


def each_mul(wrong: str, fault: Rewrite = scale) -> Callable[[ir.Model], PassResult]:
    """Return an edit that swaps each product, and makes a fault at those in ``wrong``."""

    def edit(model: ir.Model) -> PassResult:
        result = PassResult()
        for node in [node for node in model.graph if node.op_type == "Mul"]:
            if (node.outputs[0].name or "") in list(wrong):
                fault(node)
            swap(node)
            result.rewritten.append(Note(label(node), "factors swapped"))
        return result

    return edit


def at_once(edit: Callable[[ir.Model], PassResult]) -> Callable[[ir.Model], PassResult]:
    """Return the same edit, its notes written when all is done."""

    def run(model: ir.Model) -> PassResult:
        with at_most(None):
            return PassResult(rewritten=list(edit(model).rewritten))

    return run


@pytest.fixture
def five(lab: Lab) -> ir.Model:
    return lab.model(FIVE)


@pytest.fixture
def drop(plant: Planter) -> Pass:
    """Return a correct pass that removes the Identity."""

    def edit(model: ir.Model) -> PassResult:
        result = PassResult()
        for node in [node for node in model.graph if node.op_type == "Identity"]:
            source = node.inputs[0]
            assert source is not None
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            model.graph.remove(node)
            result.rewritten.append(Note(label(node), "removed"))
        return result

    return plant(edit, "drop")


def culprit_of(model: ir.Model, *items: Any, **settings: Any) -> Culprit:  # noqa: ANN401  passed on
    culprit = bisect(model, items, Settings(**settings))
    assert culprit is not None
    return culprit


def found(culprit: Culprit) -> tuple[int | None, str | None, str]:
    """Return rewrite, tensor and node of a culprit."""
    tensor = culprit.tensor.name if culprit.tensor else None
    return culprit.rewrite.number if culprit.rewrite else None, tensor, culprit.node


class TestNumbers:
    """A pass that changes values."""

    @pytest.mark.parametrize("place", range(5), ids=[f"rewrite {n} of 5" for n in range(1, 6)])
    def test_names_pass_rewrite_tensor_and_node(
        self, five: ir.Model, drop: Pass, plant: Planter, place: int
    ) -> None:
        faulty = plant(each_mul(MULS[place]), "faulty")
        culprit = culprit_of(five, drop, faulty, plant(each_mul(""), "after"))
        assert culprit.item is faulty
        assert (culprit.step.number, culprit.step.verdict) == (2, "failed")
        assert found(culprit) == (place + 1, MULS[place], f"Mul -> '{MULS[place]}'")
        assert culprit.rewrite is not None
        assert culprit.rewrite.total == 5
        assert culprit.rewrite.note == Note(f"Mul -> '{MULS[place]}'", "factors swapped")

    def test_of_several_wrong_rewrites_the_first_is_named(
        self, five: ir.Model, plant: Planter
    ) -> None:
        assert found(culprit_of(five, plant(each_mul("cdy"))))[:2] == (3, "c")

    def test_the_models_are_those_around_the_rewrite(
        self, five: ir.Model, drop: Pass, plant: Planter, lab: Lab
    ) -> None:
        culprit = culprit_of(five, drop, plant(each_mul("c")))
        assert culprit.after is not None
        firsts = [
            {n.outputs[0].name: n.inputs[0].name for n in model.graph if n.op_type == "Mul"}  # type: ignore[union-attr]
            for model in (culprit.model, culprit.before, culprit.after)
        ]
        assert firsts[0] == {"a": "x", "b": "a", "c": "h", "d": "c", "y": "d"}
        assert firsts[1] == {**firsts[0], "a": "k1", "b": "k2"}
        assert firsts[2] == {**firsts[1], "c": "k3"}
        assert "Identity" not in lab.ops(culprit.model)
        assert culprit.items == (culprit.item,)

    def test_the_paragraph_is_something_to_act_on(self, five: ir.Model, plant: Planter) -> None:
        text = culprit_of(five, plant(each_mul("c"), "faulty")).paragraph()
        assert text.startswith("Pass 'faulty' (step 1) failed. Its rewrite 3 of 5 is the first ")
        assert "first wrong one: Mul -> 'c': factors swapped. " in text
        assert "goes wrong is 'c', made by Mul -> 'c': 6 of 6 elements differ; " in text
        assert "; allowed: bit-equal. 7 tensors were compared" in text
        assert "\n" not in text

    def test_a_close_pass_is_held_to_rounding(self, five: ir.Model, plant: Planter) -> None:
        def edit(model: ir.Model) -> PassResult:
            scale(model.graph[0], 1 + 2**-23)
            return each_mul("c")(model)

        culprit = culprit_of(five, plant(at_once(edit), exactness="close"))
        assert found(culprit) == (None, "c", "Mul -> 'c'")
        assert "; allowed: 8 * max(noise" in culprit.paragraph()

    def test_edits_made_at_once_have_no_rewrite(self, five: ir.Model, plant: Planter) -> None:
        culprit = culprit_of(five, plant(at_once(each_mul("cd"))))
        assert found(culprit) == (None, "c", "Mul -> 'c'")
        assert "rewrite" not in culprit.paragraph()
        assert len(culprit.step.rewritten) == 5

    def test_edits_that_follow_their_notes_have_no_rewrite(
        self, five: ir.Model, plant: Planter
    ) -> None:
        def edit(model: ir.Model) -> PassResult:
            result = PassResult()
            for node in [node for node in model.graph if node.op_type == "Mul"]:
                result.rewritten.append(Note(label(node), "to be swapped"))
                swap(node) if node.outputs[0].name != "b" else scale(node)
            return result

        assert found(culprit_of(five, plant(edit)))[:2] == (None, "b")

    def test_rewrites_that_change_nothing_are_counted(self, five: ir.Model, plant: Planter) -> None:
        def edit(model: ir.Model) -> PassResult:
            result = PassResult()
            for node in model.graph:
                if node.outputs[0].name == "c":
                    scale(node)
                result.rewritten.append(Note(label(node), "looked at"))
            return result

        assert found(culprit_of(five, plant(edit)))[:2] == (4, "c")

    def test_a_fault_made_after_the_last_rewrite_is_no_rewrites(
        self, five: ir.Model, plant: Planter
    ) -> None:
        def edit(model: ir.Model) -> PassResult:
            result = each_mul("")(model)
            model.graph[3].op_type = "Add"
            return result

        assert found(culprit_of(five, plant(edit)))[:2] == (None, "c")

    def test_a_pass_without_notes_has_no_rewrite(self, five: ir.Model, plant: Planter) -> None:
        assert found(culprit_of(five, plant(lambda model: scale(model.graph[1])))) == (
            None,
            "b",
            "Mul -> 'b'",
        )

    def test_a_pass_in_a_group_is_found(self, five: ir.Model, drop: Pass, plant: Planter) -> None:
        rounds = []

        def second_round(model: ir.Model) -> PassResult | None:
            rounds.append(1)
            model.metadata_props["round"] = str(len(rounds))
            return each_mul("d")(model) if "1" in model.metadata_props.get("seen", "") else None

        def see(model: ir.Model) -> None:
            model.metadata_props["seen"] = "1"

        group = Repeat((drop, Repeat((plant(second_round, "late"), plant(see, "see")))))
        culprit = culprit_of(five, group, plant(each_mul("a"), "never-run"))
        assert culprit.step.name == "late"
        assert culprit.step.number == 4
        assert found(culprit) == (4, "d", "Mul -> 'd'")

    def test_the_node_is_the_one_in_the_rewritten_model(
        self, five: ir.Model, plant: Planter
    ) -> None:
        def edit(model: ir.Model) -> None:
            model.graph[2].op_type = "Sin"

        culprit = culprit_of(five, plant(edit))
        assert culprit.node == "Sin -> 'h'"
        assert culprit.tensor is not None
        assert culprit.tensor.node == "Tanh -> 'h'"

    def test_the_given_model_stays_as_it_was(self, five: ir.Model, plant: Planter) -> None:
        before = ir.to_proto(five).SerializeToString()
        culprit_of(five, plant(each_mul("c")))
        assert ir.to_proto(five).SerializeToString() == before


class TestFeeds:
    """The feeds on which a tensor goes wrong are kept."""

    def test_given_feeds_are_used(self, five: ir.Model, plant: Planter) -> None:
        x = np.full((2, 3), 0.25, np.float32)
        culprit = culprit_of(five, plant(each_mul("a")), feeds={"x": x})
        assert culprit.feeds is not None
        assert culprit.feeds["x"].tolist() == x.tolist()
        assert culprit.tensor is not None
        assert culprit.tensor.difference.expected == pytest.approx(0.275)

    def test_given_shapes_are_used(self, lab: Lab, plant: Planter) -> None:
        model = lab.model(FIVE.replace("float[2, 3]", "float[N, 3]"))
        culprit = culprit_of(model, plant(each_mul("a")), shapes={"x": (5, 3)})
        assert culprit.tensor is not None
        assert culprit.tensor.difference.size == 15

    def test_a_fault_that_only_later_feeds_show_is_found(self, lab: Lab, plant: Planter) -> None:
        model = lab.model("g (float[4] x) => (float[4] y) { a = Neg(x) b = Exp(a) y = Tanh(b) }")
        first, second = (float(generate(model, seed=seed)["x"].max()) for seed in (0, 1))
        low, high = min(first, second), max(first, second)
        assert low < high

        def clip(model: ir.Model) -> None:
            """Clip the input, between the peaks of the two sets of feeds."""
            limit = ir.tensor(np.float32((low + high) / 2), name="limit")
            value = ir.Value(name="limit", const_value=limit)
            model.graph.register_initializer(value)
            node = ir.node("Min", [model.graph.inputs[0], value])
            node.outputs[0].name = "clipped"
            model.graph.insert_before(model.graph[0], node)
            model.graph[1].replace_input_with(0, node.outputs[0])

        culprit = culprit_of(model, plant(clip))
        assert found(culprit)[1] == "a"
        assert culprit.feeds is not None
        assert float(culprit.feeds["x"].max()) == high


class TestIntegrity:
    """A pass that leaves something other than the same model."""

    @staticmethod
    def rename_output(node: ir.Node) -> None:
        node.outputs[0].name = f"{node.outputs[0].name}_renamed"

    def test_a_changed_interface_has_a_rewrite_and_no_tensor(
        self, five: ir.Model, plant: Planter
    ) -> None:
        culprit = culprit_of(five, plant(each_mul("ay", self.rename_output), "renaming"))
        assert found(culprit) == (5, None, "")
        text = culprit.paragraph()
        assert "Its rewrite 5 of 5 is the first wrong one: Mul -> 'y_renamed'" in text
        assert text.endswith("graph outputs were ['y'], now ['y_renamed'].")

    def test_a_model_that_no_longer_runs_is_blamed(self, lab: Lab, plant: Planter) -> None:
        # The checker does not infer shapes of a model that it found wanting before.
        model = lab.model("g (float[2, 3] x) => (y) { a = Abs(x) b = Neg(a) y = Exp(b) }")

        def edit(model: ir.Model) -> PassResult:
            result = PassResult()
            for node in model.graph:
                node.domain = "nowhere" if node.op_type == "Neg" else ""
                result.rewritten.append(Note(label(node), "moved"))
            model.opset_imports["nowhere"] = 1
            return result

        culprit = culprit_of(model, plant(edit))
        assert culprit.step.verdict == "failed"
        assert found(culprit)[1:] == (None, "")

    def test_a_graph_that_is_none_any_more_is_blamed_on_its_rewrite(
        self, five: ir.Model, plant: Planter
    ) -> None:
        def edit(model: ir.Model) -> PassResult:
            result = PassResult()
            for node in model.graph:
                node.name = f"at {node.outputs[0].name}"
                if node.op_type == "Tanh":
                    node.outputs[0].name = None
                result.rewritten.append(Note(node.op_type, "named"))
            return result

        culprit = culprit_of(five, plant(edit, "breaking"))
        assert culprit.step.verdict == "crashed"
        assert found(culprit) == (3, None, "")
        assert culprit.before.graph[1].name == "at b"
        assert not culprit.before.graph[2].name
        assert "crashed. Its rewrite 3 of 7 is the first wrong one: Tanh: " in culprit.paragraph()
        assert "it left a broken graph" in culprit.paragraph()

    def test_a_node_that_reads_what_comes_later_is_blamed_on_its_rewrite(
        self, five: ir.Model, plant: Planter
    ) -> None:
        def read_the_end(node: ir.Node) -> None:
            assert node.graph is not None
            node.replace_input_with(0, node.graph.outputs[0])

        culprit = culprit_of(five, plant(each_mul("c", read_the_end)))
        assert found(culprit) == (3, None, "")


class TestCrash:
    """A pass that raises, or whose process dies."""

    def test_says_after_which_rewrite_it_raised(self, five: ir.Model, plant: Planter) -> None:
        def fail(_: ir.Node) -> None:
            msg = "cannot go on."
            raise RuntimeError(msg)

        culprit = culprit_of(five, plant(each_mul("c", fail), "raising"))
        assert culprit.step.verdict == "crashed"
        assert found(culprit) == (2, None, "")
        assert culprit.after is None
        assert culprit.before is culprit.model
        assert culprit.paragraph() == (
            "Pass 'raising' (step 1) crashed. Its last rewrite before that was number 2: "
            "Mul -> 'b': factors swapped. RuntimeError: cannot go on."
        )

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=["error", "exit"])
    def test_before_the_first_rewrite_there_is_none(
        self, five: ir.Model, plant: Planter, error: BaseException
    ) -> None:
        def fail(_: ir.Model) -> None:
            raise error

        culprit = culprit_of(five, plant(fail))
        assert found(culprit) == (None, None, "")
        assert "rewrite" not in culprit.paragraph()

    def test_in_a_child_process_it_has_no_rewrite(self, five: ir.Model, tmp_path: Path) -> None:
        path = tmp_path / "apart.py"
        path.write_text(ISOLATED)
        (cls,) = load_plugin(path)
        culprit = culprit_of(five, cls())
        assert culprit.step.verdict == "crashed"
        assert found(culprit) == (None, None, "")
        assert "raised RuntimeError: boom" in culprit.paragraph()


class TestAddingUp:
    """Passes that are close one by one and not all together."""

    def test_the_original_is_what_the_tensor_is_compared_with(
        self, lab: Lab, plant: Planter
    ) -> None:
        text = "g (float[64] x) => (float[64] y) <float k = {1.5}> { a = Neg(x) y = Mul(a, k) }"
        # Constant and feed each move by half a spacing to one: the bound is 8 to 16 spacings.
        drift = plant(lambda model: scale(model.graph[1], 1 + 7 * 2**-23), "drift", "close")
        original = lab.model(text)
        culprit = culprit_of(original, drift, drift, drift, drift)
        assert culprit.step.number in {2, 3}
        assert "against the original" in culprit.step.reason
        assert found(culprit) == (None, "y", "Mul -> 'y'")
        assert culprit.items == (drift,) * 4
        assert culprit.model is original
        assert "within bounds alone, and beyond them after the passes before" in (
            culprit.paragraph()
        )


class TestNothingToBlame:
    """No culprit, or no way to tell."""

    def test_passes_that_are_right(self, five: ir.Model, drop: Pass, plant: Planter) -> None:
        items = (drop, plant(each_mul("")), plant(lambda _: None, "idle"))
        assert bisect(five, items, Settings()) is None

    def test_no_pass(self, five: ir.Model) -> None:
        assert bisect(five, (), Settings()) is None

    @staticmethod
    def deaden(model: ir.Model) -> None:
        """Do what changes no number of an output that is dead anyway."""
        model.graph.name = "renamed"

    def test_an_output_that_feeds_do_not_move_is_refused(self, lab: Lab, plant: Planter) -> None:
        model = lab.model(
            "g (float[4] x) => (float[4] y) <float z = {0}> { a = Mul(x, z) y = Abs(a) }"
        )
        with pytest.raises(UsageError, match=r"pass 'idle' cannot be checked: .*; give --feeds"):
            bisect(model, (plant(self.deaden, "idle"),), Settings())

    def test_a_failure_after_what_could_not_be_checked_is_found(
        self, lab: Lab, plant: Planter
    ) -> None:
        text = """
            g (float[4] x) => (float[4] y, float[4] dead) <float z = {0}, float k = {2}>
            { dead = Mul(x, z) y = Mul(x, k) }
        """
        faulty = plant(lambda model: scale(model.graph[1]), "faulty")
        culprit = culprit_of(lab.model(text), plant(self.deaden, "idle"), faulty)
        assert (culprit.step.name, found(culprit)[1]) == ("faulty", "y")

    @pytest.mark.parametrize(
        "setting", [{"check": False}, {"on_fail": "keep"}, {"max_rewrites": 1}]
    )
    def test_settings_that_would_hide_the_culprit_are_overruled(
        self, five: ir.Model, plant: Planter, setting: dict[str, Any]
    ) -> None:
        assert found(culprit_of(five, plant(each_mul("c")), **setting))[:2] == (3, "c")


class TestKindsOfModels:
    """Float16, and operators that onnxruntime lacks."""

    def test_in_float16_rounding_alone_is_not_blamed(self, lab: Lab, plant: Planter) -> None:
        model = lab.model("""
            g (float[2, 3] x) => (float[2, 3] y) {
                k = Constant<value_float = 1.1>()
                two = Constant<value_float = 0.7>()
                f = Cast<to = 10>(k)
                t = Cast<to = 10>(two)
                h = Cast<to = 10>(x)
                a = Mul(h, f)
                b = Tanh(a)
                c = Mul(b, t)
                y = Cast<to = 1>(c)
            }
        """)

        def edit(model: ir.Model) -> None:
            half = ir.tensor(np.float32(1.1 * (1 + 2**-11)), name="k")
            model.graph[0].attributes.pop("value_float")
            model.graph[0].attributes["value"] = ir.AttrTensor("value", half)
            model.graph[1].attributes["value_float"] = ir.AttrFloat32("value_float", 0.8)

        culprit = culprit_of(model, plant(edit))
        assert found(culprit)[1] == "two"

    def test_the_reference_evaluator_finds_it_where_onnxruntime_cannot(
        self, lab: Lab, plant: Planter
    ) -> None:
        text = """
            g (float[1, 1, 2, 2, 2] x, float[1, 1, 1, 1, 3] at) => (float[1, 1, 1, 1, 1] y)
            { a = Abs(x) s = GridSample<mode = "cubic">(a, at) y = Neg(s) }
        """

        def edit(model: ir.Model) -> PassResult:
            result = PassResult()
            for node in model.graph:
                node.name = f"node of {node.outputs[0].name}"
                node.op_type = {"Neg": "Exp"}.get(node.op_type, node.op_type)
                result.rewritten.append(Note(label(node), "named"))
            return result

        culprit = culprit_of(lab.model(text, opset=20, ir_version=9), plant(edit))
        assert found(culprit) == (3, "y", "Exp -> 'y'")


class TestRejected:
    """What the manager hands on for a look at what is wrong."""

    def test_is_the_model_that_the_stopping_pass_made(
        self, five: ir.Model, drop: Pass, plant: Planter, lab: Lab
    ) -> None:
        outcome = run_passes(five, (drop, plant(each_mul("c"))), Settings())
        assert outcome.rejected is not None
        assert lab.ops(outcome.rejected) == lab.ops(outcome.model)
        first = [model.graph[0].inputs[0] for model in (outcome.model, outcome.rejected)]
        assert [value.name for value in first if value] == ["x", "k1"]

    @pytest.mark.parametrize(
        ("wrong", "on_fail"), [("", "stop"), ("c", "undo"), ("c", "keep")], ids=str
    )
    def test_is_nothing_when_no_pass_stopped_the_run(
        self, five: ir.Model, plant: Planter, wrong: str, on_fail: OnFail
    ) -> None:
        outcome = run_passes(five, (plant(each_mul(wrong)),), Settings(on_fail=on_fail))
        assert outcome.rejected is None

    def test_is_nothing_after_a_crash(self, five: ir.Model, plant: Planter) -> None:
        outcome = run_passes(five, (plant(lambda _: 1 / 0),), Settings())
        assert outcome.stopped_by is not None
        assert outcome.rejected is None
