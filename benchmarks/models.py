"""Models with live random weights, built node by node the way exporters write them.

They stand in for exports of the real networks: the same operators in the same order and number,
weights scaled so that activations stay near unit size and every output moves with the input.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPSET = 17
IR_VERSION = 8


class Builder:
    """Collects nodes and initializers; every method returns the name of what it made."""

    def __init__(self, seed: int) -> None:
        """Start an empty graph."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)
        self._count = 0

    def op(
        self,
        kind: str,
        *inputs: str,
        outputs: int = 1,
        **attributes: Any,  # noqa: ANN401  what ONNX attributes hold
    ) -> str:
        """Add a node; return its first output."""
        self._count += 1
        names = [f"{kind}_{self._count}_{index}" for index in range(outputs)]
        node = helper.make_node(kind, inputs, names, name=f"{kind}_{self._count}", **attributes)
        self.nodes.append(node)
        return names[0]

    def last_outputs(self) -> list[str]:
        """Return all outputs of the node added last."""
        return list(self.nodes[-1].output)

    def array(self, value: object, dtype: type = np.float32) -> str:
        """Add an initializer."""
        self._count += 1
        name = f"const_{self._count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """Add a Constant node, as PyTorch's exporter does."""
        tensor = numpy_helper.from_array(np.asarray(value, dtype))
        return self.op("Constant", value=tensor)

    def ints(self, *values: int) -> str:
        """Add a Constant node of int64."""
        return self.constant(np.asarray(values), np.int64)

    def weight(self, *shape: int, fan_in: int | None = None) -> str:
        """Add a random weight of standard deviation 1/sqrt(fan_in)."""
        fan = fan_in or shape[0]
        return self.array(self._rng.standard_normal(shape) / math.sqrt(fan))

    def near_one(self, size: int) -> str:
        """Add a vector around one: a scale or a variance."""
        return self.array(1 + 0.1 * self._rng.standard_normal(size))

    def small(self, size: int) -> str:
        """Add a vector around zero: a bias or a mean."""
        return self.array(0.1 * self._rng.standard_normal(size))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """Map x [..., inputs] -> MatMul, Add -> [..., outputs]."""
        return self.op(
            "Add", self.small(outputs), self.op("MatMul", x, self.weight(inputs, outputs))
        )

    def layer_norm(self, x: str, size: int) -> str:
        """Write a layer norm as the nine nodes of opsets below 17."""
        mean = self.op("ReduceMean", x, axes=[-1], keepdims=1)
        centred = self.op("Sub", x, mean)
        square = self.op("Pow", centred, self.constant(2.0))
        variance = self.op("ReduceMean", square, axes=[-1], keepdims=1)
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(1e-5)))
        normal = self.op("Div", centred, deviation)
        return self.op("Add", self.op("Mul", normal, self.near_one(size)), self.small(size))

    def gelu(self, x: str) -> str:
        """Write GELU with Erf, as PyTorch's exporter does."""
        erf = self.op("Erf", self.op("Div", x, self.constant(math.sqrt(2.0))))
        product = self.op("Mul", x, self.op("Add", erf, self.constant(1.0)))
        return self.op("Mul", product, self.constant(0.5))

    def dim(self, x: str, axis: int) -> str:
        """Write ``x.shape[axis]`` as Shape, Gather, Unsqueeze."""
        size = self.op("Gather", self.op("Shape", x), self.constant(axis, np.int64), axis=0)
        return self.op("Unsqueeze", size, self.ints(0))

    def conv_bn(self, x: str, inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> str:
        """Conv without bias, then BatchNormalization."""
        weight = self.weight(outputs, inputs, size, size, fan_in=inputs * size * size)
        pads = [size // 2] * 4
        x = self.op("Conv", x, weight, pads=pads, strides=[stride] * 2, kernel_shape=[size] * 2)
        scale, bias = self.near_one(outputs), self.small(outputs)
        mean, variance = self.small(outputs), self.near_one(outputs)
        return self.op("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-5)

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], output: str, shape: Sequence[int | str]
    ) -> onnx.ModelProto:
        """Finish: one output of the given shape."""
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "benchmark", inputs, [value], self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


@dataclasses.dataclass(frozen=True)
class BertSize:
    """The size of a BERT-like encoder; the default is about the 1,262 nodes of bert-base."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 3000


def bert(size: BertSize | None = None, *, seed: int = 0) -> onnx.ModelProto:
    """Return ids int64 [batch, seq] -> hidden states float32 [batch, seq, width]."""
    size = size or BertSize()
    b = Builder(seed)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])
    table = b.array(np.random.default_rng(seed).standard_normal((size.vocabulary, size.width)))
    x = b.layer_norm(b.op("Gather", table, "ids", axis=0), size.width)
    for _ in range(size.layers):
        x = b.layer_norm(b.op("Add", x, _attention(b, x, size.width, size.heads)), size.width)
        hidden = b.gelu(b.linear(x, size.width, 4 * size.width))
        x = b.layer_norm(b.op("Add", x, b.linear(hidden, 4 * size.width, size.width)), size.width)
    return b.model([ids], x, ["batch", "seq", size.width])


def _attention(b: Builder, x: str, width: int, heads: int) -> str:
    """Self-attention with the Shape, Gather, Concat, Reshape chains exporters write."""

    def split(value: str, order: list[int]) -> str:
        tail = [b.ints(heads), b.ints(width // heads)]
        shape = b.op("Concat", b.dim(value, 0), b.dim(value, 1), *tail, axis=0)
        return b.op("Transpose", b.op("Reshape", value, shape), perm=order)

    query = split(b.linear(x, width, width), [0, 2, 1, 3])
    key = split(b.linear(x, width, width), [0, 2, 3, 1])
    value = split(b.linear(x, width, width), [0, 2, 1, 3])
    scores = b.op("Div", b.op("MatMul", query, key), b.constant(math.sqrt(width // heads)))
    mixed = b.op(
        "Transpose", b.op("MatMul", b.op("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3]
    )
    shape = b.op("Concat", b.dim(mixed, 0), b.dim(mixed, 1), b.ints(width), axis=0)
    return b.linear(b.op("Reshape", mixed, shape), width, width)


@dataclasses.dataclass(frozen=True)
class SwinSize:
    """The size of a Swin-like network; by default about 4,700 nodes, as Swin-B's export."""

    depths: tuple[int, ...] = (2, 2, 38, 2)
    width: int = 96
    image: int = 224
    window: int = 7


def swin(size: SwinSize | None = None, *, seed: int = 0) -> onnx.ModelProto:
    """Return x float32 [1, 3, image, image] -> logits float32 [1, 1000]."""
    size = size or SwinSize()
    b = Builder(seed)
    x = b.op(
        "Conv", "x", b.weight(size.width, 3, 4, 4, fan_in=48), strides=[4, 4], kernel_shape=[4, 4]
    )
    side, width = size.image // 4, size.width
    x = b.op("Transpose", b.op("Reshape", x, b.ints(1, width, side * side)), perm=[0, 2, 1])
    for stage, depth in enumerate(size.depths):
        for block in range(depth):
            shift = size.window // 2 if block % 2 else 0
            x = _swin_block(b, x, side, width, size.window, shift)
        if stage + 1 < len(size.depths):
            x = _merge_patches(b, x, side, width)
            side, width = side // 2, width * 2
    pooled = b.op("ReduceMean", b.layer_norm(x, width), axes=[1], keepdims=0)
    logits = b.linear(pooled, width, 1000)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size.image, size.image])
    return b.model([image], logits, [1, 1000])


def _swin_block(b: Builder, x: str, side: int, width: int, window: int, shift: int) -> str:
    heads, groups = width // 32, side // window
    y = b.op("Reshape", b.layer_norm(x, width), b.ints(1, side, side, width))
    y = _roll(b, y, shift)
    y = b.op("Reshape", y, b.ints(1, groups, window, groups, window, width))
    y = b.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5])
    y = b.op("Reshape", y, b.ints(groups * groups, window * window, width))
    y = _window_attention(b, y, window * window, width, heads)
    y = b.op("Reshape", y, b.ints(1, groups, groups, window, window, width))
    y = b.op("Reshape", b.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), b.ints(1, side, side, width))
    y = b.op("Reshape", _roll(b, y, -shift), b.ints(1, side * side, width))
    x = b.op("Add", x, y)
    hidden = b.gelu(b.linear(b.layer_norm(x, width), width, 4 * width))
    return b.op("Add", x, b.linear(hidden, 4 * width, width))


def _roll(b: Builder, x: str, shift: int) -> str:
    """Write torch.roll on axes 1 and 2 as Slice and Concat."""
    if not shift:
        return x
    for axis in (1, 2):
        end = b.ints(np.iinfo(np.int64).max)
        tail = b.op("Slice", x, b.ints(shift), end, b.ints(axis), b.ints(1))
        head = b.op("Slice", x, b.ints(0), b.ints(shift), b.ints(axis), b.ints(1))
        x = b.op("Concat", tail, head, axis=axis)
    return x


def _window_attention(b: Builder, x: str, points: int, width: int, heads: int) -> str:
    packed = b.op(
        "Reshape", b.linear(x, width, 3 * width), b.ints(-1, points, 3, heads, width // heads)
    )
    packed = b.op("Transpose", packed, perm=[2, 0, 3, 1, 4])
    query, key, value = (
        b.op("Gather", packed, b.constant(index, np.int64), axis=0) for index in range(3)
    )
    query = b.op("Mul", query, b.constant(1 / math.sqrt(width // heads)))
    scores = b.op("MatMul", query, b.op("Transpose", key, perm=[0, 1, 3, 2]))
    bias = b.op("Unsqueeze", b.weight(heads, points, points, fan_in=100), b.ints(0))
    mixed = b.op("MatMul", b.op("Softmax", b.op("Add", scores, bias), axis=-1), value)
    mixed = b.op("Reshape", b.op("Transpose", mixed, perm=[0, 2, 1, 3]), b.ints(-1, points, width))
    return b.linear(mixed, width, width)


def _merge_patches(b: Builder, x: str, side: int, width: int) -> str:
    x = b.op("Reshape", x, b.ints(1, side, side, width))
    corners = []
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        end = b.ints(np.iinfo(np.int64).max)
        rows = b.op("Slice", x, b.ints(row), end, b.ints(1), b.ints(2))
        corners.append(b.op("Slice", rows, b.ints(column), end, b.ints(2), b.ints(2)))
    y = b.op("Reshape", b.op("Concat", *corners, axis=-1), b.ints(1, side * side // 4, 4 * width))
    return b.op("MatMul", b.layer_norm(y, 4 * width), b.weight(4 * width, 2 * width))


def resnet(
    *, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, seed: int = 0
) -> onnx.ModelProto:
    """Return x float32 [N, 3, 224, 224] -> logits float32 [N, 1000]: the shape of ResNet-34."""
    b = Builder(seed)
    x = b.op("Relu", b.conv_bn("x", 3, width, size=7, stride=2))
    x = b.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = width
    for stage, depth in enumerate(depths):
        outputs = width << stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            y = b.op("Relu", b.conv_bn(x, channels, outputs, stride=stride))
            y = b.conv_bn(y, outputs, outputs)
            changed = stride > 1 or channels != outputs
            skip = b.conv_bn(x, channels, outputs, size=1, stride=stride) if changed else x
            # Halved, so that the sums of many blocks stay near unit size.
            x = b.op("Relu", b.op("Mul", b.op("Add", y, skip), b.array(0.7)))
            channels = outputs
    x = b.op("Flatten", b.op("GlobalAveragePool", x), axis=1)
    logits = b.op("Gemm", x, b.weight(1000, channels, fan_in=channels), b.small(1000), transB=1)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 224, 224])
    return b.model([image], logits, ["N", 1000])


def chain(nodes: int, *, seed: int = 0) -> onnx.ModelProto:
    """Return x float32 [4, 16] -> a chain of Identity, Add, two Transposes and Neg."""
    b = Builder(seed)
    x = "x"
    pattern: list[Callable[[str], str]] = [
        lambda value: b.op("Identity", value),
        lambda value: b.op("Add", value, b.small(16)),
        lambda value: b.op("Transpose", value, perm=[1, 0]),
        lambda value: b.op("Transpose", value, perm=[1, 0]),
        lambda value: b.op("Neg", value),
    ]
    for index in range(nodes):
        x = pattern[index % len(pattern)](x)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])
    return b.model([image], x, [4, 16])
