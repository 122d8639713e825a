"""Makers of what is fused: sums behind convolutions and products, layer norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests.onnx_passes.graphs import F32, Sketch, Tensor
from tests.onnx_passes.graphs_makers import broadcast, feeds, moved
from tests.onnx_passes.graphs_nets import picture

if TYPE_CHECKING:
    from tests.onnx_passes.graphs import Shape

CLEAN_UP = ("fold-constants", "merge-reshapes", "onnxsim")


@feeds("fuse-bias", "onnxsim")
def biased(s: Sketch) -> None:
    """Conv or ConvTranspose, then sums and differences that are biases, or nearly."""
    x = picture(s, s.one_of(1, 2))
    kind, channels, groups = s.one_of("Conv", "ConvTranspose"), s.number(1, 2), 1
    if s.flip(3):
        groups = x.shape[1]
    side = s.number(1, 2)
    kernel = [side] * (x.rank - 2)
    outputs = channels * groups
    own = (outputs, x.shape[1] // groups) if kind == "Conv" else (x.shape[1], channels)
    grown = side - 1 if kind == "ConvTranspose" else 1 - side
    shape = (x.shape[0], outputs, *[size + grown for size in x.shape[2:]])
    bias = [s.weight((outputs,))] if s.flip() else []
    attributes: dict[str, Any] = {"group": groups} if groups > 1 or s.flip() else {}
    y = s.add(kind, [x, s.weight((*own, *kernel)), *bias], (F32, shape), **attributes)
    for _ in range(s.number(1, 2)):
        y = _sum(s, y, outputs)


def _sum(s: Sketch, y: Tensor, channels: int) -> Tensor:
    spatial: Shape = (1,) * (y.rank - 2)
    shape = s.one_of(
        *((channels, *spatial), (channels, *spatial), (1, channels, *spatial), (), (1,)),
        *((channels,), (1, 1, channels, *spatial), y.shape[1:]),
    )
    tail = y.shape[y.rank - min(len(shape), y.rank) :]
    if any(1 != size != own for size, own in zip(shape[-len(tail) :], tail, strict=True)):
        shape = ()
    other = s.weight(shape)
    sides = (y, other) if s.flip() else (other, y)
    return s.add(s.one_of("Add", "Add", "Sub"), sides, (F32, broadcast(y.shape, shape)))


@feeds("fuse-gemm", *CLEAN_UP)
def linear(s: Sketch) -> None:
    """Reshape, MatMul, Add, Reshape of a layer, once or twice; at times with a fault."""
    rows, deep = s.sizes(s.number(1, 3)), s.number(1, 3)
    x = s.pick(lambda v: v.dtype == F32 and v.rank > 0 and min(v.shape) > 0, shape=lambda: (4, 6))
    deep = s.one_of(1, 2, 3) if x.shape[-1] % deep else deep
    size = int(np.prod(x.shape))
    if size % deep:
        return
    for _ in range(s.number(1, 2)):
        rows = _cut(s, size // deep)
        if not s.flip(6):
            x = moved(s, "Reshape", x, (*rows, deep), _target(s, (*rows, deep)))
        elif x.shape[-1] != deep:
            return
        wide = s.number(1, 3)
        x = s.add("MatMul", [x, s.weight((deep, wide))], (F32, (*x.shape[:-1], wide)))
        bias = s.weight(s.one_of((wide,), (wide,), (1, wide), (1,), (), (1, 1, wide)))
        sides = [x, bias] if s.flip() else [bias, x]
        x = s.add("Add", sides, (F32, broadcast(x.shape, bias.shape)))
        deep, size = wide, size // deep * wide
    if not s.flip(5):
        shape = (*_cut(s, size // deep), deep)
        moved(s, "Reshape", x, shape, _target(s, shape))


def _cut(s: Sketch, count: int) -> Shape:
    """Return one to three extents whose product is ``count``."""
    first = s.one_of(*[n for n in range(1, count + 1) if count % n == 0])
    cut: Shape = s.one_of((count,), (first, count // first), (first, count // first, 1))
    return cut


def _target(s: Sketch, shape: Shape) -> str:
    """Write a shape as numbers, at times with a -1."""
    sizes = list(shape)
    if s.flip():
        sizes[s.number(0, len(sizes) - 1)] = -1
    return s.ints(*sizes)


@feeds("fuse-layer-norm", "onnxsim", "set-opset", "infer-shapes")
def layer_norm(s: Sketch) -> None:
    """The nodes that exporters write for a layer norm; at times with a fault."""
    x = s.pick(
        lambda v: v.dtype == F32 and v.rank > 1 and min(v.shape) > 0 and not v.rough,
        shape=lambda: s.sizes(s.number(2, 3)),
    )
    last = s.one_of(1, 1, min(2, x.rank))
    axes = [axis - x.rank * s.flip() for axis in range(x.rank - last, x.rank)]
    axes = [0] if s.flip(8) else axes
    centred = s.like("Sub", x, _mean(s, x, axes))
    two = Tensor(s.constant(np.array(s.one_of(2.0, 2.0, 2.0, 3.0), np.float32)), F32, ())
    square = s.like("Mul", centred, centred) if s.flip(3) else s.like("Pow", centred, two)
    variance = _mean(s, square, axes)
    epsilon = Tensor(s.constant(np.array(s.one_of(1e-5, 1.0, 1.0, 0.0), np.float32)), F32, ())
    sides = [variance, epsilon] if s.flip() else [epsilon, variance]
    spread = s.like("Sqrt", s.add("Add", sides, (F32, variance.shape), rough=True))
    if s.flip(3):
        inverse = s.like("Reciprocal", spread)
        sides = [centred, inverse] if s.flip() else [inverse, centred]
        y = s.add("Mul", sides, (F32, x.shape))
    else:
        y = s.like("Div", centred, spread)
    for kind in ("Mul", "Add")[: s.number(1, 2)]:
        shape = s.one_of(*[x.shape[x.rank - last :]] * 5, x.shape, ())
        other = s.weight(shape)
        y = s.add(kind, [y, other] if s.flip() else [other, y], (F32, x.shape))


def _mean(s: Sketch, x: Tensor, axes: list[int]) -> Tensor:
    shape = tuple(1 if i in [a % x.rank for a in axes] else n for i, n in enumerate(x.shape))
    keep = {"keepdims": 1} if s.flip() else {}
    if s.opset < 18:
        return s.add("ReduceMean", [x], (F32, shape), rough=True, axes=axes, **keep)
    return s.add("ReduceMean", [x, s.ints(*axes)], (F32, shape), rough=True, **keep)
