"""Thin plate splines: straighten the word before reading it.

A small network finds 20 fiducial points, ten along the top and ten along the bottom of the word.
The spline that carries the straight base points to them gives, for each output pixel, the place
in the input to sample. Both matrices of the spline depend on the base points alone, so they are
computed once, in float64, and stored as float32 buffers: the exported graph then holds two
constants instead of a matrix inverse, which the converter does not know.

References:
    - https://arxiv.org/abs/1603.03915 (the rectification network)
    - https://en.wikipedia.org/wiki/Thin_plate_spline
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from pipeline.models.framework import paddle
from pipeline.models.layers import ConvBn, Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

FIDUCIALS = 20
HEIGHT, WIDTH = 32, 100  # pixels of the rectified image
AFFINE_ROWS = 3  # 1, x, y: the spline's affine part
IMAGE_CHANNELS = 3
DISTANCE_EPSILON = 1e-6  # keeps the logarithm finite on a base point


class TPS(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Rectify an image by the spline through the fiducial points found in it."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        """Build the two halves in the order of the checkpoint's names.

        Args:
            channels: Of the four convolutions that find the fiducial points.
        """
        super().__init__()
        self.loc_net = _Localisation(channels)
        self.grid_generator = _GridGenerator()

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to its rectified image of the same shape."""
        grid = self.grid_generator(self.loc_net(x))
        return paddle.nn.functional.grid_sample(
            x, grid, mode="bilinear", padding_mode="zeros", align_corners=True
        )


class _Localisation(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Find the fiducial points."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        features, hidden = channels[-1], channels[-2]
        for i, pair in enumerate(itertools.pairwise((IMAGE_CHANNELS, *channels))):
            unit = ConvBn(pair, kernel=3, activation=paddle.nn.functional.relu)
            self.add_sublayer(f"loc_conv{i}", unit)
        self.pool = paddle.nn.MaxPool2D(kernel_size=2, stride=2)
        self.last_pool = paddle.nn.AdaptiveAvgPool2D(1)
        bound = features**-0.5
        self.fc1 = paddle.nn.Linear(
            features, hidden, weight_attr=paddle.nn.initializer.Uniform(-bound, bound)
        )
        self.fc2 = paddle.nn.Linear(
            hidden,
            FIDUCIALS * 2,
            weight_attr=paddle.nn.initializer.Constant(0.0),
            bias_attr=paddle.nn.initializer.Assign(first_fiducials().ravel()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 3, 32, 100] to float32 [N, 20, 2], x before y, about [-1, 1]."""
        y = self.pool(self.loc_conv0(x))
        y = self.pool(self.loc_conv1(y))
        y = self.pool(self.loc_conv2(y))
        y = self.last_pool(self.loc_conv3(y)).squeeze([2, 3])
        y = self.fc2(paddle.nn.functional.relu(self.fc1(y)))
        return y.reshape([-1, FIDUCIALS, 2])


class _GridGenerator(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Turn fiducial points into the place to sample for each output pixel."""

    def __init__(self) -> None:
        super().__init__()
        frozen = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(0.0), learning_rate=0)
        self.fc = paddle.nn.Linear(
            FIDUCIALS * 2, AFFINE_ROWS * 2, weight_attr=frozen, bias_attr=frozen
        )
        inverse = paddle.to_tensor(inverse_delta_c().astype(np.float32))
        basis = paddle.to_tensor(p_hat().astype(np.float32))
        self.register_buffer("inv_delta_C", inverse, persistable=False)
        self.register_buffer("P_hat", basis, persistable=False)

    def forward(self, points: Tensor) -> Tensor:
        """Map float32 [N, 20, 2] to a sampling grid, float32 [N, 32, 100, 2], x before y."""
        extension = self.fc(points.reshape([-1, FIDUCIALS * 2])).reshape([-1, AFFINE_ROWS, 2])
        target = paddle.concat([points, extension], axis=1)
        spline = paddle.matmul(self.inv_delta_C, target)
        return paddle.matmul(self.P_hat, spline).reshape([-1, HEIGHT, WIDTH, 2])


def first_fiducials() -> npt.NDArray[np.float32]:
    """Return where an untrained network puts the points: float32 [20, 2], a slanted band."""
    x = np.linspace(-1, 1, FIDUCIALS // 2)
    top = np.linspace(0, -1, FIDUCIALS // 2)
    bottom = np.linspace(1, 0, FIDUCIALS // 2)
    points = np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)])
    return points.astype(np.float32)


def base_fiducials() -> npt.NDArray[np.float64]:
    """Return the straight points: float64 [20, 2], the top edge y = -1, then the bottom y = 1."""
    x = np.linspace(-1, 1, FIDUCIALS // 2)
    y = np.ones_like(x)
    return np.concatenate([np.stack([x, -y], axis=1), np.stack([x, y], axis=1)])


def inverse_delta_c() -> npt.NDArray[np.float64]:
    """Return float64 [23, 23]: fiducial points to the spline's coefficients."""
    points = base_fiducials()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, 1)  # 1 * ln 1 = 0, the limit of r * ln r
    affine = np.concatenate([np.ones((FIDUCIALS, 1)), points], axis=1)
    delta = np.zeros((FIDUCIALS + AFFINE_ROWS, FIDUCIALS + AFFINE_ROWS))
    delta[:FIDUCIALS, :AFFINE_ROWS] = affine
    delta[:FIDUCIALS, AFFINE_ROWS:] = distance**2 * np.log(distance)
    delta[FIDUCIALS:-1, AFFINE_ROWS:] = points.T
    delta[-1, AFFINE_ROWS:] = 1
    return np.asarray(np.linalg.inv(delta), np.float64)


def p_hat() -> npt.NDArray[np.float64]:
    """Return float64 [3200, 23]: 1, x, y and 20 radial terms per output pixel, row by row."""
    x = (2 * np.arange(WIDTH) + 1 - WIDTH) / WIDTH
    y = (2 * np.arange(HEIGHT) + 1 - HEIGHT) / HEIGHT
    pixels = np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)
    radius = np.linalg.norm(pixels[:, None] - base_fiducials()[None], axis=2)
    radial = radius**2 * np.log(radius + DISTANCE_EPSILON)
    return np.concatenate([np.ones((len(pixels), 1)), pixels, radial], axis=1)
