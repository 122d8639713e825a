"""ResNet-34, variant D, with the strides of text recognition.

Three 3x3 convolutions stand for the wide first one, and a shortcut that must shrink averages what
its stride would skip. After the first pooling only the height shrinks: 32 to 1, the width from 100
to 25, one column per time step.

References:
    - https://arxiv.org/abs/1812.01187 (section 4: ResNet-D)
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

from pipeline.models.framework import paddle
from pipeline.models.layers import ConvBn

if TYPE_CHECKING:
    from pipeline.models.layers import Tensor

STEM_CHANNELS = (3, 32, 32, 64)
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels, blocks
STRIDE = (2, 1)  # down, right: of the first block of every stage but the first


class ResNet34(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """A stem, the 16 blocks of ``STAGES`` and a 2x2 max pool."""

    out_channels: ClassVar[int] = STAGES[-1][0]

    def __init__(self) -> None:
        """Build the layers in the order of the checkpoint's names."""
        super().__init__()
        relu = paddle.nn.functional.relu
        for i, pair in enumerate(itertools.pairwise(STEM_CHANNELS), start=1):
            self.add_sublayer(f"conv1_{i}", _ConvBn(pair, kernel=3, activation=relu))
        self.shrink = paddle.nn.MaxPool2D(kernel_size=3, stride=2, padding=1)
        self._blocks = []
        inputs = STEM_CHANNELS[-1]
        for stage, (channels, count) in enumerate(STAGES):
            for i in range(count):
                stride = STRIDE if stage and not i else (1, 1)
                block = _Block((inputs, channels), stride, projected=not i)
                self._blocks.append(self.add_sublayer(f"bb_{stage}_{i}", block))
                inputs = channels
        self.pool = paddle.nn.MaxPool2D(kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to float32 [N, 512, 1, 25]."""
        x = self.shrink(self.conv1_3(self.conv1_2(self.conv1_1(x))))
        for block in self._blocks:
            x = block(x)
        return self.pool(x)


class _ConvBn(ConvBn):
    """The unit under the names that it has in this network's checkpoints."""

    NAMES = ("_conv", "_batch_norm")


class _Block(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Two 3x3 convolutions, and the input added: as it is, or averaged and projected."""

    def __init__(
        self, channels: tuple[int, int], stride: tuple[int, int], *, projected: bool
    ) -> None:
        super().__init__()
        out = channels[1]
        self.conv0 = _ConvBn(
            channels, kernel=3, stride=stride, activation=paddle.nn.functional.relu
        )
        self.conv1 = _ConvBn((out, out), kernel=3)
        if projected:
            self.short = _ConvBn(channels, kernel=1)
        self._projected = projected
        # The paper averages 2x2 for a stride of 2 both ways; here the stride says what is merged.
        self._average = None
        if stride != (1, 1):
            self._average = paddle.nn.AvgPool2D(kernel_size=list(stride), stride=list(stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.conv0(x))
        if self._average is not None:
            x = self._average(x)
        if self._projected:
            x = self.short(x)
        return paddle.nn.functional.relu(x + y)
