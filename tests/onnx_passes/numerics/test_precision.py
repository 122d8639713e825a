from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.numerics import runner
from onnx_passes.numerics.compare import same_bits
from onnx_passes.numerics.half import emulate_half
from onnx_passes.numerics.half_error import half_error
from onnx_passes.numerics.precision import Settings, Switchboard, search

if TYPE_CHECKING:
    from collections.abc import Collection

# Beside a chain that float16 bears, a detour over 4096 that it does not: there and back again.
DETOUR = """<ir_version: 8, opset_import: ["": 16]>
g (float[6] x) => (float[6] y, float[6] z) <float k = {4096}, float half = {0.5}> {
    calm = Tanh(x)
    far = Add(x, k)
    turned = Neg(far)
    back = Add(turned, k)
    y = Add(back, calm)
    z = Mul(calm, half)
}"""
THE_DETOUR = ("far", "turned", "back")
X = {"x": np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32)}


@pytest.fixture
def model() -> ir.Model:
    model = ir.from_onnx_text(DETOUR)
    for node in model.graph:
        node.name = node.outputs[0].name
    return model


class TestSearch:
    def test_the_nodes_found_are_the_detour_and_no_other(self, model: ir.Model) -> None:
        plan = search(model, [X], 0.01)
        assert sorted(plan.nodes) == sorted(THE_DETOUR)
        assert plan.loss_before > 0.1
        assert plan.loss <= 0.01
        assert plan.thinned

    def test_the_loss_is_that_of_the_emulated_model(self, model: ir.Model) -> None:
        plan = search(model, [X], 0.01)
        assert plan.loss == half_error(model, [X], plan.nodes, tensors=False).max_abs
        assert plan.loss_before == half_error(model, [X], tensors=False).max_abs

    def test_every_node_found_is_needed(self, model: ir.Model) -> None:
        plan = search(model, [X], 0.01)
        for name in plan.nodes:
            rest = [other for other in plan.nodes if other != name]
            assert half_error(model, [X], rest, tensors=False).max_abs > 0.01

    def test_nodes_are_ranked_by_what_each_does_alone(self, model: ir.Model) -> None:
        ranking = search(model, [X], 0.01).ranking
        assert {one.node for one in ranking[:3]} == set(THE_DETOUR)
        assert [one.error for one in ranking] == sorted((o.error for o in ranking), reverse=True)
        others = {"calm", "far", "turned", "back", "y", "z"} - {"back"}
        alone = half_error(model, [X], others, tensors=False).max_abs
        assert {one.node: one.error for one in ranking}["back"] == alone

    def test_a_budget_that_float16_meets_needs_no_node(self, model: ir.Model) -> None:
        plan = search(model, [X], 10.0)
        assert plan.nodes == ()
        assert plan.tried == 1

    def test_only_the_outputs_asked_for_count(self, model: ir.Model) -> None:
        assert search(model, [X], 0.01, settings=Settings(outputs=["z"])).nodes == ()
        with pytest.raises(UsageError, match="no output 'zz'; did you mean 'z'"):
            search(model, [X], 0.01, settings=Settings(outputs=["zz"]))

    def test_marked_and_given_nodes_are_not_searched_again(self, model: ir.Model) -> None:
        model.graph.node("far").metadata_props[PRECISION_KEY] = "float32"
        plan = search(model, [X], 0.01, settings=Settings(keep=["turned"]))
        assert plan.nodes == ("back",)
        assert {"far", "turned"}.isdisjoint(one.node for one in plan.ranking)

    def test_marks_can_be_searched_for_as_if_they_were_not_there(self, model: ir.Model) -> None:
        model.graph.node("far").metadata_props[PRECISION_KEY] = "float32"
        plan = search(model, [X], 0.01, settings=Settings(marks=False))
        assert sorted(plan.nodes) == sorted(THE_DETOUR)

    def test_a_zero_budget_keeps_everything_that_rounds(self, model: ir.Model) -> None:
        plan = search(model, [X], 0.0)
        assert plan.loss == 0
        assert set(plan.nodes) == {"calm", "far", "turned", "back", "y", "z"}

    def test_a_budget_below_zero_is_refused_with_what_float32_loses(self, model: ir.Model) -> None:
        with pytest.raises(UsageError, match="with every node float32 the loss is 0"):
            search(model, [X], -1.0)

    def test_no_feeds_are_refused(self, model: ir.Model) -> None:
        with pytest.raises(UsageError, match="no feeds"):
            search(model, [], 0.1)

    def test_another_loss_is_kept_small_instead(self, model: ir.Model) -> None:
        asked: list[Collection[str]] = []

        def loss(kept: Collection[str]) -> float:
            asked.append(kept)
            return 0.0 if "calm" in kept else 1.0

        plan = search(model, [X], 0.5, loss=loss)
        assert plan.nodes == ("calm",)
        assert plan.tried == len(asked) == len(set(map(frozenset, asked)))

    def test_tries_bound_the_thinning_and_the_plan_says_so(self, model: ir.Model) -> None:
        def loss(kept: Collection[str]) -> float:
            return 0.0 if "calm" in kept else 1.0

        plan = search(model, [X], 0.5, loss=loss, settings=Settings(max_tries=0))
        assert not plan.thinned
        assert "calm" in plan.nodes
        assert len(plan.nodes) > 1

    def test_without_thinning_it_is_the_shortest_head_of_the_ranking(self, model: ir.Model) -> None:
        plan = search(model, [X], 0.01, settings=Settings(max_tries=0))
        assert plan.nodes == tuple(one.node for one in plan.ranking[:3])

    def test_an_overflow_is_found_like_any_other_error(self) -> None:
        model = ir.from_onnx_text(
            """<ir_version: 8, opset_import: ["": 16]> g (float[2] x) => (float[2] y)
            <float k = {1000}> { big = Mul(x, k) y = Div(big, k) }"""
        )
        feeds = {"x": np.array([100.0, 1.0], np.float32)}
        plan = search(model, [feeds], 0.1)
        assert plan.loss_before == np.inf
        assert plan.nodes == ("big", "y")

    def test_progress_is_told_step_by_step(self, model: ir.Model) -> None:
        told: list[tuple[str, int, int | None]] = []
        settings = Settings(on_progress=lambda *step: told.append(step))
        search(model, [X], 0.01, settings=settings)
        assert told[0] == ("rank", 1, 6)
        assert told[5] == ("rank", 6, 6)
        assert {step for step, _, _ in told[6:]} == {"cut", "thin"}


class TestSwitchboard:
    @pytest.mark.parametrize(
        "keep", [(), ("far",), ("back", "y"), THE_DETOUR], ids=["none", "one", "two", "three"]
    )
    def test_switches_give_what_the_emulated_model_gives(
        self, model: ir.Model, keep: tuple[str, ...]
    ) -> None:
        board = Switchboard(model)
        expected = runner.run_model(emulate_half(model, keep), X)
        assert all(same_bits(array, expected[name]) for name, array in board.run(X, keep).items())

    def test_with_all_nodes_switched_to_float32_the_original_is_left(self, model: ir.Model) -> None:
        board = Switchboard(model)
        expected = runner.run_model(model, X)
        out = board.run(X, board.nodes)
        assert all(same_bits(array, expected[name]) for name, array in out.items())

    def test_a_switch_reaches_into_sub_graphs(self) -> None:
        model = ir.from_onnx_text(
            """<ir_version: 8, opset_import: ["": 16]> g (bool c, float[6] x) => (float[6] y)
            <float k = {4096}> { y = If(c) <then_branch = t () => (float[6] a)
            { far = Add(x, k) a = Sub(far, k) }, else_branch = e () => (float[6] b)
            { b = Neg(x) }> }"""
        )
        board = Switchboard(model)
        feeds = {**X, "c": np.array(1, bool)}
        assert board.nodes == ("far", "a", "b")
        assert not np.any(board.run(feeds, ())["y"])
        assert np.allclose(board.run(feeds, ("far", "a"))["y"], X["x"], rtol=0, atol=5e-4)
