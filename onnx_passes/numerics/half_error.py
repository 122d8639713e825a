"""How far float16 takes a model from its float32 results: each output, and each tensor."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.compare import Difference, compare
from onnx_passes.numerics.half import emulate_half
from onnx_passes.numerics.runner import Runner
from onnx_passes.numerics.tensors import TensorDifference, compare_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx_ir as ir

    from onnx_passes.numerics.runner import Arrays


@dataclasses.dataclass(frozen=True)
class HalfReport:
    """A model in emulated float16 against itself in float32.

    Attributes:
        outputs: By graph output, the worst over all sets of feeds.
        tensors: What the nodes of the main graph make, for the first set of feeds; the largest
            error first, in shares of the tensor's own peak.
    """

    outputs: dict[str, Difference]
    tensors: tuple[TensorDifference, ...]

    @property
    def max_abs(self) -> float:
        """The greatest absolute error of any output."""
        return max((difference.max_abs for difference in self.outputs.values()), default=0.0)

    @property
    def overflows(self) -> tuple[str, ...]:
        """The tensors that hold an infinity or NaN which float32 does not have, in graph order."""
        lost = [tensor for tensor in self.tensors if math.isinf(tensor.difference.max_abs)]
        return tuple(tensor.name for tensor in sorted(lost, key=lambda tensor: tensor.position))


def half_error(
    model: ir.Model,
    feeds: Sequence[Arrays],
    keep_float32: Collection[str] = (),
    *,
    marks: bool = True,
    tensors: bool = True,
) -> HalfReport:
    """Measure what float16 does to the outputs and tensors of ``model``.

    Args:
        model: Left untouched.
        feeds: Sets of arrays by input name, at least one.
        keep_float32: Names of nodes that stay float32.
        marks: Whether marked nodes stay float32 too.
        tensors: Whether to look inside; costs one more run, piece by piece.

    Raises:
        UsageError: If there are no feeds, or a name is unknown.
        ModelError: If the model cannot be emulated or run.
    """
    if not feeds:
        msg = "there are no feeds, so nothing can be compared; give at least one set"
        raise UsageError(msg)
    half = emulate_half(model, keep_float32, marks=marks)
    expected, actual = (
        [runner.run(one) for one in feeds] for runner in (Runner(model), Runner(half))
    )
    inside = compare_tensors(model, half, feeds[0], noise=False) if tensors else ()
    return HalfReport(
        outputs=worst_differences(expected, actual),
        tensors=tuple(sorted(inside, key=error_share, reverse=True)),
    )


def worst_differences(expected: list[Arrays], actual: list[Arrays]) -> dict[str, Difference]:
    """Return the worst difference of each output over some sets of outputs, at least one."""
    return {
        name: max(
            (compare(a[name], b[name]) for a, b in zip(expected, actual, strict=True)),
            key=lambda difference: (bool(difference.problem), difference.max_abs),
        )
        for name in expected[0]
    }


def error_share(tensor: TensorDifference) -> float:
    """Return the greatest absolute error of a tensor as a share of its peak."""
    if tensor.difference.max_abs == 0:
        return 0.0
    return tensor.difference.max_abs / tensor.peak if tensor.peak else math.inf
