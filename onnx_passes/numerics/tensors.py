"""Compare every tensor two models share, in topological order, a bounded number at a time."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.core.contract import UsageError, label
from onnx_passes.numerics.compare import Difference, compare, greatest_difference, is_float, peak
from onnx_passes.numerics.nudge import nudged_feeds, nudged_model
from onnx_passes.numerics.runner import Runner
from onnx_passes.numerics.stream import Stream, reads
from onnx_passes.numerics.tolerance import Tolerance, tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.runner import AnyRunner, Arrays

# What one piece may make: large enough that sessions are few, small enough for any machine.
PIECE_BYTES = 16 << 20
FIRST_PIECE_TENSORS = 32
MAX_GROWTH = 4


@dataclasses.dataclass(frozen=True)
class TensorDifference:
    """One tensor that both models make.

    Attributes:
        name: Its name.
        position: Its place among the tensors of the first model, in topological order.
        node: The label of its producer in the first model.
        peak: Greatest finite magnitude in the first model.
        difference: The second model against the first.
        allowed: What rounding alone explains; None if the noise was not measured.
    """

    name: str
    position: int
    node: str
    peak: float
    difference: Difference
    allowed: Tolerance | None

    @property
    def diverges(self) -> bool:
        """Whether the tensors differ by more than rounding explains (at all, if not measured)."""
        if self.difference.same_bits:
            return False
        if self.allowed is None or self.difference.problem:
            return True
        return self.difference.max_abs > self.allowed.atol

    @property
    def agrees(self) -> bool:
        """Whether the tensors are equal up to rounding; not if rounding alone makes NaN of it."""
        bounded = self.allowed is None or math.isfinite(self.allowed.atol)
        return self.difference.same_bits or (bounded and not self.diverges)


def shared_names(a: ir.Model, b: ir.Model) -> list[str]:
    """Return the tensors that nodes of both main graphs make, in the order of ``a``."""
    made = {value.name for node in b.graph for value in node.outputs if value.name}
    names = (value.name for node in a.graph for value in node.outputs if value.name)
    return [name for name in names if name in made]


def compare_tensors(
    a: ir.Model,
    b: ir.Model,
    feeds: Mapping[str, Array],
    *,
    noise: bool = True,
    kind: type[AnyRunner] = Runner,
) -> Iterator[TensorDifference]:
    """Yield the difference of every shared tensor, in the topological order of ``a``.

    Sequences are no tensors: what is taken out of them is compared.

    Args:
        a: The reference.
        b: The model under test.
        feeds: Arrays by input name, for both.
        noise: Whether to run ``a`` nudged as well, to know what rounding alone does.
        kind: What runs both, see :class:`Stream`.

    Raises:
        UsageError: If the two models share no tensor.
        ModelError: If a piece of either cannot be run.
    """
    names = shared_names(a, b)
    if not names:
        msg = "the two models share no tensor name; compare their outputs instead"
        raise UsageError(msg)

    def nudged() -> Stream:
        return Stream(nudged_model(a, seed=0), nudged_feeds(feeds, seed=0), names, kind)

    makers = {value.name: node for node in a.graph for value in node.outputs}
    position = 0
    streams = [partial(Stream, model, feeds, names, kind) for model in (a, b)]
    for values in _pieces([*streams, nudged] if noise else streams, names):
        for name in values[0]:
            if not any(isinstance(made[name], list) for made in values):
                node = label(makers[name])
                yield _difference(name, position, node, [made[name] for made in values])
            position += 1


def _pieces(
    streams: Sequence[Callable[[], Stream]], names: Sequence[str]
) -> Iterator[list[Arrays]]:
    """Yield the tensors ``names`` of every stream, piece by piece.

    Each stream has a thread of its own, and the next piece is computed while this one is measured:
    onnxruntime leaves Python alone, and one thread a session keeps the sums in one order.
    """
    with ThreadPoolExecutor(len(streams)) as pool:
        made = [pool.submit(make) for make in streams]

        def compute(stream: Future[Stream], piece: Sequence[str]) -> Arrays:
            return stream.result().compute(piece)

        def begin(piece: Sequence[str]) -> list[Future[Arrays]]:
            return [pool.submit(compute, stream, piece) for stream in made if piece]

        start, count = 0, FIRST_PIECE_TENSORS
        running = begin(names[:count])
        while start < len(names):
            values = [one.result() for one in running]
            start += count
            size = sum(getattr(array, "nbytes", 0) for array in values[0].values())
            count = _next_count(count, size)
            running = begin(names[start : start + count])
            yield values


def first_wrong(found: Sequence[TensorDifference], b: ir.Model) -> TensorDifference | None:
    """Return the first diverging tensor whose error reaches an output of ``b``, or None.

    A tensor may keep its name and change its meaning without harm (a convolution takes a batch
    norm in); its difference then ends at the next shared tensor, and does not count.
    """
    wrong = {tensor.name: tensor for tensor in found if tensor.diverges}
    sound = {tensor.name for tensor in found if tensor.agrees}
    reached = _upstream(b, sound)
    return next((tensor for name, tensor in wrong.items() if name in reached), None)


def _upstream(model: ir.Model, sound: set[str]) -> set[str]:
    """Return the tensors from which a path that meets no sound tensor leads to an output."""
    makers = {value.name: node for node in model.graph for value in node.outputs if value.name}
    waiting = [value.name or "" for value in model.graph.outputs]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached or name in sound:
            continue
        reached.add(name)
        if name in makers:
            waiting.extend(reads(makers[name]))
    return reached


def _next_count(count: int, size: int) -> int:
    """Return how many tensors the next piece takes, from what this one weighed."""
    fitting = count * PIECE_BYTES // max(size, 1)
    return int(min(max(fitting, 1), count * MAX_GROWTH))


def _difference(name: str, position: int, node: str, values: list[Array]) -> TensorDifference:
    expected, actual = (np.asarray(value) for value in values[:2])
    height = peak(expected)
    allowed = None
    if len(values) > len(("a", "b")) and is_float(expected):
        moved = greatest_difference(expected, np.asarray(values[2]))
        allowed = tolerance(
            "close", dtype=expected.dtype, peak=height, noise=moved, sensitivity=float("inf")
        )
    return TensorDifference(name, position, node, height, compare(expected, actual), allowed)
