"""A pass that ran on a copy of the model, before anybody knows whether the copy is kept."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.core.outcome import Step
from onnx_passes.core.passlist import pass_text

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness, Pass, PassResult
    from onnx_passes.core.fingerprint import Fingerprint
    from onnx_passes.core.outcome import Measure, Verdict
    from onnx_passes.numerics.check import OutputCheck
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.runner import Arrays


@dataclasses.dataclass
class Trial:
    """What was measured so far; empty fields were not.

    Attributes:
        item: The pass.
        model: The copy it ran on.
        result: Its notes.
        seconds: Its wall time.
        check_seconds: Wall time of the checks.
        fingerprint: Of the copy; empty if the pass crashed or changed nothing.
        measure: Size of the copy.
        exactness: The weakest since the original; None once a failed change was kept.
        outputs: The numeric checks.
        answers: The copy's outputs, one set per set of feeds; None if it was not run.
        oracle: What it was compared with, if its inputs needed other feeds than the run's.
    """

    item: Pass
    model: ir.Model
    result: PassResult
    seconds: float
    check_seconds: float = 0.0
    fingerprint: Fingerprint = ()
    measure: Measure | None = None
    exactness: Exactness | None = None
    outputs: tuple[OutputCheck, ...] = ()
    answers: list[Arrays] | None = None
    oracle: Oracle | None = None

    def step(
        self, number: int, before: Measure, verdict: Verdict, reason: str, *, kept: bool
    ) -> Step:
        """Return the record of the pass, once it is known what becomes of the copy."""
        return Step(
            number=number,
            text=pass_text(self.item),
            name=self.item.name,
            exactness=self.item.exactness,
            verdict=verdict,
            reason=reason,
            kept=kept,
            rewritten=tuple(self.result.rewritten),
            skipped=tuple(self.result.skipped),
            before=before,
            after=self.measure or before,
            outputs=self.outputs,
            seconds=self.seconds,
            check_seconds=self.check_seconds,
        )
