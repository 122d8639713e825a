"""Makers of operators that differ between opsets 11 and 20, and of float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.onnx_passes.graphs import BOOL, F32, F64, I64, Shape, Sketch
from tests.onnx_passes.graphs_makers import axis_of, feeds, moved, with_axes
from tests.onnx_passes.graphs_nets import picture

_REDUCTIONS = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare"),
    *("ReduceL2", "ReduceLogSumExp"),
)


@feeds("set-opset", "infer-shapes", "onnxsim")
def reduction(s: Sketch) -> None:
    x = s.pick(lambda v: v.dtype == F32 and v.rank > 0 and 0 not in v.shape)
    kind, keep = s.one_of(*_REDUCTIONS), s.number(0, 1)
    axes = sorted({axis_of(s, x.rank) % x.rank for _ in range(2)}) if not s.flip(4) else []
    gone = axes or list(range(x.rank))
    written = [axis - x.rank * s.flip(3) for axis in axes]
    shape = [1 if i in gone else size for i, size in enumerate(x.shape) if keep or i not in gone]
    rough = kind in {"ReduceMean", "ReduceL2", "ReduceLogSumExp"}
    made = F32, tuple(shape)
    if s.opset >= (13 if kind == "ReduceSum" else 18):
        more = [s.ints(*written)] if axes or s.flip() else []
        noop = {"noop_with_empty_axes": 0} if s.flip() else {}
        s.add(kind, [x, *more], made, keepdims=keep, rough=rough, **noop)
    else:
        attributes = {"axes": written} if axes else {}
        s.add(kind, [x], made, keepdims=keep, rough=rough, **attributes)


@feeds("set-opset", "onnxsim")
def soft(s: Sketch) -> None:
    x = s.pick(lambda v: v.dtype == F32 and v.rank > 0)
    attributes: dict[str, Any] = (
        {"axis": axis_of(s, x.rank)} if s.opset > 12 or not s.flip(3) else {}
    )
    if not attributes and x.rank < 2 and s.opset < 13:
        attributes = {"axis": 0}
    kind = (
        s.one_of("Softmax", "LogSoftmax")
        if x.rough
        else s.one_of("Softmax", "LogSoftmax", "Hardmax")
    )
    s.like(kind, x, rough=True, **attributes)


@feeds("set-opset", "infer-shapes")
def split(s: Sketch) -> None:
    x = s.pick(lambda v: v.rank > 0 and max(v.shape) > 1, shape=lambda: (s.number(2, 5), 2))
    axis = next(i for i, size in enumerate(x.shape) if size > 1)
    size = x.shape[axis]
    first = s.number(1, size - 1)
    sizes = (first, size - first)
    pieces = [(*x.shape[:axis], part, *x.shape[axis + 1 :]) for part in sizes]
    outputs = [(x.dtype, piece) for piece in pieces]
    written = axis - x.rank * s.flip(3)
    if s.opset < 13:
        s.add("Split", [x], *outputs, axis=written, split=list(sizes))
    elif s.opset > 17 and first == -(-size // 2):
        s.add("Split", [x], *outputs, axis=written, num_outputs=2)
    else:
        s.add("Split", [x, s.ints(*sizes)], *outputs, axis=written)


@feeds("set-opset", "onnxsim")
def newer(s: Sketch) -> None:  # noqa: C901, PLR0912  a table of operators
    """An operator that came with one of the opsets."""
    x = s.floats(1)
    since = {
        "HardSwish": 14, "Gelu": 20, "Mish": 18, "Trilu": 14, "LayerNormalization": 17,
        "CastLike": 15, "GreaterOrEqual": 12, "Celu": 12, "Einsum": 12, "GroupNormalization": 18,
        "Clip": 11, "Dropout": 11, "BlackmanWindow": 17,
    }  # fmt: skip
    kind = s.one_of(*[name for name, opset in since.items() if opset <= s.opset])
    if kind == "LayerNormalization":
        axis = axis_of(s, x.rank)
        shape = x.shape[axis:]
        bias = [s.weight(shape)] if s.flip() else []
        s.like(kind, x, s.weight(shape), *bias, axis=axis, rough=True)
    elif kind == "GroupNormalization":
        y = picture(s, 2)
        count = 1 if s.opset < 21 else y.shape[1]
        s.like(kind, y, *(s.weight((count,)) for _ in range(2)), num_groups=1, rough=True)
    elif kind == "GreaterOrEqual":
        if not x.rough:
            s.add(s.one_of(kind, "LessOrEqual"), [x, s.weight(x.shape[-1:])], (BOOL, x.shape))
    elif kind == "CastLike":
        s.add(kind, [x, s.weight((1,), F64)], (F64, x.shape))
    elif kind == "Einsum":
        letters = "abcd"[: x.rank]
        moved(s, kind, x, x.shape[::-1], equation=f"{letters}->{letters[::-1]}")
    elif kind == "Trilu":
        if x.rank > 1:
            s.like(kind, x, upper=s.number(0, 1))
    elif kind == "Gelu":
        s.like(kind, x, rough=True, approximate=s.one_of("none", "tanh"))
    elif kind == "BlackmanWindow":
        s.add(kind, [s.constant(np.array(4, np.int64))], (F32, (4,)), rough=True)
    elif kind == "Clip":
        s.like(kind, x, s.constant(np.array(-1, np.float32)), s.constant(np.array(2, np.float32)))
    elif kind == "Dropout":
        ratio = [s.constant(np.array(0.5, np.float32), certain=True)] if s.opset > 11 else []
        s.like(kind, x, *ratio)
    else:
        s.like(kind, x, rough=True)


@feeds("set-opset", "infer-shapes")
def resize(s: Sketch) -> None:
    x = picture(s, 2, 1, 4)
    scales = s.constant(np.array([1, 1, 2, 2], np.float32), certain=True)
    shape: Shape = (*x.shape[:2], *[2 * size for size in x.shape[2:]])
    where = s.one_of("half_pixel", "asymmetric", "align_corners")
    roi = s.constant(np.zeros(0, np.float32), certain=True) if s.opset < 13 else ""
    mode, more = s.one_of("linear", "nearest"), dict[str, Any]()
    if s.opset > 17 and s.flip(3):
        scales = s.constant(np.array([2, 2], np.float32), certain=True)
        more = {"axes": [2, 3]}
    s.add("Resize", [x, roi, scales], (F32, shape), mode=mode, rough=mode == "linear",
          coordinate_transformation_mode=where, **more)  # fmt: skip


@feeds("set-opset")
def quantized(s: Sketch) -> None:
    x = s.pick(lambda v: v.dtype == F32 and v.rank > 1 and not v.rough, shape=lambda: s.sizes(2))
    per_axis = s.opset > 12 and s.flip()
    shape: Shape = (x.shape[1],) if per_axis else ()
    scale, zero = np.full(shape, 0.5, np.float32), np.zeros(shape, np.int8)
    names = s.constant(scale, certain=True), s.constant(zero, certain=True)
    axis: dict[str, Any] = {"axis": 1} if per_axis else {}
    q = s.add("QuantizeLinear", [x, *names], (np.dtype("int8"), x.shape), **axis)
    s.add("DequantizeLinear", [q, *names], (F32, x.shape), **axis)


@feeds("set-opset", "fold-constants")
def constants(s: Sketch) -> None:
    """A Constant that is written as numbers, from opset 12 on, and a reader of it."""
    x = s.floats()
    if s.opset < 12:
        return
    value = s.add("Constant", [], (F32, (2,)), value_floats=[1.0, 2.0])
    if x.rank and x.shape[-1] in {1, 2}:
        s.add("Mul", [x, value], (F32, (*x.shape[:-1], 2)))


@feeds("drop-double", "merge-casts")
def doubles(s: Sketch) -> None:
    """Compute in float64: from a Cast, an input, a weight, a Constant."""
    x = s.pick(lambda v: v.dtype == F64, dtype=F64)
    if s.flip():
        y = s.floats()
        x = s.add("Cast", [y], (F64, y.shape), to=11)
    for _ in range(s.number(1, 3)):
        kind = s.one_of("Mul", "Add", "Relu", "Cast", "Shape", "ConstantOfShape", "Exp")
        if kind in {"Mul", "Add"}:
            large = np.array(s.one_of(0.1, 2.0, 1e300), np.float64)
            x = s.add(kind, [x, s.constant(large)], (F64, x.shape), rough=True)
        elif kind == "Cast":
            s.add(kind, [x], (F32, x.shape), to=1)
        elif kind == "ConstantOfShape":
            value = helper.make_tensor("", 11, [1], [0.5])
            half = s.add(kind, [s.ints(1)], (F64, (1,)), value=value)
            x = s.add("Mul", [x, half], (F64, x.shape or (1,)))
        elif kind == "Shape":
            s.add(kind, [x], (I64, (x.rank,)))
        else:
            x = s.like(kind, x, rough=True)


@feeds("tie-batch", "pin-shape", "infer-shapes")
def batch(s: Sketch) -> None:
    """Two inputs with one batch, joined along it or not."""
    n = s.one_of(2, 3)
    x, y = (s.input(F32, (n, *s.sizes(1))) for _ in range(2))
    kind = s.one_of("MatMul", "Concat", "Flatten", "NonZero")
    if kind == "Concat":
        if x.shape[1] == y.shape[1]:
            s.add(kind, [x, y], (F32, (2 * n, x.shape[1])), axis=0)
    elif kind == "MatMul":
        s.add(kind, [x, s.weight((x.shape[1], 2))], (F32, (n, 2)))
    else:
        with_axes(s, "Unsqueeze", x, (n, 1, x.shape[1]), [1])
