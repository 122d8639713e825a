"""Runs a pass list: measure, check, then keep, undo or stop.

After each pass that changed something the model must still be valid, keep its interface, and give
the numbers of the original. Whether something changed is measured, not taken from the pass.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnx_passes.core.collection import rare_collections
from onnx_passes.core.contract import (
    Exactness,
    Pass,
    PassResult,
    RewriteLimitReached,
    UsageError,
    at_most,
)
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.integrity import Baseline, BrokenModelError
from onnx_passes.core.isolate import DEFAULT_TIMEOUT_S, run_isolated
from onnx_passes.core.model_io import clone, to_model
from onnx_passes.core.outcome import Outcome, Step, Verdict
from onnx_passes.core.passlist import Item, PassesLike, collect
from onnx_passes.core.quick import UNCHECKED, run_quickly
from onnx_passes.core.registry import load_plugin
from onnx_passes.core.trial import Trial
from onnx_passes.core.walk import Walk

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx_ir as ir

    from onnx_passes.core.model_io import ModelLike
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.runner import Arrays

_logger = logging.getLogger(__name__)

OnFail = Literal["stop", "undo", "keep"]
_POLICIES = ("stop", "undo", "keep")
_WEAKER: dict[Exactness, int] = {"exact": 0, "close": 1, "inexact": 2}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to check.

    Attributes:
        feeds: Arrays by input name; None generates several sets.
        shapes: Sizes by input name for generated feeds.
        check: Whether numbers are compared; structure always is.
        on_fail: ``stop`` the run, ``undo`` just the failed pass, or ``keep`` its change.
        timeout_s: For passes that run in a child process, in seconds.
        max_rewrites: Stop each pass after that many rewrites; for bisection.
        on_start: Called with the text of a pass before it runs.
        on_step: Called with each finished step.
        again: Gives the original once more. With it, a run that compares no numbers edits what it
            was given, and asks for another one only where something went wrong.
    """

    feeds: Mapping[str, Any] | None = None
    shapes: Mapping[str, Sequence[int]] | None = None
    check: bool = True
    on_fail: OnFail = "stop"
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_rewrites: int | None = None
    on_start: Callable[[str], None] = lambda _: None
    on_step: Callable[[Step], None] = lambda _: None
    again: Callable[[], ir.Model] | None = None


def optimize(
    model: ModelLike,
    passes: PassesLike,
    *,
    feeds: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    check: bool = True,
    on_fail: OnFail = "stop",
    plugins: Iterable[str | os.PathLike[str]] = (),
) -> Outcome:
    """Run passes on a copy of ``model`` and check every change numerically.

    Args:
        model: A path, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; never modified.
        passes: A pass list as text, or passes.
        feeds: Arrays by input name; by default several sets are generated.
        shapes: Sizes by input name for generated feeds, ``{"x": (8, 3, 32, 100)}``.
        check: Whether to compare numbers with onnxruntime (structure is always checked).
        on_fail: What to do with a pass that fails: ``stop``, ``undo`` or ``keep``.
        plugins: Python files that register passes; their code is executed.

    Returns:
        The rewritten model and a record of every pass. Look at ``outcome.ok``.

    Raises:
        UsageError: For unknown passes, options that do not fit, policies or unusable feeds.
        ModelError: If the model cannot be read.
    """
    for plugin in plugins:
        load_plugin(Path(plugin))
    again = functools.partial(to_model, model)
    settings = Settings(feeds, shapes, check=check, on_fail=on_fail, again=again)
    return run_passes(to_model(model), collect(passes), settings)


def run_passes(model: ir.Model, items: Sequence[Item], settings: Settings) -> Outcome:
    """Run ``items`` on ``model``, which the run takes over. See :func:`optimize`."""
    if settings.on_fail not in _POLICIES:
        msg = f"on_fail is {settings.on_fail!r}, expected one of {', '.join(_POLICIES)}"
        raise UsageError(msg)
    with rare_collections():
        quick = not settings.check and settings.max_rewrites is None
        if quick and (outcome := run_quickly(model, items, settings)):
            return outcome
        if quick and settings.again is not None:
            model = settings.again()
        return _Run(model, settings).run(items)


class _Stopped(Exception):  # noqa: N818  control flow, not an error
    """A pass failed under the policy ``stop``; ``rejected`` is what it made."""

    def __init__(self, rejected: ir.Model | None) -> None:
        super().__init__()
        self.rejected = rejected


class _Run(Walk):
    """The state of one run: the current model and what is known of it."""

    def __init__(self, model: ir.Model, settings: Settings) -> None:
        self._fingerprinter = Fingerprinter()
        fingerprint = self._fingerprinter(model)
        self._before = self._fingerprinter.measure()
        super().__init__(settings, model, fingerprint, self._before)
        self._baseline = Baseline(model)
        self._why_unchecked = UNCHECKED
        self._oracle = self._make_oracle(model)
        self._answers: list[Arrays] | None = None
        self._exactness: Exactness | None = "exact"
        self._checked = False
        self._spare: ir.Model | None = None  # a copy that the last pass got and did not change

    def run(self, items: Sequence[Item]) -> Outcome:
        stopped_by = rejected = None
        try:
            self.run_items(items)
        except _Stopped as stopped:
            rejected = stopped.rejected
            stopped_by = self.steps[-1]
            _logger.info("stopped by %s", stopped_by.text)
        used = self._oracle if self._checked else None
        return Outcome(
            model=self.model,
            steps=tuple(self.steps),
            before=self._before,
            after=self.size,
            feeds=used.describe() if used else "",
            oracle=used.runner.kind if used else "",
            stopped_by=stopped_by,
            rejected=rejected,
        )

    def _make_oracle(self, model: ir.Model) -> Oracle | None:
        if not self.settings.check:
            return None
        from onnx_passes.numerics.oracle import Oracle

        return Oracle(clone(model), self.settings.feeds, self.settings.shapes)

    def skip_pass(self, trial: Trial) -> None:
        self._settle(trial, "unchanged", "")

    def run_pass(self, item: Pass) -> None:
        started = time.perf_counter()
        candidate, result, crash = self._execute(item)
        seconds = time.perf_counter() - started
        trial = Trial(item, candidate, result, seconds)
        if crash:
            self._settle(trial, "crashed", crash)
            return
        fingerprint = self._fingerprinter(candidate)
        if fingerprint == self.fingerprint:
            self._spare = candidate
            self._settle(trial, "unchanged", "")
            return
        trial.fingerprint, trial.measure = fingerprint, self._fingerprinter.measure()
        verdict, reason = self._judge(trial)
        self._settle(trial, verdict, reason)

    def _execute(self, item: Pass) -> tuple[ir.Model, PassResult, str]:
        """Run the pass on a copy; return the copy, its notes, and why it crashed."""
        candidate, self._spare = self._spare or clone(self.model), None
        try:
            if item.isolated:
                candidate, result = run_isolated(item, candidate, timeout_s=self.settings.timeout_s)
            else:
                with at_most(self.settings.max_rewrites):
                    result = item.run(candidate)
        except RewriteLimitReached as reached:
            result = PassResult(rewritten=reached.rewritten)
        except UsageError:
            raise  # an option that this model has no use for is the caller's to mend
        except (Exception, SystemExit) as error:
            _logger.debug("pass %s raised", item.name, exc_info=True)
            lines = (str(error).strip() or "no message").splitlines()
            return candidate, PassResult(), f"{type(error).__name__}: {lines[0]}"
        if not isinstance(result, PassResult):
            crash = f"run returned {type(result).__name__}, expected PassResult"
            return candidate, PassResult(), crash
        return candidate, result, ""

    def _judge(self, trial: Trial) -> tuple[Verdict, str]:
        """Check structure, interface and numbers; fill in the trial's measurements."""
        started = time.perf_counter()
        try:
            try:
                narrows = trial.item.narrows_inputs
                violation = self._baseline.violation(trial.model, narrows_inputs=narrows)
            except BrokenModelError as error:
                return "crashed", f"it left a broken graph: {error}"
            if violation:
                return "failed", violation
            if self._oracle is None:
                return "not checked", self._why_unchecked
            return self._compare(trial, self._oracle)
        finally:
            trial.check_seconds = time.perf_counter() - started

    def _compare(self, trial: Trial, oracle: Oracle) -> tuple[Verdict, str]:
        from onnx_passes.numerics.check import Claim, check_model

        own = trial.item.exactness
        if self._exactness is not None:
            trial.exactness = own if _WEAKER[own] > _WEAKER[self._exactness] else self._exactness
        previous = self._answers
        if trial.item.narrows_inputs:
            oracle = trial.oracle = oracle.narrowed(trial.model)
            previous = oracle.answers(self.model) if previous else None
        check = check_model(trial.model, oracle, previous, Claim(own, trial.exactness))
        self._checked = self._checked or bool(check.outputs)
        trial.outputs, trial.answers = check.outputs, check.actual or None
        return check.verdict, check.reason

    def _settle(self, trial: Trial, verdict: Verdict, reason: str) -> None:
        """Record the step, then keep, undo or stop."""
        bad = verdict in {"failed", "crashed"}
        changed = bool(trial.fingerprint) and verdict != "crashed"
        kept = changed and (not bad or self.settings.on_fail == "keep")
        number = len(self.steps) + 1
        step = trial.step(number, self.size, verdict, reason, kept=kept)
        self.steps.append(step)
        if kept:
            self.model, self.size = trial.model, trial.measure or self.size
            self.fingerprint, self._exactness = trial.fingerprint, trial.exactness
            self._answers = trial.answers
            self._oracle = trial.oracle or self._oracle
            if bad:
                self._rebase()
            elif trial.item.narrows_inputs:
                self._baseline = Baseline(self.model)
        self.settings.on_step(step)
        if bad and self.settings.on_fail == "stop":
            raise _Stopped(trial.model if changed else None)

    def _rebase(self) -> None:
        """Go on from a failed model that is kept: later passes are not blamed for it."""
        self._baseline = Baseline(self.model)
        self._exactness = None
        if self._answers is None:
            # Its interface or structure changed: it takes the original's place.
            try:
                self._oracle = self._make_oracle(self.model)
            except UsageError as error:
                self._oracle, self._why_unchecked = None, str(error)
