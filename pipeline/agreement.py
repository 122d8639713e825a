"""Does the exported model compute what Paddle computes? Judged on pictures of words."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import CheckError
from onnx_passes.numerics.compare import Difference, compare, peak
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    Array = np.ndarray[Any, Any]

# Rounding moves a coordinate of the grid by 2e-5, and so a pixel of the rectified image by up to
# 1.4e-3; what a network with strongly spread random weights makes of it was measured: up to
# 1.7e-2 in a probability. Without sampling only float32 sums remain, measured up to 1e-4.
SAMPLED_ATOL = 1.7e-2
PLAIN_ATOL = 2e-4
# A network that answers every picture alike agrees with anything.
LEAST_MOVES = 10.0


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The ONNX model against Paddle's own run, over all outputs.

    Attributes:
        images: Pictures that both ran.
        max_abs: Greatest absolute difference.
        tolerance: What was allowed.
        moves: Greatest change of Paddle's output from one picture to the next.
        same_argmax: Share of columns in which both have the same class, in [0, 1].
        sentence: What differs, for a person.
    """

    images: int
    max_abs: float
    tolerance: float
    moves: float
    same_argmax: float
    sentence: str

    @property
    def told(self) -> str:
        """All of it in one line."""
        return (
            f"as Paddle's on {self.images} pictures (greatest difference {self.max_abs:.2g}, "
            f"allowed {self.tolerance:.2g}; same class in {self.same_argmax:.2%} of the columns)"
        )


def judge(model: ir.Model, feed: Array, reference: Sequence[Array], batch: int) -> Agreement:
    """Run ``model`` on ``feed`` and compare with what Paddle made of it.

    Args:
        model: The exported model.
        feed: float32 [images, C, H, W].
        reference: Paddle's outputs, in the model's order; the first axis is that of ``feed``.
        batch: Pictures in a run; divides their number.

    Raises:
        CheckError: If an output is farther off than it may, or if nothing can be told.
        ModelError: If onnxruntime cannot run the model.
    """
    runner = Runner(model)
    runs = [
        runner.run({runner.input_names[0]: feed[start : start + batch]})
        for start in range(0, len(feed), batch)
    ]
    found = {name: np.concatenate([run[name] for run in runs]) for name in runner.output_names}
    if len(found) != len(reference):
        msg = f"the exported model has {len(found)} outputs, Paddle's has {len(reference)}"
        raise CheckError(msg)
    sampled = any(node.op_type == "GridSample" for node in model.graph)
    judged = [
        _judged(name, expected, actual, SAMPLED_ATOL if sampled else PLAIN_ATOL)
        for (name, actual), expected in zip(found.items(), reference, strict=True)
    ]
    return max(judged, key=lambda agreement: agreement.max_abs / agreement.tolerance)


def _judged(name: str, expected: Array, actual: Array, atol: float) -> Agreement:
    if not np.isfinite(expected).all():
        msg = f"output {name!r} of the Paddle model is not finite on pictures of words"
        raise CheckError(msg)
    difference = compare(expected, actual)
    tolerance = atol * max(1.0, peak(expected))  # probabilities: 1
    if difference.problem or difference.max_abs > tolerance:
        msg = (
            f"output {name!r} of the exported model differs from Paddle's: "
            f"{_what(difference)}; allowed {tolerance:.2g}; nothing was written"
        )
        raise CheckError(msg)
    moves = float(np.abs(np.diff(expected, axis=0)).max(initial=0.0))
    if moves < LEAST_MOVES * tolerance:
        msg = (
            f"output {name!r} hardly depends on the picture (it moves by {moves:.2g}, expected "
            f"{LEAST_MOVES * tolerance:.2g} or more), so the export cannot be checked; give "
            "trained weights"
        )
        raise CheckError(msg)
    return Agreement(
        images=len(expected),
        max_abs=difference.max_abs,
        tolerance=tolerance,
        moves=moves,
        same_argmax=difference.argmax_agreement,
        sentence=f"{name!r}: {_what(difference)}",
    )


def _what(difference: Difference) -> str:
    other = 1 - difference.argmax_agreement
    columns = f"; another class in {other:.2%} of the columns" if other else ""
    return difference.sentence() + columns
