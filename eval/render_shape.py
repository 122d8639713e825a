"""The shape of a rendered word: a map between the flat text frame and the crop, both ways.

The text frame has ``u`` to the right and ``v`` down, in pixels of the flat drawing, with the
origin at the middle of the word. A shape bends the frame (wave, then arc) and then applies one
homography (shear, stretch, rotation, perspective). Both directions are closed formulas, so an
image needs one ``cv2.remap`` and the outline of the word in the crop is exact.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
_WAVE_SHARE = 0.3  # of the bent words follow a wave, the others an arc


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a flat word is bent and projected.

    Attributes:
        arc: Curvature in 1/px; positive bends the ends down (text over an arch), 0 is straight.
        wave: Amplitude in px of a sine along the word.
        wave_length: Period of that sine in px.
        wave_phase: Its phase in radians.
        homography: float64 [3, 3], applied last, on (x, y, 1) with x right and y down.
    """

    arc: float
    wave: float
    wave_length: float
    wave_phase: float
    homography: NDArray[np.float64]

    def to_crop(self, points: Points) -> Points:
        """Map text-frame points, float64 [..., 2] in px, to the plane of the crop."""
        u, v = points[..., 0], points[..., 1]
        v = v + self._wave_at(u)
        if not self.arc:
            return _project(self.homography, u, v)
        angle, radius = u * self.arc, 1.0 / self.arc - v
        x, y = radius * np.sin(angle), 1.0 / self.arc - radius * np.cos(angle)
        return _project(self.homography, x, y)

    def to_text(self, points: Points) -> Points:
        """Map points of the crop's plane back to the text frame: the inverse of `to_crop`."""
        back = np.asarray(np.linalg.inv(self.homography), np.float64)
        flat = _project(back, points[..., 0], points[..., 1])
        u, v = flat[..., 0], flat[..., 1]
        if self.arc:
            sign, centre = np.sign(self.arc), 1.0 / self.arc
            radius = np.hypot(u, centre - v) * sign
            u, v = np.arctan2(u * sign, (centre - v) * sign) / self.arc, centre - radius
        return np.stack([u, v - self._wave_at(u)], axis=-1)

    def _wave_at(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the vertical offset of the wave at ``u``."""
        return np.asarray(
            self.wave * np.sin(2 * np.pi * u / self.wave_length + self.wave_phase), np.float64
        )


def random_shape(
    rng: np.random.Generator,
    size: tuple[float, float],
    *,
    arc: float,
    wave: float,
    rotation: float,
    shear: float,
    perspective: float,
) -> Shape:
    """Return a shape of random strength for a word.

    Args:
        rng: The source of chance.
        size: Width and height of the flat word, px.
        arc: Largest angle the word spans on its circle, radians.
        wave: Largest amplitude of the wave, in word heights.
        rotation: Largest rotation, radians.
        shear: Largest horizontal shear, px per px.
        perspective: Largest change of height along the word: 0.3 makes one end up to 30 %
            smaller and the other up to 30 % larger.

    Returns:
        A shape whose strengths are drawn within those limits.
    """
    width, height = size
    waves = rng.random() < _WAVE_SHARE  # never both
    widest = 0.8 * width / height  # the inner edge of the arc keeps a radius over 0.7 heights
    span = 0.0 if waves else float(np.clip(_either_sign(rng, arc), -widest, widest))
    stretch = rng.uniform(0.85, 1.2)
    turn, slant = rng.uniform(-rotation, rotation), rng.uniform(-shear, shear)
    tilt = rng.uniform(-perspective, perspective) / max(width / 2, height)
    nod = 0.5 * rng.uniform(-perspective, perspective) / max(width / 2, height)
    cos, sin = np.cos(turn), np.sin(turn)
    affine = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.array(
        [[stretch, slant, 0], [0, 1, 0], [0, 0, 1]]
    )
    lens = np.array([[1, 0, 0], [0, 1, 0], [tilt, nod, 1]])
    return Shape(
        arc=span / width,
        wave=_either_sign(rng, wave) * height if waves else 0.0,
        wave_length=max(width, 3 * height) * rng.uniform(0.8, 1.6),
        wave_phase=rng.uniform(0, 2 * np.pi),
        homography=lens @ affine,
    )


def _either_sign(rng: np.random.Generator, limit: float) -> float:
    """Return a value of magnitude 0.35..1 of ``limit``: a bend that is meant to be seen."""
    return float(rng.choice([-1.0, 1.0]) * rng.uniform(0.35, 1.0) * limit)


def _project(matrix: NDArray[np.float64], x: NDArray[Any], y: NDArray[Any]) -> Points:
    """Apply a homography to x and y, float64 [...], and return float64 [..., 2]."""
    projected = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
    return np.asarray(projected[..., :2] / projected[..., 2:], np.float64)
