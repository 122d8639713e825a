"""Makers of nodes that move, cut, join and convert; each says which passes it is food for.

``@feeds("merge-slices")`` puts a maker into the vocabulary of a pass; one without a name is in that
of every pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.onnx_passes.graphs import BOOL, F32, F64, I32, I64, Shape, Sketch, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[[Sketch], None]

MAKERS: dict[str, list[Maker]] = {}
CLEAN_UP = (
    *("drop-identity", "drop-noop", "drop-unused", "fold-constants", "fold-shapes"),
    *("infer-shapes", "merge-duplicates", "onnxsim", "pin-shape", "tie-batch"),
)
FLOAT16 = np.dtype("float16")


def feeds(*passes: str) -> Callable[[Maker], Maker]:
    """Put a maker into the vocabularies of these passes; of all, if none is named."""

    def register(maker: Maker) -> Maker:
        for name in passes or ("",):
            MAKERS.setdefault(name, []).append(maker)
        return maker

    return register


def vocabulary(name: str) -> list[Maker]:
    """Return the makers of a pass: its own, more than once, and those of every pass."""
    own, common = MAKERS.get(name, []), MAKERS[""]
    return [*own * max(1, 2 * len(common) // max(1, len(own))), *common]


def everything() -> list[Maker]:
    """Return all makers, each once."""
    return list(dict.fromkeys(maker for makers in MAKERS.values() for maker in makers))


@feeds()
def unary(s: Sketch) -> None:
    s.like(s.one_of("Relu", "Neg", "Abs", "Identity"), s.floats())


@feeds()
def binary(s: Sketch) -> None:
    x = s.floats()
    tail = tuple(s.one_of(1, size) for size in x.shape[s.number(0, x.rank) :])
    other = s.weight(tail) if s.flip() else s.pick(lambda v: _same(v, x), shape=lambda: x.shape)
    sides = (x, other) if s.flip() else (other, x)
    s.add(s.one_of("Add", "Mul", "Sub"), sides, (F32, broadcast(x.shape, other.shape)))


@feeds()
def duplicate(s: Sketch) -> None:
    """Do the same to one value twice and join what comes of it: a diamond."""
    x, op_type = s.floats(), s.one_of("Relu", "Neg", "Identity")
    left, right = s.like(op_type, x), s.like(op_type, x)
    if s.flip():
        s.like("Add", left, right)


@feeds()
def branch(s: Sketch) -> None:
    """If, whose branches read values from around it."""
    if s.depth > 1 or s.in_function or not s.made:
        return
    like, condition = s.pick(), s.constant(np.array(s.flip()))
    graphs = []
    for name in ("then", "else"):
        inner = s.inner()
        inner.grow(s.number(0, 3))
        graphs.append(inner.proto(name, [inner.result(like)], [like]))
    names = {"then_branch": graphs[0], "else_branch": graphs[1]}
    rough = any(value.rough for value in (*s.values, *inner.made))
    s.add("If", [condition], (like.dtype, like.shape), rough=rough, **names)


@feeds()
def call(s: Sketch) -> None:
    """Call a function of the model."""
    from onnx import helper

    from tests.onnx_passes.graphs import DOMAIN

    if not s.is_main or not s.made or not s.flip(3):
        return
    x = s.pick()
    body = Sketch(s.draw, s.book, makers=s.makers, in_function=True)
    body.values.append(Tensor("p", x.dtype, x.shape, x.rough))
    body.grow(s.number(1, 3))
    if not body.made:
        return
    y, name = body.made[-1], f"f{len(s.book.functions)}"
    imports = [helper.make_opsetid("", s.opset), helper.make_opsetid(DOMAIN, 1)]
    s.book.functions.append(
        helper.make_function(DOMAIN, name, ["p"], [y.name], body.nodes, imports)
    )
    for _ in range(s.number(1, 2)):
        s.add(name, [x], (y.dtype, y.shape), rough=y.rough, domain=DOMAIN)


def _same(value: Tensor, x: Tensor) -> bool:
    return (value.dtype, value.shape) == (x.dtype, x.shape)


def broadcast(*shapes: Shape) -> Shape:
    return tuple(np.broadcast_shapes(*shapes))


def axis_of(s: Sketch, rank: int) -> int:
    """Draw an axis, counted from the front or from the end."""
    return s.number(0, rank - 1) - (rank if s.flip(3) else 0)


def moved(
    s: Sketch,
    op_type: str,
    x: Tensor,
    shape: Shape,
    *more: str,
    **attributes: Any,  # noqa: ANN401  whatever an operator takes
) -> Tensor:
    """Append a node that moves the elements of a value."""
    return s.add(op_type, [x, *more], (x.dtype, shape), **attributes)


@feeds("fold-constants", "merge-duplicates", "drop-unused", "onnxsim")
def constant(s: Sketch) -> None:
    x = s.filled(s.one_of(F32, F32, I64), s.sizes(s.number(0, 3), low=0))
    s.like(s.one_of("Neg", "Abs"), x)


@feeds("fold-constants")
def blow_up(s: Sketch) -> None:
    """A constant that grows, one whose size is data, one of no kernel's business."""
    kind = s.one_of("Tile", "NonZero", "ConstantOfShape", "Expand", "Range")
    x = s.filled(F32, (s.number(1, 4),))
    if kind == "Tile":
        times = s.number(0, 40)
        s.add(kind, [x, s.ints(times)], (F32, (times * x.shape[0],)))
    elif kind == "Expand":
        s.add(kind, [x, s.ints(30, x.shape[0])], (F32, (30, x.shape[0])))
    elif kind == "ConstantOfShape":
        shape = s.sizes(2, low=0, high=9)
        s.add(kind, [s.ints(*shape)], (F32, shape))
    elif kind == "Range":
        limit = s.number(1, 9)
        bounds = [s.constant(np.array(n, np.int64)) for n in (0, limit, 1)]
        s.add(kind, bounds, (I64, (limit,)))
    else:
        name = s.constant(np.array([1, 0, 1], np.float32), certain=True)
        s.add(kind, [name], (I64, (1, 2)))


@feeds("drop-identity", "merge-duplicates", "onnxsim")
def copies(s: Sketch) -> None:
    x = s.pick()
    for _ in range(s.number(1, 3)):
        x = s.like("Identity", x)


@feeds("drop-unused")
def unread(s: Sketch) -> None:
    """Nodes with outputs that nothing reads, and a weight."""
    x = s.floats(1)
    s.weight((2,))
    if s.opset < 13 and x.shape[-1] % 2 == 0 and x.shape[-1]:
        half = (*x.shape[:-1], x.shape[-1] // 2)
        s.add("Split", [x], (F32, half), (F32, half), axis=-1)
    else:
        s.add("TopK", [x, s.ints(0)], (F32, (*x.shape[:-1], 0)), (I64, (*x.shape[:-1], 0)))


@feeds("merge-transposes", "drop-noop", "merge-duplicates", "onnxsim", "infer-shapes")
def transpose(s: Sketch) -> None:
    x = s.pick(lambda v: v.dtype != BOOL and v.rank > 1)
    for _ in range(s.number(1, 2)):
        perm = s.draw(_permutations(x.rank))
        if s.flip(4):
            x = moved(s, "Transpose", x, x.shape[::-1])
        else:
            x = moved(s, "Transpose", x, tuple(x.shape[axis] for axis in perm), perm=perm)


def _permutations(rank: int) -> Any:  # noqa: ANN401  a strategy
    from hypothesis import strategies as st

    return st.permutations(range(rank))


@feeds("merge-reshapes", "drop-noop", "fold-shapes", "set-opset", "onnxsim", "infer-shapes")
def reshape(s: Sketch) -> None:
    x = s.pick()
    for _ in range(s.number(1, 2)):
        x = s.one_of(_reshape, _squeeze, _unsqueeze, _flatten)(s, x)


def _factors(s: Sketch, size: int) -> list[int]:
    """Draw sizes with a product."""
    if not size:
        return [*s.sizes(s.number(0, 2)), 0]
    sizes = []
    for _ in range(s.number(0, 2)):
        part = s.one_of(*[n for n in range(1, size + 1) if size % n == 0][:4])
        sizes.append(part)
        size //= part
    return [*sizes, size]


def _reshape(s: Sketch, x: Tensor) -> Tensor:
    size = math.prod(x.shape)
    shape = list(x.shape) if s.flip() else _factors(s, size)
    target, attributes = list(shape), dict[str, int]()
    literal = s.opset > 13 and s.flip(3)
    for place, old in enumerate(x.shape[: len(shape)]):
        if not literal and shape[place] == old and s.flip(3):
            target[place] = 0
    if target and size and s.flip() and not literal:
        target[s.number(0, len(target) - 1)] = -1
    if literal:
        attributes["allowzero"] = 1
    elif 0 in shape and not all(n in {0, -1} or shape[i] for i, n in enumerate(target)):
        return x
    if not literal and any(
        n == 0 and (i >= x.rank or x.shape[i] != shape[i]) for i, n in enumerate(target)
    ):
        return x
    return moved(s, "Reshape", x, tuple(shape), s.ints(*target), **attributes)


def with_axes(s: Sketch, op_type: str, x: Tensor, shape: Shape, axes: list[int]) -> Tensor:
    """Append a Squeeze or Unsqueeze in the spelling of the opset."""
    if s.opset >= 13:
        return moved(s, op_type, x, shape, s.ints(*axes))
    return moved(s, op_type, x, shape, axes=axes)


def _squeeze(s: Sketch, x: Tensor) -> Tensor:
    ones = [axis for axis, size in enumerate(x.shape) if size == 1 and s.flip()]
    if not ones:
        return _unsqueeze(s, x)
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in ones)
    if s.is_main and all(size != 1 for size in shape) and s.flip(4):
        return moved(s, "Squeeze", x, shape)
    return with_axes(s, "Squeeze", x, shape, [axis - x.rank * s.flip(3) for axis in ones])


def _unsqueeze(s: Sketch, x: Tensor) -> Tensor:
    rank = x.rank + s.number(1, 2)
    axes = sorted(s.draw(_permutations(rank))[: rank - x.rank])
    rest = iter(x.shape)
    shape = tuple(1 if axis in axes else next(rest) for axis in range(rank))
    return with_axes(s, "Unsqueeze", x, shape, [axis - rank * s.flip(3) for axis in axes])


def _flatten(s: Sketch, x: Tensor) -> Tensor:
    axis = s.number(0, x.rank)
    shape = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
    written = axis - x.rank if s.flip(3) and axis < x.rank else axis
    return moved(s, "Flatten", x, shape, axis=written)


@feeds("merge-slices", "drop-empty-slice", "drop-noop", "narrow-int64", "onnxsim", "infer-shapes")
def cut(s: Sketch) -> None:
    x = s.pick(lambda v: v.rank > 0)
    for _ in range(s.number(1, 3)):
        x = _cut(s, x)


def _cut(s: Sketch, x: Tensor) -> Tensor:
    axes = s.draw(_permutations(x.rank))[: s.number(1, min(2, x.rank))]
    bounds, shape = [], list(x.shape)
    for axis in axes:
        size, step = x.shape[axis], s.one_of(1, 1, 1, 2, -1, -2)
        start = s.number(-size - 1, size + 1)
        end = s.one_of(s.number(-size - 1, size + 1), 2**31 - 1, 2**63 - 1)
        if step < 0:
            start = max(start, -size)
            end = s.one_of(s.number(-size - 1, size - 1), -(2**31), -(2**63) + 1)
        bounds.append((start, end, step))
        shape[axis] = len(range(size)[start:end:step])
    starts, ends, steps = map(list, zip(*bounds, strict=True))
    written = [axis - x.rank * s.flip(3) for axis in axes]
    more = [s.ints(*starts), s.ints(*ends)]
    if written != list(range(len(axes))) or set(steps) != {1} or s.flip():
        more.append(s.ints(*written))
        more += [s.ints(*steps)] if set(steps) != {1} or s.flip() else []
    return moved(s, "Slice", x, tuple(shape), *more)


@feeds("merge-concats", "drop-empty-slice", "drop-noop", "onnxsim", "infer-shapes")
def join(s: Sketch) -> None:
    x = s.pick(lambda v: v.rank > 0)
    axis = axis_of(s, x.rank)
    for _ in range(s.number(1, 2)):
        parts = [x]
        for _ in range(s.number(0, 2)):
            parts.append(s.pick(_joins(x, axis), dtype=x.dtype, shape=lambda: x.shape))  # noqa: B023
        if s.flip(3):
            parts.insert(s.number(0, len(parts)), _empty(s, x, axis))
        parts = [part for part in parts if _joins(x, axis)(part)]
        shape = list(x.shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        order = s.draw(_permutations(len(parts)))
        x = s.add("Concat", [parts[i] for i in order], (x.dtype, tuple(shape)), axis=axis)


def _joins(x: Tensor, axis: int) -> Callable[[Tensor], bool]:
    def fits(value: Tensor) -> bool:
        a, b = list(value.shape), list(x.shape)
        if value.dtype != x.dtype or len(a) != len(b):
            return False
        a[axis] = b[axis] = 0
        return a == b

    return fits


def _empty(s: Sketch, x: Tensor, axis: int) -> Tensor:
    shape, start = list(x.shape), s.number(-2, 3)
    shape[axis] = 0
    end = start if start in {0, -1} or s.flip() else start - 1
    if len(range(x.shape[axis])[start:end]):
        end = start
    return moved(s, "Slice", x, tuple(shape), s.ints(start), s.ints(end), s.ints(axis))


CASTS = (F32, F32, I64, I32, BOOL, F64, FLOAT16, np.dtype("int8"), np.dtype("uint8"))


@feeds("merge-casts", "drop-noop", "drop-double", "narrow-int64", "onnxsim")
def cast(s: Sketch) -> None:
    from onnx import helper

    x = s.pick(lambda v: not v.rough)
    for _ in range(s.number(1, 3)):
        to = s.one_of(*CASTS)
        x = s.add("Cast", [x], (to, x.shape), to=helper.np_dtype_to_tensor_dtype(to))


@feeds("drop-noop", "merge-duplicates", "onnxsim")
def nothing(s: Sketch) -> None:
    """What gives back its input, or nearly does."""
    x = s.pick(lambda v: v.dtype in {F32, I64} and v.rank > 0)
    kind = s.one_of("Mul", "Div", "Add", "Sub", "Pad", "Dropout", "CastLike")
    if kind == "Pad" and x.dtype == F32:
        moved(s, kind, x, x.shape, s.ints(*[0] * 2 * x.rank), mode=s.one_of("constant", "edge"))
    elif kind == "Dropout" and x.dtype == F32:
        s.like(kind, x)
    elif kind == "CastLike" and s.opset > 14:
        other = s.pick(lambda v: v.dtype.kind in "fi" and not x.rough)
        s.add(kind, [x, other], (other.dtype, x.shape))
    elif kind in {"Mul", "Div", "Add", "Sub"}:
        neutral = s.one_of(0.0, -0.0) if kind in {"Add", "Sub"} else 1
        shape = s.one_of((), (1,), x.shape[-1:], (1, *x.shape), x.shape)
        other = Tensor(s.constant(np.full(shape, neutral, x.dtype)), x.dtype, shape)
        sides = (other, x) if kind in {"Mul", "Add"} and s.flip() else (x, other)
        s.add(kind, sides, (x.dtype, broadcast(x.shape, shape)))


@feeds("gather-to-split", "narrow-int64", "onnxsim")
def gather(s: Sketch) -> None:
    """Gathers that cut a value up, at times with a fault."""
    x = s.pick(lambda v: v.rank > 0 and v.shape[0] > 1, shape=lambda: (3, *s.sizes(2)))
    axis = s.one_of(0, -x.rank) if x.shape[0] > 1 else axis_of(s, x.rank)
    size = x.shape[axis]
    row = 0
    while row < size:
        width = s.number(1, size - row)
        rows = np.arange(row, row + width)
        if s.flip(8):
            rows = rows[::-1]
        rows = rows - size * s.flip(3)
        scalar = width == 1 and s.flip()
        indices = rows[0] if scalar else rows
        shape = list(x.shape)
        shape[axis : axis % x.rank + 1] = [] if scalar else [width]
        kind = s.one_of(np.int64, np.int64, np.int32)
        moved(s, "Gather", x, tuple(shape), s.constant(np.array(indices, kind)), axis=axis)
        row += max(1, width - s.flip(10))
        if s.flip(10):
            break


@feeds("decompose-reflect-pad", "set-opset", "onnxsim", "infer-shapes")
def pad(s: Sketch) -> None:
    x = s.pick(lambda v: v.rank > 0 and v.dtype in {F32, F64} and min(v.shape) > 0)
    mode = s.one_of("reflect", "reflect", "reflect", "edge", "constant")
    before = [s.number(-1, 2) * s.flip() for _ in x.shape]
    after = [s.number(-1, 2) * s.flip() for _ in x.shape]
    for axis, size in enumerate(x.shape):
        left = size + min(before[axis], 0) + min(after[axis], 0)
        if left < 1 or (mode == "reflect" and max(before[axis], after[axis]) >= left):
            before[axis] = after[axis] = 0
    shape = tuple(b + size + a for b, size, a in zip(before, x.shape, after, strict=True))
    if s.opset > 17 and s.flip():
        axes = s.draw(_permutations(x.rank))
        pads = [side[axis] for side in (before, after) for axis in axes]
        named = s.ints(*[axis - x.rank * s.flip(3) for axis in axes])
        moved(s, "Pad", x, shape, s.ints(*pads), "", named, mode=mode)
    else:
        moved(s, "Pad", x, shape, s.ints(*before, *after), mode=mode)
