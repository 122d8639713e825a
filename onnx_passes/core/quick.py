"""A run whose numbers nobody asked for: one model, edited in place, and one check at its end.

Structure is checked once, for the last model. Passes of the catalogue say whether they changed
something, and are measured together: at the end of the run, and of each round of a group but the
first that they say has changed something. Others are measured one by one.
Where a measurement contradicts them, or anything else leaves a doubt, the run counts for nothing:
the careful one takes its place and finds out which pass is to blame.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from onnx_passes.core.contract import PassResult, UsageError
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.integrity import BrokenModelError, Interface, is_sound
from onnx_passes.core.isolate import run_isolated
from onnx_passes.core.model_io import clone
from onnx_passes.core.outcome import Outcome, Verdict, measure
from onnx_passes.core.trial import Trial
from onnx_passes.core.values import known_to_be_flat, main_graphs
from onnx_passes.core.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import onnx_ir as ir

    from onnx_passes.core.contract import Pass
    from onnx_passes.core.fingerprint import Fingerprint
    from onnx_passes.core.manager import Settings
    from onnx_passes.core.outcome import Measure
    from onnx_passes.core.passlist import Item

UNCHECKED = "numbers were not compared, as asked"
# Its passes are held to the truth by the tests: each note against the change, on random graphs.
_CATALOGUE = "onnx_passes.passes."


def run_quickly(model: ir.Model, items: Sequence[Item], settings: Settings) -> Outcome | None:
    """Run ``items`` on ``model``, or on a copy; return None where only a careful run can tell.

    It is a copy unless ``settings.again`` can give the original once more.

    Raises:
        UsageError: If an option does not fit the model.
    """
    interface = Interface(model)
    run = _Quick(clone(model) if settings.again is None else model, settings)
    before, fingerprint = run.size, run.fingerprint
    try:
        run.run_items(items)
        run.settle()
        if run.fingerprint != fingerprint and not is_sound(run.model, interface):
            return None
    except (_DoubtError, BrokenModelError):
        return None
    for step in run.steps:
        settings.on_step(step)
    return Outcome(run.model, tuple(run.steps), before, run.size, feeds="", oracle="")


class _DoubtError(Exception):
    """Something happened that only a careful run can judge."""


class _Quick(Walk):
    def __init__(self, model: ir.Model, settings: Settings) -> None:
        self._fingerprinter = Fingerprinter()
        fingerprint = self._fingerprinter(model)
        super().__init__(settings, model, fingerprint, self._fingerprinter.measure())
        self._measured = fingerprint
        self._unverified = False
        self._flat = _is_flat(model)

    def settle(self) -> None:
        """Measure what the passes since the last measurement said, together."""
        if not self._unverified:
            return
        said, fingerprint = self.fingerprint, self._fingerprint()
        if (said == self._measured) != (fingerprint == self._measured):
            raise _DoubtError
        if said != self._measured:
            # A pass that was settled under ``said`` is not settled now: it runs, and is measured.
            self.fingerprint = self._measured = fingerprint

    def run_pass(self, item: Pass) -> None:
        believed = type(item).__module__.startswith(_CATALOGUE)
        if not believed:
            self.settle()
        started = time.perf_counter()
        with self._known(believed=believed):
            result = self._execute(item)
        trial = Trial(item, self.model, result, time.perf_counter() - started)
        self._unverified |= believed
        fingerprint = self.fingerprint
        if not believed:
            fingerprint = self._measured = self._fingerprint()
            self._flat = _is_flat(self.model)
        elif result.rewritten:
            fingerprint = (object(),)  # like no other: it stands for what is measured later
        if fingerprint == self.fingerprint:
            self.skip_pass(trial)
            return
        if item.narrows_inputs:
            raise _DoubtError  # what later passes may do depends on it
        self.fingerprint, trial.measure = fingerprint, self._size()
        self._record(trial, "not checked", UNCHECKED)

    def _known(self, *, believed: bool) -> AbstractContextManager[None]:
        """Return the block in which a flat model is known to be flat: our passes nest no graph."""
        return known_to_be_flat(self.model.graph) if self._flat and believed else nullcontext()

    def _fingerprint(self) -> Fingerprint:
        self._unverified = False
        try:
            return self._fingerprinter(self.model)
        except Exception as error:
            raise _DoubtError from error

    def _size(self) -> Measure:
        try:
            with self._known(believed=True):
                return measure(self.model)
        except Exception as error:
            raise _DoubtError from error

    def skip_pass(self, trial: Trial) -> None:
        self._record(trial, "unchanged", "")

    def _execute(self, item: Pass) -> PassResult:
        try:
            if item.isolated:
                timeout_s = self.settings.timeout_s
                self.model, result = run_isolated(item, self.model, timeout_s=timeout_s)
            else:
                result = item.run(self.model)
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            raise _DoubtError from error
        if not isinstance(result, PassResult):
            raise _DoubtError
        return result

    def _record(self, trial: Trial, verdict: Verdict, reason: str) -> None:
        kept = verdict != "unchanged"
        step = trial.step(len(self.steps) + 1, self.size, verdict, reason, kept=kept)
        self.steps.append(step)
        self.size = step.after


def _is_flat(model: ir.Model) -> bool:
    """Return whether no node of the main graph holds a graph."""
    return len(list(main_graphs(model))) == 1
