"""Images without noise to calibrate a network on: thick strokes, smooth and bent."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.recogniser import INPUT_SHAPE

if TYPE_CHECKING:
    import numpy.typing as npt

STROKES = 6
STROKE_POINTS = 4


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
