"""Which pass broke the model, with which of its rewrites, and where the numbers first go wrong.

1. The pass list runs under ``stop``: the first pass that fails.
2. That pass runs again on the model before it, stopped after N rewrites, for log2 many N: the first
   rewrite after which it fails.
3. All tensors of the models before and after that rewrite are compared in topological order: the
   first that differs by more than rounding explains and whose error reaches an output.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.core.contract import ModelError, Note, Pass, UsageError, at_most, label
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.integrity import Baseline
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.model_io import clone
from onnx_passes.core.passlist import Repeat, pass_text
from onnx_passes.numerics.check import Claim, check_model
from onnx_passes.numerics.oracle import Oracle
from onnx_passes.numerics.tensors import compare_tensors, first_wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from onnx_passes.core.fingerprint import Fingerprint
    from onnx_passes.core.outcome import Outcome, Step
    from onnx_passes.core.passlist import Item
    from onnx_passes.numerics.runner import Arrays
    from onnx_passes.numerics.tensors import TensorDifference


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """One rewrite of a pass.

    Attributes:
        number: From 1, in the order the pass makes them.
        total: How many the pass makes.
        note: What the pass says of it.
    """

    number: int
    total: int
    note: Note


@dataclasses.dataclass(frozen=True)
class Culprit:
    """What broke the model.

    Attributes:
        item: The pass.
        step: Its record.
        rewrite: The first wrong rewrite, or the last one before the pass raised; None if the pass
            makes its edits at once or notes none.
        tensor: The first tensor that goes wrong; None if there is nothing to compare.
        node: The label of the node that makes it in the rewritten model; empty without a tensor.
        compared: How many tensors were compared.
        feeds: What they were computed from; None without a tensor.
        before: The model before the wrong rewrite.
        after: The model after it; None if the pass crashed.
        items: What fails on ``model``: the pass, or the whole list if the pass alone is innocent.
        model: The model before the pass, or before the list.
    """

    item: Pass
    step: Step
    rewrite: Rewrite | None
    tensor: TensorDifference | None
    node: str
    compared: int
    feeds: Arrays | None
    before: ir.Model
    after: ir.Model | None
    items: tuple[Item, ...]
    model: ir.Model

    def paragraph(self) -> str:
        """Return what a person needs to act, in a few sentences."""
        sentences = [f"Pass {self.step.text!r} (step {self.step.number}) {self.step.verdict}."]
        if self.items != (self.item,):
            sentences.append("It is within bounds alone, and beyond them after the passes before.")
        if (rewrite := self.rewrite) is not None:
            which = f"Its rewrite {rewrite.number} of {rewrite.total} is the first wrong one"
            if not self.step.rewritten:
                which = f"Its last rewrite before that was number {rewrite.number}"
            sentences.append(f"{which}: {rewrite.note.node}: {rewrite.note.text}.")
        if self.tensor is None:
            sentences.append(f"{self.step.reason.rstrip('.')}.")
            return " ".join(sentences)
        allowed = self.tensor.allowed.formula if self.tensor.allowed else "bit-equal"
        sentences += [
            f"The first tensor that goes wrong is {self.tensor.name!r}, made by {self.node}:",
            f"{self.tensor.difference.sentence()}; allowed: {allowed}.",
            f"{self.compared} tensors were compared in topological order.",
        ]
        return " ".join(sentences)


def bisect(model: ir.Model, items: Sequence[Item], settings: Settings) -> Culprit | None:
    """Return what breaks ``model``, or None if the whole list passes.

    Args:
        model: Taken over.
        items: The pass list.
        settings: How to check; ``on_fail`` and ``check`` are set here.

    Raises:
        UsageError: If a change cannot be checked: then nothing can be blamed.
    """
    settings = dataclasses.replace(settings, on_fail="stop", check=True, max_rewrites=None)
    outcome = run_passes(model, items, settings)
    step = outcome.stopped_by
    if step is None:
        _refuse_unchecked(outcome.steps)
        return None
    item = next(item for item in _flat(items) if pass_text(item) == step.text)
    bench = _Bench(item, outcome.model, settings)
    if outcome.rejected is None:
        return _examine_crash(bench, step, outcome.model)
    if bench.breaks(outcome.rejected):
        return _examine(bench, step, outcome.model, outcome.rejected)
    # Each pass rounds within bounds, all of them together do not.
    wrong = bench.first_wrong_tensor(model, outcome.rejected, noise=True)
    before, after = model, outcome.rejected
    return Culprit(item, step, None, *wrong, before, after, tuple(items), model)


def _examine(bench: _Bench, step: Step, model: ir.Model, rejected: ir.Model) -> Culprit:
    """Find rewrite and tensor of a pass that made ``rejected`` of ``model``."""
    rewrite, before, after = None, model, rejected
    number = bench.first_wrong_rewrite(len(step.rewritten))
    if number is not None:
        rewrite = Rewrite(number, len(step.rewritten), step.rewritten[number - 1])
        before, after = bench.result(number - 1), bench.result(number)
    wrong = bench.first_wrong_tensor(before, after, noise=bench.rounds)
    return Culprit(bench.item, step, rewrite, *wrong, before, after, (bench.item,), model)


def _examine_crash(bench: _Bench, step: Step, model: ir.Model) -> Culprit:
    """Find the rewrite that left a broken graph, or the last one before the pass raised."""
    rewrite, before = None, model
    number = bench.first_wrong_rewrite(len(step.rewritten))
    if number is not None:
        rewrite = Rewrite(number, len(step.rewritten), step.rewritten[number - 1])
        before = bench.result(number - 1)
    elif made := bench.made_before_raising():
        rewrite = Rewrite(len(made), len(made), made[-1])
    item = bench.item
    return Culprit(item, step, rewrite, None, "", 0, None, before, None, (item,), model)


class _Bench:
    """Runs one pass on one model, as far as asked; the model's own answers are computed once."""

    def __init__(self, item: Pass, before: ir.Model, settings: Settings) -> None:
        self.item = item
        self._before = before
        self._settings = dataclasses.replace(settings, check=False, on_fail="keep")
        self._oracle = Oracle(before, settings.feeds, settings.shapes)
        self._baseline = Baseline(before)

    @property
    def rounds(self) -> bool:
        """Whether the pass may change rounding."""
        return self.item.exactness != "exact" or self._oracle.computes_in_half

    def breaks(self, model: ir.Model) -> bool:
        """Return whether ``model`` fails against the model before the pass."""
        if self._baseline.violation(model, narrows_inputs=self.item.narrows_inputs):
            return True
        own = self.item.exactness
        oracle = self._oracle.narrowed(model)
        return check_model(model, oracle, None, Claim(own, own)).verdict == "failed"

    def first_wrong_rewrite(self, total: int) -> int | None:
        """Return the number of the first rewrite after which the pass fails, or None.

        None where single rewrites say nothing: none is noted, or the notes do not follow the edits.
        """
        if not total or self.item.isolated or not self._breaks_after(total):
            return None
        if total > 1 and not self._notes_follow_edits(total):
            return None
        good, bad = 0, total
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._breaks_after(middle):
                bad = middle
            else:
                good = middle
        return bad

    def made_before_raising(self) -> list[Note]:
        """Return the rewrites the pass notes before it raises; none for one in a child process."""
        if self.item.isolated:
            return []
        with at_most(None) as made, contextlib.suppress(Exception, SystemExit):
            self.item.run(clone(self._before))
        return made

    def result(self, rewrites: int | None) -> ir.Model:
        """Return the model after that many rewrites (None: all)."""
        return self._run(rewrites).model

    def first_wrong_tensor(
        self, before: ir.Model, after: ir.Model, *, noise: bool
    ) -> tuple[TensorDifference | None, str, int, Arrays | None]:
        """Return the first tensor whose error reaches an output.

        Returns:
            The tensor, the label of its node in ``after``, how many tensors were compared, and the
            feeds: the first set on which a tensor goes wrong.
        """
        found: list[TensorDifference] = []
        try:
            for feeds in self._oracle.feeds:
                kind = type(self._oracle.runner)
                found = list(compare_tensors(before, after, feeds, noise=noise, kind=kind))
                if (wrong := first_wrong(found, after)) is not None:
                    return wrong, _maker(after, wrong.name), len(found), feeds
        except (ModelError, UsageError):
            pass  # one of the models does not run, and the step's reason says so
        return None, "", len(found), None

    def _run(self, rewrites: int | None) -> Outcome:
        if rewrites == 0:
            return run_passes(clone(self._before), (), self._settings)
        settings = dataclasses.replace(self._settings, max_rewrites=rewrites)
        return run_passes(clone(self._before), (self.item,), settings)

    def _breaks_after(self, rewrites: int) -> bool:
        outcome = self._run(rewrites)
        return bool(outcome.blamed) or self.breaks(outcome.model)

    def _notes_follow_edits(self, total: int) -> bool:
        """Return False if all edits come before the first note, or each one after its note."""
        first, end = self._content(1), self._content(None)
        late = first == self._content(0) and self._content(total) != end
        return first != end and not late

    def _content(self, rewrites: int | None) -> Fingerprint:
        return Fingerprinter()(self.result(rewrites))


def _maker(model: ir.Model, name: str) -> str:
    """Return the label of the node that makes the tensor ``name``."""
    return next(label(node) for node in model.graph for v in node.outputs if v.name == name)


def _refuse_unchecked(steps: Sequence[Step]) -> None:
    for step in steps:
        if step.verdict == "not checkable":
            msg = f"pass {step.text!r} cannot be checked: {step.reason}; give --feeds"
            raise UsageError(msg)


def _flat(items: Sequence[Item]) -> list[Pass]:
    flat: list[Pass] = []
    for item in items:
        flat.extend(_flat(item.items) if isinstance(item, Repeat) else [item])
    return flat
