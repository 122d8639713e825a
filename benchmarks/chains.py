"""Chains of any length on which one pass finds work again and again.

A unit maps x float32 [1, 4, 4, 4] to the same shape and holds one place, or a few, where the pass
fires. The chain is units in a row, with Relu nodes between those of a pass that writes many nodes
for one. Nothing of it is run: only the work of the pass counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.models import Builder

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Unit = Callable[[Builder, str], str]

SHAPE = (1, 4, 4, 4)
_MATRIX = np.arange(16, dtype=np.float32).reshape(4, 4) / 16


class Chain(Builder):
    """A builder that stores each constant once, as exporters of shared weights do."""

    def __init__(self) -> None:
        """Start an empty graph."""
        super().__init__(0)
        self._stored: dict[tuple[object, ...], str] = {}

    def array(self, value: object, dtype: type = np.float32) -> str:
        """Add an initializer unless there is one like it."""
        array: npt.NDArray[Any] = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._stored:
            self._stored[key] = super().array(array, dtype)
        return self._stored[key]

    def ints(self, *values: int) -> str:
        """Add int64 numbers as an initializer."""
        return self.array(values, np.int64)


def chain_for(name: str, nodes: int) -> onnx.ModelProto:
    """Return a chain of about ``nodes`` nodes for the pass ``name``, shapes recorded."""
    unit, spacing, opset = _UNITS[name]
    b, x = Chain(), "x"
    while len(b.nodes) < nodes:
        x = unit(b, x)
        for _ in range(spacing):
            x = b.op("Relu", x)
    batch = "batch" if name in {"tie-batch", "pin-shape"} else 1
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *SHAPE[1:]])
    model = b.model([given], b.op("Relu", x), [batch, *SHAPE[1:]])
    model.opset_import[0].version = opset
    return model if name == "infer-shapes" else onnx.shape_inference.infer_shapes(model)


def quiet_chain(nodes: int) -> onnx.ModelProto:
    """Return a chain of operators that the passes look at, in which none of them finds work."""
    b, x = Chain(), "x"
    kinds: list[Unit] = [
        lambda b, x: b.op("MatMul", x, b.array(_MATRIX)),
        lambda b, x: b.op("Sigmoid", x),
        lambda b, x: b.op("Transpose", x, perm=[0, 1, 3, 2]),
        lambda b, x: b.op("Neg", x),
        lambda b, x: b.op("Reshape", x, b.ints(1, 4, 2, 8)),
        lambda b, x: b.op("Abs", x),
        lambda b, x: b.op("Reshape", x, b.ints(*SHAPE)),
        lambda b, x: b.op("Exp", x),
        lambda b, x: b.op("Concat", x, x, axis=1),
        lambda b, x: b.op("Tanh", x),
        lambda b, x: b.op("Slice", x, b.ints(2), b.ints(6), b.ints(1), b.ints(1)),
        lambda b, x: b.op("Sin", x),
    ]
    for index in range(nodes):
        x = kinds[index % len(kinds)](b, x)
    x = b.op("Reshape", x, b.ints(1, -1))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(SHAPE))
    return onnx.shape_inference.infer_shapes(b.model([given], x, [1, None]))  # type: ignore[list-item]


def passes() -> list[str]:
    """Return the names of the passes that there is a chain for."""
    return sorted(set(_UNITS) - {"mixed"})


def option_text(name: str) -> str:
    """Return the pass with the options that it needs to fire."""
    return 'pin-shape{shapes="x=1,4,4,4"}' if name == "pin-shape" else name


def _affine(b: Builder, x: str) -> str:
    theta = b.op("Reshape", b.op("Slice", x, b.ints(0), b.ints(2), b.ints(1)), b.ints(1, 2, 16))
    theta = b.op("Slice", theta, b.ints(0), b.ints(3), b.ints(2))
    grid = b.op("AffineGrid", theta, b.ints(1, 1, 4, 8))
    return b.op("Reshape", grid, b.ints(*SHAPE))


def _sample(b: Builder, x: str) -> str:
    grid = b.array(np.linspace(-1, 1, 32).reshape(1, 4, 4, 2))
    return b.op("GridSample", x, grid)


def _einsum(b: Builder, x: str) -> str:
    return b.op("Einsum", x, b.array(_MATRIX), equation="abcd,de->abce")


def _guard(b: Builder, x: str) -> str:
    return b.op("Where", b.op("IsNaN", x), b.array(0.0), x)


def _reflect(b: Builder, x: str) -> str:
    padded = b.op("Pad", x, b.ints(0, 0, 0, 1, 0, 0, 0, 0), mode="reflect")
    return b.op("Slice", padded, b.ints(0), b.ints(4), b.ints(3))


def _double(b: Builder, x: str) -> str:
    wide = b.op("Cast", x, to=TensorProto.DOUBLE)
    return b.op("Cast", b.op("Neg", wide), to=TensorProto.FLOAT)


def _empty_slice(b: Builder, x: str) -> str:
    empty = b.op("Slice", x, b.ints(2), b.ints(2), b.ints(1))
    return b.op("Concat", x, empty, axis=1)


def _unused(b: Builder, x: str) -> str:
    b.op("Neg", x)
    return b.op("Relu", x)


def _constants(b: Builder, x: str) -> str:
    return b.op("Add", x, b.op("Neg", b.op("Abs", b.array(_MATRIX))))


def _shapes(b: Builder, x: str) -> str:
    size = b.op("Gather", b.op("Shape", x), b.ints(0), axis=0)
    return b.op("Reshape", x, b.op("Concat", size, b.ints(4, 4, -1), axis=0))


def _conv(b: Builder, x: str) -> str:
    return b.op("Conv", x, b.array(_MATRIX.reshape(4, 4, 1, 1)), kernel_shape=[1, 1])


def _biased(b: Builder, x: str) -> str:
    return b.op("Add", _conv(b, x), b.array(np.ones((1, 4, 1, 1))))


def _linear(b: Builder, x: str) -> str:
    rows = b.op("MatMul", b.op("Reshape", x, b.ints(1, 16, 4)), b.array(_MATRIX))
    return b.op("Reshape", b.op("Add", rows, b.array(np.ones(4))), b.ints(*SHAPE))


def _norm(b: Builder, x: str) -> str:
    one, zero = b.array(np.ones(4)), b.array(np.zeros(4))
    return b.op("BatchNormalization", _conv(b, x), one, zero, zero, one)


def _gathers(b: Builder, x: str) -> str:
    parts = [b.op("Gather", x, b.ints(first, first + 1), axis=1) for first in (0, 2)]
    return b.op("Concat", *parts, axis=1)


def _conv1d(b: Builder, x: str) -> str:
    flat = b.op("Reshape", x, b.ints(1, 4, 16))
    made = b.op("Conv", flat, b.array(_MATRIX.reshape(4, 4, 1)), kernel_shape=[1])
    return b.op("Reshape", made, b.ints(*SHAPE))


def _lstm(b: Builder, x: str) -> str:
    rows = b.op("Reshape", x, b.ints(4, 4, 4))
    weight, zero = b.array(np.ones((1, 16, 4))), b.array(np.zeros((1, 4, 4)))
    made = b.op("LSTM", rows, weight, weight, "", "", zero, zero, hidden_size=4)
    return b.op("Reshape", made, b.ints(*SHAPE))


def _casts(b: Builder, x: str) -> str:
    return b.op("Cast", b.op("Cast", x, to=TensorProto.DOUBLE), to=TensorProto.FLOAT)


def _concats(b: Builder, x: str) -> str:
    joined = b.op("Concat", b.op("Concat", x, x, axis=1), x, axis=1)
    return b.op("Slice", joined, b.ints(0), b.ints(4), b.ints(1))


def _duplicates(b: Builder, x: str) -> str:
    return b.op("Add", b.op("Neg", x), b.op("Neg", x))


def _slices(b: Builder, x: str) -> str:
    joined = b.op("Concat", x, x, axis=1)
    first = b.op("Slice", joined, b.ints(1), b.ints(7), b.ints(1))
    return b.op("Slice", first, b.ints(1), b.ints(5), b.ints(1))


def _int64(b: Builder, x: str) -> str:
    small = b.op("Cast", b.op("Cast", x, to=TensorProto.INT32), to=TensorProto.INT64)
    rest = b.op("Cast", b.op("Mod", small, b.ints(7)), to=TensorProto.INT32)
    return b.op("Cast", rest, to=TensorProto.FLOAT)


def _splice(b: Builder, x: str) -> str:
    grid = b.op("Reshape", b.op("Concat", x, x, axis=1), b.ints(1, 4, 8, 4))
    grid = b.op("Slice", grid, b.ints(0, 0), b.ints(4, 2), b.ints(2, 3))
    padded = b.op(
        "Pad",
        b.op("Unsqueeze", grid, b.ints(1)),
        b.ints(0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
        b.array(0.0),
    )
    placed = b.op("Transpose", b.op("Squeeze", padded, b.ints(1)), perm=[0, 3, 1, 2])
    return b.op("Add", x, placed)


def _pool(b: Builder, x: str) -> str:
    wide = b.op("Tile", x, b.ints(1, 1, 1, 512))
    return b.op("AveragePool", wide, kernel_shape=[1, 512], strides=[1, 512])


def _large_conv(b: Builder, x: str) -> str:
    weight = b.array(np.ones((4, 4, 1, 301)))
    return b.op("Conv", x, weight, kernel_shape=[1, 301], pads=[0, 150, 0, 150])


def _qkv(b: Builder, x: str) -> str:
    rows = b.op("Reshape", x, b.ints(1, 16, 4))
    packed = b.op("MatMul", rows, b.array(np.tile(_MATRIX, (1, 3))))
    packed = b.op("Reshape", packed, b.ints(1, 16, 3, 2, 2))
    packed = b.op("Transpose", packed, perm=[2, 0, 3, 1, 4])
    parts = [b.op("Gather", packed, b.array(i, np.int64), axis=0) for i in range(3)]
    return b.op("Reshape", b.op("Sum", *parts), b.ints(*SHAPE))


def _loop(b: Builder, x: str) -> str:
    condition = helper.make_node("Identity", ["c"], ["d"])
    body = helper.make_graph(
        [condition, helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, SHAPE),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, SHAPE),
        ],
    )
    return b.op("Loop", b.array(2, np.int64), b.array(1, np.bool_), x, body=body)


def _mixed(b: Builder, x: str) -> str:
    """Return some of everything that exporters leave behind."""
    x = b.op("Identity", _norm(b, b.op("Identity", x)))
    x = b.op("Transpose", b.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    x = _constants(b, _duplicates(b, _shapes(b, x)))
    return b.op("Relu", _casts(b, _slices(b, x)))


def _repeated(kind: str, **attributes: Any) -> Unit:  # noqa: ANN401  what ONNX holds
    return lambda b, x: b.op(kind, x, **attributes)


# Pass: unit, Relu nodes after each unit, opset.
_UNITS: dict[str, tuple[Unit, int, int]] = {
    "decompose-affine-grid": (_affine, 20, 20),
    "decompose-einsum": (_einsum, 0, 17),
    "decompose-grid-sample": (_sample, 49, 16),
    "decompose-is-nan": (_guard, 0, 17),
    "decompose-reflect-pad": (_reflect, 4, 17),
    "drop-double": (_double, 0, 17),
    "drop-empty-slice": (_empty_slice, 0, 17),
    "drop-identity": (_repeated("Identity"), 0, 17),
    "drop-noop": (_repeated("Transpose", perm=[0, 1, 2, 3]), 0, 17),
    "drop-unused": (_unused, 0, 17),
    "fold-constants": (_constants, 0, 17),
    "fold-shapes": (_shapes, 0, 17),
    "fuse-batch-norm": (_norm, 0, 17),
    "fuse-bias": (_biased, 0, 17),
    "fuse-gemm": (_linear, 0, 17),
    "fuse-layer-norm": (lambda b, x: b.layer_norm(x, SHAPE[-1]), 0, 17),
    "gather-to-split": (_gathers, 0, 17),
    "infer-shapes": (_repeated("Relu"), 0, 17),
    "lift-conv1d": (_conv1d, 0, 17),
    "lstm-state": (_lstm, 0, 17),
    "merge-casts": (_casts, 0, 17),
    "merge-concats": (_concats, 0, 17),
    "merge-duplicates": (_duplicates, 0, 17),
    "merge-matmuls": (lambda b, x: b.op("MatMul", x, b.array(_MATRIX)), 0, 17),
    "merge-reshapes": (lambda b, x: b.op("Reshape", x, b.ints(*SHAPE)), 0, 17),
    "merge-slices": (_slices, 0, 17),
    "merge-transposes": (_repeated("Transpose", perm=[0, 1, 3, 2]), 0, 17),
    "narrow-int64": (_int64, 0, 17),
    "onnxsim": (_mixed, 0, 17),
    "pin-shape": (_repeated("Relu"), 0, 17),
    "set-opset": (_repeated("HardSwish"), 0, 16),
    "splice-grid-sample": (_splice, 0, 17),
    "split-average-pool": (_pool, 0, 17),
    "split-large-conv": (_large_conv, 9, 17),
    "split-qkv-matmul": (_qkv, 0, 17),
    "tie-batch": (_repeated("Relu"), 0, 17),
    "unroll-loop": (_loop, 9, 17),
    "mixed": (_mixed, 0, 17),
}
