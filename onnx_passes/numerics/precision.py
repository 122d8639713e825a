"""The nodes that must stay float32 for a model in float16 to keep within a budget.

Found in three steps. Rank: each node alone computes in float16, all others in float32, and the
error of the outputs is its contribution. Cut: bisect for the shortest head of that ranking which,
kept float32, meets the budget. Thin: leave out what is not needed after all, in halves, then one
by one. Ranking runs one session whose nodes can be switched; every set of the other two steps is
measured on the emulated model itself, so what is returned is verified.

The errors of nodes add up and cancel, so the set is small, not provably the smallest. The budget
holds on the feeds of the search; other feeds may need more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import UsageError
from onnx_passes.core.names import Names
from onnx_passes.core.registry import did_you_mean
from onnx_passes.numerics.compare import greatest_difference
from onnx_passes.numerics.half import (
    emulate_half,
    half_nodes,
    kept_nodes,
    node_key,
    prepare,
)
from onnx_passes.numerics.half_rounding import Rounding
from onnx_passes.numerics.runner import Arrays, Runner

if TYPE_CHECKING:
    from typing import Any

# What is lost when some nodes, and those kept anyway, stay float32.
Loss = Callable[[Collection[str]], float]


@dataclasses.dataclass(frozen=True)
class Contribution:
    """What one node does to the outputs.

    Attributes:
        node: Its name.
        error: Greatest absolute error of the outputs when it alone computes in float16.
    """

    node: str
    error: float


@dataclasses.dataclass(frozen=True)
class PrecisionPlan:
    """Which nodes must stay float32.

    Attributes:
        nodes: Those found, the greatest contribution first.
        budget: What was allowed, in the unit of the loss.
        loss: What is lost with these nodes float32, measured on the emulated model.
        loss_before: What is lost without them.
        ranking: Every node that computes in float16, the greatest contribution first.
        tried: How many sets of nodes were tried.
        thinned: Whether each node was tried to be left out; False if ``max_tries`` ran out.
    """

    nodes: tuple[str, ...]
    budget: float
    loss: float
    loss_before: float
    ranking: tuple[Contribution, ...]
    tried: int
    thinned: bool


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a search starts from.

    Attributes:
        keep: Names of nodes that stay float32 in any case.
        marks: Whether marked nodes stay float32 in any case.
        outputs: The graph outputs whose error counts; none means all.
        max_tries: How many sets may be tried to thin out; None is no limit.
        on_progress: Called with what is done, how much of it, and the total if known.
    """

    keep: Collection[str] = ()
    marks: bool = True
    outputs: Sequence[str] = ()
    max_tries: int | None = None
    on_progress: Callable[[str, int, int | None], None] = lambda *_: None


DEFAULTS = Settings()


class Switchboard:
    """One session of a model in which each node can be float16 or float32, as the run asks.

    Args:
        model: Left untouched.
        settings: Which nodes stay float32 whatever is asked.

    Attributes:
        nodes: The names of the nodes that can be switched, in graph order.
    """

    def __init__(self, model: ir.Model, settings: Settings = DEFAULTS) -> None:
        """Build the model and its session."""
        copy = prepare(model)
        nodes = half_nodes(copy, kept_nodes(copy, settings.keep, marks=settings.marks))
        self.nodes = tuple(dict.fromkeys(map(node_key, nodes)))
        names = Names(copy)
        kind, shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([])
        switches = {
            key: ir.Value(name=names.fresh(f"keep/{key}"), type=kind, shape=shape)
            for key in self.nodes
        }
        copy.graph.inputs.extend(switches.values())
        Rounding(copy, {node: switches[node_key(node)] for node in nodes}).apply()
        self._switches = {key: value.name or "" for key, value in switches.items()}
        self._runner = Runner(copy)

    def run(self, feeds: Arrays, keep: Collection[str]) -> Arrays:
        """Return the outputs when the nodes in ``keep`` are float32 and all others float16."""
        wanted = set(keep)
        flags: dict[str, Any] = {
            name: np.array(key in wanted) for key, name in self._switches.items()
        }
        return self._runner.run({**feeds, **flags})


def search(
    model: ir.Model,
    feeds: Sequence[Arrays],
    budget: float,
    *,
    loss: Loss | None = None,
    settings: Settings = DEFAULTS,
) -> PrecisionPlan:
    """Return a small set of nodes that must stay float32 to keep the loss within ``budget``.

    Args:
        model: Left untouched.
        feeds: Sets of arrays by input name, at least one; the nodes are ranked on them.
        budget: The greatest loss allowed.
        loss: What to keep small, given the names of nodes that stay float32; by default the
            greatest absolute error of the outputs on the feeds.
        settings: What stays float32 in any case, and how long to search.

    Raises:
        UsageError: If a name is unknown, there are no feeds, or float32 itself misses the budget.
        ModelError: If the model cannot be emulated or run.
    """
    if not feeds:
        msg = "there are no feeds, so no error can be measured; give at least one set"
        raise UsageError(msg)
    return _Search(model, feeds, budget, loss, settings).run()


class _Search:
    """The state of one search: the session, and what was tried."""

    def __init__(
        self,
        model: ir.Model,
        feeds: Sequence[Arrays],
        budget: float,
        loss: Loss | None,
        settings: Settings,
    ) -> None:
        self._model, self._feeds, self._budget = model, feeds, budget
        self._settings = settings
        self._board = Switchboard(model, settings)
        reference = Runner(model)
        self._outputs = _outputs(reference.output_names, settings.outputs)
        self._expected = [reference.run(one) for one in feeds]
        self._given = loss
        self._seen: dict[frozenset[str], float] = {}

    def run(self) -> PrecisionPlan:
        before = self._loss(())
        ranking = self._ranking()
        names = [contribution.node for contribution in ranking]
        nodes: list[str] = []
        thinned = True
        if not before <= self._budget:
            nodes, thinned = self._thinned(self._head(names))
        return PrecisionPlan(
            nodes=tuple(nodes),
            budget=self._budget,
            loss=self._loss(nodes),
            loss_before=before,
            ranking=tuple(ranking),
            tried=len(self._seen),
            thinned=thinned,
        )

    def _ranking(self) -> list[Contribution]:
        nodes = self._board.nodes
        everything = set(nodes)
        contributions = []
        for done, node in enumerate(nodes, 1):
            kept = everything - {node}
            error = self._worst(self._board.run(feeds, kept) for feeds in self._feeds)
            contributions.append(Contribution(node, error))
            self._settings.on_progress("rank", done, len(nodes))
        return sorted(contributions, key=lambda one: one.error, reverse=True)

    def _head(self, names: Sequence[str]) -> list[str]:
        """Return the shortest head of ``names`` that meets the budget, found by bisection."""
        if not self._fits(names):
            msg = (
                f"with every node float32 the loss is {self._loss(names):.3g}, which misses the "
                f"budget {self._budget:.3g}; no choice of nodes can meet it, raise the budget"
            )
            raise UsageError(msg)
        missing, meeting = 0, len(names)
        while meeting - missing > 1:
            middle = (missing + meeting) // 2
            if self._fits(names[:middle]):
                meeting = middle
            else:
                missing = middle
            self._settings.on_progress("cut", len(self._seen), None)
        return list(names[:meeting])

    def _thinned(self, nodes: list[str]) -> tuple[list[str], bool]:
        """Leave out what the budget does not need, weakest first; say whether time sufficed."""
        limit, started = self._settings.max_tries, len(self._seen)
        size = max(1, len(nodes) // 2)
        while True:
            for end in range(len(nodes), 0, -size):
                if limit is not None and len(self._seen) - started >= limit:
                    return nodes, False
                rest = nodes[: max(0, end - size)] + nodes[end:]
                if self._fits(rest):
                    nodes = rest
                self._settings.on_progress("thin", len(self._seen), None)
            if size == 1:
                return nodes, True
            size //= 2

    def _fits(self, nodes: Collection[str]) -> bool:
        return self._loss(nodes) <= self._budget

    def _loss(self, nodes: Collection[str]) -> float:
        kept = frozenset(nodes)
        if kept not in self._seen:
            measure = self._given or self._output_error
            self._seen[kept] = measure(kept)
        return self._seen[kept]

    def _output_error(self, kept: Collection[str]) -> float:
        """Return the greatest absolute error of the outputs of the emulated model."""
        names = [*self._settings.keep, *kept]
        half = Runner(emulate_half(self._model, names, marks=self._settings.marks))
        return self._worst(half.run(feeds) for feeds in self._feeds)

    def _worst(self, answers: Iterable[Arrays]) -> float:
        return max(
            greatest_difference(expected[name], actual[name])
            for expected, actual in zip(self._expected, answers, strict=True)
            for name in self._outputs
        )


def _outputs(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            msg = f"the model has no output {name!r}{did_you_mean(name, known)}"
            raise UsageError(msg)
    return list(wanted or known)
