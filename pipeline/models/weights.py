"""StarNet with weights: from a file, or made up but alive.

A freshly initialised StarNet answers every image with the same 37 equal probabilities: its
output moves by 4e-9 when the image changes, so that any rewrite of the graph looks perfect. The
weights made here are random too, but calibrated on a few drawn images: each batch norm holds the
statistics of what it receives, the fiducial points move with the image, and the logits spread.
They read nonsense, differently for each image.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.framework import paddle
from pipeline.models.layers import ConvBn, Tensor
from pipeline.models.starnet import CLASSES, INPUT_SHAPE, StarNet
from pipeline.models.tps import base_fiducials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.models.checkpoint import Weights

CALIBRATION_IMAGES = 16
POINT_SPREAD = 0.04  # how far an image moves its fiducial points; the word is 2 wide, 2 high
POINT_WAVE = 0.1  # how far all points follow a wave, so that the spline is no plain scaling
LOGIT_SPREAD = 4.0  # a largest probability of about 0.7 among 37
BLANK_LEAD = 4.0  # what the blank of CTC is ahead, so that texts are shorter than 25
STROKES = 6
STROKE_POINTS = 4


def build_starnet(weights: Path | None = None) -> StarNet:
    """Return a StarNet in eval mode.

    Args:
        weights: A ``.pdparams`` or ``.npz`` file; None takes ``live_weights()``.

    Raises:
        WeightsError: If the file cannot be read or does not fit.
    """
    model = StarNet()
    state = model.state_dict()
    if weights is None:
        values = live_weights()
    else:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        values = read_checkpoint(weights, shapes)
    for name, value in values.items():
        state[name].set_value(value)
    model.eval()
    return model


def live_weights(seed: int = 0) -> Weights:
    """Return the 327 entries of a state dict whose output depends on the image."""
    rng = np.random.default_rng(seed)
    model = StarNet()
    model.eval()
    for name, tensor in model.state_dict().items():
        if (value := _random(name, tuple(tensor.shape), rng)) is not None:
            tensor.set_value(value.astype(np.float32))
    images = stroke_images(CALIBRATION_IMAGES, seed)
    hooks = _calibrating_hooks(model)
    with paddle.no_grad():
        model(paddle.to_tensor(images))
    for hook in hooks:
        hook.remove()
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def stroke_images(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draw thick smooth strokes on a graded ground: float32 [count, 3, 32, 100] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    channels, height, width = INPUT_SHAPE
    y, x = np.mgrid[:height, :width]
    images = np.empty((count, *INPUT_SHAPE), np.float32)
    for image in images:
        ground, ink = rng.uniform(-1, 1, (2, channels, 1, 1))
        ground = ground + rng.uniform(-0.2, 0.2) * (x / width - 0.5)
        coverage = np.max([_stroke(rng, x, y) for _ in range(STROKES)], axis=0)
        image[:] = np.clip(ground + (ink - ground) * coverage, -1, 1)
    return images


def _stroke(
    rng: np.random.Generator, x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return how much of each pixel one bent stroke covers: float64 [32, 100] in [0, 1]."""
    height, width = x.shape
    start = rng.uniform((4, 4), (width - 4, height - 4))
    steps = rng.normal(0, 7, (STROKE_POINTS, 2))  # pixels
    points = np.concatenate([[start], start + np.cumsum(steps, axis=0)])
    bends = np.concatenate([np.linspace(a, b, 16) for a, b in itertools.pairwise(points)])
    distance = np.hypot(x[..., None] - bends[:, 0], y[..., None] - bends[:, 1]).min(axis=-1)
    covered: npt.NDArray[np.float64] = 1 / (1 + np.exp(3 * (distance - rng.uniform(1, 2.5))))
    return covered


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any] | None:
    """Return a random start for an entry, or None where the constructor's value stays."""
    if "grid_generator" in name or name.endswith(("._mean", "._variance")):
        return None  # zero in every published checkpoint; measured later
    if ".lstm." in name:
        return rng.normal(0, 1.5 / np.sqrt(shape[-1]), shape)  # a bias: 384 long, so small
    if name.endswith(".bn.weight"):
        return rng.uniform(0.8, 1.2, shape)
    if name.endswith(".bn.bias"):
        return rng.normal(1, 0.1, shape)  # most units stay on: rounding grows four times less
    if name.endswith(".bias"):
        return rng.normal(0, 0.1, shape)
    inputs = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))  # noqa: PLR2004  a matrix
    return rng.normal(0, np.sqrt(2 / inputs), shape)


def _calibrating_hooks(model: StarNet) -> list[Any]:
    """Make one forward pass set the batch norms and the two layers that read out."""
    hooks = [
        layer.conv.register_forward_post_hook(_measuring(layer.bn))
        for layer in model.sublayers()
        if isinstance(layer, ConvBn)
    ]
    points = base_fiducials()
    points[:, 1] += POINT_WAVE * np.sin(np.pi * points[:, 0])
    locate = model.transform.loc_net.fc2
    hooks.append(locate.register_forward_pre_hook(_spreading(points.ravel(), POINT_SPREAD)))
    logits = np.zeros(CLASSES)
    logits[0] = BLANK_LEAD
    hooks.append(model.head.fc.register_forward_pre_hook(_spreading(logits, LOGIT_SPREAD)))
    return hooks


def _measuring(batch_norm: Tensor) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Return a hook that gives ``batch_norm`` the statistics of a convolution's output."""

    def measure(_layer: Tensor, _inputs: Tensor, output: Tensor) -> None:
        values = output.numpy().astype(np.float64)
        batch_norm._mean.set_value(values.mean(axis=(0, 2, 3)).astype(np.float32))
        batch_norm._variance.set_value(values.var(axis=(0, 2, 3)).astype(np.float32))

    return measure


def _spreading(centre: npt.NDArray[np.float64], spread: float) -> Callable[[Tensor, Tensor], None]:
    """Return a hook that scales and shifts a linear layer before it runs.

    Its outputs then have the mean ``centre`` and, over all columns, the deviation ``spread``.
    """

    def rescale(layer: Tensor, inputs: Tensor) -> None:
        features = inputs[0].numpy().astype(np.float64).reshape(-1, layer.weight.shape[0])
        deviations = (features - features.mean(axis=0)) @ layer.weight.numpy()
        weight = layer.weight.numpy() * (spread / deviations.std())
        layer.weight.set_value(weight.astype(np.float32))
        layer.bias.set_value((centre - features.mean(axis=0) @ weight).astype(np.float32))

    return rescale
