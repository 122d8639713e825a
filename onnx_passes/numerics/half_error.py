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
    half = emulate_half(model, keep_float32, marks=marks)
    inside = compare_tensors(model, half, feeds[0], noise=False) if tensors and feeds else ()
    return HalfReport(
        outputs=output_differences(model, half, feeds),
        tensors=tuple(sorted(inside, key=error_share, reverse=True)),
    )


def output_differences(a: ir.Model, b: ir.Model, feeds: Sequence[Arrays]) -> dict[str, Difference]:
    """Return the worst difference of each output over all sets of feeds.

    Raises:
        UsageError: If there are no feeds.
        ModelError: If a model cannot be run.
    """
    if not feeds:
        msg = "there are no feeds, so nothing can be compared; give at least one set"
        raise UsageError(msg)
    first, second = Runner(a), Runner(b)
    pairs = [(first.run(one), second.run(one)) for one in feeds]
    return {
        name: max(
            (compare(expected[name], actual[name]) for expected, actual in pairs),
            key=lambda difference: (bool(difference.problem), difference.max_abs),
        )
        for name in first.output_names
    }


def error_share(tensor: TensorDifference) -> float:
    """Return the greatest absolute error of a tensor as a share of its peak."""
    if tensor.difference.max_abs == 0:
        return 0.0
    return tensor.difference.max_abs / tensor.peak if tensor.peak else math.inf
