"""The order in which a pass list runs: what is repeated, and what need not run again.

A pass is left out, and recorded as unchanged, where the answer is known: it changed nothing in
just this model before, or the model has none of the operators that it ``needs``.
"""

from __future__ import annotations

import abc
import logging
from typing import TYPE_CHECKING

from onnx_passes.core.contract import PassResult
from onnx_passes.core.passlist import Repeat, pass_text
from onnx_passes.core.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from onnx_passes.core.contract import Pass
    from onnx_passes.core.fingerprint import Fingerprint
    from onnx_passes.core.manager import Settings
    from onnx_passes.core.outcome import Measure, Step
    from onnx_passes.core.passlist import Item

_logger = logging.getLogger(__name__)

# ( )* ends when a round changes nothing; passes that undo each other would never end.
MAX_ROUNDS = 20


class Walk(abc.ABC):
    """Goes through the items of a pass list.

    Attributes:
        settings: Whose ``on_start`` hears of each pass.
        model: The current model.
        fingerprint: Of the current model.
        size: Of the current model.
        steps: What was done so far.
    """

    def __init__(
        self, settings: Settings, model: ir.Model, fingerprint: Fingerprint, size: Measure
    ) -> None:
        """Start at the original."""
        self.settings = settings
        self.model = model
        self.fingerprint = fingerprint
        self.size = size
        self.steps: list[Step] = []
        # By pass (the object): the model that it did not change, and its notes.
        self._settled: dict[int, tuple[Fingerprint, PassResult]] = {}

    @abc.abstractmethod
    def run_pass(self, item: Pass) -> None:
        """Run one pass and record it as a step."""

    @abc.abstractmethod
    def skip_pass(self, trial: Trial) -> None:
        """Record a pass that was not run, since it would change nothing."""

    def settle(self) -> None:  # noqa: B027  most walks have nothing to settle
        """Make sure of the fingerprint, before it decides whether a group runs again."""

    def run_items(self, items: Sequence[Item]) -> None:
        """Run passes and groups in order."""
        for item in items:
            if isinstance(item, Repeat):
                self._repeat(item)
            else:
                self._visit(item)

    def _repeat(self, group: Repeat) -> None:
        for done in range(MAX_ROUNDS):
            before = self.fingerprint
            self.run_items(group.items)
            if done and self.fingerprint != before:  # nearly every first round changes something
                self.settle()
            if self.fingerprint == before:
                return
        _logger.warning("a repeated group still changed the model after %d rounds", MAX_ROUNDS)

    def _visit(self, item: Pass) -> None:
        self.settings.on_start(pass_text(item))
        before = self.fingerprint
        settled, result = self._settled.get(id(item), ((), PassResult()))
        if settled == before:
            self.skip_pass(Trial(item, self.model, result, 0.0))
        elif item.needs and not item.needs & self.size.operators.keys():
            self.skip_pass(Trial(item, self.model, PassResult(), 0.0))
        else:
            self.run_pass(item)
            if self.fingerprint == before and self.steps[-1].verdict == "unchanged":
                last = self.steps[-1]
                self._settled[id(item)] = before, PassResult([*last.rewritten], [*last.skipped])
