"""Do two ways to compute the same tensors give the same bits?"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import CheckError
from onnx_passes.core.integrity import Baseline, BrokenModelError
from onnx_passes.numerics.compare import Difference, compare, peak
from onnx_passes.numerics.tolerance import tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from onnx_passes.numerics.oracle import Oracle


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What a comparison of two ways found.

    Attributes:
        differences: The worst difference of each output over all feeds.
        reason: Why the two do not agree, or why nothing was proven; empty if they agree.
        feeds: How to repeat the feeds.
        oracle: What computed the expected outputs.
    """

    differences: Mapping[str, Difference]
    reason: str
    feeds: str
    oracle: str

    @property
    def ok(self) -> bool:
        """Whether something was compared and agrees."""
        return not self.reason


def agree(
    expected: Sequence[Mapping[str, Any]], actual: Sequence[Mapping[str, Any]], oracle: Oracle
) -> Agreement:
    """Compare outputs by name, one mapping for each set of feeds of ``oracle``.

    All bits must agree. Only in a model with float16 rounding is allowed: there the runtime may
    keep float32 between two operators, and a cut between them rounds.
    """
    differences: dict[str, Difference] = {}
    reason = ""
    for name in actual[0]:
        pairs = [(one[name], other[name]) for one, other in zip(expected, actual, strict=True)]
        if any(not isinstance(array, np.ndarray) for pair in pairs for array in pair):
            reason = reason or f"output {name!r} is a sequence, which is not compared"
            continue
        worst = max((compare(*pair) for pair in pairs), key=lambda d: (bool(d.problem), d.max_abs))
        differences[name] = worst
        dtype, size = pairs[0][0].dtype, peak(pairs[0][0])
        rounding = tolerance("close", dtype=dtype, peak=size, noise=0.0, sensitivity=0.0)
        atol = rounding.atol if oracle.computes_in_half else 0.0
        if not worst.same_bits and (worst.problem or not 0 < worst.max_abs <= atol):
            reason = reason or f"output {name!r}: {worst.sentence()}"
        elif worst.size == 0:
            reason = reason or f"output {name!r} has no elements, so nothing was compared"
    return Agreement(differences, reason, oracle.describe(), oracle.runner.kind)


def refuse_defect(made: ir.Model, *sources: ir.Model) -> None:
    """Raise if ``made`` is no valid model although all its sources are.

    Raises:
        CheckError: With what onnx's checker says.
    """
    try:
        defects = [Baseline(source).defect(made) for source in sources]
    except BrokenModelError as error:
        defects = [str(error)]
    if all(defects):
        said = defects[0]
        msg = f"the result would be no valid model: {said}"
        raise CheckError(msg)
