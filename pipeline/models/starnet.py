"""StarNet: rectify a word, see it, read it column by column.

``x`` float32 [N, 3, 32, 100] in [-1, 1] -> TPS -> MobileNetV3 -> two bidirectional LSTM layers
-> 37 probabilities for each of 25 columns: the blank of CTC, ten digits, 26 letters.

The names of the 327 entries of the state dict are those of the published checkpoints, so that a
``.pdparams`` file can be read by name.

References:
    - https://doi.org/10.5244/C.30.43
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.models.framework import paddle
from pipeline.models.mobilenet_v3 import OUT_CHANNELS, MobileNetV3
from pipeline.models.tps import HEIGHT, TPS, WIDTH

if TYPE_CHECKING:
    from pipeline.models.layers import Tensor

INPUT_SHAPE = (3, HEIGHT, WIDTH)
LSTM_HIDDEN = 96
LSTM_LAYERS = 2
CLASSES = 37  # blank, 0-9, a-z


class StarNet(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """The whole network; in eval mode it returns probabilities, in training mode logits."""

    def __init__(self) -> None:
        """Build the stages in the order of the checkpoint's names."""
        super().__init__()
        self.transform = TPS()
        self.backbone = MobileNetV3()
        self.neck = _Neck()
        self.head = _Head()

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to float32 [N, 25, 37]."""
        return self.head(self.neck(self.backbone(self.transform(x))))


class _Neck(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Columns of features to a sequence, read in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 480, 1, 25] to float32 [N, 25, 192]."""
        return self.encoder(x.squeeze(2).transpose([0, 2, 1]))


class _Encoder(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Give the LSTM the name ``neck.encoder.lstm``."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = paddle.nn.LSTM(
            OUT_CHANNELS, LSTM_HIDDEN, num_layers=LSTM_LAYERS, direction="bidirect"
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class _Head(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """One linear layer over each time step."""

    def __init__(self) -> None:
        super().__init__()
        features = 2 * LSTM_HIDDEN
        bound = features**-0.5
        uniform = paddle.nn.initializer.Uniform(-bound, bound)
        self.fc = paddle.nn.Linear(features, CLASSES, weight_attr=uniform, bias_attr=uniform)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.fc(x)
        return logits if self.training else paddle.nn.functional.softmax(logits, axis=2)
