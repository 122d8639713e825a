"""The StarNet in PyTorch, for training only: TPS, MobileNetV3, two BiLSTM layers, CTC head.

Modules carry the names of the Paddle checkpoint, so `paddle_arrays` is a renaming: BatchNorm's
statistics are called ``_mean`` and ``_variance`` there, and Linear weights are [in, out].
"""

# mypy: allow-subclassing-any
# torch is not installed where the types are checked

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.train_starnet.depthwise import depthwise, spatial_mean

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIDUCIALS = 20
HEIGHT, WIDTH = 32, 100
CLASSES = 37  # the blank, 0-9, a-z
LOC_CHANNELS = (16, 32, 64, 128)


class Unit(NamedTuple):
    """One residual unit of the backbone; see the table in the model card's paper."""

    kernel: int
    mid: int
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int  # of the height; the width keeps its 50 columns


UNITS = (
    Unit(3, 8, 8, False, False, 1),
    Unit(3, 32, 16, False, False, 2),
    Unit(3, 40, 16, False, False, 1),
    Unit(5, 40, 24, True, False, 2),
    Unit(5, 64, 24, True, False, 1),
    Unit(5, 64, 24, True, False, 1),
    Unit(3, 120, 40, False, True, 1),
    Unit(3, 104, 40, False, True, 1),
    Unit(3, 96, 40, False, True, 1),
    Unit(3, 96, 40, False, True, 1),
    Unit(3, 240, 56, True, True, 1),
    Unit(3, 336, 56, True, True, 1),
    Unit(5, 336, 80, True, True, 2),
    Unit(5, 480, 80, True, True, 1),
    Unit(5, 480, 80, True, True, 1),
)


class ConvBn(nn.Module):
    """Convolution without bias, batch norm, activation."""

    def __init__(
        self,
        sizes: tuple[int, int],
        kernel: int,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        act: str | None = None,
    ) -> None:
        """Take (in, out) channels and pad so that stride 1 keeps the size."""
        super().__init__()
        pad = (kernel - 1) // 2
        self.conv = nn.Conv2d(*sizes, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(sizes[1], eps=1e-5)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, in, H, W] to [B, out, H', W']."""
        if self.conv.groups > 1:
            x = self.bn(depthwise(x, self.conv.weight, self.conv.stride[0]))
        else:
            x = self.bn(self.conv(x))
        if self.act is None:
            return x
        return functional.relu(x) if self.act == "relu" else functional.hardswish(x)


class SqueezeExcite(nn.Module):
    """Scale channels by a gate; hard-sigmoid of slope 0.2."""

    def __init__(self, channels: int) -> None:
        """Squeeze to a quarter of the channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 4, 1)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        gate = self.conv2(functional.relu(self.conv1(spatial_mean(x))))
        return x * (0.2 * gate + 0.5).clamp(0, 1)


class Residual(nn.Module):
    """Expand, filter each channel, squeeze and excite, project."""

    def __init__(self, channels: int, unit: Unit) -> None:
        """Build the unit for ``channels`` inputs."""
        super().__init__()
        act = "hard_swish" if unit.hard_swish else "relu"
        mid = unit.mid
        self.expand_conv = ConvBn((channels, mid), 1, act=act)
        stride = (unit.stride, 1)
        self.bottleneck_conv = ConvBn((mid, mid), unit.kernel, stride, groups=mid, act=act)
        self.mid_se = SqueezeExcite(mid) if unit.squeeze else None
        self.linear_conv = ConvBn((mid, unit.out), 1)
        self.shortcut = unit.stride == 1 and channels == unit.out

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, 50] to [B, out, H / stride, 50]."""
        y = self.bottleneck_conv(self.expand_conv(x))
        y = self.linear_conv(y if self.mid_se is None else self.mid_se(y))
        return x + y if self.shortcut else y


class Backbone(nn.Module):
    """MobileNetV3 large at half width, strided for text lines."""

    def __init__(self) -> None:
        """Build the 17 stages."""
        super().__init__()
        self.conv1 = ConvBn((3, 8), 3, (2, 2), act="hard_swish")
        sizes = [8, *(unit.out for unit in UNITS)]
        self.blocks = nn.Sequential(
            *(Residual(size, unit) for size, unit in zip(sizes, UNITS, strict=False))
        )
        self.conv2 = ConvBn((80, 480), 1, act="hard_swish")

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, 3, 32, 100] to [B, 480, 1, 25]."""
        return functional.max_pool2d(self.conv2(self.blocks(self.conv1(x))), 2)


class LocNet(nn.Module):
    """Find the 20 fiducial points of a line of text."""

    def __init__(self) -> None:
        """Start at the identity: a plain rectangle, not the slanted start of the recipe."""
        super().__init__()
        sizes = (3, *LOC_CHANNELS)
        for i in range(len(LOC_CHANNELS)):
            self.add_module(f"loc_conv{i}", ConvBn((sizes[i], sizes[i + 1]), 3, act="relu"))
        self.fc1 = nn.Linear(128, 64)
        self.fc2 = nn.Linear(64, 2 * FIDUCIALS)
        nn.init.zeros_(self.fc2.weight)
        with torch.no_grad():
            self.fc2.bias.copy_(torch.from_numpy(base_fiducials().reshape(-1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [B, 3, 32, 100] to [B, 20, 2], (x, y) in [-1, 1] over the image."""
        for i in range(len(LOC_CHANNELS)):
            x = getattr(self, f"loc_conv{i}")(x)
            if i < len(LOC_CHANNELS) - 1:
                x = functional.max_pool2d(x, 2)
        hidden = functional.relu(self.fc1(x.mean((2, 3))))
        return self.fc2(hidden).reshape(-1, FIDUCIALS, 2)


class GridGenerator(nn.Module):
    """Thin-plate spline from fiducials to a sampling grid; ``fc`` stays zero."""

    def __init__(self) -> None:
        """Compute the constants in float64."""
        super().__init__()
        self.fc = nn.Linear(2 * FIDUCIALS, 6)
        for parameter in self.fc.parameters():
            nn.init.zeros_(parameter).requires_grad_(False)
        spline = tps_basis() @ np.linalg.inv(tps_system())
        self.register_buffer(
            "spline", torch.tensor(spline[:, :FIDUCIALS], dtype=torch.float32), False
        )

    def forward(self, fiducials: Tensor) -> Tensor:
        """Map [B, 20, 2] to a grid [B, 32, 100, 2]."""
        return (self.spline @ fiducials).reshape(-1, HEIGHT, WIDTH, 2)


class Transform(nn.Module):
    """Rectify: find the fiducials, bend the grid, sample."""

    def __init__(self) -> None:
        """Build both halves."""
        super().__init__()
        self.loc_net = LocNet()
        self.grid_generator = GridGenerator()

    def forward(self, x: Tensor, fiducials: Tensor) -> Tensor:
        """Sample x, float32 [B, 3, 32, 100], at the grid of the fiducials."""
        grid = self.grid_generator(fiducials)
        return functional.grid_sample(x.contiguous(), grid, align_corners=True)


class Neck(nn.Module):
    """Two bidirectional LSTM layers over the 25 columns."""

    def __init__(self) -> None:
        """480 features in, 2 x 96 out."""
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.lstm = nn.LSTM(480, 96, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 480, 1, 25] to [B, 25, 192]."""
        return self.encoder.lstm(x.squeeze(2).transpose(1, 2).contiguous())[0]


class Head(nn.Module):
    """Scores of the 37 classes."""

    def __init__(self) -> None:
        """One linear layer."""
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, 25, 192] to logits [B, 25, 37]."""
        return self.fc(x)


class StarNet(nn.Module):
    """The recogniser; returns logits."""

    def __init__(self) -> None:
        """Build the four parts."""
        super().__init__()
        self.transform = Transform()
        self.backbone = Backbone()
        self.neck = Neck()
        self.head = Head()

    def read(self, x: Tensor) -> Tensor:
        """Map an upright image, float32 [B, 3, 32, 100], to logits [B, 25, 37]."""
        return self.head(self.neck(self.backbone(x)))

    def forward(self, x: Tensor, *, identity: bool = False) -> Tensor:
        """Map float32 [B, 3, 32, 100] to logits [B, 25, 37].

        Args:
            x: Padded image in [-1, 1].
            identity: Sample at the plain rectangle instead of the fiducials that were found.
        """
        if identity:
            base = torch.from_numpy(base_fiducials().astype(np.float32))
            fiducials = base.expand(x.shape[0], FIDUCIALS, 2)
        else:
            fiducials = self.transform.loc_net(x)
        return self.read(self.transform(x, fiducials))


def base_fiducials() -> NDArray[np.float64]:
    """Return C, float64 [20, 2]: ten points on the upper edge, ten on the lower."""
    x = np.linspace(-1, 1, FIDUCIALS // 2)
    ones = np.ones_like(x)
    return np.concatenate([np.stack([x, -ones], 1), np.stack([x, ones], 1)])


def tps_system() -> NDArray[np.float64]:
    """Return the 23 x 23 matrix of the spline's equations."""
    points = base_fiducials()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, 1)
    system = np.zeros((FIDUCIALS + 3, FIDUCIALS + 3))
    system[:FIDUCIALS, 0] = 1
    system[:FIDUCIALS, 1:3] = points
    system[:FIDUCIALS, 3:] = distance**2 * np.log(distance)
    system[FIDUCIALS : FIDUCIALS + 2, 3:] = points.T
    system[FIDUCIALS + 2, 3:] = 1
    return system


def tps_basis() -> NDArray[np.float64]:
    """Return P_hat, float64 [3200, 23]: the spline's terms at each pixel."""
    x = (2 * np.arange(WIDTH) + 1 - WIDTH) / WIDTH
    y = (2 * np.arange(HEIGHT) + 1 - HEIGHT) / HEIGHT
    pixels = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    radius = np.linalg.norm(pixels[:, None] - base_fiducials()[None], axis=2)
    terms = radius**2 * np.log(radius + 1e-6)
    return np.concatenate([np.ones((len(pixels), 1)), pixels, terms], axis=1)


def paddle_arrays(state: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Rename a torch state to the names and layouts of the Paddle checkpoint."""
    arrays = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        value = tensor.detach().float().numpy()
        if ".fc" in name and name.endswith("weight"):
            value = value.T
        renamed = name.replace("running_mean", "_mean").replace("running_var", "_variance")
        arrays[renamed] = np.ascontiguousarray(value)
    return arrays


def load_arrays(model: StarNet, weights: Path) -> StarNet:
    """Fill a model from a file of the names `paddle_arrays` gives."""
    with np.load(weights) as arrays:
        named = {name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()}
    state = {}
    for name, value in named.items():
        turned = value.T if ".fc" in name and name.endswith("weight") else value
        renamed = name.replace("_mean", "running_mean").replace("_variance", "running_var")
        state[renamed] = turned.contiguous()
    missing, unexpected = model.load_state_dict(state, strict=False)
    left = [name for name in missing if not name.endswith("num_batches_tracked")]
    if left or unexpected:
        msg = f"{weights} does not fit: missing {left[:3]}, unexpected {unexpected[:3]}"
        raise ValueError(msg)
    return model
