"""Makers of integers: shapes that a model computes, indices, and arithmetic on int64."""

from __future__ import annotations

import numpy as np

from tests.onnx_passes.graphs import I32, I64, Sketch, Tensor
from tests.onnx_passes.graphs_makers import broadcast, feeds, moved, with_axes

_INT32, _INT64 = 6, 7  # in TensorProto
SHAPES = ("fold-shapes", "fold-constants", "narrow-int64", "infer-shapes", "onnxsim", "tie-batch")


def _vector(s: Sketch) -> Tensor:
    """Return an int64 list: the shape of a value, or one computed from such."""
    found = [v for v in s.made if v.dtype in {I64, I32} and v.rank == 1 and 0 < v.shape[0] < 9]
    if found and s.flip():
        return found[-1]
    x = s.pick(lambda v: v.rank > 0)
    if s.opset > 14 and s.flip(3):
        start, end = s.number(-x.rank - 1, x.rank), s.number(-x.rank, x.rank + 1)
        count = len(range(x.rank)[start:end])
        return s.add("Shape", [x], (I64, (count,)), start=start, end=end)
    return s.add("Shape", [x], (I64, (x.rank,)))


@feeds(*SHAPES)
def shape_chain(s: Sketch) -> None:
    """Take a shape apart, compute with it, put it together again."""
    v = _vector(s)
    for _ in range(s.number(1, 3)):
        step = s.one_of(_picked, _sliced, _joined, _computed, _scalar, _converted)
        v = step(s, v) if v.shape[0] else v


def _picked(s: Sketch, v: Tensor) -> Tensor:
    count = v.shape[0]
    indices = [s.number(-count, count - 1) for _ in range(s.number(1, 2))]
    return moved(s, "Gather", v, (len(indices),), s.ints(*indices))


def _sliced(s: Sketch, v: Tensor) -> Tensor:
    start, end = s.number(-2, v.shape[0] - 1), s.one_of(v.shape[0], 2**63 - 1, -1)
    count = len(range(v.shape[0])[start:end])
    return moved(s, "Slice", v, (count,), s.ints(start), s.ints(end), s.ints(s.one_of(0, -1)))


def _joined(s: Sketch, v: Tensor) -> Tensor:
    more = s.constant(np.array(s.sizes(s.number(1, 2), low=-1), v.dtype))
    count = v.shape[0]
    size = count + s_shape(s, more)
    parts: list[str | Tensor] = [v, more] if s.flip() else [more, v]
    return s.add("Concat", parts, (v.dtype, (size,)), axis=s.one_of(0, -1))


def s_shape(s: Sketch, name: str) -> int:
    """Return the length of a constant that was just made."""
    if name in s.book.inputs:
        return s.book.inputs[name][0].shape[0]
    for tensor in s.initializers:
        if tensor.name == name:
            return int(tensor.dims[0])
    return int(s.nodes[-1].attribute[0].t.dims[0])


def _computed(s: Sketch, v: Tensor) -> Tensor:
    number = s.constant(np.array(s.one_of(2, 1, 3, 0), v.dtype).reshape(s.one_of((), (1,))))
    kind = s.one_of("Add", "Mul", "Sub")
    if s.flip(4):
        two = s.constant(np.array([s.one_of(2, -2, 3)], v.dtype))
        return s.like("Div", v, two)
    sides: list[str | Tensor] = [v, number] if s.flip() else [number, v]
    return s.add(kind, sides, (v.dtype, v.shape))


def _scalar(s: Sketch, v: Tensor) -> Tensor:
    """Pick one element and make a list of it again."""
    index = s.constant(np.array(s.number(-v.shape[0], v.shape[0] - 1), np.int64))
    one = moved(s, "Gather", v, (), index)
    if s.flip(4):
        one = s.like("Mul", one, s.constant(np.array(s.number(0, 3), v.dtype)))
    if s.flip(3):
        return moved(s, "Reshape", one, (1,), s.ints(s.one_of(1, -1)))
    return with_axes(s, "Unsqueeze", one, (1,), [s.one_of(0, -1)])


def _converted(s: Sketch, v: Tensor) -> Tensor:
    to = s.one_of(_INT64, _INT32)
    return s.add("Cast", [v], (I64 if to == _INT64 else I32, v.shape), to=to)


@feeds("fold-shapes", "merge-reshapes", "tie-batch", "infer-shapes", "onnxsim", "drop-noop")
def reshape_like(s: Sketch) -> None:
    """Reshape or Expand to a shape that is computed from the shape of a value."""
    x = s.pick(lambda v: v.rank > 0)
    whole = s.add("Shape", [x], (I64, (x.rank,)))
    keep = s.number(0, x.rank - 1)
    head = moved(s, "Slice", whole, (keep,), s.ints(0), s.ints(keep), s.ints(0))
    tail = int(np.prod(x.shape[keep:]))
    if keep and s.flip():
        first = moved(s, "Gather", whole, (1,), s.ints(0))
        head = s.add("Concat", [first, s.ints(*x.shape[1:keep])], (I64, (keep,)), axis=0)
    if 0 in x.shape:
        moved(s, "Reshape", x, x.shape, whole.name)
        return
    more = s.ints(-1 if s.flip() else tail)
    target = s.add("Concat", [head, more], (I64, (keep + 1,)), axis=0) if keep else None
    moved(s, "Reshape", x, (*x.shape[:keep], tail), target.name if target else more)


@feeds("fold-shapes", "infer-shapes")
def size(s: Sketch) -> None:
    s.add("Size", [s.pick()], (I64, ()))


def _int64(s: Sketch) -> Tensor:
    return s.pick(lambda v: v.dtype == I64 and v.rank < 4, dtype=I64)


@feeds("narrow-int64", "fold-constants", "onnxsim")
def arithmetic(s: Sketch) -> None:
    """Compute with int64, from int32 now and then, with constants near the limits of int32."""
    x = _int64(s)
    if s.flip():
        narrow = s.pick(lambda v: v.dtype == I32, dtype=I32)
        x = s.add("Cast", [narrow], (I64, narrow.shape), to=_INT64)
    for _ in range(s.number(1, 3)):
        x = s.one_of(_mod, _sum, _expand, _negate, _where, _tile, _extreme)(s, x)
    if s.flip():
        s.add("Cast", [x], (I32, x.shape), to=_INT32)


def _number(s: Sketch, *options: int) -> str:
    return s.constant(np.array(s.one_of(*options), np.int64))


def _mod(s: Sketch, x: Tensor) -> Tensor:
    return s.like("Mod", x, _number(s, 3, 2, -2, 2**31 - 1), fmod=int(s.flip(4)))


def _sum(s: Sketch, x: Tensor) -> Tensor:
    kind = s.one_of("Add", "Sub", "Mul", "Div")
    return s.like(kind, x, _number(s, 2, 1, -1, 3, 2**30, 2**31 - 1, 2**31, -(2**31)))


def _expand(s: Sketch, x: Tensor) -> Tensor:
    shape = (s.number(1, 3), *x.shape)
    return moved(s, "Expand", x, shape, s.ints(*shape))


def _negate(s: Sketch, x: Tensor) -> Tensor:
    return s.like(s.one_of("Neg", "Abs", "Identity"), x)


def _where(s: Sketch, x: Tensor) -> Tensor:
    flags = Tensor(s.constant(np.array(s.flip())), np.dtype("bool"), ())
    other = s.pick(
        lambda v: v.dtype == I64 and v.shape == x.shape, dtype=I64, shape=lambda: x.shape
    )
    if other.shape != x.shape:
        return x
    return s.add("Where", [flags, x, other], (I64, x.shape))


def _tile(s: Sketch, x: Tensor) -> Tensor:
    if not x.rank:
        return x
    times = s.sizes(x.rank, high=2)
    shape = tuple(n * size for n, size in zip(times, x.shape, strict=True))
    return moved(s, "Tile", x, shape, s.ints(*times))


def _extreme(s: Sketch, x: Tensor) -> Tensor:
    if s.opset < 12:
        return x
    other = s.constant(np.array([s.number(-3, 3)], np.int64))
    sides: list[str | Tensor] = [x, other, x] if s.flip() else [x, other]
    return s.add(s.one_of("Max", "Min"), sides, (I64, broadcast(x.shape, (1,))))


@feeds("narrow-int64", "gather-to-split")
def index(s: Sketch) -> None:
    """Gather and GatherElements with indices that are constant, or an int32 input widened."""
    x = s.pick(lambda v: v.rank > 0 and v.shape[0] > 0)
    if s.flip():
        shape = (s.number(1, x.shape[0]), *x.shape[1:])
        rows = np.zeros(shape, np.int64) - s.flip()
        moved(s, "GatherElements", x, shape, s.constant(rows), axis=0)
        return
    first = s.constant(np.array([0, -1], np.int32))
    wide = s.add("Cast", [Tensor(first, I32, (2,))], (I64, (2,)), to=_INT64)
    moved(s, "Gather", x, (2, *x.shape[1:]), wide.name)
