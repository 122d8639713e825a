"""StarNet as others write it: the matrices of the spline are computed in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.export import save_program
from pipeline.models.framework import paddle
from pipeline.models.recogniser import DESIGNS, INPUT_SHAPE
from pipeline.models.weights import build_network

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.models.layers import Tensor

WIDE = "float64"


class ComputingGenerator(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """The grid generator, with its matrices in the graph."""

    def __init__(self, fc: Tensor) -> None:
        super().__init__()
        self.fc = fc

    def forward(self, points: Tensor) -> Tensor:
        extension = self.fc(points.reshape([-1, 40])).reshape([-1, 3, 2])
        target = paddle.concat([points, extension], axis=1)
        base = _base()
        spline = paddle.matmul(_inverse(base), target)
        return paddle.matmul(_basis(base), spline).reshape([-1, 32, 100, 2])


def save_unfolded(stem: Path, weights: Path, network: str = "starnet") -> None:
    """Write ``<stem>.json`` and ``<stem>.pdiparams``, with an inverse in the program."""
    model = build_network(weights, DESIGNS[network])
    transform = model.transform
    transform.grid_generator = ComputingGenerator(transform.grid_generator.fc)
    save_program(model, stem, INPUT_SHAPE)


def _base() -> Tensor:
    x = paddle.linspace(-1, 1, 10, dtype=WIDE)
    y = paddle.ones([10], dtype=WIDE)
    return paddle.concat([paddle.stack([x, -y], axis=1), paddle.stack([x, y], axis=1)])


def _inverse(base: Tensor) -> Tensor:
    apart = paddle.norm(base.unsqueeze(1) - base.unsqueeze(0), axis=2) + paddle.eye(20, dtype=WIDE)
    affine = paddle.concat([paddle.ones([20, 1], dtype=WIDE), base], axis=1)
    upper = paddle.concat([affine, apart**2 * paddle.log(apart)], axis=1)
    middle = paddle.concat([paddle.zeros([2, 3], dtype=WIDE), base.transpose([1, 0])], axis=1)
    last = [paddle.zeros([1, 3], dtype=WIDE), paddle.ones([1, 20], dtype=WIDE)]
    delta = paddle.concat([upper, middle, paddle.concat(last, axis=1)])
    return paddle.inverse(delta).astype("float32")


def _basis(base: Tensor) -> Tensor:
    x = (paddle.arange(-100, 100, 2, dtype=WIDE) + 1) / 100
    y = (paddle.arange(-32, 32, 2, dtype=WIDE) + 1) / 32
    rows, columns = paddle.meshgrid(y, x)
    pixels = paddle.stack([columns, rows], axis=2).reshape([-1, 2])
    radius = paddle.norm(pixels.unsqueeze(1) - base.unsqueeze(0), axis=2)
    radial = radius**2 * paddle.log(radius + 1e-6)
    ones = paddle.ones([3200, 1], dtype=WIDE)
    return paddle.concat([ones, pixels, radial], axis=1).astype("float32")
