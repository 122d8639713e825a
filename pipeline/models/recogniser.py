"""The recognisers of one family: rectify a word, see it, read it column by column.

``x`` float32 [N, 3, 32, 100] in [-1, 1] -> TPS -> backbone -> two bidirectional LSTM layers ->
head -> probabilities of 25 steps. StarNet reads with CTC, RARE with attention; each comes with a
small and a large backbone, which differ in the numbers of a ``Design`` alone.

The names of the entries of the state dict are those of the published checkpoints, so that a
``.pdparams`` file can be read by name. All names of StarNet MobileNetV3 are specified; of the
others the counts are, and the names inside ``backbone`` (ResNet) and ``head`` (attention) are from
general knowledge: no checkpoint was at hand. A file with other names is refused, and says which.

References:
    - https://doi.org/10.5244/C.30.43 (StarNet)
    - https://arxiv.org/abs/1603.03915 (RARE)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipeline.models.attention_head import AttentionHead
from pipeline.models.ctc_head import CtcHead
from pipeline.models.framework import paddle
from pipeline.models.mobilenet_v3 import MobileNetV3
from pipeline.models.resnet_vd import ResNet34
from pipeline.models.tps import HEIGHT, TPS, WIDTH

if TYPE_CHECKING:
    from pipeline.models.layers import Tensor

INPUT_SHAPE = (3, HEIGHT, WIDTH)
LSTM_LAYERS = 2


class Design(NamedTuple):
    """What sets one network of the family apart.

    Attributes:
        localisation: Channels of the network that finds the fiducial points.
        backbone: float32 [N, 3, 32, 100] -> [N, backbone.out_channels, 1, 25].
        hidden: Units of each LSTM direction, and of the attention.
        head: What reads the columns; ``head.classes`` classes.
    """

    localisation: tuple[int, ...]
    backbone: type[MobileNetV3 | ResNet34]
    hidden: int
    head: type[CtcHead | AttentionHead]


_SMALL, _LARGE = (16, 32, 64, 128), (64, 128, 256, 512)
DESIGNS = {
    "starnet": Design(_SMALL, MobileNetV3, 96, CtcHead),
    "starnet_resnet34": Design(_LARGE, ResNet34, 256, CtcHead),
    "rare_mobilenetv3": Design(_SMALL, MobileNetV3, 96, AttentionHead),
    "rare_resnet34_vd": Design(_LARGE, ResNet34, 256, AttentionHead),
}
STARNET = DESIGNS["starnet"]


class Recogniser(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """A whole network; in eval mode it returns probabilities, in training mode logits."""

    def __init__(self, design: Design = STARNET) -> None:
        """Build the stages in the order of the checkpoint's names."""
        super().__init__()
        self.transform = TPS(design.localisation)
        self.backbone = design.backbone()
        self.neck = _Neck(design.backbone.out_channels, design.hidden)
        self.head = design.head(2 * design.hidden, design.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to float32 [N, 25, classes]."""
        return self.head(self.neck(self.backbone(self.transform(x))))


class _Neck(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Columns of features to a sequence, read in both directions."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.encoder = _Encoder(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, channels, 1, 25] to float32 [N, 25, 2 * hidden]."""
        return self.encoder(x.squeeze(2).transpose([0, 2, 1]))


class _Encoder(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Give the LSTM the name ``neck.encoder.lstm``."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lstm = paddle.nn.LSTM(channels, hidden, num_layers=LSTM_LAYERS, direction="bidirect")

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]
