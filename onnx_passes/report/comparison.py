"""The original and the rewritten model on one set of feeds: what the plots of a report show."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import PassError
from onnx_passes.numerics import feeds as feeding
from onnx_passes.numerics.oracle import SEEDS
from onnx_passes.numerics.runner import open_runner
from onnx_passes.numerics.tensors import TensorDifference, compare_tensors, shared_names
from onnx_passes.numerics.watch import expose
from onnx_passes.report.pictures import Pictures, draw, picture_input, picture_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.feeds import Shapes
    from onnx_passes.numerics.runner import Arrays

BINS = 32
MAX_PICTURED_TENSORS = 4


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How the differences of one output are spread.

    Attributes:
        output: Its name.
        size: Number of elements.
        equal: Number of elements without a difference.
        infinite: Number of elements where one side is NaN or infinite and the other is not.
        edges: Bounds of the bins in the output's unit, one more than counts, evenly spaced in
            logarithm; empty if no finite difference is left.
        counts: Number of elements by bin.
    """

    output: str
    size: int
    equal: int
    infinite: int
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The rewritten model against the original.

    Attributes:
        problem: Why there is nothing to see, or an empty string.
        feeds: What both models were fed.
        tensors: Every tensor both models make, in the original's topological order.
        histograms: One for each numeric output.
        pictures: Tensors that read as pictures.
    """

    problem: str
    feeds: str = ""
    tensors: tuple[TensorDifference, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    pictures: tuple[Pictures, ...] = ()


def compare_models(
    original: ir.Model,
    model: ir.Model,
    feeds: Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
) -> Comparison:
    """Run both models and compare all that they share; what cannot be compared has a reason.

    Args:
        original: The model before the passes.
        model: The model after.
        feeds: Arrays by input name; None generates the first set that a run generates.
        shapes: Sizes by input name for generated feeds.
    """
    try:
        if feeds is None:
            if feeding.narrows(original, model):
                shapes = feeding.resolve_shapes(feeding.graph_inputs(model), shapes or {})
            arrays = feeding.generate(original, seed=SEEDS[0], shapes=shapes)
            origin = f"generated, seed {SEEDS[0]}"
        else:
            arrays, origin = feeding.validate(original, feeds), "given"
        kind = type(open_runner(original))
        tensors = tuple(compare_tensors(original, model, arrays, kind=kind))
        pictured = _pictured(original, model, arrays, tensors)
        names = [tensor.name for tensor in pictured]
        before, after = (open_runner(expose(m, names)).run(arrays) for m in (original, model))
        outputs = [value.name or "" for value in original.graph.outputs]
        return Comparison(
            problem="",
            feeds=f"{origin}: {feeding.describe(arrays)}",
            tensors=tensors,
            histograms=_histograms(outputs, before, after),
            pictures=_pictures(pictured, arrays, before, after),
        )
    except PassError as error:
        return Comparison(f"the two models cannot be compared tensor by tensor: {error}")


def histogram(output: str, expected: Array, actual: Array) -> Histogram:
    """Return how |actual - expected| is spread (equal shapes, numbers or booleans)."""
    a, b = (np.asarray(array, dtype=np.float64).ravel() for array in (expected, actual))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        gap = np.abs(b - a)[~same]
    finite = gap[np.isfinite(gap)]
    counts, edges = np.zeros(0, dtype=np.int64), np.zeros(0)
    if finite.size:
        edges = np.geomspace(*_bounds(float(finite.min()), float(finite.max())), BINS + 1)
        counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
    return Histogram(
        output=output,
        size=int(a.size),
        equal=int(np.count_nonzero(same)),
        infinite=int(gap.size - finite.size),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
    )


def _bounds(smallest: float, largest: float) -> tuple[float, float]:
    """Return the whole decades around two positive numbers."""
    tiny = float(np.finfo(np.float64).tiny)
    low = 10.0 ** np.floor(np.log10(max(smallest, tiny)))
    high = 10.0 ** np.ceil(np.log10(max(largest, tiny)))
    return max(low, tiny), high if high > low else low * 10


def _histograms(names: Iterable[str], before: Arrays, after: Arrays) -> tuple[Histogram, ...]:
    return tuple(
        histogram(name, before[name], after[name])
        for name in names
        if name in after
        and before[name].shape == after[name].shape
        and before[name].dtype.kind not in "OUS"
    )


def _pictured(
    original: ir.Model, model: ir.Model, feeds: Arrays, tensors: Iterable[TensorDifference]
) -> list[TensorDifference]:
    """Return the shared tensors to draw, those that differ most before others, in order."""
    if picture_input(feeds) is None:
        return []
    pictured = set(picture_names(original, shared_names(original, model)))
    found = [tensor for tensor in tensors if tensor.name in pictured]
    found.sort(key=lambda tensor: -tensor.difference.max_abs / (tensor.peak or 1.0))
    return sorted(found[:MAX_PICTURED_TENSORS], key=lambda tensor: tensor.position)


def _pictures(
    tensors: Iterable[TensorDifference], feeds: Arrays, before: Arrays, after: Arrays
) -> tuple[Pictures, ...]:
    beside = picture_input(feeds) or ""
    drawn = (
        draw((t.name, t.node, beside), feeds[beside], before[t.name], after[t.name])
        for t in tensors
    )
    return tuple(pictures for pictures in drawn if pictures is not None)
