"""Each pass and each preset looks at a node a bounded number of times, however long the model is.

Python calls and copies of use lists are counted, not seconds: twice the nodes must cost at most
2.2 times as much. What one call does in C is not seen, so ``Value.uses`` and ``consumers``, which
copy as many uses as there are, count with their lengths.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import pytest

from ascend.presets import PRESETS
from benchmarks.chains import chain_for, option_text, passes, quiet_chain
from onnx_passes.core.contract import Pass, PassResult
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import parse

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL, LARGE = 300, 600
MOST = 2.2
TEXTS = {preset.name: preset.passes for preset in PRESETS}


class Counter:
    """Counts Python calls, and the lengths of copied use lists."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("uses", "consumers"):
            monkeypatch.setattr(ir.Value, name, self._counted(getattr(ir.Value, name)))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(value: ir.Value) -> Any:  # noqa: ANN401  what the method gives
            found = method(value)
            self.count += len(found)
            return found

        return counted

    def cost(self, work: Callable[[], object]) -> int:
        """Return what ``work`` cost."""
        self.count = 0

        def called(_frame: object, event: str, _argument: object) -> None:
            self.count += event == "call"

        before = sys.getprofile()
        sys.setprofile(called)
        try:
            work()
        finally:
            sys.setprofile(before)
        return self.count


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


def growth(
    counter: Counter, work: Callable[[ir.Model], object], make: Callable[[int], Any]
) -> float:
    """Return how many times as much twice the nodes cost; a first run fills the caches."""
    work(ir.from_proto(make(SMALL)))
    small, large = (ir.from_proto(make(nodes)) for nodes in (SMALL, LARGE))
    assert LARGE <= len(large.graph) <= 1.1 * LARGE
    return counter.cost(lambda: work(large)) / counter.cost(lambda: work(small))


@pytest.mark.parametrize("name", sorted(set(passes()) - {"onnxsim"}))
def test_a_pass_is_linear_where_it_fires_everywhere(name: str, counter: Counter) -> None:
    (item,) = parse(option_text(name))
    assert isinstance(item, Pass)
    fired: list[PassResult] = []
    ratio = growth(counter, lambda m: fired.append(item.run(m)), lambda n: chain_for(name, n))
    assert all(result.rewritten for result in fired)
    assert ratio <= MOST


@pytest.mark.parametrize("name", sorted(set(passes()) - {"onnxsim"}))
def test_a_pass_is_linear_where_it_finds_nothing(name: str, counter: Counter) -> None:
    (item,) = parse(option_text(name))
    assert isinstance(item, Pass)
    assert growth(counter, item.run, quiet_chain) <= MOST


@pytest.mark.parametrize("name", TEXTS)
def test_a_preset_is_linear_but_for_onnxsim(name: str, counter: Counter) -> None:
    items = [item for item in parse(TEXTS[name]) if getattr(item, "name", "") != "onnxsim"]

    def work(model: ir.Model) -> None:
        assert run_passes(model, items, Settings(check=False)).stopped_by is None

    assert growth(counter, work, lambda nodes: chain_for("mixed", nodes)) <= MOST


@pytest.mark.parametrize("kind", ["looks at all nodes for each", "copies the uses of a constant"])
def test_a_planted_quadratic_pass_is_found(kind: str, counter: Counter) -> None:
    def run(model: ir.Model) -> None:
        weight = next(iter(model.graph.initializers.values()))
        for _ in model.graph:
            if kind.startswith("copies"):
                weight.uses()
            else:
                list(model.graph)

    assert growth(counter, run, quiet_chain) > MOST
