"""split-average-pool: replace an AveragePool with a large window by smaller ones in series.

Before::

    x [N, C, H, W] -> AveragePool<kernel_shape = [32, 32], strides = [32, 32]> -> y

After::

    x -> AveragePool<[8, 16]> -> AveragePool<[4, 2]> -> y            (stride = window, each)

Why:
    AI Core pools windows of up to 255 elements; guides for Ascend split larger ones by hand.

Fires when:
    the window has more than ``max_kernel`` elements, the strides are the window, nothing is padded,
    and the prime factors of the sides fit into windows of at most ``max_kernel`` elements.

Leaves alone:
    - a window of at most ``max_kernel`` elements, without a word.
    - strides other than the window: a mean of means would weigh some elements twice.
    - pads, ``auto_pad`` other than NOTSET and VALID, dilations.
    - ``ceil_mode`` unless the window is known to tile the extents: the last, ragged window has a
      weight of its own. (Without ceil_mode a ragged edge is dropped, by the series as well.)
    - a side with a prime factor above ``max_kernel``.

Numerics:
    Close. With u = eps / 2, K elements to a window and A the mean of |x| over it, to the first
    order: one sum of K and a division err by K u A; a series with windows of k1, k2... elements by
    (k1 + k2 + ...) u A, and that sum is at most K. Hence ``|y - y_before| <= K eps A``; stated as
    ``(K + 2) eps A``, eps being that of the dtype.
    A sum of float16 that overflows in one window may be finite in the series.

References:
    - https://onnx.ai/onnx/operators/onnx__AveragePool.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_SPATIAL = 2  # the first spatial axis, after N and C


@register
@dataclass(frozen=True)
class SplitAveragePool(Pass):
    """Replace an AveragePool with a large window by smaller ones in series.

    Attributes:
        max_kernel: The greatest number of elements that a window may have.
    """

    name: ClassVar[str] = "split-average-pool"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"AveragePool"})

    max_kernel: int = 255

    def __post_init__(self) -> None:
        """Refuse windows that no number divides into."""
        if self.max_kernel < 2:  # noqa: PLR2004  the smallest prime
            msg = f"option max_kernel is {self.max_kernel}, expected 2 or more"
            raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names = PassResult(), Names(model)
        for node, opset in list(nodes_of(model, "AveragePool")):
            kernel = _ints(node, "kernel_shape")
            if math.prod(kernel) <= self.max_kernel:
                continue
            stages = _stages(kernel, self.max_kernel)
            if refusal := _why_not(node, kernel) or self._why_not_stages(stages):
                result.skipped.append(Note(label(node), refusal))
                continue
            note = Note(label(node), f"windows {' and '.join(map(str, stages))} in series")
            _replace(node, stages, Emitter(node, names, opset))
            result.rewritten.append(note)
        return result

    def _why_not_stages(self, stages: list[list[int]]) -> str | None:
        largest = max(math.prod(stage) for stage in stages)
        if largest > self.max_kernel:
            return f"its window has the prime factor {largest}, above {self.max_kernel}"
        return None


def _ints(node: ir.Node, name: str) -> list[int]:
    return list(node.attributes.get_ints(name, ()) or ())


def _why_not(node: ir.Node, kernel: list[int]) -> str | None:
    """Return the reason why means of means are not the mean, or None."""
    if _ints(node, "strides") != kernel:
        return f"its strides are not its window {kernel}"
    if any(_ints(node, "pads")):
        return "it pads"
    if (mode := node.attributes.get_string("auto_pad", "NOTSET")) not in {"NOTSET", "VALID"}:
        return f"auto_pad {mode} pads"
    if any(step != 1 for step in _ints(node, "dilations")):
        return "it is dilated"
    if node.attributes.get_int("ceil_mode", 0) and not _tiles(node, kernel):
        return "ceil_mode, and the window is not known to tile the input"
    return None


def _tiles(node: ir.Node, kernel: list[int]) -> bool:
    x = cast("ir.Value", node.inputs[0])
    if x.shape is None:
        return False
    extents = list(x.shape)[_SPATIAL:]
    return all(
        isinstance(extent, int) and extent % side == 0
        for extent, side in zip(extents, kernel, strict=True)
    )


def _stages(kernel: list[int], max_kernel: int) -> list[list[int]]:
    """Return windows whose product, side by side, is ``kernel``; the large primes come first.

    Each prime factor goes into the first window that has room for it. A prime above ``max_kernel``
    gets a window of its own.
    """
    factors = [(prime, axis) for axis, side in enumerate(kernel) for prime in _primes(side)]
    stages: list[list[int]] = []
    for prime, axis in sorted(factors, reverse=True):
        room = (stage for stage in stages if math.prod(stage) * prime <= max_kernel)
        stage = next(room, None)
        if stage is None:
            stages.append(stage := [1] * len(kernel))
        stage[axis] *= prime
    return stages


def _primes(number: int) -> Iterator[int]:
    """Yield the prime factors of ``number``, small ones first."""
    prime = 2
    while prime * prime <= number:
        while number % prime == 0:
            yield prime
            number //= prime
        prime += 1
    if number > 1:
        yield number


def _replace(node: ir.Node, stages: list[list[int]], emit: Emitter) -> None:
    """Put the series of windows in the place of ``node``."""
    y = cast("ir.Value", node.inputs[0])
    for stage in stages:
        y = emit.op(
            "AveragePool", y, dims=_pooled(y, stage), kernel_shape=stage, strides=list(stage)
        )
    emit.replace(node, y)


def _pooled(x: ir.Value, kernel: list[int]) -> list[int | str | None] | None:
    """Return the shape of ``x`` after a window that is its own stride."""
    if x.shape is None:
        return None
    dims = [dim if isinstance(dim, int) else dim.value for dim in x.shape]
    spatial = zip(dims[_SPATIAL:], kernel, strict=True)
    shrunk = [size // side if isinstance(size, int) else None for size, side in spatial]
    return [*dims[:_SPATIAL], *shrunk]
