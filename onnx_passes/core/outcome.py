"""What a run of a pass list did, pass by pass."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness, Note
    from onnx_passes.numerics.check import OutputCheck

Verdict = Literal["passed", "failed", "crashed", "not checkable", "not checked", "unchanged"]
_GRAVEST_FIRST: tuple[Verdict, ...] = ("crashed", "failed", "not checkable", "not checked")


@dataclasses.dataclass(frozen=True)
class Measure:
    """The size of a model.

    Attributes:
        operators: Number of nodes by operator, sub-graphs and functions included.
        bytes: Size of all initializers.
    """

    operators: Mapping[str, int]
    bytes: int

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return sum(self.operators.values())


@dataclasses.dataclass(frozen=True)
class Step:
    """One execution of one pass.

    Attributes:
        number: Position in the run, from 1.
        text: The pass with its options, as in a pass list.
        name: The pass.
        exactness: What the pass promises.
        verdict: ``passed``, ``failed`` (integrity or numbers), ``crashed``, ``not checkable``
            (a comparison that would prove nothing), ``not checked`` (on request) or ``unchanged``.
        reason: One sentence; empty for ``passed`` and ``unchanged``.
        kept: Whether the model of the next step includes this pass's change.
        rewritten: What the pass says it changed.
        skipped: What the pass says it left alone, and why.
        before: The model before.
        after: The model after (the same object when unchanged).
        outputs: The numeric check of each graph output.
        seconds: Wall time of the pass.
        check_seconds: Wall time of its checks.
    """

    number: int
    text: str
    name: str
    exactness: Exactness
    verdict: Verdict
    reason: str
    kept: bool
    rewritten: tuple[Note, ...]
    skipped: tuple[Note, ...]
    before: Measure
    after: Measure
    outputs: tuple[OutputCheck, ...]
    seconds: float
    check_seconds: float

    @property
    def max_abs(self) -> float | None:
        """Greatest absolute difference to the original over all outputs; None if not compared."""
        return max((check.original.max_abs for check in self.outputs), default=None)

    @property
    def bit_equal(self) -> bool:
        """Whether every output was compared with the original and agrees in all bits."""
        return bool(self.outputs) and all(check.original.same_bits for check in self.outputs)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of :func:`onnx_passes.optimize`.

    Attributes:
        model: The rewritten model. Under ``stop`` and ``undo`` it holds no change that failed.
        steps: One record per executed pass, in order.
        before: The original's size.
        after: The size of ``model``.
        feeds: How to repeat the feeds of the numeric checks; empty if none ran.
        oracle: What computed the expected outputs; empty if nothing did.
        stopped_by: The step that ended the run under the policy ``stop``.
        rejected: The model that step made, for those who want to see what is wrong with it.
    """

    model: ir.Model
    steps: tuple[Step, ...]
    before: Measure
    after: Measure
    feeds: str
    oracle: str
    stopped_by: Step | None = None
    rejected: ir.Model | None = None

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict among the changes that are in ``model``, or the one that stopped."""
        verdicts = {step.verdict for step in self.steps if step.kept or step is self.stopped_by}
        for verdict in _GRAVEST_FIRST:
            if verdict in verdicts:
                return verdict
        return "passed" if "passed" in verdicts else "unchanged"

    @property
    def blamed(self) -> tuple[Step, ...]:
        """The steps that failed or crashed, whether their change was kept or not."""
        return tuple(step for step in self.steps if step.verdict in {"failed", "crashed"})

    @property
    def ok(self) -> bool:
        """Whether everything in ``model`` was checked and passed."""
        return self.verdict in {"passed", "unchanged"}


def measure(model: ir.Model) -> Measure:
    """Count the nodes of all graphs and functions, and the bytes of all initializers."""
    from onnx_passes.core.model_io import initializer_bytes
    from onnx_passes.core.values import graphs

    nodes = itertools.chain.from_iterable(graphs(model))
    operators = Counter(map(operator.attrgetter("op_type"), nodes))
    return Measure(dict(operators), initializer_bytes(model))
