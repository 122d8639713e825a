"""Which pass broke the model, with which of its rewrites, and where the numbers first go wrong.

1. The pass list runs under ``stop``: the first pass that fails.
2. That pass runs again on the model before it, stopped after N rewrites, for log2 many N: the first
   rewrite after which it fails.
3. All tensors of the models before and after that rewrite are compared in topological order: the
   first that differs by more than rounding explains and whose error reaches an output.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.core.contract import ModelError, Note, Pass, UsageError, label
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.integrity import Baseline
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import Repeat, pass_text
from onnx_passes.numerics.check import Claim, check_model
from onnx_passes.numerics.oracle import Oracle
from onnx_passes.numerics.tensors import compare_tensors, first_wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from onnx_passes.core.outcome import Step
    from onnx_passes.core.passlist import Item
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
        rewrite: The first wrong rewrite; None if the pass makes its edits at once or notes none.
        tensor: The first tensor that goes wrong; None if there is nothing to compare.
        node: The label of the node that makes it in the rewritten model; empty without a tensor.
        compared: How many tensors were compared.
        before: The model before the wrong rewrite.
        after: The model after it; None if the pass crashed.
    """

    item: Pass
    step: Step
    rewrite: Rewrite | None
    tensor: TensorDifference | None
    node: str
    compared: int
    before: ir.Model
    after: ir.Model | None

    def paragraph(self) -> str:
        """Return what a person needs to act, in a few sentences."""
        sentences = [f"Pass {self.step.text!r} (step {self.step.number}) {self.step.verdict}."]
        if (rewrite := self.rewrite) is not None:
            which = f"Its rewrite {rewrite.number} of {rewrite.total} is the first wrong one"
            sentences.append(f"{which}: {rewrite.note.node}: {rewrite.note.text}.")
        if self.tensor is None:
            sentences.append(f"{self.step.reason}.")
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
    return _examine(item, step, outcome.model, settings)


def _examine(item: Pass, step: Step, before: ir.Model, settings: Settings) -> Culprit:
    """Find rewrite and tensor of the pass that failed on ``before``."""
    bench = _Bench(item, before, settings)
    number = bench.first_wrong_rewrite(len(step.rewritten))
    rewrite = None
    if number is not None:
        rewrite = Rewrite(number, len(step.rewritten), step.rewritten[number - 1])
        before = bench.result(number - 1)
    if step.verdict == "crashed":
        return Culprit(item, step, rewrite, None, "", 0, before, None)
    after = bench.result(number)
    wrong, compared = bench.first_wrong_tensor(before, after)
    makers = {value.name: label(node) for node in after.graph for value in node.outputs}
    node = makers[wrong.name] if wrong is not None else ""
    return Culprit(item, step, rewrite, wrong, node, compared, before, after)


class _Bench:
    """Runs one pass on one model, as far as asked; the model's own answers are computed once."""

    def __init__(self, item: Pass, before: ir.Model, settings: Settings) -> None:
        self._item = item
        self._before = before
        self._settings = dataclasses.replace(settings, check=False, on_fail="keep")
        self._oracle = Oracle(before, settings.feeds, settings.shapes)
        self._baseline = Baseline(before)

    def first_wrong_rewrite(self, total: int) -> int | None:
        """Return the number of the first rewrite after which the pass fails, or None.

        None where single rewrites say nothing: there are none, or stopping after the first one
        leaves the same model as running to the end.
        """
        if not total or self._item.isolated or not self._fails(total):
            return None
        if total > 1 and self._digest(1) == self._digest(None):
            return None
        good, bad = 0, total
        while bad - good > 1:
            middle = (good + bad) // 2
            if self._fails(middle):
                bad = middle
            else:
                good = middle
        return bad

    def result(self, rewrites: int | None) -> ir.Model:
        """Return the model after that many rewrites (None: all)."""
        if rewrites == 0:
            return self._before.clone()
        settings = dataclasses.replace(self._settings, max_rewrites=rewrites)
        return run_passes(self._before.clone(), (self._item,), settings).model

    def first_wrong_tensor(
        self, before: ir.Model, after: ir.Model
    ) -> tuple[TensorDifference | None, int]:
        """Return the first tensor whose error reaches an output, and how many were compared."""
        noise = self._item.exactness != "exact"
        try:
            found = list(compare_tensors(before, after, self._oracle.feeds[0], noise=noise))
        except (ModelError, UsageError):
            return None, 0
        return first_wrong(found, after), len(found)

    def _fails(self, rewrites: int) -> bool:
        model = self.result(rewrites)
        if self._baseline.violation(model):
            return True
        own = self._item.exactness
        return check_model(model, self._oracle, None, Claim(own, own)).verdict == "failed"

    def _digest(self, rewrites: int | None) -> str:
        return Fingerprinter()(self.result(rewrites))


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
