"""MobileNetV3 large at half width, with the strides of text recognition.

Height shrinks from 32 to 1, width only from 100 to 25: one column per time step. A stride of
(2, 1) halves the height alone.

References:
    - https://arxiv.org/abs/1905.02244
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from pipeline.models.framework import paddle
from pipeline.models.layers import ConvBn, Tensor

IMAGE_CHANNELS = 3
STEM_CHANNELS = 8
SQUEEZE_RATIO = 4
# The gate's hard sigmoid has slope 0.2 and offset 0.5; Paddle's default slope is 1/6.
GATE_SLOPE = 0.2
GATE_OFFSET = 0.5


class _Unit(NamedTuple):
    """One row of the table: kernel side, hidden and out channels, gate, activation, stride."""

    kernel: int
    hidden: int
    out: int
    gated: bool
    activation: str
    stride: tuple[int, int] = (1, 1)


UNITS = (
    _Unit(3, 8, 8, gated=False, activation="relu"),
    _Unit(3, 32, 16, gated=False, activation="relu", stride=(2, 1)),
    _Unit(3, 40, 16, gated=False, activation="relu"),
    _Unit(5, 40, 24, gated=True, activation="relu", stride=(2, 1)),
    _Unit(5, 64, 24, gated=True, activation="relu"),
    _Unit(5, 64, 24, gated=True, activation="relu"),
    _Unit(3, 120, 40, gated=False, activation="hardswish"),
    _Unit(3, 104, 40, gated=False, activation="hardswish"),
    _Unit(3, 96, 40, gated=False, activation="hardswish"),
    _Unit(3, 96, 40, gated=False, activation="hardswish"),
    _Unit(3, 240, 56, gated=True, activation="hardswish"),
    _Unit(3, 336, 56, gated=True, activation="hardswish"),
    _Unit(5, 336, 80, gated=True, activation="hardswish", stride=(2, 1)),
    _Unit(5, 480, 80, gated=True, activation="hardswish"),
    _Unit(5, 480, 80, gated=True, activation="hardswish"),
)


class MobileNetV3(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """A stem, the 15 residual units of ``UNITS``, a 1x1 convolution and a 2x2 max pool."""

    out_channels: ClassVar[int] = 480

    def __init__(self) -> None:
        """Build the layers in the order of the checkpoint's names."""
        super().__init__()
        hardswish = paddle.nn.functional.hardswish
        self.conv1 = ConvBn(
            (IMAGE_CHANNELS, STEM_CHANNELS), kernel=3, stride=(2, 2), activation=hardswish
        )
        inputs = (STEM_CHANNELS, *(unit.out for unit in UNITS))
        self.blocks = paddle.nn.Sequential(
            *(_ResidualUnit(channels, unit) for channels, unit in zip(inputs, UNITS, strict=False))
        )
        self.conv2 = ConvBn((UNITS[-1].out, self.out_channels), kernel=1, activation=hardswish)
        self.pool = paddle.nn.MaxPool2D(kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to float32 [N, 480, 1, 25]."""
        return self.pool(self.conv2(self.blocks(self.conv1(x))))


class _ResidualUnit(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Expand, filter each channel, gate, project; add the input where the shapes allow it."""

    def __init__(self, channels: int, unit: _Unit) -> None:
        super().__init__()
        activation = getattr(paddle.nn.functional, unit.activation)
        self.expand_conv = ConvBn((channels, unit.hidden), kernel=1, activation=activation)
        self.bottleneck_conv = ConvBn(
            (unit.hidden, unit.hidden),
            kernel=unit.kernel,
            stride=unit.stride,
            groups=unit.hidden,
            activation=activation,
        )
        if unit.gated:
            self.mid_se = _Gate(unit.hidden)
        self.linear_conv = ConvBn((unit.hidden, unit.out), kernel=1)
        self._gated = unit.gated
        self._shortcut = unit.stride == (1, 1) and channels == unit.out

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottleneck_conv(self.expand_conv(x))
        if self._gated:
            y = self.mid_se(y)
        y = self.linear_conv(y)
        return x + y if self._shortcut else y


class _Gate(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Squeeze-and-excitation: scale each channel by a number in [0, 1] made from all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // SQUEEZE_RATIO
        self.pool = paddle.nn.AdaptiveAvgPool2D(1)
        self.conv1 = paddle.nn.Conv2D(channels, squeezed, 1)
        self.conv2 = paddle.nn.Conv2D(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        functional = paddle.nn.functional
        y = self.conv2(functional.relu(self.conv1(self.pool(x))))
        return x * functional.hardsigmoid(y, slope=GATE_SLOPE, offset=GATE_OFFSET)
